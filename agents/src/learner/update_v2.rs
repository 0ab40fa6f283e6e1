//! One update of TD-MPC2: TD targets, model losses, policy loss, slow critics.

use super::data::Data;
use super::imitation::Taken;
use super::losses::{Target, step_weights, td_target};
use super::losses_v2::{Prediction, sequence_losses, spread};
use super::slow::Slow;
use super::trust::Trust;
use super::update::{Learner, Rollout, Update, to_act_in};
use crate::model::{Bins, Codec, Pick, Reduce};
use crate::rng::Stream;
use burn::prelude::*;

impl Learner {
    pub(super) fn update_v2(&mut self, data: Data, noise: &mut Stream) -> Update {
        let Data { observations, actions, rewards, terminated, mask, importance, reward_range } = data;
        let [b, h] = rewards.dims();
        let range = self.config.value_range(reward_range);
        let mut target =
            self.targets_v2(observations.clone(), rewards.clone(), terminated.clone(), range, noise);
        let first = observations.clone().narrow(1, 0, 1).reshape([b, self.observation_dim]);
        let (latents, mut prediction) =
            self.predict_v2(Tensor::from_inner(first), Tensor::from_inner(actions.clone()), noise);
        let continuation =
            self.continuation_losses(prediction.latents.clone(), terminated.clone(), mask.clone()) / h as f64;
        let penalty = self.auxiliary_loss(latents.clone(), observations, mask.clone());
        let predicted = self.world.codec().read(prediction.rewards.clone()).inner().reshape([b, h]);
        let foresight = Trust::observe(predicted, rewards, mask.clone());
        self.measure(&latents, &mut prediction.latents, &mut target.latents);
        let weights = Tensor::from_inner(step_weights(mask.clone(), self.config.rho));
        let l = sequence_losses(prediction, target, weights, self.bins());
        let total = self.weigh(&l, &continuation, importance) + penalty;
        let norm = self.step_model(total.clone());
        let taken = Taken { actions, mask: mask.clone() };
        let policy = self.update_policy_v2(latents.inner(), to_act_in(mask, terminated), taken, noise);
        self.finish(l, continuation, [total.inner(), policy, norm], foresight)
    }

    /// Everything the model is asked to predict, without gradients: the online encoder's latents, and values by two of the
    /// slow critics there, not at the latents of the rollout.
    fn targets_v2(
        &self,
        observations: Tensor<3>,
        rewards: Tensor<2>,
        terminated: Tensor<2>,
        range: Option<[f64; 2]>,
        noise: &mut Stream,
    ) -> Target {
        let [b, h] = rewards.dims();
        let online = self.online().world();
        let z = online.encode(observations.narrow(1, 1, h).reshape([b * h, self.observation_dim]));
        let action = online.act(z.clone(), self.policy_noise(b * h, noise));
        let Slow::Critics { critics, .. } = &self.slow else {
            unreachable!("the second recipe has slow critics")
        };
        let pick = Pick::draw(critics.len(), Reduce::Min, noise);
        let value = pick.value(critics, online.codec(), Tensor::cat(vec![z.clone(), action], 1));
        let value = value.reshape([b, h]);
        let values = td_target(rewards.clone(), terminated, value, range, self.config.discount);
        let latent = z.dims()[1];
        Target {
            latents: Tensor::from_inner(z.reshape([b, h, latent])),
            rewards: Tensor::from_inner(rewards),
            values: Tensor::from_inner(values),
        }
    }

    /// All predictions from the first observations and the actions taken, heads in one pass over `[B·H]` rows. Also
    /// returns ẑ_0 … ẑ_H, `[B, H + 1, D]`.
    fn predict_v2(
        &self,
        first: Tensor<2>,
        actions: Tensor<3>,
        noise: &mut Stream,
    ) -> (Tensor<3>, Prediction) {
        let Rollout { all, latents, inputs } = self.roll_out(first, actions);
        let rewards = self.world.reward_output(inputs.clone());
        let (rate, width) = self.critic_dropout;
        let values = self.world.critics.iter().map(|critic| {
            if rate == 0.0 {
                return critic.forward(inputs.clone());
            }
            let rows = inputs.dims()[0];
            let keep = TensorData::new(noise.dropout(rows * width, rate), [rows, width]);
            critic.forward_dropping(inputs.clone(), Tensor::from_inner(Tensor::from_data(keep, &self.device)))
        });
        let values = values.collect();
        (all, Prediction { latents, rewards, values })
    }

    /// The policy climbs the mean of two critics, in units of their running scale, and its entropy at ẑ_0 … ẑ_H, with ρ^t
    /// weights, and stays near what was taken there if it is told to; the critics stay. Returns the loss.
    fn update_policy_v2(
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
        let drawn = frozen.draw(z.clone(), Tensor::from_inner(self.policy_noise(rows, noise)));
        let pick = Pick::draw(frozen.critics.len(), Reduce::Mean, noise);
        let value = frozen.value(Tensor::cat(vec![z, drawn.action.clone()], 1), pick).reshape([b, steps]);
        let scale = self.follow_scale(value.clone().inner().narrow(1, 0, 1).reshape([b]));
        let value = value / Tensor::from_inner(scale).unsqueeze();
        let mut penalty = drawn.scaled_log_probability.reshape([b, steps]) * self.config.v2.entropy_coef;
        if self.config.imitation_coef > 0.0 {
            penalty = penalty + taken.distance(drawn.action) * self.config.imitation_coef;
        }
        let weights = Tensor::from_inner(step_weights(mask, self.config.rho));
        let loss = ((penalty - value) * weights).sum() / rows as f64;
        self.step_policy(loss)
    }

    /// The scale of values after a step towards the spread of these, at least 1: `[B]` → `[1]`.
    fn follow_scale(&mut self, values: Tensor<1>) -> Tensor<1> {
        let rate = self.config.v2.scale_rate;
        let Slow::Critics { scale, .. } = &mut self.slow else {
            unreachable!("the second recipe has a scale of values")
        };
        *scale = scale.clone() * (1.0 - rate) + spread(values).clamp_min(1.0) * rate;
        scale.clone()
    }

    fn bins(&self) -> &Bins {
        match self.world.codec() {
            Codec::Bins(bins) => bins,
            Codec::Scalar => unreachable!("the second recipe has distributions"),
        }
    }
}
