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

/// The output of `f`, and for each of its inputs the gradient of the output's sum, weighted by fixed random numbers.
pub fn value_and_gradients(
    inputs: &[Tensor<2>],
    f: impl Fn(&[Tensor<2>]) -> Tensor<2>,
) -> (Tensor<2>, Vec<Tensor<2>>) {
    let inputs: Vec<_> = inputs.iter().map(|t| Tensor::from_inner(t.clone()).require_grad()).collect();
    let y = f(&inputs);
    let grads = (y.clone() * Tensor::from_inner(loss_weights(y.dims()))).sum().backward();
    let gradients = inputs.iter().map(|t| t.grad(&grads).expect("every input has a gradient"));
    (y.inner(), gradients.collect())
}

/// The gradients of [`value_and_gradients`] by central differences, from `step` below to `step` above each number.
pub fn central_differences(
    inputs: &[Tensor<2>],
    f: impl Fn(&[Tensor<2>]) -> Tensor<2>,
    step: f32,
) -> Vec<Tensor<2>> {
    let moved = |which: usize, element: usize, by: f32| -> f64 {
        let mut inputs = inputs.to_vec();
        let mut numbers = values(inputs[which].clone());
        numbers[element] += by;
        let data = TensorData::new(numbers, inputs[which].dims());
        inputs[which] = Tensor::from_data(data, &crate::device::cpu());
        let y = f(&inputs);
        let weights = values(loss_weights(y.dims()));
        values(y).iter().zip(weights).map(|(y, w)| *y as f64 * w as f64).sum()
    };
    let quotients = |(which, input): (usize, &Tensor<2>)| {
        let quotient = |i| (moved(which, i, step) - moved(which, i, -step)) as f32 / (2.0 * step);
        let numbers: Vec<f32> = (0..input.shape().num_elements()).map(quotient).collect();
        Tensor::from_data(TensorData::new(numbers, input.dims()), &crate::device::cpu())
    };
    inputs.iter().enumerate().map(quotients).collect()
}

fn loss_weights(shape: [usize; 2]) -> Tensor<2> {
    normal(shape, 1000)
}

/// Asserts that one thread and three give the same bits.
pub fn assert_same_on_any_thread_count(f: impl Fn() -> (Tensor<2>, Vec<Tensor<2>>) + Sync) {
    let bits = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| {
            let (value, gradients) = f();
            let all = std::iter::once(value).chain(gradients).flat_map(values);
            all.map(f32::to_bits).collect::<Vec<u32>>()
        })
    };
    assert!(bits(1) == bits(3), "the result depends on the number of threads");
}

/// A tensor as a vector.
pub fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.try_into_vec_as().expect("f32 tensor")
}
