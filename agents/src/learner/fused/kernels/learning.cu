// Targets, losses and steps. Rows are ordered by step, then by sequence: t·B + b.

// y = r + γ·(1 − terminated)·clamp(min(q1, q2)).
struct Targets {
    int first, q1, q2, rewards, terminated, out, rows, range;
    float discount;
};

extern "C" __global__ void __launch_bounds__(256) td_targets(float *memory, const int *orders) {
    int block;
    const Targets o = mine<Targets>(orders, block);
    const int i = block * 256 + threadIdx.x;
    if (i >= o.rows) return;
    // in this order a NaN of either stays
    const float q1 = memory[o.q1 + i], q2 = memory[o.q2 + i], low = memory[o.range], high = memory[o.range + 1];
    float value = q1 < q2 || q1 != q1 ? q1 : q2;
    value = value < low ? low : value > high ? high : value;
    memory[o.out + i] = memory[o.rewards + i] + value * (1.0f - memory[o.terminated + i]) * o.discount;
}

// A sequence a warp: its losses, and the gradients of their weighted mean over the batch and the steps.
struct Sequences {
    int first, latents, stride, targets, d_latents;
    int predicted, rewards, d_rewards;
    int q1, q2, values, d_q1, d_q2;
    int mask, importance, priorities, out, batch, horizon, latent;
    float consistency, reward, value, rho, cap;
};

extern "C" __global__ void __launch_bounds__(128) sequences(float *memory, const int *orders) {
    int block;
    const Sequences o = mine<Sequences>(orders, block);
    const int b = block * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (b >= o.batch) return;
    float consistency = 0.0f, reward = 0.0f, value = 0.0f, priority = 0.0f, rho = 1.0f;
#pragma unroll 4
    for (int t = 0; t < o.horizon; t++) {
        const int i = t * o.batch + b;
        const float w = rho * memory[o.mask + i];
        const float *z = memory + o.latents + (i + o.batch) * o.stride, *known = memory + o.targets + i * o.latent;
        float error = 0.0f;
        for (int d = lane; d < o.latent; d += 32) error += (z[d] - known[d]) * (z[d] - known[d]);
        consistency += w * (warp_sum(error) / o.latent);
        const float r = memory[o.predicted + i] - memory[o.rewards + i];
        const float e1 = memory[o.q1 + i] - memory[o.values + i], e2 = memory[o.q2 + i] - memory[o.values + i];
        reward += w * (r * r);
        value += w * (e1 * e1 + e2 * e2);
        priority += w * (fabsf(e1) + fabsf(e2));
        rho *= o.rho;
    }
    // a loss at its cap has no gradient
    const float scale = memory[o.importance + b] / (o.batch * o.horizon);
    const float of_latents = consistency < o.cap ? scale * o.consistency : 0.0f;
    const float of_rewards = reward < o.cap ? scale * o.reward : 0.0f, of_values = value < o.cap ? scale * o.value : 0.0f;
    for (int d = lane; d < o.latent; d += 32) memory[o.d_latents + b * o.latent + d] = 0.0f;
    rho = 1.0f;
    for (int t = 0; t < o.horizon; t++) {
        const int i = t * o.batch + b;
        const float w = 2.0f * rho * memory[o.mask + i];
        const float *z = memory + o.latents + (i + o.batch) * o.stride, *known = memory + o.targets + i * o.latent;
        float *to = memory + o.d_latents + (i + o.batch) * o.latent;
        for (int d = lane; d < o.latent; d += 32) to[d] = of_latents * w / o.latent * (z[d] - known[d]);
        if (lane == 0) {
            memory[o.d_rewards + i] = of_rewards * w * (memory[o.predicted + i] - memory[o.rewards + i]);
            memory[o.d_q1 + i] = of_values * w * (memory[o.q1 + i] - memory[o.values + i]);
            memory[o.d_q2 + i] = of_values * w * (memory[o.q2 + i] - memory[o.values + i]);
        }
        rho *= o.rho;
    }
    if (lane == 0) {
        float *out = memory + o.out + b;
        out[0] = consistency > o.cap ? o.cap : consistency;
        out[o.batch] = reward > o.cap ? o.cap : reward;
        out[2 * o.batch] = value > o.cap ? o.cap : value;
        memory[o.priorities + b] = priority;
    }
}

// The policy climbs the smaller critic at ẑ_0 … ẑ_H: its loss at every row, and the gradients of both critics.
struct Climb {
    int first, q1, q2, mask, terminated, d_q1, d_q2, out, batch, rows;
    int list_1, list_2; // where a processor has the rows of each critic
    float rho;
};

extern "C" __global__ void __launch_bounds__(256) climb(float *memory, const int *orders) {
    int block;
    const Climb o = mine<Climb>(orders, block);
    const int i = block * 256 + threadIdx.x, t = i / o.batch;
    if (i >= o.rows) return;
    float w = 1.0f / o.batch;
    for (int k = 0; k < t; k++) w *= o.rho;
    // nothing is learned of what comes behind an end
    if (t > 0) w *= memory[o.mask + i - o.batch] * (1.0f - memory[o.terminated + i - o.batch]);
    const float q1 = memory[o.q1 + i], q2 = memory[o.q2 + i];
    const bool smaller = q1 < q2;
    memory[o.d_q1 + i] = smaller ? -w : 0.0f;
    memory[o.d_q2 + i] = smaller ? 0.0f : -w;
    memory[o.out + i] = -w * (smaller ? q1 : q2);
}

// λ = e^μ·e^{iωΔt}, μ = −softplus(raw).
struct Spectrum {
    int first, raw_mu, omega, log_dt, lambda, modes;
};

__device__ inline float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

extern "C" __global__ void __launch_bounds__(256) spectrum(float *memory, const int *orders) {
    int block;
    const Spectrum o = mine<Spectrum>(orders, block);
    const int i = block * 256 + threadIdx.x;
    if (i >= o.modes) return;
    const float radius = expf(-softplus(memory[o.raw_mu + i])), phase = memory[o.omega + i] * expf(memory[o.log_dt + i]);
    memory[o.lambda + i] = radius * cosf(phase);
    memory[o.lambda + o.modes + i] = radius * sinf(phase);
}

// A mode a block: the gradients of its parameters, from z and the gradients of λ ⊙ z. What is not learned has no place for one.
struct SpectrumBack {
    int first, z, z_stride, dz, rows, raw_mu, omega, log_dt, lambda, modes, d_mu, d_omega, d_log_dt;
};

extern "C" __global__ void __launch_bounds__(256) spectrum_back(float *memory, const int *orders) {
    int mode;
    const SpectrumBack o = mine<SpectrumBack>(orders, mode);
    float d_re = 0.0f, d_im = 0.0f;
    for (int r = threadIdx.x; r < o.rows; r += 256) {
        const float *z = memory + o.z + r * o.z_stride + mode, *dz = memory + o.dz + r * 2 * o.modes + mode;
        d_re += dz[0] * z[0] + dz[o.modes] * z[o.modes];
        d_im += dz[o.modes] * z[0] - dz[0] * z[o.modes];
    }
    d_re = block_sum(d_re, 8);
    d_im = block_sum(d_im, 8);
    if (threadIdx.x > 0) return;
    const float re = memory[o.lambda + mode], im = memory[o.lambda + o.modes + mode];
    const float dt = expf(memory[o.log_dt + mode]), raw = memory[o.raw_mu + mode], phase = im * -d_re + re * d_im;
    if (o.d_mu >= 0) memory[o.d_mu + mode] = -(re * d_re + im * d_im) / (1.0f + expf(-raw));
    if (o.d_omega >= 0) memory[o.d_omega + mode] = phase * dt;
    if (o.d_log_dt >= 0) memory[o.d_log_dt + mode] = phase * memory[o.omega + mode] * dt;
}

// `what(i)` for those of the 1024 numbers of a block of 256 threads that there are.
template <class What> __device__ inline void four(int block, int count, What what) {
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const int i = block * 1024 + k * 256 + threadIdx.x;
        if (i < count) what(i);
    }
}

// Sums of squares, one a block of 256 threads, of which there are `blocks`.
struct Squares {
    int first, x, count, out, blocks;
};

extern "C" __global__ void __launch_bounds__(256) squares(float *memory, const int *orders) {
    int block;
    const Squares o = mine<Squares>(orders, block);
    float sum = 0.0f;
#pragma unroll 8
    for (int i = block * 256 + threadIdx.x; i < o.count; i += 256 * o.blocks) sum += memory[o.x + i] * memory[o.x + i];
    sum = block_sum(sum, 8);
    if (threadIdx.x == 0) memory[o.out + block] = sum;
}

// Adam with the gradient scaled to a norm; see `ops::AdamStep`.
struct Adam {
    int first, x, gradient, moments[2], count, squares, squared, norm, corrections;
    float rate, epsilon, max_norm, beta1, beta2;
};

extern "C" __global__ void __launch_bounds__(256) adam(float *memory, const int *orders) {
    int block;
    const Adam o = mine<Adam>(orders, block);
    float sum = 0.0f;
    for (int i = threadIdx.x; i < o.squared; i += 256) sum += memory[o.squares + i];
    const float norm = sqrtf(block_sum(sum, 8));
    if (block == 0 && threadIdx.x == 0) memory[o.norm] = norm;
    const float ratio = o.max_norm / norm, scale = ratio > 1.0f ? 1.0f : ratio;
    const float rate = o.rate / memory[o.corrections], root = 1.0f / sqrtf(memory[o.corrections + 1]);
    // none of them overlap
    const float *__restrict__ gradient = memory + o.gradient;
    float *__restrict__ x = memory + o.x, *__restrict__ first = memory + o.moments[0], *__restrict__ second = memory + o.moments[1];
    four(block, o.count, [&](int i) {
        const float g = gradient[i] * scale, m = o.beta1 * first[i] + (1.0f - o.beta1) * g;
        const float v = o.beta2 * second[i] + (1.0f - o.beta2) * g * g;
        first[i] = m;
        second[i] = v;
        x[i] -= rate * m / (sqrtf(v) * root + o.epsilon);
    });
}

// slow ← (1 − rate)·slow + rate·x.
struct Follow {
    int first, slow, x, count, rate;
};

extern "C" __global__ void __launch_bounds__(256) follow(float *memory, const int *orders) {
    int block;
    const Follow o = mine<Follow>(orders, block);
    const float rate = memory[o.rate], *__restrict__ x = memory + o.x;
    if (rate == 0.0f) return;
    float *__restrict__ slow = memory + o.slow;
    four(block, o.count, [&](int i) { slow[i] = slow[i] * (1.0f - rate) + x[i] * rate; });
}

// One block, a sum a warp: means of the losses of `sequences`, and what `Trust` observes.
struct Summary {
    int first, sequences, importance, policy, policy_rows, out, foresight;
    int predicted, rewards, mask, batch, horizon;
    float consistency, reward, value;
};

extern "C" __global__ void __launch_bounds__(1024) summary(float *memory, const int *orders) {
    int block;
    const Summary o = mine<Summary>(orders, block);
    const float *losses = memory + o.sequences;
    for (int which = threadIdx.x / 32; which < 5 + 4 * o.horizon; which += 32) {
        float sum = 0.0f;
        if (which == 0)
            along(o.batch, [&](int b) {
                const float loss = o.consistency * losses[b] + o.reward * losses[o.batch + b] + o.value * losses[2 * o.batch + b];
                sum += memory[o.importance + b] * loss;
            });
        else if (which < 4) along(o.batch, [&](int b) { sum += losses[(which - 1) * o.batch + b]; });
        else if (which == 4) along(o.policy_rows, [&](int i) { sum += memory[o.policy + i]; });
        else {
            const int t = (which - 5) / 4, what = (which - 5) % 4;
            along(o.batch, [&](int b) {
                const int i = t * o.batch + b;
                const float m = memory[o.mask + i], r = memory[o.rewards + i], error = memory[o.predicted + i] - r;
                sum += what == 0 ? m : what == 1 ? m * r : what == 2 ? m * (r * r) : m * (error * error);
            });
        }
        sum = warp_sum(sum);
        if (threadIdx.x % 32 > 0) continue;
        if (which < 5) memory[o.out + which] = which < 4 ? sum / o.batch : sum;
        else memory[o.foresight + which - 5] = sum;
    }
}
