//! The rollout of the gated Koopman model while planning, as one operation without gradients.
//!
//! The gate looks at every predicted latent, so the steps follow one another; but nothing of one sequence touches
//! another. A block of sequences therefore goes through all its steps while its numbers stay in the cache, and only the
//! latents are written to memory.

use super::dense::{Activation, Matrix, dense, elu_rows, multiply, tanh_rows};
use super::flex::{by_rows, contiguous, sizes};
use super::recurrence::{Unroll, diagonal_recurrence};
use super::simd::multiversion;
use burn::backend::{Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor};
use burn::prelude::*;
use burn_flex::FlexTensor;
use std::mem::MaybeUninit;

/// Most sequences of a block: with the gate's default sizes a block and the weights take 200 kB.
const ROWS: usize = 128;
/// Fewest, when the work is divided among threads: smaller products are slower.
const FEWEST_ROWS: usize = 16;

/// The gated linear system z' = λ̄ ⊙ z + (u ⊙ (1 + tanh(elu(z·W₁ + b₁)·W₂ + b₂)))·L̄ of D = 2m reals, l inputs and a gate
/// of width g.
#[derive(Clone, Debug)]
pub struct GatedSystem {
    /// λ̄ as `[Re | Im]`: `[D]`
    pub lambda: Tensor<1>,
    /// L̄: `[l, D]`
    pub input: Tensor<2>,
    /// W₁ `[D, g]` and b₁ `[g]`
    pub hidden: (Tensor<2>, Tensor<1>),
    /// W₂ `[g, l]` and b₂ `[l]`
    pub gate: (Tensor<2>, Tensor<1>),
}

/// The rollout as a backend operation.
#[backend_extension(Flex)]
pub trait GatedRolloutOps: Backend {
    /// z_1 … z_H as `[R, H·D]` from `z0 [R, D]` and `u [R, H·l]`.
    #[allow(clippy::too_many_arguments)]
    fn gated_rollout(
        z0: FloatTensor<Self>,
        u: FloatTensor<Self>,
        lambda: FloatTensor<Self>,
        input: FloatTensor<Self>,
        hidden_weight: FloatTensor<Self>,
        hidden_bias: FloatTensor<Self>,
        gate_weight: FloatTensor<Self>,
        gate_bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

multiversion! {
    /// gate ← (1 + gate) ⊙ u over rows of `width`, the rows of u lying `stride` apart.
    fn open_rows(gate: &mut [f32], u: &[f32], width: usize, stride: usize) {
        for (gate, u) in gate.chunks_exact_mut(width).zip(u.chunks(stride)) {
            gate.iter_mut().zip(u).for_each(|(g, u)| *g = (1.0 + *g) * u);
        }
    }
}

multiversion! {
    /// z ← λ̄ ⊙ z + c over rows `[Re | Im]`.
    fn advance_rows(z: &mut [f32], c: &[f32], lambda: &[f32]) {
        let m = lambda.len() / 2;
        let (lr, li) = lambda.split_at(m);
        for (z, c) in z.chunks_exact_mut(2 * m).zip(c.chunks_exact(2 * m)) {
            let ((zr, zi), (cr, ci)) = (z.split_at_mut(m), c.split_at(m));
            for j in 0..m {
                let (re, im) = (zr[j], zi[j]);
                zr[j] = lr[j] * re - li[j] * im + cr[j];
                zi[j] = lr[j] * im + li[j] * re + ci[j];
            }
        }
    }
}

impl GatedRolloutOps for Flex {
    fn gated_rollout(
        z0: FlexTensor,
        u: FlexTensor,
        lambda: FlexTensor,
        input: FlexTensor,
        hidden_weight: FlexTensor,
        hidden_bias: FlexTensor,
        gate_weight: FlexTensor,
        gate_bias: FlexTensor,
    ) -> FlexTensor {
        let [z0, u, lambda, input, hidden_weight, hidden_bias, gate_weight, gate_bias] =
            [z0, u, lambda, input, hidden_weight, hidden_bias, gate_weight, gate_bias].map(contiguous);
        let ([rows, d], [l, _], [_, g]) = (sizes(&z0), sizes(&input), sizes(&hidden_weight));
        let stride = sizes(&u)[1];
        let horizon = stride / l;
        let (z0, u, lambda) = (z0.storage::<f32>(), u.storage::<f32>(), &lambda.storage::<f32>()[..d]);
        let (b1, b2) = (&hidden_bias.storage::<f32>()[..g], &gate_bias.storage::<f32>()[..l]);
        let w1 = Matrix::new(hidden_weight.storage(), d, g);
        let w2 = Matrix::new(gate_weight.storage(), g, l);
        let input = Matrix::new(input.storage(), l, d);
        // results do not depend on the size of the blocks
        let block = rows.div_ceil(rayon::current_num_threads()).clamp(FEWEST_ROWS, ROWS);
        by_rows(rows, horizon * d, block, |first, out| {
            let rows = out.len() / (horizon * d);
            let mut z = z0[first * d..][..rows * d].to_vec();
            let [mut hidden, mut gate, mut push] =
                [g, l, d].map(|width| vec![MaybeUninit::<f32>::uninit(); rows * width]);
            for k in 0..horizon {
                let hidden = multiply(Matrix::new(&z, rows, d), w1, &mut hidden);
                elu_rows(hidden, b1);
                let gate = multiply(Matrix::new(hidden, rows, g), w2, &mut gate);
                tanh_rows(gate, b2);
                open_rows(gate, &u[first * stride + k * l..], l, stride);
                let push = multiply(Matrix::new(gate, rows, l), input, &mut push);
                advance_rows(&mut z, push, lambda);
                for (out, z) in out.chunks_exact_mut(horizon * d).zip(z.chunks_exact(d)) {
                    out[k * d..][..d].write_copy_of_slice(z);
                }
            }
        })
    }
}

/// z_1 … z_H of the gated system.
///
/// # Shapes
/// - `z0`: `[R, D]`, `u`: `[R, H, l]`; result `[R, H, D]`.
pub fn gated_rollout(system: &GatedSystem, z0: Tensor<2>, u: Tensor<3>) -> Tensor<3> {
    if !crate::device::is_plain_flex(&z0.device()) {
        return gated_rollout_reference(system, z0, u);
    }
    let ([rows, horizon, l], d) = (u.dims(), z0.dims()[1]);
    let GatedSystem { lambda, input, hidden, gate } = system.clone();
    let latents = Dispatch::gated_rollout(
        z0.into_dispatch(),
        u.reshape([rows, horizon * l]).into_dispatch(),
        lambda.into_dispatch(),
        input.into_dispatch(),
        hidden.0.into_dispatch(),
        hidden.1.into_dispatch(),
        gate.0.into_dispatch(),
        gate.1.into_dispatch(),
    );
    Tensor::<2>::from_dispatch(latents).reshape([rows, horizon, d])
}

/// The same step by step, with gradients.
pub fn gated_rollout_reference(system: &GatedSystem, z0: Tensor<2>, u: Tensor<3>) -> Tensor<3> {
    let ([rows, horizon, l], mut z) = (u.dims(), z0);
    let steps = (0..horizon).map(|k| {
        let (weight, bias) = system.hidden.clone();
        let hidden = dense(z.clone(), weight, bias, Activation::Elu);
        let (weight, bias) = system.gate.clone();
        let gate = dense(hidden, weight, bias, Activation::Tanh) + 1.0;
        let push = (u.clone().narrow(1, k, 1).reshape([rows, l]) * gate).matmul(system.input.clone());
        let c = push.unsqueeze_dim(1);
        let next = diagonal_recurrence(system.lambda.clone(), z.clone(), c, Unroll::Recurrence);
        z = next.squeeze_dim(1);
        z.clone()
    });
    Tensor::stack(steps.collect(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{max_difference, normal};

    #[test]
    fn blocks_of_sequences_equal_the_steps_of_each() {
        let (d, l, g) = (10, 7, 12);
        let system = GatedSystem {
            lambda: normal::<1>([d], 1) * 0.6,
            input: normal::<2>([l, d], 2) * 0.3,
            hidden: (normal::<2>([d, g], 3), normal::<1>([g], 4)),
            gate: (normal::<2>([g, l], 5), normal::<1>([l], 6)),
        };
        // one sequence, a part of a block, several blocks with a partial last one
        for rows in [1, 5, 300] {
            for horizon in [1, 2, 9] {
                let (z0, u) = (normal::<2>([rows, d], 7), normal::<3>([rows, horizon, l], 8));
                let fused = gated_rollout(&system, z0.clone(), u.clone());
                assert!(
                    max_difference(fused, gated_rollout_reference(&system, z0, u)) < 1e-5,
                    "{rows} {horizon}"
                );
            }
        }
    }

    /// Expanded and narrowed tensors are not row-major in memory.
    #[test]
    fn strided_views_are_handled() {
        let (d, l, g) = (4, 3, 5);
        let system = GatedSystem {
            lambda: normal::<1>([d], 1) * 0.6,
            input: normal::<2>([d, l], 2).transpose(),
            hidden: (normal::<2>([g, d], 3).transpose(), normal::<1>([g], 4)),
            gate: (normal::<2>([l, g], 5).transpose(), normal::<1>([l], 6)),
        };
        let z0 = normal::<2>([1, d], 7).expand([20, d]);
        let u = normal::<3>([20, 6, l], 8).narrow(1, 2, 3);
        let fused = gated_rollout(&system, z0.clone(), u.clone());
        assert!(max_difference(fused, gated_rollout_reference(&system, z0, u)) < 1e-5);
    }
}
