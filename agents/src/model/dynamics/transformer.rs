//! A causal transformer (Vaswani et al. 2017, arXiv 1706.03762; LayerNorm first, as in GPT-2) over z_0, a_0, … a_t.
//!
//! The output at the token of a_t is z_{t+1}. Keys and values of past tokens are kept, so that a rollout can be continued
//! by a step without computing it anew.

use super::Attended;
use crate::config::ModelConfig;
use crate::model::init::{Init, linear};
use crate::model::latent::Bound;
use crate::model::mlp::{Mlp, dense_steps};
use crate::ops::Activation;
use crate::rng::Stream;
use burn::module::Param;
use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::prelude::*;
use burn::tensor::activation::softmax;

/// Layers of causal attention and feed-forward networks; the last one's output is read out linearly.
#[derive(Module, Debug)]
pub struct Transformer {
    /// D → W
    latent: Linear,
    /// A → W
    action: Linear,
    /// Of z_0 and of every action: `[max_horizon + 1, W]`
    positions: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    /// W → D
    read: Linear,
    #[module(skip)]
    bound: Bound,
}

/// x ← x + Attention(LN x); x ← x + FF(LN x).
#[derive(Module, Debug)]
struct Block {
    attention_norm: LayerNorm,
    /// W → 3W
    query_key_value: Linear,
    /// W → W
    mix: Linear,
    feed_forward_norm: LayerNorm,
    /// W → F → W
    feed_forward: [Linear; 2],
    #[module(skip)]
    heads: usize,
}

impl Block {
    fn new(config: &ModelConfig, stream: &mut Stream, device: &Device) -> Self {
        let c = &config.transformer;
        let norm = || LayerNormConfig::new(c.width).init(device);
        let mut layer = |inputs, outputs| linear(inputs, outputs, Init::Orthogonal, stream, device);
        Self {
            attention_norm: norm(),
            query_key_value: layer(c.width, 3 * c.width),
            mix: layer(c.width, c.width),
            feed_forward_norm: norm(),
            feed_forward: [layer(c.width, c.feed_forward), layer(c.feed_forward, c.width)],
            heads: c.heads,
        }
    }

    /// New tokens `[R, T, W]` after the `past` ones: their outputs, and all keys and values.
    fn forward(&self, x: Tensor<3>, past: Option<Attended>) -> (Tensor<3>, Attended) {
        let [rows, steps, width] = x.dims();
        let head = width / self.heads;
        let all = self.attention_norm.forward(x.clone());
        let all = dense_steps(&self.query_key_value, all, Activation::Identity);
        let [query, keys, values] = [0, 1, 2].map(|i| {
            let part = all.clone().narrow(2, i * width, width);
            part.reshape([rows, steps, self.heads, head]).swap_dims(1, 2)
        });
        let seen = match past {
            Some(past) => Attended {
                keys: Tensor::cat(vec![past.keys, keys], 2),
                values: Tensor::cat(vec![past.values, values], 2),
            },
            None => Attended { keys, values },
        };
        let scores = query.matmul(seen.keys.clone().swap_dims(2, 3)) / (head as f64).sqrt();
        let weights = softmax(scores + causal_mask(steps, seen.tokens(), &x.device()), 3);
        let mixed = weights.matmul(seen.values.clone()).swap_dims(1, 2).reshape([rows, steps, width]);
        let x = x + dense_steps(&self.mix, mixed, Activation::Identity);
        let [widen, narrow] = &self.feed_forward;
        // ELU where others take GELU: it is fused with the layer
        let hidden = dense_steps(widen, self.feed_forward_norm.forward(x.clone()), Activation::Elu);
        (x + dense_steps(narrow, hidden, Activation::Identity), seen)
    }
}

/// 0 where a token may look, −∞ at those after it, for the last `steps` of `tokens`: `[1, 1, steps, tokens]`.
fn causal_mask(steps: usize, tokens: usize, device: &Device) -> Tensor<4> {
    let past = tokens - steps;
    let may_look = |t: usize| (0..tokens).map(move |s| if s <= past + t { 0.0 } else { f32::NEG_INFINITY });
    let mask: Vec<f32> = (0..steps).flat_map(may_look).collect();
    Tensor::from_data(TensorData::new(mask, [1, 1, steps, tokens]), device)
}

impl Transformer {
    /// For a latent of `config.latent_dim` and `actions` action dimensions.
    pub fn new(config: &ModelConfig, actions: usize, stream: &mut Stream, device: &Device) -> Self {
        let (latent, c) = (config.latent_dim, &config.transformer);
        let tokens = c.max_horizon + 1;
        // about as long as an embedded action: a LayerNorm of a single action's embedding alone would keep only its sign
        let scale = 1.0 / (c.width as f32).sqrt();
        let positions = stream.normal(tokens * c.width).into_iter().map(|x| x * scale).collect::<Vec<_>>();
        Self {
            positions: Param::from_data(TensorData::new(positions, [tokens, c.width]), device),
            latent: linear(latent, c.width, Init::Orthogonal, stream, device),
            action: linear(actions, c.width, Init::Orthogonal, stream, device),
            blocks: (0..c.layers).map(|_| Block::new(config, stream, device)).collect(),
            norm: LayerNormConfig::new(c.width).init(device),
            read: linear(c.width, latent, Init::Orthogonal, stream, device),
            bound: Bound::of_predictions(config),
        }
    }

    /// Number of parameters.
    pub(crate) fn count(config: &ModelConfig, actions: usize) -> usize {
        let (latent, c) = (config.latent_dim, &config.transformer);
        let w = c.width;
        let block =
            Mlp::count(&[w, 3 * w]) + Mlp::count(&[w, w]) + Mlp::count(&[w, c.feed_forward, w]) + 4 * w;
        let ends = Mlp::count(&[latent, w]) + Mlp::count(&[actions, w]) + Mlp::count(&[w, latent]);
        ends + (c.max_horizon + 1) * w + c.layers * block + 2 * w
    }

    /// Keys and values of the token of `z0 [R, D]` in every layer.
    pub fn begin(&self, z0: Tensor<2>) -> Vec<Attended> {
        let token = dense_steps(&self.latent, z0.unsqueeze_dim(1), Activation::Identity);
        let mut x = token + self.positions.val().narrow(0, 0, 1).unsqueeze();
        let blocks = self.blocks.iter().map(|block| {
            let (y, seen) = block.forward(x.clone(), None);
            x = y;
            seen
        });
        blocks.collect()
    }

    /// The next latents `[R, T, D]` under `actions [R, T, A]`, and all keys and values.
    ///
    /// # Panics
    /// If the horizon exceeds the configured `max_horizon`.
    pub fn extend(&self, past: Vec<Attended>, actions: Tensor<3>) -> (Tensor<3>, Vec<Attended>) {
        let (steps, before) = (actions.dims()[1], past[0].tokens());
        let positions = self.positions.val();
        let longest = positions.dims()[0] - 1;
        assert!(before + steps - 1 <= longest, "a rollout of this transformer has at most {longest} steps");
        let tokens = dense_steps(&self.action, actions, Activation::Identity);
        let mut x = tokens + positions.narrow(0, before, steps).unsqueeze();
        let blocks = self.blocks.iter().zip(past).map(|(block, past)| {
            let (y, seen) = block.forward(x.clone(), Some(past));
            x = y;
            seen
        });
        let seen = blocks.collect();
        let z = dense_steps(&self.read, self.norm.forward(x), Activation::Identity);
        (self.bound.apply_steps(z), seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, tests::tiny};
    use crate::test_support::{normal, values};

    #[test]
    fn the_mask_hides_what_comes_later_and_nothing_else() {
        let mask = values(causal_mask(2, 4, &crate::device::cpu()));
        let hidden: Vec<bool> = mask.iter().map(|x| *x == f32::NEG_INFINITY).collect();
        assert_eq!(hidden, [false, false, false, true, false, false, false, false]);
    }

    #[test]
    #[should_panic(expected = "at most 20 steps")]
    fn a_rollout_beyond_the_learned_positions_is_refused() {
        let config = tiny(DynamicsKind::Transformer).model;
        let model = Transformer::new(&config, 2, &mut Stream::new(1, "init"), &crate::device::cpu());
        model.extend(model.begin(normal::<2>([1, 16], 1)), normal::<3>([1, 21, 2], 2));
    }
}
