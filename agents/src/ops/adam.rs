//! Adam in one pass over parameter, gradient and both moments.

use super::flex::{BLOCK, contiguous};
use super::simd::multiversion;
use burn::backend::{Backend, Dispatch, ExtensionType, Flex, backend_extension, tensor::FloatTensor};
use burn::prelude::*;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Numbers of one Adam step (Kingma & Ba 2015, with the bias corrections folded in).
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate.
    pub learning_rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the corrected second moment.
    pub epsilon: f32,
    /// 1 − β1^t.
    pub correction1: f32,
    /// 1 − β2^t.
    pub correction2: f32,
}

/// A parameter and its two moments.
#[derive(ExtensionType)]
pub struct AdamState<B: Backend> {
    parameter: FloatTensor<B>,
    first: FloatTensor<B>,
    second: FloatTensor<B>,
}

/// Fused Adam as a backend operation.
#[backend_extension(Flex)]
pub trait AdamOps: Backend {
    /// One step on a flat parameter; `scale [1]` multiplies the gradient (global-norm clipping).
    fn adam(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        step: AdamStep,
    ) -> AdamState<Self>;
}

multiversion! {
    /// One step on some numbers.
    pub(crate) fn adam_slice(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], scale: f32, s: AdamStep) {
        let rate = s.learning_rate / s.correction1;
        let root = 1.0 / s.correction2.sqrt();
        for (((p, g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = g * scale;
            *m = s.beta1 * *m + (1.0 - s.beta1) * g;
            *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
            *p -= rate * *m / (v.sqrt() * root + s.epsilon);
        }
    }
}

impl AdamOps for Flex {
    fn adam(
        parameter: FlexTensor,
        gradient: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        scale: FlexTensor,
        step: AdamStep,
    ) -> AdamState<Flex> {
        let (mut p, g) = (contiguous(parameter), contiguous(gradient));
        let (mut m, mut v) = (contiguous(first), contiguous(second));
        let scale = contiguous(scale).storage::<f32>()[0];
        (p.storage_mut::<f32>().par_chunks_mut(BLOCK))
            .zip(g.storage::<f32>().par_chunks(BLOCK))
            .zip(m.storage_mut::<f32>().par_chunks_mut(BLOCK))
            .zip(v.storage_mut::<f32>().par_chunks_mut(BLOCK))
            .for_each(|(((p, g), m), v)| adam_slice(p, g, m, v, scale, step));
        AdamState { parameter: p, first: m, second: v }
    }
}

/// One Adam step; returns (parameter, first moment, second moment), all of the shape given.
///
/// `scale [1]` multiplies the gradient: it stays on the device, so that clipping needs no read-back.
pub fn adam_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    first: Tensor<D>,
    second: Tensor<D>,
    scale: Tensor<1>,
    step: AdamStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    if crate::device::is_flex(&parameter.device()) {
        let out = Dispatch::adam(
            parameter.into_dispatch(),
            gradient.into_dispatch(),
            first.into_dispatch(),
            second.into_dispatch(),
            scale.into_dispatch(),
            step,
        );
        (
            Tensor::from_dispatch(out.parameter),
            Tensor::from_dispatch(out.first),
            Tensor::from_dispatch(out.second),
        )
    } else {
        adam_step_reference(parameter, gradient, first, second, scale, step)
    }
}

/// The same with plain tensor operations.
fn adam_step_reference<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    first: Tensor<D>,
    second: Tensor<D>,
    scale: Tensor<1>,
    s: AdamStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let gradient = gradient * scale.unsqueeze();
    let first = first * s.beta1 + gradient.clone() * (1.0 - s.beta1);
    let second = second * s.beta2 + gradient.square() * (1.0 - s.beta2);
    let root = (second.clone() / s.correction2).sqrt() + s.epsilon;
    (parameter - first.clone() / root * (s.learning_rate / s.correction1), first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{max_difference, normal};

    #[test]
    fn fused_adam_equals_the_reference() {
        let t = |seed| normal::<2>([70, 600], seed);
        let step = AdamStep {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            correction1: 0.1,
            correction2: 0.001,
        };
        let run = |f: fn(_, _, _, _, _, _) -> (Tensor<2>, Tensor<2>, Tensor<2>)| {
            let scale = Tensor::<1>::from_floats([0.3], &t(1).device());
            f(t(1), t(2), t(3), t(4).square(), scale, step)
        };
        let (a, b) = (run(adam_step::<2>), run(adam_step_reference::<2>));
        assert!(max_difference(a.0, b.0) < 1e-6);
        assert!(max_difference(a.1, b.1) < 1e-6);
        assert!(max_difference(a.2, b.2) < 1e-6);
    }

    /// The first step of Adam moves each weight by the learning rate against the sign of its gradient.
    #[test]
    fn the_first_adam_step_has_the_length_of_the_learning_rate() {
        let device = crate::device::cpu();
        let step = AdamStep {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            correction1: 0.1,
            correction2: 0.001,
        };
        let zeros = Tensor::<1>::zeros([3], &device);
        let gradient = Tensor::<1>::from_floats([5.0, -0.2, 0.0], &device);
        let scale = Tensor::<1>::ones([1], &device);
        let (p, ..) = adam_step(zeros.clone(), gradient, zeros.clone(), zeros, scale, step);
        let p: Vec<f32> = crate::test_support::values(p);
        assert!((p[0] + 0.01).abs() < 1e-6 && (p[1] - 0.01).abs() < 1e-6 && p[2] == 0.0, "{p:?}");
    }
}
