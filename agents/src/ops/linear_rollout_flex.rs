//! The kernels of [`linear_rollout_readout`](super::linear_rollout_readout) on the flex (CPU) backend.
//!
//! A latent is much wider than what drives it and what is read from it, so operations over all latents at once wait for
//! memory. Here a block of trajectories goes through the whole chain while its latents stay in the cache. With
//! gradients the latents are written once and read once: computing them again costs a product more and was slower.

use super::dense::identity_rows;
use super::flex::{by_rows, by_rows_of_two, contiguous, sizes};
use super::linear_rollout::{LatentsAndOutputs, LinearRolloutGrads, LinearRolloutOps};
use super::matrix::{Matrix, multiply_add};
use super::product::Right;
use super::simd::multiversion;
use crate::config::Precision;
use burn::backend::Flex;
use burn::prelude::*;
use burn::tensor::Shape;
use burn_flex::FlexTensor;
use std::mem::MaybeUninit;

/// Latents of a block: at 512 reals each, they and their adjoint states take 820 kB.
const ROWS: usize = 200;
/// Most parts that the gradients of the parameters are summed in: fixed, so that the sums do not depend on the thread
/// count, and few, because each is as large as the parameters.
const PARTS: usize = 16;

multiversion! {
    /// z_1 … z_T of one trajectory in place of the inputs c_0 … c_{T−1}: `z0 [2m]`, `z [T, 2m]`.
    fn advance_row(lambda: &[f32], z0: &[f32], z: &mut [f32]) {
        let m = lambda.len() / 2;
        let (lr, li) = lambda.split_at(m);
        let mut previous = z0;
        for current in z.chunks_exact_mut(2 * m) {
            let ((pr, pi), (zr, zi)) = (previous.split_at(m), current.split_at_mut(m));
            for j in 0..m {
                zr[j] += lr[j] * pr[j] - li[j] * pi[j];
                zi[j] += lr[j] * pi[j] + li[j] * pr[j];
            }
            previous = current;
        }
    }
}

multiversion! {
    /// The adjoint states a_1 … a_T of one trajectory in place of δ_1 … δ_T, and what they add to ∂/∂z_0 and ∂/∂λ̄.
    fn adjoint_row(lambda: &[f32], z0: &[f32], z: &[f32], a: &mut [f32], d_z0: &mut [f32], d_lambda: &mut [f32]) {
        let m = lambda.len() / 2;
        let ((lr, li), (sr, si)) = (lambda.split_at(m), d_lambda.split_at_mut(m));
        for k in (0..a.len() / (2 * m)).rev() {
            let (before, after) = a.split_at_mut(k * 2 * m);
            let (previous, earlier) = match k.checked_sub(1) {
                Some(k) => (&z[k * 2 * m..][..2 * m], &mut before[k * 2 * m..]),
                None => (z0, &mut *d_z0),
            };
            let ((pr, pi), (ar, ai)) = (previous.split_at(m), after[..2 * m].split_at(m));
            let (er, ei) = earlier.split_at_mut(m);
            for j in 0..m {
                sr[j] += pr[j] * ar[j] + pi[j] * ai[j];
                si[j] += pr[j] * ai[j] - pi[j] * ar[j];
                er[j] += lr[j] * ar[j] + li[j] * ai[j];
                ei[j] += lr[j] * ai[j] - li[j] * ar[j];
            }
        }
    }
}

multiversion! {
    fn add_rows(rows: &[f32], sum: &mut [f32]) {
        for row in rows.chunks_exact(sum.len()) {
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
}

/// The sizes B, T, l, D and S.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    steps: usize,
    inputs: usize,
    latent: usize,
    outputs: usize,
}

impl Sizes {
    fn new(u: &FlexTensor, weight: &FlexTensor) -> Self {
        let (u, [latent, outputs]) = (u.layout().shape(), sizes(weight));
        Self { batch: u[0], steps: u[1], inputs: u[2], latent, outputs }
    }

    /// Trajectories of a block.
    fn block(&self) -> usize {
        (ROWS / self.steps.max(1)).max(1)
    }

    /// Trajectories of a part: whole blocks.
    fn part(&self) -> usize {
        self.batch.div_ceil(PARTS).max(1).next_multiple_of(self.block())
    }

    /// A right factor of products with the rows of a block.
    fn factor<'a>(&self, matrix: Matrix<'a>) -> Right<'a> {
        Right::new(matrix, self.block() * self.steps, Precision::F32)
    }

    /// Numbers of λ̄, L̄, Wᵀ and b.
    fn parameters(&self) -> [usize; 4] {
        [self.latent, self.inputs * self.latent, self.outputs * self.latent, self.outputs]
    }
}

/// The arguments of a forward pass, row-major; weights as factors.
struct Forward<'a> {
    size: Sizes,
    /// λ̄, z_0, u and b.
    tensors: [&'a [f32]; 4],
    input: Right<'a>,
    weight: Right<'a>,
}

impl<'a> Forward<'a> {
    /// Of λ̄, z_0, u, L̄, W and b, row-major.
    fn new(arguments: &'a [FlexTensor; 6]) -> Self {
        let size = Sizes::new(&arguments[2], &arguments[4]);
        let [lambda, z0, u, input, weight, bias] = arguments.each_ref().map(|t| t.storage::<f32>());
        Self {
            size,
            tensors: [lambda, z0, u, bias],
            input: size.factor(Matrix::new(input, size.inputs, size.latent)),
            weight: size.factor(Matrix::new(weight, size.latent, size.outputs)),
        }
    }

    /// Latents and outputs of a block of trajectories from `first` on.
    fn block(&self, first: usize, z: &mut [MaybeUninit<f32>], y: &mut [MaybeUninit<f32>]) {
        let Sizes { steps, inputs, latent, outputs, .. } = self.size;
        let [lambda, z0, u, bias] = self.tensors;
        let rows = y.len() / outputs;
        let z = self.input.multiply(Matrix::new(&u[first * steps * inputs..], rows, inputs), z);
        for (z, z0) in z.chunks_exact_mut(steps * latent).zip(z0[first * latent..].chunks_exact(latent)) {
            advance_row(&lambda[..latent], z0, z);
        }
        let y = self.weight.multiply(Matrix::new(z, rows, latent), y);
        identity_rows(y, &bias[..outputs]);
    }
}

/// What a backward pass reads, row-major; weights transposed, as factors.
struct Reverse<'a> {
    size: Sizes,
    /// λ̄, z_0, u, z and g.
    tensors: [&'a [f32]; 5],
    input: Right<'a>,
    weight: Right<'a>,
}

impl<'a> Reverse<'a> {
    /// Of λ̄, z_0, u, L̄, W, z and g, row-major.
    fn new(arguments: &'a [FlexTensor; 7]) -> Self {
        let size = Sizes::new(&arguments[2], &arguments[4]);
        let [lambda, z0, u, input, weight, z, g] = arguments.each_ref().map(|t| t.storage::<f32>());
        Self {
            size,
            tensors: [lambda, z0, u, z, g],
            input: size.factor(Matrix::new(input, size.inputs, size.latent).transposed()),
            weight: size.factor(Matrix::new(weight, size.latent, size.outputs).transposed()),
        }
    }

    /// Gradients of a part of the trajectories from `first` on; returns those of the parameters.
    fn part(&self, first: usize, d_u: &mut [MaybeUninit<f32>], d_z0: &mut [MaybeUninit<f32>]) -> Vec<f32> {
        let Sizes { steps, inputs, latent, outputs, .. } = self.size;
        let [lambda, z0, u, z, g] = self.tensors;
        let (lambda, width) = (&lambda[..latent], steps * latent);
        let mut sums = vec![0.0; self.size.parameters().iter().sum()];
        let [d_lambda, d_input, d_weight, d_bias] = split(&mut sums, self.size.parameters());
        let block = self.size.block();
        let mut adjoint = vec![MaybeUninit::uninit(); block * width];
        let mut d_start = vec![0.0; latent];
        let blocks = d_u.chunks_mut(block * steps * inputs).zip(d_z0.chunks_mut(block * latent));
        for (i, (d_u, d_z0)) in blocks.enumerate() {
            let (first, rows) = (first + i * block, d_u.len() / inputs);
            let g = &g[first * steps * outputs..][..rows * outputs];
            let (z0, z) = (&z0[first * latent..], &z[first * width..]);
            let a = self.weight.multiply(Matrix::new(g, rows, outputs), &mut adjoint[..rows * latent]);
            // before the adjoint states: a product hides better than they do that z comes from memory
            multiply_add(Matrix::new(g, rows, outputs).transposed(), Matrix::new(z, rows, latent), d_weight);
            add_rows(g, d_bias);
            for (j, (a, d_z0)) in a.chunks_exact_mut(width).zip(d_z0.chunks_exact_mut(latent)).enumerate() {
                d_start.fill(0.0);
                let (z0, z) = (&z0[j * latent..][..latent], &z[j * width..][..width]);
                adjoint_row(lambda, z0, z, a, &mut d_start, d_lambda);
                d_z0.write_copy_of_slice(&d_start);
            }
            let (a, u) = (Matrix::new(a, rows, latent), &u[first * steps * inputs..]);
            self.input.multiply(a, d_u);
            multiply_add(Matrix::new(u, rows, inputs).transposed(), a, d_input);
        }
        sums
    }
}

/// The first numbers in pieces of these lengths.
fn split<const N: usize>(mut numbers: &mut [f32], lengths: [usize; N]) -> [&mut [f32]; N] {
    lengths.map(|n| numbers.split_off_mut(..n).expect("as many numbers as the pieces have together"))
}

impl LinearRolloutOps for Flex {
    fn linear_rollout(
        lambda: FlexTensor,
        z0: FlexTensor,
        u: FlexTensor,
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
    ) -> FlexTensor {
        let arguments = [lambda, z0, u, input, weight, bias].map(contiguous);
        let forward = Forward::new(&arguments);
        let Sizes { batch, steps, latent, outputs, .. } = forward.size;
        let y = by_rows(batch, steps * outputs, forward.size.block(), |first, y| {
            let mut z = vec![MaybeUninit::uninit(); y.len() / outputs * latent];
            forward.block(first, &mut z, y);
        });
        y.reshape(Shape::new([batch, steps, outputs]))
    }

    fn linear_rollout_latents(
        lambda: FlexTensor,
        z0: FlexTensor,
        u: FlexTensor,
        input: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
    ) -> LatentsAndOutputs<Flex> {
        let arguments = [lambda, z0, u, input, weight, bias].map(contiguous);
        let forward = Forward::new(&arguments);
        let Sizes { batch, steps, latent, outputs, .. } = forward.size;
        let widths = [steps * latent, steps * outputs];
        let ([latents, y], _) =
            by_rows_of_two(batch, widths, forward.size.block(), |first, z, y| forward.block(first, z, y));
        LatentsAndOutputs { latents, outputs: y.reshape(Shape::new([batch, steps, outputs])) }
    }

    fn linear_rollout_backward(
        lambda: FlexTensor,
        z0: FlexTensor,
        u: FlexTensor,
        input: FlexTensor,
        weight: FlexTensor,
        latents: FlexTensor,
        g: FlexTensor,
    ) -> LinearRolloutGrads<Flex> {
        let arguments = [lambda, z0, u, input, weight, latents, g].map(contiguous);
        let reverse = Reverse::new(&arguments);
        let size @ Sizes { batch, steps, inputs, latent, outputs } = reverse.size;
        let widths = [steps * inputs, latent];
        let ([d_u, d_z0], parts) =
            by_rows_of_two(batch, widths, size.part(), |first, d_u, d_z0| reverse.part(first, d_u, d_z0));
        let mut sums = vec![0.0; size.parameters().iter().sum()];
        for part in parts {
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let [d_lambda, d_input, d_weight, d_bias] =
            split(&mut sums, size.parameters()).map(|part| part.to_vec());
        LinearRolloutGrads {
            lambda: FlexTensor::from_data(TensorData::new(d_lambda, [latent])),
            z0: d_z0,
            u: d_u.reshape(Shape::new([batch, steps, inputs])),
            input: FlexTensor::from_data(TensorData::new(d_input, [inputs, latent])),
            weight: FlexTensor::from_data(TensorData::new(d_weight, [outputs, latent])).transpose(0, 1),
            bias: FlexTensor::from_data(TensorData::new(d_bias, [outputs])),
        }
    }
}
