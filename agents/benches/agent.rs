//! CPU milliseconds per plan and per update, at the sizes of `configs/preset/small.toml` and at TD-MPC v1's.
//!
//! `cargo bench -p td-koopman-benches`; single thread: prefix `RAYON_NUM_THREADS=1`.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::config::*;
use td_koopman_agents::device;
use td_koopman_agents::ops::Unroll;
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
    let eigenvalues = EigenvalueConfig {
        form: EigenvalueForm::Decay,
        mu: Mu::Learned,
        mu_init: -0.2,
        mu_bounds: [-0.3, -0.1],
        omega: Omega::Linear,
        omega_training: Training::Learned,
        dt: StepSize::LogUniform,
        dt_range: [1e-4, 1e-2],
        dt_training: Training::Learned,
        ring: [0.4, 0.99],
        ring_phase: 0.3,
    };
    AgentConfig {
        model: ModelConfig {
            recipe: Recipe::V1,
            dynamics,
            match_params: MatchParams::None,
            latent_dim: 50,
            encoder_hidden: vec![256],
            hidden_dim: size.hidden,
            continuation: Continuation::Off,
            state_decoder: StateDecoder::None,
            v2: ModelV2Config {
                critics: 3,
                critic_dropout: 0.01,
                bins: 21,
                bin_range: [-5.0, 5.0],
                latent_norm: LatentNorm::Auto,
                simnorm_group: 8,
                init_std: 0.02,
                log_std_range: [-10.0, 2.0],
            },
            koopman: KoopmanConfig {
                unroll: Unroll::Auto,
                eigenvalues: eigenvalues.clone(),
                control: ControlConfig {
                    form,
                    conditioning: Conditioning::Along,
                    plan_conditioning: PlanConditioning::Trained,
                    action_hidden: vec![64],
                    encoded_dim: 64,
                    gate_hidden: 128,
                    recondition_every: 1,
                },
                remainder: RemainderConfig::default(),
            },
            mlp: MlpConfig { hidden_dim: 0 },
            gru: GruConfig { hidden_dim: 128, layers: 1 },
            transformer: TransformerConfig {
                width: 64,
                layers: 2,
                heads: 4,
                feed_forward: 256,
                max_horizon: 20,
            },
            dssm: DssmConfig { width: 64, modes: 32, layers: 2, eigenvalues },
        },
        learner: LearnerConfig {
            batch_size: size.batch,
            horizon: 5,
            horizon_ramp: HorizonRamp { start: 1, updates: 0 },
            discount_rule: DiscountRule::Fixed,
            discount: 0.99,
            episode_discount: EpisodeDiscount { divisor: 5.0, range: [0.95, 0.995] },
            rho: 0.5,
            consistency_coef: 2.0,
            consistency: Consistency::Absolute,
            auxiliary: AuxiliaryConfig::default(),
            reward_coef: 0.5,
            value_coef: 0.1,
            continuation_coef: 1.0,
            learning_rate: 1e-3,
            encoder_rate_scale: 1.0,
            policy_learning_rate: 1e-3,
            adam_epsilon: 1e-8,
            policy_adam_epsilon: 1e-8,
            max_gradient_norm: 10.0,
            target_rate: 0.01,
            target_every: 2,
            policy_std: 0.05,
            v2: LearnerV2Config { entropy_coef: 1e-4, scale_rate: 0.01 },
        },
        replay: ReplayConfig { capacity: 5000, priority_exponent: 0.6, importance_exponent: 0.4 },
        planner: PlannerConfig {
            kind: PlannerKind::Mppi,
            num_samples: size.samples,
            policy_fraction: 0.05,
            num_elites: 64.min(size.samples / 2),
            rescored: 0,
            prior_weight: 0.0,
            depth_lambda: 1.0,
            iterations: 6,
            extra_iterations: 0,
            temperature: 0.5,
            momentum: 0.1,
            init_std: 2.0,
            horizon: LinearSchedule { start: 5.0, end: 5.0, decisions: 0 },
            min_std: LinearSchedule { start: 0.05, end: 0.05, decisions: 0 },
            icem: IcemConfig { noise_beta: 2.0, keep_fraction: 0.3, decay: 1.25 },
            grad: GradConfig { candidates: 4, steps: 3, step_size: 0.1 },
        },
    }
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
