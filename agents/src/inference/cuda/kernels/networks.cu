// The networks on a block of rows.

// Who asks a network.
struct Alone {
    static constexpr int BLOCKS = 1;
    __device__ static void wait() {}
};

#if TEAM
// The blocks of a cluster: each makes a part of every hidden layer, since one alone would wait for the weights, and reads the others'.
// Buffers that two layers write in turn need no more than a wait behind each.
struct Together {
    static constexpr int BLOCKS = TEAM;
    __device__ static void wait() { wait_for_cluster(); }
};
#endif

// Where `after` writes a network's last layer: to the buffer that its input is not in, where warps could share the sums of one tile, or not.
enum Writes { ELSEWHERE, TO_BUFFER };

// What a block asks.
enum Asks { HEADS, DYNAMICS_TOO };

// A block's shared memory and the networks, of which no hidden layer is wider than WIDTH.
template <int MT, int WIDTH, class Weights, Asks ASKS = DYNAMICS_TOO> struct Block {
    static constexpr int ROWS = 16 * MT, HIDDEN_STRIDE = stride_of(WIDTH);
    // words of the buffers of hidden activations, and of everything else
    static constexpr int MOTION = ASKS == HEADS ? 0 : STATES + GATES;
    // of the dynamics: warps share sums in every block or in none, though buffers differ, so that the order of sums is one
    static constexpr Writes OF_MOTION = 8 * WARPS <= stride_of(MOTION_WIDEST) ? ELSEWHERE : TO_BUFFER;
    static constexpr int HIDDEN = ROWS * HIDDEN_STRIDE * (IN_PLACE<MT> ? 1 : 2), FIXED = ROWS * (2 * WARPS + ZA_STRIDE + MOTION);
    Weights weights;
    const float *vectors;
    u32 *za;        // [ROWS, ZA_STRIDE]
    u32 *hidden[2]; // [ROWS, HIDDEN_STRIDE], one if layers work in place
    float *state;   // [ROWS, A_AT], Koopman only
    float *gate;    // [ROWS, GATES], Koopman with a gate only
    float2 *partial; // [ROWS, WARPS]

    __device__ Block(u32 *memory, u32 *buffers, const Weights weights, const float *vectors) : weights(weights), vectors(vectors) {
        partial = (float2 *)memory;
        za = (u32 *)(partial + ROWS * WARPS);
        state = (float *)(za + ROWS * ZA_STRIDE);
        gate = state + ROWS * STATES;
        hidden[0] = buffers;
        hidden[1] = buffers + (IN_PLACE<MT> ? 0 : ROWS * HIDDEN_STRIDE);
        // what lies behind the last column of a layer is multiplied by zeros, and must be numbers
        for (int i = threadIdx.x; i < FIXED / 4; i += THREADS) ((uint4 *)memory)[i] = make_uint4(0, 0, 0, 0);
        for (int i = threadIdx.x; i < HIDDEN / 4; i += THREADS) ((uint4 *)buffers)[i] = make_uint4(0, 0, 0, 0);
        // networks do not change during a plan
        begin();
        __syncthreads();
    }

    __device__ Block(u32 *memory, const Weights weights, const float *vectors) : Block(memory, memory + FIXED, weights, vectors) {}

    __device__ u32 *row(int i) const { return za + i * ZA_STRIDE; }

    // All but the last layer with ELU; `after` gets the last one's numbers.
    template <class Who = Alone, Writes WRITES = ELSEWHERE, int COUNT, class After>
    __device__ void network(const Layer (&layers)[COUNT], const u32 *x, int stride, After after) const {
        // else the first layer of the next call would be written where others still read the last one of this
        static_assert(Who::BLOCKS == 1 || COUNT % 2 == 1, "clusters ask networks with an even number of hidden layers");
#pragma unroll
        for (int i = 0; i < COUNT - 1; i++) {
            const u32 *from = i == 0 ? x : hidden[(i + 1) % 2];
            if constexpr (Who::BLOCKS == 1) elu_layer(layers[i], from, i == 0 ? stride : HIDDEN_STRIDE, hidden[i % 2]);
            else shared_elu_layer<Who>(layers[i], from, i == 0 ? stride : HIDDEN_STRIDE, hidden[i % 2]);
            __syncthreads();
        }
        if (WRITES == ELSEWHERE && COUNT > 1 && layers[COUNT - 1].tiles == 1 && 8 * WARPS <= HIDDEN_STRIDE)
            thin(layers[COUNT - 1], hidden[COUNT % 2], (float *)hidden[(COUNT + 1) % 2], after);
        else dense<MT>(layers[COUNT - 1], COUNT == 1 ? x : hidden[COUNT % 2], COUNT == 1 ? stride : HIDDEN_STRIDE, weights, vectors, after);
    }

    // A layer of one tile, whose sums the warps share: one alone would let the others wait. They meet in `shares`, [WARPS, ROWS, 8].
    template <class After> __device__ void thin(const Layer l, const u32 *x, float *shares, After after) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        float sum[MT][4];
#pragma unroll
        for (int i = 0; i < 4 * MT; i++) sum[i / 4][i % 4] = 0.0f;
        const uint4 *w = weights.at(l.weight) + lane;
        const u32 *row = x + lane % 16 * HIDDEN_STRIDE + lane / 16 * 4;
        for (int p = warp; p < l.pairs; p += WARPS) {
            const uint4 b = Weights::load(w + p * 32);
#pragma unroll
            for (int i = 0; i < 2 * MT; i++) {
                u32 a[4];
                load_matrices(a, row + i / 2 * 16 * HIDDEN_STRIDE + 16 * p + i % 2 * 8);
                mma(sum[i / 2], a, i % 2 ? b.z : b.x, i % 2 ? b.w : b.y);
            }
        }
        if (IN_PLACE<MT>) __syncthreads();
#pragma unroll
        for (int i = 0; i < 2 * MT; i++) {
            float *to = shares + (warp * ROWS + i / 2 * 16 + i % 2 * 8 + g) * 8 + 2 * t;
            to[0] = sum[i / 2][i % 2 * 2];
            to[1] = sum[i / 2][i % 2 * 2 + 1];
        }
        __syncthreads();
        for (int i = threadIdx.x; i < ROWS * 4; i += THREADS) {
            const int r = i / 4, c = i % 4 * 2;
            float a = vectors[l.bias + c], b = vectors[l.bias + c + 1];
#pragma unroll
            for (int k = 0; k < WARPS; k++) {
                float *share = shares + (k * ROWS + r) * 8 + c;
                a += share[0];
                b += share[1];
                // behind the last column of a layer they would be multiplied by zeros, and might be no numbers
                share[0] = share[1] = 0.0f;
            }
            after(At{r, c, 0, 0}, a, b);
        }
    }

    __device__ void elu_layer(const Layer l, const u32 *x, int stride, u32 *to) const {
        dense<MT>(l, x, stride, weights, vectors,
                  [&](At at, float a, float b) { put(to + at.row * HIDDEN_STRIDE, at.column, elu(a), elu(b)); });
    }

    // The columns that are this block's, with the sums of the whole layer, and then those of the others.
    template <class Who> __device__ void shared_elu_layer(const Layer l, const u32 *x, int stride, u32 *to) const {
        const int most = (l.tiles + Who::BLOCKS - 1) / Who::BLOCKS, own = blockIdx.x % Who::BLOCKS, from = own * most, rest = l.tiles - from;
        const Layer part{l.weight + from * l.pairs * 32, l.bias + 8 * from, l.pairs, rest < most ? rest : most};
        auto after = [&](At at, float a, float b) { put(to + at.row * HIDDEN_STRIDE, 8 * from + at.column, elu(a), elu(b)); };
        if (tiles_of_a_warp(l.tiles) == 4) product<MT, 1, 1, 8>(part, x, stride, weights, vectors, after);
        else if (tiles_of_a_warp(l.tiles) == 2) product<MT, 1, 2, 8>(part, x, stride, weights, vectors, after);
        else product<MT, 1, 4, 8>(part, x, stride, weights, vectors, after);
        Who::wait();
        // 16 bytes at once: a tile's columns are one or two of these
        constexpr int PIECES = 2 / PER_WORD;
        const int pieces = l.tiles * PIECES;
#pragma unroll 4
        for (int i = threadIdx.x; i < ROWS * pieces; i += THREADS) {
            const int r = i / pieces, piece = i % pieces, owner = piece / (most * PIECES);
            u32 *at = to + r * HIDDEN_STRIDE + 4 * piece;
            if (owner != own) *(uint4 *)at = *(const uint4 *)in_block(at, owner);
        }
    }

#if BESIDE
    // Gate and action encoder, each by half of the warps: they are narrow, and a step waits for every layer. What the action does, gated,
    // goes to `to`.
    __device__ void gate_and_push(u32 *to) const {
        const bool gates = threadIdx.x < THREADS / 2;
        if (gates) half_of_elu_layer(GATE[0], za, 0);
        else half_of_elu_layer(ACTION_ENCODER[0], za + Z_WORDS, BESIDE);
        __syncthreads();
        constexpr int AHEAD = AHEAD_OF<MT, 1, Weights>;
        At places[2 * MT];
        float control[2 * MT][2];
#pragma unroll
        for (int i = 0; i < 2 * MT; i++) places[i].row = -1;
        if (gates) product<MT, 1, 4, AHEAD, 2>(GATE[1], hidden[0], HIDDEN_STRIDE, weights, vectors, [&](At at, float a, float b) { bounded(at, a, b); });
        else
            product<MT, 1, 4, AHEAD, 2>(ACTION_ENCODER[1], hidden[0] + words(BESIDE), HIDDEN_STRIDE, weights, vectors, [&](At at, float a, float b) {
                places[at.i] = at;
                control[at.i][0] = a;
                control[at.i][1] = b;
            });
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2 * MT; i++)
            if (places[i].row >= 0) gated(places[i], control[i][0], control[i][1], to);
    }

    __device__ void half_of_elu_layer(const Layer l, const u32 *x, int from) const {
        auto after = [&](At at, float a, float b) { put(hidden[0] + at.row * HIDDEN_STRIDE, from + at.column, elu(a), elu(b)); };
        if (2 * l.tiles > WARPS) product<MT, 2, 2, AHEAD_OF<MT, 2, Weights>, 2>(l, x, ZA_STRIDE, weights, vectors, after);
        else product<MT, 1, 4, AHEAD_OF<MT, 1, Weights>, 2>(l, x, ZA_STRIDE, weights, vectors, after);
    }
#endif

#if GATED
    __device__ void bounded(At at, float a, float b) const {
        float *g = gate + at.row * GATES + at.column;
        g[0] = 1.0f + GATE_BOUND(a);
        g[1] = 1.0f + GATE_BOUND(b);
    }
#endif

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
        if (tiles_of_a_warp(l.tiles) == 4) norm_tanh_of<4>(l, norm, x, stride, to);
        else if (tiles_of_a_warp(l.tiles) == 2) norm_tanh_of<2>(l, norm, x, stride, to);
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
        product<MT, NT, 4 / NT, AHEAD_OF<MT, NT, Weights>>(l, x, stride, weights, vectors, [&](At at, float a, float b) {
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
    template <class Who = Alone> __device__ void step(bool renew) const {
#if KOOPMAN
        // not where the last layer reads
        u32 *pushed = hidden[(sizeof(ACTION_ENCODER) / sizeof(Layer) + 1) % 2];
#if BESIDE
        if (renew) gate_and_push(pushed);
        else push(pushed);
#else
#if GATED
        if (renew) {
            network<Alone, OF_MOTION>(GATE, za, ZA_STRIDE, [&](At at, float a, float b) { bounded(at, a, b); });
            __syncthreads();
        }
#endif
        push(pushed);
#endif
        __syncthreads();
        // real and imaginary parts are neighbours here, see `pack`
        dense<MT>(INPUT, pushed, HIDDEN_STRIDE, weights, vectors, [&](At at, float re, float im) {
            const float *z = state + at.row * STATES + at.column, *lambda = vectors + LAMBDA + at.column;
            latent(at.row, at.column, lambda[0] * z[0] - lambda[1] * z[1] + re, lambda[0] * z[1] + lambda[1] * z[0] + im);
        });
#else
        // all of za has been read when the first hidden layer is written
        network<Who, OF_MOTION>(DYNAMICS, za, ZA_STRIDE, [&](At at, float a, float b) { latent(at.row, at.column, a, b); });
#endif
        __syncthreads();
    }

#if KOOPMAN
    // What the action does, with the gate that is there.
    __device__ void push(u32 *to) const {
        network<Alone, TO_BUFFER>(ACTION_ENCODER, za + Z_WORDS, ZA_STRIDE, [&](At at, float a, float b) { gated(at, a, b, to); });
    }

    __device__ void gated(At at, float a, float b, u32 *to) const {
#if GATED
        const float *g = gate + at.row * GATES + at.column;
        a *= g[0];
        b *= g[1];
#endif
        put(to + at.row * HIDDEN_STRIDE, at.column, a, b);
    }
#endif

    // a = clamp(tanh π(z) + noise(row, i)); calls `said(row, i, a)`.
    template <class Who = Alone, class Noise, class Said> __device__ void policy(Noise noise, Said said) const {
        network<Who>(POLICY, za, ZA_STRIDE, [&](At at, float a, float b) {
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
