//! Iterated sampling, scoring and refitting of a Gaussian: both MPPI forms of TD-MPC, and the cross-entropy method.

use super::contest::Contest;
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
    let mut contest = Contest::new(config.prior_weight, proposals, &score);
    let mut last = None;
    for iteration in 0..config.iterations {
        let actions = sample(&mean, &std, noise.samples(iteration));
        let sampled = actions.dims()[1];
        let scores = score(Candidates::Planned { actions: actions.clone(), mean: mean.clone(), iteration });
        let all = contest.enter(Scored { actions, scores });
        let elites = Elites::select(config.num_elites, weighting, &all);
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
        bad_scores: contest.bad_scores(),
        mean,
        std,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, LinearSchedule, tests::tiny};
    use crate::device::cpu;
    use crate::planner::Mode;
    use crate::rng::{PolicyNoise, Stream};
    use crate::test_support::values;

    /// Recorded, in a problem of two environments: other planners change nothing here.
    #[test]
    fn mppi_and_cem_decide_as_before() {
        let known = [
            (
                PlannerKind::Mppi,
                [0.025935382, 0.3476623, 0.23576191, -0.24215405],
                [-0.42811593, -0.38540033],
            ),
            (PlannerKind::Cem, [-0.15387632, 0.3146829, 0.26538798, -0.22962105], [-0.39723334, -0.43692198]),
        ];
        let score = |candidates: Candidates| {
            let actions = candidates.actions();
            let [e, n, h, a] = actions.dims();
            -((actions - 0.3).square().reshape([e, n, h * a]).sum_dim(2).squeeze_dim::<2>(2))
        };
        for (kind, action, elite_score) in known {
            let config = PlannerConfig {
                kind,
                num_samples: 8,
                policy_fraction: 0.25,
                num_elites: 3,
                iterations: 2,
                temperature: 1.0,
                init_std: 1.0,
                min_std: LinearSchedule { start: 0.05, end: 0.05, decisions: 0 },
                ..tiny(DynamicsKind::Mlp).planner
            };
            let mut streams = [Stream::new(1, "noise"), Stream::new(2, "noise")];
            let noise = Noise::draw(
                &config,
                PolicyNoise::Clipped { std: 0.05 },
                3,
                2,
                Mode::Explore,
                &mut streams,
                &cpu(),
            );
            let proposals = noise.policy().map(|(steps, _)| steps);
            let outcome = plan(&config, 0.05, Tensor::zeros([2, 3, 2], &cpu()), proposals, &noise, score);
            let close = |found: Vec<f32>, known: &[f32]| {
                found.iter().zip(known).all(|(a, b)| (a - b).abs() < 1e-6) && found.len() == known.len()
            };
            assert!(close(values(outcome.action), &action), "{kind:?}");
            assert!(close(values(outcome.elite_score), &elite_score), "{kind:?}");
        }
    }
}
