//! SimNorm: softmax within groups of consecutive numbers, which makes a latent a concatenation of simplices.

use super::flex::{BLOCK, by_rows, contiguous, sizes};
use super::simd::{exp, multiversion};
use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::activation;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Numbers that all passes of the forward kernel visit before the next ones: 8 kB, in the first-level cache.
const TILE: usize = 1 << 11;

/// SimNorm as backend operations.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Autodiff)]
pub trait SimNormOps: Backend {
    /// Softmax within groups of `group` numbers of the rows of `x [R, n]`.
    fn sim_norm(x: FloatTensor<Self>, group: usize) -> FloatTensor<Self>;
    /// Gradient for x, from the output y and its gradient g.
    fn sim_norm_backward(y: FloatTensor<Self>, g: FloatTensor<Self>, group: usize) -> FloatTensor<Self>;
}

#[inline(always)]
fn forward(x: &[f32], y: &mut [MaybeUninit<f32>], group: usize) {
    let tile = group * (TILE / group).max(1);
    for (x, y) in x.chunks(tile).zip(y.chunks_mut(tile)) {
        softmax(y.write_copy_of_slice(x), group);
    }
}

/// Softmax within groups of a few thousand numbers, in place.
#[inline(always)]
fn softmax(y: &mut [f32], group: usize) {
    for y in y.chunks_exact_mut(group) {
        // the largest exponent is 0: no sum overflows, and none is 0
        let max = y.iter().fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m });
        y.iter_mut().for_each(|v| *v -= max);
    }
    // a pass of its own: vectors wider than a group
    y.iter_mut().for_each(|v| *v = exp(*v));
    for y in y.chunks_exact_mut(group) {
        let scale = 1.0 / y.iter().sum::<f32>();
        y.iter_mut().for_each(|v| *v *= scale);
    }
}

/// SimNorm of one row in place; to be inlined into code compiled for a processor.
#[inline(always)]
pub(crate) fn softmax_in_groups(row: &mut [f32], group: usize) {
    match group {
        8 => softmax(row, 8),
        _ => softmax(row, group),
    }
}

#[inline(always)]
fn backward(y: &[f32], g: &mut [f32], group: usize) {
    for (y, g) in y.chunks_exact(group).zip(g.chunks_exact_mut(group)) {
        let dot: f32 = y.iter().zip(&*g).map(|(y, g)| y * g).sum();
        g.iter_mut().zip(y).for_each(|(g, y)| *g = y * (*g - dot));
    }
}

// With the group of TD-MPC2 as a constant the compiler unrolls the loops over a group.
multiversion! {
    fn forward_groups(x: &[f32], y: &mut [MaybeUninit<f32>], group: usize) {
        match group {
            8 => forward(x, y, 8),
            _ => forward(x, y, group),
        }
    }
}
multiversion! {
    /// Turns `g` into dL/dx in place: y ⊙ (g − Σ g·y), the sum over the group.
    fn backward_groups(y: &[f32], g: &mut [f32], group: usize) {
        match group {
            8 => backward(y, g, 8),
            _ => backward(y, g, group),
        }
    }
}

impl SimNormOps for Flex {
    fn sim_norm(x: FlexTensor, group: usize) -> FlexTensor {
        let x = contiguous(x);
        let [rows, n] = sizes(&x);
        let x = x.storage::<f32>();
        by_rows(rows, n, (BLOCK / n).max(1), |first, y| forward_groups(&x[first * n..][..y.len()], y, group))
    }

    fn sim_norm_backward(y: FlexTensor, g: FlexTensor, group: usize) -> FlexTensor {
        let (y, mut g) = (contiguous(y), contiguous(g));
        let [rows, n] = sizes(&y);
        let block = (BLOCK / n).max(1) * n;
        (g.storage_mut::<f32>()[..rows * n].par_chunks_mut(block))
            .zip(y.storage::<f32>()[..rows * n].par_chunks(block))
            .for_each(|(g, y)| backward_groups(y, g, group));
        g
    }
}

impl<B: SimNormOps, C: CheckpointStrategy> SimNormOps for Autodiff<B, C> {
    fn sim_norm(x: FloatTensor<Self>, group: usize) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct SimNorm;
        impl<B: SimNormOps> Backward<B, 1> for SimNorm {
            type State = (FloatTensor<B>, usize); // y, group
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let ([parent], (y, group)) = (ops.parents, ops.state);
                if let Some(node) = parent {
                    grads.register::<B>(node.id, B::sim_norm_backward(y, g, group));
                }
            }
        }
        let parents = [x.node()];
        let y = B::sim_norm(x.into_primitive(), group);
        match SimNorm.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((y.clone(), group), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn sim_norm_backward(_: FloatTensor<Self>, _: FloatTensor<Self>, _: usize) -> FloatTensor<Self> {
        unimplemented!("second-order gradients through sim_norm are not supported")
    }
}

/// SimNorm: y_i = e^(x_i) / Σ_j e^(x_j), j over the `group` consecutive numbers that i belongs to.
///
/// The simplicial embeddings of Lavoie et al. 2023 (arXiv 2204.00616), with which TD-MPC2 (Hansen et al. 2024, arXiv
/// 2310.16828) bounds its latents, in groups of 8.
///
/// # Shapes
/// - `x`: `[R, n]`; result `[R, n]`.
///
/// # Panics
/// If `n` is not a multiple of `group`, or `group` is 0.
pub fn sim_norm(x: Tensor<2>, group: usize) -> Tensor<2> {
    let n = x.dims()[1];
    assert!(
        group > 0 && n.is_multiple_of(group),
        "SimNorm: {n} numbers do not divide into groups of {group}"
    );
    if crate::device::has_kernels(&x.device()) {
        Tensor::from_dispatch(Dispatch::sim_norm(x.into_dispatch(), group))
    } else {
        sim_norm_reference(x, group)
    }
}

/// The same with plain tensor operations.
fn sim_norm_reference(x: Tensor<2>, group: usize) -> Tensor<2> {
    let [rows, n] = x.dims();
    activation::softmax(x.reshape([rows * n / group, group]), 1).reshape([rows, n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::*;

    fn fused(group: usize) -> impl Fn(&[Tensor<2>]) -> Tensor<2> {
        move |inputs| sim_norm(inputs[0].clone(), group)
    }

    fn plain(group: usize) -> impl Fn(&[Tensor<2>]) -> Tensor<2> {
        move |inputs| sim_norm_reference(inputs[0].clone(), group)
    }

    #[test]
    fn fused_simnorm_equals_the_reference_in_value_and_gradient() {
        // several blocks of rows; groups of one, of the unrolled size, longer than a tile, and of a whole row
        for (rows, n, group) in
            [(700, 120, 8), (3, 5, 1), (50, 33, 11), (4, 2 * TILE + 6, TILE + 3), (9, 6, 6)]
        {
            let x = [normal::<2>([rows, n], 1) * 3.0];
            let ((y, g), (reference, reference_g)) =
                (value_and_gradients(&x, fused(group)), value_and_gradients(&x, plain(group)));
            assert!(max_difference(y.clone(), reference) < 1e-6, "value, groups of {group}");
            assert!(
                max_difference(g[0].clone(), reference_g[0].clone()) < 2e-6,
                "gradient, groups of {group}"
            );
            for sum in values(y).chunks(group).map(|y| y.iter().sum::<f32>()) {
                assert!((sum - 1.0).abs() < 1e-5, "a group of {group} sums to {sum}");
            }
        }
    }

    #[test]
    fn the_gradient_equals_central_differences() {
        let x = [normal::<2>([3, 16], 1)];
        for group in [4, 8] {
            let (_, g) = value_and_gradients(&x, fused(group));
            let quotients = central_differences(&x, fused(group), 1e-2);
            assert!(max_difference(g[0].clone(), quotients[0].clone()) < 2e-4, "groups of {group}");
        }
    }

    #[test]
    fn extreme_inputs_give_finite_values_and_gradients() {
        for size in [1e2, 1e4] {
            let signs = normal::<2>([20, 64], 1).sign();
            // ties between equal extremes, groups of one sign, and extremes among ordinary numbers
            for x in [signs.clone() * size, signs.abs() * -size, normal::<2>([20, 64], 2) * size] {
                let (y, g) = value_and_gradients(std::slice::from_ref(&x), fused(8));
                assert!(values(y.clone()).iter().chain(&values(g[0].clone())).all(|v| v.is_finite()));
                let (reference, reference_g) = value_and_gradients(&[x], plain(8));
                assert!(max_difference(y, reference) < 1e-6);
                assert!(max_difference(g[0].clone(), reference_g[0].clone()) < 2e-6);
            }
        }
    }

    /// A diverged latent must be seen.
    #[test]
    fn nan_stays_nan() {
        let x = normal::<2>([1, 16], 1)
            .slice_assign([0..1, 3..4], Tensor::full([1, 1], f32::NAN, &crate::device::cpu()));
        let y = values(sim_norm(x, 8));
        assert!(y[..8].iter().all(|v| v.is_nan()) && y[8..].iter().all(|v| v.is_finite()), "{y:?}");
    }

    #[test]
    fn strided_views_are_handled() {
        // transposed and narrowed in both dimensions; the gradient arrives transposed as well
        let x = [normal::<2>([40, 30], 1).transpose().slice([3..28, 7..31])];
        let turned = |f: fn(Tensor<2>, usize) -> Tensor<2>| {
            value_and_gradients(&x, move |inputs| f(inputs[0].clone(), 8).transpose())
        };
        let ((y, g), (reference, reference_g)) = (turned(sim_norm), turned(sim_norm_reference));
        assert!(max_difference(y, reference) < 1e-6);
        assert!(max_difference(g[0].clone(), reference_g[0].clone()) < 2e-6);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        assert_same_on_any_thread_count(|| value_and_gradients(&[normal::<2>([700, 120], 1)], fused(8)));
    }

    #[test]
    #[should_panic(expected = "12 numbers do not divide into groups of 8")]
    fn a_row_that_does_not_divide_into_groups_is_refused() {
        sim_norm(normal::<2>([2, 12], 1), 8);
    }
}
