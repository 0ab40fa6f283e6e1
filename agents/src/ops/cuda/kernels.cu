// Operations on rows of `N` numbers, a block a row. Before this text come N and what else the kernel asks for: ACTIVATION,
// GROUP (of SimNorm), STEPS (of the recurrence). Sums over rows, of parameters' gradients, are left to whoever launches them.

enum Activations { IDENTITY, ELU, TANH, MISH };

// Where mish(v) has become v; e^2v is still far from overflowing.
constexpr float MISH_LINEAR = 20.0f;

__device__ inline float activated(float v) {
    if (ACTIVATION == ELU) return elu(v);
    if (ACTIVATION == TANH) return tanh_of(v);
    if (ACTIVATION == MISH) {
        // v tanh(ln(1 + e^v)), where nothing cancels
        const float e = __expf(fminf(v, MISH_LINEAR)), n = e * (e + 2.0f);
        return v * (n / (n + 2.0f));
    }
    return v;
}

// dy/dv of y = activated(v); ELU and tanh need y alone
__device__ inline float slope(float v, float y) {
    if (ACTIVATION == ELU) return 1.0f + (y > 0.0f ? 0.0f : y);
    if (ACTIVATION == TANH) return 1.0f - y * y;
    if (ACTIVATION == MISH) {
        // in this order a NaN stays one
        const float x = v > MISH_LINEAR ? MISH_LINEAR : v, e = __expf(x), n = e * (e + 2.0f), r = 1.0f / (n + 2.0f);
        return r * (n + 4.0f * x * e * (e + 1.0f) * r);
    }
    return 1.0f;
}

// The same for every lane, to the bit.
__device__ inline float sum_of_warp(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}

__device__ inline float largest_of_warp(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lanes));
    return x;
}

// Of all rows together: where the block's own begins.
__device__ inline size_t first() { return (size_t)blockIdx.x * N; }

// y = act(x + bias)
extern "C" __global__ void activate(const float *x, const float *bias, float *y) {
    for (int i = threadIdx.x; i < N; i += blockDim.x) y[first() + i] = activated(x[first() + i] + bias[i]);
}

// ∂L/∂(x + bias) from the output and its gradient
extern "C" __global__ void activate_backward(const float *y, const float *g, float *out) {
    for (int i = threadIdx.x; i < N; i += blockDim.x) out[first() + i] = g[first() + i] * slope(0.0f, y[first() + i]);
}

struct Statistics {
    float mean, scale;
};

__device__ inline Statistics statistics(const float *x) {
    float sum = 0.0f, square = 0.0f;
    for (int i = threadIdx.x; i < N; i += 32) sum += x[i];
    const float mean = sum_of_warp(sum) / N;
    for (int i = threadIdx.x; i < N; i += 32) square += (x[i] - mean) * (x[i] - mean);
    return {mean, 1.0f / sqrtf(sum_of_warp(square) / N + EPSILON)};
}

// y = act(γ (x − mean) / sqrt(var + ε) + β); a warp a row
extern "C" __global__ void normalise(const float *x, const float *gamma, const float *beta, float *y) {
    x += first();
    const Statistics of = statistics(x);
    for (int i = threadIdx.x; i < N; i += 32) y[first() + i] = activated((x[i] - of.mean) * of.scale * gamma[i] + beta[i]);
}

// ∂L/∂x, and what the row adds to ∂L/∂γ and ∂L/∂β
extern "C" __global__ void normalise_backward(const float *x, const float *gamma, const float *beta, const float *y, const float *g,
                                              float *to_x, float *to_gamma, float *to_beta) {
    x += first();
    const Statistics of = statistics(x);
    // with h = ∂L/∂x̂: scale (h − mean(h) − x̂ mean(h x̂))
    float sum = 0.0f, dot = 0.0f;
    for (int i = threadIdx.x; i < N; i += 32) {
        const float normal = (x[i] - of.mean) * of.scale;
        const float pre = g[first() + i] * slope(normal * gamma[i] + beta[i], y[first() + i]);
        to_beta[first() + i] = pre;
        to_gamma[first() + i] = pre * normal;
        sum += pre * gamma[i];
        dot += pre * gamma[i] * normal;
    }
    sum = sum_of_warp(sum) / N;
    dot = sum_of_warp(dot) / N;
    for (int i = threadIdx.x; i < N; i += 32) {
        const float normal = (x[i] - of.mean) * of.scale;
        to_x[first() + i] = of.scale * (to_beta[first() + i] * gamma[i] - sum - normal * dot);
    }
}

// Softmax of groups of consecutive numbers, a thread a group.
extern "C" __global__ void sim_norm(const float *x, float *y) {
    for (int group = threadIdx.x; group < N / GROUP; group += blockDim.x) {
        const float *from = x + first() + group * GROUP;
        float *to = y + first() + group * GROUP, largest = from[0], sum = 0.0f;
        for (int i = 1; i < GROUP; i++) largest = fmaxf(largest, from[i]);
        for (int i = 0; i < GROUP; i++) sum += to[i] = __expf(from[i] - largest);
        for (int i = 0; i < GROUP; i++) to[i] *= 1.0f / sum;
    }
}

// y (g − Σ g y), the sum over the group
extern "C" __global__ void sim_norm_backward(const float *y, const float *g, float *out) {
    for (int group = threadIdx.x; group < N / GROUP; group += blockDim.x) {
        const size_t from = first() + group * GROUP;
        float dot = 0.0f;
        for (int i = 0; i < GROUP; i++) dot += y[from + i] * g[from + i];
        for (int i = 0; i < GROUP; i++) out[from + i] = y[from + i] * (g[from + i] - dot);
    }
}

// The lower of the two bins that share a position: the last one never is. A NaN falls between the first two.
__device__ inline int lower_bin(float position) {
    const int bin = position > 0.0f ? (int)position : 0;
    return bin < N - 2 ? bin : N - 2;
}

struct Exponentials {
    float largest, total;
};

// The largest logit, and the sum of e^(x − largest).
__device__ inline Exponentials exponentials(const float *x) {
    float largest = -INFINITY, total = 0.0f;
    for (int i = threadIdx.x; i < N; i += 32) largest = fmaxf(largest, x[i]);
    largest = largest_of_warp(largest);
    for (int i = threadIdx.x; i < N; i += 32) total += __expf(x[i] - largest);
    return {largest, sum_of_warp(total)};
}

// Cross-entropy of logits against the two bins around a position, one number a row; a warp a row.
extern "C" __global__ void two_hot_loss(const float *logits, const float *position, float *loss) {
    const float *x = logits + first();
    const Exponentials of = exponentials(x);
    if (threadIdx.x == 0) {
        const int lower = lower_bin(position[blockIdx.x]);
        const float above = position[blockIdx.x] - lower;
        // relative to the largest: nothing cancels where all logits are large
        loss[blockIdx.x] = logf(of.total) - ((1.0f - above) * (x[lower] - of.largest) + above * (x[lower + 1] - of.largest));
    }
}

// (softmax(logits) − two-hot) g
extern "C" __global__ void two_hot_loss_backward(const float *logits, const float *position, const float *g, float *out) {
    const float *x = logits + first();
    const Exponentials of = exponentials(x);
    const int lower = lower_bin(position[blockIdx.x]);
    const float above = position[blockIdx.x] - lower;
    for (int i = threadIdx.x; i < N; i += 32) {
        const float known = i == lower ? 1.0f - above : (i == lower + 1 ? above : 0.0f);
        out[first() + i] = (__expf(x[i] - of.largest) / of.total - known) * g[blockIdx.x];
    }
}

// z_{k+1} = λ̄ z_k + c_k over STEPS steps of N / 2 complex modes, [Re | Im]; a block a trajectory, a thread a mode.
extern "C" __global__ void recurrence(const float *lambda, const float *z0, const float *c, float *z) {
    constexpr int m = N / 2;
    for (int j = threadIdx.x; j < m; j += blockDim.x) {
        const float lr = lambda[j], li = lambda[m + j];
        float zr = z0[first() + j], zi = z0[first() + m + j];
        for (int k = 0; k < STEPS; k++) {
            const size_t at = first() * STEPS + k * N + j;
            const float real = lr * zr - li * zi + c[at];
            zi = lr * zi + li * zr + c[at + m];
            zr = real;
            z[at] = zr;
            z[at + m] = zi;
        }
    }
}

// The adjoint states, which are ∂L/∂c, ∂L/∂z_0, and what the trajectory adds to ∂L/∂λ̄.
extern "C" __global__ void recurrence_backward(const float *lambda, const float *z0, const float *z, const float *g, float *to_c,
                                               float *to_z0, float *to_lambda) {
    constexpr int m = N / 2;
    for (int j = threadIdx.x; j < m; j += blockDim.x) {
        const float lr = lambda[j], li = lambda[m + j];
        float ar = 0.0f, ai = 0.0f, sr = 0.0f, si = 0.0f;
        for (int k = STEPS - 1; k >= 0; k--) {
            const size_t at = first() * STEPS + k * N + j;
            const float real = g[at] + lr * ar + li * ai;
            ai = g[at + m] + lr * ai - li * ar;
            ar = real;
            to_c[at] = ar;
            to_c[at + m] = ai;
            const float *before = k > 0 ? z + at - N : z0 + first() + j;
            sr += before[0] * ar + before[m] * ai;
            si += before[0] * ai - before[m] * ar;
        }
        to_z0[first() + j] = lr * ar + li * ai;
        to_z0[first() + m + j] = lr * ai - li * ar;
        to_lambda[first() + j] = sr;
        to_lambda[first() + m + j] = si;
    }
}
