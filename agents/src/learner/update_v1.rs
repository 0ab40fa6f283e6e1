//! One update of TD-MPC: TD targets, model losses, policy loss, slow targets.

use super::data::Data;
use super::imitation::Taken;
use super::losses::{Prediction, Target, sequence_losses, step_weights, td_target};
use super::trust::Trust;
use super::update::{Learner, Rollout, Update, to_act_in};
use crate::model::Pick;
use crate::rng::Stream;
use burn::prelude::*;

impl Learner {
    pub(super) fn update_v1(&mut self, data: Data, noise: &mut Stream) -> Update {
        let Data { observations, actions, rewards, terminated, mask, importance, reward_range } = data;
        let [b, h] = rewards.dims();
        let range = self.config.value_range(reward_range);
        let mut target =
            self.targets_v1(observations.clone(), rewards.clone(), terminated.clone(), range, noise);
        let first = observations.clone().narrow(1, 0, 1).reshape([b, self.observation_dim]);
        let (latents, mut prediction) =
            self.predict_v1(Tensor::from_inner(first), Tensor::from_inner(actions.clone()));
        let continuation =
            self.continuation_losses(prediction.latents.clone(), terminated.clone(), mask.clone());
        let penalty = self.auxiliary_loss(latents.clone(), observations, mask.clone());
        let foresight = Trust::observe(prediction.rewards.clone().inner(), rewards, mask.clone());
        self.measure(&latents, &mut prediction.latents, &mut target.latents);
        let weights = step_weights(mask.clone(), self.config.rho);
        let l = sequence_losses(prediction, target, Tensor::from_inner(weights));
        let total = self.weigh(&l, &continuation, importance) + penalty;
        // the loss is a sum over H steps: its gradient is scaled by 1/H
        let norm = self.step_model(total.clone() / h as f64);
        let taken = Taken { actions, mask: mask.clone() };
        let policy = self.update_policy_v1(latents.inner(), to_act_in(mask, terminated), taken, noise);
        self.finish(l, continuation / h as f64, [total.inner(), policy, norm], foresight)
    }

    /// Everything the model is asked to predict, without gradients.
    fn targets_v1(
        &self,
        observations: Tensor<3>,
        rewards: Tensor<2>,
        terminated: Tensor<2>,
        range: Option<[f64; 2]>,
        noise: &mut Stream,
    ) -> Target {
        let [b, h] = rewards.dims();
        let next = observations.narrow(1, 1, h).reshape([b * h, self.observation_dim]);
        let target = self.slow.world();
        let slow = target.encode(next.clone());
        let online = self.online().world();
        let fast = online.encode(next);
        let action = online.act(fast.clone(), self.policy_noise(b * h, noise));
        let value = target.value(Tensor::cat(vec![fast, action], 1), Pick::SMALLER).reshape([b, h]);
        let values = td_target(rewards.clone(), terminated, value, range, self.config.discount);
        let latent = slow.dims()[1];
        Target {
            latents: Tensor::from_inner(slow.reshape([b, h, latent])),
            rewards: Tensor::from_inner(rewards),
            values: Tensor::from_inner(values),
        }
    }

    /// All predictions from the first observations and the actions taken, heads in one pass over `[B·H]` rows. Also
    /// returns ẑ_0 … ẑ_H, `[B, H + 1, D]`.
    fn predict_v1(&self, first: Tensor<2>, actions: Tensor<3>) -> (Tensor<3>, Prediction) {
        let [b, h, _] = actions.dims();
        let Rollout { all, latents, inputs } = self.roll_out(first, actions);
        let rewards = self.world.reward(inputs.clone()).reshape([b, h]);
        let values = [0, 1].map(|i: usize| self.world.critics[i].forward(inputs.clone()).reshape([b, h]));
        (all, Prediction { latents, rewards, values })
    }

    /// The policy climbs the critics at ẑ_0 … ẑ_H where `mask [B, H + 1]` is 1, with ρ^t weights, and stays near what was taken
    /// there if it is told to; the critics stay. Returns the loss.
    fn update_policy_v1(
        &mut self,
        latents: Tensor<3>,
        mask: Tensor<2>,
        taken: Taken,
        noise: &mut Stream,
    ) -> Tensor<1> {
        let [b, steps, latent] = latents.dims();
        let rows = b * steps;
        let frozen = self.world.with_frozen_critics();
        let z = Tensor::from_inner(latents.reshape([rows, latent]));
        let action = frozen.act(z.clone(), Tensor::from_inner(self.policy_noise(rows, noise)));
        let value = frozen.value(Tensor::cat(vec![z, action.clone()], 1), Pick::SMALLER).reshape([b, steps]);
        let weights = Tensor::from_inner(step_weights(mask, self.config.rho));
        let mut gain = value.clone();
        if self.config.imitation_coef > 0.0 {
            let size = Tensor::from_inner(value.inner().abs().mean()).unsqueeze();
            gain = gain - taken.distance(action) * size * self.config.imitation_coef;
        }
        let loss = -(gain * weights).sum() / b as f64;
        self.step_policy(loss)
    }
}
