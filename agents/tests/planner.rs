//! Planners against problems whose answers are known, and against bugs other planners had.

use burn::prelude::*;
use std::cell::RefCell;
use td_koopman_agents::config::{
    AgentConfig, DynamicsKind, GradConfig, IcemConfig, LinearSchedule, PlannerConfig, PlannerKind,
};
use td_koopman_agents::device::cpu;
use td_koopman_agents::planner::{Budget, Candidates, Mode, Noise, Outcome, Plan, Warm, plan};
use td_koopman_agents::rng::{PolicyNoise, Stream};

fn config(kind: PlannerKind) -> PlannerConfig {
    let constant = |end| LinearSchedule { start: end, end, decisions: 0 };
    PlannerConfig {
        kind,
        num_samples: 256,
        policy_fraction: 0.0,
        num_elites: 24,
        iterations: 15,
        temperature: 1.0,
        init_std: 1.0,
        horizon: constant(3.0),
        min_std: constant(0.01),
        icem: IcemConfig { noise_beta: 0.5, keep_fraction: 0.3, decay: 1.1 },
        grad: GradConfig { candidates: 4, steps: 60, step_size: 0.1 },
        ..AgentConfig::tiny(DynamicsKind::Mlp).planner
    }
}

const ALL: [PlannerKind; 7] = PlannerKind::ALL;
/// Those that refit a distribution, iteration by iteration.
const REFITTING: [PlannerKind; 4] =
    [PlannerKind::Mppi, PlannerKind::Mppi2, PlannerKind::Cem, PlannerKind::Icem];
/// Those that find an optimum to a few percent: not `random`, whose best of 256 is only good, and not `policy`, which
/// does not look.
const OPTIMISING: [PlannerKind; 5] =
    [PlannerKind::Mppi, PlannerKind::Mppi2, PlannerKind::Cem, PlannerKind::Icem, PlannerKind::Grad];

/// The outcome with a policy that stands still, but for its noise.
fn run(
    config: &PlannerConfig,
    (horizon, actions): (usize, usize),
    warm: &Plan,
    seed: u64,
    score: impl Fn(Tensor<4>) -> Tensor<2>,
) -> Outcome {
    run_on(config, (horizon, actions), warm, seed, &score, |a| differentiated(&score, a))
}

fn run_on(
    config: &PlannerConfig,
    (horizon, actions): (usize, usize),
    warm: &Plan,
    seed: u64,
    score: impl Fn(Tensor<4>) -> Tensor<2>,
    gradient: impl Fn(Tensor<4>) -> (Tensor<2>, Tensor<4>),
) -> Outcome {
    let mut stream = [Stream::new(seed, "noise")];
    let noise = Noise::draw(
        config,
        PolicyNoise::Clipped { std: 0.05 },
        horizon,
        actions,
        Mode::Exploit,
        &mut stream,
        &cpu(),
    );
    let warm = Warm::new(config, std::slice::from_ref(warm), horizon, actions, &cpu());
    let proposals = noise.policy().map(|(steps, _)| steps);
    plan(config, config.min_std.end, warm, proposals, &noise, |c| score(c.actions()), gradient)
}

/// Scores and their gradients by automatic differentiation.
fn differentiated(score: impl Fn(Tensor<4>) -> Tensor<2>, actions: Tensor<4>) -> (Tensor<2>, Tensor<4>) {
    let actions = Tensor::from_inner(actions).require_grad();
    let scores = score(actions.clone());
    let gradients = scores.clone().sum().backward();
    let gradient = actions.grad(&gradients).unwrap_or_else(|| actions.clone().inner().zeros_like());
    (scores.inner(), gradient)
}

/// Constant scores.
fn all(value: f32) -> impl Fn(Tensor<4>) -> Tensor<2> {
    move |actions| (actions * 0.0).mean_dim(3).mean_dim(2).squeeze_dim::<3>(3).squeeze_dim::<2>(2) + value
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &cpu())
}

fn numbers<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.try_into_vec_as().unwrap()
}

/// −Σ (a − a*)² over horizon and action: `[E, N, H, A]` → `[E, N]`.
fn quadratic(best: &[f32]) -> impl Fn(Tensor<4>) -> Tensor<2> + '_ {
    |actions| {
        let [e, n, h, a] = actions.dims();
        let data = TensorData::new(best.to_vec(), [1, 1, h, a]);
        let distance = (actions.clone() - Tensor::from_data(data, &actions.device())).square();
        -distance.reshape([e, n, h * a]).sum_dim(2).squeeze_dim(2)
    }
}

/// The very first action of every sequence: `[E, N, H, A]` → `[E, N]`.
fn first_action(actions: Tensor<4>) -> Tensor<2> {
    let [e, n, h, a] = actions.dims();
    actions.reshape([e, n, h * a]).narrow(2, 0, 1).squeeze_dim(2)
}

/// Where only extreme actions matter, the best of hundreds of nearly equal scores was an action far from a policy that stood
/// still: on InvertedPendulum the plan shook a pole that the policy held. The prior keeps it, and still yields to a real gain.
#[test]
fn a_prior_keeps_to_the_policy_unless_there_is_something_to_gain() {
    let flat = |actions: Tensor<4>| {
        let first = first_action(actions);
        let cliff = first.clone().abs().greater_elem(0.9).float() * -10.0;
        (first * 1000.0).sin() * 0.01 + cliff
    };
    let wanted = [0.5, -0.7, 0.1];
    for kind in REFITTING {
        let planned = |prior_weight, score: &dyn Fn(Tensor<4>) -> Tensor<2>| -> Vec<f32> {
            let config = PlannerConfig { prior_weight, policy_fraction: 0.05, iterations: 6, ..config(kind) };
            let action = |seed| numbers(run(&config, (3, 1), &Plan::cold(), seed, score).action)[0].abs();
            (0..10).map(action).collect()
        };
        let mean = |x: Vec<f32>| x.iter().sum::<f32>() / x.len() as f32;
        let [free, kept] = [0.0, 0.1].map(|weight| mean(planned(weight, &flat)));
        assert!(kept < 0.05 && free > 4.0 * kept, "{kind:?}: {free} without a prior, {kept} with one");
        assert!((mean(planned(0.1, &quadratic(&wanted))) - 0.5).abs() < 0.1, "{kind:?} gains nothing");
    }
}

#[test]
fn the_optimum_of_a_quadratic_is_found() {
    let optimum = [0.5, -0.7, 0.1, 0.9, -0.2, 0.0];
    for kind in OPTIMISING {
        let outcome = run(&config(kind), (3, 2), &Plan::cold(), 1, quadratic(&optimum));
        for (found, known) in numbers(outcome.mean).iter().zip(&optimum) {
            assert!((found - known).abs() < 0.03, "{kind:?}: {found} instead of {known}");
        }
        let action = numbers(outcome.action);
        assert!((action[0] - 0.5).abs() < 0.1 && (action[1] + 0.7).abs() < 0.1);
    }
    // one of 4000 sequences lies near an optimum in two dimensions
    let config = PlannerConfig { num_samples: 4000, ..config(PlannerKind::Random) };
    let found = numbers(run(&config, (1, 2), &Plan::cold(), 1, quadratic(&optimum[..2])).action);
    assert!((found[0] - 0.5).abs() < 0.1 && (found[1] + 0.7).abs() < 0.1, "{found:?}");
}

/// x' = 0.9x + 0.5u, |u| ≤ 1, with cost Σ x² + 0.1u², x_0 = 1: the best open loop by exact minimisation.
#[test]
fn a_linear_system_is_steered_as_well_as_by_exact_minimisation() {
    const H: usize = 5;
    let cost = |u: &[f64]| {
        let mut x = 1.0f64;
        u.iter()
            .map(|u| {
                x = 0.9 * x + 0.5 * u;
                x * x + 0.1 * u * u
            })
            .sum::<f64>()
    };
    // coordinate descent on a strictly convex quadratic in a box converges to its minimum
    let mut u = [0.0; H];
    for _ in 0..500 {
        for k in 0..H {
            let at = |d: f64| {
                let mut v = u;
                v[k] += d;
                cost(&v)
            };
            let (c, left, right) = (at(0.0), at(-1e-3), at(1e-3));
            u[k] = (u[k] - 1e-3 * (right - left) / (2.0 * (right - 2.0 * c + left))).clamp(-1.0, 1.0);
        }
    }
    let score = |actions: Tensor<4>| {
        let [e, n, ..] = actions.dims();
        let mut x = Tensor::<2>::ones([e, n], &actions.device());
        let mut cost = x.zeros_like();
        for t in 0..H {
            let u = actions.clone().narrow(2, t, 1).reshape([e, n]);
            x = x * 0.9 + u.clone() * 0.5;
            cost = cost + x.clone().square() + u.square() * 0.1;
        }
        -cost
    };
    for kind in OPTIMISING {
        let config = PlannerConfig { temperature: 10.0, ..config(kind) };
        let mean = numbers(run(&config, (H, 1), &Plan::cold(), 2, score).mean);
        let found = cost(&mean.iter().map(|&x| x as f64).collect::<Vec<_>>());
        assert!(found < 1.01 * cost(&u), "{kind:?}: cost {found} instead of {}", cost(&u));
    }
}

/// Not with `grad`, for which a bandit has no slope, nor with `policy`.
#[test]
fn the_paying_arm_of_a_bandit_is_found() {
    for kind in REFITTING.into_iter().chain([PlannerKind::Random]) {
        let score = |actions| first_action(actions).greater_elem(0.8).float();
        let outcome = run_on(&config(kind), (1, 1), &Plan::cold(), 3, score, |_| unreachable!());
        assert!(numbers(outcome.action)[0] > 0.8, "{kind:?}");
    }
}

/// mbrl-lib, tdmpc, tdmpc2, lerobot: NaN scores were replaced by about 0, the best score when returns are negative.
#[test]
fn a_candidate_without_a_finite_score_is_never_an_elite_and_is_counted() {
    for kind in ALL {
        let config = config(kind);
        let budget = Budget::new(&config);
        let every = budget.scores() + budget.gradients;
        for bad in [f32::NAN, f32::INFINITY] {
            let score = |actions: Tensor<4>| {
                let first = first_action(actions);
                (first.clone() - 5.0).mask_fill(first.greater_elem(0.0), bad)
            };
            let outcome = run(&config, (2, 1), &Plan::cold(), 4, score);
            assert!(numbers(outcome.mean)[0] <= 0.0 && numbers(outcome.elite_score)[0] < 0.0, "{kind:?}");
            let counted = numbers(outcome.bad_scores)[0];
            // the policy stands still: of its one sequence nothing is bad
            let least = if kind == PlannerKind::Policy { 0.0 } else { 1.0 };
            let most = every as f32;
            assert!((least..most).contains(&counted) && counted.fract() == 0.0, "{kind:?} {counted}");
            let hopeless = run(&config, (2, 1), &Plan::cold(), 4, all(bad));
            assert!(numbers(hopeless.action).iter().chain(&numbers(hopeless.mean)).all(|x| x.is_finite()));
            assert_eq!(numbers(hopeless.bad_scores), [every as f32], "{kind:?}");
        }
    }
}

/// With fewer finite scores than elites the rest must weigh nothing; CEM once averaged over them.
#[test]
fn elites_without_a_finite_score_weigh_nothing() {
    for kind in REFITTING {
        let config = PlannerConfig { iterations: 1, momentum: 0.0, ..config(kind) };
        let score = |actions| {
            let first = first_action(actions);
            let bar = first.clone().topk(3, 1).narrow(1, 2, 1);
            first.clone().zeros_like().mask_fill(first.lower(bar), f32::NAN)
        };
        // three of 256 are finite, and they are the largest: nearly 1 in a box of ±1
        let mean = numbers(run(&config, (1, 1), &Plan::cold(), 4, score).mean)[0];
        assert!(config.num_elites > 3 && mean > 0.95, "{kind:?}: {mean}");
    }
}

/// torchrl's MPPI subtracted no maximum: large returns overflowed.
#[test]
fn huge_returns_give_a_finite_plan() {
    for scale in [1e4, 1e20, -1e4] {
        for kind in ALL {
            let score = |a| quadratic(&[0.3, 0.3])(a) * 10.0 + scale;
            let outcome = run(&config(kind), (2, 1), &Plan::cold(), 5, score);
            assert!(numbers(outcome.mean).iter().chain(&numbers(outcome.std)).all(|x| x.is_finite()));
            assert!(numbers(outcome.action).iter().all(|x| x.abs() <= 1.0), "{kind:?}");
        }
    }
}

/// Everything random is in the noise; `policy` has none when exploiting.
#[test]
fn the_seed_of_the_noise_decides_everything() {
    for kind in ALL {
        let config = PlannerConfig { iterations: 2, ..config(kind) };
        let config = PlannerConfig { grad: GradConfig { steps: 1, ..config.grad }, ..config };
        let mean = |seed| numbers(run(&config, (3, 1), &Plan::cold(), seed, quadratic(&[0.4; 3])).mean);
        assert_eq!(mean(1), mean(1), "{kind:?}");
        assert_eq!(mean(1) == mean(2), kind == PlannerKind::Policy, "{kind:?}");
    }
}

/// mbrl-lib's MPPI overwrote its scaled noise: σ had no effect.
#[test]
fn doubling_the_standard_deviation_doubles_the_spread_of_samples() {
    for kind in REFITTING {
        let spread = |init_std| {
            let config = PlannerConfig { init_std, iterations: 1, num_samples: 4000, ..config(kind) };
            let seen = RefCell::new(Vec::new());
            run(&config, (1, 1), &Plan::cold(), 6, |actions| {
                seen.replace(numbers(actions.clone()));
                all(0.0)(actions)
            });
            let seen = seen.into_inner();
            (seen.iter().map(|x| x * x).sum::<f32>() / seen.len() as f32).sqrt()
        };
        let (narrow, wide) = (spread(0.1), spread(0.2));
        assert!((narrow / 0.1 - 1.0).abs() < 0.05 && (wide / narrow - 2.0).abs() < 0.05, "{narrow} {wide}");
    }
}

/// mbrl-lib's MPPI ignored its start and kept its mean across episodes: a cold plan must not know the last one, and
/// a warm one must. `random` and `policy` have no use for it.
#[test]
fn warm_starts_matter_and_cold_ones_forget() {
    for kind in OPTIMISING {
        let config = PlannerConfig { iterations: 1, init_std: 0.1, ..config(kind) };
        let config = PlannerConfig { grad: GradConfig { steps: 1, ..config.grad }, ..config };
        // nearly flat: it is the start that decides, but the gradient sees uphill
        let slope = |actions| first_action(actions) * 1e-3;
        let warm = Plan::new(vec![9.0, 0.8, 0.8, 0.8]);
        let means = |plan: &Plan| numbers(run(&config, (3, 1), plan, 7, slope).mean);
        assert!(means(&warm)[0] > 0.6, "{kind:?}: the shifted warm start is the centre of the samples");
        assert!(means(&Plan::cold())[0].abs() < 0.3, "{kind:?}");
        assert_eq!(means(&Plan::cold()), means(&Plan::cold()));
    }
}

/// mujoco_mpc#314: a planner whose nominal plan was never updated. Scores must improve over iterations, and over the
/// steps of a gradient.
#[test]
fn iterations_improve_the_plan() {
    let best = [0.9, -0.9, 0.9, -0.9];
    for kind in OPTIMISING {
        let score_of = |iterations| {
            let config = PlannerConfig { iterations, ..config(kind) };
            let config = PlannerConfig { grad: GradConfig { steps: iterations, ..config.grad }, ..config };
            let mean = run(&config, (4, 1), &Plan::cold(), 8, quadratic(&best)).mean;
            numbers(quadratic(&best)(mean.unsqueeze_dim(1)))[0]
        };
        assert!(score_of(6) > score_of(1) + 0.1, "{kind:?}");
    }
}

#[test]
fn good_proposals_of_the_policy_become_elites() {
    let optimum = [0.95, -0.95, 0.95];
    // TD-MPC keeps a tenth of the old mean; TD-MPC2 has no momentum
    for (kind, share) in [(PlannerKind::Mppi, 0.9), (PlannerKind::Mppi2, 1.0), (PlannerKind::Icem, 0.9)] {
        let config = PlannerConfig { policy_fraction: 0.1, iterations: 1, ..config(kind) };
        let noise = Noise::draw(
            &config,
            PolicyNoise::Clipped { std: 0.05 },
            3,
            1,
            Mode::Exploit,
            &mut [Stream::new(9, "noise")],
            &cpu(),
        );
        let proposals = tensor(optimum.to_vec(), [1, 1, 3, 1]).repeat_dim(1, 25);
        let warm = Warm::new(&config, &[Plan::cold()], 3, 1, &cpu());
        let sampled = RefCell::new(0);
        let score = |candidates: Candidates| {
            if let Candidates::Planned { actions, .. } = &candidates {
                sampled.replace(actions.dims()[1]);
            }
            quadratic(&optimum)(candidates.actions())
        };
        let outcome = plan(&config, 0.01, warm, Some(proposals), &noise, score, |_| unreachable!());
        assert_eq!(numbers(outcome.policy_elites), [1.0], "{kind:?}");
        assert!((numbers(outcome.mean)[0] - share * 0.95).abs() < 1e-3, "{kind:?}");
        assert!(kind != PlannerKind::Mppi2 || sampled.take() == 256 - 25, "the policy's are among the N");
    }
}

#[test]
fn the_standard_deviation_never_leaves_its_bounds_and_exploration_uses_it() {
    for kind in REFITTING {
        let config = PlannerConfig { iterations: 20, ..config(kind) };
        let score = |actions| quadratic(&[0.0])(actions) * 1e4;
        let outcome = run(&config, (1, 1), &Plan::cold(), 10, score);
        assert!((numbers(outcome.std)[0] - 0.01).abs() < 1e-6, "{kind:?}: collapsed to the floor, not below");
    }
    // where there is no distribution, the floor is the noise
    for kind in [PlannerKind::Mppi, PlannerKind::Icem, PlannerKind::Grad, PlannerKind::Random] {
        let config = PlannerConfig { iterations: 20, ..config(kind) };
        let score = |actions| quadratic(&[0.0])(actions) * 1e4;
        let action = |seed| {
            let mut stream = [Stream::new(seed, "noise")];
            let noise = Noise::draw(
                &config,
                PolicyNoise::Clipped { std: 0.05 },
                1,
                1,
                Mode::Explore,
                &mut stream,
                &cpu(),
            );
            let proposals = noise.policy().map(|(steps, _)| steps);
            let warm = Warm::new(&config, &[Plan::cold()], 1, 1, &cpu());
            let gradient = |actions| differentiated(score, actions);
            plan(&config, 0.3, warm, proposals, &noise, |c| score(c.actions()), gradient).action
        };
        let actions: Vec<f32> = (0..200).flat_map(|seed| numbers(action(seed))).collect();
        let sd = (actions.iter().map(|x| x * x).sum::<f32>() / 200.0).sqrt();
        assert!((0.24..0.36).contains(&sd), "{kind:?} explores with the floor of 0.3: {sd}");
    }
}

mod icem {
    use super::*;

    /// What is scored in each iteration.
    fn seen(config: &PlannerConfig, warm: &Plan) -> (Vec<Tensor<4>>, Outcome) {
        let seen = RefCell::new(Vec::new());
        let outcome = run(config, (2, 1), warm, 11, |actions| {
            seen.borrow_mut().push(actions.clone());
            quadratic(&[0.6, 0.6])(actions)
        });
        (seen.into_inner(), outcome)
    }

    fn config() -> PlannerConfig {
        let icem = IcemConfig { noise_beta: 1.0, keep_fraction: 0.5, decay: 2.0 };
        PlannerConfig {
            iterations: 3,
            num_samples: 64,
            num_elites: 8,
            icem,
            ..super::config(PlannerKind::Icem)
        }
    }

    #[test]
    fn the_population_shrinks_and_elites_and_the_mean_come_back() {
        let (seen, outcome) = seen(&config(), &Plan::cold());
        assert_eq!(seen.iter().map(|a| a.dims()[1]).collect::<Vec<_>>(), [64 + 4, 32 + 4, 16 + 4 + 1]);
        let best = |actions: &Tensor<4>| numbers(quadratic(&[0.6, 0.6])(actions.clone()).max())[0];
        assert!(best(&seen[1]) >= best(&seen[0]) && best(&seen[2]) >= best(&seen[1]), "the best stay");
        // what is executed is the best of all, not the mean
        let kept = numbers(outcome.kept.unwrap());
        assert_eq!(numbers(outcome.action)[0], kept[0]);
        assert_eq!(kept.len(), 4 * 2);
        assert_ne!(numbers(outcome.mean)[0], kept[0]);
    }

    #[test]
    fn elites_of_the_last_decision_are_candidates_of_the_next() {
        let warm = Plan::new(vec![0.0; 2]).with_elites(vec![0.0, 0.11, 0.0, 0.22, 0.0, 0.33, 0.0, 0.44]);
        let (warm, _) = seen(&config(), &warm);
        let (cold, _) = seen(&config(), &Plan::cold());
        let last = |actions: &Tensor<4>| numbers(actions.clone().narrow(1, 64, 4));
        assert_eq!(last(&warm[0]), [0.11, 0.0, 0.22, 0.0, 0.33, 0.0, 0.44, 0.0]);
        // without them it samples as many more
        assert!(last(&cold[0]).iter().all(|x| *x != 0.0 && x.abs() <= 1.0));
        let others = |actions: &Tensor<4>| numbers(actions.clone().narrow(1, 0, 64));
        assert_eq!(others(&warm[0]), others(&cold[0]));
    }

    #[test]
    fn nothing_is_kept_if_nothing_shall_be() {
        let config = PlannerConfig { icem: IcemConfig { keep_fraction: 0.0, ..config().icem }, ..config() };
        let (seen, outcome) = seen(&config, &Plan::cold());
        assert_eq!(seen.iter().map(|a| a.dims()[1]).collect::<Vec<_>>(), [64, 32, 17]);
        assert!(outcome.kept.is_none());
    }
}

mod grad {
    use super::*;

    /// A gradient that is not a number moves nothing: the candidate stays, and others go on.
    #[test]
    fn a_candidate_without_a_gradient_stays_and_the_others_climb() {
        let config = PlannerConfig {
            grad: GradConfig { candidates: 1, steps: 40, step_size: 0.1 },
            ..config(PlannerKind::Grad)
        };
        let best = [0.5, -0.5];
        let outcome = |broken: usize| {
            let seen = RefCell::new(Vec::new());
            let gradient = |actions: Tensor<4>| {
                seen.borrow_mut().push(numbers(actions.clone().narrow(1, broken, 1)));
                let (scores, slope) = differentiated(quadratic(&best), actions);
                let bad = slope.clone().narrow(1, broken, 1).narrow(2, 0, 1).mul_scalar(f32::NAN);
                (scores, slope.slice_assign([0..1, broken..broken + 1, 0..1, 0..1], bad))
            };
            let outcome = run_on(&config, (2, 1), &Plan::cold(), 12, quadratic(&best), gradient);
            let seen = seen.into_inner();
            assert!(seen.iter().all(|actions| *actions == seen[0]), "candidate {broken} moved");
            outcome
        };
        for (broken, policy) in [(0, 0.0), (1, 1.0)] {
            let outcome = outcome(broken);
            assert_eq!(numbers(outcome.policy_elites), [policy]);
            assert!(numbers(outcome.mean).iter().zip(best).all(|(a, b)| (a - b).abs() < 0.01));
        }
    }

    /// Steps far too long end in the corners, which score worse than the start: the start is kept.
    #[test]
    fn a_step_too_long_takes_nothing_away() {
        let config = PlannerConfig {
            grad: GradConfig { candidates: 1, steps: 3, step_size: 100.0 },
            ..config(PlannerKind::Grad)
        };
        let outcome = run(&config, (2, 1), &Plan::new(vec![9.0, 0.2, 0.2]), 13, quadratic(&[0.21, 0.0]));
        assert_eq!(numbers(outcome.action), [0.2]);
        assert!(numbers(outcome.mean).iter().all(|x| x.abs() <= 1.0));
    }
}
