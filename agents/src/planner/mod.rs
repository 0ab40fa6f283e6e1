//! The second seam: planners. Pure functions of a scoring function, a warm start, noise drawn beforehand and
//! settings; they see candidates and scores, never networks, environments or replay.

mod noise;
mod plan;
mod refit;

pub use noise::Noise;
pub use plan::Plan;

use crate::config::PlannerConfig;
use burn::prelude::*;
use refit::{Elites, not_finite};

/// Whether a decision explores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Training: the planner's remaining uncertainty is added as noise.
    Explore,
    /// Evaluation: no noise is added.
    Exploit,
}

/// Sequences offered by the policy, with their scores.
#[derive(Clone, Debug)]
pub struct Proposals {
    /// `[E, P, H, A]`
    pub actions: Tensor<4>,
    /// `[E, P]`
    pub scores: Tensor<2>,
}

/// What is to be scored.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// `[E, N, H, A]`
    pub actions: Tensor<4>,
    /// Mean of the distribution they were drawn from: `[E, H, A]`.
    pub mean: Tensor<3>,
}

/// What planning decided.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// First action, inside ±1: `[E, A]`.
    pub action: Tensor<2>,
    /// Mean of the final distribution: `[E, H, A]`.
    pub mean: Tensor<3>,
    /// Its standard deviation: `[E, H, A]`.
    pub std: Tensor<3>,
    /// Mean score of the last elites: `[E]`.
    pub elite_score: Tensor<1>,
    /// Share of the last elites that the policy proposed: `[E]`.
    pub policy_elites: Tensor<1>,
    /// Scores that were infinite or not a number, over all iterations: `[E]`. They are ranked last.
    pub bad_scores: Tensor<1>,
}

/// Plans for E environments at once by iterated sampling, scoring and refitting.
///
/// With `config.kind = mppi` this is TD-MPC v1's planner (Hansen et al. 2022, algorithm 1): elites weighted by
/// softmax(temperature·score), mean with momentum, std bounded below, one elite drawn by its weight. With `cem`
/// elites count equally and the mean is executed.
///
/// # Shapes
/// - `warm`: `[E, H, A]`, the mean to start from; `score`: maps candidates and the iteration to scores `[E, N]`.
pub fn plan(
    config: &PlannerConfig,
    min_std: f64,
    warm: Tensor<3>,
    proposals: Option<Proposals>,
    noise: &Noise,
    score: impl Fn(Candidates, usize) -> Tensor<2>,
) -> Outcome {
    let [environments, horizon, action_dim] = warm.dims();
    debug_assert_eq!(noise.horizon(), horizon);
    let max_std = config.init_std.max(min_std);
    let mut mean = warm;
    let mut std = Tensor::full(mean.dims(), max_std, &mean.device());
    let mut elites = None;
    let bad = |scores: &Tensor<2>| not_finite(scores.clone()).float().sum_dim(1).squeeze_dim::<1>(1);
    let mut bad_scores = match &proposals {
        Some(proposals) => bad(&proposals.scores),
        None => Tensor::zeros([environments], &mean.device()),
    };
    for iteration in 0..config.iterations {
        let spread = std.clone().unsqueeze_dim::<4>(1) * noise.samples(iteration);
        let mut candidates = (mean.clone().unsqueeze_dim::<4>(1) + spread).clamp(-1.0, 1.0);
        let mut scores = score(Candidates { actions: candidates.clone(), mean: mean.clone() }, iteration);
        bad_scores = bad_scores + bad(&scores);
        if let Some(p) = &proposals {
            candidates = Tensor::cat(vec![candidates, p.actions.clone()], 1);
            scores = Tensor::cat(vec![scores, p.scores.clone()], 1);
        }
        let best = Elites::select(config, candidates, scores);
        let (next_mean, next_std) = best.moments();
        mean = mean * config.momentum + next_mean * (1.0 - config.momentum);
        std = next_std.clamp(min_std, max_std);
        elites = Some(best);
    }
    let elites = elites.expect("at least one iteration, checked by the configuration");
    let first = |t: &Tensor<3>| t.clone().narrow(1, 0, 1).reshape([environments, action_dim]);
    let chosen = elites.choose(config, noise.gumbel(), || first(&mean));
    let action = match noise.exploration() {
        Some(noise) => chosen + first(&std) * noise,
        None => chosen,
    };
    Outcome {
        action: action.clamp(-1.0, 1.0),
        elite_score: elites.mean_score(),
        policy_elites: elites.share_from(config.num_samples),
        bad_scores,
        mean,
        std,
    }
}
