// Kernels on a CPU, for tests: a C++ compiler takes the same text, with this before it. The threads of a block are fibers; a warp
// runs as far as it can without the others, blocks run last to first, so that orders which do not wait for each other are
// found out. Tensor cores multiply what they are given: unrounded numbers with TF32.

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <ucontext.h>
#include <vector>

#define HOST
#define __device__
// shared memory is a static variable, and those of inline functions are one in all libraries of a process
#define inline static
#define __host__
#define __global__
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(bytes) alignas(bytes)
#define __expf expf

struct Dim3 {
    unsigned x, y, z;
};
static Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace host {
struct Barrier {
    unsigned arrived = 0, round = 0;
};
static std::vector<ucontext_t> fibers;
static std::vector<std::vector<char>> stacks;
static std::vector<bool> done;
static ucontext_t scheduler;
static Barrier whole, warps[32];
// By thread: the round of the block's barrier that it waits for, −1 if it does not.
static int waits[1024];
static unsigned running[33]; // threads of every warp, and of the block
static std::function<void()> body;
// two of each: a thread is at most one exchange ahead of the others of its warp
static unsigned long long exchanged[2][32][32];
static unsigned words[2][32][32][6];
static unsigned exchanges[1024];
struct Copy {
    unsigned *to;
    const float *from;
    unsigned count, width;
};
// By thread: groups of copies that it has not waited for, and copies that are in none. They happen as late as they may.
static std::deque<std::vector<Copy>> copies[1024];

static void yield() {
    const unsigned self = threadIdx.x;
    swapcontext(&fibers[self], &scheduler);
    threadIdx.x = self;
}

static void wait(Barrier &barrier, const unsigned &threads) {
    const unsigned round = barrier.round;
    barrier.arrived++;
    while (barrier.round == round) {
        if (barrier.arrived >= threads) {
            barrier.arrived = 0;
            barrier.round++;
            break;
        }
        if (&barrier == &whole) waits[threadIdx.x] = round;
        yield();
    }
    waits[threadIdx.x] = -1;
}

static void wait_for_warp() { wait(warps[threadIdx.x / 32], running[threadIdx.x / 32]); }

static void fiber() {
    body();
    done[threadIdx.x] = true;
    running[threadIdx.x / 32]--;
    running[32]--;
    yield();
}

static void block(unsigned threads) {
    whole = Barrier();
    for (auto &warp : warps) warp = Barrier();
    memset(exchanges, 0, sizeof exchanges);
    fibers.resize(threads);
    stacks.resize(threads);
    done.assign(threads, false);
    running[32] = threads;
    for (unsigned i = 0; i < 32; i++) running[i] = threads > 32 * i ? (threads - 32 * i < 32 ? threads - 32 * i : 32) : 0;
    for (unsigned i = 0; i < threads; i++) {
        copies[i].assign(1, {});
        waits[i] = -1;
        stacks[i].resize(1 << 15);
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks[i].data();
        fibers[i].uc_stack.ss_size = stacks[i].size();
        fibers[i].uc_link = &scheduler;
        makecontext(&fibers[i], fiber, 0);
    }
    while (running[32] > 0) {
        for (unsigned warp = 0; warp < threads; warp += 32) {
            for (bool moves = true; moves;) {
                moves = false;
                for (unsigned i = warp; i < warp + 32 && i < threads; i++) {
                    if (done[i] || (waits[i] == (int)whole.round && whole.arrived < running[32])) continue;
                    moves = true;
                    threadIdx.x = i;
                    swapcontext(&scheduler, &fibers[i]);
                }
            }
        }
    }
}

// Runs a kernel, as a call of it, with so many blocks and threads.
static void launch(std::function<void()> kernel, Dim3 blocks, unsigned threads) {
    body = kernel;
    gridDim = blocks;
    blockDim = {threads, 1, 1};
    for (unsigned i = blocks.x * blocks.y * blocks.z; i-- > 0;) {
        blockIdx = {i % blocks.x, i / blocks.x % blocks.y, i / blocks.x / blocks.y};
        block(threads);
    }
}
} // namespace host

static void __syncwarp() { host::wait_for_warp(); }
static void __syncthreads() { host::wait(host::whole, host::running[32]); }

template <unsigned W> static void copy_async(unsigned *to, const float *from, unsigned count) {
    if (((size_t)to | (size_t)from) % (4 * W) != 0 || count > W) abort();
    host::copies[threadIdx.x].back().push_back({to, from, count, W});
}

static void commit_copies() { host::copies[threadIdx.x].push_back({}); }

template <unsigned COUNT> static void wait_for_copies() {
    auto &groups = host::copies[threadIdx.x];
    for (; groups.size() > COUNT + 1; groups.pop_front()) {
        for (const host::Copy &copy : groups.front()) {
            memset(copy.to, 0, copy.width * sizeof *copy.to);
            memcpy(copy.to, copy.from, copy.count * sizeof *copy.to);
        }
    }
}

// What every lane of a warp gives, for all of them.
template <class T> static const unsigned long long *exchange(T x) {
    const unsigned warp = threadIdx.x / 32, turn = host::exchanges[threadIdx.x]++ % 2;
    unsigned long long *all = host::exchanged[turn][warp];
    all[threadIdx.x % 32] = 0;
    memcpy(&all[threadIdx.x % 32], &x, sizeof x);
    host::wait_for_warp();
    return all;
}

template <class T> static T __shfl_xor_sync(unsigned, T x, int lanes) {
    memcpy(&x, &exchange(x)[threadIdx.x % 32 ^ lanes], sizeof x);
    return x;
}

template <class T> static T __shfl_up_sync(unsigned, T x, unsigned lanes) {
    const unsigned lane = threadIdx.x % 32;
    memcpy(&x, &exchange(x)[lane < lanes ? lane : lane - lanes], sizeof x);
    return x;
}

static unsigned __ballot_sync(unsigned, bool yes) {
    const unsigned long long *all = exchange(yes);
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; i++) votes |= (unsigned)all[i] << i;
    return votes;
}

struct float2 {
    float x, y;
};
struct uint4 {
    unsigned x, y, z, w;
};
static float2 make_float2(float x, float y) { return {x, y}; }
static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
template <class T> static T __ldg(const T *from) { return *from; }
static float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static int __popc(unsigned x) { return __builtin_popcount(x); }
static unsigned atomicAdd(unsigned *to, unsigned x) { return (*to += x) - x; }

static unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#if BF16
static unsigned rounded(float x) {
    const unsigned bits = __float_as_uint(x);
    return x != x ? 0x7fc0u : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
static unsigned word(float a, float b) { return rounded(a) | rounded(b) << 16; }
static float product_of(unsigned a, unsigned b) {
    return __uint_as_float(a << 16) * __uint_as_float(b << 16) + __uint_as_float(a & ~0xffffu) * __uint_as_float(b & ~0xffffu);
}
#else
static unsigned word(float a, float) { return __float_as_uint(a); }
static float product_of(unsigned a, unsigned b) { return __uint_as_float(a) * __uint_as_float(b); }
#endif

static void load_matrices(unsigned *words, const unsigned *row) {
    if ((size_t)row % 16 != 0) abort();
    const unsigned lane = threadIdx.x % 32;
    const unsigned long long *rows = exchange(row);
    for (unsigned i = 0; i < 4; i++) words[i] = ((const unsigned *)rows[8 * i + lane / 4])[lane % 4];
}

static void mma(float *sum, const unsigned *a, unsigned b0, unsigned b1) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    unsigned(*words)[6] = host::words[host::exchanges[threadIdx.x]++ % 2][warp];
    memcpy(words[lane], a, 4 * sizeof *a);
    words[lane][4] = b0;
    words[lane][5] = b1;
    host::wait_for_warp();
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = i / 2, column = 2 * t + i % 2;
        for (unsigned k = 0; k < 8; k++) sum[i] += product_of(words[4 * g + k % 4][row + k / 4 * 2], words[4 * column + k % 4][4 + k / 4]);
    }
}
