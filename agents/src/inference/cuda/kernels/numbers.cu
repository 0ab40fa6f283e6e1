// A whole plan on a GPU: `draw` makes the noise, `propose` encodes observations and asks the policy for its sequences; then, once an
// iteration, `imagine` rolls candidates through the dynamics, `judge` asks reward and critics about all latents at once, `score` adds
// up what many candidates are worth, and `refit` selects elites and moves the sampling distribution. A block takes ROWS rows through a network while their activations stay in shared memory; weights are
// laid out as tensor cores want them (see `pack`) and come from the second-level cache, each 16 bytes a thread; those of the
// dynamics, which every step needs again, are copied to shared memory where there is room.
//
// These files are one text, in the order of `mod.rs`. Headers made by `layout.rs` and `sizes.rs` come before them: sizes, layers (struct
// Layer), BF16 (0: TF32), WARPS, TILES, a sixteenth of the rows of a block, VALUE_TILES, the same of blocks of `judge` that ask for
// values, TEAM, the blocks of a cluster (0 without), NEAR and TEAM_NEAR: whether `imagine` and `propose_together` copy the weights of
// the dynamics, MOTION_STREAMS, REWARDS_STREAM and VALUES_STREAM: whether weights go through shared memory in `imagine` and in the blocks of `judge`,
// and BESIDE: the columns of the gate's hidden layer, if the action encoder's lies beside it (or 0). ONLY_… names the kernel that is
// wanted, since compiling takes seconds; with EVERY_KERNEL it is all of them.

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
__host__ __device__ constexpr int stride_of(int width) { return up(words(up(width, 16 * PER_WORD)), 8) + 4; }
constexpr float WORST = -1e30f;

// Two neighbouring numbers of a row; `column` is even.
__device__ inline void put(u32 *row, int column, float a, float b) {
#if BF16
    row[column / 2] = word(a, b);
#else
    *(uint2 *)(row + column) = make_uint2(word(a, 0.0f), word(b, 0.0f));
#endif
}
