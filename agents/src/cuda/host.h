// Kernels on a CPU, for tests: a C++ compiler takes the same text, with this before it. The threads of a block are fibers that
// run one after the other between barriers, its blocks run last to first, so that orders which do not wait for each other are
// found out. Tensor cores multiply what they are given: unrounded numbers with TF32.

#include <cmath>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define HOST
#define __device__
#define __host__
#define __global__
#define __launch_bounds__(...)
#define __shared__ static
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
static unsigned running[33]; // threads of every warp, and of the block
static void (*body)();
// two of each: a thread is at most one exchange ahead of the others of its warp
static float exchanged[2][32][32], words[2][32][32][6];
static unsigned exchanges[1024];

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
            return;
        }
        yield();
    }
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
        stacks[i].resize(1 << 15);
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks[i].data();
        fibers[i].uc_stack.ss_size = stacks[i].size();
        fibers[i].uc_link = &scheduler;
        makecontext(&fibers[i], fiber, 0);
    }
    while (running[32] > 0) {
        for (unsigned i = 0; i < threads; i++) {
            if (done[i]) continue;
            threadIdx.x = i;
            swapcontext(&scheduler, &fibers[i]);
        }
    }
}

template <class Kernel> static void launch(Kernel kernel, unsigned blocks, unsigned threads, float *memory, const int *orders) {
    static Kernel run;
    static float *numbers;
    static const int *told;
    run = kernel;
    numbers = memory;
    told = orders;
    body = [] { run(numbers, told); };
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    for (unsigned i = blocks; i-- > 0;) {
        blockIdx = {i, 0, 0};
        block(threads);
    }
}
} // namespace host

static void __syncthreads() { host::wait(host::whole, host::running[32]); }

static float __shfl_xor_sync(unsigned, float x, int lanes) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, turn = host::exchanges[threadIdx.x]++ % 2;
    host::exchanged[turn][warp][lane] = x;
    host::wait_for_warp();
    return host::exchanged[turn][warp][lane ^ lanes];
}

static unsigned word(float a, float) {
    unsigned bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}

static void mma(float *sum, const unsigned *a, unsigned b0, unsigned b1) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float(*words)[6] = host::words[host::exchanges[threadIdx.x]++ % 2][warp];
    memcpy(words[lane], a, 4 * sizeof *a);
    memcpy(words[lane] + 4, &b0, sizeof b0);
    memcpy(words[lane] + 5, &b1, sizeof b1);
    host::wait_for_warp();
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = i / 2, column = 2 * t + i % 2;
        for (unsigned k = 0; k < 8; k++) {
            sum[i] += words[4 * g + k % 4][row + k / 4 * 2] * words[4 * column + k % 4][4 + k / 4];
        }
    }
}
