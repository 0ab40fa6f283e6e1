//! Plans that a device makes with kernels of its own, against those of `flex` with the same noise.

use super::forms::{Edit, FORMS};
use super::{ACTION, OBSERVATION, config};
use burn::prelude::*;
use td_koopman_agents::agent::{Agent, Decision, Schedule};
use td_koopman_agents::config::*;
use td_koopman_agents::device::cpu;
use td_koopman_agents::planner::{Mode, Plan};
use td_koopman_agents::rng::Stream;

/// An agent without zeros among its parameters.
fn agent(config: &AgentConfig, device: &Device) -> Agent {
    let mut agent = Agent::new(config, OBSERVATION, ACTION, &mut Stream::new(1, "init"), device);
    let (mut state, mut stream) = (agent.export(), Stream::new(2, "init"));
    let world = state.parameters.iter_mut().filter(|(name, _)| name.starts_with("world."));
    for (_, parameter) in world.filter(|(_, p)| p.values.iter().all(|x| *x == 0.0)) {
        parameter.values = stream.uniform(parameter.values.len(), -0.3, 0.3);
    }
    agent.import(&state).expect("it is its own state");
    agent
}

/// Decides for `environments`, of which the first has just been reset.
fn act(agent: &Agent, environments: usize, horizon: usize, mode: Mode) -> Vec<Decision> {
    let observations = Stream::new(5, "data").normal(environments * OBSERVATION);
    let warm = |i: usize| Plan::new(vec![0.1 * i as f32; horizon * ACTION]);
    let plans: Vec<Plan> = (0..environments).map(|i| if i == 0 { Plan::cold() } else { warm(i) }).collect();
    let mut noise: Vec<Stream> = (0..environments).map(|i| Stream::new(i as u64, "noise")).collect();
    agent.act(&observations, &plans, Schedule { horizon, min_std: 0.1 }, mode, &mut noise)
}

fn form(edit: Edit) -> AgentConfig {
    let mut config = config(DynamicsKind::Koopman, ControlForm::Gated);
    (config.planner.num_samples, config.planner.num_elites) = (300, 30);
    // one iteration: near its edge the set of elites hangs on rounding, and what follows hangs on that set
    config.planner.iterations = 1;
    edit(&mut config);
    config
}

/// Scores and elites are those of `flex`: TF32 has 11 bits, bfloat16 8. Each form has kernels of its own, which are compiled at
/// the same time.
pub fn agree_with_flex(device: &Device) {
    std::thread::scope(|scope| {
        for (name, edit) in FORMS {
            for (precision, tolerance) in [(Precision::F32, 4e-3), (Precision::Bf16, 3e-2)] {
                scope.spawn(move || form_agrees(device, name, edit, precision, tolerance));
            }
        }
    });
}

fn form_agrees(device: &Device, name: &str, edit: Edit, precision: Precision, tolerance: f32) {
    for (environments, horizon) in [(1, 1), (1, 5), (3, 3)] {
        let mut config = form(edit);
        let known = act(&agent(&config, &cpu()), environments, horizon, Mode::Exploit);
        config.planner.precision = precision;
        let found = act(&agent(&config, device), environments, horizon, Mode::Exploit);
        for (e, (found, known)) in found.iter().zip(&known).enumerate() {
            let what = format!("{name} {precision:?}, environment {e} of {environments}, H {horizon}");
            near(found.elite_score, known.elite_score, tolerance, &format!("{what}: score"));
            let [found_mean, known_mean] = [found, known].map(|d| d.plan.shifted(horizon, ACTION));
            // one elite of thirty more or less
            let means = found_mean.iter().zip(&known_mean);
            means.for_each(|(f, k)| near(*f, *k, 0.1, &format!("{what}: mean")));
            let share = (found.policy_elites - known.policy_elites).abs();
            assert!(share < 0.11, "{what}: share of the policy {share}");
            assert_eq!(found.bad_scores, 0, "{what}");
        }
    }
}

fn near(found: f32, known: f32, tolerance: f32, what: &str) {
    assert!((found - known).abs() < tolerance * known.abs().max(1.0), "{what}: {found} instead of {known}");
}

/// Noise drawn on the device comes from the streams: the same again, to the bit, and alone or with others.
pub fn repeat_and_do_not_depend_on_the_batch(device: &Device) {
    for kind in [PlannerKind::Mppi, PlannerKind::Cem] {
        let mut config = form(|_| {});
        (config.planner.noise, config.planner.kind, config.planner.iterations) = (NoiseSource::Auto, kind, 4);
        let agent = agent(&config, device);
        for horizon in [1, 4] {
            let together = act(&agent, 40, horizon, Mode::Explore);
            assert_eq!(together, act(&agent, 40, horizon, Mode::Explore), "{kind:?}");
            assert_eq!(together[..1], act(&agent, 1, horizon, Mode::Explore)[..], "{kind:?}");
            assert!(together[1].action != together[2].action, "{kind:?}");
            let exploited = act(&agent, 40, horizon, Mode::Exploit);
            assert!(exploited.iter().zip(&together).all(|(a, b)| a.plan == b.plan));
            assert!(exploited.iter().zip(&together).any(|(a, b)| a.action != b.action));
        }
        // the weights of one agent are not those of another
        let mut other = agent.clone();
        let mut state = other.export();
        let reward = state.parameters.iter_mut().filter(|(name, _)| name.starts_with("world.reward"));
        reward.for_each(|(_, p)| p.values.iter_mut().for_each(|x| *x = -*x));
        other.import(&state).expect("it is its own state");
        let first = act(&agent, 1, 3, Mode::Exploit);
        assert_ne!(first, act(&other, 1, 3, Mode::Exploit));
        assert_eq!(first, act(&agent, 1, 3, Mode::Exploit));
    }
}

/// With all candidates as elites that count alike, the mean is that of the noise clamped to ±1, and a broken critic is seen.
pub fn draw_what_they_say(device: &Device) {
    let mut config = form(|_| {});
    let planner = &mut config.planner;
    (planner.noise, planner.kind, planner.policy_fraction) = (NoiseSource::Auto, PlannerKind::Cem, 0.0);
    (planner.num_samples, planner.num_elites, planner.init_std) = (8192, 8192, 0.2);
    let mut agent = agent(&config, device);
    let decision = &act(&agent, 1, 5, Mode::Exploit)[0];
    for mean in decision.plan.shifted(5, ACTION) {
        // 0.2/√8192 = 0.0022, times 0.9 for the momentum
        assert!(mean.abs() < 0.009, "the mean of 8192 samples is {mean}");
    }
    let mut state = agent.export();
    let critic = state.parameters.iter_mut().find(|(name, _)| name.starts_with("world.critics.0"));
    critic.expect("there are critics").1.values.fill(f32::NAN);
    agent.import(&state).expect("it is its own state");
    let broken = &act(&agent, 1, 5, Mode::Exploit)[0];
    assert_eq!(broken.bad_scores, 8192);
    assert!(broken.action.iter().all(|a| a.is_finite()));
}
