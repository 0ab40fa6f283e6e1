//! Imagining and scoring action sequences of one environment, a block of sequences at a time.
//!
//! Nothing of one sequence touches another, so a block goes through all steps, heads included, while its numbers and
//! the weights stay in the cache; no latent is written to memory.

use super::Packed;
use super::motion::{Buffers, Gate};
use crate::config::Conditioning;
use crate::model::{Pick, Reduce};
use crate::ops::Aligned;
use crate::ops::product::padded;

/// Buffers of a block.
#[derive(Default)]
pub(super) struct Tile {
    /// Rows `[z | a]`
    za: Aligned,
    buffers: Buffers,
    /// c_t: 1 until the model expects an end, then 0.
    going_on: Vec<f32>,
    q: Vec<f32>,
}

/// Action sequences of a block and what scores them.
#[derive(Clone, Copy)]
pub(super) struct Sequences<'a> {
    /// `[R, H, A]`
    pub actions: &'a [f32],
    /// Policy noise at the last latents: `[R, A]`
    pub tails: &'a [f32],
    /// Gates that all share, `[H, l]`
    pub gates: Option<&'a [f32]>,
    /// Weights of r_0 … r_{H−1}, see [`Returns`](crate::model::Returns).
    pub of_rewards: &'a [f32],
    /// Weights of the values at z_1 … z_H; those of weight 0 are not asked for.
    pub of_values: &'a [f32],
    /// Critics asked there.
    pub pick: Pick,
}

/// The gate of step k out of `gates [H, l]`, if they are shared.
fn gate_at(gates: Option<&[f32]>, horizon: usize, k: usize) -> Gate<'_> {
    match gates {
        Some(gates) => {
            let l = gates.len() / horizon;
            Gate::Shared(&gates[k * l..][..l])
        }
        None => Gate::Own(k),
    }
}

impl Packed {
    fn stride(&self) -> usize {
        padded(self.latent + self.actions())
    }

    /// `rows` rows that begin at z_0.
    fn begin(&self, z0: &[f32], rows: usize, tile: &mut Tile) {
        tile.za.reset(rows * self.stride());
        tile.za.chunks_exact_mut(self.stride()).for_each(|row| row[..self.latent].copy_from_slice(z0));
        tile.going_on.clear();
        tile.going_on.resize(rows, 1.0);
    }

    /// Writes the actions of step k out of `actions [R, H, A]` into the rows.
    fn place(&self, za: &mut [f32], actions: &[f32], horizon: usize, k: usize) {
        let (d, a) = (self.latent, self.actions());
        for (row, actions) in za.chunks_exact_mut(self.stride()).zip(actions.chunks_exact(horizon * a)) {
            row[d..d + a].copy_from_slice(&actions[k * a..][..a]);
        }
    }

    /// Writes the policy's action for `noise` (rows `noise_stride` apart) into the rows.
    fn act(&self, tile: &mut Tile, noise: &[f32], noise_stride: usize) {
        let Tile { za, buffers, .. } = tile;
        self.policy.act(za, self.stride(), self.latent, noise, noise_stride, &mut buffers.scratch);
    }

    /// Discounted returns of `sequences` from `z0 [D]`, to `scores [R]`.
    pub(super) fn score_tile(&self, z0: &[f32], sequences: Sequences, scores: &mut [f32], tile: &mut Tile) {
        let Sequences { actions, tails, gates, of_rewards, of_values, pick } = sequences;
        let (rows, stride, horizon) = (scores.len(), self.stride(), of_rewards.len());
        self.begin(z0, rows, tile);
        scores.fill(0.0);
        for (k, (reward_weight, value_weight)) in of_rewards.iter().zip(of_values).enumerate() {
            self.place(&mut tile.za, actions, horizon, k);
            let rewards = self.reward.read(&tile.za, stride, rows, &mut tile.buffers.scratch);
            for ((score, r), c) in scores.iter_mut().zip(rewards).zip(&tile.going_on) {
                *score += reward_weight * c * r;
            }
            self.motion.step(&mut tile.za, stride, rows, gate_at(gates, horizon, k), &mut tile.buffers);
            if let Some(net) = &self.continuation {
                let logits = net.forward(&tile.za, stride, rows, &mut tile.buffers.scratch).numbers;
                for (c, logit) in tile.going_on.iter_mut().zip(logits.iter()) {
                    // a logit that is not a number ends nothing, see `World::score`
                    *c = if *logit < 0.0 { 0.0 } else { *c };
                }
            }
            if *value_weight != 0.0 {
                self.add_values(*value_weight, tails, pick, scores, tile);
            }
        }
    }

    /// Adds Q(z, π(z)), weighted, at the latents that the block has come to.
    fn add_values(&self, weight: f32, tails: &[f32], pick: Pick, scores: &mut [f32], tile: &mut Tile) {
        let (rows, stride) = (scores.len(), self.stride());
        self.act(tile, tails, self.actions());
        let [first, second] = pick.critics.map(|i| &self.critics[i]);
        tile.q.clear();
        tile.q.extend_from_slice(first.read(&tile.za, stride, rows, &mut tile.buffers.scratch));
        let second = second.read(&tile.za, stride, rows, &mut tile.buffers.scratch);
        for (((score, q1), q2), c) in scores.iter_mut().zip(&tile.q).zip(second).zip(&tile.going_on) {
            let q = match pick.reduce {
                // in this order a NaN of either stays
                Reduce::Min if *q2 < *q1 || q2.is_nan() => *q2,
                Reduce::Min => *q1,
                Reduce::Mean => (q1 + q2) * 0.5,
            };
            *score += weight * c * q;
        }
    }

    /// The policy's sequences from `z0 [D]` with `noise [R, H, A]`, to `actions [R, H, A]`.
    pub(super) fn propose_tile(
        &self,
        z0: &[f32],
        noise: &[f32],
        horizon: usize,
        actions: &mut [f32],
        tile: &mut Tile,
    ) {
        let (d, a, stride) = (self.latent, self.actions(), self.stride());
        let rows = actions.len() / (horizon * a);
        self.begin(z0, rows, tile);
        for k in 0..horizon {
            self.act(tile, &noise[k * a..], horizon * a);
            for (row, actions) in tile.za.chunks_exact(stride).zip(actions.chunks_exact_mut(horizon * a)) {
                actions[k * a..][..a].copy_from_slice(&row[d..d + a]);
            }
            if k + 1 < horizon {
                // each step taken alone, as in `World::propose`
                self.motion.step(&mut tile.za, stride, rows, Gate::Own(0), &mut tile.buffers);
            }
        }
    }

    /// Gates along one plan: at z_0 (`start`) or at the latents of `nominal [H, A]`; `[H, l]`, empty without gates.
    pub(super) fn gates_along(
        &self,
        at: Conditioning,
        z0: &[f32],
        nominal: &[f32],
        tile: &mut Tile,
    ) -> Vec<f32> {
        let (horizon, stride) = (nominal.len() / self.actions(), self.stride());
        self.begin(z0, 1, tile);
        let mut gates = Vec::new();
        for k in 0..horizon {
            self.motion.append_gate(k, &tile.za, &mut gates, &mut tile.buffers);
            if at == Conditioning::Nominal && k + 1 < horizon {
                self.place(&mut tile.za, nominal, horizon, k);
                self.motion.step(&mut tile.za, stride, 1, Gate::Own(k), &mut tile.buffers);
            }
        }
        gates
    }
}
