//! Deciding on a GPU with kernels for whole plans.

use super::{Agent, Decision, Schedule};
use crate::inference::cuda;
use crate::planner::{Mode, Plan};
use crate::rng::Stream;

impl Agent {
    /// What [`Agent::act`] does, where whole plans have kernels on the device; `None` elsewhere.
    pub(super) fn act_fused(
        &self,
        observations: &[f32],
        plans: &[Plan],
        schedule: Schedule,
        mode: Mode,
        streams: &mut [Stream],
    ) -> Option<Vec<Decision>> {
        let planner = &self.config.planner;
        if !cuda::plans(planner) {
            return None;
        }
        let conditioning = self.config.model.koopman.control.while_planning();
        let fused = self.learner.online().fused(&self.device, conditioning)?;
        let horizon = schedule.horizon;
        let answers = fused.plan(cuda::Question {
            planner,
            returns: &self.returns(),
            horizon,
            min_std: schedule.min_std,
            mode,
            policy_noise: self.config.policy_noise(),
            observations,
            warm: plans.iter().flat_map(|plan| plan.shifted(horizon, self.action_dim)).collect(),
            streams,
        })?;
        let decision = |answer: cuda::Answer| Decision {
            action: answer.action,
            plan: Plan::new(answer.mean),
            elite_score: answer.elite_score,
            policy_elites: answer.policy_elites,
            bad_scores: answer.bad_scores as u64,
        };
        Some(answers.into_iter().map(decision).collect())
    }
}
