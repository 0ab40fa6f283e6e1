//! Helpers shared by the unit tests.

use crate::rng::Stream;
use burn::prelude::*;

/// Standard normal numbers on the CPU.
pub fn normal<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let data = Stream::new(seed, "test").normal(shape.iter().product());
    Tensor::from_data(TensorData::new(data, shape), &crate::device::cpu())
}

/// Largest absolute difference.
pub fn max_difference<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar()
}

/// Gradient of a fixed random projection of `f` at `x`.
pub fn gradient_of<const D: usize>(f: fn(Tensor<D>) -> Tensor<D>, x: Tensor<D>) -> Tensor<D> {
    let weights = Tensor::from_inner(normal::<D>(x.dims(), 99));
    let x = Tensor::from_inner(x).require_grad();
    let grads = (f(x.clone()) * weights).sum().backward();
    x.grad(&grads).unwrap()
}

/// A tensor as a vector.
pub fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.try_into_vec_as().expect("f32 tensor")
}
