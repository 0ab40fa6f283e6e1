// An update on a GPU: a list of launches, each of some orders, all of which may run at once (see `orders.rs`).
//
// A launch gets all numbers there are, as one array, and its orders: how many, then one struct each, of which the first number says
// which block it begins at. Everything is a row-major matrix in that array. Sums go in a fixed order: the same numbers in, the
// same bits out.

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
};

constexpr int TILE = 64, DEPTH = 32, TILE_STRIDE = DEPTH + 4, PRODUCT_THREADS = 128;
constexpr int FETCHED = TILE * DEPTH / PRODUCT_THREADS;

// A factor as the kernel goes over it: TILE lines (rows of a, columns of b) of DEPTH numbers along the sum.
struct Factor {
    const float *at;
    int stride, lines, inner;
    bool along; // whether the numbers of a line are neighbours
    int ones;   // a line of ones, or -1

    __device__ void place(int i, int &line, int &k) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        line = along ? warp + 4 * i : i % 2 * 32 + lane;
        k = along ? lane : warp + i / 2 * 4;
    }

    __device__ void fetch(int first_line, int first_k, float *to) const {
#pragma unroll
        for (int i = 0; i < FETCHED; i++) {
            int line, k;
            place(i, line, k);
            line += first_line;
            k += first_k;
            to[i] = 0.0f;
            if (line < lines && k < inner) {
                if (line == ones) to[i] = 1.0f;
                else to[i] = at[along ? line * stride + k : k * stride + line];
            }
        }
    }

    __device__ void store(const float *from, u32 *tile) const {
#pragma unroll
        for (int i = 0; i < FETCHED; i++) {
            int line, k;
            place(i, line, k);
            tile[line * TILE_STRIDE + k] = word(from[i], 0.0f);
        }
    }
};

__device__ inline void finish(const Product &o, float *memory, int r, int c, float x) {
    if (r >= o.rows || c >= o.columns) return;
    if (o.bias >= 0) x += memory[o.bias + c];
    if (o.flags & ELU) x = elu(x);
    if (o.flags & TANH) x = tanh_of(x);
    if (o.flags & SLOPE_ELU) {
        const float y = memory[o.y + r * o.y_stride + c];
        x *= y > 0.0f ? 1.0f : y + 1.0f;
    }
    if (o.flags & (ROTATE | ROTATE_BACK)) {
        const bool real = c < o.modes;
        const int mode = real ? c : c - o.modes;
        const float *z = memory + o.z + r * o.z_stride;
        const float re = memory[o.lambda + mode], im = memory[o.lambda + o.modes + mode];
        // back: by the complex conjugate
        const float turn = o.flags & ROTATE_BACK ? -im : im;
        x += real ? re * z[mode] - turn * z[o.modes + mode] : re * z[o.modes + mode] + turn * z[mode];
    }
    float *to = memory + o.c + r * o.c_stride + c;
    if (o.flags & ADD) x += *to;
    if (o.flags & GATE) memory[o.v + r * o.v_stride + c] = memory[o.u + r * o.u_stride + c] * (1.0f + x);
    if (o.flags & GATE_BACK) {
        // x is the gradient of u·(1 + s)
        const float s = memory[o.y + r * o.y_stride + c], u = memory[o.u + r * o.u_stride + c];
        memory[o.v + r * o.v_stride + c] = x * (1.0f + s);
        x *= u * (1.0f - s * s);
    }
    *to = x;
}

extern "C" __global__ void __launch_bounds__(PRODUCT_THREADS) products(float *memory, const int *orders) {
    __shared__ u32 tiles[2][2][TILE * TILE_STRIDE];
    int block;
    const Product &o = mine<Product>(orders, block);
    const int first_row = block / o.across * TILE, first_column = block % o.across * TILE;
    const bool turned_a = o.flags & TRANSPOSED_A, turned_b = o.flags & TRANSPOSED_B;
    const Factor a = {memory + o.a, o.a_stride, o.rows, o.inner, !turned_a, o.flags & ONES ? o.rows - 1 : -1};
    const Factor b = {memory + o.b, o.b_stride, o.columns, o.inner, turned_b, -1};
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int row = warp / 2 * 32, column = warp % 2 * 32;
    float sum[2][4][4];
#pragma unroll
    for (int i = 0; i < 32; i++) sum[i / 16][i / 4 % 4][i % 4] = 0.0f;
    float next_a[FETCHED], next_b[FETCHED];
    a.fetch(first_row, 0, next_a);
    b.fetch(first_column, 0, next_b);
    int at = 0;
    for (int k = 0; k < o.inner; k += DEPTH) {
        u32 *tile_a = tiles[at][0], *tile_b = tiles[at][1];
        a.store(next_a, tile_a);
        b.store(next_b, tile_b);
        // with two pairs of tiles nobody still reads what the next round writes
        __syncthreads();
        if (k + DEPTH < o.inner) {
            a.fetch(first_row, k + DEPTH, next_a);
            b.fetch(first_column, k + DEPTH, next_b);
        }
#pragma unroll
        for (int part = 0; part < DEPTH; part += 8) {
            u32 x[2][4];
#pragma unroll
            for (int m = 0; m < 2; m++) {
                const u32 *from = tile_a + (row + 16 * m + g) * TILE_STRIDE + part + t;
                x[m][0] = from[0];
                x[m][1] = from[8 * TILE_STRIDE];
                x[m][2] = from[4];
                x[m][3] = from[8 * TILE_STRIDE + 4];
            }
#pragma unroll
            for (int n = 0; n < 4; n++) {
                const u32 *from = tile_b + (column + 8 * n + g) * TILE_STRIDE + part + t;
#pragma unroll
                for (int m = 0; m < 2; m++) mma(sum[m][n], x[m], from[0], from[4]);
            }
        }
        at = 1 - at;
    }
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
        for (int n = 0; n < 4; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int r = first_row + row + 16 * m + g + i / 2 * 8, c = first_column + column + 8 * n + 2 * t + i % 2;
                finish(o, memory, r, c, sum[m][n][i]);
            }
        }
    }
}
