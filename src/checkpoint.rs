//! Checkpoints: one folder that is complete or absent.
//!
//! A checkpoint is written beside its place and renamed into it when it is on the disk, so a kill at any moment leaves
//! the one before. It holds everything: configuration, networks, slow target, optimiser moments, replay, random
//! streams, counters, and the episode being lived.

use crate::config::{ConfigError, RunConfig};
use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use td_koopman_agents::learner::{LearnerState, Parameter};
use td_koopman_agents::replay::ReplayArrays;

const PREFIX: &str = "checkpoint-";
/// CRC-32C of each of the other files.
const SUMS: &str = "crc32c.json";

/// A complete checkpoint on the disk.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    number: u64,
}

impl Checkpoint {
    /// The newest checkpoint of a run folder.
    pub fn newest(run_folder: &Path) -> Result<Option<Self>> {
        Ok(all(run_folder)?.into_iter().max_by_key(|c| c.number))
    }

    /// The newest checkpoint of a run that somebody named.
    ///
    /// # Errors
    /// There is none.
    pub fn newest_of(run: &Path) -> Result<Self> {
        let checkpoint = if run.is_dir() { Self::newest(run)? } else { None };
        let missing = || {
            ConfigError(format!(
                "{} holds no checkpoint: give the folder of a run; one that began just now has its first after \
                 `train.checkpoint_seconds`",
                run.display()
            ))
        };
        Ok(checkpoint.ok_or_else(missing)?)
    }

    /// What `read` makes of the newest checkpoint of a run that somebody named. A run in progress replaces its checkpoints: if
    /// that happens while one is read, the next one is.
    pub fn read_newest<T>(run: &Path, read: impl Fn(&Self) -> Result<T>) -> Result<T> {
        loop {
            let checkpoint = Self::newest_of(run)?;
            match read(&checkpoint) {
                // the next one is in its place before an old one goes
                Err(_) if Self::newest_of(run)?.number > checkpoint.number => {}
                outcome => return outcome,
            }
        }
    }

    /// Writes a checkpoint after `previous`, and removes the older ones once it is in place.
    pub fn write<S: Serialize>(
        run_folder: &Path,
        previous: Option<&Self>,
        config: &RunConfig,
        state: &S,
        learner: &LearnerState,
        replay: &ReplayArrays,
    ) -> Result<Self> {
        let number = previous.map_or(0, |c| c.number) + 1;
        let folder = run_folder.join(format!("{PREFIX}{number}"));
        let partial = run_folder.join("partial-checkpoint");
        let write = || -> Result<()> {
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            fs::create_dir(&partial)?;
            let mut sums = BTreeMap::new();
            let mut put = |name: &'static str, bytes: &[u8]| {
                sums.insert(name, crc32c::crc32c(bytes));
                put(&partial.join(name), bytes)
            };
            put("config.toml", config.to_toml().as_bytes())?;
            put("state.json", &serde_json::to_vec(state)?)?;
            put("agent.safetensors", &agent_file(learner)?)?;
            put("replay.safetensors", &replay_file(replay)?)?;
            self::put(&partial.join(SUMS), &serde_json::to_vec(&sums)?)?;
            File::open(&partial)?.sync_all()?;
            fs::rename(&partial, &folder)?;
            File::open(run_folder)?.sync_all()?;
            Ok(())
        };
        write().with_context(|| format!("cannot write the checkpoint {}", folder.display()))?;
        for old in all(run_folder)?.into_iter().filter(|c| c.number < number) {
            fs::remove_dir_all(&old.folder)
                .with_context(|| format!("cannot remove the old checkpoint {}", old.folder.display()))?;
        }
        Ok(Self { folder, number })
    }

    /// The configuration of the run.
    pub fn config(&self) -> Result<RunConfig> {
        let path = self.folder.join("config.toml");
        let text =
            String::from_utf8(self.read("config.toml")?).with_context(|| self.damaged("config.toml"))?;
        RunConfig::from_toml(&text, &path.display().to_string()).with_context(|| {
            format!("{} was written by another version of td-koopman", self.folder.display())
        })
    }

    /// What tells its weights from those of other checkpoints.
    pub fn fingerprint(&self) -> Result<String> {
        let bytes = self.read("agent.safetensors")?;
        Ok(format!("{:08x}-{}", crc32c::crc32c(&bytes), bytes.len()))
    }

    /// Counters, streams, the episode being lived.
    pub fn state<S: DeserializeOwned>(&self) -> Result<S> {
        let bytes = self.read("state.json")?;
        serde_json::from_slice(&bytes).with_context(|| self.damaged("state.json"))
    }

    /// Networks and optimisers.
    pub fn learner(&self) -> Result<LearnerState> {
        let bytes = self.read("agent.safetensors")?;
        read_agent(&bytes).with_context(|| self.damaged("agent.safetensors"))
    }

    /// Replayed experience.
    pub fn replay(&self) -> Result<ReplayArrays> {
        let bytes = self.read("replay.safetensors")?;
        read_replay(&bytes).with_context(|| self.damaged("replay.safetensors"))
    }

    /// A file, whose bytes are those that were written; checkpoints of older versions have no checksums.
    fn read(&self, file: &str) -> Result<Vec<u8>> {
        let read = |file: &str| fs::read(self.folder.join(file)).with_context(|| self.damaged(file));
        let bytes = read(file)?;
        if self.folder.join(SUMS).exists() {
            let sums: BTreeMap<String, u32> =
                serde_json::from_slice(&read(SUMS)?).with_context(|| self.damaged(SUMS))?;
            ensure!(sums.get(file) == Some(&crc32c::crc32c(&bytes)), self.damaged(file));
        }
        Ok(bytes)
    }

    fn damaged(&self, file: &str) -> String {
        format!(
            "the checkpoint {} is damaged, {file} is not what was written: put back a copy of the folder if there is one, or begin \
             the run again in another",
            self.folder.display()
        )
    }
}

fn all(run_folder: &Path) -> Result<Vec<Checkpoint>> {
    let cannot_list = || format!("cannot list the run folder {}", run_folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(run_folder).with_context(cannot_list)? {
        let entry = entry.with_context(cannot_list)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        found.extend(number.map(|number| Checkpoint { folder: entry.path(), number }));
    }
    Ok(found)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

fn bytes<T: bytemuck::NoUninit>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values) // safetensors are little-endian, as every supported machine is
}

fn agent_file(learner: &LearnerState) -> Result<Vec<u8>> {
    let counters = [learner.updates, learner.optimizer_steps[0], learner.optimizer_steps[1]];
    let counters = TensorView::new(Dtype::U64, vec![3], bytes(&counters))?;
    let mut views = vec![("counters", counters)];
    for (name, p) in &learner.parameters {
        views.push((name.as_str(), TensorView::new(Dtype::F32, p.shape.clone(), bytes(&p.values))?));
    }
    Ok(safetensors::serialize(views, None)?)
}

fn read_agent(file: &[u8]) -> Result<LearnerState> {
    let tensors = SafeTensors::deserialize(file)?;
    let mut parameters = BTreeMap::new();
    let mut counters = Vec::new();
    for (name, view) in tensors.iter() {
        match view.dtype() {
            Dtype::U64 => counters = numbers(view.data()),
            Dtype::F32 => {
                let p = Parameter { shape: view.shape().to_vec(), values: numbers(view.data()) };
                parameters.insert(name.to_owned(), p);
            }
            other => bail!("`{name}` holds {other:?} numbers"),
        }
    }
    let [updates, model_steps, policy_steps] = counters[..] else { bail!("`counters` is missing") };
    Ok(LearnerState { updates, optimizer_steps: [model_steps, policy_steps], parameters })
}

fn replay_file(replay: &ReplayArrays) -> Result<Vec<u8>> {
    let head = [replay.head];
    let view = |dtype, len, data| TensorView::new(dtype, vec![len], data);
    let views = [
        ("observations", view(Dtype::F32, replay.observations.len(), bytes(&replay.observations))?),
        ("actions", view(Dtype::F32, replay.actions.len(), bytes(&replay.actions))?),
        ("rewards", view(Dtype::F32, replay.rewards.len(), bytes(&replay.rewards))?),
        ("priorities", view(Dtype::F64, replay.priorities.len(), bytes(&replay.priorities))?),
        ("episodes", view(Dtype::U64, replay.episodes.len(), bytes(&replay.episodes))?),
        ("head", view(Dtype::U64, 1, bytes(&head))?),
    ];
    Ok(safetensors::serialize(views, None)?)
}

fn read_replay(file: &[u8]) -> Result<ReplayArrays> {
    let tensors = SafeTensors::deserialize(file)?;
    fn get<T: bytemuck::AnyBitPattern>(tensors: &SafeTensors, name: &str) -> Result<Vec<T>> {
        Ok(numbers(tensors.tensor(name)?.data()))
    }
    Ok(ReplayArrays {
        observations: get(&tensors, "observations")?,
        actions: get(&tensors, "actions")?,
        rewards: get(&tensors, "rewards")?,
        priorities: get(&tensors, "priorities")?,
        episodes: get(&tensors, "episodes")?,
        head: get(&tensors, "head")?.first().copied().context("`head` is empty")?,
    })
}

/// Numbers from bytes of any alignment.
pub(crate) fn numbers<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    fn learner() -> LearnerState {
        let p = |shape: Vec<usize>, values: Vec<f32>| Parameter { shape, values };
        LearnerState {
            updates: 7,
            optimizer_steps: [7, 6],
            parameters: BTreeMap::from([
                ("world.a".into(), p(vec![2, 1], vec![1.5, f32::MIN_POSITIVE])),
                ("adam.a.first".into(), p(vec![3], vec![0.1, -0.2, 1e-38])),
            ]),
        }
    }

    fn replay() -> ReplayArrays {
        ReplayArrays {
            observations: vec![0.1, 0.2, 0.3, 0.4],
            actions: vec![1.0, 0.0],
            rewards: vec![2.0, 0.0],
            priorities: vec![0.123456789012345, 0.0],
            episodes: vec![0, 1, 1],
            head: 2,
        }
    }

    #[test]
    fn everything_written_is_read_back_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let config = with(&["env=linear"]).unwrap();
        assert!(Checkpoint::newest(folder.path()).unwrap().is_none());
        let state = (1u64, vec![0.1f32, 1e-40], 0.1f64 + 0.2);
        let written = Checkpoint::write(folder.path(), None, &config, &state, &learner(), &replay()).unwrap();
        let newest = Checkpoint::newest(folder.path()).unwrap().unwrap();
        assert_eq!(newest.folder, written.folder);
        assert_eq!(newest.config().unwrap(), config);
        assert_eq!(newest.state::<(u64, Vec<f32>, f64)>().unwrap(), state);
        assert_eq!(newest.learner().unwrap(), learner());
        assert_eq!(newest.replay().unwrap(), replay());
    }

    #[test]
    fn a_killed_write_leaves_the_checkpoint_before_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let config = with(&["env=linear"]).unwrap();
        let write = |previous: Option<&Checkpoint>, n: u64| {
            Checkpoint::write(folder.path(), previous, &config, &n, &learner(), &replay()).unwrap()
        };
        let first = write(None, 1);
        // killed while writing the second one
        fs::create_dir(folder.path().join("partial-checkpoint")).unwrap();
        fs::write(folder.path().join("partial-checkpoint/state.json"), "{").unwrap();
        assert_eq!(Checkpoint::newest(folder.path()).unwrap().unwrap().state::<u64>().unwrap(), 1);
        write(Some(&first), 2);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["checkpoint-2"]);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let config = with(&["env=linear"]).unwrap();
        let c = Checkpoint::write(folder.path(), None, &config, &1, &learner(), &replay()).unwrap();
        // a single bit of a weight: it went unnoticed, and training went on from it
        let path = c.folder.join("agent.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", c.learner().unwrap_err());
        assert!(error.contains("checkpoint-1 is damaged, agent.safetensors"), "{error}");
        fs::remove_file(c.folder.join("state.json")).unwrap();
        let error = format!("{:#}", c.state::<u64>().unwrap_err());
        assert!(
            error.contains("checkpoint-1 is damaged, state.json") && error.contains("No such"),
            "{error}"
        );
        let error = Checkpoint::read_newest(folder.path(), Checkpoint::learner).unwrap_err();
        assert!(error.to_string().contains("checkpoint-1 is damaged"), "{error}");
    }

    /// `eval` and `diagnose` failed when the run went on while they looked at it.
    #[test]
    fn a_checkpoint_that_is_replaced_while_it_is_read_is_read_from_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let config = with(&["env=linear"]).unwrap();
        let write = |previous: Option<&Checkpoint>, n: u64| {
            Checkpoint::write(folder.path(), previous, &config, &n, &learner(), &replay()).unwrap()
        };
        write(None, 1);
        let read = |checkpoint: &Checkpoint| {
            if checkpoint.number == 1 {
                write(Some(checkpoint), 2);
            }
            checkpoint.state::<u64>()
        };
        assert_eq!(Checkpoint::read_newest(folder.path(), read).unwrap(), 2);
    }
}
