//! The agent: acts by planning in its world model, learns from replayed sequences. Orchestration only.

#[cfg(feature = "cuda")]
mod fused;

use crate::config::{AgentConfig, Continuation, DepthWeights, Recipe};
use crate::diagnosis::{DEPTHS, Foresight};
use crate::learner::{Learner, LearnerState, ParameterError, Update};
use crate::model::dynamics::Complex;
use crate::model::{Pick, Reduce, Returns, Tail};
use crate::planner::{self, Candidates, Mode, Noise, Plan, Warm, rescore};
use crate::replay::Batch;
use crate::rng::Stream;
use burn::prelude::*;
use burn::tensor::Transaction;

/// Planner and learner over one world model.
#[derive(Clone, Debug)]
pub struct Agent {
    config: AgentConfig,
    observation_dim: usize,
    action_dim: usize,
    device: Device,
    learner: Learner,
}

/// What the schedules say at a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Planning horizon H.
    pub horizon: usize,
    /// Lower bound of the planner's standard deviation.
    pub min_std: f64,
}

/// The decision of one environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Action inside ±1: `[A]`.
    pub action: Vec<f32>,
    /// Warm start of the next decision.
    pub plan: Plan,
    /// Mean score of the last elites, or the score of what is executed.
    pub elite_score: f32,
    /// Share of those that the policy proposed.
    pub policy_elites: f32,
    /// Candidates whose score was infinite or not a number; they are ranked last.
    pub bad_scores: u64,
}

impl Agent {
    /// A fresh agent; `init` gives the initial weights.
    pub fn new(
        config: &AgentConfig,
        observation_dim: usize,
        action_dim: usize,
        init: &mut Stream,
        device: &Device,
    ) -> Self {
        let learner = Learner::new(config, observation_dim, action_dim, init, device);
        Self { config: config.clone(), observation_dim, action_dim, device: device.clone(), learner }
    }

    /// Horizon and exploration after so many decisions.
    pub fn schedule(&self, decision: u64) -> Schedule {
        let planner = &self.config.planner;
        Schedule { horizon: planner.horizon.horizon_at(decision), min_std: planner.min_std.at(decision) }
    }

    /// Plans for E environments at once.
    ///
    /// # Shapes
    /// - `observations`: `[E, O]` row-major; `plans` and `noise`: one each per environment.
    pub fn act(
        &self,
        observations: &[f32],
        plans: &[Plan],
        schedule: Schedule,
        mode: Mode,
        noise: &mut [Stream],
    ) -> Vec<Decision> {
        let (e, a, h) = (plans.len(), self.action_dim, schedule.horizon);
        #[cfg(feature = "cuda")]
        if let Some(decisions) = self.act_fused(observations, plans, schedule, mode, noise) {
            return decisions;
        }
        let planner = &self.config.planner;
        let streams = noise;
        let noise = Noise::draw(planner, self.config.policy_noise(), h, a, mode, streams, &self.device);
        let picks = self.config.model.plan_picks(streams);
        let tail = |noise| Tail { noise, picks: picks.clone() };
        let returns = &self.returns();
        let warm = Warm::new(planner, plans, h, a, &self.device);
        let networks = self.learner.online();
        let z = networks.world().encode(self.upload(observations, [e, self.observation_dim]));
        let conditioning = self.config.model.koopman.control.while_planning();
        let (start, proposing) = (warm.mean.clone(), noise.policy());
        let proposals = proposing.clone().map(|(steps, _)| networks.propose(z.clone(), steps));
        let score = |candidates| {
            let (actions, noise, gates) = match candidates {
                // few enough to go their own way
                Candidates::Proposed(actions) => {
                    let (_, tails) = proposing.clone().expect("proposals come from their noise");
                    (actions, tails, None)
                }
                Candidates::Planned { actions, mean, iteration } => {
                    (actions, noise.tails(iteration), networks.gates(conditioning, z.clone(), mean))
                }
            };
            let score =
                |actions, noise, gates| networks.score(z.clone(), actions, tail(noise), gates, returns);
            let shared = gates.is_some();
            let scores = score(actions.clone(), noise.clone(), gates);
            match planner.rescored {
                count if shared && count > 0 => {
                    rescore(actions, noise, scores, count, |actions, noise| score(actions, noise, None))
                }
                _ => scores,
            }
        };
        let gradient = |actions| {
            let gates = networks.gates(conditioning, z.clone(), start.clone());
            self.learner.score_gradient(z.clone(), actions, tail(noise.tails(0)), gates, returns)
        };
        let outcome = planner::plan(planner, schedule.min_std, warm, proposals, &noise, score, gradient);
        self.read(outcome)
    }

    /// How far plans are trusted.
    fn returns(&self) -> Returns {
        let (planner, discount) = (&self.config.planner, self.config.learner.discount);
        match planner.depth_weights {
            DepthWeights::Lambda => Returns::lambda(discount, planner.depth_lambda),
            DepthWeights::Measured => Returns::weighted(discount, self.learner.reward_trust()),
        }
    }

    /// One read from the device for everything a decision returns.
    fn read(&self, outcome: planner::Outcome) -> Vec<Decision> {
        let [e, h, a] = outcome.mean.dims();
        let mut read = Transaction::default()
            .register(outcome.action)
            .register(outcome.mean)
            .register(outcome.elite_score)
            .register(outcome.policy_elites)
            .register(outcome.bad_scores);
        let kept = outcome.kept.as_ref().map_or(0, |kept| kept.dims()[1]);
        if let Some(kept) = outcome.kept {
            read = read.register(kept);
        }
        let read = read.execute().into_iter();
        let read: Vec<Vec<f32>> = read.map(|d| d.try_to_vec().expect("plans are f32")).collect();
        let part = |which: usize, i: usize, size: usize| read[which][i * size..][..size].to_vec();
        let plan = |i: usize| match kept {
            0 => Plan::new(part(1, i, h * a)),
            kept => Plan::new(part(1, i, h * a)).with_elites(part(5, i, kept * h * a)),
        };
        let decision = |i: usize| Decision {
            action: part(0, i, a),
            plan: plan(i),
            elite_score: read[2][i],
            policy_elites: read[3][i],
            bad_scores: read[4][i] as u64,
        };
        (0..e).map(decision).collect()
    }

    fn upload<const D: usize>(&self, values: &[f32], shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &self.device)
    }

    /// Learns from one batch of sequences.
    pub fn update(&mut self, batch: &Batch, noise: &mut Stream) -> Update {
        self.learner.update(batch, noise)
    }

    /// Updates done.
    pub fn updates(&self) -> u64 {
        self.learner.updates()
    }

    /// Steps of the sequences that the next update wants.
    pub fn training_horizon(&self) -> usize {
        self.config.learner.horizon_after(self.updates())
    }

    /// Numbers about the model for the training record; the names depend on the configuration only.
    pub fn diagnostics(&self) -> Vec<(&'static str, f64)> {
        let scale = self.learner.value_scale().map(|scale| ("value_scale", scale));
        self.learner.online().world().dynamics.diagnostics().into_iter().chain(scale).collect()
    }

    /// Whether the model predicts terminations.
    pub fn predicts_terminations(&self) -> bool {
        self.config.model.continuation == Continuation::On
    }

    /// γ, per decision.
    pub fn discount(&self) -> f64 {
        self.config.learner.discount
    }

    /// What the critics expect of the policy, without noise, from `observation [O]` on: a γ-discounted return.
    pub fn value(&self, observation: &[f32]) -> f64 {
        let world = self.learner.online().world();
        let z = world.encode(self.upload(observation, [1, self.observation_dim]));
        let action = world.act(z.clone(), Tensor::zeros([1, self.action_dim], &self.device));
        let pick = match self.config.model.recipe {
            Recipe::V1 => Pick::SMALLER,
            Recipe::V2 => Pick { critics: [0, 1], reduce: Reduce::Mean },
        };
        f64::from(world.value(Tensor::cat(vec![z, action], 1), pick).into_scalar::<f32>())
    }

    /// Steps K that [`Agent::diagnose`] looks ahead.
    pub fn foresight(&self) -> usize {
        let deepest = DEPTHS[DEPTHS.len() - 1];
        self.config.model.max_horizon().map_or(deepest, |max| deepest.min(max))
    }

    /// λ̄ of Koopman dynamics.
    pub(crate) fn lambda(&self) -> Option<Complex> {
        self.learner.online().world().dynamics.lambda()
    }

    /// Encodes a batch, and predicts it from its first observations and its actions.
    pub(crate) fn foresee(&self, batch: &Batch) -> Foresight {
        let world = self.learner.online().world();
        let (b, k, o) = (batch.size, batch.horizon, self.observation_dim);
        let actions = self.upload(&batch.actions, [b, k, self.action_dim]);
        let latents = world.encode(self.upload(&batch.observations, [b * (k + 1), o]));
        let d = latents.dims()[1];
        let latents = latents.reshape([b, k + 1, d]);
        let z0 = latents.clone().narrow(1, 0, 1).reshape([b, d]);
        let predicted = world.dynamics.rollout(z0.clone(), actions.clone());
        let linear = world.dynamics.rollout_linear(z0, actions.clone());
        let seen =
            Tensor::cat(vec![latents.clone().narrow(1, 0, 1), predicted.clone().narrow(1, 0, k - 1)], 1);
        let za = Tensor::cat(vec![seen, actions], 2).reshape([b * k, d + self.action_dim]);
        let mut read =
            Transaction::default().register(latents).register(predicted).register(world.reward(za));
        if let Some(linear) = linear {
            read = read.register(linear);
        }
        let mut read = read.execute().into_iter().map(|data| data.try_to_vec().expect("predictions are f32"));
        let mut next = || read.next();
        Foresight {
            latent_dim: d,
            latents: next().unwrap_or_default(),
            predicted: next().unwrap_or_default(),
            rewards: next().unwrap_or_default(),
            linear: next(),
        }
    }

    /// Everything that changes in training, for saving.
    pub fn export(&self) -> LearnerState {
        self.learner.export()
    }

    /// Restores what [`Agent::export`] gave.
    pub fn import(&mut self, saved: &LearnerState) -> Result<(), ParameterError> {
        self.learner.import(saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, PlanConditioning, PlannerKind, Recipe, tests::tiny_of_both};
    use crate::learner::Parameter;

    const BOTH: [Recipe; 2] = [Recipe::V1, Recipe::V2];

    fn agent(edit: impl Fn(&mut AgentConfig)) -> Agent {
        agent_of(Recipe::V1, edit)
    }

    fn agent_of(recipe: Recipe, edit: impl Fn(&mut AgentConfig)) -> Agent {
        let of_recipe = |config: &AgentConfig| config.model.recipe == recipe;
        let mut config =
            tiny_of_both(DynamicsKind::Koopman).into_iter().find(of_recipe).expect("it is there");
        edit(&mut config);
        let mut agent = Agent::new(&config, 4, 2, &mut Stream::new(1, "init"), &crate::device::cpu());
        // heads and gates start at zero, where every sequence scores the same
        let (mut state, mut stream) = (agent.export(), Stream::new(2, "init"));
        for parameter in state.parameters.values_mut().filter(|p| p.values.iter().all(|x| *x == 0.0)) {
            parameter.values = stream.uniform(parameter.values.len(), -0.1, 0.1);
        }
        agent.import(&state).expect("it is its own state");
        agent
    }

    fn streams(n: u64) -> Vec<Stream> {
        (0..n).map(|i| Stream::new(i, "noise")).collect()
    }

    /// The first episodes plan one step ahead: `narrow` of zero steps once panicked there.
    #[test]
    fn every_horizon_dynamics_and_planner_decides_within_bounds() {
        for dynamics in DynamicsKind::ALL {
            for kind in PlannerKind::ALL {
                for (horizon, recipe) in [1, 2, 5].into_iter().flat_map(|h| BOTH.map(|recipe| (h, recipe))) {
                    let agent = agent_of(recipe, |c| (c.model.dynamics, c.planner.kind) = (dynamics, kind));
                    let schedule = Schedule { horizon, min_std: 0.5 };
                    let d = agent.act(&[0.3; 4], &[Plan::cold()], schedule, Mode::Explore, &mut streams(1));
                    // TD-MPC v1 stored actions outside the bounds (tdmpc#3)
                    assert!(d[0].action.len() == 2 && d[0].action.iter().all(|a| a.abs() <= 1.0));
                    assert_eq!(d[0].plan.shifted(horizon, 2).len(), horizon * 2);
                    assert_eq!(d[0].bad_scores, 0, "{dynamics:?} {kind:?} {horizon}");
                }
            }
        }
    }

    /// ManiSkill#1221, #1240: a warm start shaped by the number of training environments. The plan of an environment
    /// must not depend on who else is in the batch.
    #[test]
    fn the_plan_of_an_environment_does_not_depend_on_the_batch() {
        for (kind, recipe) in PlannerKind::ALL.into_iter().flat_map(|kind| BOTH.map(|recipe| (kind, recipe)))
        {
            let agent = agent_of(recipe, |c| c.planner.kind = kind);
            let schedule = Schedule { horizon: 3, min_std: 0.1 };
            let observations: Vec<f32> = (0..12).map(|i| (i as f32).sin()).collect();
            // the first has just been reset, the others have elites where the planner keeps some
            let elites = |i: usize| (0..12).map(|j| ((i + j) as f32).cos()).collect();
            let warm = |i: usize| Plan::new(vec![0.1 * i as f32; 6]).with_elites(elites(i));
            let plans = [Plan::cold(), warm(1), warm(2)];
            let together = agent.act(&observations, &plans, schedule, Mode::Explore, &mut streams(3));
            for i in 0..3 {
                let noise = &mut streams(3)[i..=i];
                let alone =
                    &agent.act(&observations[4 * i..][..4], &plans[i..=i], schedule, Mode::Explore, noise)[0];
                for (a, b) in alone.action.iter().zip(&together[i].action) {
                    assert!((a - b).abs() < 1e-5, "{kind:?} {recipe:?}, environment {i}");
                }
            }
        }
    }

    /// The smaller of two critics, or the mean of two, at the latent of the observation and the policy's mean action there.
    #[test]
    fn a_value_is_what_two_critics_say_of_the_policy() {
        for recipe in BOTH {
            let agent = agent_of(recipe, |_| {});
            let world = agent.learner.online().world();
            let observations: Vec<f32> = (0..8).map(|i| (i as f32).cos()).collect();
            let z = world.encode(agent.upload(&observations, [2, 4]));
            let za = Tensor::cat(vec![z.clone(), world.act(z, Tensor::zeros([2, 2], &agent.device))], 1);
            let critic = |i: usize| {
                let said = world.codec().read(world.critics[i].forward(za.clone()));
                said.into_data().try_to_vec::<f32>().unwrap()
            };
            let (first, second) = (critic(0), critic(1));
            for i in 0..2 {
                let expected = match recipe {
                    Recipe::V1 => first[i].min(second[i]),
                    Recipe::V2 => (first[i] + second[i]) / 2.0,
                };
                let value = agent.value(&observations[4 * i..][..4]);
                assert!((value - f64::from(expected)).abs() < 1e-5, "{recipe:?}: {value} {expected}");
            }
            assert!(first[0] != first[1], "nothing was told apart");
        }
    }

    #[test]
    fn exploiting_adds_no_noise_and_draws_as_much_of_the_stream() {
        for (kind, recipe) in PlannerKind::ALL.into_iter().flat_map(|kind| BOTH.map(|recipe| (kind, recipe)))
        {
            let agent = agent_of(recipe, |c| c.planner.kind = kind);
            let schedule = Schedule { horizon: 2, min_std: 0.5 };
            let act = |mode| {
                let mut noise = streams(1);
                let d = agent.act(&[0.1; 4], &[Plan::cold()], schedule, mode, &mut noise).remove(0);
                (d, noise[0].seed())
            };
            let (explored, exploited) = (act(Mode::Explore), act(Mode::Exploit));
            // the policy's own noise is in its sequence, which is its plan
            assert_eq!(explored.0.plan == exploited.0.plan, kind != PlannerKind::Policy, "{kind:?}");
            assert_ne!(explored.0.action, exploited.0.action, "{kind:?}");
            assert_eq!(explored.1, exploited.1, "{kind:?}");
        }
    }

    /// From the same noise: what climbs from the policy's sequences must not end below them.
    #[test]
    fn gradient_ascent_improves_on_the_policy() {
        for dynamics in [DynamicsKind::Koopman, DynamicsKind::Mlp] {
            let score = |steps| {
                let agent = agent(|c| {
                    (c.model.dynamics, c.planner.kind) = (dynamics, PlannerKind::Grad);
                    c.planner.grad.steps = steps;
                });
                let schedule = Schedule { horizon: 3, min_std: 0.5 };
                agent.act(&[0.3; 4], &[Plan::cold()], schedule, Mode::Exploit, &mut streams(1))[0].elite_score
            };
            assert!(score(20) > score(1) && score(1) > score(0), "{dynamics:?}");
        }
    }

    /// With shared gates and every candidate scored again, nothing is left of the shared gates.
    #[test]
    fn rescoring_everything_is_planning_as_trained() {
        let act = |conditioning, rescored| {
            let agent = agent(|c| {
                c.model.koopman.control.plan_conditioning = conditioning;
                c.planner.rescored = rescored;
            });
            let schedule = Schedule { horizon: 3, min_std: 0.1 };
            let d = agent.act(&[0.3; 4], &[Plan::cold()], schedule, Mode::Exploit, &mut streams(1));
            d.into_iter().next().expect("one environment").plan.shifted(3, 2)
        };
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let exact = act(PlanConditioning::Along, 0);
        for shared in [PlanConditioning::Start, PlanConditioning::Nominal] {
            let (exactly, cheaply) = (far(&act(shared, 1000), &exact), far(&act(shared, 0), &exact));
            assert!(exactly < 1e-5 && cheaply > 1e-4, "{shared:?}: {exactly}, {cheaply}");
        }
    }

    /// A model that has foreseen every reward is trusted to the end, one that has foreseen none for one step.
    #[test]
    fn plans_are_trusted_as_far_as_rewards_were_foreseen() {
        let act = |depth_weights, error: f32| {
            let mut agent = agent(|c| c.planner.depth_weights = depth_weights);
            let mut state = agent.export();
            // of each of three steps: how many, Σ r, Σ r², Σ (r̂ − r)²
            let values = [[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, error], [1.0, 0.0, 1.0, error]].concat();
            state.parameters.insert("trust.reward_sums".into(), Parameter { shape: vec![3, 4], values });
            agent.import(&state).expect("it is its own state");
            let schedule = Schedule { horizon: 3, min_std: 0.1 };
            agent.act(&[0.3; 4], &[Plan::cold()], schedule, Mode::Exploit, &mut streams(1)).remove(0)
        };
        let to_the_end = act(DepthWeights::Lambda, 1.0);
        assert_eq!(act(DepthWeights::Measured, 0.0), to_the_end);
        assert_ne!(act(DepthWeights::Measured, 0.5), to_the_end);
        assert_ne!(act(DepthWeights::Measured, 1.0), act(DepthWeights::Measured, 0.5));
    }

    /// Elites travel in the caller's plan, and nowhere else.
    #[test]
    fn kept_elites_change_the_next_decision() {
        let agent = agent(|c| c.planner.kind = PlannerKind::Icem);
        let schedule = Schedule { horizon: 2, min_std: 0.1 };
        let act = |plan: &Plan| {
            let plans = std::slice::from_ref(plan);
            agent.act(&[0.2; 4], plans, schedule, Mode::Exploit, &mut streams(1)).remove(0)
        };
        let first = act(&Plan::cold());
        assert_eq!(first.plan.shifted_elites(2, 2).count(), 2, "0.3 of eight");
        assert_eq!(first, act(&Plan::cold()));
        // one step later these are corners that this model likes
        let best = [1.0, 0.0, -1.0, 1.0];
        let without = Plan::new(vec![0.0; 6]);
        let with = without.clone().with_elites([&[0.0; 2], &best[..], &[0.0; 2], &best].concat());
        assert_ne!(act(&with).plan, act(&without).plan);
    }

    /// What the policy says is what is done, without a look at `num_samples`.
    #[test]
    fn the_policy_alone_acts_as_the_policy() {
        BOTH.into_iter().for_each(acts_as_the_policy);
    }

    fn acts_as_the_policy(recipe: Recipe) {
        let agent = agent_of(recipe, |c| c.planner.kind = PlannerKind::Policy);
        let schedule = Schedule { horizon: 3, min_std: 0.5 };
        let decision = &agent.act(&[0.3; 4], &[Plan::cold()], schedule, Mode::Exploit, &mut streams(1))[0];
        let world = agent.learner.online().world();
        let z = world.encode(agent.upload(&[0.3; 4], [1, 4]));
        let action = crate::test_support::values(world.act(z, Tensor::zeros([1, 2], &agent.device)));
        assert!(decision.action.iter().zip(&action).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
