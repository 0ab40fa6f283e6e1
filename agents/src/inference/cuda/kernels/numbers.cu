// A whole plan on a GPU: five kernels, three of which run once an iteration.
//
// `draw` makes the noise, `propose` encodes observations and asks the policy for its sequences, `imagine` rolls candidates
// through the dynamics, `judge` asks reward and critics about all latents at once, `refit` selects elites and moves the
// sampling distribution. A block takes ROWS rows through a network while their activations stay in shared memory; weights are
// laid out as tensor cores want them (see `pack`) and come from the second-level cache, each 16 bytes a thread.
//
// These files are one text, in the order of `program.rs`. A header made by `layout.rs` comes before them: sizes, layers (struct Layer), BF16 (0: TF32), WARPS, and TILES, a
// sixteenth of the rows of a block.
//
// Activations are kept in 32-bit words: one TF32 number, or two bfloat16 numbers. With words as the unit the fragments of
// mma.m16n8k8 (TF32) and m16n8k16 (bfloat16) are laid out alike: a lane (g = lane / 4, t = lane % 4) of A holds words t and
// t + 4 of rows g and g + 8, of B words t and t + 4 of column g, and of the sums columns 2t and 2t + 1 of rows g and g + 8.

#define INFINITY __int_as_float(0x7f800000)
typedef unsigned int u32;
typedef unsigned long long u64;

#if BF16
constexpr int PER_WORD = 2;
#else
constexpr int PER_WORD = 1;
#endif
constexpr int THREADS = 32 * WARPS;

__host__ __device__ constexpr int up(int n, int to) { return (n + to - 1) / to * to; }
__host__ __device__ constexpr int words(int numbers) { return up(numbers, PER_WORD) / PER_WORD; }

// Rows of [z | a]: a begins at a multiple of 8 numbers. Strides are 4 modulo 8 words, so that the rows of a fragment lie in
// different banks.
constexpr int A_AT = up(D, 8);
constexpr int Z_WORDS = words(A_AT);
constexpr int ZA_WORDS = Z_WORDS + up(words(A), 16) > up(Z_WORDS + words(A), 16) ? Z_WORDS + up(words(A), 16) : up(Z_WORDS + words(A), 16);
constexpr int ZA_STRIDE = up(ZA_WORDS, 8) + 4;
constexpr int HIDDEN_STRIDE = up(words(up(WIDEST, 16 * PER_WORD)), 8) + 4;
constexpr float ACTION_BOUND = 1.0f - 1e-6f;
constexpr float WORST = -1e30f;

__device__ inline u32 word(float a, float b) {
#if BF16
    u32 w;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(b), "f"(a));
    return w;
#else
    u32 w;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(w) : "f"(a));
    return w;
#endif
}

// Two neighbouring numbers of a row; `column` is even.
__device__ inline void put(u32 *row, int column, float a, float b) {
#if BF16
    row[column / 2] = word(a, b);
#else
    row[column] = word(a, 0.0f);
    row[column + 1] = word(b, 0.0f);
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

__device__ inline float elu(float x) { return x > 0.0f ? x : __expf(x) - 1.0f; }
// in this order a NaN stays one
__device__ inline float tanh_of(float x) { return 1.0f - 2.0f / (1.0f + __expf(2.0f * x)); }
__device__ inline float clamp(float x, float bound) { return x > bound ? bound : (x < -bound ? -bound : x); }
__device__ inline bool finite(float x) { return x - x == 0.0f; }
