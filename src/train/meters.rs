//! Sums between two rows of `train.csv`.

use serde::{Deserialize, Serialize};
use td_koopman_agents::agent::Decision;
use td_koopman_agents::learner::Losses;

/// What is averaged or added up until the next row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Meters {
    losses: Losses,
    updates: u64,
    plans: u64,
    elite_score: f64,
    policy_elites: f64,
    /// Candidates that a plan ranked last because their score was infinite or not a number.
    #[serde(default)] // older checkpoints did not count them
    pub bad_scores: u64,
    /// CPU seconds spent planning.
    pub plan_seconds: f64,
    /// CPU seconds spent on updates.
    pub update_seconds: f64,
    /// CPU seconds spent in the simulator.
    pub env_seconds: f64,
}

impl Meters {
    /// Notes the losses of an update.
    pub fn updated(&mut self, losses: &Losses) {
        let sum = &mut self.losses;
        sum.total += losses.total;
        sum.consistency += losses.consistency;
        sum.reward += losses.reward;
        sum.value += losses.value;
        sum.policy += losses.policy;
        sum.gradient_norm += losses.gradient_norm;
        sum.continuation += losses.continuation;
        self.updates += 1;
    }

    /// Notes the diagnostics of a plan.
    pub fn planned(&mut self, decision: &Decision) {
        self.plans += 1;
        self.elite_score += f64::from(decision.elite_score);
        self.policy_elites += f64::from(decision.policy_elites);
        self.bad_scores += decision.bad_scores;
    }

    /// Mean losses since the last row; `None` without updates.
    pub fn losses(&self) -> Option<Losses> {
        let n = self.updates as f64;
        let s = &self.losses;
        (self.updates > 0).then(|| Losses {
            total: s.total / n,
            consistency: s.consistency / n,
            reward: s.reward / n,
            value: s.value / n,
            policy: s.policy / n,
            gradient_norm: s.gradient_norm / n,
            continuation: s.continuation / n,
        })
    }

    /// Mean continuation loss since the last row; NaN without updates.
    pub fn continuation(&self) -> (&'static str, f64) {
        ("continuation", self.losses().map_or(f64::NAN, |losses| losses.continuation))
    }

    /// Mean diagnostics of the plans since the last row; NaN without plans.
    pub fn plan_diagnostics(&self) -> [(&'static str, f64); 2] {
        let n = self.plans as f64;
        [("elite_score", self.elite_score / n), ("policy_elites", self.policy_elites / n)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_updates_and_plans_since_the_last_row() {
        let mut meters = Meters::default();
        assert!(meters.losses().is_none() && meters.plan_diagnostics()[0].1.is_nan());
        for total in [1.0, 3.0] {
            meters.updated(&Losses { total, gradient_norm: 10.0 * total, ..Losses::default() });
        }
        let mean = meters.losses().unwrap();
        assert_eq!((mean.total, mean.gradient_norm, mean.value), (2.0, 20.0, 0.0));
    }
}
