//! Plans of TD-MPC's published sizes, as an H200 would cut them.

use super::*;

pub(super) const H200: Machine =
    Machine { multiprocessors: 132, shared: 227 << 10, team: TEAM, clusters: 16 };

/// One iteration of 512 candidates.
fn agrees(dynamics: DynamicsKind, precision: Precision, horizon: usize) {
    let mut config = config(dynamics);
    let model = &mut config.model;
    (model.latent_dim, model.encoder_hidden, model.hidden_dim) = (50, vec![256], 512);
    let control = &mut model.koopman.control;
    (control.action_hidden, control.encoded_dim, control.gate_hidden) = (vec![64], 64, 128);
    let planner = &mut config.planner;
    (planner.num_samples, planner.num_elites, planner.iterations) = (512, 64, 1);
    planner.policy_fraction = 0.05;
    let task = Task { observation: 17, action: 6, environments: 1, horizon };
    let plan = |parts: &Parts, question: Question<'_>| {
        let layout = Layout::new(parts, precision).expect("they have room");
        let mut compiled = HashMap::new();
        plan_on_host(&layout, Blocks::Suited, H200, question, |tiles| {
            *compiled.entry(tiles).or_insert_with(|| compile(&layout, tiles, H200, Factors::Whole))
        })
    };
    let decisions = decide_as(Heads::Random, task, &observations(task), &config, plan);
    match precision {
        Precision::F32 => agree_on("published sizes", decisions),
        Precision::Bf16 => nearly_agree("published sizes", 1.0, decisions),
    }
}

#[test]
fn a_plan_of_published_sizes_is_that_of_packed_networks() {
    agrees(DynamicsKind::Koopman, Precision::Bf16, 1);
}

/// A core takes minutes.
#[test]
#[ignore = "slow: scripts/kernel_compile.sh runs it"]
fn plans_of_published_sizes_are_those_of_packed_networks() {
    for dynamics in [DynamicsKind::Koopman, DynamicsKind::Mlp] {
        [Precision::F32, Precision::Bf16].into_iter().for_each(|precision| agrees(dynamics, precision, 5));
    }
}
