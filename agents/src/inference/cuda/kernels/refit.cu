// From scores to elites, the next distribution, and the decision.

// Sums over all threads, the same whatever their timing.
template <int COUNT> __device__ inline void totals(float (&x)[COUNT], float *scratch) {
    constexpr int ALL = REFIT_THREADS / 32;
    static_assert(ALL <= 32, "a warp adds up what the warps have");
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        for (int lanes = 16; lanes > 0; lanes /= 2) x[i] += __shfl_xor_sync(~0u, x[i], lanes);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        if (lane == 0) scratch[i * ALL + warp] = x[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        x[i] = lane < ALL ? scratch[i * ALL + lane] : 0.0f;
        for (int lanes = 16; lanes > 0; lanes /= 2) x[i] += __shfl_xor_sync(~0u, x[i], lanes);
    }
}

// Numbers in the order of floats, as integers in the order of integers.
__device__ inline u32 ordered(float x) {
    const u32 bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
// Keys hold a rank and, so that of equals the first is the largest, an index.
__device__ inline int index_of(u64 key) { return (int)(0xffffffffu - (u32)key); }
__device__ inline float unordered(u32 x) { return __uint_as_float(x & 0x80000000u ? x & 0x7fffffffu : ~x); }

// What candidate i of an environment is worth.
__device__ inline float score_of(const Plan &p, int e, int i) {
    const size_t at = (size_t)(e * (p.N + p.P) + i) * p.H, other = (size_t)p.E * (p.N + p.P) * p.H;
    float score = 0.0f;
#pragma unroll 8
    for (int k = 0; k < p.H; k++) {
        score += p.of_rewards[k] * p.rewards[at + k];
        if (k < p.H - p.depths) continue;
        const float q1 = p.values[at + k], q2 = p.values[other + at + k];
        // the smaller one; in this order a NaN of either stays
        score += p.of_values[k] * (q1 < q2 || q1 != q1 ? q1 : q2);
    }
    return score;
}

// A finite one of which there is an order.
__device__ inline float rank_of(float score) { return finite(score) ? fminf(fmaxf(score, WORST), -WORST) : WORST; }

// Counts a number in its bin. The lanes of a warp share few bins, where they would wait for each other if there were `many` of them.
__device__ inline void count_in(u32 *bins, u32 bin, bool counts, bool many) {
    if (!many) {
        if (counts) atomicAdd(&bins[bin], 1u);
        return;
    }
    const u32 same = __match_any_sync(~0u, counts ? bin : 256);
    if (counts && (same & ((1u << threadIdx.x % 32) - 1)) == 0) atomicAdd(&bins[bin], (u32)__popc(same));
}

// `what(i, rank)` for all candidates and what fills the last warp up (with i from `count` on), of which some ranks come at once. A thread
// has its first one already, and often no other.
template <class What> __device__ inline void each_rank(const u32 *ranks, int count, u32 own, What what) {
    constexpr int SOME = 8;
    for (int from = threadIdx.x; from / 32 * 32 < count; from += SOME * REFIT_THREADS) {
        u32 some[SOME];
#pragma unroll
        for (int j = 0; j < SOME; j++) {
            const int i = from + j * REFIT_THREADS;
            some[j] = i == (int)threadIdx.x ? own : i < count ? ranks[i] : 0;
        }
#pragma unroll
        for (int j = 0; j < SOME; j++) {
            const int i = from + j * REFIT_THREADS;
            if (i / 32 * 32 < count) what(i, some[j]);
        }
    }
}

// Scores, elites, and the next distribution of one environment a block; the decision after the last iteration. `scored` says whether
// scores are there.
__device__ inline void refit_of(const Plan &p, int iteration, int kind, bool last, bool explore, bool scored, u64 *sorted) {
    __shared__ u32 bins[256];
    __shared__ u32 found[3]; // prefix, still needed, taken
    __shared__ float scratch[3 * (REFIT_THREADS / 32)];
    __shared__ u32 before[REFIT_THREADS / 32];
    const int e = blockIdx.x, candidates = p.N + p.P, tid = threadIdx.x, row = p.H * A;
    u32 *ranks = p.ranks + e * candidates;
    const int count = iteration == 0 ? candidates : p.N;
    float bad[1] = {0.0f};
    begin();
#pragma unroll 4
    for (int i = tid; i < count; i += REFIT_THREADS) {
        const float score = scored ? p.scores[e * candidates + i] : score_of(p, e, i);
        if (!finite(score)) bad[0] += 1.0f;
        if (!scored) ranks[i] = ordered(rank_of(score));
    }
    totals(bad, scratch);
    float *out = p.out + e * (A + row + 3);
    if (tid == 0) out[A + row + 2] = iteration == 0 ? bad[0] : out[A + row + 2] + bad[0];
    const u32 own = tid < candidates ? ranks[tid] : 0;

    // the rank of the K-th best, eight bits at a time
    if (tid == 0) found[0] = 0, found[1] = p.K, found[2] = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = tid; i < 256; i += REFIT_THREADS) bins[i] = 0;
        __syncthreads();
        const u32 prefix = found[0], mask = shift == 24 ? 0 : ~0u << (shift + 8);
        each_rank(ranks, candidates, own,
                  [&](int i, u32 rank) { count_in(bins, rank >> shift & 255, i < candidates && (rank & mask) == prefix, scored); });
        __syncthreads();
        if (tid < 32) {
            // a lane has eight bins, the first lane the highest
            const u32 needed = found[1];
            u32 mine = 0;
            for (int i = 0; i < 8; i++) mine += bins[255 - 8 * tid - i];
            u32 above = mine;
            for (int lanes = 1; lanes < 32; lanes *= 2) {
                const u32 other = __shfl_up_sync(~0u, above, lanes);
                if (tid >= lanes) above += other;
            }
            above -= mine;
            __syncwarp(); // all have read what is still needed
            if (above < needed && above + mine >= needed) {
                u32 left = needed - above, bin = 255 - 8 * tid;
                while (bins[bin] < left) left -= bins[bin--];
                found[0] = prefix | bin << shift;
                found[1] = left;
            }
        }
        __syncthreads();
    }
    // all above it, and of those equal to it the first
    const u32 threshold = found[0], equals = found[1];
    const bool all = bins[threshold & 255] == equals;
    int room = 1;
    while (room < p.K) room *= 2;
    for (int i = tid; i < room; i += REFIT_THREADS) sorted[i] = 0;
    __syncthreads();
    auto key = [](int i, u32 rank) { return (u64)rank << 32 | (0xffffffffu - i); };
    each_rank(ranks, candidates, own, [&](int i, u32 rank) {
        if (i < candidates && (rank > threshold || (all && rank == threshold))) sorted[atomicAdd(&found[2], 1u)] = key(i, rank);
    });
    u32 passed = 0;
    for (int from = 0; !all && from < candidates && passed < equals; from += REFIT_THREADS) {
        const int i = from + tid;
        const bool equal = i < candidates && ranks[i] == threshold;
        const u32 votes = __ballot_sync(~0u, equal);
        if (tid % 32 == 0) before[tid / 32] = __popc(votes);
        __syncthreads();
        u32 at = passed + __popc(votes & ((1u << tid % 32) - 1));
        for (int w = 0; w < REFIT_THREADS / 32; w++) {
            if (w < tid / 32) at += before[w];
            passed += before[w];
        }
        if (equal && at < equals) sorted[p.K - equals + at] = key(i, threshold);
        __syncthreads();
    }
    __syncthreads();
    // bitonic, the best first; keys are unique, so the order of the atomics is forgotten
    for (int size = 2; size <= room; size *= 2)
        for (int stride = size / 2; stride > 0; stride /= 2) {
            for (int i = tid; i < room / 2; i += REFIT_THREADS) {
                const int a = 2 * i - (i & (stride - 1)), b = a + stride;
                const bool falling = (a & size) == 0;
                if ((sorted[a] < sorted[b]) == falling) {
                    const u64 x = sorted[a];
                    sorted[a] = sorted[b];
                    sorted[b] = x;
                }
            }
            // a warp alone need not wait for others
            if (room > 64) __syncthreads();
            else if (tid < 32) __syncwarp();
        }
    __syncthreads();
    // weights
    float *weightings = p.weightings + e * p.K;
    const float best = unordered(sorted[0] >> 32), temperature = p.settings[3];
    float sums[3] = {0.0f, 0.0f, 0.0f}; // of weights, scores, and sequences of the policy
    for (int k = tid; k < p.K; k += REFIT_THREADS) {
        const float score = unordered(sorted[k] >> 32);
        const float w = kind == CEM ? (score > WORST ? 1.0f : 0.0f) : expf((score - best) * temperature);
        weightings[k] = w;
        sums[0] += w;
        sums[1] += score;
        if (index_of(sorted[k]) >= p.N) sums[2] += 1.0f;
    }
    totals(sums, scratch);
    const bool none = sums[0] == 0.0f; // without a finite score all count the same
    for (int k = tid; k < p.K; k += REFIT_THREADS) weightings[k] = none ? 1.0f / p.K : weightings[k] / sums[0];
    __syncthreads();
    // moments: some threads for each number, which share the elites
    const int threads = row < REFIT_THREADS ? REFIT_THREADS / row : 1, columns = REFIT_THREADS / threads, part = tid % threads;
    float *shares = (float *)(sorted + room); // [REFIT_THREADS]
    const float min_std = p.settings[0], max_std = p.settings[1], momentum = p.settings[2];
    for (int from = 0; from < row; from += columns) {
        const int column = from + tid / threads;
        const bool here = tid / threads < columns && column < row;
        const float *actions = p.actions + (size_t)e * candidates * row + column;
        auto moment = [&](float about, bool square) {
            float x = 0.0f;
            if (here)
#pragma unroll 8
                for (int k = part; k < p.K; k += threads) {
                    const float a = actions[(size_t)index_of(sorted[k]) * row] - about;
                    x += weightings[k] * (square ? a * a : a);
                }
            shares[tid] = x;
            __syncthreads();
            float all = 0.0f;
            if (here)
#pragma unroll 8
                for (int i = 0; i < threads; i++) all += shares[tid - part + i];
            __syncthreads();
            return all;
        };
        const float mean = moment(0.0f, false), std = sqrtf(moment(mean, true));
        if (here && part == 0) {
            float *m = p.mean + e * row + column;
            *m = kind == MPPI2 ? mean : *m * momentum + mean * (1.0f - momentum);
            p.std[e * row + column] = fminf(fmaxf(std, min_std), max_std);
            if (last) out[A + column] = *m;
        }
    }
    if (!last) return;
    // the elite drawn by its weight (Gumbel-max); of equals the first
    u64 drawn = 0;
    if (kind != CEM)
        for (int k = tid; k < p.K; k += REFIT_THREADS) {
            const u64 key = (u64)ordered(logf(weightings[k]) + p.gumbel[e * p.K + k]) << 32 | (0xffffffffu - k);
            if (key > drawn) drawn = key;
        }
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        const u64 other = __shfl_xor_sync(~0u, drawn, lanes);
        if (other > drawn) drawn = other;
    }
    __shared__ u64 winners[REFIT_THREADS / 32];
    if (tid % 32 == 0) winners[tid / 32] = drawn;
    __syncthreads(); // and of the mean
    if (tid >= A) return;
    for (int w = 0; w < REFIT_THREADS / 32; w++)
        if (winners[w] > drawn) drawn = winners[w];
    const float *chosen = kind == CEM ? p.mean + e * row : p.actions + ((size_t)e * candidates + index_of(sorted[index_of(drawn)])) * row;
    out[tid] = clamp(explore ? chosen[tid] + p.std[e * row + tid] * p.exploration[e * A + tid] : chosen[tid], 1.0f);
    if (tid == 0) {
        out[A + row] = sums[1] / p.K;
        out[A + row + 1] = sums[2] / p.K;
    }
}

#if defined(EVERY_KERNEL) || defined(ONLY_score)
// Scores of many candidates; `blocks` for each environment.
extern "C" __global__ void __launch_bounds__(SCORE_THREADS) score(Plan p, int iteration, int blocks) {
    begin();
    const int e = blockIdx.x / blocks, i = blockIdx.x % blocks * SCORE_THREADS + threadIdx.x, candidates = p.N + p.P;
    if (i >= (iteration == 0 ? candidates : p.N)) return;
    const float score = score_of(p, e, i);
    p.scores[e * candidates + i] = score;
    p.ranks[e * candidates + i] = ordered(rank_of(score));
}
#endif

#if defined(EVERY_KERNEL) || defined(ONLY_refit)
extern "C" __global__ void __launch_bounds__(REFIT_THREADS) refit(Plan p, int iteration, int kind, int last, int explore, int scored) {
    refit_of(p, iteration, kind, last, explore, scored, shared_memory);
}
#endif
