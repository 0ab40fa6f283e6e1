//! Gradient ascent of the return through the model, from where the policy and the last plan stand (Dream-MPC,
//! arXiv 2605.04568).

use super::refit::Scored;
use super::{Candidates, Noise, Outcome, execute, first};
use crate::config::PlannerConfig;
use burn::prelude::*;

/// The policy's sequences and the shifted last plan climb the return, a ← clamp(a + step_size·∂return/∂a, ±1), and the
/// best that any of them has been is executed; exploring adds noise of `min_std`. Of the paper's method this lacks the
/// penalty on the disagreement of critics; the last plan is a candidate of its own instead of a share in all of them.
pub(super) fn plan(
    config: &PlannerConfig,
    min_std: f64,
    warm: Tensor<3>,
    proposals: Option<Tensor<4>>,
    noise: &Noise,
    score: impl Fn(Candidates) -> Tensor<2>,
    gradient: impl Fn(Tensor<4>) -> (Tensor<2>, Tensor<4>),
) -> Outcome {
    let last_plan = warm.clone().unsqueeze_dim::<4>(1).clamp(-1.0, 1.0);
    let mut actions = Tensor::cat(proposals.into_iter().chain([last_plan]).collect(), 1);
    let last_plan_at = actions.dims()[1] - 1;
    let mut best: Option<Scored> = None;
    let mut bad_scores = Tensor::zeros([warm.dims()[0]], &warm.device());
    for _ in 0..config.grad.steps {
        let (scores, slope) = gradient(actions.clone());
        let reached = Scored { actions: actions.clone(), scores };
        bad_scores = bad_scores + reached.bad();
        best = Some(better(best, reached));
        actions = ascend(actions, slope, config.grad.step_size);
    }
    let scores = score(Candidates::Planned { actions: actions.clone(), mean: warm.clone(), iteration: 0 });
    let reached = Scored { actions, scores };
    bad_scores = bad_scores + reached.bad();
    let best = better(best, reached).best();
    let std = Tensor::full(warm.dims(), min_std, &warm.device());
    Outcome {
        action: execute(first(&best.actions), &std, noise),
        kept: None,
        elite_score: best.score,
        policy_elites: best.index.lower_elem(last_plan_at as i64).float(),
        bad_scores,
        mean: best.actions,
        std,
    }
}

/// One step uphill inside ±1. A candidate with a slope that is infinite or not a number stays where it is.
fn ascend(actions: Tensor<4>, slope: Tensor<4>, step_size: f64) -> Tensor<4> {
    let [e, n, h, a] = actions.dims();
    let bad = slope.clone().is_finite().bool_not().float().reshape([e, n, h * a]).max_dim(2);
    let stays = bad.greater_elem(0.5).reshape([e, n, 1, 1]).expand([e, n, h, a]);
    (actions + slope.mask_fill(stays, 0.0) * step_size).clamp(-1.0, 1.0)
}

/// Candidate by candidate what scores more: a step too long takes nothing away.
fn better(before: Option<Scored>, now: Scored) -> Scored {
    let Some(before) = before else { return now };
    let [e, n, h, a] = now.actions.dims();
    let improved = now.ranks().greater(before.ranks());
    Scored {
        actions: before
            .actions
            .mask_where(improved.clone().reshape([e, n, 1, 1]).expand([e, n, h, a]), now.actions),
        scores: before.scores.mask_where(improved, now.scores),
    }
}
