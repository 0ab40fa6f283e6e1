//! The checks every device has to pass.

#[cfg(feature = "cuda")]
mod forms;
#[cfg(feature = "cuda")]
pub mod plans;
#[cfg(feature = "cuda")]
pub mod updates;

use burn::prelude::*;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::config::*;
use td_koopman_agents::device::cpu;
use td_koopman_agents::ops::{
    Activation, NormActivation, Unroll, dense, diagonal_recurrence, layer_norm, sim_norm,
    two_hot_cross_entropy,
};
use td_koopman_agents::planner::{Mode, Plan};
use td_koopman_agents::replay::{Batch, Ending, Episode, Replay};
use td_koopman_agents::rng::Stream;

const OBSERVATION: usize = 5;
const ACTION: usize = 2;

/// Decisions and learning with these dynamics on `device` equal those on `flex` up to `tolerance` (relative).
pub fn lives_agree_with_flex(dynamics: DynamicsKind, device: &Device, tolerance: f32) {
    let forms = match dynamics {
        DynamicsKind::Koopman => &[ControlForm::Additive, ControlForm::Gated][..],
        _ => &[ControlForm::Additive],
    };
    for (&form, recipe) in forms.iter().flat_map(|form| [(form, Recipe::V1), (form, Recipe::V2)]) {
        let mut config = config(dynamics, form);
        (config.model.recipe, config.model.continuation) = (recipe, Continuation::On);
        let ((actions, parameters), (known_actions, known_parameters)) =
            (life(&config, device), life(&config, &cpu()));
        near(&actions, &known_actions, tolerance, "actions");
        near(&parameters, &known_parameters, tolerance, "parameters after three updates");
    }
}

fn near(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    let worst = a.iter().zip(b).fold(0.0f32, |m, (x, y)| m.max((x - y).abs())) / scale;
    assert!(worst < tolerance, "{what} differ by {worst} (relative)");
}

fn tensor<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = Stream::new(seed, "suite").normal(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Values and all gradients of the fused operations on `device` equal those on `flex` up to `tolerance` (relative).
pub fn operations_agree_with_flex(device: &Device, tolerance: f32) {
    let run = |device: &Device| {
        let t = |shape: &[usize], seed| {
            let n = shape.iter().product();
            Tensor::from_inner(tensor([n], seed, device)).require_grad()
        };
        let (x, w, b) = (t(&[70 * 24], 1), t(&[24 * 32], 2), t(&[32], 3));
        let (gamma, beta) = (t(&[32], 4), t(&[32], 5));
        let (lambda, c) = (t(&[32], 6), t(&[70 * 7 * 32], 7));
        let y = dense(
            x.clone().reshape([70, 24]),
            w.clone().reshape([24, 32]),
            b.clone(),
            Activation::Elu,
            Precision::F32,
        );
        let z0 = layer_norm(y, gamma.clone(), beta.clone(), NormActivation::Tanh);
        let c3 = c.clone().reshape([70, 7, 32]);
        let z = diagonal_recurrence(lambda.clone() * 0.5, z0, c3, Unroll::Recurrence);
        let (h, h_gamma, h_beta) = (t(&[70 * 32], 9), t(&[32], 10), t(&[32], 11));
        let hidden =
            layer_norm(h.clone().reshape([70, 32]), h_gamma.clone(), h_beta.clone(), NormActivation::Mish);
        let simplices = sim_norm(hidden.clone(), 8);
        let position = Tensor::from_inner(tensor([70], 13, device).abs().clamp_max(31.0));
        let entropy = two_hot_cross_entropy(hidden.clone(), position);
        let weights = |rows, seed| Tensor::from_inner(tensor([rows, 32], seed, device));
        let loss = (z.clone().reshape([70 * 7, 32]) * weights(70 * 7, 8)).sum()
            + (simplices.clone() * weights(70, 12)).sum()
            + entropy.clone().sum();
        let grads = loss.backward();
        let mut numbers = vec![
            z.inner().reshape([70 * 7 * 32]),
            hidden.inner().reshape([70 * 32]),
            simplices.inner().reshape([70 * 32]),
            entropy.inner(),
        ];
        let leaves = [x, w, b, gamma, beta, lambda, c, h, h_gamma, h_beta];
        numbers.extend(leaves.map(|p| p.grad(&grads).expect("every input has a gradient")));
        numbers.into_iter().map(|t| t.try_into_vec_as().expect("f32")).collect::<Vec<Vec<f32>>>()
    };
    for (i, (a, b)) in run(device).iter().zip(&run(&cpu())).enumerate() {
        near(a, b, tolerance, &format!("output {i} of the fused operations"));
    }
}

/// Three updates and a decision after each.
fn life(config: &AgentConfig, device: &Device) -> (Vec<f32>, Vec<f32>) {
    let mut agent = Agent::new(config, OBSERVATION, ACTION, &mut Stream::new(1, "init"), device);
    let (mut stream, mut batch) = (Stream::new(2, "data"), Batch::default());
    let mut replay = Replay::new(&config.replay, config.learner.horizon, OBSERVATION, ACTION);
    let mut episode = Episode::start(&stream.normal(OBSERVATION));
    for _ in 0..100 {
        let action = stream.uniform(ACTION, -1.0, 1.0);
        episode.push(&action, action[0], &stream.normal(OBSERVATION));
    }
    replay.add(&episode, Ending::Terminated).expect("it fits");
    let (mut actions, mut noise, mut plan) = (Vec::new(), [Stream::new(3, "noise")], Plan::cold());
    let schedule = Schedule { horizon: 3, min_std: 0.1 };
    for _ in 0..3 {
        replay.sample(config.learner.batch_size, config.learner.horizon, &mut stream, &mut batch);
        agent.update(&batch, &mut noise[0]);
        let observation = stream.normal(OBSERVATION);
        let plans = std::slice::from_ref(&plan);
        let decision = agent.act(&observation, plans, schedule, Mode::Explore, &mut noise).remove(0);
        actions.extend(decision.action);
        plan = decision.plan;
    }
    let world = agent.export().parameters.into_iter().filter(|(name, _)| name.starts_with("world."));
    (actions, world.flat_map(|(_, p)| p.values).collect())
}

fn config(dynamics: DynamicsKind, form: ControlForm) -> AgentConfig {
    let constant = |end| LinearSchedule { start: end, end, decisions: 0 };
    let mut config = AgentConfig::tiny(dynamics);
    config.model.hidden_dim = 48;
    config.model.koopman.control.form = form;
    config.model.koopman.eigenvalues.form = EigenvalueForm::Zoh;
    config.learner.batch_size = 40;
    (config.planner.policy_fraction, config.planner.iterations) = (0.1, 3);
    (config.planner.horizon, config.planner.min_std) = (constant(3.0), constant(0.1));
    config
}
