// An update on a GPU: a list of launches, each of some orders, all of which may run at once (see `orders.rs`).
//
// A launch gets all numbers there are, as one array, and its orders: how many, then one struct each, of which the first number says
// which block it begins at. Everything is a row-major matrix in that array. Sums go in a fixed order: the same numbers in, the
// same bits out.

// To be copied: what the kernel writes cannot change a copy, which stays in registers.
template <class Order> __device__ inline const Order &mine(const int *orders, int &block) {
    const Order *all = (const Order *)(orders + 1);
    int i = orders[0] - 1;
    while (all[i].first > (int)blockIdx.x) i--;
    block = blockIdx.x - all[i].first;
    return all[i];
}

enum { TRANSPOSED_A = 1, TRANSPOSED_B = 2, ADD = 4, ONES = 8, ELU = 16, TANH = 32, SLOPE_ELU = 64, ROTATE = 128, ROTATE_BACK = 256, GATE = 512, GATE_BACK = 1024 };

// c = a·b, [rows, inner]·[inner, columns], and what happens to it before it is stored.
struct Product {
    int first, across;
    int a, a_stride, b, b_stride, c, c_stride;
    int rows, columns, inner, flags;
    int bias;
    int y, y_stride;             // activations whose slope multiplies the gradient, or the bounded gate
    int z, z_stride, lambda, modes; // what is rotated
    int u, u_stride, v, v_stride;   // what is gated, and where it goes
    int among;                      // a processor's list of rows with gradients; here others' are zero
};

// A block has a square of c. Its tiles of both factors come to shared memory asynchronously, STAGES of them on their way; two groups
// of four warps share the depth of a tile, and a warp has a quarter of the square.
constexpr int TILE = 64, DEPTH = 32, STAGES = 4, PRODUCT_THREADS = 256;
constexpr int TILE_WORDS = DEPTH * (TILE + 8);
static_assert(PRODUCT_BYTES == 4 * STAGES * 2 * TILE_WORDS, "a launch gives what is used");

// TILE lines (rows of a, columns of b) of DEPTH numbers along the sum, as they lie in memory: with ALONG neighbours of a line are
// neighbours, without it neighbouring lines are. With these strides no two lanes of a warp read the same bank.
template <bool ALONG> struct Factor {
    static constexpr int STRIDE = ALONG ? DEPTH + 4 : TILE + 8;
    static_assert((ALONG ? TILE : DEPTH) * STRIDE <= TILE_WORDS, "a tile has room");
    const float *at;
    int stride, lines, inner, first;
    int width, down, across; // the thread's first chunk is so wide, and there
    const float *from;

    // Chunks are as wide as addresses allow: `aligned` has the low bits of all of them.
    __device__ Factor(const float *at, int stride, int lines, int inner, int first, int aligned)
        : at(at), stride(stride), lines(lines), inner(inner), first(first), width(aligned % 4 == 0 ? 4 : aligned % 2 == 0 ? 2 : 1) {
        const int chunks = (ALONG ? DEPTH : TILE) / width;
        down = threadIdx.x / chunks;
        across = threadIdx.x % chunks * width;
        from = at + (ALONG ? (first + down) * stride + across : down * stride + first + across);
    }

    __device__ static constexpr int place(int line, int k) { return ALONG ? line * STRIDE + k : k * STRIDE + line; }

    // W numbers at a time; zeros where there are none.
    template <int W> __device__ void fetch(int first_k, u32 *tile) const {
        constexpr int CHUNKS = (ALONG ? DEPTH : TILE) / W, NEXT = PRODUCT_THREADS / CHUNKS, MINE = TILE * DEPTH / W / PRODUCT_THREADS;
        const int left = ALONG ? inner - first_k - across : lines - first - across, most = left < 0 ? 0 : left < W ? left : W;
        const float *next = from + (ALONG ? first_k : first_k * stride);
        u32 *to = tile + down * STRIDE + across;
        if (W == 4 && first + TILE <= lines && first_k + DEPTH <= inner) {
#pragma unroll
            for (int i = 0; i < MINE; i++) copy_async<W>(to + i * NEXT * STRIDE, next + i * NEXT * stride, W);
            return;
        }
#pragma unroll 1
        for (int i = 0; i < MINE; i++) {
            const bool here = ALONG ? first + down + i * NEXT < lines : first_k + down + i * NEXT < inner;
            const int there = here ? most : 0;
            copy_async<W>(to + i * NEXT * STRIDE, there > 0 ? next + i * NEXT * stride : at, there);
        }
    }

    __device__ void fetch(int first_k, u32 *tile) const {
        if (width == 4) fetch<4>(first_k, tile);
        else if (width == 2) fetch<2>(first_k, tile);
        else fetch<1>(first_k, tile);
    }
};

// A warp's share of the sums, over its group's half of the depth. Tensor cores leave out what TF32 has no bits for.
template <bool ALONG_A, bool ALONG_B>
__device__ inline void multiply(const Product &o, const float *memory, int first_row, int first_column, u32 *tiles, float (&sum)[2][4][4]) {
    const Factor<ALONG_A> a(memory + o.a, o.a_stride, o.flags & ONES ? o.rows - 1 : o.rows, o.inner, first_row, o.a | o.a_stride);
    const Factor<ALONG_B> b(memory + o.b, o.b_stride, o.columns, o.inner, first_column, o.b | o.b_stride);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int row = warp / 2 % 2 * 32, column = warp % 2 * 32, k = warp / 4 * (DEPTH / 2);
    // with a line of ones the last row of c has the sums of b's columns
    const int ones = o.flags & ONES ? o.rows - 1 - first_row - row : -1;
    const bool has_ones = !ALONG_A && ones >= 0 && ones < 32;
    const int steps = (o.inner + DEPTH - 1) / DEPTH;
    auto fetch = [&](int step) {
        u32 *tile = tiles + step % STAGES * 2 * TILE_WORDS;
        if (step < steps) {
            a.fetch(step * DEPTH, tile);
            b.fetch(step * DEPTH, tile + TILE_WORDS);
        }
        commit_copies();
    };
    // where this lane's numbers of a fragment are, or where it says that rows of matrices begin
    const int at_a = ALONG_A ? a.place(row + lane % 16, k + lane / 16 * 4) : a.place(row + g, k + t);
    const int at_b = ALONG_B ? b.place(column + lane / 16 * 8 + lane % 8, k + lane / 8 % 2 * 4) : b.place(column + g, k + t);
    // steps before the first one only fetch: instructions have to be fetched, too, and are not there twice
    for (int step = 1 - STAGES; step < steps; step++) {
        if (step >= 0) {
            wait_for_copies<STAGES - 2>();
            __syncthreads();
        }
        // everybody is done with the tiles of the step before
        fetch(step + STAGES - 1);
        if (step < 0) continue;
        const u32 *tile_a = tiles + step % STAGES * 2 * TILE_WORDS + at_a;
        const u32 *tile_b = tiles + step % STAGES * 2 * TILE_WORDS + TILE_WORDS + at_b;
#pragma unroll
        for (int part = 0; part < DEPTH / 2; part += 8) {
            u32 x[2][4], y[2][4]; // of two tiles of b
#pragma unroll
            for (int m = 0; m < 2; m++) {
                if (ALONG_A) load_matrices(x[m], tile_a + a.place(16 * m, part));
                else
#pragma unroll
                    for (int i = 0; i < 4; i++) x[m][i] = tile_a[a.place(16 * m + i % 2 * 8, part + i / 2 * 4)];
            }
            if (has_ones)
#pragma unroll
                for (int i = 0; i < 8; i++)
                    if (16 * (i / 4) + i % 2 * 8 + g == ones) x[i / 4][i % 4] = word(1.0f, 0.0f);
#pragma unroll
            for (int two = 0; two < 2; two++) {
                if (ALONG_B) load_matrices(y[two], tile_b + b.place(16 * two, part));
                else
#pragma unroll
                    for (int i = 0; i < 4; i++) y[two][i] = tile_b[b.place(16 * two + i / 2 * 8, part + i % 2 * 4)];
            }
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int m = 0; m < 2; m++) mma(sum[m][n], x[m], y[n / 2][n % 2 * 2], y[n / 2][n % 2 * 2 + 1]);
        }
    }
    wait_for_copies<0>();
    __syncthreads();
}

// `what(i, row, column)` for those of a thread's sixteen numbers of c that there are: what is loaded is on its way for all of them at
// once.
template <class What> __device__ inline void each(const Product &o, int row, int column, What what) {
#pragma unroll
    for (int i = 0; i < 16; i++) {
        const int r = row + i / 2 % 2 * 8, c = column + i / 4 * 8 + i % 2;
        if (r < o.rows && c < o.columns) what(i, r, c);
    }
}

#ifdef HOST
static u32 __align__(16) tiles[STAGES * 2 * TILE_WORDS];
#else
extern __shared__ u32 __align__(16) tiles[];
#endif

extern "C" __global__ void __launch_bounds__(PRODUCT_THREADS, 2) products(float *memory, const int *orders) {
    int block;
    const Product &order = mine<Product>(orders, block);
    const int first_row = block / order.across * TILE, first_column = block % order.across * TILE;
    float sum[2][4][4];
#pragma unroll
    for (int i = 0; i < 32; i++) sum[i / 16][i / 4 % 4][i % 4] = 0.0f;
    if (order.flags & TRANSPOSED_A) multiply<false, false>(order, memory, first_row, first_column, tiles, sum);
    else if (order.flags & TRANSPOSED_B) multiply<true, true>(order, memory, first_row, first_column, tiles, sum);
    else multiply<true, false>(order, memory, first_row, first_column, tiles, sum);
    // only now: while it multiplies, a thread has no registers left
    const Product o = order;

    // each group ends one half of the rows
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = warp / 4;
    float *other = (float *)tiles, x[16], v[16];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        other[(warp * 16 + i) * 32 + lane] = group == 0 ? sum[1][i / 4][i % 4] : sum[0][i / 4][i % 4];
        x[i] = group == 0 ? sum[0][i / 4][i % 4] : sum[1][i / 4][i % 4];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 16; i++) x[i] += other[((warp + 4) % 8 * 16 + i) * 32 + lane];

    const int row = first_row + warp / 2 % 2 * 32 + 16 * group + lane / 4, column = first_column + warp % 2 * 32 + lane % 4 * 2;
    if (o.bias >= 0) each(o, row, column, [&](int i, int, int c) { x[i] += memory[o.bias + c]; });
    if (o.flags & ELU) each(o, row, column, [&](int i, int, int) { x[i] = elu(x[i]); });
    if (o.flags & TANH) each(o, row, column, [&](int i, int, int) { x[i] = tanh_of(x[i]); });
    if (o.flags & SLOPE_ELU)
        each(o, row, column, [&](int i, int r, int c) {
            const float y = memory[o.y + r * o.y_stride + c];
            x[i] *= y > 0.0f ? 1.0f : y + 1.0f;
        });
    if (o.flags & (ROTATE | ROTATE_BACK))
        each(o, row, column, [&](int i, int r, int c) {
            const bool real = c < o.modes;
            const int mode = real ? c : c - o.modes;
            const float *z = memory + o.z + r * o.z_stride;
            const float re = memory[o.lambda + mode], im = memory[o.lambda + o.modes + mode];
            // back: by the complex conjugate
            const float turn = o.flags & ROTATE_BACK ? -im : im;
            x[i] += real ? re * z[mode] - turn * z[o.modes + mode] : re * z[o.modes + mode] + turn * z[mode];
        });
    if (o.flags & ADD) each(o, row, column, [&](int i, int r, int c) { x[i] += memory[o.c + r * o.c_stride + c]; });
    if (o.flags & GATE) each(o, row, column, [&](int i, int r, int c) { v[i] = memory[o.u + r * o.u_stride + c] * (1.0f + x[i]); });
    if (o.flags & GATE_BACK)
        each(o, row, column, [&](int i, int r, int c) {
            // x is the gradient of u·(1 + s)
            const float s = memory[o.y + r * o.y_stride + c], u = memory[o.u + r * o.u_stride + c];
            v[i] = x[i] * (1.0f + s);
            x[i] *= u * (1.0f - s * s);
        });
    if (o.flags & (GATE | GATE_BACK)) each(o, row, column, [&](int i, int r, int c) { memory[o.v + r * o.v_stride + c] = v[i]; });
    each(o, row, column, [&](int i, int r, int c) { memory[o.c + r * o.c_stride + c] = x[i]; });
}
