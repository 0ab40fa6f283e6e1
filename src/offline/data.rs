//! Where recordings come from: replays of runs, and files.

use super::measured::Elsewhere;
use super::{OfflineConfig, hdf5};
use crate::checkpoint::Checkpoint;
use crate::config::ConfigError;
use crate::study::choices::list;
use crate::study::text::slug;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use td_koopman_agents::config::DynamicsKind;
use td_koopman_agents::offline::{Errors, Recording, RecordingError, Windows, persistence};
use td_koopman_agents::rng::Stream;

/// Folders below one that was named in which runs are looked for.
const DEPTH: usize = 4;

/// A data set, as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What folders and pages call it.
    pub name: String,
    /// What it is made of.
    pub paths: Vec<PathBuf>,
}

impl Source {
    /// From `PATH[,PATH…]` or `NAME=PATH[,PATH…]`; without a name it has that of the first path.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let named = text.split_once('=').filter(|(name, _)| !name.contains('/'));
        let paths: Vec<PathBuf> =
            list(named.map_or(text, |(_, paths)| paths), ',')?.into_iter().map(PathBuf::from).collect();
        let own = || {
            let name = paths[0].file_name().unwrap_or_default().to_string_lossy();
            slug(name.trim_end_matches(".hdf5").trim_end_matches(".h5")).replace('=', "-")
        };
        let name = named.map_or_else(own, |(name, _)| name.trim().to_owned());
        let is_name = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
        if !name.chars().all(is_name) || !name.contains(char::is_alphanumeric) {
            return Err(ConfigError(format!(
                "`{name}` in --data {text} cannot be a name, it names a folder: write NAME=PATH, with letters, digits, - _ . +"
            )));
        }
        Ok(Self { name, paths })
    }

    /// Reads it all.
    ///
    /// # Errors
    /// Something cannot be read, or is there twice: what is tested on would be among what is learned from.
    pub fn read(&self) -> Result<Recording> {
        let (mut all, mut seen) = (Recording::default(), BTreeSet::new());
        let mut once = |path: &Path| {
            let is_new = seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
            let twice =
                || ConfigError(format!("{} is in `{}` twice; once is enough", path.display(), self.name));
            is_new.then_some(()).ok_or_else(twice)
        };
        for path in &self.paths {
            let read = || format!("cannot learn from {}", path.display());
            let runs = if path.is_dir() { runs_in(path, DEPTH)? } else { Vec::new() };
            match &runs[..] {
                [] if path.is_dir() => {
                    return Err(ConfigError(format!(
                        "{} is no run and has none below it: give the folder of a run, or an HDF5 file",
                        path.display()
                    ))
                    .into());
                }
                [] => {
                    once(path)?;
                    all.append(hdf5::read(path)?).with_context(read)?;
                }
                runs => {
                    for run in runs {
                        once(run)?;
                        let replay = Checkpoint::read_newest(run, Checkpoint::replay)?;
                        all.append(Recording::from(&replay)).with_context(read)?;
                    }
                }
            }
        }
        Ok(all)
    }
}

/// The folder itself if it is a run that has a checkpoint, or else all such folders below it, by name.
fn runs_in(folder: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    if Checkpoint::newest(folder)?.is_some() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut runs = Vec::new();
    if depth > 0 {
        let cannot = || format!("cannot list {}", folder.display());
        let entries = fs::read_dir(folder).with_context(cannot)?;
        let mut below =
            entries.map(|e| Ok(e?.path())).collect::<std::io::Result<Vec<_>>>().with_context(cannot)?;
        below.retain(|path| path.is_dir());
        below.sort();
        for path in below {
            runs.extend(runs_in(&path, depth - 1)?);
        }
    }
    Ok(runs)
}

/// What tells a recording from others: a checksum of all its numbers.
pub fn fingerprint(recording: &Recording) -> String {
    let of = |sum, numbers: &[f32]| crc32c::crc32c_append(sum, bytemuck::cast_slice(numbers));
    let sum = recording.episodes.iter().fold(0, |sum, e| {
        let length = crc32c::crc32c_append(sum, &e.len().to_le_bytes());
        of(of(of(length, &e.observations), &e.actions), &e.rewards)
    });
    format!("{sum:08x}-{}", recording.transitions())
}

/// A data set of a study, and what is known of it: it can be large, and is read again where it is learned from.
pub struct Data {
    /// Where it comes from.
    pub source: Source,
    /// O and A.
    pub dims: [usize; 2],
    /// Of all its episodes.
    pub transitions: usize,
    /// How many there are.
    pub episodes: usize,
    /// Of those, how many are learned from.
    pub learned: usize,
    /// Which recording it is.
    pub fingerprint: String,
    /// Errors of the prediction that nothing changes.
    pub nothing: Errors,
    /// Other recordings that its models are tested on.
    pub elsewhere: Vec<Other>,
}

/// A recording of which nothing is learned.
pub struct Other {
    /// Where it comes from.
    pub source: Source,
    /// Of all its episodes.
    pub transitions: usize,
    /// How many there are.
    pub episodes: usize,
    /// Which recording it is.
    pub fingerprint: String,
    /// Errors of the prediction that nothing changes, in units of what was learned from.
    pub nothing: Errors,
}

impl Other {
    /// As cells know it.
    pub fn named(&self) -> Elsewhere {
        Elsewhere { name: self.source.name.clone(), fingerprint: self.fingerprint.clone() }
    }
}

impl Data {
    /// Reads it, and sees to it that every variant finds windows in it and in those of `tests` that are other recordings of such a
    /// system.
    pub fn read(source: Source, tests: &[(Source, Recording)], configs: &[OfflineConfig]) -> Result<Self> {
        let recording = source.read()?;
        let dims = |of: &Recording| [of.observation_dim, of.action_dim];
        let (own, fingerprint) = (dims(&recording), fingerprint(&recording));
        let (transitions, episodes) = (recording.transitions(), recording.episodes.len());
        // what is learned from is tested on episodes kept from it anyhow
        let tests: Vec<_> = (tests.iter())
            .map(|(source, test)| (source, test, self::fingerprint(test)))
            .filter(|(_, test, print)| dims(test) == own && *print != fingerprint)
            .collect();
        for (source, test, _) in &tests {
            test.require_windows(configs[0].test.horizon, "to be tested on", "test.horizon")
                .with_context(|| format!("--test {}", source.name))?;
        }
        let recordings = tests.iter().map(|(_, test, _)| Recording::clone(test)).collect();
        let prepared = Prepared::new(recording, recordings, &configs[0])?;
        for config in configs {
            prepared.require_windows(config)?;
        }
        let mut elsewhere = Vec::new();
        for ((source, test, fingerprint), windows) in tests.into_iter().zip(&prepared.elsewhere) {
            elsewhere.push(Other {
                source: source.clone(),
                transitions: test.transitions(),
                episodes: test.episodes.len(),
                fingerprint,
                nothing: persistence(windows, own[0]),
            });
        }
        Ok(Self {
            source,
            dims: own,
            transitions,
            episodes,
            learned: prepared.train.episodes.len(),
            fingerprint,
            nothing: persistence(&prepared.test, own[0]),
            elsewhere,
        })
    }
}

/// A recording as models meet it: split, and in units of what is learned from.
pub struct Prepared {
    /// What is learned from.
    pub train: Recording,
    /// What is predicted to judge models.
    pub test: Windows,
    /// The same of other recordings.
    pub elsewhere: Vec<Windows>,
}

impl Prepared {
    /// Splits `recording` and draws test windows, of it and of recordings of which nothing is learned.
    ///
    /// # Errors
    /// Too few episodes, or none that is long enough.
    pub fn new(recording: Recording, elsewhere: Vec<Recording>, config: &OfflineConfig) -> Result<Self> {
        let seed = config.data.seed;
        let [train, test] = recording.split(config.data.test_share, &mut Stream::new(seed, "split"))?;
        let scale = train.scale();
        let [train, test] = [train, test].map(|part| part.standardised(&scale));
        let windows = |part: &Recording| -> Result<Windows> {
            part.require_windows(config.test.horizon, "to be tested on", "test.horizon")?;
            let mut stream = Stream::new(seed, "test windows");
            Ok(part.windows(config.test.windows, config.test.horizon, &mut stream))
        };
        let test = windows(&test)?;
        let elsewhere = elsewhere.into_iter().map(|part| windows(&part.standardised(&scale)));
        let prepared = Self { train, test, elsewhere: elsewhere.collect::<Result<_>>()? };
        prepared.require_windows(config)?;
        Ok(prepared)
    }

    /// Whether there is something to learn from.
    ///
    /// # Errors
    /// No episode is long enough.
    pub fn require_windows(&self, config: &OfflineConfig) -> Result<(), RecordingError> {
        let key = match config.model.dynamics {
            DynamicsKind::Mlp => "train.mlp_horizon",
            _ => "train.horizon",
        };
        self.train.require_windows(config.horizon(), "to learn from", key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_has_a_name_and_paths() {
        let parse = |text| Source::parse(text).unwrap();
        assert_eq!(parse("runs/a/hopper").name, "hopper");
        assert_eq!(parse("data/hopper-expert.hdf5").name, "hopper-expert");
        let both = parse("hopper=runs/a,b.hdf5");
        assert_eq!((both.name.as_str(), both.paths), ("hopper", vec!["runs/a".into(), "b.hdf5".into()]));
        let odd = parse("runs/lr=0.1");
        assert_eq!(
            (odd.name.as_str(), odd.paths),
            ("lr-0.1", vec!["runs/lr=0.1".into()]),
            "a folder with = in its name"
        );
        for (text, complaint) in
            [("a b=x", "cannot be a name"), ("x=", "empty place"), ("..", "cannot be a name")]
        {
            let error = Source::parse(text).unwrap_err().to_string();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_recording_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| {
            let source = Source { name: "x".into(), paths: vec![path.to_owned()] };
            format!("{:#}", source.read().unwrap_err())
        };
        assert!(error(folder.path()).contains("is no run and has none below it"));
        assert!(error(&folder.path().join("absent.hdf5")).contains("absent.hdf5"));
    }

    /// Of its episodes, there twice, one was learned from and the other tested on.
    #[test]
    fn the_same_recording_twice_is_refused() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/d4rl.hdf5");
        let error = Source::parse(&format!("{path},{path}")).unwrap().read().unwrap_err();
        assert!(
            error.is::<ConfigError>() && error.to_string().contains("d4rl.hdf5 is in `d4rl` twice"),
            "{error}"
        );
    }

    /// Recordings of other systems are none of its business; one of this system that is too short is named.
    #[test]
    fn a_data_set_knows_what_its_models_are_tested_on() {
        let settings = ["data.test_share=0.34", "train.horizon=2", "test.horizon=2", "test.windows=5"];
        let config = crate::offline::config::tests::with(&settings).unwrap();
        let read = |observation_dim: usize, steps: usize| {
            let own = Source::parse(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/d4rl.hdf5")).unwrap();
            let episode = td_koopman_agents::replay::Episode {
                observations: vec![1.0; observation_dim * (steps + 1)],
                actions: vec![0.0; 2 * steps],
                rewards: vec![0.0; steps],
            };
            let other = Recording { observation_dim, action_dim: 2, episodes: vec![episode] };
            let other = (Source { name: "other".into(), paths: Vec::new() }, other);
            Data::read(own, &[other], std::slice::from_ref(&config))
        };
        let [own, foreign] = [3, 4].map(|dim| read(dim, 3).unwrap().elsewhere);
        assert_eq!((own.len(), own[0].transitions, own[0].episodes, foreign.len()), (1, 3, 1, 0));
        // nothing changes there: the states stay, and rewards of 0 are far from the mean of those that were learned from
        assert!(own[0].nothing.state.iter().all(|&e| e == 0.0) && own[0].nothing.reward[0] > 0.1);
        let error = format!("{:#}", read(3, 1).err().unwrap());
        assert!(
            error.contains("--test other") && error.contains("has 2 steps (the longest has 1)"),
            "{error}"
        );
    }

    #[test]
    fn a_number_a_length_and_an_order_make_another_recording() {
        let episode = |rewards: &[f32]| td_koopman_agents::replay::Episode {
            observations: vec![0.0; rewards.len() + 1],
            actions: vec![],
            rewards: rewards.to_vec(),
        };
        let of = |episodes: &[&[f32]]| {
            let episodes = episodes.iter().map(|rewards| episode(rewards)).collect();
            fingerprint(&Recording { observation_dim: 1, action_dim: 0, episodes })
        };
        let all = [of(&[&[1.0, 2.0]]), of(&[&[2.0, 1.0]]), of(&[&[1.0], &[2.0]]), of(&[&[1.0, 2.5]])];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "{all:?}");
        }
    }
}
