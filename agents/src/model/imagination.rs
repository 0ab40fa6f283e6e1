//! What a planner asks of the world model, with plain tensors on any device: proposals of the policy and scores of action
//! sequences.

use super::critics::Pick;
use super::{Returns, World};
use crate::device::steps_at_once;
use burn::prelude::*;

/// What values the end of a sequence, Q(z_H, π(z_H)), and where [`Returns`] say so other latents of it.
#[derive(Clone, Debug)]
pub struct Tail {
    /// The policy's noise there, the same at all depths: `[E, N, A]`.
    pub noise: Tensor<3>,
    /// Critics asked: one pick for all environments, or one each.
    pub picks: Vec<Pick>,
}

impl World {
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

    /// Discounted return of action sequences: Σ_t γ^t c_t r̂(z_t, a_t) + γ^H c_H Q(z_H, π(z_H)), where c_t is 1 as long as
    /// the model expects the episode to go on from all of z_1 … z_t, and then 0; or the mixture of [`Returns`].
    ///
    /// A bounded number of steps (and at least one sequence) goes through the networks together, which bounds the memory
    /// in flight whatever the number of sequences.
    ///
    /// # Shapes
    /// - `z0`: `[E, D]`, `actions`: `[E, N, H, A]`, `gates` (see
    ///   [`Dynamics::gates`](super::dynamics::Dynamics::gates)): `[E, H, l]`; result `[E, N]`.
    pub fn score(
        &self,
        z0: Tensor<2>,
        actions: Tensor<4>,
        tail: Tail,
        gates: Option<Tensor<3>>,
        returns: &Returns,
    ) -> Tensor<2> {
        let steps = steps_at_once(&z0.device());
        self.score_in_blocks(z0, actions, tail, gates, returns, steps)
    }

    fn score_in_blocks(
        &self,
        z0: Tensor<2>,
        actions: Tensor<4>,
        tail: Tail,
        gates: Option<Tensor<3>>,
        returns: &Returns,
        steps_at_once: usize,
    ) -> Tensor<2> {
        let [environments, count, horizon, action_dim] = actions.dims();
        let rows = environments * count;
        let (z0, actions) = (repeat_rows(z0, count), actions.reshape([rows, horizon, action_dim]));
        let noise = tail.noise.reshape([rows, action_dim]);
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
            let (rewards, weights, za) =
                self.follow(z0, actions, noise.clone().narrow(0, from, size), gates, returns);
            let depths = weights.dims()[1];
            let values = self.tail_values(za, &tail.picks, from * depths, count * depths);
            rewards + (values.reshape([size, depths]) * weights).sum_dim(1).squeeze_dim(1)
        });
        Tensor::cat(blocks.collect(), 0).reshape([environments, count])
    }

    /// Of some sequences the weighted rewards, `[R]`, and for the K depths at which values count their weights, `[R, K]`, and
    /// [z_k, π(z_k)], `[R·K, D + A]`.
    fn follow(
        &self,
        z0: Tensor<2>,
        actions: Tensor<3>,
        tail_noise: Tensor<2>,
        gates: Option<Tensor<3>>,
        returns: &Returns,
    ) -> (Tensor<1>, Tensor<2>, Tensor<2>) {
        let [rows, horizon, action_dim] = actions.dims();
        let latent = z0.dims()[1];
        let z = self.dynamics.imagine(z0.clone(), actions.clone(), gates);
        let depths = returns.depths(horizon);
        let valued = z.clone().narrow(1, horizon - depths, depths).reshape([rows * depths, latent]);
        let upload = |weights: Vec<f32>| Tensor::<1>::from_floats(weights.as_slice(), &z0.device());
        let of_rewards = upload(returns.of_rewards(horizon)).unsqueeze::<2>().expand([rows, horizon]);
        let of_values = upload(returns.of_values(horizon)).unsqueeze::<2>().expand([rows, horizon]);
        let (of_rewards, of_values) = match self.going_on(z.clone()) {
            Some(c) => (c.clone().narrow(1, 0, horizon) * of_rewards, c.narrow(1, 1, horizon) * of_values),
            None => (of_rewards, of_values),
        };
        let mut inputs = vec![z0.unsqueeze_dim(1)];
        if horizon > 1 {
            inputs.push(z.narrow(1, 0, horizon - 1));
        }
        let inputs = Tensor::cat(inputs, 1);
        let za = Tensor::cat(vec![inputs, actions], 2).reshape([rows * horizon, latent + action_dim]);
        let rewards = self.reward(za).reshape([rows, horizon]) * of_rewards;
        let action = self.act(valued.clone(), repeat_rows(tail_noise, depths));
        (
            rewards.sum_dim(1).squeeze_dim(1),
            of_values.narrow(1, horizon - depths, depths),
            Tensor::cat(vec![valued, action], 1),
        )
    }

    /// c_0 … c_H along `z [R, H, D]` = z_1 … z_H: `[R, H + 1]`; `None` if every episode goes on.
    fn going_on(&self, z: Tensor<3>) -> Option<Tensor<2>> {
        let [rows, horizon, latent] = z.dims();
        let logits = self.continuation(z.reshape([rows * horizon, latent]))?;
        // a logit that is not a number ends nothing: what follows it is no number either, and the planner must see that
        let ends = logits.lower_elem(0.0).float().reshape([rows, horizon]);
        // ends among z_1 … z_t
        let counted = (0..horizon).flat_map(|k| (0..=horizon).map(move |t| if k < t { 1.0 } else { 0.0 }));
        let counted = TensorData::new(counted.collect::<Vec<f32>>(), [horizon, horizon + 1]);
        let ends_before = ends.clone().matmul(Tensor::from_data(counted, &ends.device()));
        Some(ends_before.lower_elem(0.5).float())
    }

    /// Values of rows `from`, `from` + 1, … of all candidates, `count` of which belong to an environment: `[R, D + A]` →
    /// `[R]`.
    fn tail_values(&self, za: Tensor<2>, picks: &[Pick], from: usize, count: usize) -> Tensor<1> {
        if let [pick] = picks {
            return self.value(za, *pick);
        }
        let rows = za.dims()[0];
        let (first, last) = (from / count, (from + rows - 1) / count);
        let of_environment = (first..=last).map(|e| {
            let (start, end) = ((e * count).max(from), ((e + 1) * count).min(from + rows));
            self.value(za.clone().narrow(0, start - from, end - start), picks[e])
        });
        Tensor::cat(of_environment.collect(), 0)
    }
}

/// Every row `count` times: `[E, D]` → `[E·count, D]`.
fn repeat_rows(z: Tensor<2>, count: usize) -> Tensor<2> {
    let [environments, latent] = z.dims();
    let repeated = z.unsqueeze_dim::<3>(1).expand([environments, count, latent]);
    repeated.reshape([environments * count, latent])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Conditioning, Continuation, DynamicsKind, ModelConfig, tests::tiny_of_both};
    use crate::model::Reduce;
    use crate::rng::Stream;
    use crate::test_support::{max_difference, normal, values};

    const PICKS: [Pick; 2] =
        [Pick { critics: [0, 1], reduce: Reduce::Mean }, Pick { critics: [1, 0], reduce: Reduce::Min }];

    /// Both recipes, and both again with a continuation head.
    fn models(dynamics: DynamicsKind) -> impl Iterator<Item = ModelConfig> {
        tiny_of_both(dynamics).into_iter().flat_map(|config| {
            [Continuation::Off, Continuation::On]
                .map(|continuation| ModelConfig { continuation, ..config.model.clone() })
        })
    }

    fn world(config: &ModelConfig) -> World {
        let mut w = World::new(config, 4, 2, &mut Stream::new(1, "init"), &crate::device::cpu());
        w.open(&mut Stream::new(2, "init"));
        w
    }

    /// The batched score is the sum it stands for, step by step: rewards up to a predicted end and including its step, and
    /// the value if there was none.
    #[test]
    fn score_is_the_discounted_sum_along_the_rollout_until_it_ends() {
        let mut ended = Vec::new();
        for config in DynamicsKind::ALL.into_iter().flat_map(models) {
            let w = world(&config);
            for (horizon, lambda) in [(1, 1.0), (4, 1.0), (4, 0.6)] {
                let returns = &Returns::lambda(0.9, lambda);
                let (of_rewards, of_values) = (returns.of_rewards(horizon), returns.of_values(horizon));
                let (z0, a) = (normal::<2>([2, 16], 3), normal::<4>([2, 3, horizon, 2], 4));
                let noise = normal::<3>([2, 3, 2], 5) * 0.1;
                let tail = Tail { noise: noise.clone(), picks: PICKS.to_vec() };
                let score = w.score(z0.clone(), a.clone(), tail, None, returns);
                let (mut z, mut expected) = (repeat_rows(z0, 3), Tensor::<1>::zeros([6], &a.device()));
                let (mut state, mut going_on) = (w.dynamics.begin(z.clone()), expected.ones_like());
                for t in 0..horizon {
                    let at = a.clone().narrow(2, t, 1).reshape([6, 2]);
                    let r = w.reward(Tensor::cat(vec![z.clone(), at.clone()], 1));
                    expected = expected + r * going_on.clone() * of_rewards[t];
                    (z, state) = w.dynamics.advance(state, at);
                    if let Some(logit) = w.continuation(z.clone()) {
                        going_on = going_on * logit.greater_equal_elem(0.0).float();
                    }
                    let za = Tensor::cat(vec![z.clone(), w.act(z.clone(), noise.clone().reshape([6, 2]))], 1);
                    let value = |e: usize| w.value(za.clone().narrow(0, 3 * e, 3), PICKS[e]);
                    let values = Tensor::cat(vec![value(0), value(1)], 0) * going_on.clone();
                    expected = expected + values * of_values[t];
                }
                assert!(max_difference(score.reshape([6]), expected) < 1e-5, "{config:?}");
                ended.extend(values(going_on).into_iter().map(|x| x == 0.0));
            }
        }
        assert!(ended.contains(&true) && ended.contains(&false), "both happen");
    }

    /// Rolled out again, the proposed actions lead along the latents that the policy saw: the memory was kept.
    #[test]
    fn proposals_are_the_policys_actions_along_their_own_rollout() {
        for config in DynamicsKind::ALL.into_iter().flat_map(tiny_of_both) {
            let w = world(&config.model);
            let (z0, noise) = (normal::<2>([2, 16], 3), normal::<4>([2, 3, 5, 2], 4) * 0.1);
            let actions = w.propose(z0.clone(), noise.clone()).reshape([6, 5, 2]);
            let z0 = repeat_rows(z0, 3);
            let z = w.dynamics.rollout(z0.clone(), actions.clone()).narrow(1, 0, 4);
            let seen = Tensor::cat(vec![z0.unsqueeze_dim(1), z], 1).reshape([30, 16]);
            let expected = w.act(seen, noise.reshape([30, 2]));
            assert!(max_difference(actions.reshape([30, 2]), expected) < 1e-5, "{config:?}");
        }
    }

    /// Which sequences are scored together changes nothing but rounding, also with gates and critics of several
    /// environments.
    #[test]
    fn scores_do_not_depend_on_the_block_size() {
        let nominal = models(DynamicsKind::Koopman).map(|config| (config, Conditioning::Nominal));
        let along =
            DynamicsKind::ALL.into_iter().flat_map(models).map(|config| (config, Conditioning::Along));
        for (config, conditioning) in along.chain(nominal) {
            let w = world(&config);
            let (z0, a) = (normal::<2>([2, 16], 3), normal::<4>([2, 37, 5, 2], 4));
            let tail = Tail { noise: normal::<3>([2, 37, 2], 5) * 0.1, picks: PICKS.to_vec() };
            let gates = w.dynamics.gates(conditioning, z0.clone(), normal::<3>([2, 5, 2], 6));
            let returns = &Returns::lambda(0.9, 0.6);
            let score = |steps| {
                let gates = gates.clone();
                w.score_in_blocks(z0.clone(), a.clone(), tail.clone(), gates, returns, steps)
            };
            let whole = score(usize::MAX);
            for steps in [1, 5, 12, 64, 185] {
                let difference = max_difference(score(steps), whole.clone());
                assert!(
                    difference < 1e-5 * whole.clone().abs().max().into_scalar::<f32>().max(1.0),
                    "{config:?} {conditioning:?}, {steps} steps at once: {difference}"
                );
            }
        }
    }

    /// A model that has diverged must be seen in the score, not hidden behind an end that it predicts.
    #[test]
    fn a_continuation_that_is_not_a_number_hides_nothing() {
        let config = models(DynamicsKind::Mlp).last().expect("the second recipe, with continuation");
        let (mut w, z0) = (world(&config), normal::<2>([1, 16], 3));
        w.break_critic(0);
        w.break_critic(1);
        let tail = Tail { noise: normal::<3>([1, 50, 2], 5), picks: vec![PICKS[0]] };
        let score = w.score(z0, normal::<4>([1, 50, 3, 2], 4), tail, None, &Returns::to_the_end(0.9));
        assert!(values(score).into_iter().all(f32::is_nan));
    }
}
