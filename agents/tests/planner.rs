//! Planners against problems whose answers are known, and against bugs other planners had.

use burn::prelude::*;
use std::cell::RefCell;
use td_koopman_agents::config::{LinearSchedule, PlannerConfig, PlannerKind};
use td_koopman_agents::device::cpu;
use td_koopman_agents::planner::{Mode, Noise, Outcome, Plan, Proposals, plan};
use td_koopman_agents::rng::Stream;

fn config(kind: PlannerKind) -> PlannerConfig {
    let constant = |end| LinearSchedule { start: end, end, decisions: 0 };
    PlannerConfig {
        kind,
        num_samples: 256,
        policy_fraction: 0.0,
        num_elites: 24,
        iterations: 15,
        temperature: 1.0,
        momentum: 0.1,
        init_std: 1.0,
        horizon: constant(3.0),
        min_std: constant(0.01),
    }
}

const BOTH: [PlannerKind; 2] = [PlannerKind::Mppi, PlannerKind::Cem];

fn run(
    config: &PlannerConfig,
    (horizon, actions): (usize, usize),
    warm: &Plan,
    seed: u64,
    score: impl Fn(Tensor<4>, usize) -> Tensor<2>,
) -> Outcome {
    let mut stream = [Stream::new(seed, "noise")];
    let noise = Noise::draw(config, 0.05, horizon, actions, Mode::Exploit, &mut stream, &cpu());
    let warm = tensor(warm.shifted(horizon, actions), [1, horizon, actions]);
    plan(config, config.min_std.end, warm, None, &noise, |candidates, i| score(candidates.actions, i))
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &cpu())
}

fn numbers<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.try_into_vec_as().unwrap()
}

/// −Σ (a − a*)² over horizon and action: `[E, N, H, A]` → `[E, N]`.
fn quadratic(best: &Tensor<4>) -> impl Fn(Tensor<4>, usize) -> Tensor<2> + '_ {
    |actions, _| {
        let [e, n, h, a] = actions.dims();
        let distance = (actions - best.clone()).square().reshape([e, n, h * a]);
        -distance.sum_dim(2).squeeze_dim(2)
    }
}

#[test]
fn the_optimum_of_a_quadratic_is_found() {
    let optimum = vec![0.5, -0.7, 0.1, 0.9, -0.2, 0.0];
    let best = tensor(optimum.clone(), [1, 1, 3, 2]);
    for kind in BOTH {
        let outcome = run(&config(kind), (3, 2), &Plan::cold(), 1, quadratic(&best));
        for (found, known) in numbers(outcome.mean).iter().zip(&optimum) {
            assert!((found - known).abs() < 0.03, "{kind:?}: {found} instead of {known}");
        }
        let action = numbers(outcome.action);
        assert!((action[0] - 0.5).abs() < 0.1 && (action[1] + 0.7).abs() < 0.1);
    }
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
    let score = |actions: Tensor<4>, _| {
        let n = actions.dims()[1];
        let values = numbers(actions);
        let of = |c: &[f32]| -cost(&c.iter().map(|&x| x as f64).collect::<Vec<_>>()) as f32;
        tensor(values.chunks_exact(H).map(of).collect(), [1, n])
    };
    for kind in BOTH {
        let config = PlannerConfig { temperature: 10.0, ..config(kind) };
        let mean = numbers(run(&config, (H, 1), &Plan::cold(), 2, score).mean);
        let found = cost(&mean.iter().map(|&x| x as f64).collect::<Vec<_>>());
        assert!(found < 1.01 * cost(&u), "{kind:?}: cost {found} instead of {}", cost(&u));
    }
}

#[test]
fn the_paying_arm_of_a_bandit_is_found() {
    let score = |actions: Tensor<4>, _| {
        let [e, n, ..] = actions.dims();
        actions.greater_elem(0.8).float().reshape([e, n])
    };
    for kind in BOTH {
        let outcome = run(&config(kind), (1, 1), &Plan::cold(), 3, score);
        assert!(numbers(outcome.action)[0] > 0.8, "{kind:?}");
    }
}

/// mbrl-lib, tdmpc, tdmpc2, lerobot: NaN scores were replaced by about 0, the best score when returns are negative.
#[test]
fn a_candidate_without_a_finite_score_is_never_an_elite_and_is_counted() {
    let score = |actions: Tensor<4>, _, bad: f32| {
        let [e, n, h, a] = actions.dims();
        let first = actions.reshape([e, n, h * a]).narrow(2, 0, 1).squeeze_dim::<2>(2);
        (first.clone() - 5.0).mask_fill(first.greater_elem(0.0), bad)
    };
    for kind in BOTH {
        for bad in [f32::NAN, f32::INFINITY] {
            let outcome = run(&config(kind), (2, 1), &Plan::cold(), 4, |a, i| score(a, i, bad));
            assert!(numbers(outcome.mean)[0] <= 0.0 && numbers(outcome.elite_score)[0] < 0.0, "{kind:?}");
            let counted = numbers(outcome.bad_scores)[0];
            assert!((1.0..256.0 * 15.0).contains(&counted) && counted.fract() == 0.0, "{counted}");
            let hopeless = run(&config(kind), (2, 1), &Plan::cold(), 4, |a, _| {
                Tensor::full([1, a.dims()[1]], bad, &cpu())
            });
            assert!(numbers(hopeless.action).iter().chain(&numbers(hopeless.mean)).all(|x| x.is_finite()));
            assert_eq!(numbers(hopeless.bad_scores), [256.0 * 15.0]);
        }
    }
}

/// With fewer finite scores than elites the rest must weigh nothing; CEM once averaged over them.
#[test]
fn elites_without_a_finite_score_weigh_nothing() {
    for kind in BOTH {
        let config = PlannerConfig { iterations: 1, momentum: 0.0, ..config(kind) };
        let score = |actions: Tensor<4>, _| {
            let [e, n, h, a] = actions.dims();
            let first = actions.reshape([e, n, h * a]).narrow(2, 0, 1).squeeze_dim::<2>(2);
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
    let best = tensor(vec![0.3; 2], [1, 1, 2, 1]);
    for scale in [1e4, 1e20, -1e4] {
        for kind in BOTH {
            let score = |a: Tensor<4>, i| quadratic(&best)(a, i) * 10.0 + scale;
            let outcome = run(&config(kind), (2, 1), &Plan::cold(), 5, score);
            assert!(numbers(outcome.mean).iter().chain(&numbers(outcome.std)).all(|x| x.is_finite()));
        }
    }
}

/// mbrl-lib's MPPI overwrote its scaled noise: σ had no effect.
#[test]
fn doubling_the_standard_deviation_doubles_the_spread_of_samples() {
    let spread = |init_std| {
        let config =
            PlannerConfig { init_std, iterations: 1, num_samples: 4000, ..config(PlannerKind::Mppi) };
        let seen = RefCell::new(Vec::new());
        run(&config, (1, 1), &Plan::cold(), 6, |actions, _| {
            seen.replace(numbers(actions.clone()));
            Tensor::zeros([1, actions.dims()[1]], &cpu())
        });
        let seen = seen.into_inner();
        (seen.iter().map(|x| x * x).sum::<f32>() / seen.len() as f32).sqrt()
    };
    let (narrow, wide) = (spread(0.1), spread(0.2));
    assert!((narrow / 0.1 - 1.0).abs() < 0.05 && (wide / narrow - 2.0).abs() < 0.05, "{narrow} {wide}");
}

/// mbrl-lib's MPPI ignored its start and kept its mean across episodes: a cold plan must not know the last one, and
/// a warm one must.
#[test]
fn warm_starts_matter_and_cold_ones_forget() {
    let config = PlannerConfig { iterations: 1, init_std: 0.1, ..config(PlannerKind::Cem) };
    let flat = |a: Tensor<4>, _| Tensor::zeros([1, a.dims()[1]], &cpu());
    let warm = Plan::new(vec![9.0, 0.8, 0.8, 0.8]);
    let means = |plan: &Plan| numbers(run(&config, (3, 1), plan, 7, flat).mean);
    assert!(means(&warm)[0] > 0.6, "the warm start shifted by one decision is the centre of the samples");
    assert!(means(&Plan::cold())[0].abs() < 0.1);
    assert_eq!(means(&Plan::cold()), means(&Plan::cold()));
}

/// mujoco_mpc#314: a planner whose nominal plan was never updated. Scores must improve over iterations.
#[test]
fn iterations_improve_the_plan() {
    let best = tensor(vec![0.9, -0.9, 0.9, -0.9], [1, 1, 4, 1]);
    for kind in BOTH {
        let score_of = |iterations| {
            let config = PlannerConfig { iterations, ..config(kind) };
            let mean = run(&config, (4, 1), &Plan::cold(), 8, quadratic(&best)).mean;
            numbers(quadratic(&best)(mean.unsqueeze_dim(1), 0))[0]
        };
        assert!(score_of(6) > score_of(1) + 0.1, "{kind:?}");
    }
}

#[test]
fn good_proposals_of_the_policy_become_elites() {
    let optimum = tensor(vec![0.95, -0.95, 0.95], [1, 1, 3, 1]);
    let config = PlannerConfig { policy_fraction: 0.1, iterations: 1, ..config(PlannerKind::Mppi) };
    let mut stream = [Stream::new(9, "noise")];
    let noise = Noise::draw(&config, 0.05, 3, 1, Mode::Exploit, &mut stream, &cpu());
    let proposals = optimum.clone().repeat_dim(1, 25);
    let score = quadratic(&optimum);
    let scores = score(proposals.clone(), 0);
    let proposals = Proposals { actions: proposals, scores };
    let outcome = plan(&config, 0.01, Tensor::zeros([1, 3, 1], &cpu()), Some(proposals), &noise, |c, i| {
        score(c.actions, i)
    });
    assert_eq!(numbers(outcome.policy_elites), [1.0]);
    assert!((numbers(outcome.mean)[0] - 0.9 * 0.95).abs() < 1e-3, "momentum keeps a tenth of the old mean");
}

#[test]
fn the_standard_deviation_never_leaves_its_bounds_and_exploration_uses_it() {
    let best = tensor(vec![0.0], [1, 1, 1, 1]);
    let config = PlannerConfig { iterations: 20, ..config(PlannerKind::Mppi) };
    let outcome = run(&config, (1, 1), &Plan::cold(), 10, |a, i| quadratic(&best)(a, i) * 1e4);
    assert!((numbers(outcome.std)[0] - 0.01).abs() < 1e-6, "collapsed to the floor, not below");
    let actions: Vec<f32> = (0..200)
        .flat_map(|seed| {
            let mut stream = [Stream::new(seed, "noise")];
            let noise = Noise::draw(&config, 0.05, 1, 1, Mode::Explore, &mut stream, &cpu());
            let warm = Tensor::zeros([1, 1, 1], &cpu());
            numbers(
                plan(&config, 0.3, warm, None, &noise, |c, i| quadratic(&best)(c.actions, i) * 1e4).action,
            )
        })
        .collect();
    let sd = (actions.iter().map(|x| x * x).sum::<f32>() / 200.0).sqrt();
    assert!((0.24..0.36).contains(&sd), "explores with the floor of 0.3: {sd}");
}
