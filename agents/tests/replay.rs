//! Properties of the replay over long, ragged histories. Each test names the published bug it guards against.

use std::collections::{HashMap, HashSet};
use td_koopman_agents::config::ReplayConfig;
use td_koopman_agents::replay::{Batch, Ending, Episode, Replay, ReplayError};
use td_koopman_agents::rng::Stream;

const H: usize = 5;

fn replay(capacity: usize) -> Replay {
    Replay::new(&ReplayConfig { capacity, priority_exponent: 0.6, importance_exponent: 0.4 }, H, 2, 1)
}

/// Observation (episode, t), action t, reward 1000·episode + t: every number tells where it came from.
fn episode(id: usize, len: usize) -> Episode {
    let mut e = Episode::start(&[id as f32, 0.0]);
    for t in 0..len {
        e.push(&[t as f32], (1000 * id + t) as f32, &[id as f32, (t + 1) as f32]);
    }
    e
}

/// torchrl's slice sampler crashed when the ring wrapped in mid-episode (tdmpc2#20, torchrl#1969) and never sampled
/// the last step of an episode; TD-MPC v1 never trains on it either. Fill far beyond the capacity with ragged
/// episodes: every start whose sequence lies inside a stored episode is drawn, no sequence crosses an end. Of a terminated
/// episode every transition is a start: here, too, the termination was once only ever the last step of a sequence.
#[test]
fn every_valid_start_is_reachable_and_no_sequence_crosses_an_end() {
    let mut stream = Stream::new(1, "test");
    let mut replay = replay(300);
    let mut lengths = Vec::new();
    for id in 0..200 {
        let len = 1 + (stream.unit() * 60.0) as usize;
        lengths.push(len);
        let ending = if id % 2 == 0 { Ending::Terminated } else { Ending::Truncated };
        replay.add(&episode(id, len), ending).unwrap();
        assert!(replay.len() <= 300);
        let mut seen: HashMap<usize, HashSet<usize>> = HashMap::new();
        let mut batch = Batch::default();
        let draws = if id % 20 == 19 { 60 } else { 2 };
        for _ in 0..draws {
            replay.sample(256, H, &mut stream, &mut batch);
            for b in 0..256 {
                let (id, t0) = (batch.observations[b * (H + 1) * 2], batch.observations[b * (H + 1) * 2 + 1]);
                let (id, t0) = (id as usize, t0 as usize);
                let (len, terminated) = (lengths[id], id % 2 == 0);
                seen.entry(id).or_default().insert(t0);
                for k in 0..H {
                    let (t, i) = (t0 + k, b * H + k);
                    let real = t < len;
                    assert_eq!(batch.mask[i], real as u8 as f32);
                    let expected = if real { (1000 * id + t) as f32 } else { 0.0 };
                    assert_eq!(batch.rewards[i], expected);
                    assert_eq!(batch.actions[i], if real { t as f32 } else { 0.0 });
                    assert_eq!(batch.terminated[i], (terminated && t + 1 == len) as u8 as f32);
                    let next = &batch.observations[(b * (H + 1) + k + 1) * 2..][..2];
                    assert_eq!(next, [id as f32, (t + 1).min(len) as f32]);
                }
                let cut = terminated || (t0 == 0 && len < H);
                assert!(t0 + H <= len || (cut && t0 < len), "episode {id} of {len}: start {t0}");
            }
        }
        if draws > 2 {
            let stored: Vec<usize> = seen.keys().copied().collect();
            let newest = *stored.iter().max().unwrap();
            assert_eq!(newest, id, "the newest episode is stored");
            for e in stored {
                let starts = if e % 2 == 0 { lengths[e] } else { (lengths[e] + 1).saturating_sub(H).max(1) };
                assert_eq!(seen[&e].len(), starts, "episode {e} of {} transitions", lengths[e]);
            }
        }
    }
}

/// Sampling uniformly over episodes first over-weights short ones (torchrl's and tdmpc2-jax's samplers): with equal
/// priorities every start must be equally likely (χ² test at p ≈ 1e-6).
#[test]
fn equal_priorities_mean_equal_probabilities() {
    let mut replay = replay(300);
    for (id, len) in [10, 80, 7, 40].into_iter().enumerate() {
        replay.add(&episode(id, len), Ending::Truncated).unwrap();
    }
    let (mut stream, mut batch) = (Stream::new(2, "test"), Batch::default());
    let mut counts: HashMap<usize, f64> = HashMap::new();
    replay.sample(200_000, H, &mut stream, &mut batch);
    for &start in &batch.starts {
        *counts.entry(start).or_default() += 1.0;
    }
    let cells = [10, 80, 7, 40].into_iter().map(|len| len + 1 - H).sum::<usize>();
    assert_eq!(counts.len(), cells);
    let expected = 200_000.0 / cells as f64;
    let chi2: f64 = counts.values().map(|c| (c - expected).powi(2) / expected).sum();
    let freedom = cells as f64 - 1.0;
    assert!(chi2 < freedom + 5.0 * (2.0 * freedom).sqrt(), "χ² = {chi2} with {freedom} degrees of freedom");
    assert!(batch.weights.iter().all(|w| (w - 1.0).abs() < 1e-6));
}

#[test]
fn priorities_shape_sampling_and_importance_weights_undo_it() {
    let mut replay = replay(100);
    replay.add(&episode(0, 6), Ending::Truncated).unwrap(); // starts 0 and 1
    let (mut stream, mut batch) = (Stream::new(3, "test"), Batch::default());
    replay.set_priorities(&[0, 1], &[1.0, 32.0]);
    replay.sample(100_000, H, &mut stream, &mut batch);
    let share = batch.starts.iter().filter(|&&s| s == 1).count() as f64 / 1e5;
    let expected = 32f64.powf(0.6) / (1.0 + 32f64.powf(0.6)); // 8/9
    assert!((share - expected).abs() < 0.01, "{share} {expected}");
    let weight = |start| batch.weights[batch.starts.iter().position(|&s| s == start).unwrap()] as f64;
    assert!((weight(0) - 1.0).abs() < 1e-6);
    assert!((weight(1) - 8f64.powf(-0.4)).abs() < 1e-3);
}

#[test]
fn new_episodes_get_the_largest_priority_and_bad_numbers_are_ignored() {
    let mut replay = replay(100);
    replay.add(&episode(0, 6), Ending::Truncated).unwrap();
    replay.set_priorities(&[0, 1], &[9.0, f32::NAN]);
    replay.add(&episode(1, 6), Ending::Truncated).unwrap();
    let p = replay.export().priorities;
    assert!((p[0] - 9f64.powf(0.6)).abs() < 1e-5 && p[1] == 1.0);
    assert_eq!((p[7], p[8]), (p[0], p[0]));
    replay.set_priorities(&[3], &[5.0]); // not a start: evicted, or inside the last H steps
    assert_eq!(replay.export().priorities[3], 0.0);
}

#[test]
fn a_restored_replay_samples_the_same_sequences() {
    let mut a = replay(100);
    for id in 0..20 {
        a.add(&episode(id, 3 + id), if id % 3 == 0 { Ending::Terminated } else { Ending::Truncated })
            .unwrap();
    }
    let mut b = replay(100);
    b.import(a.export()).unwrap();
    for id in 20..40 {
        let (mut s, mut t) = (Stream::new(id as u64, "test"), Stream::new(id as u64, "test"));
        let (mut x, mut y) = (Batch::default(), Batch::default());
        a.sample(64, H, &mut s, &mut x);
        b.sample(64, H, &mut t, &mut y);
        assert_eq!(x, y);
        for r in [&mut a, &mut b] {
            let priorities: Vec<f32> = x.starts.iter().map(|&s| s as f32).collect();
            r.set_priorities(&x.starts, &priorities);
            r.add(&episode(id, id), Ending::Truncated).unwrap();
        }
    }
    assert_eq!(a.export(), b.export());
    assert!(matches!(replay(10).import(a.export()), Err(ReplayError::Inconsistent(_))));
}

#[test]
fn an_episode_longer_than_the_ring_is_refused() {
    let error = replay(10).add(&episode(0, 10), Ending::Truncated).unwrap_err();
    assert_eq!(error, ReplayError::EpisodeTooLong { len: 10, capacity: 10 });
}

/// Windows for diagnostics: any horizon, every start as likely as any other, episodes never crossed.
#[test]
fn windows_are_uniform_over_all_starts_of_any_horizon() {
    let mut replay = replay(300);
    for (id, len) in [(0, 30), (1, 3), (2, 12)] {
        replay.add(&episode(id, len), Ending::Truncated).unwrap();
    }
    // starts of windows of 10 steps: 21, one that is padded, 3
    let (draws, horizon) = (25_000, 10);
    let batch = replay.windows(draws, horizon, &mut Stream::new(1, "test"));
    let mut counts: HashMap<(usize, usize), usize> = HashMap::new();
    for b in 0..draws {
        let first = &batch.observations[b * (horizon + 1) * 2..][..2];
        let (id, t0) = (first[0] as usize, first[1] as usize);
        *counts.entry((id, t0)).or_default() += 1;
        let real = if id == 1 { 3 } else { horizon };
        for k in 0..horizon {
            assert_eq!(batch.mask[b * horizon + k], (k < real) as u8 as f32);
            let expected = if k < real { (1000 * id + t0 + k) as f32 } else { 0.0 };
            assert_eq!(batch.rewards[b * horizon + k], expected);
        }
    }
    assert_eq!(counts.len(), 25);
    // 1000 each; six standard deviations of a binomial count are 190
    assert!(counts.values().all(|&n| (810..1190).contains(&n)), "{counts:?}");
}
