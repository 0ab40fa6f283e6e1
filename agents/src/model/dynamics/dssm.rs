//! Layers of diagonal complex state spaces with nonlinearities between them (S4D, Gu et al. 2022, arXiv 2206.11893; DSS,
//! Gupta et al. 2022, arXiv 2203.14343; one multi-input system a layer as in S5, arXiv 2208.04933).
//!
//! What the Koopman latent is compared with: the same recurrence, as a sequence model over the actions. z_0 is the initial
//! state of every layer.

use super::eigenvalues::{Discrete, Eigenvalues};
use crate::config::ModelConfig;
use crate::model::init::{Init, linear, orthogonal};
use crate::model::latent::Bound;
use crate::model::mlp::{Mlp, dense, dense_steps};
use crate::ops::{self, Activation, Unroll};
use crate::rng::Stream;
use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;

/// Layers of diagonal state spaces; what leaves the last one is read out linearly.
#[derive(Module, Debug)]
pub struct Dssm {
    /// A → W
    embed: Linear,
    layers: Vec<Layer>,
    /// W → D
    read: Linear,
    #[module(skip)]
    bound: Bound,
}

/// s_{k+1} = λ̄ ⊙ s_k + B̄ x_k; x ← x + mix(ELU(C s_{k+1})).
///
/// There is no LayerNorm, as in S4D: of the embedding of a single action it would keep only the sign, and a few layers
/// over actions in ±1 do without.
#[derive(Module, Debug)]
struct Layer {
    /// z_0 → s_0: D → 2m
    start: Linear,
    eigenvalues: Eigenvalues,
    /// B as `[W, 2m]`
    input: Param<Tensor<2>>,
    /// C: 2m → W
    output: Linear,
    /// W → W
    mix: Linear,
}

impl Layer {
    fn new(config: &ModelConfig, stream: &mut Stream, device: &Device) -> Self {
        let (c, latent) = (&config.dssm, config.latent_dim);
        let state = 2 * c.modes;
        let input = TensorData::new(orthogonal(c.width, state, stream), [c.width, state]);
        Self {
            start: linear(latent, state, Init::Orthogonal, stream, device),
            eigenvalues: Eigenvalues::new(&c.eigenvalues, c.modes, stream, device),
            input: Param::from_data(input, device),
            output: linear(state, c.width, Init::Orthogonal, stream, device),
            mix: linear(c.width, c.width, Init::Orthogonal, stream, device),
        }
    }

    /// `x [R, T, W]` from the state `s [R, 2m]`: the same shape, and the last state.
    fn forward(&self, x: Tensor<3>, s: Tensor<2>) -> (Tensor<3>, Tensor<2>) {
        let [rows, steps, width] = x.dims();
        let Discrete { lambda, gain } = self.eigenvalues.discretise();
        let input = match gain {
            Some(gain) => gain.scale(self.input.val()),
            None => self.input.val(),
        };
        let state = input.dims()[1];
        let pushes = x.clone().reshape([rows * steps, width]).matmul(input).reshape([rows, steps, state]);
        let lambda = Tensor::cat(vec![lambda.re, lambda.im], 0);
        let states = ops::diagonal_recurrence(lambda, s, pushes, Unroll::Auto);
        let last = states.clone().narrow(1, steps - 1, 1).reshape([rows, state]);
        let y = dense_steps(&self.output, states, Activation::Elu);
        (x + dense_steps(&self.mix, y, Activation::Identity), last)
    }
}

impl Dssm {
    /// For a latent of `config.latent_dim` and `actions` action dimensions.
    pub fn new(config: &ModelConfig, actions: usize, stream: &mut Stream, device: &Device) -> Self {
        let (latent, c) = (config.latent_dim, &config.dssm);
        Self {
            embed: linear(actions, c.width, Init::Orthogonal, stream, device),
            layers: (0..c.layers).map(|_| Layer::new(config, stream, device)).collect(),
            read: linear(c.width, latent, Init::Orthogonal, stream, device),
            bound: Bound::of_predictions(config),
        }
    }

    /// Number of parameters.
    pub(crate) fn count(config: &ModelConfig, actions: usize) -> usize {
        let (latent, c) = (config.latent_dim, &config.dssm);
        let state = 2 * c.modes;
        let layer = Mlp::count(&[latent, state])
            + Eigenvalues::count(&c.eigenvalues, c.modes)
            + c.width * state
            + Mlp::count(&[state, c.width, c.width]);
        Mlp::count(&[actions, c.width]) + c.layers * layer + Mlp::count(&[c.width, latent])
    }

    /// The state of every layer, `[R, 2m]`, at `z0 [R, D]`.
    pub fn begin(&self, z0: Tensor<2>) -> Vec<Tensor<2>> {
        let start = |layer: &Layer| dense(&layer.start, z0.clone(), Activation::Identity);
        self.layers.iter().map(start).collect()
    }

    /// The next latents `[R, T, D]` under `actions [R, T, A]`, and the states after them.
    pub fn extend(&self, states: Vec<Tensor<2>>, actions: Tensor<3>) -> (Tensor<3>, Vec<Tensor<2>>) {
        let mut x = dense_steps(&self.embed, actions, Activation::Identity);
        let layers = self.layers.iter().zip(states).map(|(layer, s)| {
            let (y, last) = layer.forward(x.clone(), s);
            x = y;
            last
        });
        let states = layers.collect();
        let z = dense_steps(&self.read, x, Activation::Identity);
        (self.bound.apply_steps(z), states)
    }
}
