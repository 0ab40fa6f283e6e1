//! The diagonal complex recurrence z_{k+1} = λ̄ ⊙ z_k + c_k over a whole horizon, as one operation.
//!
//! Complex vectors are stored as `[Re | Im]` along the last dimension (m complex modes = 2m reals).
//! Backward (see the derivation in the crate documentation of [`diagonal_recurrence`]): with
//! δ_k = ∂L/∂Re z_k + i ∂L/∂Im z_k,
//! a_H = δ_H, a_k = δ_k + conj(λ̄) ⊙ a_{k+1}; then ∂/∂c_{k−1} = a_k, ∂/∂z_0 = conj(λ̄) ⊙ a_1,
//! ∂/∂λ̄ = Σ_k conj(z_{k−1}) ⊙ a_k.

use super::convolution::FftPlan;
use super::flex::contiguous;
use super::simd::multiversion;
use crate::device::{has_kernels, is_flex};
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
use serde::{Deserialize, Serialize};

/// How a linear latent is unrolled over the horizon. All ways give the same numbers up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unroll {
    /// Step by step, one pass through memory: O(H·m).
    Recurrence,
    /// Zero-padded FFT convolution with the Vandermonde kernel λ̄^k: O(m·H·log H). CPU only.
    Fft,
    /// The faster one. That is the recurrence at every horizon from 5 to 200, by a factor of four to thirteen, and
    /// nothing can turn it around: its work grows with H, the FFT's with H·log H (`agents/benches/README.md`).
    Auto,
}

impl Unroll {
    fn resolve(self, device: &Device) -> Method {
        match self {
            Unroll::Fft if is_flex(device) => Method::Fft,
            _ => Method::Recurrence,
        }
    }
}

/// What a kernel does, after [`Unroll`] was resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// The fused recurrence.
    Recurrence,
    /// FFT convolution.
    Fft,
}

/// Gradients of the recurrence.
#[derive(ExtensionType)]
pub struct RecurrenceGrads<B: Backend> {
    /// `[2m]`
    pub lambda: FloatTensor<B>,
    /// `[B, 2m]`
    pub z0: FloatTensor<B>,
    /// `[B, H, 2m]`
    pub c: FloatTensor<B>,
}

/// The recurrence as backend operations.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Autodiff)]
pub trait RecurrenceOps: Backend {
    /// z_1 … z_H.
    fn recurrence(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        c: FloatTensor<Self>,
        method: Method,
    ) -> FloatTensor<Self>;
    /// Gradients, given the output z and its gradient g.
    fn recurrence_backward(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        z: FloatTensor<Self>,
        g: FloatTensor<Self>,
        method: Method,
    ) -> RecurrenceGrads<Self>;
}

/// Trajectories per chunk of the λ̄ gradient: fixed, so that the sum does not depend on the thread count.
const ROWS: usize = 64;

multiversion! {
    /// One trajectory: `z0 [2m]`, `c [H, 2m]` → `out [H, 2m]`.
    fn forward_row(lambda: &[f32], z0: &[f32], c: &[f32], out: &mut [f32]) {
        let (lr, li) = lambda.split_at(lambda.len() / 2);
        let m = lr.len();
        let mut previous = z0;
        let mut rest = out;
        for c in c.chunks_exact(2 * m) {
            let (current, next) = rest.split_at_mut(2 * m);
            let ((zr, zi), (cr, ci)) = (previous.split_at(m), c.split_at(m));
            let (or, oi) = current.split_at_mut(m);
            for j in 0..m {
                or[j] = lr[j] * zr[j] - li[j] * zi[j] + cr[j];
                oi[j] = lr[j] * zi[j] + li[j] * zr[j] + ci[j];
            }
            previous = current;
            rest = next;
        }
    }
}

multiversion! {
    /// The adjoint states a_1 … a_H of one trajectory: `g [H, 2m]` → `a [H, 2m]`.
    fn adjoint_row(lambda: &[f32], g: &[f32], a: &mut [f32]) {
        let (lr, li) = lambda.split_at(lambda.len() / 2);
        let m = lr.len();
        a.copy_from_slice(g);
        for k in (1..a.len() / (2 * m)).rev() {
            let (before, after) = a.split_at_mut(k * 2 * m);
            let (ar, ai) = after[..2 * m].split_at(m);
            let (or, oi) = before[(k - 1) * 2 * m..].split_at_mut(m);
            for j in 0..m {
                or[j] += lr[j] * ar[j] + li[j] * ai[j];
                oi[j] += lr[j] * ai[j] - li[j] * ar[j];
            }
        }
    }
}

multiversion! {
    /// From the adjoint states of one trajectory: its ∂/∂z_0, and its part of ∂/∂λ̄.
    fn gradients_row(lambda: &[f32], z0: &[f32], z: &[f32], a: &[f32], d_z0: &mut [f32], d_lambda: &mut [f32]) {
        let (lr, li) = lambda.split_at(lambda.len() / 2);
        let m = lr.len();
        let (sr, si) = d_lambda.split_at_mut(m);
        for (k, a) in a.chunks_exact(2 * m).enumerate() {
            let previous = if k == 0 { z0 } else { &z[(k - 1) * 2 * m..k * 2 * m] };
            let ((zr, zi), (ar, ai)) = (previous.split_at(m), a.split_at(m));
            for j in 0..m {
                sr[j] += zr[j] * ar[j] + zi[j] * ai[j];
                si[j] += zr[j] * ai[j] - zi[j] * ar[j];
            }
        }
        let ((ar, ai), (or, oi)) = (a[..2 * m].split_at(m), d_z0.split_at_mut(m));
        for j in 0..m {
            or[j] = lr[j] * ar[j] + li[j] * ai[j];
            oi[j] = lr[j] * ai[j] - li[j] * ar[j];
        }
    }
}

/// (B, H, 2m) of a `[B, H, 2m]` tensor.
fn sizes(t: &FlexTensor) -> (usize, usize, usize) {
    let shape = t.layout().shape();
    (shape[0], shape[1], shape[2])
}

impl RecurrenceOps for Flex {
    fn recurrence(lambda: FlexTensor, z0: FlexTensor, c: FlexTensor, method: Method) -> FlexTensor {
        let (lambda, z0, c) = (contiguous(lambda), contiguous(z0), contiguous(c));
        let (batch, horizon, width) = sizes(&c);
        let lambda = &lambda.storage::<f32>()[..width];
        let mut out = FlexTensor::empty(Shape::new([batch, horizon, width]), DType::F32);
        let rows = (out.storage_mut::<f32>().par_chunks_mut(horizon * width))
            .zip(c.storage::<f32>().par_chunks(horizon * width))
            .zip(z0.storage::<f32>().par_chunks(width))
            .with_min_len(16);
        match method {
            Method::Recurrence => rows.for_each(|((out, c), z0)| forward_row(lambda, z0, c, out)),
            Method::Fft => {
                let plan = FftPlan::forward(lambda, horizon);
                rows.for_each_init(|| plan.scratch(), |s, ((out, c), z0)| plan.forward_row(z0, c, out, s));
            }
        }
        out
    }

    fn recurrence_backward(
        lambda: FlexTensor,
        z0: FlexTensor,
        z: FlexTensor,
        g: FlexTensor,
        method: Method,
    ) -> RecurrenceGrads<Flex> {
        let (lambda, z0, z, g) = (contiguous(lambda), contiguous(z0), contiguous(z), contiguous(g));
        let (batch, horizon, width) = sizes(&z);
        let mut d_c = FlexTensor::empty(Shape::new([batch, horizon, width]), DType::F32);
        let mut d_z0 = FlexTensor::empty(Shape::new([batch, width]), DType::F32);
        let mut d_lambda = FlexTensor::zeros(Shape::new([width]), DType::F32);
        let lambda = &lambda.storage::<f32>()[..width];
        let plan = (method == Method::Fft).then(|| FftPlan::adjoint(lambda, horizon));
        let row = horizon * width;
        let partial: Vec<Vec<f32>> = (d_c.storage_mut::<f32>().par_chunks_mut(ROWS * row))
            .zip(d_z0.storage_mut::<f32>().par_chunks_mut(ROWS * width))
            .zip(g.storage::<f32>().par_chunks(ROWS * row))
            .zip(z.storage::<f32>().par_chunks(ROWS * row))
            .zip(z0.storage::<f32>().par_chunks(ROWS * width))
            .map(|((((d_c, d_z0), g), z), z0)| {
                let mut sum = vec![0.0; width];
                let mut scratch = plan.as_ref().map(FftPlan::scratch);
                for i in 0..d_c.len() / row {
                    let (a, at) = (&mut d_c[i * row..][..row], i * width);
                    match (&plan, &mut scratch) {
                        (Some(plan), Some(scratch)) => plan.adjoint_row(&g[i * row..][..row], a, scratch),
                        _ => adjoint_row(lambda, &g[i * row..][..row], a),
                    }
                    let (z, z0) = (&z[i * row..][..row], &z0[at..][..width]);
                    gradients_row(lambda, z0, z, a, &mut d_z0[at..][..width], &mut sum);
                }
                sum
            })
            .collect();
        let total = d_lambda.storage_mut::<f32>();
        for sum in partial {
            total.iter_mut().zip(sum).for_each(|(o, v)| *o += v);
        }
        RecurrenceGrads { lambda: d_lambda, z0: d_z0, c: d_c }
    }
}

impl<B: RecurrenceOps, C: CheckpointStrategy> RecurrenceOps for Autodiff<B, C> {
    fn recurrence(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        c: FloatTensor<Self>,
        method: Method,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Recurrence;
        impl<B: RecurrenceOps> Backward<B, 3> for Recurrence {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Method); // λ̄, z_0, z
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let (lambda, z0, z, method) = ops.state;
                let out = B::recurrence_backward(lambda, z0, z, g, method);
                for (parent, grad) in ops.parents.into_iter().zip([out.lambda, out.z0, out.c]) {
                    if let Some(node) = parent {
                        grads.register::<B>(node.id, grad);
                    }
                }
            }
        }
        let parents = [lambda.node(), z0.node(), c.node()];
        let (lambda, z0, c) = (lambda.into_primitive(), z0.into_primitive(), c.into_primitive());
        match Recurrence.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let z = B::recurrence(lambda.clone(), z0.clone(), c, method);
                prep.finish((lambda, z0, z.clone(), method), z)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::recurrence(lambda, z0, c, method)),
        }
    }

    fn recurrence_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Method,
    ) -> RecurrenceGrads<Self> {
        unimplemented!("second-order gradients through the recurrence are not supported")
    }
}

/// z_{k+1} = λ̄ ⊙ z_k + c_k for k = 0 … H−1, returning z_1 … z_H.
///
/// # Shapes
/// - `lambda`: `[2m]` as `[Re | Im]`, `z0`: `[B, 2m]`, `c`: `[B, H, 2m]`; result `[B, H, 2m]`.
pub fn diagonal_recurrence(lambda: Tensor<1>, z0: Tensor<2>, c: Tensor<3>, unroll: Unroll) -> Tensor<3> {
    let device = c.device();
    if !has_kernels(&device) {
        return diagonal_recurrence_reference(lambda, z0, c);
    }
    let method = unroll.resolve(&device);
    Tensor::from_dispatch(Dispatch::recurrence(
        lambda.into_dispatch(),
        z0.into_dispatch(),
        c.into_dispatch(),
        method,
    ))
}

/// The same step by step with plain tensor operations: the meaning of [`diagonal_recurrence`].
pub fn diagonal_recurrence_reference(lambda: Tensor<1>, z0: Tensor<2>, c: Tensor<3>) -> Tensor<3> {
    let [batch, horizon, width] = c.dims();
    let m = width / 2;
    let (lr, li) = (lambda.clone().narrow(0, 0, m).unsqueeze(), lambda.narrow(0, m, m).unsqueeze());
    let (mut re, mut im) = (z0.clone().narrow(1, 0, m), z0.narrow(1, m, m));
    let mut states = Vec::with_capacity(horizon);
    for k in 0..horizon {
        let c = c.clone().narrow(1, k, 1).reshape([batch, width]);
        let (cr, ci) = (c.clone().narrow(1, 0, m), c.narrow(1, m, m));
        let next = re.clone() * lr.clone() - im.clone() * li.clone() + cr;
        im = im * lr.clone() + re * li.clone() + ci;
        re = next;
        states.push(Tensor::cat(vec![re.clone(), im.clone()], 1));
    }
    Tensor::stack(states, 1)
}
