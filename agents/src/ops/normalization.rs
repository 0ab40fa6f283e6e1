//! LayerNorm followed by tanh as one operation: the first layer of TD-MPC's critics.

use super::flex::{by_rows, contiguous, sizes};
use super::simd::{multiversion, sum_by, tanh};
use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{
    Autodiff, Backend, Dispatch, ExtensionType, Flex, backend_extension, tensor::FloatTensor,
};
use burn::prelude::*;
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// PyTorch's default, which the published agents use.
pub const LAYER_NORM_EPSILON: f32 = 1e-5;
/// Rows per chunk of the parameter gradients: fixed, so that the sum does not depend on the thread count.
const ROWS: usize = 64;

/// Gradients of [`layer_norm_tanh`].
#[derive(ExtensionType)]
pub struct NormGrads<B: Backend> {
    x: FloatTensor<B>,
    gamma: FloatTensor<B>,
    beta: FloatTensor<B>,
}

/// LayerNorm + tanh as backend operations.
#[backend_extension(Flex, Autodiff)]
pub trait NormOps: Backend {
    /// y = tanh(γ · (x − mean) / sqrt(var + 1e-5) + β), statistics over the last dimension of `x [R, n]`.
    fn norm_tanh(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Gradients for x, γ, β, given x, γ, the output y and its gradient g.
    fn norm_tanh_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        y: FloatTensor<Self>,
        g: FloatTensor<Self>,
    ) -> NormGrads<Self>;
}

#[inline(always)]
fn statistics(x: &[f32]) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum_by(x.len(), |i| x[i]) / n;
    let variance = sum_by(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / n;
    (mean, 1.0 / (variance + LAYER_NORM_EPSILON).sqrt())
}

multiversion! {
    fn forward_rows(x: &[f32], gamma: &[f32], beta: &[f32], y: &mut [MaybeUninit<f32>]) {
        for (x, y) in x.chunks_exact(gamma.len()).zip(y.chunks_exact_mut(gamma.len())) {
            let (mean, scale) = statistics(x);
            for (((x, y), g), b) in x.iter().zip(y).zip(gamma).zip(beta) {
                y.write(tanh((x - mean) * scale * g + b));
            }
        }
    }
}

multiversion! {
    /// Turns `g` into dL/dx in place and adds to the sums for γ and β.
    fn backward_rows(x: &[f32], gamma: &[f32], y: &[f32], g: &mut [f32], d_gamma: &mut [f32], d_beta: &mut [f32]) {
        let n = gamma.len();
        for ((x, y), g) in x.chunks_exact(n).zip(y.chunks_exact(n)).zip(g.chunks_exact_mut(n)) {
            let (mean, scale) = statistics(x);
            for i in 0..n {
                let pre = g[i] * (1.0 - y[i] * y[i]);
                d_gamma[i] += pre * (x[i] - mean) * scale;
                d_beta[i] += pre;
                g[i] = pre * gamma[i];
            }
            // dx = scale · (h − mean(h) − x̂ · mean(h · x̂)), with h = dL/dx̂
            let h_mean = sum_by(n, |i| g[i]) / n as f32;
            let h_dot = sum_by(n, |i| g[i] * (x[i] - mean)) * scale / n as f32;
            for i in 0..n {
                g[i] = scale * (g[i] - h_mean - (x[i] - mean) * scale * h_dot);
            }
        }
    }
}

impl NormOps for Flex {
    fn norm_tanh(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor) -> FlexTensor {
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let [rows, n] = sizes(&x);
        let (gamma, beta) = (&gamma.storage::<f32>()[..n], &beta.storage::<f32>()[..n]);
        let x = x.storage::<f32>();
        by_rows(rows, n, ROWS, |first, y| forward_rows(&x[first * n..][..y.len()], gamma, beta, y))
    }

    fn norm_tanh_backward(x: FlexTensor, gamma: FlexTensor, y: FlexTensor, g: FlexTensor) -> NormGrads<Flex> {
        let (x, gamma, y, mut g) = (contiguous(x), contiguous(gamma), contiguous(y), contiguous(g));
        let n = gamma.layout().shape()[0];
        let weights = &gamma.storage::<f32>()[..n];
        let sums: Vec<(Vec<f32>, Vec<f32>)> = (g.storage_mut::<f32>().par_chunks_mut(ROWS * n))
            .zip(x.storage::<f32>().par_chunks(ROWS * n))
            .zip(y.storage::<f32>().par_chunks(ROWS * n))
            .map(|((g, x), y)| {
                let (mut d_gamma, mut d_beta) = (vec![0.0; n], vec![0.0; n]);
                backward_rows(x, weights, y, g, &mut d_gamma, &mut d_beta);
                (d_gamma, d_beta)
            })
            .collect();
        let mut d_gamma = FlexTensor::zeros(Shape::new([n]), DType::F32);
        let mut d_beta = FlexTensor::zeros(Shape::new([n]), DType::F32);
        let (dg, db) = (d_gamma.storage_mut::<f32>(), d_beta.storage_mut::<f32>());
        for (gamma, beta) in sums {
            dg.iter_mut().zip(gamma).for_each(|(o, v)| *o += v);
            db.iter_mut().zip(beta).for_each(|(o, v)| *o += v);
        }
        NormGrads { x: g, gamma: d_gamma, beta: d_beta }
    }
}

impl<B: NormOps, C: CheckpointStrategy> NormOps for Autodiff<B, C> {
    fn norm_tanh(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct NormTanh;
        impl<B: NormOps> Backward<B, 3> for NormTanh {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>); // x, γ, y
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let (x, gamma, y) = ops.state;
                let out = B::norm_tanh_backward(x, gamma, y, g);
                for (parent, grad) in ops.parents.into_iter().zip([out.x, out.gamma, out.beta]) {
                    if let Some(node) = parent {
                        grads.register::<B>(node.id, grad);
                    }
                }
            }
        }
        let parents = [x.node(), gamma.node(), beta.node()];
        let (x, gamma, beta) = (x.into_primitive(), gamma.into_primitive(), beta.into_primitive());
        match NormTanh.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::norm_tanh(x.clone(), gamma.clone(), beta);
                prep.finish((x, gamma, y.clone()), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::norm_tanh(x, gamma, beta)),
        }
    }

    fn norm_tanh_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> NormGrads<Self> {
        unimplemented!("second-order gradients through layer_norm_tanh are not supported")
    }
}

/// tanh(LayerNorm(x)) over the last dimension.
///
/// # Shapes
/// - `x`: `[R, n]`, `gamma` and `beta`: `[n]`; result `[R, n]`.
pub fn layer_norm_tanh(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<2> {
    if crate::device::is_flex(&x.device()) {
        Tensor::from_dispatch(Dispatch::norm_tanh(
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
        ))
    } else {
        layer_norm_tanh_reference(x, gamma, beta)
    }
}

/// The same with plain tensor operations.
fn layer_norm_tanh_reference(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    let normalised = centred / (variance + LAYER_NORM_EPSILON).sqrt();
    (normalised * gamma.unsqueeze() + beta.unsqueeze()).tanh()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{max_difference, normal};

    #[test]
    fn fused_layer_norm_equals_the_reference_in_value_and_every_gradient() {
        // 150 rows: three chunks, the last one partial
        let x = normal::<2>([150, 33], 1).mul_scalar(3.0).add_scalar(0.7);
        let (gamma, beta) = (normal::<1>([33], 2), normal::<1>([33], 3));
        let run = |f: fn(Tensor<2>, Tensor<1>, Tensor<1>) -> Tensor<2>| {
            let (x, gamma, beta) = (
                Tensor::from_inner(x.clone()).require_grad(),
                Tensor::from_inner(gamma.clone()).require_grad(),
                Tensor::from_inner(beta.clone()).require_grad(),
            );
            let y = f(x.clone(), gamma.clone(), beta.clone());
            let weights = Tensor::from_inner(normal::<2>([150, 33], 4));
            let grads = (y.clone() * weights).sum().backward();
            (y.inner(), x.grad(&grads).unwrap(), gamma.grad(&grads).unwrap(), beta.grad(&grads).unwrap())
        };
        let (a, b) = (run(layer_norm_tanh), run(layer_norm_tanh_reference));
        assert!(max_difference(a.0, b.0) < 1e-6);
        assert!(max_difference(a.1, b.1) < 1e-5);
        assert!(max_difference(a.2, b.2) < 1e-4);
        assert!(max_difference(a.3, b.3) < 1e-4);
    }
}
