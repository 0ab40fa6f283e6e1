//! Plain and critic networks.

use super::init::{Init, linear};
use crate::config::{ModelConfig, Precision, Recipe};
use crate::inference::{After, LayerNorm, Network, numbers};
use crate::ops::{self, Activation, NormActivation};
use crate::rng::Stream;
use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;

fn weights(layer: &Linear) -> (Tensor<2>, Tensor<1>) {
    (layer.weight.val(), layer.bias.as_ref().expect("our layers have a bias").val())
}

/// act(x·W + b) of a layer with bias.
pub(crate) fn dense(layer: &Linear, x: Tensor<2>, activation: Activation) -> Tensor<2> {
    dense_in(Precision::F32, layer, x, activation)
}

fn dense_in(precision: Precision, layer: &Linear, x: Tensor<2>, activation: Activation) -> Tensor<2> {
    let (weight, bias) = weights(layer);
    ops::dense(x, weight, bias, activation, precision)
}

/// The same for every step of sequences: `[B, T, inputs]` → `[B, T, outputs]`.
pub(crate) fn dense_steps(layer: &Linear, x: Tensor<3>, activation: Activation) -> Tensor<3> {
    let [batch, steps, inputs] = x.dims();
    let y = dense(layer, x.reshape([batch * steps, inputs]), activation);
    y.reshape([batch as i32, steps as i32, -1])
}

/// γ and β of a LayerNorm.
#[derive(Module, Debug)]
pub struct Norm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
}

impl Norm {
    fn new(width: usize, device: &Device) -> Self {
        Self {
            gamma: Param::from_data(TensorData::new(vec![1f32; width], [width]), device),
            beta: Param::from_data(TensorData::new(vec![0f32; width], [width]), device),
        }
    }

    fn forward(&self, x: Tensor<2>, activation: NormActivation) -> Tensor<2> {
        ops::layer_norm(x, self.gamma.val(), self.beta.val(), activation)
    }

    fn packed(&self, activation: NormActivation) -> After {
        packed_norm(&self.gamma, &self.beta, activation)
    }
}

fn packed_norm(gamma: &Param<Tensor<1>>, beta: &Param<Tensor<1>>, activation: NormActivation) -> After {
    let [gamma, beta] = [gamma, beta].map(|t| numbers(t.val()));
    After::Norm(LayerNorm { gamma, beta, activation })
}

/// How the hidden layers of a network are built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hidden {
    /// Linear, ELU; orthogonal weights: TD-MPC.
    Elu,
    /// Linear, LayerNorm, Mish; normal weights of this standard deviation: TD-MPC2's NormedLinear.
    NormMish {
        /// Standard deviation of the initial weights.
        std: f64,
    },
}

impl Hidden {
    /// As a recipe builds them.
    pub fn of(config: &ModelConfig) -> Self {
        match config.recipe {
            Recipe::V1 => Self::Elu,
            Recipe::V2 => Self::NormMish { std: config.v2.init_std },
        }
    }

    /// How their weights start.
    pub fn init(self) -> Init {
        match self {
            Self::Elu => Init::Orthogonal,
            Self::NormMish { std } => Init::Normal(std),
        }
    }
}

/// How a network ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Last {
    /// With a linear layer.
    Linear(Init),
    /// With a linear layer that starts like the hidden ones, and a LayerNorm.
    Normed,
}

/// Linear layers with ELU, or LayerNorm and Mish, between them; the output is linear or normalised.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    /// Of the first so many layers.
    norms: Vec<Norm>,
    #[module(skip)]
    precision: Precision,
}

impl Mlp {
    /// Layers `sizes[0] → sizes[1] → …` with ELU; `last` initialises the final one.
    pub fn new(sizes: &[usize], last: Init, stream: &mut Stream, device: &Device) -> Self {
        Self::build(sizes, Hidden::Elu, Last::Linear(last), stream, device)
    }

    /// Layers `sizes[0] → sizes[1] → …`.
    pub fn build(sizes: &[usize], hidden: Hidden, last: Last, stream: &mut Stream, device: &Device) -> Self {
        let count = sizes.len() - 1;
        let init = |i: usize| match last {
            Last::Linear(init) if i + 1 == count => init,
            _ => hidden.init(),
        };
        let layers = (0..count).map(|i| linear(sizes[i], sizes[i + 1], init(i), stream, device)).collect();
        let norms = sizes[1..].iter().take(Self::normed(count, hidden, last));
        let norms = norms.map(|&width| Norm::new(width, device)).collect();
        Self { layers, norms, precision: Precision::F32 }
    }

    /// Has its products, and those of its gradients, multiply such numbers.
    pub(crate) fn multiply_in(&mut self, precision: Precision) {
        self.precision = precision;
    }

    fn dense(&self, layer: &Linear, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        dense_in(self.precision, layer, x, activation)
    }

    /// How many of `count` layers are normalised.
    fn normed(count: usize, hidden: Hidden, last: Last) -> usize {
        match (hidden, last) {
            (Hidden::Elu, Last::Linear(_)) => 0,
            (Hidden::NormMish { .. }, Last::Linear(_)) => count - 1,
            (_, Last::Normed) => count,
        }
    }

    /// Number of parameters of a network with ELU.
    pub(crate) fn count(sizes: &[usize]) -> usize {
        sizes.windows(2).map(|w| (w[0] + 1) * w[1]).sum()
    }

    /// Number of parameters of what [`Mlp::build`] builds.
    pub(crate) fn count_built(sizes: &[usize], hidden: Hidden, last: Last) -> usize {
        let normed = Self::normed(sizes.len() - 1, hidden, last);
        Self::count(sizes) + 2 * sizes[1..].iter().take(normed).sum::<usize>()
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
        let x = hidden.iter().enumerate().fold(x, |x, (i, layer)| match self.norms.get(i) {
            Some(norm) => norm.forward(self.dense(layer, x, Activation::Identity), NormActivation::Mish),
            None => self.dense(layer, x, Activation::Elu),
        });
        let x = self.dense(last, x, end);
        match self.norms.get(hidden.len()) {
            Some(norm) => norm.forward(x, NormActivation::Identity),
            None => x,
        }
    }

    /// Weights and biases of a network with ELU; `None` of others.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn linears(&self) -> Option<Vec<(Tensor<2>, Tensor<1>)>> {
        self.norms.is_empty().then(|| self.layers.iter().map(weights).collect())
    }

    /// The same packed for planning.
    pub(crate) fn packed(&self, end: Activation, precision: Precision) -> Network {
        self.packed_behind(Network::new(precision), end)
    }

    fn packed_behind(&self, net: Network, end: Activation) -> Network {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(net, |net, (i, layer)| {
            let after = match self.norms.get(i) {
                Some(norm) if i == last => norm.packed(NormActivation::Identity),
                Some(norm) => norm.packed(NormActivation::Mish),
                None if i == last => After::Activation(end),
                None => After::Activation(Activation::Elu),
            };
            net.then(weights(layer), after)
        })
    }
}

/// One Q function: Linear, LayerNorm, tanh (TD-MPC; Mish in TD-MPC2), and the hidden and last layer of an [`Mlp`], of which
/// the last one starts at zero.
#[derive(Module, Debug)]
pub struct Critic {
    input: Linear,
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    tail: Mlp,
    #[module(skip)]
    activation: NormActivation,
}

impl Critic {
    /// Q(z, a) over the concatenation of `inputs` numbers, as `outputs` numbers.
    pub fn new(
        [inputs, width, outputs]: [usize; 3],
        hidden: Hidden,
        stream: &mut Stream,
        device: &Device,
    ) -> Self {
        let input = linear(inputs, width, hidden.init(), stream, device);
        let Norm { gamma, beta } = Norm::new(width, device);
        let tail = Mlp::build(&[width, width, outputs], hidden, Last::Linear(Init::Zero), stream, device);
        let activation = match hidden {
            Hidden::Elu => NormActivation::Tanh,
            Hidden::NormMish { .. } => NormActivation::Mish,
        };
        Self { input, gamma, beta, tail, activation }
    }

    /// Has its products, and those of its gradients, multiply such numbers.
    pub(crate) fn multiply_in(&mut self, precision: Precision) {
        self.tail.multiply_in(precision);
    }

    /// Number of parameters.
    pub(crate) fn count([inputs, width, outputs]: [usize; 3], hidden: Hidden) -> usize {
        let tail = Mlp::count_built(&[width, width, outputs], hidden, Last::Linear(Init::Zero));
        Mlp::count(&[inputs, width]) + 2 * width + tail
    }

    /// `[R, D + A]` → `[R, outputs]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.after_input(self.tail.dense(&self.input, x, Activation::Identity))
    }

    /// The same with dropout: `keep [R, width]` scales the first layer's numbers before they are normalised.
    pub fn forward_dropping(&self, x: Tensor<2>, keep: Tensor<2>) -> Tensor<2> {
        self.after_input(self.tail.dense(&self.input, x, Activation::Identity) * keep)
    }

    fn after_input(&self, x: Tensor<2>) -> Tensor<2> {
        self.tail.forward(ops::layer_norm(x, self.gamma.val(), self.beta.val(), self.activation))
    }

    /// Its parameters; `None` if it is not TD-MPC's.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn parts(&self) -> Option<crate::inference::cuda::CriticParts> {
        let mut layers = vec![weights(&self.input)];
        layers.extend(self.tail.linears()?);
        let tanh = self.activation == NormActivation::Tanh;
        tanh.then(|| crate::inference::cuda::CriticParts {
            layers,
            gamma: self.gamma.val(),
            beta: self.beta.val(),
        })
    }

    /// Packed for planning.
    pub(crate) fn packed(&self, precision: Precision) -> Network {
        let norm = packed_norm(&self.gamma, &self.beta, self.activation);
        let input = Network::new(precision).then(weights(&self.input), norm);
        self.tail.packed_behind(input, Activation::Identity)
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

    /// Makes every output this number.
    pub(crate) fn set_last_constant(&mut self, number: f32) {
        let last = self.layers.last_mut().expect("an MLP has at least one layer");
        last.weight = last.weight.clone().map(|w| w * 0.0);
        last.bias = last.bias.clone().map(|bias| bias.map(|b| b * 0.0 + number));
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
