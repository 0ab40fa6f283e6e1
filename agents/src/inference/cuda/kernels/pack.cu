// Weights in the order of the tensor cores' fragments.

// Where a layer's numbers are: `weight` in units of uint4, all else in floats. See `layout.rs`.
struct Packing {
    int from, inputs, outputs; // row-major [inputs, outputs] in `raw`
    int to, pairs, tiles;
    int row_modes, column_modes; // complex vectors of so many modes become re, im, re, im, …
    int action_row;              // the row, of the packed layer, of the first action; −1 without
};

// A complex vector lies as all real and then all imaginary parts in `raw`, here as pairs.
__device__ inline int unpaired(int i, int modes) { return i < 2 * modes ? i % 2 * modes + i / 2 : i; }

#if defined(EVERY_KERNEL) || defined(ONLY_pack)
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
#endif
