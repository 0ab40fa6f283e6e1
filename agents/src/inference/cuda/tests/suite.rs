//! Plans like those of the suite of devices (`tests/suite/plans.rs`), to its tolerances, as an H200 would cut them and as its tensor cores
//! would cut their factors.

use super::published::H200;
use super::*;

fn agree_as_there(name: &str, edit: forms::Edit, precision: Precision, tolerance: f32) {
    let mut config = config(DynamicsKind::Koopman);
    config.model.hidden_dim = 48;
    config.model.koopman.eigenvalues.form = EigenvalueForm::Zoh;
    (config.planner.num_samples, config.planner.num_elites, config.planner.iterations) = (300, 30, 1);
    edit(&mut config);
    for (environments, horizon) in [(1, 1), (1, 5), (3, 3)] {
        let task = Task { observation: 5, action: 2, environments, horizon };
        let plan = |parts: &Parts, question: Question<'_>| {
            let layout = Layout::new(parts, precision).expect("they have room");
            let mut compiled = HashMap::new();
            plan_on_host(&layout, Blocks::Suited, H200, question, |tiles| {
                *compiled.entry(tiles).or_insert_with(|| compile(&layout, tiles, H200, Factors::Cut))
            })
        };
        for (found, known) in decide_as(Heads::Random, task, &observations(task), &config, plan) {
            let what = format!("{name} {precision:?}, {environments} environments, H {horizon}");
            let off = (found.elite_score - known.elite_score).abs() / known.elite_score.abs().max(1.0);
            println!("{what}: score off by {off:.4} of {tolerance}");
            assert!(off < tolerance, "{what}: score {} instead of {}", found.elite_score, known.elite_score);
            let mean = known.plan.shifted(horizon, task.action);
            // a plan is stored before it is shifted by a decision; one elite of thirty more or less
            for (f, k) in found.mean[task.action..].iter().zip(&mean) {
                assert!((f - k).abs() < 0.1 * k.abs().max(1.0), "{what}: mean {f} instead of {k}");
            }
            assert!(
                (found.policy_elites - known.policy_elites).abs() < 0.11 && found.bad_scores == 0.0,
                "{what}"
            );
        }
    }
}

/// A core takes minutes.
#[test]
#[ignore = "slow: scripts/kernel_compile.sh runs it"]
fn plans_of_the_suite_agree_to_its_tolerances() {
    for (name, edit) in FORMS {
        for (precision, tolerance) in [(Precision::F32, 4e-3), (Precision::Bf16, 3e-2)] {
            agree_as_there(name, edit, precision, tolerance);
        }
    }
}
