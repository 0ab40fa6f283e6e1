//! Recordings of the originals, and replaying them.
use std::path::Path;

use td_koopman_envs::{End, OptionValue, State, registry};

/// What the original did.
pub struct Recording {
    max_episode_steps: usize,
    /// The segments, in order.
    pub segments: Vec<Segment>,
}

pub struct Segment {
    state: State,
    /// Of every step.
    pub rewards: Vec<f64>,
    /// At the start, after the first and after the last step.
    observations: [Vec<f64>; 3],
    /// Whether a step terminated.
    pub terminated: Vec<bool>,
}

impl Recording {
    /// Reads a recording of a task whose state has `extra` numbers besides positions and velocities.
    pub fn read(file: &str, extra: usize) -> Self {
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
                state: State { qpos: take(nq), qvel: take(nv), extra: take(extra) },
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

/// Replays a recording named `environment` or `environment.label` and returns it.
pub fn replay(file: &str) -> Recording {
    replay_with(file, &[])
}

/// The same in an environment with some options.
pub fn replay_with(file: &str, options: &[(&str, OptionValue)]) -> Recording {
    let options: Vec<_> = options.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    let mut env = registry::make_with(file.split('.').next().unwrap(), &options).unwrap();
    let spec = env.spec().clone();
    let recording = Recording::read(file, spec.state_dims.unwrap().extra);
    assert_eq!(spec.max_episode_steps, recording.max_episode_steps, "{file}, time limit");
    let range: Vec<_> = spec.action_low.iter().zip(&spec.action_high).collect();

    let (mut observation, mut random) = (vec![0.0; spec.observation_dim], 0);
    for (number, segment) in recording.segments.iter().enumerate() {
        let [at_start, after_first, after_last] = &segment.observations;
        env.set_state(&segment.state, &mut observation).unwrap();
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
    recording
}

/// Equal to 1e-9, of the largest entry where that is above 1.
fn close(place: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{place}: size");
    let scale = theirs.iter().fold(1.0, |largest: f64, entry| largest.max(entry.abs()));
    for (index, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= 1e-9 * scale, "{place}, entry {index}: {a} is not {b}");
    }
}
