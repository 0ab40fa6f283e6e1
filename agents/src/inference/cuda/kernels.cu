// A whole plan on a GPU: five kernels, three of which run once an iteration.
//
// `draw` makes the noise, `propose` encodes observations and asks the policy for its sequences, `imagine` rolls candidates
// through the dynamics, `judge` asks reward and critics about all latents at once, `refit` selects elites and moves the
// sampling distribution. A block takes ROWS rows through a network while their activations stay in shared memory; weights are
// laid out as tensor cores want them (see `pack`) and come from the second-level cache, each 16 bytes a thread.
//
// A header made by `layout.rs` comes before this text: sizes, layers (struct Layer), BF16 (0: TF32), WARPS, and TILES, a
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

// ---------------------------------------------------------------------------------------------- numbers

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

// ---------------------------------------------------------------------------------------------- layers

// Two neighbouring numbers of a layer's output: their row and first column in the block, and which of the thread's 2·MT rows and
// NT tiles that is.
struct At {
    int row, column, i, n;
};

// The products of a layer: `after(at, y0, y1)` gets two neighbouring columns with their bias.
template <int MT, int NT, class After>
__device__ inline void product(const Layer l, const u32 *x, int stride, const uint4 *weights, const float *vectors, After after) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    for (int first = warp * NT; first < l.tiles; first += WARPS * NT) {
        float sum[MT][NT][4];
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) sum[m][n][i] = 0.0f;
        const uint4 *w[NT];
        uint4 next[NT];
#pragma unroll
        for (int n = 0; n < NT; n++) {
            const int tile = first + n < l.tiles ? first + n : l.tiles - 1;
            w[n] = weights + l.weight + tile * l.pairs * 32 + lane;
            next[n] = __ldg(w[n]);
        }
        const u32 *row = x + g * stride + t;
#pragma unroll 1
        for (int p = 0; p < l.pairs; p++) {
            uint4 b[NT];
#pragma unroll
            for (int n = 0; n < NT; n++) {
                b[n] = next[n];
                if (p + 1 < l.pairs) next[n] = __ldg(w[n] + (p + 1) * 32);
            }
#pragma unroll
            for (int half = 0; half < 2; half++) {
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    const u32 *at = row + 16 * m * stride + 16 * p + 8 * half;
                    const u32 a[4] = {at[0], at[8 * stride], at[4], at[8 * stride + 4]};
#pragma unroll
                    for (int n = 0; n < NT; n++) mma(sum[m][n], a, half ? b[n].z : b[n].x, half ? b[n].w : b[n].y);
                }
            }
        }
#pragma unroll
        for (int n = 0; n < NT; n++) {
            if (first + n >= l.tiles) continue;
            const int column = 8 * (first + n) + 2 * t;
            const float b0 = vectors[l.bias + column], b1 = vectors[l.bias + column + 1];
#pragma unroll
            for (int m = 0; m < MT; m++) {
                after(At{16 * m + g, column, 2 * m, n}, sum[m][n][0] + b0, sum[m][n][1] + b1);
                after(At{16 * m + g + 8, column, 2 * m + 1, n}, sum[m][n][2] + b0, sum[m][n][3] + b1);
            }
        }
    }
}

// The same with as many tiles a warp as the layer has work for.
template <int MT, class After>
__device__ inline void dense(const Layer l, const u32 *x, int stride, const uint4 *weights, const float *vectors, After after) {
    if (l.tiles > 2 * WARPS) product<MT, 4>(l, x, stride, weights, vectors, after);
    else if (l.tiles > WARPS) product<MT, 2>(l, x, stride, weights, vectors, after);
    else product<MT, 1>(l, x, stride, weights, vectors, after);
}

// A block's shared memory and the networks.
template <int MT> struct Block {
    static constexpr int ROWS = 16 * MT;
    const uint4 *weights;
    const float *vectors;
    u32 *za;        // [ROWS, ZA_STRIDE]
    u32 *hidden[2]; // [ROWS, HIDDEN_STRIDE]
    float *state;   // [ROWS, A_AT], Koopman only
    float *gate;    // [ROWS, GATES], Koopman with a gate only
    float2 *partial; // [ROWS, WARPS]

    __device__ Block(u32 *memory, const uint4 *weights, const float *vectors) : weights(weights), vectors(vectors) {
        partial = (float2 *)memory;
        za = (u32 *)(partial + ROWS * WARPS);
        hidden[0] = za + ROWS * ZA_STRIDE;
        hidden[1] = hidden[0] + ROWS * HIDDEN_STRIDE;
        state = (float *)(hidden[1] + ROWS * HIDDEN_STRIDE);
        gate = state + ROWS * STATES;
        // what lies behind the last column of a layer is multiplied by zeros, and must be numbers
        u32 *end = (u32 *)(gate + ROWS * GATES);
        for (u32 *w = memory + threadIdx.x; w < end; w += THREADS) *w = 0;
        __syncthreads();
    }

    __device__ u32 *row(int i) const { return za + i * ZA_STRIDE; }

    // All but the last layer with ELU; `after` gets the last one's numbers.
    template <int COUNT, class After>
    __device__ void network(const Layer (&layers)[COUNT], const u32 *x, int stride, After after) const {
#pragma unroll
        for (int i = 0; i < COUNT - 1; i++) {
            elu_layer(layers[i], i == 0 ? x : hidden[(i + 1) % 2], i == 0 ? stride : HIDDEN_STRIDE, hidden[i % 2]);
            __syncthreads();
        }
        dense<MT>(layers[COUNT - 1], COUNT == 1 ? x : hidden[COUNT % 2], COUNT == 1 ? stride : HIDDEN_STRIDE, weights, vectors, after);
    }

    __device__ void elu_layer(const Layer l, const u32 *x, int stride, u32 *to) const {
        dense<MT>(l, x, stride, weights, vectors,
                  [&](At at, float a, float b) { put(to + at.row * HIDDEN_STRIDE, at.column, elu(a), elu(b)); });
    }

    // A layer with ELU and behind it one of a single number, which `read(row, number)` gets.
    template <class Read> __device__ void single(const Layer l, const Last last, const u32 *x, Read read) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        float dot[2 * MT];
#pragma unroll
        for (int i = 0; i < 2 * MT; i++) dot[i] = 0.0f;
        dense<MT>(l, x, HIDDEN_STRIDE, weights, vectors, [&](At at, float a, float b) {
            const float *w = vectors + last.weight + at.column;
            dot[at.i] += elu(a) * w[0] + elu(b) * w[1];
        });
#pragma unroll
        for (int i = 0; i < 2 * MT; i++) {
            dot[i] += __shfl_xor_sync(~0u, dot[i], 1);
            dot[i] += __shfl_xor_sync(~0u, dot[i], 2);
            if (t == 0) partial[(i / 2 * 16 + i % 2 * 8 + g) * WARPS + warp].x = dot[i];
        }
        __syncthreads();
        for (int r = threadIdx.x; r < ROWS; r += THREADS) {
            float sum = vectors[last.bias];
            for (int i = 0; i < WARPS; i++) sum += partial[r * WARPS + i].x;
            read(r, sum);
        }
        __syncthreads();
    }

    // A layer with LayerNorm and tanh; no wider than a block's warps can hold at once.
    __device__ void norm_tanh(const Layer l, const Norm norm, const u32 *x, int stride, u32 *to) const {
        static_assert(CRITIC_WIDTH <= 32 * WARPS, "a row's sums stay in registers");
        if (l.tiles > 2 * WARPS) norm_tanh_of<4>(l, norm, x, stride, to);
        else if (l.tiles > WARPS) norm_tanh_of<2>(l, norm, x, stride, to);
        else norm_tanh_of<1>(l, norm, x, stride, to);
    }

    template <int NT>
    __device__ void norm_tanh_of(const Layer l, const Norm norm, const u32 *x, int stride, u32 *to) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        float y[2 * MT][2 * NT], sum[2 * MT], square[2 * MT];
#pragma unroll
        for (int i = 0; i < 2 * MT; i++) {
            sum[i] = square[i] = 0.0f;
#pragma unroll
            for (int n = 0; n < 2 * NT; n++) y[i][n] = 0.0f;
        }
        product<MT, NT>(l, x, stride, weights, vectors, [&](At at, float a, float b) {
            y[at.i][2 * at.n] = a;
            y[at.i][2 * at.n + 1] = b;
            sum[at.i] += a + b;
            square[at.i] += a * a + b * b;
        });
#pragma unroll
        for (int i = 0; i < 2 * MT; i++) {
#pragma unroll
            for (int lanes = 1; lanes < 4; lanes *= 2) {
                sum[i] += __shfl_xor_sync(~0u, sum[i], lanes);
                square[i] += __shfl_xor_sync(~0u, square[i], lanes);
            }
            if (t == 0) partial[(i / 2 * 16 + i % 2 * 8 + g) * WARPS + warp] = make_float2(sum[i], square[i]);
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2 * MT; i++) {
            const int r = i / 2 * 16 + i % 2 * 8 + g;
            float s = 0.0f, q = 0.0f;
            for (int k = 0; k < WARPS; k++) {
                s += partial[r * WARPS + k].x;
                q += partial[r * WARPS + k].y;
            }
            const float mean = s / CRITIC_WIDTH, scale = rsqrtf(q / CRITIC_WIDTH - mean * mean + NORM_EPSILON);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                const int c = 8 * (warp * NT + n) + 2 * t;
                if (c < 8 * l.tiles) {
                    const float a = (y[i][2 * n] - mean) * scale * vectors[norm.gamma + c] + vectors[norm.beta + c];
                    const float b = (y[i][2 * n + 1] - mean) * scale * vectors[norm.gamma + c + 1] + vectors[norm.beta + c + 1];
                    put(to + r * HIDDEN_STRIDE, c, tanh_of(a), tanh_of(b));
                }
            }
        }
        __syncthreads();
    }

    // Two neighbouring numbers of a latent.
    __device__ void latent(int r, int c, float a, float b) const {
#if KOOPMAN
        state[r * STATES + c] = a;
        state[r * STATES + c + 1] = b;
#endif
        put(row(r), c, a, b);
    }

    __device__ void act(int r, int i, float a) const {
#if BF16
        ((unsigned short *)(row(r) + Z_WORDS))[i] = (unsigned short)word(a, 0.0f);
#else
        row(r)[Z_WORDS + i] = word(a, 0.0f);
#endif
    }

    // [z | a] to the next z. `renew` says whether the gate looks at z again.
    __device__ void step(bool renew) const {
#if KOOPMAN
#if GATED
        if (renew) {
            network(GATE, za, ZA_STRIDE, [&](At at, float a, float b) {
                float *g = gate + at.row * GATES + at.column;
                g[0] = 1.0f + GATE_BOUND(a);
                g[1] = 1.0f + GATE_BOUND(b);
            });
            __syncthreads();
        }
#endif
        // not where the last layer reads
        u32 *pushed = hidden[(sizeof(ACTION_ENCODER) / sizeof(Layer) + 1) % 2];
        network(ACTION_ENCODER, za + Z_WORDS, ZA_STRIDE, [&](At at, float a, float b) {
#if GATED
            const float *g = gate + at.row * GATES + at.column;
            a *= g[0];
            b *= g[1];
#endif
            put(pushed + at.row * HIDDEN_STRIDE, at.column, a, b);
        });
        __syncthreads();
        // real and imaginary parts are neighbours here, see `pack`
        dense<MT>(INPUT, pushed, HIDDEN_STRIDE, weights, vectors, [&](At at, float re, float im) {
            const float *z = state + at.row * STATES + at.column, *lambda = vectors + LAMBDA + at.column;
            latent(at.row, at.column, lambda[0] * z[0] - lambda[1] * z[1] + re, lambda[0] * z[1] + lambda[1] * z[0] + im);
        });
#else
        // all of za has been read when the first hidden layer is written
        network(DYNAMICS, za, ZA_STRIDE, [&](At at, float a, float b) { latent(at.row, at.column, a, b); });
#endif
        __syncthreads();
    }

    // a = clamp(tanh π(z) + noise(row, i)); calls `said(row, i, a)`.
    template <class Noise, class Said> __device__ void policy(Noise noise, Said said) const {
        network(POLICY, za, ZA_STRIDE, [&](At at, float a, float b) {
            const int r = at.row, i = at.column;
            if (i < A) said(r, i, clamp(tanh_of(a) + noise(r, i), ACTION_BOUND));
            if (i + 1 < A) said(r, i + 1, clamp(tanh_of(b) + noise(r, i + 1), ACTION_BOUND));
        });
        __syncthreads();
    }

    // Q of [z | a]; `read(row, number)` gets it.
    template <class Read> __device__ void critic(const Critic &critic, Read read) const {
        // all critics are as large as the first, whose sizes the compiler knows
        constexpr Layer input = CRITICS[0].input, inner = CRITICS[0].hidden;
        norm_tanh(Layer{critic.input.weight, critic.input.bias, input.pairs, input.tiles}, critic.norm, za, ZA_STRIDE, hidden[0]);
        single(Layer{critic.hidden.weight, critic.hidden.bias, inner.pairs, inner.tiles}, critic.last, hidden[0], read);
    }
};

// ---------------------------------------------------------------------------------------------- weights

// Where a layer's numbers are: `weight` in units of uint4, all else in floats. See `layout.rs`.
struct Packing {
    int from, inputs, outputs; // row-major [inputs, outputs] in `raw`
    int to, pairs, tiles;
    int row_modes, column_modes; // complex vectors of so many modes become re, im, re, im, …
    int action_row;              // the row, of the packed layer, of the first action; −1 without
};

// A complex vector lies as all real and then all imaginary parts in `raw`, here as pairs.
__device__ inline int unpaired(int i, int modes) { return i < 2 * modes ? i % 2 * modes + i / 2 : i; }

extern "C" __global__ void pack(const Packing *packings, const float *raw, uint4 *weights) {
    const Packing p = packings[blockIdx.y];
    const int total = p.tiles * p.pairs * 32;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < total; i += gridDim.x * blockDim.x) {
        const int lane = i % 32, pair = i / 32 % p.pairs, tile = i / 32 / p.pairs;
        const int column = 8 * tile + lane / 4;
        u32 w[4];
        for (int k = 0; k < 4; k++) {
            float numbers[2] = {0.0f, 0.0f};
            for (int j = 0; j < PER_WORD; j++) {
                const int at = (16 * pair + 4 * k + lane % 4) * PER_WORD + j;
                int row = -1;
                if (p.action_row < 0) row = at < p.inputs ? unpaired(at, p.row_modes) : -1;
                else if (at < p.action_row) row = at < D ? unpaired(at, p.row_modes) : -1;
                else row = D + at - p.action_row < p.inputs ? D + at - p.action_row : -1;
                if (row >= 0 && column < p.outputs) numbers[j] = raw[p.from + row * p.outputs + unpaired(column, p.column_modes)];
            }
            w[k] = word(numbers[0], numbers[1]);
        }
        weights[p.to + i] = make_uint4(w[0], w[1], w[2], w[3]);
    }
}

// ---------------------------------------------------------------------------------------------- noise

// Philox 4x32-10 (Salmon et al. 2011): four random words for a counter.
__device__ inline uint4 philox(uint4 c, u32 k0, u32 k1) {
    for (int i = 0; i < 10; i++) {
        const u64 a = (u64)0xD2511F53u * c.x, b = (u64)0xCD9E8D57u * c.z;
        c = make_uint4((u32)(b >> 32) ^ c.y ^ k0, (u32)b, (u32)(a >> 32) ^ c.w ^ k1, (u32)a);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

// (0, 1]
__device__ inline float unit(u32 x) { return ((x >> 8) + 1) * (1.0f / 16777216.0f); }

// Kinds of noise, in the order in which they lie in the buffer.
enum { NORMAL, POLICY_NOISE, GUMBEL };

// `seeds [E, 2]`; a segment has so many numbers of one kind for every environment, one environment after the other.
struct Segment {
    int from, count, kind;
};

extern "C" __global__ void draw(const u32 *seeds, const Segment *segments, float policy_std, float *noise) {
    const Segment s = segments[blockIdx.y];
    const int environment = blockIdx.z;
    for (int i = 4 * (blockIdx.x * blockDim.x + threadIdx.x); i < s.count; i += 4 * gridDim.x * blockDim.x) {
        const uint4 x = philox(make_uint4(i / 4, blockIdx.y, 0, 0), seeds[2 * environment], seeds[2 * environment + 1]);
        float y[4];
        if (s.kind == GUMBEL) {
            const u32 w[4] = {x.x, x.y, x.z, x.w};
            // the largest float below 1 keeps the logarithm of the logarithm finite
            for (int k = 0; k < 4; k++) y[k] = -logf(-logf(fminf(unit(w[k]), 0.99999994f)));
        } else {
            // Box-Muller
            const float r0 = sqrtf(-2.0f * logf(unit(x.x))), r1 = sqrtf(-2.0f * logf(unit(x.z)));
            sincosf(6.2831853f * unit(x.y), &y[0], &y[1]);
            sincosf(6.2831853f * unit(x.w), &y[2], &y[3]);
            y[0] *= r0, y[1] *= r0, y[2] *= r1, y[3] *= r1;
            if (s.kind == POLICY_NOISE)
                for (int k = 0; k < 4; k++) y[k] = clamp(y[k] * policy_std, 0.3f);
        }
        for (int k = 0; k < 4 && i + k < s.count; k++) noise[s.from + environment * s.count + i + k] = y[k];
    }
}

// ---------------------------------------------------------------------------------------------- plan

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
    float *values;             // [E, C, H]
    float *scores;             // [E, C]
    u32 *ranks;                // [E, C]
    float *weightings;         // [E, K]
    float *out;                // [E, A + H·A + 3]: action, mean, mean score and policy share of the elites, bad scores
    int E, N, P, H, K, depths;
};

enum { MPPI, MPPI2, CEM };

// z_0 of every environment, the first distribution, and the policy's sequences.
template <int MT> __device__ inline void propose_of(const Plan &p, u32 *memory) {
    Block<MT> b(memory, p.weights, p.vectors);
    const int each = p.P > 0 ? p.P : 1, rows = p.E * each, first = blockIdx.x * Block<MT>::ROWS;
    u32 *observed = b.hidden[1]; // the first layer writes to the other
    for (int i = threadIdx.x; i < Block<MT>::ROWS * O; i += THREADS) {
        const int r = i / O, c = i % O;
        const float x = first + r < rows ? p.observations[(first + r) / each * O + c] : 0.0f;
#if BF16
        ((unsigned short *)(observed + r * HIDDEN_STRIDE))[c] = (unsigned short)word(x, 0.0f);
#else
        observed[r * HIDDEN_STRIDE + c] = word(x, 0.0f);
#endif
    }
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < p.E * p.H * A; i += gridDim.x * THREADS) {
        p.mean[i] = p.warm[i];
        p.std[i] = p.settings[1];
    }
    __syncthreads();
    b.network(ENCODER, observed, HIDDEN_STRIDE, [&](At at, float x, float y) {
        b.latent(at.row, at.column, x, y);
        const int q = first + at.row;
        if (q < rows && q % each == 0) {
            p.z0[q / each * A_AT + at.column] = x;
            p.z0[q / each * A_AT + at.column + 1] = y;
        }
    });
    __syncthreads();
    if (p.P == 0) return;
    const int candidates = p.N + p.P;
    for (int k = 0; k < p.H; k++) {
        b.policy([&](int r, int i) { return first + r < rows ? p.policy_steps[((first + r) * p.H + k) * A + i] : 0.0f; },
                 [&](int r, int i, float a) {
                     b.act(r, i, a);
                     const int q = first + r;
                     if (q < rows) p.actions[((q / p.P * candidates + p.N + q % p.P) * p.H + k) * A + i] = a;
                 });
        if (k + 1 < p.H) b.step(true);
    }
}

// Rows of an iteration: all C candidates in the first, later the N sampled ones.
struct Rows {
    int each, count;
    __device__ Rows(const Plan &p, int iteration) : each(iteration == 0 ? p.N + p.P : p.N), count(p.E * each) {}
};

// Candidates through the dynamics.
template <int MT> __device__ inline void imagine_of(const Plan &p, int iteration, u32 *memory) {
    Block<MT> b(memory, p.weights, p.vectors);
    const Rows rows(p, iteration);
    const int first = blockIdx.x * Block<MT>::ROWS, candidates = p.N + p.P;
    for (int i = threadIdx.x; i < Block<MT>::ROWS * (A_AT / 2); i += THREADS) {
        const int r = i / (A_AT / 2), c = i % (A_AT / 2) * 2, q = first + r;
        const float *z = p.z0 + (q < rows.count ? q / rows.each : 0) * A_AT + c;
        b.latent(r, c, z[0], z[1]);
    }
    for (int k = 0; k < p.H; k++) {
        for (int i = threadIdx.x; i < Block<MT>::ROWS * A; i += THREADS) {
            const int r = i / A, j = i % A, q = first + r;
            if (q >= rows.count) continue;
            const int e = q / rows.each, n = q % rows.each;
            float *action = p.actions + ((e * candidates + n) * p.H + k) * A + j;
            if (n < p.N) {
                const int at = (e * p.H + k) * A + j;
                const float *noise = p.samples + (size_t)iteration * p.E * p.N * p.H * A;
                *action = clamp(p.mean[at] + p.std[at] * noise[((e * p.N + n) * p.H + k) * A + j], 1.0f);
            }
            b.act(r, j, *action);
        }
        __syncthreads();
        b.step(k % RECONDITION_EVERY == 0);
        for (int i = threadIdx.x; i < Block<MT>::ROWS * Z_WORDS; i += THREADS) {
            const int r = i / Z_WORDS, w = i % Z_WORDS, q = first + r;
            if (q < rows.count) {
                const size_t at = q / rows.each * candidates + q % rows.each;
                p.latents[(at * p.H + k) * Z_WORDS + w] = b.row(r)[w];
            }
        }
    }
}

// Rewards of all steps, and values where they count: blocks of rewards, then blocks of values.
template <int MT> __device__ inline void judge_of(const Plan &p, int iteration, int reward_blocks, u32 *memory) {
    Block<MT> b(memory, p.weights, p.vectors);
    const Rows rows(p, iteration);
    const int candidates = p.N + p.P;
    const bool valued = blockIdx.x >= reward_blocks;
    const int per = valued ? p.depths : p.H, first = (valued ? blockIdx.x - reward_blocks : blockIdx.x) * Block<MT>::ROWS;
    const int total = rows.count * per;
    // candidate and step of row r; the step of a value is that before its latent
    auto candidate = [&](int r) { const int q = (first + r) / per; return q / rows.each * candidates + q % rows.each; };
    auto depth = [&](int r) { return (first + r) % per + p.H - per; };
    for (int i = threadIdx.x; i < Block<MT>::ROWS * Z_WORDS; i += THREADS) {
        const int r = i / Z_WORDS, w = i % Z_WORDS;
        if (first + r >= total) continue;
        const int k = depth(r) - (valued ? 0 : 1);
        if (k >= 0) b.row(r)[w] = p.latents[((size_t)candidate(r) * p.H + k) * Z_WORDS + w];
        else {
            const float *z = p.z0 + (first + r) / per / rows.each * A_AT + w * PER_WORD;
            b.row(r)[w] = word(z[0], z[PER_WORD - 1]);
        }
    }
    if (!valued) {
        for (int i = threadIdx.x; i < Block<MT>::ROWS * A; i += THREADS) {
            const int r = i / A, j = i % A;
            if (first + r < total) b.act(r, j, p.actions[((size_t)candidate(r) * p.H + depth(r)) * A + j]);
        }
        __syncthreads();
        b.elu_layer(REWARD[0], b.za, ZA_STRIDE, b.hidden[0]);
        __syncthreads();
        b.single(REWARD[1], REWARD_LAST, b.hidden[0], [&](int r, float reward) {
            if (first + r < total) p.rewards[(size_t)candidate(r) * p.H + depth(r)] = reward;
        });
        return;
    }
    __syncthreads();
    const float *tails = p.tails + (size_t)iteration * p.E * p.N * A;
    b.policy(
        [&](int r, int i) {
            if (first + r >= total) return 0.0f;
            const int q = (first + r) / per, e = q / rows.each, n = q % rows.each;
            return n < p.N ? tails[(e * p.N + n) * A + i] : p.policy_tails[(e * p.P + n - p.N) * A + i];
        },
        [&](int r, int i, float a) { b.act(r, i, a); });
    // the smaller one; once in the code, so that it compiles in half the time
    float *smaller = (float *)b.hidden[1]; // critics need one buffer
#pragma unroll 1
    for (int i = 0; i < 2; i++)
        b.critic(CRITICS[i], [&](int r, float q) {
            // in this order a NaN of either stays
            const float other = i == 0 ? INFINITY : smaller[r];
            const float value = q < other || q != q ? q : other;
            smaller[r] = value;
            if (i == 1 && first + r < total) p.values[(size_t)candidate(r) * p.H + depth(r)] = value;
        });
}

// The sum over all threads, the same whatever their timing.
__device__ inline float total(float x, float *scratch) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < REFIT_THREADS / 32; i++) sum += scratch[i];
    return sum;
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
    __shared__ float scratch[REFIT_THREADS / 32];
    __shared__ u32 before[REFIT_THREADS / 32];
    const int e = blockIdx.x, candidates = p.N + p.P, tid = threadIdx.x, row = p.H * A;
    float *scores = p.scores + e * candidates;
    u32 *ranks = p.ranks + e * candidates;
    const int scored = iteration == 0 ? candidates : p.N;
    float bad = 0.0f;
    for (int i = tid; i < scored; i += REFIT_THREADS) {
        const size_t at = (size_t)(e * candidates + i) * p.H;
        float score = 0.0f;
        for (int k = 0; k < p.H; k++) {
            score += p.of_rewards[k] * p.rewards[at + k];
            if (k >= p.H - p.depths) score += p.of_values[k] * p.values[at + k];
        }
        if (!finite(score)) bad += 1.0f;
        const float rank = finite(score) ? fminf(fmaxf(score, WORST), -WORST) : WORST;
        scores[i] = rank;
        ranks[i] = ordered(rank);
    }
    bad = total(bad, scratch);
    float *out = p.out + e * (A + row + 3);
    if (tid == 0) out[A + row + 2] = iteration == 0 ? bad : out[A + row + 2] + bad;

    // the rank of the K-th best, eight bits at a time
    if (tid == 0) found[0] = 0, found[1] = p.K, found[2] = 0, found[3] = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = tid; i < 256; i += REFIT_THREADS) bins[i] = 0;
        __syncthreads();
        const u32 prefix = found[0], mask = shift == 24 ? 0 : ~0u << (shift + 8);
        for (int i = tid; i < candidates; i += REFIT_THREADS)
            if ((ranks[i] & mask) == prefix) atomicAdd(&bins[ranks[i] >> shift & 255], 1u);
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
        const u32 rank = i < candidates ? ranks[i] : 0;
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
            __syncthreads();
        }
    // weights
    float *weightings = p.weightings + e * p.K;
    const float best = unordered(sorted[0] >> 32), temperature = p.settings[3];
    float sum = 0.0f, score_sum = 0.0f, from_policy = 0.0f;
    for (int k = tid; k < p.K; k += REFIT_THREADS) {
        const float score = unordered(sorted[k] >> 32);
        const float w = kind == CEM ? (score > WORST ? 1.0f : 0.0f) : expf((score - best) * temperature);
        weightings[k] = w;
        sum += w;
        score_sum += score;
        if (index_of(sorted[k]) >= p.N) from_policy += 1.0f;
    }
    sum = total(sum, scratch);
    score_sum = total(score_sum, scratch);
    from_policy = total(from_policy, scratch);
    const bool none = sum == 0.0f; // without a finite score all count the same
    for (int k = tid; k < p.K; k += REFIT_THREADS) weightings[k] = none ? 1.0f / p.K : weightings[k] / sum;
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
        out[A + row] = score_sum / p.K;
        out[A + row + 1] = from_policy / p.K;
    }
}

extern __shared__ u64 shared_memory[];

extern "C" __global__ void __launch_bounds__(THREADS) propose(Plan p) { propose_of<1>(p, (u32 *)shared_memory); }

extern "C" __global__ void __launch_bounds__(THREADS) imagine(Plan p, int iteration) {
    imagine_of<TILES>(p, iteration, (u32 *)shared_memory);
}

extern "C" __global__ void __launch_bounds__(THREADS) judge(Plan p, int iteration, int reward_blocks) {
    judge_of<TILES>(p, iteration, reward_blocks, (u32 *)shared_memory);
}

extern "C" __global__ void __launch_bounds__(REFIT_THREADS) refit(Plan p, int iteration, int kind, int last, int explore) {
    refit_of(p, iteration, kind, last, explore, shared_memory);
}
