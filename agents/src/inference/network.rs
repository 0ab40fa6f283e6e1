//! A small network on packed weights: all its layers pass over one block of rows before the next block begins.

use super::layer::Layer;
use super::rows::LayerNorm;
use crate::config::Precision;
use crate::ops::product::Rounded;
use crate::ops::simd::{self, multiversion};
use crate::ops::{Activation, Aligned};
use burn::prelude::*;

/// What follows a layer.
#[derive(Clone, Debug)]
pub(crate) enum After {
    Activation(Activation),
    Norm(LayerNorm),
}

/// Linear layers with something after each.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    layers: Vec<(Layer, After)>,
    precision: Precision,
}

/// Two buffers that layers write to in turn, and their rounded inputs.
#[derive(Default)]
pub(super) struct Scratch([Aligned; 2], Rounded);

/// A block of rows, `stride` apart.
pub(super) struct Rows<'a> {
    pub numbers: &'a mut [f32],
    pub stride: usize,
}

impl Network {
    /// Without layers.
    pub fn new(precision: Precision) -> Self {
        Self { layers: Vec::new(), precision }
    }

    /// With x·W + b and `after` behind the others.
    pub fn then(mut self, (weight, bias): (Tensor<2>, Tensor<1>), after: After) -> Self {
        let layer = match &after {
            After::Norm(_) => Layer::centred(weight, bias, self.precision),
            After::Activation(_) => Layer::new(weight, Some(bias), self.precision),
        };
        self.layers.push((layer, after));
        self
    }

    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |(layer, _)| layer.outputs())
    }

    /// Distance of the rows of the output.
    pub fn stride(&self) -> usize {
        self.layers.last().map_or(0, |(layer, _)| layer.stride())
    }

    /// `rows` rows of x, `x_stride` apart.
    pub(super) fn forward<'a>(
        &self,
        x: &[f32],
        x_stride: usize,
        rows: usize,
        Scratch([to, from], rounded): &'a mut Scratch,
    ) -> Rows<'a> {
        let (mut to, mut from, mut stride) = (to, from, x_stride);
        for (i, (layer, after)) in self.layers.iter().enumerate() {
            let input = if i == 0 { x } else { &from[..] };
            let numbers = rows * layer.stride();
            to.grow(numbers);
            layer.apply(input, stride, rows, to, rounded);
            stride = layer.stride();
            match after {
                After::Activation(Activation::Identity) => {}
                After::Activation(Activation::Elu) => elu(&mut to[..numbers]),
                After::Activation(Activation::Tanh) => tanh(&mut to[..numbers]),
                After::Norm(norm) => norm.apply(&mut to[..numbers], stride),
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
#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Critic, Hidden, Init, Last, Mlp};
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
        let normed = Hidden::NormMish { std: 0.5 };
        for sizes in [&[9, 40, 24, 1][..], &[9, 5], &[9, 100, 6]] {
            for (hidden, last) in [
                (Hidden::Elu, Last::Linear(Init::Orthogonal)),
                (normed, Last::Linear(Init::Orthogonal)),
                (normed, Last::Normed),
            ] {
                let mlp = Mlp::build(sizes, hidden, last, stream, device);
                // nothing is between a LayerNorm at the end and what follows it
                let end = if last == Last::Normed { Activation::Identity } else { Activation::Tanh };
                agrees(&mlp.packed(end, Precision::F32), &x, mlp.forward_into(x.clone(), end));
            }
        }
        for hidden in [Hidden::Elu, normed] {
            let mut critic = Critic::new([9, 40, 3], hidden, stream, device);
            critic.set_last(stream);
            agrees(&critic.packed(Precision::F32), &x, critic.forward(x.clone()));
        }
    }
}
