// Kernels on a CPU, for tests: a C++ compiler takes the same text, with this before it. The threads of a block are fibers; a warp
// runs as far as it can without the others, blocks run last to first, so that orders which do not wait for each other are
// found out. Tensor cores multiply what they are given: unrounded numbers with TF32, unless TF32_CUT says otherwise.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <ucontext.h>
#include <vector>

// For ThreadSanitizer fibers are threads, which barriers order and switching does not. What this file does for itself it need not see.
#if __SANITIZE_THREAD__
#define UNSEEN __attribute__((no_sanitize("thread"), noinline))
extern "C" {
void *__tsan_get_current_fiber();
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *);
void __tsan_switch_to_fiber(void *, unsigned flags);
void __tsan_acquire(void *);
void __tsan_release(void *);
void __tsan_read_range(const void *, unsigned long bytes);
void __tsan_write_range(void *, unsigned long bytes);
}
#else
#define UNSEEN
static void *__tsan_get_current_fiber() { return nullptr; }
static void *__tsan_create_fiber(unsigned) { return nullptr; }
static void __tsan_destroy_fiber(void *) {}
static void __tsan_switch_to_fiber(void *, unsigned) {}
static void __tsan_acquire(void *) {}
static void __tsan_release(void *) {}
static void __tsan_read_range(const void *, unsigned long) {}
static void __tsan_write_range(void *, unsigned long) {}
#endif

#define HOST
#define __device__
// shared memory is a static variable, and those of inline functions are one in all libraries of a process
#define inline static
#define __host__
#define __global__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __shared__ static
#define __align__(bytes) alignas(bytes)
#define __expf expf
#define exp_of expf

struct Dim3 {
    unsigned x, y, z;
};
static Dim3 threadIdx, blockIdx, blockDim, gridDim;

static void fail(const char *why) {
    fprintf(stderr, "kernels on a host: %s\n", why);
    abort();
}

namespace host {
constexpr unsigned MEMBERS = 8; // most blocks of a cluster
alignas(16) static unsigned long long shared_memories[MEMBERS][1 << 15];
struct Barrier {
    unsigned arrived = 0, round = 0, threads = 0;
    char shown[2];
};
// A block of a cluster.
struct Member {
    Barrier whole, warps[32];
    Dim3 index;
    // two of each: a thread is at most one exchange ahead of the others of its warp
    unsigned long long exchanged[2][32][32];
    unsigned words[2][32][32][6];
};
static Member members[MEMBERS];
static Barrier cluster, launched;
static unsigned member; // whose thread runs
static size_t room = sizeof shared_memories[0]; // bytes of shared memory that a kernel is given
struct Copy {
    unsigned *to;
    const float *from;
    unsigned count, width;
};
struct Thread {
    ucontext_t context;
    std::vector<char> stack;
    bool done;
    unsigned exchanges;
    const Barrier *waits; // for this barrier's round, if for any
    unsigned round;
    void *fiber;
    // Groups of copies that it has not waited for, and copies that are in none. They happen as late as they may.
    std::deque<std::vector<Copy>> copies;
};
// never taken down: a sanitizer would see that done by a thread that waited for nobody
static Thread (*const threads)[1024] = new Thread[MEMBERS][1024];
static Thread &scheduler = *new Thread;
static std::function<void()> &body = *new std::function<void()>;

UNSEEN static Member &own() { return members[member]; }
UNSEEN static Thread &self() { return threads[member][threadIdx.x]; }

UNSEEN static void go_on(Thread &from, Thread &to) {
    __tsan_switch_to_fiber(to.fiber, 1);
    swapcontext(&from.context, &to.context);
}

// The memory that a barrier's threads show each other, if they do, is that of an address for every other round.
UNSEEN static void show(Barrier &barrier, unsigned round) {
    __tsan_release(&barrier.shown[round % 2]);
}

UNSEEN static void see(Barrier &barrier, unsigned round) {
    __tsan_acquire(&barrier.shown[round % 2]);
}

UNSEEN static void meet(Barrier &barrier) {
    const unsigned round = barrier.round;
    barrier.arrived++;
    while (barrier.round == round) {
        if (barrier.arrived >= barrier.threads) {
            barrier.arrived = 0;
            barrier.round++;
            return;
        }
        self().waits = &barrier;
        self().round = round;
        go_on(self(), scheduler);
    }
    self().waits = nullptr;
}

UNSEEN static void wait(Barrier &barrier) {
    const unsigned round = barrier.round;
    show(barrier, round);
    meet(barrier);
    see(barrier, round);
}

// Lanes that exchange numbers meet, but show each other no memory.
UNSEEN static void meet_in_warp() { meet(own().warps[threadIdx.x / 32]); }

UNSEEN static void end() {
    show(launched, 0);
    self().done = true;
    own().warps[threadIdx.x / 32].threads--;
    own().whole.threads--;
    cluster.threads--;
    go_on(self(), scheduler);
}

static void fiber() {
    body();
    end();
}

UNSEEN static bool blocked(const Thread &t) {
    return t.done || (t.waits && t.waits->round == t.round && t.waits->arrived < t.waits->threads);
}

UNSEEN static void start(Thread &t) {
    t.stack.resize(1 << 16);
    t.done = false;
    t.exchanges = 0;
    t.waits = nullptr;
    t.copies.assign(1, {});
    getcontext(&t.context);
    t.context.uc_stack.ss_sp = t.stack.data();
    t.context.uc_stack.ss_size = t.stack.size();
    makecontext(&t.context, fiber, 0);
    t.fiber = __tsan_create_fiber(0);
}

// Runs the threads from `from` to `to` of the current block as far as they can without others; whether any could.
UNSEEN static bool advance(unsigned from, unsigned to) {
    bool moved = false;
    for (bool moves = true; moves;) {
        moves = false;
        for (unsigned i = from; i < to; i++) {
            if (blocked(threads[member][i])) continue;
            moved = moves = true;
            threadIdx.x = i;
            blockIdx = own().index;
            go_on(scheduler, self());
        }
    }
    return moved;
}

// Runs blocks of a cluster: each block as far as it can, and of it each warp.
UNSEEN static void run(unsigned count) {
    const unsigned size = blockDim.x;
    cluster = Barrier();
    cluster.threads = count * size;
    for (unsigned m = 0; m < count; m++) {
        memset(shared_memories[m], 0xff, sizeof shared_memories[m]); // no numbers
        members[m].whole = Barrier();
        members[m].whole.threads = size;
        for (unsigned i = 0; i < 32; i++) {
            members[m].warps[i] = Barrier();
            members[m].warps[i].threads = size > 32 * i ? (size - 32 * i < 32 ? size - 32 * i : 32) : 0;
        }
        for (unsigned i = 0; i < size; i++) start(threads[m][i]);
    }
    while (cluster.threads > 0) {
        for (member = 0; member < count; member++) {
            for (bool moves = true; moves;) {
                moves = false;
                for (unsigned warp = 0; warp < size; warp += 32) moves |= advance(warp, warp + 32 < size ? warp + 32 : size);
            }
        }
    }
    see(launched, 0);
    for (unsigned m = 0; m < count; m++)
        for (size_t i = room; i < sizeof shared_memories[m]; i++)
            if (((unsigned char *)shared_memories[m])[i] != 0xff) fail("a block wrote behind the shared memory that it was given");
    for (unsigned m = 0; m < count; m++)
        for (unsigned i = 0; i < size; i++) __tsan_destroy_fiber(threads[m][i].fiber);
    member = 0;
}

// Runs a kernel, as a call of it, with so many blocks and threads, of which so many blocks, side by side, are a cluster.
static void launch(std::function<void()> kernel, Dim3 blocks, unsigned threads, unsigned team = 1) {
    body = kernel;
    scheduler.fiber = __tsan_get_current_fiber();
    gridDim = blocks;
    blockDim = {threads, 1, 1};
    const unsigned all = blocks.x * blocks.y * blocks.z;
    if (all % team != 0 || team > MEMBERS) fail("blocks do not divide into clusters");
    for (unsigned i = all; i > 0; i -= team) {
        for (unsigned m = 0; m < team; m++) {
            const unsigned at = i - team + m;
            members[m].index = {at % blocks.x, at / blocks.x % blocks.y, at / blocks.x / blocks.y};
        }
        run(team);
    }
    for (unsigned m = 0; m < team; m++)
        for (unsigned i = 0; i < blockDim.x; i++) host::threads[m][i].stack = std::vector<char>();
}
} // namespace host

static void __syncwarp() { host::wait(host::own().warps[threadIdx.x / 32]); }
static void __syncthreads() { host::wait(host::own().whole); }
static void begin() {}
static void wait_for_cluster() { host::wait(host::cluster); }

#define shared_memory host::shared_memories[host::member]

template <class T> static T *in_block(T *own, unsigned block) {
    return (T *)((char *)own - (char *)shared_memory + (char *)host::shared_memories[block]);
}

template <unsigned W> UNSEEN static void copy_async(unsigned *to, const float *from, unsigned count) {
    if (((size_t)to | (size_t)from) % (4 * W) != 0 || count > W) fail("a copy is not aligned to its width, or wider");
    __tsan_write_range(to, 4 * W);
    __tsan_read_range(from, 4 * count);
    host::self().copies.back().push_back({to, from, count, W});
}

static void commit_copies() { host::self().copies.push_back({}); }

template <unsigned COUNT> UNSEEN static void wait_for_copies() {
    auto &groups = host::self().copies;
    for (; groups.size() > COUNT + 1; groups.pop_front()) {
        for (const host::Copy &copy : groups.front()) {
            __tsan_write_range(copy.to, 4 * copy.width);
            memset(copy.to, 0, copy.width * sizeof *copy.to);
            memcpy(copy.to, copy.from, copy.count * sizeof *copy.to);
        }
    }
}

// What every lane of a warp gives, for all of them.
template <class T> UNSEEN static const unsigned long long *exchange(T x) {
    unsigned long long *all = host::own().exchanged[host::self().exchanges++ % 2][threadIdx.x / 32];
    all[threadIdx.x % 32] = 0;
    memcpy(&all[threadIdx.x % 32], &x, sizeof x);
    host::meet_in_warp();
    return all;
}

UNSEEN static unsigned long long given(const unsigned long long *all, unsigned lane) { return all[lane]; }

template <class T> UNSEEN static T __shfl_xor_sync(unsigned, T x, int lanes) {
    memcpy(&x, &exchange(x)[threadIdx.x % 32 ^ lanes], sizeof x);
    return x;
}

template <class T> UNSEEN static T __shfl_up_sync(unsigned, T x, unsigned lanes) {
    const unsigned lane = threadIdx.x % 32;
    memcpy(&x, &exchange(x)[lane < lanes ? lane : lane - lanes], sizeof x);
    return x;
}

UNSEEN static unsigned __ballot_sync(unsigned, bool yes) {
    const unsigned long long *all = exchange(yes);
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; i++) votes |= (unsigned)all[i] << i;
    return votes;
}

UNSEEN static unsigned __match_any_sync(unsigned, unsigned x) {
    const unsigned long long *all = exchange(x);
    unsigned same = 0;
    for (unsigned i = 0; i < 32; i++) same |= (unsigned)(all[i] == x) << i;
    return same;
}

struct alignas(8) float2 {
    float x, y;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
static uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static float2 make_float2(float x, float y) { return {x, y}; }
static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
template <class T> static T __ldg(const T *from) { return *from; }
static float ratio(float a, float b) { return a / b; }
static float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static int __popc(unsigned x) { return __builtin_popcount(x); }
static unsigned atomicAdd(unsigned *to, unsigned x) { return __atomic_fetch_add(to, x, __ATOMIC_RELAXED); }

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
#elif TF32_CUT
// as in arithmetic.cu, and as tensor cores cut
static unsigned word(float a, float) { return __float_as_uint(a * 1.00033844f); }
static float product_of(unsigned a, unsigned b) { return __uint_as_float(a & ~0x1fffu) * __uint_as_float(b & ~0x1fffu); }
#else
static unsigned word(float a, float) { return __float_as_uint(a); }
static float product_of(unsigned a, unsigned b) { return __uint_as_float(a) * __uint_as_float(b); }
#endif

static void load_matrices(unsigned *words, const unsigned *row) {
    if ((size_t)row % 16 != 0) fail("a row of a matrix is not aligned");
    const unsigned lane = threadIdx.x % 32;
    const unsigned long long *rows = exchange(row);
    for (unsigned i = 0; i < 4; i++) words[i] = ((const unsigned *)given(rows, 8 * i + lane / 4))[lane % 4];
}

UNSEEN static void mma(float *sum, const unsigned *a, unsigned b0, unsigned b1) {
    const unsigned lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    unsigned(*words)[6] = host::own().words[host::self().exchanges++ % 2][threadIdx.x / 32];
    memcpy(words[lane], a, 4 * sizeof *a);
    words[lane][4] = b0;
    words[lane][5] = b1;
    host::meet_in_warp();
    for (unsigned i = 0; i < 4; i++) {
        const unsigned row = i / 2, column = 2 * t + i % 2;
        for (unsigned k = 0; k < 8; k++) sum[i] += product_of(words[4 * g + k % 4][row + k / 4 * 2], words[4 * column + k % 4][4 + k / 4]);
    }
}
