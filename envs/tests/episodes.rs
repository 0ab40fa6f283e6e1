//! What every registered environment promises: reproducible episodes, exact replays, time limits, start
//! states.
use std::{f64::consts::PI, thread};

use td_koopman_envs::{End, Env, OptionValue, State, registry};

/// The observations and rewards of `steps` steps under fixed, varied actions.
fn run(env: &mut dyn Env, first: Vec<f64>, steps: usize) -> Vec<f64> {
    let mut observation = first.clone();
    let mut seen = first;
    for step in 0..steps {
        let spec = env.spec();
        let ranges = spec.action_low.iter().zip(&spec.action_high).enumerate();
        let action: Vec<f64> = ranges
            .map(|(i, (low, high))| low + (high - low) * (0.5 + 0.5 * ((0.7 * step as f64) + i as f64).sin()))
            .collect();
        let outcome = env.step(&action, &mut observation);
        seen.extend(&observation);
        seen.push(outcome.reward);
    }
    seen
}

fn reset(env: &mut dyn Env, seed: u64) -> Vec<f64> {
    let mut observation = vec![0.0; env.spec().observation_dim];
    env.reset(seed, &mut observation);
    observation
}

/// Positions and velocities at the start of many episodes.
fn starts(name: &str) -> Vec<(Vec<f64>, Vec<f64>)> {
    let mut env = registry::make(name).unwrap();
    (0..200)
        .map(|seed| {
            reset(&mut *env, seed);
            let state = env.state().unwrap();
            (state.qpos, state.qvel)
        })
        .collect()
}

/// Lowest and highest value of what `entry` picks.
fn range(starts: &[(Vec<f64>, Vec<f64>)], entry: impl Fn(&[f64], &[f64]) -> f64) -> (f64, f64) {
    starts
        .iter()
        .map(|(qpos, qvel)| entry(qpos, qvel))
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

/// The values lie in [low, high] and come near both ends.
fn assert_fills(range: (f64, f64), low: f64, high: f64) {
    let near = 0.1 * (high - low);
    assert!((low..low + near).contains(&range.0) && (high - near..=high).contains(&range.1), "{range:?}");
}

#[test]
fn the_seed_decides_the_episode_whatever_happened_before() {
    for name in registry::names() {
        let mut fresh = registry::make(name).unwrap();
        let first = reset(&mut *fresh, 3);
        let expected = run(&mut *fresh, first, 50);

        let mut used = registry::make(name).unwrap();
        let first = reset(&mut *used, 4);
        let other = run(&mut *used, first, 30);
        let first = reset(&mut *used, 3);
        assert_eq!(run(&mut *used, first, 50), expected, "{name}");
        assert_ne!(other[..], expected[..other.len()], "{name}");
    }
}

#[test]
fn episodes_do_not_depend_on_the_thread() {
    let episode = || {
        let mut env = registry::make("quadruped-walk").unwrap();
        let first = reset(&mut *env, 5);
        run(&mut *env, first, 100)
    };
    let expected = episode();
    let threads: Vec<_> = (0..3).map(|_| thread::spawn(episode)).collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == expected));
}

/// Traces rest on this: whoever copies the start state into the original gets the same episode, so nothing
/// else may survive the way to a random start, such as the warm start of a solver.
#[test]
fn a_start_state_replays_the_episode_exactly() {
    for name in registry::names() {
        let mut env = registry::make(name).unwrap();
        let first = reset(&mut *env, 11);
        let start = env.state().unwrap();
        let expected = run(&mut *env, first, 300);

        let mut replayed = registry::make(name).unwrap();
        let mut first = vec![0.0; replayed.spec().observation_dim];
        replayed.set_state(&start, &mut first).unwrap();
        assert_eq!(run(&mut *replayed, first, 300), expected, "{name}");
    }
}

#[test]
fn a_state_of_the_wrong_size_is_refused() {
    let mut env = registry::make("hopper").unwrap();
    let state = State { qpos: vec![0.0; 5], qvel: vec![0.0; 6], extra: vec![] };
    let error = env.set_state(&state, &mut [0.0; 11]).unwrap_err().to_string();
    let expected =
        "`hopper` has a state of 6 positions, 6 velocities and 0 further numbers, but was given 5, 6 and 0";
    assert!(error.contains(expected), "{error}");
}

/// Tasks that can end an episode before its time.
const CAN_TERMINATE: [&str; 7] = [
    "mountain-car",
    "hopper",
    "walker2d",
    "ant",
    "humanoid",
    "inverted-pendulum",
    "inverted-double-pendulum",
];

#[test]
fn time_limits_truncate() {
    for entry in registry::table() {
        let mut env = registry::make(entry.name).unwrap();
        assert_eq!(env.spec().terminates, CAN_TERMINATE.contains(&entry.name), "{}", entry.name);
        let mut observation = reset(&mut *env, 0);
        let still = vec![0.0; env.spec().action_dim()];
        let mut ends = (1..).map(|step| (step, env.step(&still, &mut observation).end));
        let (steps, end) = ends.find(|(_, end)| end.is_over()).unwrap();
        match end {
            End::Terminated => {
                assert!(CAN_TERMINATE.contains(&entry.name), "{}", entry.name);
            }
            _ => assert_eq!((steps, end), (entry.max_episode_steps, End::Truncated), "{}", entry.name),
        }
    }
}

#[test]
fn sizes_are_those_of_the_table() {
    for entry in registry::table() {
        let env = registry::make(entry.name).unwrap();
        let sizes = (env.spec().observation_dim, env.spec().action_dim());
        assert_eq!(sizes, (entry.observation_dim, entry.action_dim), "{}", entry.name);
    }
}

#[test]
fn gymnasium_starts_near_the_default_pose() {
    for (name, noise) in [("hopper", 5e-3), ("walker2d", 5e-3), ("inverted-pendulum", 0.01)] {
        let starts = starts(name);
        let default_height = if name == "inverted-pendulum" { 0.0 } else { 1.25 };
        assert_fills(range(&starts, |q, _| q[0]), -noise, noise);
        assert_fills(range(&starts, |q, _| q[1] - default_height), -noise, noise);
        assert_fills(range(&starts, |_, v| v[1]), -noise, noise);
    }
    let cheetah = starts("halfcheetah");
    assert_fills(range(&cheetah, |q, _| q[8]), -0.1, 0.1);
    let velocities: Vec<f64> = cheetah.iter().flat_map(|(_, v)| v.clone()).collect();
    let variance = velocities.iter().map(|v| v * v).sum::<f64>() / velocities.len() as f64;
    assert!((variance.sqrt() - 0.1).abs() < 0.01, "standard deviation {}", variance.sqrt());
}

/// Zero is a documented value of Gymnasium's; an empty range of random numbers once panicked.
#[test]
fn noise_can_be_switched_off() {
    for entry in registry::table() {
        if entry.options().iter().any(|option| option.name == "reset_noise_scale") {
            let off = [("reset_noise_scale".to_owned(), OptionValue::Number(0.0))];
            let mut env = registry::make_with(entry.name, &off).unwrap();
            let starts = [3, 4].map(|seed| reset(&mut *env, seed));
            assert_eq!(starts[0], starts[1], "{}", entry.name);
        }
    }
}

#[test]
fn acrobot_and_pendulum_start_anywhere() {
    let acrobot = starts("acrobot-swingup");
    for joint in 0..2 {
        assert_fills(range(&acrobot, |q, _| q[joint]), -PI, PI);
        assert_eq!(range(&acrobot, |_, v| v[joint]), (0.0, 0.0));
    }
    let pendulum = starts("pendulum");
    assert_fills(range(&pendulum, |q, _| q[0]), -PI, PI);
    assert_fills(range(&pendulum, |_, v| v[0]), -1.0, 1.0);
    assert_fills(range(&starts("linear"), |x, _| x[3]), -1.0, 1.0);
}

#[test]
fn cartpole_starts_hanging() {
    let starts = starts("cartpole-swingup");
    for (low, high) in [
        range(&starts, |q, _| q[0]),
        range(&starts, |q, _| q[1] - PI),
        range(&starts, |_, v| v[0]),
        range(&starts, |_, v| v[1]),
    ] {
        // normal, standard deviation 0.01, 200 draws
        assert!((-0.05..-0.015).contains(&low) && (0.015..0.05).contains(&high), "{low} {high}");
    }
}

#[test]
fn walker_starts_in_any_pose_at_rest() {
    let starts = starts("walker-walk");
    let degrees = PI / 180.0;
    assert_eq!(range(&starts, |q, _| q[0].abs() + q[1].abs()), (0.0, 0.0));
    assert_fills(range(&starts, |q, _| q[2]), -PI, PI);
    assert_fills(range(&starts, |q, _| q[3]), -20.0 * degrees, 100.0 * degrees);
    assert_fills(range(&starts, |q, _| q[4]), -150.0 * degrees, 0.0);
    assert_fills(range(&starts, |q, _| q[8]), -45.0 * degrees, 45.0 * degrees);
    assert_eq!(range(&starts, |_, v| v.iter().map(|x| x.abs()).sum()), (0.0, 0.0));
}

/// The springs bring a random pose nearly back to rest. The numbers are standard deviations over 200 resets
/// of dm_control itself, with its own random stream.
#[test]
fn cheetah_starts_settled_as_in_dm_control() {
    let starts = starts("cheetah-run");
    for (place, theirs) in [(0, 0.094), (1, 0.0107), (2, 0.0076), (3, 0.031), (7, 0.042), (8, 0.045)] {
        let mean = starts.iter().map(|(q, _)| q[place]).sum::<f64>() / starts.len() as f64;
        let variance =
            starts.iter().map(|(q, _)| (q[place] - mean).powi(2)).sum::<f64>() / starts.len() as f64;
        assert!((variance.sqrt() / theirs - 1.0).abs() < 0.25, "qpos[{place}]: {} {theirs}", variance.sqrt());
    }
    let (_, fastest) = range(&starts, |_, v| v.iter().fold(0.0, |most: f64, x| most.max(x.abs())));
    assert!(fastest > 0.05 && fastest < 0.5, "moves at up to {fastest}");
}

#[test]
fn quadruped_starts_in_any_orientation() {
    let starts = starts("quadruped-run");
    let norm = range(&starts, |q, _| q[3..7].iter().map(|x| x * x).sum());
    assert!((norm.0 - 1.0).abs() < 1e-12 && (norm.1 - 1.0).abs() < 1e-12, "{norm:?}");
    // the world's vertical in the body's frame: 1 upright, -1 upside down, uniform between
    assert_fills(range(&starts, |q, _| 1.0 - 2.0 * (q[4] * q[4] + q[5] * q[5])), -1.0, 1.0);
    assert_eq!(
        range(&starts, |q, _| q[0].abs() + q[1].abs() + q[7..].iter().map(|x| x.abs()).sum::<f64>()),
        (0.0, 0.0)
    );
    let (lowest, highest) = range(&starts, |q, _| q[2]);
    assert!(lowest > 0.2 && highest < 1.2, "heights {lowest} to {highest}");
}
