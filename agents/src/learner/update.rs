//! One update: TD targets, model losses, policy loss, slow targets.

use super::Adam;
use super::losses::{Prediction, Target, sequence_losses, step_weights, td_target};
use super::parameters::{Parameter, ParameterError, move_towards, read_parameters, write_parameters};
use crate::config::{AgentConfig, LearnerConfig};
use crate::inference::Snapshot;
use crate::model::World;
use crate::replay::Batch;
use crate::rng::Stream;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Transaction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Mean losses of one update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Weighted sum of the three below.
    pub total: f64,
    /// Latent prediction error.
    pub consistency: f64,
    /// Reward prediction error.
    pub reward: f64,
    /// TD error of both critics.
    pub value: f64,
    /// −Q of the policy's actions.
    pub policy: f64,
    /// Norm of the model's gradient before clipping.
    pub gradient_norm: f64,
}

impl Losses {
    /// Names of the loss terms (not of the gradient norm), in the order of [`Losses::terms`].
    pub const TERMS: [&'static str; 5] = ["total", "consistency", "reward", "value", "policy"];

    /// The loss terms in the order of [`Losses::TERMS`].
    pub fn terms(&self) -> [f64; 5] {
        [self.total, self.consistency, self.reward, self.value, self.policy]
    }
}

/// Result of one update.
#[derive(Clone, Debug)]
pub struct Update {
    /// New replay priorities of the sampled sequences: `[B]`.
    pub priorities: Vec<f32>,
    /// Losses before the step.
    pub losses: Losses,
}

/// Networks, slow target and optimisers.
#[derive(Clone, Debug)]
pub struct Learner {
    config: LearnerConfig,
    device: Device,
    action_dim: usize,
    observation_dim: usize,
    /// With gradients.
    world: World,
    /// The same numbers without gradients, for acting and for targets.
    online: Snapshot,
    target: World,
    model_adam: Adam,
    policy_adam: Adam,
    updates: u64,
}

/// Everything of a [`Learner`] that changes in training.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnerState {
    /// Updates done.
    pub updates: u64,
    /// Steps of the model's and the policy's optimiser.
    pub optimizer_steps: [u64; 2],
    /// Parameters under `world.`, `target.`, and moments under `adam.` and `policy_adam.`.
    pub parameters: BTreeMap<String, Parameter>,
}

impl Learner {
    /// Fresh networks; the target starts as a copy.
    pub fn new(
        config: &AgentConfig,
        observation_dim: usize,
        action_dim: usize,
        init: &mut Stream,
        device: &Device,
    ) -> Self {
        let autodiff = device.clone().autodiff();
        let world = World::new(&config.model, observation_dim, action_dim, init, &autodiff);
        let l = &config.learner;
        Self {
            online: Snapshot::new(world.valid()),
            target: world.valid(),
            model_adam: Adam::new(l.learning_rate, l.adam_epsilon, l.max_gradient_norm),
            policy_adam: Adam::new(l.policy_learning_rate, l.adam_epsilon, l.max_gradient_norm),
            config: l.clone(),
            device: device.clone(),
            action_dim,
            observation_dim,
            world,
            updates: 0,
        }
    }

    /// The networks to act with.
    pub fn online(&self) -> &Snapshot {
        &self.online
    }

    /// Returns of action sequences as [`World::score`] has them, and their gradients with respect to the actions; the
    /// networks stay.
    ///
    /// # Shapes
    /// - `z0`: `[E, D]`, `actions`: `[E, N, H, A]`, `tail_noise`: `[E, N, A]`, `gates`: `[E, H, l]`, all without
    ///   gradients; results `[E, N]` and `[E, N, H, A]`.
    pub fn score_gradient(
        &self,
        z0: Tensor<2>,
        actions: Tensor<4>,
        tail_noise: Tensor<3>,
        gates: Option<Tensor<3>>,
    ) -> (Tensor<2>, Tensor<4>) {
        let world = self.world.clone().no_grad();
        let actions = Tensor::from_inner(actions).require_grad();
        let (z0, tail_noise) = (Tensor::from_inner(z0), Tensor::from_inner(tail_noise));
        let gates = gates.map(Tensor::from_inner);
        let scores = world.score(z0, actions.clone(), tail_noise, gates, self.config.discount);
        // sequences do not see each other: the gradient of the sum is that of every one
        let gradients = scores.clone().sum().backward();
        (scores.inner(), actions.grad(&gradients).expect("scores depend on actions"))
    }

    /// Updates done.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Learns from one batch. `noise` feeds the policy's noise in targets and policy loss.
    pub fn update(&mut self, batch: &Batch, noise: &mut Stream) -> Update {
        let (b, h, a) = (batch.size, batch.horizon, self.action_dim);
        let data = |values: &[f32]| self.upload(values, [b, h]);
        let (rewards, mask, terminated) = (data(&batch.rewards), data(&batch.mask), data(&batch.terminated));
        let observations = self.upload(&batch.observations, [b, h + 1, self.observation_dim]);
        let actions = self.upload(&batch.actions, [b, h, a]);
        let importance = self.upload(&batch.weights, [b]);

        let target = self.targets(observations.clone(), rewards, terminated, noise);
        let first = observations.narrow(1, 0, 1).reshape([b, self.observation_dim]);
        let (latents, prediction) = self.predict(Tensor::from_inner(first), Tensor::from_inner(actions));
        let weights = step_weights(mask.clone(), self.config.rho);
        let l = sequence_losses(prediction, target, Tensor::from_inner(weights));
        let c = &self.config;
        let per_sequence = l.consistency.clone() * c.consistency_coef
            + l.reward.clone() * c.reward_coef
            + l.value.clone() * c.value_coef;
        let total = (per_sequence * Tensor::from_inner(importance)).mean();
        // the loss is a sum over H steps: its gradient is scaled by 1/H
        let gradients = (total.clone() / h as f64).backward();
        let gradients = GradientsParams::from_grads(gradients, &self.world);
        let (world, norm) = self.model_adam.step(self.world.clone(), gradients);
        self.world = world;

        let policy = self.update_policy(latents, mask, noise);
        self.online = Snapshot::new(self.world.valid());
        self.updates += 1;
        if self.updates.is_multiple_of(self.config.target_every) {
            self.target = move_towards(self.target.clone(), self.online.world(), self.config.target_rate);
        }
        let mean = |x: Tensor<1>| x.inner().mean();
        let scalars = Tensor::cat(
            vec![total.inner(), mean(l.consistency), mean(l.reward), mean(l.value), policy, norm],
            0,
        );
        read_back(l.priority.inner(), scalars)
    }

    /// Everything the model is asked to predict, without gradients.
    fn targets(
        &self,
        observations: Tensor<3>,
        rewards: Tensor<2>,
        terminated: Tensor<2>,
        noise: &mut Stream,
    ) -> Target {
        let [b, h] = rewards.dims();
        let next = observations.narrow(1, 1, h).reshape([b * h, self.observation_dim]);
        let slow = self.target.encode(next.clone());
        let online = self.online.world();
        let fast = online.encode(next);
        let action = online.act(fast.clone(), self.policy_noise(b * h, noise));
        let value = self.target.value(Tensor::cat(vec![fast, action], 1)).reshape([b, h]);
        let values = td_target(rewards.clone(), terminated, value, self.config.discount);
        let latent = slow.dims()[1];
        Target {
            latents: Tensor::from_inner(slow.reshape([b, h, latent])),
            rewards: Tensor::from_inner(rewards),
            values: Tensor::from_inner(values),
        }
    }

    /// All predictions from the first observations and the actions taken, heads in one pass over `[B·H]` rows. Also
    /// returns ẑ_0 … ẑ_H without gradients, `[B, H + 1, D]`.
    fn predict(&self, first: Tensor<2>, actions: Tensor<3>) -> (Tensor<3>, Prediction) {
        let [b, h, a] = actions.dims();
        let z0 = self.world.encode(first);
        let latents = self.world.dynamics.rollout(z0.clone(), actions.clone());
        let latent = z0.dims()[1];
        let all = Tensor::cat(vec![z0.unsqueeze_dim(1), latents.clone()], 1);
        let inputs = Tensor::cat(vec![all.clone().narrow(1, 0, h), actions], 2).reshape([b * h, latent + a]);
        let rewards = self.world.reward(inputs.clone()).reshape([b, h]);
        let values = self.world.critics(inputs).map(|q| q.reshape([b, h]));
        (all.inner(), Prediction { latents, rewards, values })
    }

    /// The policy climbs the critics at ẑ_0 … ẑ_H, with ρ^t weights; the critics stay. Returns the loss.
    fn update_policy(&mut self, latents: Tensor<3>, mask: Tensor<2>, noise: &mut Stream) -> Tensor<1> {
        let [b, steps, latent] = latents.dims();
        let rows = b * steps;
        let frozen = self.world.with_frozen_critics();
        let z = Tensor::from_inner(latents.reshape([rows, latent]));
        let action = frozen.act(z.clone(), Tensor::from_inner(self.policy_noise(rows, noise)));
        let value = frozen.value(Tensor::cat(vec![z, action], 1)).reshape([b, steps]);
        // z_0 is always real; z_{t+1} is real where transition t is
        let mask = Tensor::cat(vec![Tensor::ones([b, 1], &self.device), mask], 1);
        let weights = Tensor::from_inner(step_weights(mask, self.config.rho));
        let loss = -(value * weights).sum() / b as f64;
        let gradients = GradientsParams::from_grads(loss.backward(), &self.world.policy);
        let (policy, _) = self.policy_adam.step(self.world.policy.clone(), gradients);
        self.world.policy = policy;
        loss.inner()
    }

    /// Clipped policy noise `[rows, A]`.
    fn policy_noise(&self, rows: usize, stream: &mut Stream) -> Tensor<2> {
        let noise = stream.clipped_normal(rows * self.action_dim, self.config.policy_std);
        self.upload(&noise, [rows, self.action_dim])
    }

    fn upload<const D: usize>(&self, values: &[f32], shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &self.device)
    }

    /// Everything that changes in training, for saving.
    pub fn export(&self) -> LearnerState {
        let (model_steps, model) = self.model_adam.export();
        let (policy_steps, policy) = self.policy_adam.export();
        let groups = [
            ("world", read_parameters(self.online.world())),
            ("target", read_parameters(&self.target)),
            ("adam", model),
            ("policy_adam", policy),
        ];
        let named = |(group, parameters): (&'static str, BTreeMap<_, _>)| {
            parameters.into_iter().map(move |(name, p): (String, Parameter)| (format!("{group}.{name}"), p))
        };
        LearnerState {
            updates: self.updates,
            optimizer_steps: [model_steps, policy_steps],
            parameters: groups.into_iter().flat_map(named).collect(),
        }
    }

    /// Restores what [`Learner::export`] gave.
    pub fn import(&mut self, saved: &LearnerState) -> Result<(), ParameterError> {
        let group = |prefix: &str| -> BTreeMap<String, Parameter> {
            let strip =
                |(name, p): (&String, &Parameter)| Some((name.strip_prefix(prefix)?.to_owned(), p.clone()));
            saved.parameters.iter().filter_map(strip).collect()
        };
        self.world = write_parameters(self.world.clone(), &group("world."))?;
        self.online = Snapshot::new(self.world.valid());
        self.target = write_parameters(self.target.clone(), &group("target."))?;
        let [model_steps, policy_steps] = saved.optimizer_steps;
        self.model_adam.import(model_steps, &group("adam."), &self.device);
        self.policy_adam.import(policy_steps, &group("policy_adam."), &self.device);
        self.updates = saved.updates;
        Ok(())
    }
}

/// Priorities and losses in one read from the device.
fn read_back(priorities: Tensor<1>, scalars: Tensor<1>) -> Update {
    let read = Transaction::default().register(priorities).register(scalars).execute();
    let mut vectors = read.into_iter().map(|data| data.try_to_vec::<f32>().expect("losses are f32"));
    let (Some(priorities), Some(scalars)) = (vectors.next(), vectors.next()) else {
        unreachable!("two tensors were registered")
    };
    let s = |i: usize| scalars[i] as f64;
    let losses = Losses {
        total: s(0),
        consistency: s(1),
        reward: s(2),
        value: s(3),
        policy: s(4),
        gradient_norm: s(5),
    };
    Update { priorities, losses }
}
