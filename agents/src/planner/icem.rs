//! The improved cross-entropy method (Pinneri et al. 2020, arXiv 2008.06389, algorithm 1).

use super::contest::Contest;
use super::refit::{Elites, Scored, Weighting};
use super::{Candidates, Noise, Outcome, Warm, execute, first, sample};
use crate::config::PlannerConfig;
use burn::prelude::*;

/// The cross-entropy method with coloured noise, a population that shrinks over the iterations, elites kept across
/// iterations and, shifted, across decisions, and the mean as a candidate in the end. Acts on the best elite.
///
/// As the paper has it, but for three things that all our planners share: the policy may propose sequences, the standard
/// deviation stays within its bounds, and shifted sequences end with zeros, not with random actions.
pub(super) fn plan(
    config: &PlannerConfig,
    min_std: f64,
    warm: Warm,
    proposals: Option<Tensor<4>>,
    noise: &Noise,
    score: impl Fn(Candidates) -> Tensor<2>,
) -> Outcome {
    let (kept, max_std, momentum) = (config.kept_elites(), config.init_std.max(min_std), config.momentum);
    let mut mean = warm.mean.clone();
    let mut std = Tensor::full(mean.dims(), max_std, &mean.device());
    let mut contest = Contest::new(config.prior_weight, proposals, &score);
    let mut last: Option<(Elites, usize)> = None;
    for iteration in 0..config.iterations {
        let samples = sample(&mean, &std, noise.samples(iteration));
        let mut parts = match &last {
            None => vec![warm.write_elites(samples)],
            Some((elites, _)) => [samples].into_iter().chain(elites.top(kept)).collect(),
        };
        if iteration + 1 == config.iterations {
            parts.push(mean.clone().unsqueeze_dim(1));
        }
        let actions = Tensor::cat(parts, 1);
        let planned = actions.dims()[1];
        let scores = score(Candidates::Planned { actions: actions.clone(), mean: mean.clone(), iteration });
        let all = contest.enter(Scored { actions, scores });
        let elites = Elites::select(config.num_elites, Weighting::Equal, &all);
        let (next_mean, next_std) = elites.moments();
        mean = mean * momentum + next_mean * (1.0 - momentum);
        std = (std * momentum + next_std * (1.0 - momentum)).clamp(min_std, max_std);
        last = Some((elites, planned));
    }
    let (elites, planned) = last.expect("at least one iteration, checked by the configuration");
    Outcome {
        action: execute(first(&elites.best()), &std, noise),
        kept: elites.top(kept),
        elite_score: elites.mean_score(),
        policy_elites: elites.share_from(planned),
        bad_scores: contest.bad_scores(),
        mean,
        std,
    }
}
