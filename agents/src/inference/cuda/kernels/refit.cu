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

// Scores, elites, and the next distribution of one environment a block; the decision after the last iteration.
__device__ inline void refit_of(const Plan &p, int iteration, int kind, bool last, bool explore, u64 *sorted) {
    __shared__ u32 bins[256];
    __shared__ u32 found[4]; // prefix, still needed, taken, taken of equals
    __shared__ float scratch[3 * (REFIT_THREADS / 32)];
    __shared__ u32 before[REFIT_THREADS / 32];
    const int e = blockIdx.x, candidates = p.N + p.P, tid = threadIdx.x, row = p.H * A;
    float *scores = p.scores + e * candidates;
    u32 *ranks = p.ranks + e * candidates;
    const int scored = iteration == 0 ? candidates : p.N;
    float bad[1] = {0.0f};
    for (int i = tid; i < scored; i += REFIT_THREADS) {
        const size_t at = (size_t)(e * candidates + i) * p.H;
        float score = 0.0f;
#pragma unroll 4
        for (int k = 0; k < p.H; k++) {
            score += p.of_rewards[k] * p.rewards[at + k];
            if (k < p.H - p.depths) continue;
            const float q1 = p.values[at + k], q2 = p.values[(size_t)p.E * candidates * p.H + at + k];
            // the smaller one; in this order a NaN of either stays
            score += p.of_values[k] * (q1 < q2 || q1 != q1 ? q1 : q2);
        }
        if (!finite(score)) bad[0] += 1.0f;
        const float rank = finite(score) ? fminf(fmaxf(score, WORST), -WORST) : WORST;
        scores[i] = rank;
        ranks[i] = ordered(rank);
    }
    totals(bad, scratch);
    float *out = p.out + e * (A + row + 3);
    if (tid == 0) out[A + row + 2] = iteration == 0 ? bad[0] : out[A + row + 2] + bad[0];
    // a thread's first rank, of which it often has no other
    const u32 own = tid < candidates ? ranks[tid] : 0;

    // the rank of the K-th best, eight bits at a time
    if (tid == 0) found[0] = 0, found[1] = p.K, found[2] = 0, found[3] = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = tid; i < 256; i += REFIT_THREADS) bins[i] = 0;
        __syncthreads();
        const u32 prefix = found[0], mask = shift == 24 ? 0 : ~0u << (shift + 8);
        for (int i = tid; i < candidates; i += REFIT_THREADS) {
            const u32 rank = i == tid ? own : ranks[i];
            if ((rank & mask) == prefix) atomicAdd(&bins[rank >> shift & 255], 1u);
        }
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
    int room = 1;
    while (room < p.K) room *= 2;
    for (int i = tid; i < room; i += REFIT_THREADS) sorted[i] = 0;
    __syncthreads();
    for (int from = 0; from < candidates; from += REFIT_THREADS) {
        const int i = from + tid;
        const u32 rank = i == tid ? own : i < candidates ? ranks[i] : 0;
        const bool equal = i < candidates && rank == threshold;
        const u32 votes = __ballot_sync(~0u, equal);
        if (tid % 32 == 0) before[tid / 32] = __popc(votes);
        __syncthreads();
        u32 at = found[3];
        for (int w = 0; w < tid / 32; w++) at += before[w];
        at += __popc(votes & ((1u << tid % 32) - 1));
        const u64 key = (u64)rank << 32 | (0xffffffffu - i);
        if (i < candidates && rank > threshold) sorted[atomicAdd(&found[2], 1u)] = key;
        else if (equal && at < equals) sorted[p.K - equals + at] = key;
        __syncthreads();
        if (tid == 0)
            for (int w = 0; w < REFIT_THREADS / 32; w++) found[3] += before[w];
        __syncthreads();
    }
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

#if defined(EVERY_KERNEL) || defined(ONLY_refit)
extern "C" __global__ void __launch_bounds__(REFIT_THREADS) refit(Plan p, int iteration, int kind, int last, int explore) {
    refit_of(p, iteration, kind, last, explore, shared_memory);
}
#endif
