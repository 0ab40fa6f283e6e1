//! LayerNorm and the activation after it as one operation: tanh in the first layer of TD-MPC's critics, Mish in the
//! hidden layers of TD-MPC2, none before its SimNorm.

use super::flex::{by_rows, contiguous, sizes};
use super::simd::{mish, mish_slope, multiversion, sum_of, sum_of_two, tanh};
use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{
    Autodiff, Backend, Dispatch, ExtensionType, Flex, backend_extension, tensor::FloatTensor,
};
use burn::prelude::*;
use burn::tensor::activation;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::mem::MaybeUninit;

#[cfg(test)]
mod tests;

/// PyTorch's default, which the published agents use.
pub const LAYER_NORM_EPSILON: f32 = 1e-5;
/// Rows per chunk of the parameter gradients: fixed, so that the sum does not depend on the thread count.
const ROWS: usize = 64;

/// What follows the LayerNorm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormActivation {
    /// Nothing.
    Identity,
    /// tanh.
    Tanh,
    /// Mish: v·tanh(ln(1 + e^v)).
    Mish,
}

/// Gradients of [`layer_norm`].
#[derive(ExtensionType)]
pub struct NormGrads<B: Backend> {
    pub(super) x: FloatTensor<B>,
    pub(super) gamma: FloatTensor<B>,
    pub(super) beta: FloatTensor<B>,
}

/// LayerNorm + activation as backend operations.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Autodiff)]
pub trait NormOps: Backend {
    /// y = act(γ · (x − mean) / sqrt(var + 1e-5) + β), statistics over the last dimension of `x [R, n]`.
    fn normalise(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        activation: NormActivation,
    ) -> FloatTensor<Self>;
    /// Gradients for x, γ, β, given these, the output y and its gradient g.
    fn normalise_backward(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        y: FloatTensor<Self>,
        g: FloatTensor<Self>,
        activation: NormActivation,
    ) -> NormGrads<Self>;
}

#[inline(always)]
fn statistics(x: &[f32]) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum_of(x, |x| x) / n;
    let variance = sum_of(x, |x| (x - mean) * (x - mean)) / n;
    (mean, 1.0 / (variance + LAYER_NORM_EPSILON).sqrt())
}

#[inline(always)]
fn forward(x: &[f32], gamma: &[f32], beta: &[f32], y: &mut [MaybeUninit<f32>], act: impl Fn(f32) -> f32) {
    for (x, y) in x.chunks_exact(gamma.len()).zip(y.chunks_exact_mut(gamma.len())) {
        let (mean, scale) = statistics(x);
        for (((x, y), g), b) in x.iter().zip(y).zip(gamma).zip(beta) {
            y.write(act((x - mean) * scale * g + b));
        }
    }
}

/// `slope(v, y)` is dy/dv of y = act(v).
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn backward(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    y: &[f32],
    g: &mut [f32],
    d_gamma: &mut [f32],
    d_beta: &mut [f32],
    slope: impl Fn(f32, f32) -> f32,
) {
    let n = gamma.len();
    let (beta, d_gamma, d_beta) = (&beta[..n], &mut d_gamma[..n], &mut d_beta[..n]);
    for ((x, y), g) in x.chunks_exact(n).zip(y.chunks_exact(n)).zip(g.chunks_exact_mut(n)) {
        let (mean, scale) = statistics(x);
        for i in 0..n {
            let pre = g[i] * slope((x[i] - mean) * scale * gamma[i] + beta[i], y[i]);
            d_gamma[i] += pre * (x[i] - mean) * scale;
            d_beta[i] += pre;
            g[i] = pre * gamma[i];
        }
        // dx = scale · (h − mean(h) − x̂ · mean(h · x̂)), with h = dL/dx̂
        let h_mean = sum_of(g, |g| g) / n as f32;
        let h_dot = sum_of_two(g, x, |g, x| g * (x - mean)) * scale / n as f32;
        for i in 0..n {
            g[i] = scale * (g[i] - h_mean - (x[i] - mean) * scale * h_dot);
        }
    }
}

multiversion! {
    fn forward_rows(x: &[f32], gamma: &[f32], beta: &[f32], y: &mut [MaybeUninit<f32>], activation: NormActivation) {
        match activation {
            NormActivation::Identity => forward(x, gamma, beta, y, |v| v),
            NormActivation::Tanh => forward(x, gamma, beta, y, tanh),
            NormActivation::Mish => forward(x, gamma, beta, y, mish),
        }
    }
}

multiversion! {
    /// Turns `g` into dL/dx in place and adds to the sums for γ and β.
    fn backward_rows(x: &[f32], gamma: &[f32], beta: &[f32], y: &[f32], g: &mut [f32], d_gamma: &mut [f32],
                     d_beta: &mut [f32], activation: NormActivation) {
        match activation {
            NormActivation::Identity => backward(x, gamma, beta, y, g, d_gamma, d_beta, |_, _| 1.0),
            NormActivation::Tanh => backward(x, gamma, beta, y, g, d_gamma, d_beta, |_, y| 1.0 - y * y),
            NormActivation::Mish => backward(x, gamma, beta, y, g, d_gamma, d_beta, |v, _| mish_slope(v)),
        }
    }
}

impl NormOps for Flex {
    fn normalise(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        activation: NormActivation,
    ) -> FlexTensor {
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let [rows, n] = sizes(&x);
        let (gamma, beta) = (&gamma.storage::<f32>()[..n], &beta.storage::<f32>()[..n]);
        let x = x.storage::<f32>();
        by_rows(rows, n, ROWS, |first, y| {
            forward_rows(&x[first * n..][..y.len()], gamma, beta, y, activation)
        })
    }

    fn normalise_backward(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        y: FlexTensor,
        g: FlexTensor,
        activation: NormActivation,
    ) -> NormGrads<Flex> {
        let [x, gamma, beta, y, mut g] = [x, gamma, beta, y, g].map(contiguous);
        let [rows, n] = sizes(&x);
        let (weights, offsets) = (&gamma.storage::<f32>()[..n], &beta.storage::<f32>()[..n]);
        let sums: Vec<[Vec<f32>; 2]> = (g.storage_mut::<f32>()[..rows * n].par_chunks_mut(ROWS * n))
            .zip(x.storage::<f32>()[..rows * n].par_chunks(ROWS * n))
            .zip(y.storage::<f32>()[..rows * n].par_chunks(ROWS * n))
            .map(|((g, x), y)| {
                let [mut d_gamma, mut d_beta] = [vec![0.0; n], vec![0.0; n]];
                backward_rows(x, weights, offsets, y, g, &mut d_gamma, &mut d_beta, activation);
                [d_gamma, d_beta]
            })
            .collect();
        let mut totals = [vec![0.0; n], vec![0.0; n]];
        for chunk in sums {
            for (total, part) in totals.iter_mut().zip(chunk) {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        }
        let [gamma, beta] = totals.map(|total| FlexTensor::from_data(TensorData::new(total, [n])));
        NormGrads { x: g, gamma, beta }
    }
}

impl<B: NormOps, C: CheckpointStrategy> NormOps for Autodiff<B, C> {
    fn normalise(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        activation: NormActivation,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LayerNorm;
        impl<B: NormOps> Backward<B, 3> for LayerNorm {
            type State = ([FloatTensor<B>; 4], NormActivation); // x, γ, β, y
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let ([x, gamma, beta, y], activation) = ops.state;
                let out = B::normalise_backward(x, gamma, beta, y, g, activation);
                for (parent, grad) in ops.parents.into_iter().zip([out.x, out.gamma, out.beta]) {
                    if let Some(node) = parent {
                        grads.register::<B>(node.id, grad);
                    }
                }
            }
        }
        let parents = [x.node(), gamma.node(), beta.node()];
        let (x, gamma, beta) = (x.into_primitive(), gamma.into_primitive(), beta.into_primitive());
        match LayerNorm.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::normalise(x.clone(), gamma.clone(), beta.clone(), activation);
                prep.finish(([x, gamma, beta, y.clone()], activation), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::normalise(x, gamma, beta, activation)),
        }
    }

    fn normalise_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: NormActivation,
    ) -> NormGrads<Self> {
        unimplemented!("second-order gradients through LayerNorm are not supported")
    }
}

/// act(LayerNorm(x)) over the last dimension; with Mish, mish(v) = v·tanh(ln(1 + e^v)), what follows the affine map in
/// TD-MPC2's NormedLinear (Hansen et al. 2024, arXiv 2310.16828).
///
/// # Shapes
/// - `x`: `[R, n]`, `gamma` and `beta`: `[n]`; result `[R, n]`.
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, activation: NormActivation) -> Tensor<2> {
    if crate::device::has_kernels(&x.device()) {
        Tensor::from_dispatch(Dispatch::normalise(
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            activation,
        ))
    } else {
        layer_norm_reference(x, gamma, beta, activation)
    }
}

/// The same with plain tensor operations.
fn layer_norm_reference(
    x: Tensor<2>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    activation: NormActivation,
) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    let normalised = centred / (variance + LAYER_NORM_EPSILON).sqrt();
    let affine = normalised * gamma.unsqueeze() + beta.unsqueeze();
    match activation {
        NormActivation::Identity => affine,
        NormActivation::Tanh => affine.tanh(),
        NormActivation::Mish => activation::mish(affine),
    }
}
