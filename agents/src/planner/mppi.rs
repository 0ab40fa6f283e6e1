//! Iterated sampling, scoring and refitting of a Gaussian: both MPPI forms of TD-MPC, and the cross-entropy method.

use super::refit::{Elites, Scored, Weighting};
use super::{Candidates, Noise, Outcome, execute, first, sample};
use crate::config::{PlannerConfig, PlannerKind};
use burn::prelude::*;

/// With `config.kind = mppi` this is TD-MPC v1's planner (Hansen et al. 2022, algorithm 1): elites weighted by
/// softmax(temperature·score), mean with momentum, std bounded below, one elite drawn by its weight. `mppi2` is
/// TD-MPC2's (arXiv 2310.16828, appendix, and its published code): the policy's sequences are among the N candidates
/// and the mean has no momentum. With `cem` elites count equally and the mean is executed.
pub(super) fn plan(
    config: &PlannerConfig,
    min_std: f64,
    warm: Tensor<3>,
    proposals: Option<Tensor<4>>,
    noise: &Noise,
    score: impl Fn(Candidates) -> Tensor<2>,
) -> Outcome {
    let weighting = match config.kind {
        PlannerKind::Cem => Weighting::Equal,
        _ => Weighting::Softmax { temperature: config.temperature },
    };
    let max_std = config.init_std.max(min_std);
    let mut mean = warm;
    let mut std = Tensor::full(mean.dims(), max_std, &mean.device());
    let proposals =
        proposals.map(|actions| Scored { scores: score(Candidates::Proposed(actions.clone())), actions });
    let mut bad_scores = match &proposals {
        Some(proposals) => proposals.bad(),
        None => Tensor::zeros([mean.dims()[0]], &mean.device()),
    };
    let mut last = None;
    for iteration in 0..config.iterations {
        let actions = sample(&mean, &std, noise.samples(iteration));
        let sampled = actions.dims()[1];
        let scores = score(Candidates::Planned { actions: actions.clone(), mean: mean.clone(), iteration });
        let candidates = Scored { actions, scores };
        bad_scores = bad_scores + candidates.bad();
        let elites = Elites::select(config.num_elites, weighting, candidates.followed_by(proposals.as_ref()));
        let (next_mean, next_std) = elites.moments();
        mean = match config.kind {
            PlannerKind::Mppi2 => next_mean,
            _ => mean * config.momentum + next_mean * (1.0 - config.momentum),
        };
        std = next_std.clamp(min_std, max_std);
        last = Some((elites, sampled));
    }
    let (elites, sampled) = last.expect("at least one iteration, checked by the configuration");
    let chosen = match config.kind {
        PlannerKind::Cem => first(&mean),
        _ => elites.draw(noise.gumbel()),
    };
    Outcome {
        action: execute(chosen, &std, noise),
        kept: None,
        elite_score: elites.mean_score(),
        policy_elites: elites.share_from(sampled),
        bad_scores,
        mean,
        std,
    }
}
