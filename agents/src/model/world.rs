//! The world model: encoder, latent dynamics, reward, critics and policy prior (TD-MPC v1's TOLD).

use super::dynamics::Dynamics;
use super::init::Init;
use super::mlp::{Critic, Mlp};
use crate::config::ModelConfig;
use crate::ops::Activation;
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
        let encoder = Mlp::new(&encoder, Init::Orthogonal, stream, device);
        let reward = Mlp::new(&[latent + actions, hidden, hidden, 1], Init::Zero, stream, device);
        let critics = (0..2).map(|_| Critic::new(latent + actions, hidden, stream, device)).collect();
        let policy = Mlp::new(&[latent, hidden, hidden, actions], Init::Orthogonal, stream, device);
        // last, so that with one seed all other networks start equal whatever the dynamics
        let dynamics = Dynamics::new(config, actions, stream, device);
        Self { encoder, dynamics, reward, critics, policy }
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
        straight_through_clamp(self.policy.forward_into(z, Activation::Tanh) + noise)
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
    /// At most `steps_at_once` steps of sequences (and at least one sequence) go through the networks together, which
    /// bounds the memory in flight whatever the number of sequences.
    ///
    /// # Shapes
    /// - `z0`: `[R, D]`, `actions`: `[R, H, A]`, `tail_noise`: `[R, A]`; result `[R]`.
    pub fn score(
        &self,
        z0: Tensor<2>,
        actions: Tensor<3>,
        tail_noise: Tensor<2>,
        discount: f64,
        steps_at_once: usize,
    ) -> Tensor<1> {
        let [rows, horizon, _] = actions.dims();
        let block = (steps_at_once / horizon).max(1);
        let blocks = (0..rows).step_by(block).map(|from| {
            let count = block.min(rows - from);
            let z0 = z0.clone().narrow(0, from, count);
            let actions = actions.clone().narrow(0, from, count);
            self.score_block(z0, actions, tail_noise.clone().narrow(0, from, count), discount)
        });
        Tensor::cat(blocks.collect(), 0)
    }

    fn score_block(
        &self,
        z0: Tensor<2>,
        actions: Tensor<3>,
        tail_noise: Tensor<2>,
        discount: f64,
    ) -> Tensor<1> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, tests::tiny};
    use crate::learner::read_parameters;
    use crate::test_support::{max_difference, normal};

    fn world(dynamics: DynamicsKind) -> World {
        World::new(&tiny(dynamics).model, 4, 2, &mut Stream::new(1, "init"), &crate::device::cpu())
    }

    /// "Everything else equal" begins with the initial weights.
    #[test]
    fn networks_other_than_the_dynamics_start_equal() {
        let [a, b] = [DynamicsKind::Koopman, DynamicsKind::Mlp].map(|d| read_parameters(&world(d)));
        let others: Vec<_> = a.keys().filter(|name| !name.starts_with("dynamics")).collect();
        assert!(others.len() > 20);
        assert!(others.into_iter().all(|name| a[name] == b[name]));
    }

    /// The batched score is the sum it stands for, step by step.
    #[test]
    fn score_is_the_discounted_sum_along_the_rollout() {
        for dynamics in [DynamicsKind::Koopman, DynamicsKind::Mlp] {
            let mut w = world(dynamics);
            w.reward.set_last(&mut Stream::new(2, "init"));
            for horizon in [1, 4] {
                let (z0, a) = (normal::<2>([6, 16], 3), normal::<3>([6, horizon, 2], 4));
                let noise = normal::<2>([6, 2], 5) * 0.1;
                let score = w.score(z0.clone(), a.clone(), noise.clone(), 0.9, usize::MAX);
                let (mut z, mut expected) = (z0, Tensor::<1>::zeros([6], &a.device()));
                for t in 0..horizon {
                    let at = a.clone().narrow(1, t, 1).reshape([6, 2]);
                    let r = w.reward(Tensor::cat(vec![z.clone(), at.clone()], 1));
                    expected = expected + r * 0.9f64.powi(t as i32);
                    z = w.dynamics.step(z, at);
                }
                let tail = w.value(Tensor::cat(vec![z.clone(), w.act(z, noise)], 1));
                expected = expected + tail * 0.9f64.powi(horizon as i32);
                assert!(max_difference(score, expected) < 1e-5);
            }
        }
    }

    /// To the bit: which sequences are scored together changes nothing.
    #[test]
    fn scores_do_not_depend_on_the_block_size() {
        for dynamics in [DynamicsKind::Koopman, DynamicsKind::Mlp] {
            let mut w = world(dynamics);
            w.reward.set_last(&mut Stream::new(2, "init"));
            let (z0, a) = (normal::<2>([37, 16], 3), normal::<3>([37, 5, 2], 4));
            let noise = normal::<2>([37, 2], 5) * 0.1;
            let score = |steps| w.score(z0.clone(), a.clone(), noise.clone(), 0.9, steps).into_data();
            let whole = score(usize::MAX);
            for steps in [1, 5, 12, 64, 185] {
                assert_eq!(score(steps), whole, "{dynamics:?}, {steps} steps at once");
            }
        }
    }

    #[test]
    fn the_clamp_of_actions_passes_gradients_straight_through() {
        let w = {
            let device = crate::device::cpu().autodiff();
            World::new(&tiny(DynamicsKind::Mlp).model, 4, 2, &mut Stream::new(1, "init"), &device)
        };
        let z = Tensor::from_inner(normal::<2>([3, 16], 1));
        let far = Tensor::from_inner(Tensor::full([3, 2], 5.0, &crate::device::cpu())).require_grad();
        let action = w.act(z, far.clone());
        let grads = action.clone().sum().backward();
        assert!(action.inner().lower_equal_elem(1.0).all().into_scalar::<bool>());
        assert!(
            max_difference(far.grad(&grads).unwrap(), Tensor::ones([3, 2], &crate::device::cpu())) == 0.0
        );
    }
}
