//! Gated recurrent units (Cho et al. 2014, arXiv 1406.1078) that start at z_0 and read the actions.

use crate::config::ModelConfig;
use crate::model::init::{Init, linear};
use crate::model::latent::Bound;
use crate::model::mlp::{Mlp, dense, dense_steps};
use crate::ops::Activation;
use crate::rng::Stream;
use burn::nn::Linear;
use burn::prelude::*;

/// Layers of gated recurrent units; the last one's hidden state is read out linearly.
#[derive(Module, Debug)]
pub struct Gru {
    cells: Vec<Cell>,
    /// W → D
    read: Linear,
    #[module(skip)]
    bound: Bound,
}

/// [r, u] = σ(W [x, h]); n = tanh(W' [x, r ⊙ h]); h' = u ⊙ h + (1 − u) ⊙ n.
#[derive(Module, Debug)]
struct Cell {
    /// z_0 → h_0; none where both have the same width: then h_0 is z_0 itself.
    start: Option<Linear>,
    /// Reset and update gate: `[x, h]` → 2W
    gates: Linear,
    /// `[x, r ⊙ h]` → W
    candidate: Linear,
}

impl Cell {
    /// `x [R, I]`, `h [R, W]` → `[R, W]`.
    fn forward(&self, x: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
        let width = h.dims()[1];
        // (1 + tanh v)/2 is σ(2v): the logistic gate with its weights halved, in the activation that is fused
        let gates = dense(&self.gates, Tensor::cat(vec![x.clone(), h.clone()], 1), Activation::Tanh);
        let gates = (gates + 1.0) * 0.5;
        let (reset, update) = (gates.clone().narrow(1, 0, width), gates.narrow(1, width, width));
        let n = dense(&self.candidate, Tensor::cat(vec![x, reset * h.clone()], 1), Activation::Tanh);
        n.clone() + update * (h - n)
    }
}

impl Gru {
    /// For a latent of `config.latent_dim` and `actions` action dimensions.
    pub fn new(config: &ModelConfig, actions: usize, stream: &mut Stream, device: &Device) -> Self {
        let (latent, width) = (config.latent_dim, config.gru.hidden_dim);
        let mut layer = |inputs, outputs| linear(inputs, outputs, Init::Orthogonal, stream, device);
        let cells = (0..config.gru.layers).map(|i| {
            let inputs = if i == 0 { actions } else { width };
            Cell {
                start: (latent != width).then(|| layer(latent, width)),
                gates: layer(inputs + width, 2 * width),
                candidate: layer(inputs + width, width),
            }
        });
        Self { cells: cells.collect(), read: layer(width, latent), bound: Bound::of_predictions(config) }
    }

    /// Number of parameters.
    pub(crate) fn count(config: &ModelConfig, actions: usize) -> usize {
        let (latent, width) = (config.latent_dim, config.gru.hidden_dim);
        let start = if latent == width { 0 } else { Mlp::count(&[latent, width]) };
        let cell = |inputs| start + Mlp::count(&[inputs + width, 3 * width]);
        cell(actions) + (config.gru.layers - 1) * cell(width) + Mlp::count(&[width, latent])
    }

    /// The hidden state of every layer, `[R, W]`, at `z0 [R, D]`.
    pub fn begin(&self, z0: Tensor<2>) -> Vec<Tensor<2>> {
        let start = |cell: &Cell| match &cell.start {
            Some(layer) => dense(layer, z0.clone(), Activation::Identity),
            None => z0.clone(),
        };
        self.cells.iter().map(start).collect()
    }

    /// The next latents `[R, T, D]` under `actions [R, T, A]`, and the hidden states after them.
    pub fn extend(&self, hidden: Vec<Tensor<2>>, actions: Tensor<3>) -> (Tensor<3>, Vec<Tensor<2>>) {
        let [rows, steps, action_dim] = actions.dims();
        let action = |t| actions.clone().narrow(1, t, 1).reshape([rows, action_dim]);
        let mut x: Vec<Tensor<2>> = (0..steps).map(action).collect();
        let layers = self.cells.iter().zip(hidden).map(|(cell, mut h)| {
            for x in &mut x {
                h = cell.forward(x.clone(), h);
                *x = h.clone();
            }
            h
        });
        let hidden = layers.collect();
        let z = dense_steps(&self.read, Tensor::stack(x, 1), Activation::Identity);
        (self.bound.apply_steps(z), hidden)
    }
}
