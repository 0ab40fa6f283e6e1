//! Plain and critic networks.

use super::init::{Init, linear};
use crate::inference::Network;
use crate::ops::{self, Activation};
use crate::rng::Stream;
use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;

fn weights(layer: &Linear) -> (Tensor<2>, Tensor<1>) {
    (layer.weight.val(), layer.bias.as_ref().expect("our layers have a bias").val())
}

/// act(x·W + b) of a layer with bias.
pub(crate) fn dense(layer: &Linear, x: Tensor<2>, activation: Activation) -> Tensor<2> {
    let (weight, bias) = weights(layer);
    ops::dense(x, weight, bias, activation)
}

/// The same for every step of sequences: `[B, T, inputs]` → `[B, T, outputs]`.
pub(crate) fn dense_steps(layer: &Linear, x: Tensor<3>, activation: Activation) -> Tensor<3> {
    let [batch, steps, inputs] = x.dims();
    let y = dense(layer, x.reshape([batch * steps, inputs]), activation);
    y.reshape([batch as i32, steps as i32, -1])
}

/// Linear layers with ELU between them; the output is linear.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Layers `sizes[0] → sizes[1] → …`; `last` initialises the final one.
    pub fn new(sizes: &[usize], last: Init, stream: &mut Stream, device: &Device) -> Self {
        let count = sizes.len() - 1;
        let layer = |i: usize| if i + 1 == count { last } else { Init::Orthogonal };
        let layers = (0..count).map(|i| linear(sizes[i], sizes[i + 1], layer(i), stream, device)).collect();
        Self { layers }
    }

    /// Number of parameters.
    pub(crate) fn count(sizes: &[usize]) -> usize {
        sizes.windows(2).map(|w| (w[0] + 1) * w[1]).sum()
    }

    /// Weight `[inputs, outputs]` and bias `[outputs]` of every layer.
    pub fn weights(&self) -> Vec<(Tensor<2>, Tensor<1>)> {
        self.layers.iter().map(weights).collect()
    }

    /// Width of the output.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.weight.dims()[1])
    }

    /// `[R, sizes[0]]` → `[R, sizes[last]]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward_into(x, Activation::Identity)
    }

    /// The same with an activation at the end.
    pub fn forward_into(&self, x: Tensor<2>, end: Activation) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().expect("an MLP has at least one layer");
        let x = hidden.iter().fold(x, |x, layer| dense(layer, x, Activation::Elu));
        dense(last, x, end)
    }
}

/// One Q function of TD-MPC v1: Linear, LayerNorm, tanh, Linear, ELU, Linear (starting at zero).
#[derive(Module, Debug)]
pub struct Critic {
    input: Linear,
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    tail: Mlp,
}

impl Critic {
    /// Q(z, a) over the concatenation of `inputs` numbers.
    pub fn new(inputs: usize, hidden: usize, stream: &mut Stream, device: &Device) -> Self {
        Self {
            input: linear(inputs, hidden, Init::Orthogonal, stream, device),
            gamma: Param::from_data(TensorData::new(vec![1f32; hidden], [hidden]), device),
            beta: Param::from_data(TensorData::new(vec![0f32; hidden], [hidden]), device),
            tail: Mlp::new(&[hidden, hidden, 1], Init::Zero, stream, device),
        }
    }

    /// Number of parameters.
    pub(crate) fn count(inputs: usize, hidden: usize) -> usize {
        Mlp::count(&[inputs, hidden, hidden, 1]) + 2 * hidden
    }

    /// `[R, D + A]` → `[R, 1]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = dense(&self.input, x, Activation::Identity);
        self.tail.forward(ops::layer_norm_tanh(x, self.gamma.val(), self.beta.val()))
    }

    /// Packed for planning.
    pub(crate) fn packed(&self) -> Network {
        Network::new(self.tail.weights(), Activation::Identity)
            .with_norm_tanh(weights(&self.input), [self.gamma.val(), self.beta.val()])
    }
}

#[cfg(test)]
impl Mlp {
    /// All layers orthogonal.
    pub(crate) fn orthogonal(sizes: &[usize], stream: &mut Stream, device: &Device) -> Self {
        Self::new(sizes, Init::Orthogonal, stream, device)
    }

    /// Replaces the last layer's weights by random orthogonal ones.
    pub(crate) fn set_last(&mut self, stream: &mut Stream) {
        let last = self.layers.last_mut().expect("an MLP has at least one layer");
        let [inputs, outputs] = last.weight.dims();
        let device = last.weight.device();
        *last = linear(inputs, outputs, Init::Orthogonal, stream, &device);
    }
}

#[cfg(test)]
impl Critic {
    /// Replaces the last layer's weights by random orthogonal ones.
    pub(crate) fn set_last(&mut self, stream: &mut Stream) {
        self.tail.set_last(stream);
    }

    /// Makes a weight a NaN.
    pub(crate) fn set_nan(&mut self) {
        self.beta = self.beta.clone().map(|beta| beta * f32::NAN);
    }
}
