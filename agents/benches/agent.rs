//! CPU milliseconds per plan and per update, at the sizes of `configs/preset/small.toml` and at TD-MPC v1's.
//!
//! `cargo bench -p td-koopman-benches`; single thread: prefix `RAYON_NUM_THREADS=1`.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::config::*;
use td_koopman_agents::device;
use td_koopman_agents::planner::{Mode, Plan};
use td_koopman_agents::replay::{Batch, Ending, Episode, Replay};
use td_koopman_agents::rng::Stream;
use td_koopman_benches::CpuTime;

const OBSERVATION: usize = 17;
const ACTION: usize = 6;

struct Size {
    name: &'static str,
    samples: usize,
    hidden: usize,
    batch: usize,
}

const SIZES: [Size; 2] = [
    Size { name: "small", samples: 128, hidden: 256, batch: 256 },
    Size { name: "paper", samples: 512, hidden: 512, batch: 512 },
];

fn config(size: &Size, dynamics: DynamicsKind, form: ControlForm) -> AgentConfig {
    let constant = |end| LinearSchedule { start: end, end, decisions: 0 };
    let mut config = AgentConfig::tiny(dynamics);
    let model = &mut config.model;
    (model.latent_dim, model.encoder_hidden, model.hidden_dim) = (50, vec![256], size.hidden);
    model.koopman.eigenvalues.dt_range = [1e-4, 1e-2];
    let control = &mut model.koopman.control;
    (control.form, control.action_hidden, control.encoded_dim, control.gate_hidden) =
        (form, vec![64], 64, 128);
    (config.learner.batch_size, config.learner.horizon, config.replay.capacity) = (size.batch, 5, 5000);
    let planner = &mut config.planner;
    (planner.num_samples, planner.num_elites, planner.iterations) =
        (size.samples, 64.min(size.samples / 2), 6);
    (planner.horizon, planner.min_std) = (constant(5.0), constant(0.05));
    config
}

fn random_batch(config: &AgentConfig) -> Batch {
    let mut stream = Stream::new(1, "bench");
    let mut replay = Replay::new(&config.replay, config.learner.horizon, OBSERVATION, ACTION);
    let mut episode = Episode::start(&stream.normal(OBSERVATION));
    for _ in 0..1000 {
        let (action, observation) = (stream.uniform(ACTION, -1.0, 1.0), stream.normal(OBSERVATION));
        episode.push(&action, stream.unit() as f32, &observation);
    }
    replay.add(&episode, Ending::Truncated).expect("it fits");
    let mut batch = Batch::default();
    replay.sample(config.learner.batch_size, config.learner.horizon, &mut stream, &mut batch);
    batch
}

fn agents(c: &mut Criterion<CpuTime>) {
    device::keep_freed_memory();
    let mut group = c.benchmark_group("agent");
    group.sample_size(20);
    for size in &SIZES {
        for (name, dynamics, form) in [
            ("mlp", DynamicsKind::Mlp, ControlForm::Additive),
            ("koopman-additive", DynamicsKind::Koopman, ControlForm::Additive),
            ("koopman-gated", DynamicsKind::Koopman, ControlForm::Gated),
            ("gru", DynamicsKind::Gru, ControlForm::Additive),
            ("transformer", DynamicsKind::Transformer, ControlForm::Additive),
            ("dssm", DynamicsKind::Dssm, ControlForm::Additive),
        ] {
            let config = config(size, dynamics, form);
            let mut agent =
                Agent::new(&config, OBSERVATION, ACTION, &mut Stream::new(1, "init"), &device::cpu());
            let batch = random_batch(&config);
            let mut noise = [Stream::new(1, "noise")];
            // trained for a few updates: zero-initialised heads make degenerate numbers
            (0..5).for_each(|_| drop(agent.update(&batch, &mut noise[0])));
            let observation = noise[0].normal(OBSERVATION);
            let schedule = Schedule { horizon: 5, min_std: 0.05 };
            let mut plan = Plan::cold();
            group.bench_function(format!("plan/{}/{name}", size.name), |b| {
                b.iter(|| {
                    let d = agent.act(
                        &observation,
                        std::slice::from_ref(&plan),
                        schedule,
                        Mode::Explore,
                        &mut noise,
                    );
                    plan = black_box(d).remove(0).plan;
                })
            });
            group.bench_function(format!("update/{}/{name}", size.name), |b| {
                b.iter(|| black_box(agent.update(&batch, &mut noise[0])))
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = agents
}
criterion_main!(benches);
