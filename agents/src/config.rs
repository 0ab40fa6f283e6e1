//! Every number of an agent, typed. Values live in `configs/` of the repository, not here.

mod auxiliary;
#[cfg(test)]
pub(crate) mod draw;
mod koopman;
mod planner;
mod recipe;
mod sequence;
mod tiny;

pub use auxiliary::{AuxiliaryConfig, Consistency, StateDecoder};
pub use koopman::{
    Conditioning, ControlConfig, ControlForm, EigenvalueConfig, EigenvalueForm, KoopmanConfig, Mu, Omega,
    PlanConditioning, RemainderConfig, StepSize, Training,
};
pub use planner::{
    DepthWeights, GradConfig, IcemConfig, LinearSchedule, NoiseSource, PlannerConfig, PlannerKind, Precision,
};
pub use recipe::{
    Continuation, DiscountRule, EpisodeDiscount, LatentNorm, LearnerV2Config, ModelV2Config, Recipe,
    ValueBounds,
};
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
    /// How networks are built; a run says it once for model and learner, with its key `agent`.
    #[serde(skip)]
    pub recipe: Recipe,
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
    /// Whether the model predicts terminations.
    pub continuation: Continuation,
    /// Whether observations are read back from latents.
    pub state_decoder: StateDecoder,
    /// What networks of the second recipe have of their own.
    pub v2: ModelV2Config,
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

/// TD-MPC's losses and optimiser, and TD-MPC2's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerConfig {
    /// Sequences per update.
    pub batch_size: usize,
    /// Steps unrolled in training.
    pub horizon: usize,
    /// How that number is reached.
    pub horizon_ramp: HorizonRamp,
    /// Where γ comes from.
    pub discount_rule: DiscountRule,
    /// γ, per decision.
    pub discount: f64,
    /// γ from the length of an episode.
    pub episode_discount: EpisodeDiscount,
    /// ρ: step t of a sequence is weighted by ρ^t.
    pub rho: f64,
    /// Weight of the consistency loss.
    pub consistency_coef: f64,
    /// What that loss is measured in.
    pub consistency: Consistency,
    /// Further losses.
    pub auxiliary: AuxiliaryConfig,
    /// Weight of the reward loss.
    pub reward_coef: f64,
    /// Weight of the value loss.
    pub value_coef: f64,
    /// Bounds of the values in TD targets.
    #[serde(default)] // older runs did not have it
    pub value_bounds: ValueBounds,
    /// Weight of the squared distance between the policy's actions and those taken, in the policy's loss, whose values are in
    /// units of their size: of their mean absolute one (v1), of their running scale (v2).
    #[serde(default)] // older runs did not have it
    pub imitation_coef: f64,
    /// Weight of the continuation loss, where the model predicts terminations.
    pub continuation_coef: f64,
    /// Factors of the matrix products of updates.
    #[serde(default)] // older runs did not have it
    pub precision: Precision,
    /// Kernels of updates.
    #[serde(default)] // older runs did not have it
    pub kernels: UpdateKernels,
    /// Adam's learning rate for model and critics.
    pub learning_rate: f64,
    /// The encoder's, as a share of that.
    pub encoder_rate_scale: f64,
    /// Adam's learning rate for the policy.
    pub policy_learning_rate: f64,
    /// Adam's ε for model and critics.
    pub adam_epsilon: f64,
    /// Adam's ε for the policy.
    pub policy_adam_epsilon: f64,
    /// Gradients are scaled down to this global norm.
    pub max_gradient_norm: f64,
    /// Step τ of the target network towards the online one.
    pub target_rate: f64,
    /// Updates between two steps of the target network.
    pub target_every: u64,
    /// Standard deviation of the policy's noise in targets and rollouts; the noise is clipped at ±0.3 (first recipe).
    pub policy_std: f64,
    /// What the second recipe has of its own.
    pub v2: LearnerV2Config,
}

/// What updates are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateKernels {
    /// Kernels of our own, where the agent has them: TD-MPC with MLP or Koopman dynamics. On a GPU in one graph, products in TF32.
    #[default]
    Auto,
    /// Plain tensors.
    None,
}

/// Growth of the training horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HorizonRamp {
    /// Steps unrolled by the first update.
    pub start: usize,
    /// Updates until it has grown to the full horizon; 0 = it is full from the beginning.
    pub updates: u64,
}

impl LearnerConfig {
    /// Steps that are unrolled after so many updates.
    pub fn horizon_after(&self, updates: u64) -> usize {
        let HorizonRamp { start, updates: all } = self.horizon_ramp;
        if updates >= all {
            return self.horizon;
        }
        start + (self.horizon - start) * updates as usize / all as usize
    }
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

    /// A small agent for tests.
    pub(crate) fn tiny(dynamics: DynamicsKind) -> AgentConfig {
        AgentConfig::tiny(dynamics)
    }

    /// A small agent of each recipe for tests.
    pub(crate) fn tiny_of_both(dynamics: DynamicsKind) -> [AgentConfig; 2] {
        let mut v2 = tiny(dynamics);
        v2.model.recipe = Recipe::V2;
        (v2.learner.consistency_coef, v2.learner.reward_coef, v2.learner.value_coef) = (20.0, 0.1, 0.1);
        (v2.learner.encoder_rate_scale, v2.learner.policy_adam_epsilon) = (0.3, 1e-5);
        (v2.learner.max_gradient_norm, v2.learner.target_every) = (20.0, 1);
        (v2.replay.priority_exponent, v2.replay.importance_exponent) = (0.0, 0.0);
        v2.planner.kind = PlannerKind::Mppi2;
        [tiny(dynamics), v2]
    }

    #[test]
    fn the_training_horizon_grows_and_holds() {
        let mut learner = tiny(DynamicsKind::Mlp).learner;
        assert_eq!(learner.horizon_after(0), 3, "no ramp");
        (learner.horizon, learner.horizon_ramp) = (5, HorizonRamp { start: 1, updates: 100 });
        assert_eq!([0, 24, 25, 99, 100, 1000].map(|n| learner.horizon_after(n)), [1, 1, 2, 4, 5, 5]);
    }
}
