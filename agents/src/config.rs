//! Every number of an agent, typed. Values live in `configs/` of the repository, not here.

mod sequence;

pub use sequence::{DssmConfig, DynamicsKind, GruConfig, MatchParams, MlpConfig, TransformerConfig};

use crate::ops::Unroll;
use serde::{Deserialize, Serialize};

/// An agent: model, learner, replay and planner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Networks and latent dynamics.
    pub model: ModelConfig,
    /// Losses and optimisation.
    pub learner: LearnerConfig,
    /// Prioritised replay.
    pub replay: ReplayConfig,
    /// Planning.
    pub planner: PlannerConfig,
}

/// Networks of the world model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Which latent dynamics; everything else is the same for all of them.
    pub dynamics: DynamicsKind,
    /// Widen or narrow them to the number of parameters of other dynamics, see [`ModelConfig::matched`].
    pub match_params: MatchParams,
    /// Real dimension D of the latent; Koopman dynamics use D/2 complex modes.
    pub latent_dim: usize,
    /// Widths of the encoder's hidden layers.
    pub encoder_hidden: Vec<usize>,
    /// Widths of the two hidden layers of reward, policy and critics, and of the MLP dynamics unless they have their own.
    pub hidden_dim: usize,
    /// Settings of the Koopman dynamics.
    pub koopman: KoopmanConfig,
    /// Settings of the MLP dynamics.
    pub mlp: MlpConfig,
    /// Settings of the gated recurrent units.
    pub gru: GruConfig,
    /// Settings of the transformer.
    pub transformer: TransformerConfig,
    /// Settings of the diagonal state spaces.
    pub dssm: DssmConfig,
}

/// Diagonal complex linear dynamics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KoopmanConfig {
    /// How a whole horizon is unrolled where the dynamics are linear.
    pub unroll: Unroll,
    /// The spectrum.
    pub eigenvalues: EigenvalueConfig,
    /// How actions enter.
    pub control: ControlConfig,
}

/// Parameterisation and initialisation of λ = μ + iω and of the step Δt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EigenvalueConfig {
    /// How μ, ω and Δt make the per-step multiplier λ̄.
    pub form: EigenvalueForm,
    /// What happens to μ in training.
    pub mu: Mu,
    /// Initial μ; per unit of time for `zoh`, per step for `decay`.
    pub mu_init: f64,
    /// Bounds of μ for `mu = "bounded"`.
    pub mu_bounds: [f64; 2],
    /// Initial frequencies.
    pub omega: Omega,
    /// Whether ω is trained.
    pub omega_training: Training,
    /// One step size for all modes, or one each.
    pub dt: StepSize,
    /// Range of Δt at the start; a scalar Δt takes the first number.
    pub dt_range: [f64; 2],
    /// Whether Δt is trained.
    pub dt_training: Training,
}

/// Whether a parameter is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Training {
    /// Kept at its initial value.
    Fixed,
    /// Trained with everything else.
    Learned,
}

/// How (μ, ω, Δt) give the multiplier of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EigenvalueForm {
    /// The paper's zero-order hold: λ̄ = exp(Δt(μ + iω)), L̄ = Δt·φ1(Δtλ)·L.
    Zoh,
    /// Decay in its own per-step unit: λ̄ = e^μ·e^{iωΔt} with μ ≤ 0, L̄ = L.
    Decay,
}

/// Training of μ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mu {
    /// Kept at `mu_init`.
    Fixed,
    /// Free for `zoh` (it may become positive); kept ≤ 0 by construction for `decay`.
    Learned,
    /// Kept inside `mu_bounds` by a sigmoid.
    Bounded,
}

/// Initial frequencies ω_j, j = 0 … m−1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Omega {
    /// ω_j = jπ, as S4D-Lin.
    Linear,
    /// Uniform in [0, mπ).
    Random,
}

/// Step sizes at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepSize {
    /// One Δt shared by all modes.
    Scalar,
    /// One Δt per mode, log-uniform in `dt_range`.
    LogUniform,
}

/// The control term c(z, a).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    /// Whether the latent may scale the input.
    pub form: ControlForm,
    /// Where along a training rollout the gate looks at the latent (`form = "gated"`): `start` or `along`.
    pub conditioning: Conditioning,
    /// The same while planning.
    #[serde(default)]
    pub plan_conditioning: PlanConditioning,
    /// Widths of the action encoder's hidden layers.
    pub action_hidden: Vec<usize>,
    /// Output dimension l of the action encoder f(a).
    pub encoded_dim: usize,
    /// Hidden width of the gate network s(z).
    pub gate_hidden: usize,
}

/// Form of the control term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlForm {
    /// c = L̄ f(a): the paper's model, linear and time-invariant.
    Additive,
    /// c = L̄ [f(a) ⊙ (1 + tanh s(z))]: control-affine, the autonomous part stays linear and diagonal.
    Gated,
}

/// Which latent a gate sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conditioning {
    /// The first latent of the rollout: linear and time-invariant afterwards, so still a convolution.
    Start,
    /// The latents along the planner's current mean plan: linear and time-varying, the same system for all candidates
    /// of an iteration. Only while planning.
    Nominal,
    /// The predicted latent of every step: step by step, the most expressive.
    Along,
}

/// Which latent a gate sees while planning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanConditioning {
    /// As in training.
    #[default]
    Trained,
    /// The first latent of the plan.
    Start,
    /// The latents along the current mean plan.
    Nominal,
    /// The predicted latents of every candidate.
    Along,
}

impl ControlConfig {
    /// Widths of the action encoder from `actions` dimensions to l.
    pub fn encoder_sizes(&self, actions: usize) -> Vec<usize> {
        [actions].into_iter().chain(self.action_hidden.iter().copied()).chain([self.encoded_dim]).collect()
    }

    /// Which latents gates see while planning.
    pub fn while_planning(&self) -> Conditioning {
        match self.plan_conditioning {
            PlanConditioning::Trained => self.conditioning,
            PlanConditioning::Start => Conditioning::Start,
            PlanConditioning::Nominal => Conditioning::Nominal,
            PlanConditioning::Along => Conditioning::Along,
        }
    }
}

/// TD-MPC's losses and optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerConfig {
    /// Sequences per update.
    pub batch_size: usize,
    /// Steps unrolled in training.
    pub horizon: usize,
    /// γ, per decision.
    pub discount: f64,
    /// ρ: step t of a sequence is weighted by ρ^t.
    pub rho: f64,
    /// Weight of the consistency loss.
    pub consistency_coef: f64,
    /// Weight of the reward loss.
    pub reward_coef: f64,
    /// Weight of the value loss.
    pub value_coef: f64,
    /// Adam's learning rate for model and critics.
    pub learning_rate: f64,
    /// Adam's learning rate for the policy.
    pub policy_learning_rate: f64,
    /// Adam's ε.
    pub adam_epsilon: f64,
    /// Gradients are scaled down to this global norm.
    pub max_gradient_norm: f64,
    /// Step τ of the target network towards the online one.
    pub target_rate: f64,
    /// Updates between two steps of the target network.
    pub target_every: u64,
    /// Standard deviation of the policy's noise in targets and rollouts; the noise is clipped at ±0.3.
    pub policy_std: f64,
}

/// Prioritised replay (Schaul et al. 2016).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// Transitions kept.
    pub capacity: usize,
    /// α: P(i) ∝ p_i^α.
    pub priority_exponent: f64,
    /// β: importance weights (n·P(i))^−β, divided by their largest.
    pub importance_exponent: f64,
}

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
    /// Inverse temperature of the elite weights softmax(temperature·value) (`mppi`, `mppi2`).
    pub temperature: f64,
    /// Share of the previous mean in the next one, and with `icem` of the previous standard deviation.
    pub momentum: f64,
    /// Standard deviation at the first iteration, and its upper bound.
    pub init_std: f64,
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
    /// Elites S kept across iterations and decisions.
    pub fn kept_elites(&self) -> usize {
        match self.kind {
            PlannerKind::Icem => (self.icem.keep_fraction * self.num_elites as f64) as usize,
            _ => 0,
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub(crate) mod tests {
    use super::*;

    /// A small agent for tests.
    pub(crate) fn tiny(dynamics: DynamicsKind) -> AgentConfig {
        AgentConfig {
            model: ModelConfig {
                dynamics,
                match_params: MatchParams::None,
                latent_dim: 16,
                encoder_hidden: vec![32],
                hidden_dim: 32,
                koopman: KoopmanConfig {
                    unroll: Unroll::Auto,
                    eigenvalues: EigenvalueConfig {
                        form: EigenvalueForm::Decay,
                        mu: Mu::Learned,
                        mu_init: -0.2,
                        mu_bounds: [-0.3, -0.1],
                        omega: Omega::Linear,
                        omega_training: Training::Learned,
                        dt: StepSize::LogUniform,
                        dt_range: [1e-3, 1e-1],
                        dt_training: Training::Learned,
                    },
                    control: ControlConfig {
                        form: ControlForm::Gated,
                        conditioning: Conditioning::Along,
                        plan_conditioning: PlanConditioning::Trained,
                        action_hidden: vec![16],
                        encoded_dim: 8,
                        gate_hidden: 16,
                    },
                },
                mlp: MlpConfig { hidden_dim: 0 },
                gru: GruConfig { hidden_dim: 24, layers: 2 },
                transformer: TransformerConfig {
                    width: 16,
                    layers: 2,
                    heads: 2,
                    feed_forward: 32,
                    max_horizon: 20,
                },
                dssm: DssmConfig {
                    width: 16,
                    modes: 8,
                    layers: 2,
                    eigenvalues: EigenvalueConfig {
                        form: EigenvalueForm::Zoh,
                        mu: Mu::Bounded,
                        mu_init: -0.5,
                        mu_bounds: [-1.0, 0.0],
                        omega: Omega::Linear,
                        omega_training: Training::Learned,
                        dt: StepSize::LogUniform,
                        dt_range: [1e-2, 1.0],
                        dt_training: Training::Learned,
                    },
                },
            },
            learner: LearnerConfig {
                batch_size: 32,
                horizon: 3,
                discount: 0.99,
                rho: 0.5,
                consistency_coef: 2.0,
                reward_coef: 0.5,
                value_coef: 0.1,
                learning_rate: 1e-3,
                policy_learning_rate: 1e-3,
                adam_epsilon: 1e-8,
                max_gradient_norm: 10.0,
                target_rate: 0.01,
                target_every: 2,
                policy_std: 0.05,
            },
            replay: ReplayConfig { capacity: 1000, priority_exponent: 0.6, importance_exponent: 0.4 },
            planner: PlannerConfig {
                kind: PlannerKind::Mppi,
                num_samples: 64,
                policy_fraction: 0.05,
                num_elites: 8,
                iterations: 4,
                temperature: 0.5,
                momentum: 0.1,
                init_std: 2.0,
                horizon: LinearSchedule { start: 1.0, end: 3.0, decisions: 100 },
                min_std: LinearSchedule { start: 0.5, end: 0.05, decisions: 100 },
                icem: IcemConfig { noise_beta: 2.0, keep_fraction: 0.3, decay: 1.25 },
                grad: GradConfig { candidates: 2, steps: 2, step_size: 0.1 },
            },
        }
    }

    #[test]
    fn schedules_ramp_and_hold() {
        let s = LinearSchedule { start: 1.0, end: 5.0, decisions: 100 };
        assert_eq!((s.at(0), s.at(50), s.at(100), s.at(1000)), (1.0, 3.0, 5.0, 5.0));
        assert_eq!((s.horizon_at(0), s.horizon_at(49), s.horizon_at(99), s.horizon_at(100)), (1, 2, 4, 5));
        assert_eq!(LinearSchedule { start: 9.0, end: 2.0, decisions: 0 }.at(0), 2.0);
    }
}
