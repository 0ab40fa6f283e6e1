// Numbers of kernels. BF16 says what tensor cores multiply: 0 TF32, 1 bfloat16. With HOST a C++ compiler takes the kernels too, see
// `host.h`.
//
// Activations are kept in 32-bit words: one TF32 number, or two bfloat16 numbers. With words as the unit the fragments of
// mma.m16n8k8 (TF32) and m16n8k16 (bfloat16) are laid out alike: a lane (g = lane / 4, t = lane % 4) of A holds words t and
// t + 4 of rows g and g + 8, of B words t and t + 4 of column g, and of the sums columns 2t and 2t + 1 of rows g and g + 8.

typedef unsigned int u32;
typedef unsigned long long u64;

constexpr float ACTION_BOUND = 1.0f - 1e-6f;

#ifndef HOST
#define INFINITY __int_as_float(0x7f800000)

__device__ inline u32 word(float a, float b) {
#if BF16
    u32 w;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(b), "f"(a));
    return w;
#else
    // Tensor cores cut off what TF32 has no bits for. With this factor, 1 + ln 2·2⁻¹¹, they cut between 0.31 and 0.65 of the last bit, in
    // its middle on average; numbers of TF32 stay what they are, and a NaN one. Rounding takes five instructions.
    return __float_as_uint(a * 1.00033844f);
#endif
}

__device__ inline void mma(float *sum, const u32 *a, u32 b0, u32 b1) {
#if BF16
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
#endif
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices of 8 rows of four words in shared memory: lane 8 i + r says where row r of matrix i begins, aligned to 16 bytes, and
// gets word t of row g of each.
__device__ inline void load_matrices(u32 *words, const u32 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"((u32)__cvta_generic_to_shared(row)));
}

// On GPUs from Hopper on a kernel's blocks may be placed before the kernel in front of it has ended (see `Behind` in `gpu.rs`): here
// they wait for what it writes, and the next kernel's may come.
__device__ inline void begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

#if __CUDA_ARCH__ >= 900
// Waits for all blocks of the cluster, and for what they wrote.
__device__ inline void wait_for_cluster() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The same place in the shared memory of a block of the cluster.
template <class T> __device__ inline T *in_block(T *own, u32 block) {
    u64 to;
    asm volatile("mapa.u64 %0, %1, %2;" : "=l"(to) : "l"(own), "r"(block));
    return (T *)to;
}
#endif

// The first `count` of W numbers go to shared memory, behind them zeros, while the thread goes on; both ends are aligned to W.
template <int W> __device__ inline void copy_async(u32 *to, const float *from, int count) {
    const u32 at = (u32)__cvta_generic_to_shared(to), bytes = 4 * count;
    if (W == 4) asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    if (W == 2) asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    if (W == 1) asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}

// e^x, whose smallest results may be zero: the steps around those take longer than all else.
__device__ inline float exp_of(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
}

// a / b, but for the last bit or two.
__device__ inline float ratio(float a, float b) { return __fdividef(a, b); }

// Copies since the last call become a group.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for all but the last COUNT groups of this thread.
template <int COUNT> __device__ inline void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(COUNT) : "memory"); }
#endif

__device__ inline float elu(float x) { return x > 0.0f ? x : exp_of(x) - 1.0f; }
// in this order a NaN stays one
__device__ inline float tanh_of(float x) { return 1.0f - ratio(2.0f, 1.0f + exp_of(2.0f * x)); }
__device__ inline float clamp(float x, float bound) { return x > bound ? bound : (x < -bound ? -bound : x); }
__device__ inline bool finite(float x) { return x - x == 0.0f; }
