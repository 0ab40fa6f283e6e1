//! The second seam: planners. Pure functions of a scoring function, a warm start, noise drawn beforehand and
//! settings; they see candidates and scores, never networks, environments or replay.

mod budget;
mod colored;
mod contest;
mod grad;
mod icem;
mod mppi;
mod noise;
mod passes;
mod plan;
mod prior;
mod refit;
mod rescore;
mod shooting;

pub use budget::Budget;
pub use noise::Noise;
pub use plan::{Plan, Warm};
pub use rescore::rescore;

use crate::config::{PlannerConfig, PlannerKind};
use crate::device::is_plain_flex;
use burn::prelude::*;

/// Whether a decision explores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Training: the planner's remaining uncertainty is added as noise.
    Explore,
    /// Evaluation: no noise is added.
    Exploit,
}

/// What is to be scored.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // moved once an iteration
pub enum Candidates {
    /// Sequences offered by the policy: `[E, P, H, A]`.
    Proposed(Tensor<4>),
    /// Sequences of one iteration.
    Planned {
        /// `[E, N, H, A]`
        actions: Tensor<4>,
        /// Mean of the distribution they were drawn from: `[E, H, A]`.
        mean: Tensor<3>,
        /// From 0; says which noise is theirs.
        iteration: usize,
    },
}

impl Candidates {
    /// `[E, N, H, A]`
    pub fn actions(self) -> Tensor<4> {
        match self {
            Self::Proposed(actions) | Self::Planned { actions, .. } => actions,
        }
    }
}

/// What planning decided.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// First action, inside ±1: `[E, A]`.
    pub action: Tensor<2>,
    /// Mean of the final distribution, or the sequence executed by planners without one: `[E, H, A]`.
    pub mean: Tensor<3>,
    /// Standard deviation with which that is explored: `[E, H, A]`.
    pub std: Tensor<3>,
    /// Elites for the next decision to start with, best first, from planners that keep some: `[E, S, H, A]`.
    pub kept: Option<Tensor<4>>,
    /// Mean score of the last elites, or of the sequence executed by planners without any: `[E]`.
    pub elite_score: Tensor<1>,
    /// Share of those that the policy proposed: `[E]`.
    pub policy_elites: Tensor<1>,
    /// Scores that were infinite or not a number, over all iterations: `[E]`. They are ranked last.
    pub bad_scores: Tensor<1>,
}

/// Plans for E environments at once, as `config.kind` says.
///
/// # Shapes
/// - `proposals`: `[E, P, H, A]`, for the P of [`Budget::proposed`]; `score`: maps candidates to scores `[E, N]`;
///   `gradient`: maps sequences `[E, N, H, A]` to their scores `[E, N]` and the scores' gradients `[E, N, H, A]`.
///
/// # Panics
/// If there are no `proposals` for the planner that follows the policy.
pub fn plan(
    config: &PlannerConfig,
    min_std: f64,
    warm: Warm,
    proposals: Option<Tensor<4>>,
    noise: &Noise,
    score: impl Fn(Candidates) -> Tensor<2>,
    gradient: impl Fn(Tensor<4>) -> (Tensor<2>, Tensor<4>),
) -> Outcome {
    debug_assert_eq!(noise.horizon(), warm.mean.dims()[1]);
    match config.kind {
        PlannerKind::Mppi | PlannerKind::Mppi2 | PlannerKind::Cem => {
            mppi::plan(config, min_std, warm.mean, proposals, noise, score)
        }
        PlannerKind::Icem => icem::plan(config, min_std, warm, proposals, noise, score),
        PlannerKind::Random => shooting::random(min_std, warm.mean, noise, score),
        PlannerKind::Policy => shooting::policy(
            proposals.expect("the policy's sequence, of which it executes the first action"),
            score,
        ),
        PlannerKind::Grad => grad::plan(config, min_std, warm.mean, proposals, noise, score, gradient),
    }
}

/// clamp(mean + std·ε, ±1): `mean` and `std` `[E, H, A]`, `noise` ε `[E, N, H, A]` → `[E, N, H, A]`.
fn sample(mean: &Tensor<3>, std: &Tensor<3>, noise: Tensor<4>) -> Tensor<4> {
    if is_plain_flex(&noise.device()) {
        passes::sample(mean, std, noise)
    } else {
        sample_tensors(mean, std, noise)
    }
}

fn sample_tensors(mean: &Tensor<3>, std: &Tensor<3>, noise: Tensor<4>) -> Tensor<4> {
    let spread = std.clone().unsqueeze_dim::<4>(1) * noise;
    (mean.clone().unsqueeze_dim::<4>(1) + spread).clamp(-1.0, 1.0)
}

/// First step of `[E, H, A]`: `[E, A]`.
fn first(sequence: &Tensor<3>) -> Tensor<2> {
    let [environments, _, action_dim] = sequence.dims();
    sequence.clone().narrow(1, 0, 1).reshape([environments, action_dim])
}

/// The action executed for `chosen [E, A]`: exploring adds the first step of `std [E, H, A]` as noise.
fn execute(chosen: Tensor<2>, std: &Tensor<3>, noise: &Noise) -> Tensor<2> {
    let action = match noise.exploration() {
        Some(noise) => chosen + first(std) * noise,
        None => chosen,
    };
    action.clamp(-1.0, 1.0)
}
