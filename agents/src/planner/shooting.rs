//! Planners that refit nothing: the best of random sequences, and the policy itself. What better planning is worth is
//! measured against them.

use super::refit::Scored;
use super::{Candidates, Noise, Outcome, execute, first};
use burn::prelude::*;

/// Random shooting: the best of sequences uniform in ±1. Nothing of the last plan `warm [E, H, A]` is used, nor of the
/// policy; exploring adds noise of `min_std`.
pub(super) fn random(
    min_std: f64,
    warm: Tensor<3>,
    noise: &Noise,
    score: impl Fn(Candidates) -> Tensor<2>,
) -> Outcome {
    let actions = noise.samples(0);
    let mean = warm.zeros_like();
    let scores = score(Candidates::Planned { actions: actions.clone(), mean, iteration: 0 });
    let candidates = Scored { actions, scores };
    let best = candidates.best();
    let std = Tensor::full(warm.dims(), min_std, &warm.device());
    Outcome {
        action: execute(first(&best.actions), &std, noise),
        kept: None,
        policy_elites: best.score.zeros_like(),
        elite_score: best.score,
        bad_scores: candidates.bad(),
        mean: best.actions,
        std,
    }
}

/// Follows the policy: the first action of its `proposals [E, 1, H, A]`, whose noise is there when exploring only.
pub(super) fn policy(proposals: Tensor<4>, score: impl Fn(Candidates) -> Tensor<2>) -> Outcome {
    let scores = score(Candidates::Proposed(proposals.clone()));
    let proposal = Scored { actions: proposals, scores };
    let best = proposal.best();
    Outcome {
        action: first(&best.actions).clamp(-1.0, 1.0),
        kept: None,
        policy_elites: best.score.ones_like(),
        elite_score: best.score,
        bad_scores: proposal.bad(),
        std: best.actions.zeros_like(),
        mean: best.actions,
    }
}
