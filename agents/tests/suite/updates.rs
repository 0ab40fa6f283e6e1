//! Updates that a device makes with kernels of its own, against those of `flex` with the same noise.

use super::{ACTION, OBSERVATION, config, near};
use burn::prelude::*;
use td_koopman_agents::agent::Agent;
use td_koopman_agents::config::*;
use td_koopman_agents::device::cpu;
use td_koopman_agents::replay::{Batch, Ending, Episode, Replay};
use td_koopman_agents::rng::Stream;

type Edit = fn(&mut AgentConfig);

/// Forms of the model that have kernels.
const FORMS: [(&str, Edit); 5] = [
    ("gated", |_| {}),
    ("additive, with shallow networks", |c| {
        c.model.koopman.control.form = ControlForm::Additive;
        (c.model.koopman.control.action_hidden, c.model.encoder_hidden) = (vec![], vec![]);
    }),
    ("a gate of one layer", |c| c.model.koopman.control.gate_hidden = 0),
    ("mlp with an odd latent", |c| (c.model.dynamics, c.model.latent_dim) = (DynamicsKind::Mlp, 15)),
    ("published sizes", |c| {
        (c.model.dynamics, c.model.hidden_dim, c.learner.batch_size) = (DynamicsKind::Mlp, 512, 512);
    }),
];

fn form(edit: Edit) -> AgentConfig {
    let mut config = config(DynamicsKind::Koopman, ControlForm::Gated);
    config.model.koopman.eigenvalues.form = EigenvalueForm::Decay;
    edit(&mut config);
    config
}

fn batches(config: &AgentConfig, count: usize) -> Vec<Batch> {
    let (mut stream, horizon) = (Stream::new(2, "data"), config.learner.horizon);
    let mut replay = Replay::new(&config.replay, horizon, OBSERVATION, ACTION);
    let mut episode = Episode::start(&stream.normal(OBSERVATION));
    for _ in 0..100 {
        let action = stream.uniform(ACTION, -1.0, 1.0);
        episode.push(&action, action[0], &stream.normal(OBSERVATION));
    }
    replay.add(&episode, Ending::Terminated).expect("it fits");
    let draw = |_| {
        let mut batch = Batch::default();
        replay.sample(config.learner.batch_size, horizon, &mut stream, &mut batch);
        batch
    };
    (0..count).map(draw).collect()
}

fn agent(config: &AgentConfig, device: &Device) -> Agent {
    let mut agent = Agent::new(config, OBSERVATION, ACTION, &mut Stream::new(1, "init"), device);
    let (mut state, mut stream) = (agent.export(), Stream::new(2, "init"));
    for p in state.parameters.values_mut().filter(|p| p.values.iter().all(|x| *x == 0.0)) {
        p.values = stream.uniform(p.values.len(), -0.1, 0.1);
    }
    agent.import(&state).expect("it is its own state");
    agent
}

/// Losses, priorities and gradients, which the first moments are, of the first update; then parameters after three.
/// Products are in TF32, ten bits of every factor.
pub fn agree_with_flex(device: &Device) {
    for (name, edit) in FORMS {
        let config = form(edit);
        let batches = batches(&config, 3);
        let learn = |device: &Device| {
            let (mut agent, mut noise) = (agent(&config, device), Stream::new(3, "noise"));
            let first = agent.update(&batches[0], &mut noise);
            let moments = agent.export().parameters;
            batches[1..].iter().for_each(|batch| drop(agent.update(batch, &mut noise)));
            (first, moments, agent.export().parameters)
        };
        let ((found, found_moments, found_after), (known, known_moments, known_after)) =
            (learn(device), learn(&cpu()));
        near(&found.priorities, &known.priorities, 1e-2, &format!("{name}: priorities"));
        let losses = [&found, &known].map(|u| u.losses.terms().map(|x| x as f32));
        near(&losses[0], &losses[1], 1e-2, &format!("{name}: losses"));
        for (path, known) in known_moments.iter().filter(|(path, _)| path.ends_with(".first")) {
            near(&found_moments[path].values, &known.values, 3e-2, &format!("{name}: {path}"));
        }
        for (path, known) in known_after.iter().filter(|(path, _)| path.starts_with("world.")) {
            near(&found_after[path].values, &known.values, 3e-2, &format!("{name}: {path}"));
        }
    }
}

/// The same numbers in, the same bits out; saved and restored, or copied, a learner goes on as if nothing had been.
pub fn repeat_and_resume(device: &Device) {
    let config = form(|_| {});
    let batches = batches(&config, 6);
    let learn = |agent: &mut Agent, batches: &[Batch], noise: &mut Stream| {
        batches.iter().map(|batch| agent.update(batch, noise).priorities).collect::<Vec<_>>()
    };
    let (mut first, mut noise) = (agent(&config, device), Stream::new(3, "noise"));
    learn(&mut first, &batches[..3], &mut noise);
    let mut restored = agent(&config, device);
    restored.import(&first.export()).expect("the same networks");
    let mut copied = first.clone();
    let known = learn(&mut first, &batches[3..], &mut noise.clone());
    assert!(known.iter().flatten().all(|p| p.is_finite()));
    for other in [&mut restored, &mut copied] {
        assert_eq!(learn(other, &batches[3..], &mut noise.clone()), known);
        assert_eq!(other.export(), first.export());
    }
}
