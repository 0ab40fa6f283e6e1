//! Cross-entropy against two neighbouring bins, in one pass forward and one backward.

use super::flex::{by_rows, contiguous, sizes};
use super::simd::{exp, multiversion, sum_of};
use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::activation::{log_softmax, relu};
use burn_flex::FlexTensor;
use std::mem::MaybeUninit;

/// Rows of a parallel work item.
const ROWS: usize = 64;

/// The cross-entropy as backend operations.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Autodiff)]
pub trait TwoHotOps: Backend {
    /// Loss `[R, 1]` of `logits [R, n]` against `position [R, 1]`.
    fn two_hot_loss(logits: FloatTensor<Self>, position: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradient for the logits, given the loss's, `g [R, 1]`.
    fn two_hot_loss_backward(
        logits: FloatTensor<Self>,
        position: FloatTensor<Self>,
        g: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// The lower of both bins and the weight of the upper one. The last bin is never the lower one: there is none above.
#[inline(always)]
fn bins(position: f32, n: usize) -> (usize, f32) {
    let lower = (position as usize).min(n - 2);
    (lower, position - lower as f32)
}

#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m })
}

multiversion! {
    fn loss_rows(logits: &[f32], position: &[f32], n: usize, out: &mut [MaybeUninit<f32>]) {
        for ((x, u), y) in logits.chunks_exact(n).zip(position).zip(out) {
            let max = largest(x);
            let total = sum_of(x, |x| exp(x - max));
            let (lower, above) = bins(*u, n);
            // relative to the largest: nothing cancels where all logits are large
            let expected = (1.0 - above) * (x[lower] - max) + above * (x[lower + 1] - max);
            y.write(total.ln() - expected);
        }
    }
}
multiversion! {
    /// (softmax(x) − two-hot)·g
    fn slope_rows(logits: &[f32], position: &[f32], g: &[f32], n: usize, out: &mut [MaybeUninit<f32>]) {
        for (((x, u), g), out) in logits.chunks_exact(n).zip(position).zip(g).zip(out.chunks_exact_mut(n)) {
            let out = out.write_copy_of_slice(x);
            let max = largest(out);
            out.iter_mut().for_each(|v| *v = exp(*v - max));
            let scale = g / sum_of(out, |x| x);
            out.iter_mut().for_each(|v| *v *= scale);
            let (lower, above) = bins(*u, n);
            out[lower] -= (1.0 - above) * g;
            out[lower + 1] -= above * g;
        }
    }
}

impl TwoHotOps for Flex {
    fn two_hot_loss(logits: FlexTensor, position: FlexTensor) -> FlexTensor {
        let (logits, position) = (contiguous(logits), contiguous(position));
        let [rows, n] = sizes(&logits);
        let (x, u) = (logits.storage::<f32>(), position.storage::<f32>());
        by_rows(rows, 1, ROWS, |first, out| {
            loss_rows(&x[first * n..][..out.len() * n], &u[first..][..out.len()], n, out)
        })
    }

    fn two_hot_loss_backward(logits: FlexTensor, position: FlexTensor, g: FlexTensor) -> FlexTensor {
        let [logits, position, g] = [logits, position, g].map(contiguous);
        let [rows, n] = sizes(&logits);
        let (x, u, g) = (logits.storage::<f32>(), position.storage::<f32>(), g.storage::<f32>());
        by_rows(rows, n, ROWS, |first, out| {
            let count = out.len() / n;
            let (u, g) = (&u[first..][..count], &g[first..][..count]);
            slope_rows(&x[first * n..][..out.len()], u, g, n, out)
        })
    }
}

impl<B: TwoHotOps, C: CheckpointStrategy> TwoHotOps for Autodiff<B, C> {
    fn two_hot_loss(logits: FloatTensor<Self>, position: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct TwoHot;
        impl<B: TwoHotOps> Backward<B, 1> for TwoHot {
            type State = [FloatTensor<B>; 2]; // logits, position
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let ([parent], [logits, position]) = (ops.parents, ops.state);
                if let Some(node) = parent {
                    grads.register::<B>(node.id, B::two_hot_loss_backward(logits, position, g));
                }
            }
        }
        let parents = [logits.node()];
        let (logits, position) = (logits.into_primitive(), position.into_primitive());
        let loss = B::two_hot_loss(logits.clone(), position.clone());
        match TwoHot.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish([logits, position], loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }

    fn two_hot_loss_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        unimplemented!("second-order gradients through the two-hot loss are not supported")
    }
}

/// −Σ_j t_j log softmax(logits)_j with t = [`two_hot`]`(position)`. No gradient flows into the positions.
///
/// # Shapes
/// - `logits`: `[R, n]`, `position`: `[R]`, in [0, n − 1]; result `[R]`.
///
/// # Panics
/// If there are fewer than two bins.
pub fn two_hot_cross_entropy(logits: Tensor<2>, position: Tensor<1>) -> Tensor<1> {
    assert!(logits.dims()[1] > 1, "a value lies between two bins");
    if !crate::device::has_kernels(&logits.device()) {
        return two_hot_cross_entropy_reference(logits, position);
    }
    let position = position.detach().unsqueeze_dim::<2>(1);
    let loss = Dispatch::two_hot_loss(logits.into_dispatch(), position.into_dispatch());
    Tensor::<2>::from_dispatch(loss).squeeze_dim(1)
}

/// The same with plain tensor operations.
fn two_hot_cross_entropy_reference(logits: Tensor<2>, position: Tensor<1>) -> Tensor<1> {
    let target = two_hot(position.detach(), logits.dims()[1]);
    -(target * log_softmax(logits, 1)).sum_dim(1).squeeze_dim::<1>(1)
}

/// Weights of the two bins that a position lies between, 1 − |position − j| where that is positive: `[R]`, in
/// [0, n − 1], → `[R, n]`.
pub fn two_hot(position: Tensor<1>, n: usize) -> Tensor<2> {
    let bins = Tensor::<1, Int>::arange(0..n as i64, &position.device()).float();
    relu(-(position.unsqueeze_dim::<2>(1) - bins.unsqueeze()).abs() + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::test_support::*;

    fn positions(x: &[f32]) -> Tensor<1> {
        Tensor::from_floats(x, &cpu())
    }

    fn fused(u: &Tensor<1>) -> impl Fn(&[Tensor<2>]) -> Tensor<2> {
        applied(two_hot_cross_entropy, u)
    }

    /// With gradients for the logits only.
    fn applied(
        f: fn(Tensor<2>, Tensor<1>) -> Tensor<1>,
        u: &Tensor<1>,
    ) -> impl Fn(&[Tensor<2>]) -> Tensor<2> {
        let u = u.clone();
        move |inputs| {
            let x = inputs[0].clone();
            let u = if x.is_require_grad() { Tensor::from_inner(u.clone()) } else { u.clone() };
            f(x, u).unsqueeze_dim(1)
        }
    }

    /// tdmpc2's top bin wraps modulo to bin 0; a position at the top must be the last bin alone.
    #[test]
    fn two_bins_share_a_position_and_the_last_bin_does_not_wrap() {
        let t = two_hot(positions(&[0.0, 1.25, 3.0]), 4);
        assert_eq!(values(t), [1.0, 0.0, 0.0, 0.0, 0.0, 0.75, 0.25, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }

    /// ln(1 + e + e²) − (0.75·1 + 0.25·2) by hand.
    #[test]
    fn losses_of_hand_numbers() {
        let logits = Tensor::<2>::from_floats([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 1.0, 2.0]], &cpu());
        let loss = values(two_hot_cross_entropy(logits, positions(&[1.25, 0.5, 2.0])));
        let total = (1.0 + 1f32.exp() + 2f32.exp()).ln();
        for (found, known) in loss.iter().zip([total - 1.25, 3f32.ln(), total - 2.0]) {
            assert!((found - known).abs() < 1e-6, "{found} instead of {known}");
        }
    }

    #[test]
    fn the_fused_loss_equals_the_reference_in_value_and_gradient() {
        for n in [2, 21, 101] {
            let x = [normal::<2>([150, n], 1) * 4.0];
            let u = normal::<1>([150], 2).abs().clamp_max(1.0) * (n - 1) as f64;
            let (y, g) = value_and_gradients(&x, fused(&u));
            let (reference, reference_g) =
                value_and_gradients(&x, applied(two_hot_cross_entropy_reference, &u));
            assert!(max_difference(y, reference) < 1e-5, "{n} bins");
            assert!(max_difference(g[0].clone(), reference_g[0].clone()) < 2e-6, "{n} bins");
        }
    }

    #[test]
    fn the_gradient_equals_central_differences() {
        let (x, u) = ([normal::<2>([4, 7], 1)], positions(&[0.0, 6.0, 2.3, 5.9]));
        let (_, g) = value_and_gradients(&x, fused(&u));
        let quotients = central_differences(&x, fused(&u), 1e-2);
        assert!(max_difference(g[0].clone(), quotients[0].clone()) < 1e-3);
    }

    #[test]
    fn extreme_logits_give_finite_losses_and_a_nan_stays_one() {
        let u = positions(&[0.4, 3.0, 1.5]);
        for size in [1e2, 1e4, 1e30] {
            let x = [normal::<2>([3, 4], 1).sign() * size];
            let (y, g) = value_and_gradients(&x, fused(&u));
            assert!(values(y).iter().chain(&values(g[0].clone())).all(|v| v.is_finite()), "{size}");
        }
        let nan = normal::<2>([3, 4], 1).slice_assign([1..2, 2..3], Tensor::full([1, 1], f32::NAN, &cpu()));
        let bad = values(two_hot_cross_entropy(nan, u)).into_iter().map(f32::is_nan);
        assert_eq!(bad.collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let u = normal::<1>([300], 2).abs();
        assert_same_on_any_thread_count(|| value_and_gradients(&[normal::<2>([300, 33], 1)], fused(&u)));
    }
}
