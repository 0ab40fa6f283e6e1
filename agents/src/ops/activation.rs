//! ELU and tanh in one pass forward and one pass backward.

use super::flex::{BLOCK, contiguous};
use super::simd::{self, multiversion};
use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind, unary},
};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension, tensor::FloatTensor};
use burn::prelude::*;
use burn::tensor::activation;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Which function; both derivatives can be written in terms of the output y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// ELU, α = 1; dy/dx = 1 + min(y, 0).
    Elu,
    /// tanh; dy/dx = 1 − y².
    Tanh,
}

/// Element-wise activations as backend operations.
#[backend_extension(Flex, Autodiff)]
pub trait ActivationOps: Backend {
    /// y = act(x).
    fn activate(x: FloatTensor<Self>, kind: Activation) -> FloatTensor<Self>;
    /// g · act′(x), written with y = act(x).
    fn activate_backward(y: FloatTensor<Self>, g: FloatTensor<Self>, kind: Activation) -> FloatTensor<Self>;
}

multiversion! { fn elu_slice(x: &mut [f32]) { for v in x.iter_mut() { *v = simd::elu(*v) } } }
multiversion! { fn tanh_slice(x: &mut [f32]) { for v in x.iter_mut() { *v = simd::tanh(*v) } } }
multiversion! {
    fn elu_backward_slice(g: &mut [f32], y: &[f32]) { for (g, y) in g.iter_mut().zip(y) { *g *= 1.0 + y.min(0.0) } }
}
multiversion! {
    fn tanh_backward_slice(g: &mut [f32], y: &[f32]) { for (g, y) in g.iter_mut().zip(y) { *g *= 1.0 - y * y } }
}

impl ActivationOps for Flex {
    fn activate(x: FlexTensor, kind: Activation) -> FlexTensor {
        let mut x = contiguous(x);
        let kernel = match kind {
            Activation::Elu => elu_slice,
            Activation::Tanh => tanh_slice,
        };
        // `storage_mut` copies when the tensor is shared and works in place when it is not
        x.storage_mut::<f32>().par_chunks_mut(BLOCK).for_each(kernel);
        x
    }

    fn activate_backward(y: FlexTensor, g: FlexTensor, kind: Activation) -> FlexTensor {
        let (y, mut g) = (contiguous(y), contiguous(g));
        let kernel = match kind {
            Activation::Elu => elu_backward_slice,
            Activation::Tanh => tanh_backward_slice,
        };
        let y = y.storage::<f32>();
        g.storage_mut::<f32>().par_chunks_mut(BLOCK).zip(y.par_chunks(BLOCK)).for_each(|(g, y)| kernel(g, y));
        g
    }
}

impl<B: ActivationOps, C: CheckpointStrategy> ActivationOps for Autodiff<B, C> {
    fn activate(x: FloatTensor<Self>, kind: Activation) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Activate;
        impl<B: ActivationOps> Backward<B, 1> for Activate {
            type State = (FloatTensor<B>, Activation);
            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let (y, kind) = ops.state;
                unary::<B, _>(ops.parents, ops.node, grads, |g| B::activate_backward(y, g, kind));
            }
        }
        let parents = [x.node()];
        let x = x.into_primitive();
        match Activate.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::activate(x, kind);
                prep.finish((y.clone(), kind), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::activate(x, kind)),
        }
    }

    fn activate_backward(_: FloatTensor<Self>, _: FloatTensor<Self>, _: Activation) -> FloatTensor<Self> {
        unimplemented!("second-order gradients through activations are not supported")
    }
}

/// ELU with α = 1, any shape.
pub fn elu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if super::is_flex(&x) {
        Tensor::from_dispatch(Dispatch::activate(x.into_dispatch(), Activation::Elu))
    } else {
        activation::elu(x, 1.0)
    }
}

/// Hyperbolic tangent, any shape.
pub fn tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if super::is_flex(&x) {
        Tensor::from_dispatch(Dispatch::activate(x.into_dispatch(), Activation::Tanh))
    } else {
        x.tanh()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{gradient_of, max_difference, normal};

    #[test]
    fn fused_activations_equal_plain_ones_in_value_and_gradient() {
        let x = normal::<2>([37, 65], 1).mul_scalar(2.0);
        let plain_elu = |x: Tensor<2>| activation::elu(x, 1.0);
        for (fused, plain) in
            [(elu::<2> as fn(Tensor<2>) -> _, plain_elu as fn(_) -> _), (tanh, Tensor::tanh)]
        {
            assert!(max_difference(fused(x.clone()), plain(x.clone())) < 1e-6);
            let (a, b) = (gradient_of(fused, x.clone()), gradient_of(plain, x.clone()));
            assert!(max_difference(a, b) < 2e-6);
        }
    }

    /// `FlexTensor` kernels index storage flat; a transposed or offset view once read the wrong elements.
    #[test]
    fn strided_views_are_handled() {
        let x = normal::<2>([8, 12], 2);
        let view = x.clone().transpose().slice([2..7, 1..6]);
        assert!(max_difference(elu(view.clone()), activation::elu(view, 1.0)) < 1e-6);
        assert!(
            max_difference(x.clone(), normal::<2>([8, 12], 2)) == 0.0,
            "the input must not change in place"
        );
    }
}
