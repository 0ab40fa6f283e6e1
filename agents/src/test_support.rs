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

/// A tensor as a vector.
pub fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.try_into_vec_as().expect("f32 tensor")
}
