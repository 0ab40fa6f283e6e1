//! Of both layouts, with files that h5py wrote.

use super::write::CHUNK;
use super::{read, write};
use hdf5_pure::File;
use std::fs;
use std::path::{Path, PathBuf};
use td_koopman_agents::offline::Recording;
use td_koopman_agents::replay::Episode;

/// Written by `scripts/write_hdf5_fixtures.py`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The script's formula: 100 e + t + 0.25 j, negative for actions, + 0.5 for the reward.
fn episode(e: usize, steps: usize) -> Episode {
    let number = |t: usize, j: usize| 100.0 * e as f32 + t as f32 + 0.25 * j as f32;
    let vectors = |rows: usize, dims: usize, sign: f32| {
        (0..rows).flat_map(|t| (0..dims).map(move |j| sign * number(t, j))).collect()
    };
    Episode {
        observations: vectors(steps + 1, 3, 1.0),
        actions: vectors(steps, 2, -1.0),
        rewards: (0..steps).map(|t| number(t, 2)).collect(),
    }
}

fn recording(steps: impl IntoIterator<Item = usize>) -> Recording {
    let episodes = steps.into_iter().enumerate().map(|(e, steps)| episode(e, steps)).collect();
    Recording { observation_dim: 3, action_dim: 2, episodes }
}

#[test]
fn d4rl_files_of_h5py_are_read_to_the_bit() {
    assert_eq!(read(&fixture("d4rl.hdf5")).unwrap(), recording([4, 2, 5]));
    assert_eq!(read(&fixture("d4rl_no_timeouts.hdf5")).unwrap(), recording([4, 2, 5]));
    // what the last action led to is not in the file
    assert_eq!(read(&fixture("d4rl_no_next_observations.hdf5")).unwrap(), recording([3, 1, 4]));
}

/// In the order of text, episode 10 would come third.
#[test]
fn minari_episodes_are_in_the_order_of_their_numbers() {
    assert_eq!(read(&fixture("minari.hdf5")).unwrap(), recording((0..11).map(|e| 2 + e % 3)));
}

#[test]
fn what_is_written_is_read_to_the_bit() {
    let mut written = recording([1, 7, CHUNK + 3, 2]);
    for (i, x) in written.episodes.iter_mut().flat_map(|e| &mut e.observations).enumerate() {
        *x = [-0.0, f32::MIN_POSITIVE / 8.0, f32::MAX, 1.0 / 3.0, i as f32 * 0.1][i % 5];
    }
    // the second starts where the first ends: only the flag tells them apart
    let last = written.episodes[0].observations[3..].to_vec();
    written.episodes[1].observations[..3].copy_from_slice(&last);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.hdf5");
    write(&path, &written, &[true, false, false, true]).unwrap();
    let again = read(&path).unwrap();
    let bits = |r: &Recording| -> Vec<u32> {
        let numbers = |e: &Episode| [&e.observations[..], &e.actions, &e.rewards].concat();
        r.episodes.iter().flat_map(numbers).map(f32::to_bits).collect()
    };
    assert_eq!(bits(&again), bits(&written));
    assert_eq!(again, written);

    let root = File::open(&path).unwrap().root();
    let set = |name| {
        let flags = root.dataset(name).unwrap().read_u8().unwrap();
        (0..flags.len()).filter(|&t| flags[t] != 0).collect::<Vec<_>>()
    };
    assert_eq!(set("terminals"), [0, CHUNK + 12]);
    assert_eq!(set("timeouts"), [7, CHUNK + 10]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a partial file was left behind");
}

#[test]
fn a_recording_that_no_file_can_hold_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.hdf5");
    let mut cut = recording([2, 2]);
    cut.episodes[1].actions.pop();
    for (recording, ends, expected) in [
        (recording([2, 2]), 1, "it has 2 episodes, but of 1"),
        (recording([2, 0]), 2, "episode 1 has no transition"),
        (recording([]), 0, "it has no episodes"),
        (Recording::default(), 0, "it has 0 numbers of an observation"),
        (cut, 2, "episode 1 of 2 steps has [9, 3] numbers"),
    ] {
        let error = format!("{:#}", write(&path, &recording, &vec![false; ends]).unwrap_err());
        assert!(error.contains(expected) && error.contains("a.hdf5"), "{error}");
    }
    assert!(!path.exists());
}

/// What is in a dataset, with how many of it in which shape.
#[derive(Clone, Copy)]
enum Content {
    /// Zeros, the last of which is another number.
    Floats(&'static [u64], f64),
    Integers(&'static [u64]),
    Text,
    Group,
    Nothing,
}
use Content::*;

/// What is said of a file with this content.
fn refused<'a>(content: impl IntoIterator<Item = (&'a str, Content)>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.hdf5");
    let file = File::create(&path).unwrap();
    let (root, mut parents) = (file.root(), Vec::new());
    for (name, content) in content {
        if let Some((parent, _)) = name.split_once('/').filter(|(parent, _)| !parents.contains(parent)) {
            root.create_group(parent).unwrap();
            parents.push(parent);
        }
        let size = |shape: &[u64]| shape.iter().product::<u64>() as usize;
        match content {
            Floats(shape, last) => {
                let mut values = vec![0.0; size(shape)];
                values.iter_mut().last().into_iter().for_each(|x| *x = last);
                root.create_dataset(name, |d| _ = d.with_f64_data(&values).with_shape(shape)).map(drop)
            }
            Integers(shape) => root
                .create_dataset(name, |d| _ = d.with_i64_data(&vec![0; size(shape)]).with_shape(shape))
                .map(drop),
            Text => root.create_dataset(name, |d| _ = d.with_strings(&["a"; 4]).unwrap()).map(drop),
            Group => root.create_group(name).map(drop),
            Nothing => Ok(()),
        }
        .unwrap();
    }
    file.commit().unwrap();
    file.close().unwrap();
    let error = format!("{:#}", read(&path).unwrap_err());
    assert!(error.contains("cannot read the recording") && error.contains("bad.hdf5"), "{error}");
    error
}

/// A file is good but for one dataset.
#[test]
fn what_is_wrong_with_a_dataset_is_said() {
    let d4rl = [
        ("observations", Floats(&[4, 3], 0.0)),
        ("next_observations", Floats(&[4, 3], 0.0)),
        ("actions", Floats(&[4, 2], 0.0)),
        ("rewards", Floats(&[4], 0.0)),
        ("terminals", Integers(&[4])),
        ("timeouts", Floats(&[4, 1], 0.0)),
    ];
    let minari = [
        ("episode_0/observations", Floats(&[3, 3], 0.0)),
        ("episode_0/actions", Floats(&[2, 2], 0.0)),
        ("episode_0/rewards", Integers(&[2])),
        ("episode_7/observations", Floats(&[2, 3], 0.0)),
        ("episode_7/actions", Floats(&[1, 2], 0.0)),
        ("episode_7/rewards", Floats(&[1], 0.0)),
    ];
    for (name, content, expected) in [
        ("actions", Nothing, "it has no dataset `actions`"),
        ("rewards", Nothing, "it has no dataset `rewards`"),
        ("terminals", Nothing, "it has no dataset `terminals`"),
        ("observations", Floats(&[4], 0.0), "has shape [4] where [rows, numbers of a row] is needed"),
        ("observations", Floats(&[4, 2, 2], 0.0), "has shape [4, 2, 2] where"),
        ("rewards", Text, "cannot be read as numbers"),
        ("observations", Group, "is a group, of a Dict or Tuple space: only Box spaces"),
        ("observations", Floats(&[4, 3], f64::NAN), "holds NaN in row 3"),
        ("actions", Floats(&[4, 0], 0.0), "has shape [4, 0] where"),
        ("actions", Floats(&[3, 2], 0.0), "has shape [3, 2] where [4, numbers of a row] is needed"),
        ("actions", Integers(&[4]), "holds integers, of a Discrete space: only Box spaces"),
        // too large for the 32 bits of an episode
        ("actions", Floats(&[4, 2], 1e300), "holds inf in row 3"),
        ("rewards", Floats(&[4, 2], 0.0), "has shape [4, 2] where [4, 1] is needed"),
        ("rewards", Floats(&[5], 0.0), "has shape [5] where [4, 1] is needed"),
        ("rewards", Floats(&[4, 1], f64::NEG_INFINITY), "holds -inf in row 3"),
        ("terminals", Floats(&[4], f64::NAN), "holds NaN in row 3"),
        ("timeouts", Floats(&[0], 0.0), "has shape [0] where [4, 1] is needed"),
        ("next_observations", Floats(&[4, 2], 0.0), "has shape [4, 2] where [4, 3] is needed"),
        ("episode_7/observations", Group, "is a group, of a Dict or Tuple space: only Box spaces"),
        ("episode_7/observations", Floats(&[1, 3], 0.0), "has shape [1, 3] where [2, 3] is needed"),
        ("episode_7/observations", Floats(&[2, 4], 0.0), "has shape [2, 4] where [2, 3] is needed"),
        ("episode_7/observations", Integers(&[2, 8, 8, 3]), "has shape [2, 8, 8, 3] where"),
        ("episode_7/observations", Integers(&[2]), "holds integers, of a Discrete space"),
        ("episode_7/actions", Integers(&[1]), "holds integers, of a Discrete space: only Box spaces"),
        ("episode_7/actions", Nothing, "it has no dataset `episode_7/actions`"),
        ("episode_7/rewards", Floats(&[2], 0.0), "has shape [2] where [1, 1] is needed"),
        ("episode_7/rewards", Floats(&[1], f64::NAN), "holds NaN in row 0"),
    ] {
        let good = if name.contains('/') { minari } else { d4rl };
        assert!(good.iter().any(|(other, _)| *other == name));
        let error = refused(good.map(|(other, good)| (other, if other == name { content } else { good })));
        assert!(error.contains(expected) && error.contains(&format!("`{name}`")), "{error}");
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let zeros = |shapes: [&'static [u64]; 3]| shapes.map(|shape| Floats(shape, 0.0));
    for (names, content, expected) in [
        (["", "", ""], [Nothing; 3], "it is neither a D4RL file"),
        (["data/demo_0", "", ""], [Group, Nothing, Nothing], "it is neither a D4RL file"),
        (
            ["episode_0/observations", "episode_0/actions", "episode_0/rewards"],
            zeros([&[1, 3], &[0, 2], &[0]]),
            "it has no transition",
        ),
        (["observations", "actions", "rewards"], zeros([&[0, 3], &[0, 2], &[0]]), "it has no transition"),
        // what the one action led to is not in the file
        (["observations", "actions", "rewards"], zeros([&[1, 3], &[1, 2], &[1]]), "it has no transition"),
    ] {
        let terminals = if names[0] == "observations" { content[2] } else { Nothing };
        let error = refused(names.into_iter().zip(content).chain([("terminals", terminals)]));
        assert!(error.contains(expected), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.hdf5");
    let says = |expected| {
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("a.hdf5") && error.contains(expected), "{error}");
    };
    says("No such file");
    for text in ["", "observation,action\n1,2\n"] {
        fs::write(&path, text).unwrap();
        says("it is not an HDF5 file");
    }
    // a download that stopped
    let whole = fs::read(fixture("d4rl.hdf5")).unwrap();
    for length in [1000, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        says("it is cut off at");
    }
    // rows that an allocation for would have ended the process
    let mut claims = fs::read(fixture("d4rl_no_timeouts.hdf5")).unwrap();
    let shape = [11, 0, 0, 0, 0, 0, 0, 0, 3, 0];
    for at in 0..claims.len() - shape.len() {
        if claims[at..].starts_with(&shape) {
            claims[at + 5] = 1;
        }
    }
    fs::write(&path, &claims).unwrap();
    says("`observations` is damaged: a file of 11504 bytes has no [1099511627787, 3] numbers");
    // damaged in its middle
    let mut damaged = whole;
    let middle = damaged.len() / 4..damaged.len() * 3 / 4;
    damaged[middle].fill(0xA5);
    fs::write(&path, &damaged).unwrap();
    says("cannot read the recording");
}
