// Products of a layer on a block of rows.

// Two neighbouring numbers of a layer's output: their row and first column in the block, and which of the thread's 2·MT rows and
// NT tiles that is.
struct At {
    int row, column, i, n;
};

// Blocks of 64 rows in TF32 have room for one buffer of hidden activations: a layer's output takes the place of its input, once all
// warps have read it and hold the sums of all of their columns.
template <int MT> constexpr bool IN_PLACE = MT == 4 && !BF16;

// Packed weights in the device's memory.
struct Far {
    const uint4 *all;
    __device__ const uint4 *at(int i) const { return all + i; }
    __device__ static uint4 load(const uint4 *from) { return __ldg(from); }
};

// The same for blocks of many rows, whose sums leave few registers for loads: they are on their way to shared memory, SLOTS times 16 bytes
// of every thread, which no other thread reads.
struct Streamed {
    static constexpr int SLOTS = 8;
    const uint4 *all;
    uint4 *slots; // [SLOTS, THREADS]
    __device__ const uint4 *at(int i) const { return all + i; }
    __device__ static uint4 load(const uint4 *from) { return __ldg(from); }
};

// Those of the dynamics in shared memory, which is near enough for two loads to be on their way.
struct Near {
    const uint4 *here;
    __device__ const uint4 *at(int i) const { return here + (i - MOTION_AT); }
    __device__ static uint4 load(const uint4 *from) { return *from; }
};

// What a warp multiplies with: NT tiles, of which AHEAD pairs are on their way. Which of its registers one is in is known every TURN pairs.
template <class Weights, int NT, int AHEAD> struct Fragments {
    static constexpr int TURN = AHEAD;
    const uint4 *w[NT];
    uint4 next[AHEAD][NT];

    __device__ Fragments(const Weights &weights, const Layer &l, int first, int pairs) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
            w[n] = weights.at(l.weight) + (first + n < l.tiles ? first + n : l.tiles - 1) * l.pairs * 32 + threadIdx.x % 32;
#pragma unroll
            for (int i = 0; i < AHEAD; i++) next[i][n] = Weights::load(w[n] + (i < pairs ? i : 0) * 32);
        }
    }

    // Pair p, which is the i-th of its turn.
    __device__ void take(uint4 *b, int i, int p, int pairs) {
#pragma unroll
        for (int n = 0; n < NT; n++) {
            b[n] = next[i][n];
            // the last ones again rather than none: a branch costs more
            next[i][n] = Weights::load(w[n] + (p + AHEAD < pairs ? p + AHEAD : pairs - 1) * 32);
        }
    }
};

template <int NT, int IN_REGISTERS> struct Fragments<Streamed, NT, IN_REGISTERS> {
    static constexpr int AHEAD = Streamed::SLOTS / NT, TURN = NT == 1 ? 2 : 1;
    const uint4 *w[NT];
    uint4 *slots;

    __device__ Fragments(const Streamed &weights, const Layer &l, int first, int pairs) : slots(weights.slots + threadIdx.x) {
#pragma unroll
        for (int n = 0; n < NT; n++)
            w[n] = weights.at(l.weight) + (first + n < l.tiles ? first + n : l.tiles - 1) * l.pairs * 32 + threadIdx.x % 32;
#pragma unroll
        for (int p = 0; p < AHEAD; p++) copy(p, pairs);
    }

    __device__ uint4 *slot(int p, int n) const { return slots + (p % AHEAD * NT + n) * THREADS; }

    __device__ void copy(int p, int pairs) const {
#pragma unroll
        for (int n = 0; n < NT; n++)
            if (p < pairs) copy_async<4>((u32 *)slot(p, n), (const float *)(w[n] + p * 32), 4);
        commit_copies();
    }

    __device__ void take(uint4 *b, int, int p, int pairs) const {
        wait_for_copies<AHEAD - 1>();
#pragma unroll
        for (int n = 0; n < NT; n++) b[n] = *slot(p, n);
        copy(p + AHEAD, pairs);
    }
};

// The products of a layer: `after(at, y0, y1)` gets two neighbouring columns with their bias. A block waits for the cache and for little
// else: its warps have AHEAD loads on their way. Products of one tile would wait for each other as well: they are CHAINS sums, until the end.
// The block's warps can be SHARES groups, each with a layer of its own, which may not work in place.
template <int MT, int NT, int CHAINS, int AHEAD, int SHARES = 1, class Weights, class After>
__device__ inline void product(const Layer l, const u32 *x, int stride, const Weights weights, const float *vectors, After after) {
    using Loads = Fragments<Weights, NT, AHEAD>;
    constexpr bool REPLACES = IN_PLACE<MT> && SHARES == 1;
    static_assert(2 * Loads::TURN % CHAINS == 0, "a pair's sum is known every turn");
    const int warp = threadIdx.x / 32 % (WARPS / SHARES), lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    static_assert(!REPLACES || WIDEST <= 32 * WARPS, "one turn for all columns of a layer");
    for (int first = warp * NT; first < l.tiles || REPLACES; first += WARPS / SHARES * NT) {
        const int pairs = first < l.tiles ? l.pairs : 0;
        float sum[CHAINS][MT][NT][4];
#pragma unroll
        for (int n = 0; n < NT; n++) {
            const int column = 8 * (first + n < l.tiles ? first + n : l.tiles - 1) + 2 * t;
            const float bias[2] = {vectors[l.bias + column], vectors[l.bias + column + 1]};
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int i = 0; i < 4 * CHAINS; i++) sum[i / 4][m][n][i % 4] = i < 4 ? bias[i % 2] : 0.0f;
        }
        Loads loads(weights, l, first, pairs);
        const u32 *row = x + lane % 16 * stride + lane / 16 * 4;
#pragma unroll 1
        for (int from = 0; from < pairs; from += Loads::TURN) {
#pragma unroll
            for (int i = 0; i < Loads::TURN; i++) {
                const int p = from + i;
                if (p >= pairs) break;
                uint4 b[NT];
                loads.take(b, i, p, pairs);
#pragma unroll
                for (int half = 0; half < 2; half++) {
#pragma unroll
                    for (int m = 0; m < MT; m++) {
                        u32 a[4];
                        load_matrices(a, row + 16 * m * stride + 16 * p + 8 * half);
#pragma unroll
                        for (int n = 0; n < NT; n++)
                            mma(sum[(2 * i + half) % CHAINS][m][n], a, half ? b[n].z : b[n].x, half ? b[n].w : b[n].y);
                    }
                }
            }
        }
        if (REPLACES) __syncthreads();
#pragma unroll
        for (int n = 0; n < NT; n++) {
            if (first + n >= l.tiles) continue;
            const int column = 8 * (first + n) + 2 * t;
#pragma unroll
            for (int m = 0; m < MT; m++) {
                float *y = sum[0][m][n];
#pragma unroll
                for (int i = 4; i < 4 * CHAINS; i++) y[i % 4] += sum[i / 4][m][n][i % 4];
                after(At{16 * m + g, column, 2 * m, n}, y[0], y[1]);
                after(At{16 * m + g + 8, column, 2 * m + 1, n}, y[2], y[3]);
            }
        }
        if (REPLACES) break;
    }
}

// Loads ahead: as many as there are registers, or as are needed.
template <int MT, int NT, class Weights> constexpr int AHEAD_OF = NT == 1 ? (MT == 1 ? 8 : 4) : MT <= 2 ? 2 : 1;
template <int MT, int NT> constexpr int AHEAD_OF<MT, NT, Near> = NT <= 2 || MT <= 2 ? 2 : 1;

// Tiles a warp of a layer: as many as it has work for. No bit depends on the rows of a block, so neither do these nor the chains.
__device__ constexpr int tiles_of_a_warp(int tiles) { return tiles > 2 * WARPS ? 4 : tiles > WARPS ? 2 : 1; }

template <int MT, class Weights, class After>
__device__ inline void dense(const Layer l, const u32 *x, int stride, const Weights weights, const float *vectors, After after) {
    if (tiles_of_a_warp(l.tiles) == 4) product<MT, 4, 1, AHEAD_OF<MT, 4, Weights>>(l, x, stride, weights, vectors, after);
    else if (tiles_of_a_warp(l.tiles) == 2) product<MT, 2, 2, AHEAD_OF<MT, 2, Weights>>(l, x, stride, weights, vectors, after);
    else product<MT, 1, 4, AHEAD_OF<MT, 1, Weights>>(l, x, stride, weights, vectors, after);
}
