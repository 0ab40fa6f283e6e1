// The policy's sequences, candidates through the dynamics, and what they are worth.

// Everything a plan reads and writes; C = N + P candidates an environment, the policy's last.
struct Plan {
    const uint4 *weights;
    const float *vectors;
    const float *observations; // [E, O]
    const float *warm;         // [E, H, A]
    const float *of_rewards;   // [H]
    const float *of_values;    // [H]
    const float *settings;     // min_std, max_std, momentum, temperature
    const float *samples;      // [iterations, E, N, H, A]
    const float *tails;        // [iterations, E, N, A]
    const float *policy_steps; // [E, P, H, A]
    const float *policy_tails; // [E, P, A]
    const float *gumbel;       // [E, K]
    const float *exploration;  // [E, A]
    float *z0;                 // [E, A_AT]
    float *mean, *std;         // [E, H, A]
    float *actions;            // [E, C, H, A]
    u32 *latents;              // [E, C, H, Z_WORDS] of z_1 … z_H
    float *rewards;            // [E, C, H]
    float *values;             // [2, E, C, H], of both critics
    float *scores;             // [E, C]
    u32 *ranks;                // [E, C]
    float *weightings;         // [E, K]
    float *out;                // [E, A + H·A + 3]: action, mean, mean score and policy share of the elites, bad scores
    int E, N, P, H, K, depths;
};

enum { MPPI, MPPI2, CEM };

// z_0 of every environment, the first distribution, and the policy's sequences; both blocks have the same rows [z | a].
template <class Who, class Heads, class Motion>
__device__ inline void propose_by(const Plan &p, const Heads &heads, const Motion &motion) {
    const int each = p.P > 0 ? p.P : 1, rows = p.E * each, first = blockIdx.x / Who::BLOCKS * heads.ROWS;
    const bool writes = blockIdx.x % Who::BLOCKS == 0;
    u32 *observed = heads.hidden[1]; // the first layer writes to the other
    for (int i = threadIdx.x; i < heads.ROWS * O; i += THREADS) {
        const int r = i / O, c = i % O;
        const float x = first + r < rows ? p.observations[(first + r) / each * O + c] : 0.0f;
#if BF16
        ((unsigned short *)(observed + r * heads.HIDDEN_STRIDE))[c] = (unsigned short)word(x, 0.0f);
#else
        observed[r * heads.HIDDEN_STRIDE + c] = word(x, 0.0f);
#endif
    }
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < p.E * p.H * A; i += gridDim.x * THREADS) {
        p.mean[i] = p.warm[i];
        p.std[i] = p.settings[1];
    }
    __syncthreads();
    heads.network(ENCODER, observed, heads.HIDDEN_STRIDE, [&](At at, float x, float y) {
        heads.latent(at.row, at.column, x, y);
        const int q = first + at.row;
        if (writes && q < rows && q % each == 0) {
            p.z0[q / each * A_AT + at.column] = x;
            p.z0[q / each * A_AT + at.column + 1] = y;
        }
    });
    __syncthreads();
    if (p.P == 0) return;
    const int candidates = p.N + p.P;
    for (int k = 0; k < p.H; k++) {
        heads.template policy<Who>([&](int r, int i) { return first + r < rows ? p.policy_steps[((first + r) * p.H + k) * A + i] : 0.0f; },
                                   [&](int r, int i, float a) {
                                       heads.act(r, i, a);
                                       const int q = first + r;
                                       if (writes && q < rows) p.actions[((q / p.P * candidates + p.N + q % p.P) * p.H + k) * A + i] = a;
                                   });
        if (k + 1 < p.H) motion.template step<Who>(true);
    }
    // others may still read what this one has made
    Who::wait();
}

// The weights of the dynamics, to be used behind the next barrier of the block.
__device__ inline Near copy_near(uint4 *to, const uint4 *weights) {
    for (int i = threadIdx.x; i < MOTION_COUNT; i += THREADS) to[i] = __ldg(weights + MOTION_AT + i);
    return Near{to};
}

// Rows of an iteration: all C candidates in the first, later the N sampled ones.
struct Rows {
    int each, count;
    __device__ Rows(const Plan &p, int iteration) : each(iteration == 0 ? p.N + p.P : p.N), count(p.E * each) {}
};

// Candidates through the dynamics.
template <int MT> __device__ inline void imagine_of(const Plan &p, int iteration, u32 *memory) {
#if NEAR
    using Motion = Block<MT, MOTION_WIDEST, Near>;
    const Motion b(memory, copy_near((uint4 *)(memory + Motion::FIXED + Motion::HIDDEN), p.weights), p.vectors);
#elif MOTION_STREAMS
    using Motion = Block<MT, MOTION_WIDEST, Streamed>;
    const Motion b(memory, Streamed{p.weights, (uint4 *)(memory + Motion::FIXED + Motion::HIDDEN)}, p.vectors);
#else
    const Block<MT, MOTION_WIDEST, Far> b(memory, Far{p.weights}, p.vectors);
#endif
    const Rows rows(p, iteration);
    const int first = blockIdx.x * b.ROWS, candidates = p.N + p.P;
    // actions that a thread makes, and what of: it asks for the next step's before it goes through this one's
    constexpr int EACH = (b.ROWS * A + THREADS - 1) / THREADS;
    float mean[EACH], std[EACH], noise[EACH];
    auto action = [&](int j, int k) {
        const int i = threadIdx.x + j * THREADS, q = first + i / A;
        return i < b.ROWS * A && q < rows.count ? p.actions + ((q / rows.each * candidates + q % rows.each) * p.H + k) * A + i % A : nullptr;
    };
    auto ask = [&](int k) {
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const int i = threadIdx.x + j * THREADS, q = first + i / A, e = q / rows.each, n = q % rows.each;
            if (i >= b.ROWS * A || q >= rows.count) continue;
            const int at = (e * p.H + k) * A + i % A;
            const float *samples = p.samples + (size_t)iteration * p.E * p.N * p.H * A;
            mean[j] = n < p.N ? p.mean[at] : *action(j, k);
            std[j] = n < p.N ? p.std[at] : 0.0f;
            noise[j] = n < p.N ? samples[((e * p.N + n) * p.H + k) * A + i % A] : 0.0f;
        }
    };
    ask(0);
    for (int i = threadIdx.x; i < b.ROWS * (A_AT / 2); i += THREADS) {
        const int r = i / (A_AT / 2), c = i % (A_AT / 2) * 2, q = first + r;
        const float *z = p.z0 + (q < rows.count ? q / rows.each : 0) * A_AT + c;
        b.latent(r, c, z[0], z[1]);
    }
    for (int k = 0; k < p.H; k++) {
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            float *to = action(j, k);
            if (to == nullptr) continue;
            // the policy's, which has no deviation, comes back as it is
            const float a = clamp(mean[j] + std[j] * noise[j], 1.0f);
            *to = a;
            const int i = threadIdx.x + j * THREADS;
            b.act(i / A, i % A, a);
        }
        if (k + 1 < p.H) ask(k + 1);
        __syncthreads();
        b.step(k % RECONDITION_EVERY == 0);
        for (int i = threadIdx.x; i < b.ROWS * (Z_WORDS / 4); i += THREADS) {
            const int r = i / (Z_WORDS / 4), w = i % (Z_WORDS / 4) * 4, q = first + r;
            if (q >= rows.count) continue;
            const size_t at = q / rows.each * candidates + q % rows.each;
            *(uint4 *)(p.latents + (at * p.H + k) * Z_WORDS + w) = *(const uint4 *)(b.row(r) + w);
        }
    }
}

// What a block of `judge` asks about: the last `per` steps of every candidate, one after the other, from `first` on.
struct Steps {
    const Plan &p;
    Rows rows;
    int per, first;

    __device__ Steps(const Plan &p, int iteration, int per, int first) : p(p), rows(p, iteration), per(per), first(first) {}
    __device__ bool here(int r) const { return first + r < rows.count * per; }
    __device__ int environment(int r) const { return (first + r) / per / rows.each; }
    __device__ int of_environment(int r) const { return (first + r) / per % rows.each; }
    __device__ size_t candidate(int r) const { return environment(r) * (p.N + p.P) + of_environment(r); }
    __device__ int step(int r) const { return (first + r) % per + p.H - per; }

    // Latents behind steps, or `before` of them, start to come, 16 bytes at a time.
    template <class Heads> __device__ void load(const Heads &b, int before) const {
        constexpr int PIECES = Z_WORDS / 4;
        for (int i = threadIdx.x; i < b.ROWS * PIECES; i += THREADS) {
            const int r = i / PIECES, w = i % PIECES * 4;
            if (!here(r)) continue;
            const int k = step(r) - before;
            if (k >= 0) copy_async<4>(b.row(r) + w, (const float *)(p.latents + (candidate(r) * p.H + k) * Z_WORDS + w), 4);
            else
                for (int j = w; j < w + 4; j++) {
                    const float *z = p.z0 + environment(r) * A_AT + j * PER_WORD;
                    b.row(r)[j] = word(z[0], z[PER_WORD - 1]);
                }
        }
        commit_copies();
    }
};

template <class Heads> __device__ inline void reward_of(const Plan &p, int iteration, int block, const Heads &b) {
    const Steps steps(p, iteration, p.H, block * b.ROWS);
    steps.load(b, 1);
    for (int i = threadIdx.x; i < b.ROWS * A; i += THREADS) {
        const int r = i / A, j = i % A;
        if (steps.here(r)) b.act(r, j, p.actions[(steps.candidate(r) * p.H + steps.step(r)) * A + j]);
    }
    wait_for_copies<0>();
    __syncthreads();
    b.elu_layer(REWARD[0], b.za, ZA_STRIDE, b.hidden[0]);
    __syncthreads();
    b.single(REWARD[1], REWARD_LAST, b.hidden[0], [&](int r, float reward) {
        if (steps.here(r)) p.rewards[steps.candidate(r) * p.H + steps.step(r)] = reward;
    });
}

// Both critics, or one of them, and the policy's action that they are asked about.
template <class Heads> __device__ inline void value_of(const Plan &p, int iteration, int block, int from, int to, const Heads &b) {
    const Steps steps(p, iteration, p.depths, block * b.ROWS);
    steps.load(b, 0);
    wait_for_copies<0>();
    __syncthreads();
    const float *tails = p.tails + (size_t)iteration * p.E * p.N * A;
    b.policy(
        [&](int r, int i) {
            if (!steps.here(r)) return 0.0f;
            const int e = steps.environment(r), n = steps.of_environment(r);
            return n < p.N ? tails[(e * p.N + n) * A + i] : p.policy_tails[(e * p.P + n - p.N) * A + i];
        },
        [&](int r, int i, float a) { b.act(r, i, a); });
    // once in the code, so that it compiles in half the time
#pragma unroll 1
    for (int i = from; i < to; i++)
        b.critic(CRITICS[i], [&](int r, float q) {
            if (steps.here(r)) p.values[((size_t)(i * p.E * (p.N + p.P)) + steps.candidate(r)) * p.H + steps.step(r)] = q;
        });
}

// Where blocks of `judge` have their weights from.
template <int MT> struct Source {
    using Weights = Far;
    __device__ static Far of(const Plan &p, u32 *) { return Far{p.weights}; }
};
struct Streaming {
    using Weights = Streamed;
    __device__ static Streamed of(const Plan &p, u32 *behind) { return Streamed{p.weights, (uint4 *)behind}; }
};
#if REWARDS_STREAM
template <> struct Source<TILES> : Streaming {};
#endif
#if VALUES_STREAM && (VALUE_TILES != TILES || !REWARDS_STREAM)
template <> struct Source<VALUE_TILES> : Streaming {};
#endif
template <int MT> using Heads = Block<MT, WIDEST, typename Source<MT>::Weights, HEADS>;

template <int MT> __device__ inline Heads<MT> heads_of(const Plan &p, u32 *memory) {
    return Heads<MT>(memory, Source<MT>::of(p, memory + Heads<MT>::FIXED + Heads<MT>::HIDDEN), p.vectors);
}

#ifndef HOST
extern __shared__ __align__(16) u64 shared_memory[];
#endif

#if defined(EVERY_KERNEL) || defined(ONLY_propose)
extern "C" __global__ void __launch_bounds__(THREADS) propose(Plan p) {
    const Block<1, WIDEST, Far> b((u32 *)shared_memory, Far{p.weights}, p.vectors);
    propose_by<Alone>(p, b, b);
}
#endif

#if TEAM && (defined(EVERY_KERNEL) || defined(ONLY_propose_together))
extern "C" __global__ void __cluster_dims__(TEAM, 1, 1) __launch_bounds__(THREADS) propose_together(Plan p) {
    u32 *memory = (u32 *)shared_memory;
#if TEAM_NEAR
    using Motion = Block<1, MOTION_WIDEST, Near>;
    u32 *near = memory + Motion::FIXED + Motion::HIDDEN, *buffers = near + 4 * MOTION_COUNT;
    const Motion motion(memory, copy_near((uint4 *)near, p.weights), p.vectors);
#else
    using Motion = Block<1, MOTION_WIDEST, Far>;
    u32 *buffers = memory + Motion::FIXED + Motion::HIDDEN;
    const Motion motion(memory, Far{p.weights}, p.vectors);
#endif
    const Block<1, WIDEST, Far> heads(memory, buffers, Far{p.weights}, p.vectors);
    propose_by<Together>(p, heads, motion);
}
#endif

#if defined(EVERY_KERNEL) || defined(ONLY_imagine)
extern "C" __global__ void __launch_bounds__(THREADS) imagine(Plan p, int iteration) {
    imagine_of<TILES>(p, iteration, (u32 *)shared_memory);
}
#endif

#if defined(EVERY_KERNEL) || defined(ONLY_judge)
// Values where they count, and rewards of all steps: blocks of values, which take longer, then blocks of rewards. With `apart` a block
// asks one critic, and there are as many for the other.
extern "C" __global__ void __launch_bounds__(THREADS) judge(Plan p, int iteration, int value_blocks, int apart) {
    u32 *memory = (u32 *)shared_memory;
    const int block = blockIdx.x, groups = apart ? value_blocks / 2 : value_blocks;
    if (block < value_blocks) {
        const int from = apart ? block / groups : 0;
        value_of(p, iteration, block % groups, from, apart ? from + 1 : 2, heads_of<VALUE_TILES>(p, memory));
    } else reward_of(p, iteration, block - value_blocks, heads_of<TILES>(p, memory));
}
#endif
