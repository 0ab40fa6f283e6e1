// The noise of a plan.

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

#if defined(EVERY_KERNEL) || defined(ONLY_draw)
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
#endif
