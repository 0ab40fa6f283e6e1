//! Koopman dynamics: the spectrum and how actions enter.

use crate::ops::Unroll;
use serde::{Deserialize, Serialize};

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
    /// What is not linear in the autonomous part; nothing unless asked for.
    #[serde(default)]
    pub remainder: RemainderConfig,
}

/// Departures from linearity, see [`Remainder`](crate::model::dynamics::Remainder).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemainderConfig {
    /// Hidden units k of the correction r(z) ("almost linear"); 0 = none.
    pub correction_hidden: usize,
    /// Depth β of the decay's dependence on the latent, at most 1; 0 = none.
    pub modulation: f64,
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
    /// Smallest and largest |λ̄| at the start of `form = "ring"`.
    pub ring: [f64; 2],
    /// Largest phase there, in radians a step.
    pub ring_phase: f64,
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
    /// The linear recurrent unit's (Orvieto et al. 2023, arXiv 2303.06349): as `decay` with Δt = 1, but spread evenly over
    /// a ring of the complex plane at the start, and L̄ = √(1 − |λ̄|²)·L.
    Ring,
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
    /// Hidden width of the gate network s(z); 0 = a single layer.
    pub gate_hidden: usize,
    /// A gate along the rollout is held for so many steps: in between the system is linear and time-invariant.
    #[serde(default = "every_step")]
    pub recondition_every: usize,
}

fn every_step() -> usize {
    1
}

/// Form of the control term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlForm {
    /// c = L̄ f(a): the paper's model, linear and time-invariant.
    Additive,
    /// c = L̄ [f(a) ⊙ (1 + tanh s(z))]: control-affine, the autonomous part stays linear and diagonal.
    Gated,
    /// c = L̄ [f(a) ⊙ (1 + S z + b)]: bilinear in latent and encoded action.
    Bilinear,
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

    /// Widths of the gate network from `latent` dimensions to l; `None` without a gate.
    pub fn gate_sizes(&self, latent: usize) -> Option<Vec<usize>> {
        match (self.form, self.gate_hidden) {
            (ControlForm::Additive, _) => None,
            (ControlForm::Bilinear, _) | (ControlForm::Gated, 0) => Some(vec![latent, self.encoded_dim]),
            (ControlForm::Gated, hidden) => Some(vec![latent, hidden, self.encoded_dim]),
        }
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
