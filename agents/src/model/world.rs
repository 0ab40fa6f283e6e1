//! The world model: encoder, latent dynamics, reward, critics and policy prior (TD-MPC v1's TOLD).

use super::dynamics::Dynamics;
use super::init::Init;
use super::mlp::{Critic, Mlp};
use crate::config::ModelConfig;
use crate::ops;
use crate::rng::Stream;
use burn::prelude::*;

/// All networks of an agent.
#[derive(Module, Debug)]
pub struct World {
    encoder: Mlp,
    /// z' = d(z, a).
    pub dynamics: Dynamics,
    reward: Mlp,
    critics: Vec<Critic>,
    /// The policy prior π; trained apart from the rest.
    pub policy: Mlp,
}

impl World {
    /// For `observations` and `actions` dimensions.
    pub fn new(
        config: &ModelConfig,
        observations: usize,
        actions: usize,
        stream: &mut Stream,
        device: &Device,
    ) -> Self {
        let (latent, hidden) = (config.latent_dim, config.hidden_dim);
        let encoder: Vec<usize> =
            [observations].into_iter().chain(config.encoder_hidden.iter().copied()).chain([latent]).collect();
        Self {
            encoder: Mlp::new(&encoder, Init::Orthogonal, stream, device),
            dynamics: Dynamics::new(config, actions, stream, device),
            reward: Mlp::new(&[latent + actions, hidden, hidden, 1], Init::Zero, stream, device),
            critics: (0..2).map(|_| Critic::new(latent + actions, hidden, stream, device)).collect(),
            policy: Mlp::new(&[latent, hidden, hidden, actions], Init::Orthogonal, stream, device),
        }
    }

    /// `[R, O]` → `[R, D]`.
    pub fn encode(&self, observations: Tensor<2>) -> Tensor<2> {
        self.encoder.forward(observations)
    }

    /// r̂(z, a) of `za [R, D + A]` = [z, a]: `[R]`.
    pub fn reward(&self, za: Tensor<2>) -> Tensor<1> {
        self.reward.forward(za).squeeze_dim(1)
    }

    /// Both Q functions of `za [R, D + A]`: two `[R]`.
    pub fn critics(&self, za: Tensor<2>) -> [Tensor<1>; 2] {
        [0, 1].map(|i| self.critics[i].forward(za.clone()).squeeze_dim(1))
    }

    /// The smaller of both Q functions of `za [R, D + A]`: `[R]`.
    pub fn value(&self, za: Tensor<2>) -> Tensor<1> {
        let [q1, q2] = self.critics(za);
        q1.min_pair(q2)
    }

    /// The critics and policy as seen by the policy loss: gradients pass through the critics, not into them.
    pub fn with_frozen_critics(&self) -> Self {
        let mut frozen = self.clone();
        frozen.critics = frozen.critics.into_iter().map(Module::no_grad).collect();
        frozen
    }

    /// tanh π(z) plus clipped noise, kept inside ±1: `[R, D]`, noise `[R, A]` (already scaled) → `[R, A]`.
    pub fn act(&self, z: Tensor<2>, noise: Tensor<2>) -> Tensor<2> {
        straight_through_clamp(ops::tanh(self.policy.forward(z)) + noise)
    }

    /// π's action sequences rolled through the model: `z0 [R, D]`, noise `[R, H, A]` → `[R, H, A]`.
    pub fn policy_rollout(&self, z0: Tensor<2>, noise: Tensor<3>) -> Tensor<3> {
        let [rows, horizon, action_dim] = noise.dims();
        let mut z = z0;
        let mut actions = Vec::with_capacity(horizon);
        for t in 0..horizon {
            let a = self.act(z.clone(), noise.clone().narrow(1, t, 1).reshape([rows, action_dim]));
            if t + 1 < horizon {
                z = self.dynamics.step(z, a.clone());
            }
            actions.push(a);
        }
        Tensor::stack(actions, 1)
    }

    /// Discounted return of action sequences: Σ_t γ^t r̂(z_t, a_t) + γ^H min Q(z_H, π(z_H)).
    ///
    /// # Shapes
    /// - `z0`: `[R, D]`, `actions`: `[R, H, A]`, `tail_noise`: `[R, A]`; result `[R]`.
    pub fn score(&self, z0: Tensor<2>, actions: Tensor<3>, tail_noise: Tensor<2>, discount: f64) -> Tensor<1> {
        let [rows, horizon, action_dim] = actions.dims();
        let latent = z0.dims()[1];
        let z = self.dynamics.rollout(z0.clone(), actions.clone());
        let last = z.clone().narrow(1, horizon - 1, 1).reshape([rows, latent]);
        let mut inputs = vec![z0.unsqueeze_dim(1)];
        if horizon > 1 {
            inputs.push(z.narrow(1, 0, horizon - 1));
        }
        let inputs = Tensor::cat(inputs, 1);
        let za = Tensor::cat(vec![inputs, actions], 2).reshape([rows * horizon, latent + action_dim]);
        let rewards = self.reward(za).reshape([rows, horizon]);
        let discounts: Vec<f32> = (0..horizon).map(|t| discount.powi(t as i32) as f32).collect();
        let discounts = Tensor::<1>::from_floats(discounts.as_slice(), &rewards.device()).unsqueeze();
        let rewards = (rewards * discounts).sum_dim(1).squeeze_dim(1);
        let action = self.act(last.clone(), tail_noise);
        rewards + self.value(Tensor::cat(vec![last, action], 1)) * discount.powi(horizon as i32)
    }
}

/// Clamp to ±(1 − 1e-6) whose gradient is 1 everywhere (TD-MPC's `TruncatedNormal._clamp`).
fn straight_through_clamp(x: Tensor<2>) -> Tensor<2> {
    let clamped = x.clone().detach().clamp(-1.0 + 1e-6, 1.0 - 1e-6);
    x.clone() - x.detach() + clamped
}
