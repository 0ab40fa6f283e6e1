//! Every number of an agent, typed. Values live in `configs/` of the repository, not here.

mod koopman;
mod planner;
mod sequence;

pub use koopman::{
    Conditioning, ControlConfig, ControlForm, EigenvalueConfig, EigenvalueForm, KoopmanConfig, Mu, Omega,
    PlanConditioning, RemainderConfig, StepSize, Training,
};
pub use planner::{GradConfig, IcemConfig, LinearSchedule, PlannerConfig, PlannerKind};
pub use sequence::{DssmConfig, DynamicsKind, GruConfig, MatchParams, MlpConfig, TransformerConfig};

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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ops::Unroll;

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
                        recondition_every: 1,
                    },
                    remainder: RemainderConfig::default(),
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
}
