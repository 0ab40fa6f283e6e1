//! A small network on packed weights: all its layers pass over one block of rows before the next block begins.

use super::layer::Layer;
use crate::ops::simd::{self, multiversion, sum_by};
use crate::ops::{Activation, LAYER_NORM_EPSILON, contiguous_flex};
use burn::prelude::*;

/// What follows a layer.
#[derive(Clone, Debug)]
enum After {
    Activation(Activation),
    /// tanh(LayerNorm), γ and β.
    NormTanh(Vec<f32>, Vec<f32>),
}

/// Linear layers with something after each.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    layers: Vec<(Layer, After)>,
}

/// Two buffers that layers write to in turn.
#[derive(Default)]
pub(super) struct Scratch([Vec<f32>; 2]);

/// A block of rows, `stride` apart.
pub(super) struct Rows<'a> {
    pub numbers: &'a mut [f32],
    pub stride: usize,
}

impl Network {
    /// ELU between the layers, `end` after the last.
    pub fn new(layers: Vec<(Tensor<2>, Tensor<1>)>, end: Activation) -> Self {
        let count = layers.len();
        let after = |i| After::Activation(if i + 1 == count { end } else { Activation::Elu });
        let layers = layers.into_iter().enumerate();
        Self { layers: layers.map(|(i, (w, b))| (Layer::new(w, Some(b)), after(i))).collect() }
    }

    /// Puts a linear layer followed by tanh(LayerNorm) before the others.
    pub fn with_norm_tanh(mut self, first: (Tensor<2>, Tensor<1>), norm: [Tensor<1>; 2]) -> Self {
        let layer = Layer::new(first.0, Some(first.1));
        let [gamma, beta] = norm.map(|t| contiguous_flex(t).storage::<f32>()[..layer.outputs()].to_vec());
        self.layers.insert(0, (layer, After::NormTanh(gamma, beta)));
        self
    }

    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |(layer, _)| layer.outputs())
    }

    /// `rows` rows of x, `x_stride` apart.
    pub(super) fn forward<'a>(
        &self,
        x: &[f32],
        x_stride: usize,
        rows: usize,
        Scratch([to, from]): &'a mut Scratch,
    ) -> Rows<'a> {
        let (mut to, mut from, mut stride) = (to, from, x_stride);
        for (i, (layer, after)) in self.layers.iter().enumerate() {
            let input = if i == 0 { x } else { from.as_slice() };
            let numbers = rows * layer.stride();
            if to.len() < numbers {
                to.resize(numbers, 0.0);
            }
            layer.apply(input, stride, rows, to);
            stride = layer.stride();
            match after {
                After::Activation(Activation::Identity) => {}
                After::Activation(Activation::Elu) => elu(&mut to[..numbers]),
                After::Activation(Activation::Tanh) => tanh(&mut to[..numbers]),
                After::NormTanh(gamma, beta) => norm_tanh(&mut to[..numbers], stride, gamma, beta),
            }
            std::mem::swap(&mut to, &mut from);
        }
        Rows { numbers: &mut from[..rows * stride], stride }
    }
}

multiversion! {
    fn elu(rows: &mut [f32]) {
        rows.iter_mut().for_each(|x| *x = simd::elu(*x));
    }
}
multiversion! {
    fn tanh(rows: &mut [f32]) {
        rows.iter_mut().for_each(|x| *x = simd::tanh(*x));
    }
}
multiversion! {
    fn norm_tanh(rows: &mut [f32], stride: usize, gamma: &[f32], beta: &[f32]) {
        let n = gamma.len();
        for row in rows.chunks_exact_mut(stride) {
            let x = &mut row[..n];
            let mean = sum_by(n, |i| x[i]) / n as f32;
            let variance = sum_by(n, |i| (x[i] - mean) * (x[i] - mean)) / n as f32;
            let scale = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
            for ((x, g), b) in x.iter_mut().zip(gamma).zip(beta) {
                *x = simd::tanh((*x - mean) * scale * g + b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Critic, Hidden, Mlp};
    use crate::rng::Stream;
    use crate::test_support::{normal, values};

    fn agrees(network: &Network, x: &Tensor<2>, expected: Tensor<2>) {
        let [rows, outputs] = expected.dims();
        let (stride, x) = (x.dims()[1], values(x.clone()));
        let mut scratch = Scratch::default();
        // a second pass finds the buffers used
        for _ in 0..2 {
            let got = network.forward(&x, stride, rows, &mut scratch);
            assert_eq!(network.outputs(), outputs);
            for (y, e) in got.numbers.chunks_exact(got.stride).zip(values(expected.clone()).chunks(outputs)) {
                assert!(y.iter().zip(e).all(|(y, e)| (y - e).abs() < 1e-5), "{y:?} {e:?}");
            }
        }
    }

    #[test]
    fn packed_networks_equal_the_modules() {
        let (stream, device) = (&mut Stream::new(1, "init"), &crate::device::cpu());
        let x = normal::<2>([17, 9], 3);
        for sizes in [&[9, 40, 24, 1][..], &[9, 5], &[9, 100, 6]] {
            let mlp = Mlp::orthogonal(sizes, stream, device);
            let end = Activation::Tanh;
            agrees(&Network::new(mlp.weights(), end), &x, mlp.forward_into(x.clone(), end));
        }
        let mut critic = Critic::new([9, 40, 1], Hidden::Elu, stream, device);
        critic.set_last(stream);
        agrees(&critic.packed(), &x, critic.forward(x.clone()));
    }
}
