//! Every task that has an original in Python does what the original did, from the same states under the same
//! actions: observations, rewards and terminations to 1e-9 over 1000 steps, in segments.
//! `scripts/record_reference.py` made the recordings, describes their format, and says why they are cut into
//! segments.
use std::path::Path;

use td_koopman_envs::{End, Source, registry};

/// What the original did.
struct Recording {
    max_episode_steps: usize,
    segments: Vec<Segment>,
}

struct Segment {
    qpos: Vec<f64>,
    qvel: Vec<f64>,
    rewards: Vec<f64>,
    /// At the start, after the first and after the last step.
    observations: [Vec<f64>; 3],
    terminated: Vec<bool>,
}

impl Recording {
    fn read(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(format!("{file}.bin"));
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut numbers = bytes.chunks_exact(8).map(|number| f64::from_le_bytes(number.try_into().unwrap()));
        let mut take = |count: usize| -> Vec<f64> {
            let taken: Vec<f64> = numbers.by_ref().take(count).collect();
            assert_eq!(taken.len(), count, "{file} is cut off");
            taken
        };
        let [nq, nv, width, segments, steps, max_episode_steps]: [usize; 6] =
            std::array::from_fn(|_| take(1)[0] as usize);
        let segments = (0..segments)
            .map(|_| Segment {
                qpos: take(nq),
                qvel: take(nv),
                rewards: take(steps),
                observations: std::array::from_fn(|_| take(width)),
                terminated: take(steps).into_iter().map(|flag| flag == 1.0).collect(),
            })
            .collect();
        assert_eq!(numbers.next(), None, "{file} is too long");
        Self { max_episode_steps, segments }
    }
}

/// splitmix64, seed 0, as uniform numbers in [0, 1).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 * (-53f64).exp2()
}

/// Replays a recording named `environment` or `environment.label`.
fn replay(file: &str) {
    let recording = Recording::read(file);
    let mut env = registry::make(file.split('.').next().unwrap()).unwrap();
    let spec = env.spec().clone();
    assert_eq!(spec.max_episode_steps, recording.max_episode_steps, "{file}, time limit");
    let range: Vec<_> = spec.action_low.iter().zip(&spec.action_high).collect();

    let (mut observation, mut random) = (vec![0.0; spec.observation_dim], 0);
    for (number, segment) in recording.segments.iter().enumerate() {
        let [at_start, after_first, after_last] = &segment.observations;
        env.set_state(&segment.qpos, &segment.qvel, &mut observation).unwrap();
        close(&format!("{file}, segment {number}, start"), &observation, at_start);
        for (step, (reward, terminated)) in (1..).zip(segment.rewards.iter().zip(&segment.terminated)) {
            let action: Vec<f64> =
                range.iter().map(|&(low, high)| low + (high - low) * uniform(&mut random)).collect();
            let outcome = env.step(&action, &mut observation);
            let place = format!("{file}, segment {number}, step {step}");
            close(&format!("{place}, reward"), &[outcome.reward], &[*reward]);
            assert_eq!(outcome.end == End::Terminated, *terminated, "{place}, termination");
            if step == 1 {
                close(&format!("{place}, observation"), &observation, after_first);
            }
        }
        close(&format!("{file}, segment {number}, end"), &observation, after_last);
    }
}

/// Equal to 1e-9, of the largest entry where that is above 1.
fn close(place: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{place}: size");
    let scale = theirs.iter().fold(1.0, |largest: f64, entry| largest.max(entry.abs()));
    for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= 1e-9 * scale, "{place}, entry {index}: {a} is not {b}");
    }
}

macro_rules! thousand_steps {
    ($($test:ident: $name:literal;)*) => { $(
        #[test]
        fn $test() {
            replay($name);
        }
    )* };
}

thousand_steps! {
    halfcheetah: "halfcheetah";
    hopper: "hopper";
    walker2d: "walker2d";
    inverted_pendulum: "inverted-pendulum";
    cheetah_run: "cheetah-run";
    cartpole_swingup: "cartpole-swingup";
    acrobot_swingup: "acrobot-swingup";
    walker_stand: "walker-stand";
    walker_walk: "walker-walk";
    walker_run: "walker-run";
    quadruped_walk: "quadruped-walk";
    quadruped_run: "quadruped-run";
    pendulum: "pendulum";
}

/// Whole episodes of 1000 steps. Contacts amplify the last bit of a sine within some 120 steps, and the C library computes
/// it differently on processors without fused multiply-add: there only the segments above are compared.
#[test]
fn whole_episodes() {
    if !std::is_x86_feature_detected!("fma") {
        println!("this processor has no fused multiply-add; whole episodes are not compared");
        return;
    }
    for entry in registry::table().iter().filter(|entry| entry.source != Source::Classic) {
        let file = format!("{}.episode", entry.name);
        assert_eq!(Recording::read(&file).segments[0].rewards.len(), 1000);
        replay(&file);
    }
}

/// What makes a chosen state worth recording.
enum Shows {
    /// A reward of at least this.
    Reward(f64),
    /// A termination in the first step.
    Termination,
    /// A termination after steps without.
    LaterTermination,
}

#[test]
fn chosen_states() {
    use Shows::{LaterTermination, Reward, Termination};
    for (file, shows) in [
        ("hopper.falling", LaterTermination),
        ("hopper.too-low", Termination),
        ("hopper.too-fast", Termination),
        ("walker2d.falling", LaterTermination),
        ("walker2d.too-low", Termination),
        ("walker2d.too-high", Termination),
        ("inverted-pendulum.tipping", LaterTermination),
        ("inverted-pendulum.tipped", Termination),
        ("cheetah-run.running", Reward(1.0)),
        ("cartpole-swingup.upright", Reward(0.99)),
        ("acrobot-swingup.at-target", Reward(1.0)),
        ("walker-stand.standing", Reward(0.99)),
        ("walker-walk.moving", Reward(0.99)),
        ("walker-run.moving", Reward(0.99)),
        ("quadruped-walk.moving", Reward(0.99)),
        ("quadruped-run.moving", Reward(0.99)),
    ] {
        let segment = &Recording::read(file).segments[0];
        let terminated_at = segment.terminated.iter().position(|terminated| *terminated);
        let shown = match shows {
            Reward(least) => segment.rewards.iter().any(|reward| *reward >= least),
            Termination => terminated_at == Some(0),
            LaterTermination => terminated_at.is_some_and(|step| step > 0),
        };
        assert!(shown, "{file} does not show what it was recorded for");
        replay(file);
    }
}
