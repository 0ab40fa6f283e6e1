//! The learner, and what the updates of both recipes share.

use super::Adam;
use super::away::Away;
use super::data::Data;
use super::losses::{SequenceLosses, continuation_loss};
use super::slow::Slow;
use super::trust::Trust;
use crate::config::{AgentConfig, LearnerConfig, Precision};
use crate::inference::Snapshot;
use crate::model::{Returns, Tail, World};
use crate::replay::Batch;
use crate::rng::{PolicyNoise, Stream};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::prelude::*;
use burn::tensor::Transaction;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// Mean losses of one update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Weighted sum of the three below, and of that of the continuation.
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
    /// Cross-entropy of predicted terminations; 0 where none are predicted.
    #[serde(default)] // older checkpoints had none
    pub continuation: f64,
}

impl Losses {
    /// Names of the loss terms (not of the gradient norm), in the order of [`Losses::terms`].
    pub const TERMS: [&'static str; 5] = ["total", "consistency", "reward", "value", "policy"];

    /// From numbers in the order of the fields.
    pub(super) fn read(numbers: &[f32]) -> Self {
        let s = |i: usize| f64::from(numbers[i]);
        Self {
            total: s(0),
            consistency: s(1),
            reward: s(2),
            value: s(3),
            policy: s(4),
            gradient_norm: s(5),
            continuation: s(6),
        }
    }

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

/// A rollout of the dynamics and what the heads see of it.
pub(super) struct Rollout {
    /// ẑ_0 … ẑ_H: `[B, H + 1, D]`
    pub all: Tensor<3>,
    /// ẑ_1 … ẑ_H: `[B, H, D]`
    pub latents: Tensor<3>,
    /// (ẑ_t, a_t) of t < H: `[B·H, D + A]`
    pub inputs: Tensor<2>,
}

/// Networks, slow target and optimisers.
#[derive(Clone, Debug)]
pub struct Learner {
    pub(super) config: LearnerConfig,
    pub(super) device: Device,
    pub(super) policy_noise: PolicyNoise,
    /// Of plans.
    pub(super) precision: Precision,
    /// Share and width of the critics' layer with dropout.
    pub(super) critic_dropout: (f64, usize),
    pub(super) action_dim: usize,
    pub(super) observation_dim: usize,
    /// With gradients.
    pub(super) world: World,
    /// The same numbers without gradients, for acting and for targets, once somebody asked for them.
    pub(super) online: OnceLock<Snapshot>,
    pub(super) slow: Slow,
    pub(super) model_adam: Adam,
    pub(super) policy_adam: Adam,
    pub(super) trust: Trust,
    pub(super) updates: u64,
    pub(super) away: Away,
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
        let world = world.multiplying_in(l.precision);
        Self {
            online: OnceLock::new(),
            slow: Slow::new(config.model.recipe, world.valid(), device),
            model_adam: Adam::new(l.learning_rate, l.adam_epsilon, l.max_gradient_norm)
                .with_part("encoder", l.encoder_rate_scale),
            policy_adam: Adam::new(l.policy_learning_rate, l.policy_adam_epsilon, l.max_gradient_norm),
            config: l.clone(),
            policy_noise: config.policy_noise(),
            precision: config.planner.precision,
            critic_dropout: (config.model.v2.critic_dropout, config.model.hidden_dim),
            device: device.clone(),
            action_dim,
            observation_dim,
            world,
            trust: Trust::default(),
            updates: 0,
            away: Away::new(config, [observation_dim, action_dim], device),
        }
    }

    /// The networks to act with.
    pub fn online(&self) -> &Snapshot {
        self.online.get_or_init(|| Snapshot::new(self.current_world(), self.precision))
    }

    /// Returns of action sequences as [`World::score`] has them, and their gradients with respect to the actions; the
    /// networks stay.
    ///
    /// # Shapes
    /// - `z0`: `[E, D]`, `actions`: `[E, N, H, A]`, `gates`: `[E, H, l]`, all without gradients; results `[E, N]` and
    ///   `[E, N, H, A]`.
    ///
    /// # Panics
    /// If the learner was made for a planner without gradients, and has learned: its numbers are not in tensors then.
    pub fn score_gradient(
        &self,
        z0: Tensor<2>,
        actions: Tensor<4>,
        tail: Tail,
        gates: Option<Tensor<3>>,
        returns: &Returns,
    ) -> (Tensor<2>, Tensor<4>) {
        assert!(
            self.away.is_home(),
            "gradients with respect to actions need tensors: has_kernels denies such planners"
        );
        let world = self.world.clone().no_grad();
        let actions = Tensor::from_inner(actions).require_grad();
        let z0 = Tensor::from_inner(z0);
        let tail = Tail { noise: Tensor::from_inner(tail.noise), ..tail };
        let gates = gates.map(Tensor::from_inner);
        let scores = world.score(z0, actions.clone(), tail, gates, returns);
        // sequences do not see each other: the gradient of the sum is that of every one
        let gradients = scores.clone().sum().backward();
        (scores.inner(), actions.grad(&gradients).expect("scores depend on actions"))
    }

    /// Weights of the rewards of a plan by how well the model predicts them, for [`Returns::weighted`].
    pub fn reward_trust(&self) -> Vec<f64> {
        self.trust.weights()
    }

    /// Updates done.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Learns from one batch. `noise` feeds everything random in it: the policy's noise in targets and policy loss, dropout,
    /// and which critics are asked.
    pub fn update(&mut self, batch: &Batch, noise: &mut Stream) -> Update {
        if let Some(update) = self.update_away(batch, noise) {
            return update;
        }
        let data = Data::upload(batch, self.observation_dim, self.action_dim, &self.device);
        match self.slow {
            Slow::World(_) => self.update_v1(data, noise),
            Slow::Critics { .. } => self.update_v2(data, noise),
        }
    }

    /// Counts an update; whether the slow target follows behind it.
    pub(super) fn count(&mut self) -> bool {
        self.updates += 1;
        self.updates.is_multiple_of(self.config.target_every)
    }

    /// Per sequence, summed over its steps, for predicted latents `[B, H, D]`; zeros without that head: `[B]`.
    pub(super) fn continuation_losses(
        &self,
        latents: Tensor<3>,
        terminated: Tensor<2>,
        mask: Tensor<2>,
    ) -> Tensor<1> {
        let [b, h, latent] = latents.dims();
        match self.world.continuation(latents.clone().reshape([b * h, latent])) {
            Some(logits) => {
                let (terminated, mask) = (Tensor::from_inner(terminated), Tensor::from_inner(mask));
                continuation_loss(logits.reshape([b, h]), terminated, mask)
            }
            None => Tensor::zeros([b], &latents.device()),
        }
    }

    /// Mean over the batch of the weighted losses, by `importance [B]`.
    pub(super) fn weigh(
        &self,
        l: &SequenceLosses,
        continuation: &Tensor<1>,
        importance: Tensor<1>,
    ) -> Tensor<1> {
        let c = &self.config;
        let per_sequence = l.consistency.clone() * c.consistency_coef
            + l.reward.clone() * c.reward_coef
            + l.value.clone() * c.value_coef
            + continuation.clone() * c.continuation_coef;
        (per_sequence * Tensor::from_inner(importance)).mean()
    }

    /// A step of model and critics down `loss`; returns the norm of its gradient.
    pub(super) fn step_model(&mut self, loss: Tensor<1>) -> Tensor<1> {
        let gradients = GradientsParams::from_grads(loss.backward(), &self.world);
        let (world, norm) = self.model_adam.step(self.world.clone(), gradients);
        self.world = world;
        norm
    }

    /// After all steps: the new networks act, the slow ones follow, and the numbers are read. `scalars`: total loss, policy
    /// loss, norm of the gradient; `foresight`: what [`Trust`] observed.
    pub(super) fn finish(
        &mut self,
        l: SequenceLosses,
        continuation: Tensor<1>,
        scalars: [Tensor<1>; 3],
        foresight: Tensor<1>,
    ) -> Update {
        self.online = OnceLock::new();
        if self.count() {
            let online = self.online.get_or_init(|| Snapshot::new(self.world.valid(), self.precision));
            self.slow.follow(online.world(), self.config.target_rate);
        }
        let mean = |x: Tensor<1>| x.inner().mean();
        let [total, policy, norm] = scalars;
        let scalars = [total, mean(l.consistency), mean(l.reward), mean(l.value), policy, norm];
        let (update, observed) = read_back(l.priority.inner(), scalars, mean(continuation), foresight);
        self.trust.follow(&observed);
        update
    }

    /// A step of the policy alone down `loss`, which is returned.
    pub(super) fn step_policy(&mut self, loss: Tensor<1>) -> Tensor<1> {
        let gradients = GradientsParams::from_grads(loss.backward(), &self.world.policy);
        let (policy, _) = self.policy_adam.step(self.world.policy.clone(), gradients);
        self.world.policy = policy;
        loss.inner()
    }

    /// Rolls out the dynamics from the first observations `[B, O]` under the actions taken `[B, H, A]`.
    pub(super) fn roll_out(&self, first: Tensor<2>, actions: Tensor<3>) -> Rollout {
        let [b, h, a] = actions.dims();
        let z0 = self.world.encode(first);
        let latents = self.world.dynamics.rollout(z0.clone(), actions.clone());
        let latent = z0.dims()[1];
        let all = Tensor::cat(vec![z0.unsqueeze_dim(1), latents.clone()], 1);
        let inputs = Tensor::cat(vec![all.clone().narrow(1, 0, h), actions], 2).reshape([b * h, latent + a]);
        Rollout { all, latents, inputs }
    }

    /// Policy noise `[rows, A]`.
    pub(super) fn policy_noise(&self, rows: usize, stream: &mut Stream) -> Tensor<2> {
        let noise = stream.policy_noise(rows * self.action_dim, self.policy_noise);
        Tensor::from_data(TensorData::new(noise, [rows, self.action_dim]), &self.device)
    }
}

/// Which latents are real, out of which transitions are: z_0 always, z_{t+1} where transition t is. `[B, H]` → `[B, H + 1]`.
pub(super) fn with_start(mask: Tensor<2>) -> Tensor<2> {
    let start = Tensor::ones([mask.dims()[0], 1], &mask.device());
    Tensor::cat(vec![start, mask], 1)
}

/// Which latents the policy has to act in: all real ones but those after a termination, where no critic is trained. `[B, H]`
/// each → `[B, H + 1]`.
pub(super) fn to_act_in(mask: Tensor<2>, terminated: Tensor<2>) -> Tensor<2> {
    with_start(mask * (-terminated + 1.0))
}

/// Priorities and losses, the latter in the order of [`Losses`]'s fields, and `foresight`, in one read from the device.
fn read_back(
    priorities: Tensor<1>,
    losses: [Tensor<1>; 6],
    continuation: Tensor<1>,
    foresight: Tensor<1>,
) -> (Update, Vec<f32>) {
    let scalars = Tensor::cat(losses.into_iter().chain([continuation]).collect(), 0);
    let read = Transaction::default().register(priorities).register(scalars).register(foresight).execute();
    let mut vectors = read.into_iter().map(|data| data.try_to_vec::<f32>().expect("losses are f32"));
    let (Some(priorities), Some(scalars), Some(foresight)) = (vectors.next(), vectors.next(), vectors.next())
    else {
        unreachable!("three tensors were registered")
    };
    let losses = Losses::read(&scalars);
    (Update { priorities, losses }, foresight)
}
