// What works on rows and single numbers of matrices.

__device__ inline float warp_sum(float x) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}

// The sum over a block of 32·`warps` threads, for all of them.
__device__ inline float block_sum(float x, int warps) {
    __shared__ float parts[32];
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < warps; i++) sum += parts[i];
    return sum;
}

// `what(i)` for every i below `count` that is this lane's; sixteen loads of it may be on their way.
template <class What> __device__ inline void along(int count, What what) {
    for (int from = threadIdx.x % 32; from < count; from += 16 * 32) {
#pragma unroll
        for (int i = 0; i < 16; i++)
            if (from + 32 * i < count) what(from + 32 * i);
    }
}

// Rows, a warp each: x becomes normal, y = tanh(γ·x + β).
struct Norm {
    int first, x, y, gamma, beta, scale, rows, columns;
};

extern "C" __global__ void __launch_bounds__(128) norm_tanh(float *memory, const int *orders) {
    int block;
    const Norm o = mine<Norm>(orders, block);
    const int row = block * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= o.rows) return;
    // none of them overlap
    float *__restrict__ x = memory + o.x + row * o.columns, *__restrict__ y = memory + o.y + row * o.columns;
    const float *__restrict__ gamma = memory + o.gamma, *__restrict__ beta = memory + o.beta;
    float sum = 0.0f, square = 0.0f;
    along(o.columns, [&](int i) { sum += x[i]; });
    const float mean = warp_sum(sum) / o.columns;
    along(o.columns, [&](int i) { square += (x[i] - mean) * (x[i] - mean); });
    const float scale = 1.0f / sqrtf(warp_sum(square) / o.columns + NORM_EPSILON);
    along(o.columns, [&](int i) {
        const float normal = (x[i] - mean) * scale;
        x[i] = normal;
        y[i] = tanh_of(gamma[i] * normal + beta[i]);
    });
    if (lane == 0) memory[o.scale + row] = scale;
}

// From the gradient of y, which becomes that of γ·x + β, to that of what was normalised.
struct NormBack {
    int first, x, y, dy, dx, gamma, scale, rows, columns, among;
};

extern "C" __global__ void __launch_bounds__(128) norm_tanh_back(float *memory, const int *orders) {
    int block;
    const NormBack o = mine<NormBack>(orders, block);
    const int row = block * 4 + threadIdx.x / 32;
    if (row >= o.rows) return;
    const int at = row * o.columns;
    const float *__restrict__ x = memory + o.x + at, *__restrict__ y = memory + o.y + at, *__restrict__ gamma = memory + o.gamma;
    float *__restrict__ dy = memory + o.dy + at, *__restrict__ dx = memory + o.dx + at;
    float sum = 0.0f, projection = 0.0f;
    along(o.columns, [&](int i) {
        const float slope = dy[i] * (1.0f - y[i] * y[i]), d = slope * gamma[i];
        dy[i] = slope;
        sum += d;
        projection += d * x[i];
    });
    sum = warp_sum(sum) / o.columns;
    projection = warp_sum(projection) / o.columns;
    const float scale = memory[o.scale + row];
    along(o.columns, [&](int i) { dx[i] = scale * (dy[i] * gamma[i] - sum - x[i] * projection); });
}

// Sums over rows of x, or of x·by, 32 columns a block.
struct ColumnSums {
    int first, x, by, out, rows, columns;
};

extern "C" __global__ void __launch_bounds__(1024) column_sums(float *memory, const int *orders) {
    __shared__ float parts[32][33];
    int block;
    const ColumnSums o = mine<ColumnSums>(orders, block);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = block * 32 + lane;
    float sum = 0.0f;
    if (column < o.columns) {
#pragma unroll 8
        for (int r = warp; r < o.rows; r += 32) {
            const float x = memory[o.x + r * o.columns + column];
            sum += o.by < 0 ? x : x * memory[o.by + r * o.columns + column];
        }
    }
    parts[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= o.columns) return;
    sum = 0.0f;
    for (int i = 0; i < 32; i++) sum += parts[i][lane];
    memory[o.out + column] = sum;
}

// [rows, columns], a thread each, 256 a block: what becomes of numbers at the same place.
struct Cells {
    int first, what, rows, columns, to, to_stride, a, a_stride, b, b_stride, c, c_stride;
};

enum { COPY, ACT, ACT_BACK, JOIN };

extern "C" __global__ void __launch_bounds__(256) cells(float *memory, const int *orders) {
    int block;
    const Cells o = mine<Cells>(orders, block);
    const int i = block * 256 + threadIdx.x, r = i / o.columns, c = i % o.columns;
    if (r >= o.rows) return;
    float *to = memory + o.to + r * o.to_stride + c;
    const float a = memory[o.a + r * o.a_stride + c];
    if (o.what == COPY) {
        *to = a;
        return;
    }
    const float b = memory[o.b + r * o.b_stride + c];
    if (o.what == ACT) {
        // the policy's tanh and its noise
        *to = clamp(a + b, ACTION_BOUND);
        return;
    }
    const float third = memory[o.c + r * o.c_stride + c];
    // the clamp lets gradients pass: those of both critics, then the slope of tanh
    if (o.what == ACT_BACK) *to = (a + b) * (1.0f - third * third);
    if (o.what == JOIN) *to += a + b + third;
}
