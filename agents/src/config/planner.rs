//! The planners and their schedules.

use serde::{Deserialize, Serialize};

/// Sampling-based planning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannerConfig {
    /// Which planner.
    pub kind: PlannerKind,
    /// Sampled sequences N per iteration.
    pub num_samples: usize,
    /// Sequences proposed by the policy, as a fraction of `num_samples`, in addition to them (`mppi2`: among them).
    pub policy_fraction: f64,
    /// Elites K kept per iteration.
    pub num_elites: usize,
    /// Iterations.
    pub iterations: usize,
    /// Iterations more for actions of [`PlannerConfig::MANY_ACTIONS`] dimensions and more.
    pub extra_iterations: usize,
    /// Inverse temperature of the elite weights softmax(temperature·value) (`mppi`, `mppi2`).
    pub temperature: f64,
    /// Share of the previous mean in the next one, and with `icem` of the previous standard deviation.
    pub momentum: f64,
    /// Standard deviation at the first iteration, and its upper bound.
    pub init_std: f64,
    /// w: how much a first action must gain for leaving the policy's, in standard deviations of the first scores and by its squared
    /// distance from it (`mppi`, `mppi2`, `cem`, `icem`); 0 = nothing.
    pub prior_weight: f64,
    /// What the packed networks multiply.
    pub precision: Precision,
    /// Where a plan's random numbers come from.
    pub noise: NoiseSource,
    /// What says how far a plan is trusted, see [`Returns`](crate::model::Returns).
    pub depth_weights: DepthWeights,
    /// λ of [`DepthWeights::Lambda`].
    pub depth_lambda: f64,
    /// Candidates of an iteration that are scored again with gates of their own latents, where gates are otherwise shared by all
    /// of them while planning; only these can be elites. 0 = none.
    pub rescored: usize,
    /// Planning horizon over decisions.
    pub horizon: LinearSchedule,
    /// Lower bound of the standard deviation over decisions; of planners without one, the exploration noise.
    pub min_std: LinearSchedule,
    /// What `icem` has of its own.
    pub icem: IcemConfig,
    /// What `grad` has of its own.
    pub grad: GradConfig,
}

impl PlannerConfig {
    /// As many as TD-MPC2 gives more iterations to: those of humanoids and dogs.
    pub const MANY_ACTIONS: usize = 20;

    /// Iterations for so many action dimensions.
    pub fn iterations_for(&self, actions: usize) -> usize {
        let extra = if actions >= Self::MANY_ACTIONS { self.extra_iterations } else { 0 };
        self.iterations + extra
    }

    /// Elites S kept across iterations and decisions.
    pub fn kept_elites(&self) -> usize {
        match self.kind {
            PlannerKind::Icem => (self.icem.keep_fraction * self.num_elites as f64) as usize,
            _ => 0,
        }
    }
}

/// Factors of matrix products; sums, activations and a Koopman latent's own turning are `f32` in any case.
///
/// On a GPU plans round to TF32 where this says `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 24 bits; on a GPU 11, with the range of 24.
    #[default]
    F32,
    /// Both rounded to bfloat16, 8 bits: twice as many products a cycle.
    Bf16,
}

/// Where a plan's random numbers come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseSource {
    /// Drawn on a GPU where whole plans have kernels there, else on the host.
    #[default]
    Auto,
    /// Drawn on the host: the same on every device.
    Host,
}

/// Weights of a plan's rewards by their depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DepthWeights {
    /// λ^t.
    Lambda,
    /// How well the model predicted rewards at that depth in the last hundred or so updates: R²_t / R²_0.
    Measured,
}

/// The improved cross-entropy method (arXiv 2008.06389).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IcemConfig {
    /// β: the power of the sampled noise falls with the frequency as f^{−β}.
    pub noise_beta: f64,
    /// ξ: share of the elites that are candidates again, in the next iteration and in the next decision.
    pub keep_fraction: f64,
    /// γ: every iteration samples this much less than the one before, but no less than twice the elites.
    pub decay: f64,
}

/// Gradient ascent through the model (Dream-MPC, arXiv 2605.04568).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradConfig {
    /// Sequences of the policy to start from, beside the last plan.
    pub candidates: usize,
    /// Steps uphill.
    pub steps: usize,
    /// Change of an action for each unit of the return's slope.
    pub step_size: f64,
}

/// The planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannerKind {
    /// Model predictive path integral control with elites, as in TD-MPC.
    Mppi,
    /// The same as in TD-MPC2.
    Mppi2,
    /// Cross-entropy method: unweighted elites, acts on the mean.
    Cem,
    /// Improved cross-entropy method: correlated noise, elites kept, fewer and fewer samples, acts on the best.
    Icem,
    /// Random shooting: the best of uniform sequences.
    Random,
    /// The policy alone.
    Policy,
    /// Gradient ascent through the model from where the policy stands.
    Grad,
}

impl PlannerKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Mppi, Self::Mppi2, Self::Cem, Self::Icem, Self::Random, Self::Policy, Self::Grad];

    /// As configurations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mppi => "mppi",
            Self::Mppi2 => "mppi2",
            Self::Cem => "cem",
            Self::Icem => "icem",
            Self::Random => "random",
            Self::Policy => "policy",
            Self::Grad => "grad",
        }
    }

    /// Whether it draws `num_samples` sequences.
    pub fn samples(self) -> bool {
        !matches!(self, Self::Policy | Self::Grad)
    }

    /// Whether it selects `num_elites` of them to refit a distribution.
    pub fn refits(self) -> bool {
        matches!(self, Self::Mppi | Self::Mppi2 | Self::Cem | Self::Icem)
    }
}

/// A value going linearly from `start` to `end` over the first `decisions` decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearSchedule {
    /// Value at decision 0.
    pub start: f64,
    /// Value from `decisions` on.
    pub end: f64,
    /// Length of the ramp; 0 for a constant `end`.
    pub decisions: u64,
}

impl LinearSchedule {
    /// The value at a decision.
    pub fn at(&self, decision: u64) -> f64 {
        if decision >= self.decisions {
            return self.end;
        }
        self.start + (self.end - self.start) * decision as f64 / self.decisions as f64
    }

    /// The value at a decision, rounded down, at least 1: a horizon.
    pub fn horizon_at(&self, decision: u64) -> usize {
        (self.at(decision) as usize).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_ramp_and_hold() {
        let s = LinearSchedule { start: 1.0, end: 5.0, decisions: 100 };
        assert_eq!((s.at(0), s.at(50), s.at(100), s.at(1000)), (1.0, 3.0, 5.0, 5.0));
        assert_eq!((s.horizon_at(0), s.horizon_at(49), s.horizon_at(99), s.horizon_at(100)), (1, 2, 4, 5));
        assert_eq!(LinearSchedule { start: 9.0, end: 2.0, decisions: 0 }.at(0), 2.0);
    }
}
