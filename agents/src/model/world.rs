//! The world model: encoder, latent dynamics, reward, critics and policy prior (TD-MPC v1's TOLD).

use super::dynamics::Dynamics;
use super::init::Init;
use super::mlp::{Critic, Mlp};
use crate::config::ModelConfig;
use crate::device::steps_at_once;
use crate::inference::{Network, Packed};
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

    /// π's action sequences rolled through the model, with its memory where it has one: `z0 [E, D]`, noise
    /// `[E, P, H, A]` → `[E, P, H, A]`.
    pub fn propose(&self, z0: Tensor<2>, noise: Tensor<4>) -> Tensor<4> {
        let [environments, count, horizon, action_dim] = noise.dims();
        let rows = environments * count;
        let noise = noise.reshape([rows, horizon, action_dim]);
        let mut z = repeat_rows(z0, count);
        let mut state = self.dynamics.begin(z.clone());
        let mut actions = Vec::with_capacity(horizon);
        for t in 0..horizon {
            let a = self.act(z.clone(), noise.clone().narrow(1, t, 1).reshape([rows, action_dim]));
            if t + 1 < horizon {
                (z, state) = self.dynamics.advance(state, a.clone());
            }
            actions.push(a);
        }
        Tensor::stack::<3>(actions, 1).reshape([environments, count, horizon, action_dim])
    }

    /// Discounted return of action sequences: Σ_t γ^t r̂(z_t, a_t) + γ^H min Q(z_H, π(z_H)).
    ///
    /// A bounded number of steps (and at least one sequence) goes through the networks together, which bounds the memory
    /// in flight whatever the number of sequences.
    ///
    /// # Shapes
    /// - `z0`: `[E, D]`, `actions`: `[E, N, H, A]`, `tail_noise`: `[E, N, A]`, `gates` (see [`Dynamics::gates`]):
    ///   `[E, H, l]`; result `[E, N]`.
    pub fn score(
        &self,
        z0: Tensor<2>,
        actions: Tensor<4>,
        tail_noise: Tensor<3>,
        gates: Option<Tensor<3>>,
        discount: f64,
    ) -> Tensor<2> {
        let steps = steps_at_once(&z0.device());
        self.score_in_blocks(z0, actions, tail_noise, gates, discount, steps)
    }

    fn score_in_blocks(
        &self,
        z0: Tensor<2>,
        actions: Tensor<4>,
        tail_noise: Tensor<3>,
        gates: Option<Tensor<3>>,
        discount: f64,
        steps_at_once: usize,
    ) -> Tensor<2> {
        let [environments, count, horizon, action_dim] = actions.dims();
        let rows = environments * count;
        let (z0, actions) = (repeat_rows(z0, count), actions.reshape([rows, horizon, action_dim]));
        let tail_noise = tail_noise.reshape([rows, action_dim]);
        let block = (steps_at_once / horizon).max(1);
        let blocks = (0..rows).step_by(block).map(|from| {
            let size = block.min(rows - from);
            let z0 = z0.clone().narrow(0, from, size);
            let actions = actions.clone().narrow(0, from, size);
            let gates = gates.clone().map(|gates| match environments {
                1 => gates, // broadcast
                _ => {
                    let of: Vec<i32> = (from..from + size).map(|row| (row / count) as i32).collect();
                    let of = Tensor::from_data(TensorData::new(of, [size]), &gates.device());
                    gates.select(0, of)
                }
            });
            self.score_block(z0, actions, tail_noise.clone().narrow(0, from, size), gates, discount)
        });
        Tensor::cat(blocks.collect(), 0).reshape([environments, count])
    }

    fn score_block(
        &self,
        z0: Tensor<2>,
        actions: Tensor<3>,
        tail_noise: Tensor<2>,
        gates: Option<Tensor<3>>,
        discount: f64,
    ) -> Tensor<1> {
        let [rows, horizon, action_dim] = actions.dims();
        let latent = z0.dims()[1];
        let z = self.dynamics.imagine(z0.clone(), actions.clone(), gates);
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

    /// Packed for planning on a CPU; `None` if the dynamics have no packed form.
    pub(crate) fn packed(&self) -> Option<Packed> {
        let motion = self.dynamics.packed()?;
        let policy = Network::new(self.policy.weights(), Activation::Tanh);
        Some(Packed {
            latent: self.encoder.outputs(),
            actions: policy.outputs(),
            motion,
            reward: Network::new(self.reward.weights(), Activation::Identity),
            critics: [0, 1].map(|i| self.critics[i].packed()),
            policy,
        })
    }
}

/// Every row `count` times: `[E, D]` → `[E·count, D]`.
fn repeat_rows(z: Tensor<2>, count: usize) -> Tensor<2> {
    let [environments, latent] = z.dims();
    let repeated = z.unsqueeze_dim::<3>(1).expand([environments, count, latent]);
    repeated.reshape([environments * count, latent])
}

/// Bound of the policy's actions.
pub(crate) const ACTION_BOUND: f32 = 1.0 - 1e-6;

/// Clamp to ±(1 − 1e-6) whose gradient is 1 everywhere (TD-MPC's `TruncatedNormal._clamp`).
fn straight_through_clamp(x: Tensor<2>) -> Tensor<2> {
    let clamped = x.clone().detach().clamp(-ACTION_BOUND, ACTION_BOUND);
    x.clone() - x.detach() + clamped
}

#[cfg(test)]
impl World {
    /// Gives the layers that start at zero random weights: heads of reward and critics, and the gate.
    pub(crate) fn open(&mut self, stream: &mut Stream) {
        self.reward.set_last(stream);
        self.critics.iter_mut().for_each(|critic| critic.set_last(stream));
        if let Dynamics::Koopman(koopman) = &mut self.dynamics {
            koopman.open_gate(stream);
        }
    }

    /// Makes every value of a critic a NaN.
    pub(crate) fn break_critic(&mut self, index: usize) {
        self.critics[index].set_nan();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Conditioning, DynamicsKind, tests::tiny};
    use crate::learner::read_parameters;
    use crate::test_support::{max_difference, normal};

    fn world(dynamics: DynamicsKind) -> World {
        World::new(&tiny(dynamics).model, 4, 2, &mut Stream::new(1, "init"), &crate::device::cpu())
    }

    /// "Everything else equal" begins with the initial weights.
    #[test]
    fn networks_other_than_the_dynamics_start_equal() {
        let [a, rest @ ..] = DynamicsKind::ALL.map(|d| read_parameters(&world(d)));
        let others: Vec<_> = a.keys().filter(|name| !name.starts_with("dynamics")).collect();
        assert!(others.len() > 20);
        assert!(rest.iter().all(|b| others.iter().all(|&name| a[name] == b[name])));
    }

    /// The batched score is the sum it stands for, step by step.
    #[test]
    fn score_is_the_discounted_sum_along_the_rollout() {
        for dynamics in DynamicsKind::ALL {
            let mut w = world(dynamics);
            w.open(&mut Stream::new(2, "init"));
            for horizon in [1, 4] {
                let (z0, a) = (normal::<2>([2, 16], 3), normal::<4>([2, 3, horizon, 2], 4));
                let noise = normal::<3>([2, 3, 2], 5) * 0.1;
                let score = w.score(z0.clone(), a.clone(), noise.clone(), None, 0.9);
                let (mut z, mut expected) = (repeat_rows(z0, 3), Tensor::<1>::zeros([6], &a.device()));
                let mut state = w.dynamics.begin(z.clone());
                for t in 0..horizon {
                    let at = a.clone().narrow(2, t, 1).reshape([6, 2]);
                    let r = w.reward(Tensor::cat(vec![z.clone(), at.clone()], 1));
                    expected = expected + r * 0.9f64.powi(t as i32);
                    (z, state) = w.dynamics.advance(state, at);
                }
                let tail = w.value(Tensor::cat(vec![z.clone(), w.act(z, noise.reshape([6, 2]))], 1));
                expected = expected + tail * 0.9f64.powi(horizon as i32);
                assert!(max_difference(score.reshape([6]), expected) < 1e-5);
            }
        }
    }

    /// Rolled out again, the proposed actions lead along the latents that the policy saw: the memory was kept.
    #[test]
    fn proposals_are_the_policys_actions_along_their_own_rollout() {
        for dynamics in DynamicsKind::ALL {
            let mut w = world(dynamics);
            w.open(&mut Stream::new(2, "init"));
            let (z0, noise) = (normal::<2>([2, 16], 3), normal::<4>([2, 3, 5, 2], 4) * 0.1);
            let actions = w.propose(z0.clone(), noise.clone()).reshape([6, 5, 2]);
            let z0 = repeat_rows(z0, 3);
            let z = w.dynamics.rollout(z0.clone(), actions.clone()).narrow(1, 0, 4);
            let seen = Tensor::cat(vec![z0.unsqueeze_dim(1), z], 1).reshape([30, 16]);
            let expected = w.act(seen, noise.reshape([30, 2]));
            assert!(max_difference(actions.reshape([30, 2]), expected) < 1e-5, "{dynamics:?}");
        }
    }

    /// Which sequences are scored together changes nothing but rounding, also with gates of several environments.
    #[test]
    fn scores_do_not_depend_on_the_block_size() {
        for (dynamics, conditioning) in [
            (DynamicsKind::Koopman, Conditioning::Along),
            (DynamicsKind::Koopman, Conditioning::Nominal),
            (DynamicsKind::Mlp, Conditioning::Along),
            (DynamicsKind::Gru, Conditioning::Along),
            (DynamicsKind::Transformer, Conditioning::Along),
            (DynamicsKind::Dssm, Conditioning::Along),
        ] {
            let mut w = world(dynamics);
            w.open(&mut Stream::new(2, "init"));
            let (z0, a) = (normal::<2>([2, 16], 3), normal::<4>([2, 37, 5, 2], 4));
            let noise = normal::<3>([2, 37, 2], 5) * 0.1;
            let gates = w.dynamics.gates(conditioning, z0.clone(), normal::<3>([2, 5, 2], 6));
            let score = |steps| {
                let gates = gates.clone();
                w.score_in_blocks(z0.clone(), a.clone(), noise.clone(), gates, 0.9, steps)
            };
            let whole = score(usize::MAX);
            for steps in [1, 5, 12, 64, 185] {
                let difference = max_difference(score(steps), whole.clone());
                assert!(
                    difference < 1e-5,
                    "{dynamics:?} {conditioning:?}, {steps} steps at once: {difference}"
                );
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
