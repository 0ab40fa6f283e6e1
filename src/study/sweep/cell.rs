//! One cell of a sweep: what it is, what was measured, and the file that remembers it.

use super::file::{Settings, Subject, words};
use crate::checkpoint::Checkpoint;
use crate::config::RunConfig;
use crate::evaluate::evaluate;
use crate::provenance::COMMIT;
use crate::record::say;
use crate::report::write_atomically;
use crate::study::files;
use crate::study::text::slug;
use crate::task::Task;
use crate::train::{Outcome, restore, train};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A cell of a sweep.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its place in the sweep, from 1.
    pub number: usize,
    /// What is special about it.
    pub settings: Settings,
    /// Its whole configuration.
    pub config: RunConfig,
    /// Everything its result depends on, in words.
    pub identity: String,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Mean return of the episodes (plan), or of the last evaluation (train).
    pub return_mean: f64,
    /// Standard deviation of the returns of the episodes.
    pub return_sd: f64,
    /// Return of the best episode (plan), or of the best evaluation (train).
    pub return_best: f64,
    /// Number of episodes.
    pub episodes: u64,
    /// CPU milliseconds per plan (plan), or CPU seconds of training (train).
    pub cost: f64,
}

/// A finished cell as it is kept.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    identity: String,
    commit: String,
    #[serde(flatten)]
    measured: Measured,
}

impl Cell {
    /// A short name that no other cell of any sweep has: a hash of what its result depends on.
    pub fn id(&self) -> String {
        hash(&self.identity)
    }

    /// Its settings in a few characters: `end=3 num_samples=64`.
    pub fn label(&self) -> String {
        let short = |(key, value): (&String, &toml::Value)| {
            let name = match key.strip_suffix(".end") {
                Some(schedule) => schedule, // `horizon=3` says more than `end=3`
                None => key,
            };
            format!("{}={}", name.rsplit('.').next().unwrap_or(name), value.to_string().replace('"', ""))
        };
        self.settings.iter().map(short).collect::<Vec<_>>().join(" ")
    }

    /// Its folder below that of the sweep's runs.
    pub fn folder(&self, runs: &Path) -> PathBuf {
        let name: String = slug(&self.label()).chars().take(80).collect();
        runs.join(format!("{name}-{}", &self.id()[..8]))
    }

    fn file(&self, out: &Path) -> PathBuf {
        out.join("cells").join(format!("{}.json", self.id()))
    }

    /// What was measured, if it was, and the commit that did it.
    pub fn kept(&self, out: &Path) -> Result<Option<(Measured, String)>> {
        let path = self.file(out);
        if !path.exists() {
            return Ok(None);
        }
        let damaged = || format!("{} is damaged: remove it, and the cell is measured again", path.display());
        let kept: Kept =
            serde_json::from_slice(&std::fs::read(&path).with_context(damaged)?).with_context(damaged)?;
        ensure!(kept.identity == self.identity, damaged());
        Ok(Some((kept.measured, kept.commit)))
    }

    /// Measures it and keeps what was measured.
    ///
    /// # Panics
    /// Without the checkpoint that plays, if one is to play.
    pub fn measure(
        &self,
        subject: &Subject,
        checkpoint: Option<&Checkpoint>,
        runs: &Path,
        out: &Path,
        stop: &AtomicBool,
    ) -> Result<Outcome> {
        let measured = match subject {
            Subject::Plan { episodes, seed, .. } => {
                self.play(checkpoint.expect("an agent plays"), *episodes, *seed, stop)?
            }
            Subject::Train { .. } => self.train(&self.folder(runs), stop)?,
        };
        let Some(measured) = measured else { return Ok(Outcome::Interrupted) };
        let kept = Kept { identity: self.identity.clone(), commit: COMMIT.into(), measured };
        write_atomically(&self.file(out), &serde_json::to_vec_pretty(&kept)?)?;
        Ok(Outcome::Finished)
    }

    fn play(
        &self,
        checkpoint: &Checkpoint,
        episodes: u64,
        seed: u64,
        stop: &AtomicBool,
    ) -> Result<Option<Measured>> {
        let mut task = Task::open(&self.config.env, self.config.train.action_repeat)?;
        let (agent, state) = restore(&self.config, checkpoint, task.spec())?;
        let schedule = agent.schedule(state.episode_start());
        let scores = evaluate(&agent, &mut task, schedule, episodes, seed, stop, |scores| {
            let last = scores.returns.last().copied().unwrap_or_default();
            say(format_args!("episode {} of {episodes}: return {last:.3}", scores.returns.len()));
        });
        task.require_alive()?;
        Ok(scores.map(|scores| Measured {
            return_mean: scores.mean(),
            return_sd: scores.sd(),
            return_best: scores.returns.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            episodes,
            cost: scores.ms_per_plan(),
        }))
    }

    fn train(&self, folder: &Path, stop: &AtomicBool) -> Result<Option<Measured>> {
        if !files::is_finished(&self.config, folder)?
            && train(&self.config, folder, stop)? == Outcome::Interrupted
        {
            return Ok(None);
        }
        let rows = files::evaluations(folder, self.config.steps)?;
        let last = rows.last().with_context(|| format!("{} has no evaluation", folder.display()))?;
        Ok(Some(Measured {
            return_mean: last.return_mean,
            return_sd: last.return_sd,
            return_best: rows.iter().map(|row| row.return_mean).fold(f64::NEG_INFINITY, f64::max),
            episodes: self.config.evaluation.episodes,
            cost: last.cpu_seconds,
        }))
    }
}

/// What the result of a cell depends on: the subject, the agent's weights or the configuration that trains it, and all
/// settings, as they were understood.
pub fn identity(subject: &Subject, weights: &str, config: &RunConfig, settings: &Settings) -> String {
    let settings = words(settings);
    match subject {
        Subject::Plan { episodes, seed, .. } => {
            format!("plan weights={weights} episodes={episodes} seed={seed}: {settings}")
        }
        Subject::Train { preset } => {
            // presets and defaults change from version to version, and with them what the same settings train
            let mut entries = config.entries();
            for key in ["threads", "device", "train.checkpoint_seconds", "evaluation.video_every"] {
                entries.remove(key);
            }
            format!("train preset={} config={}: {settings}", preset.name(), hash(&words(&entries)))
        }
    }
}

/// FNV-1a: stable across versions and platforms, unlike std's hasher.
fn hash(text: &str) -> String {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Preset, tests::with};

    fn cell(samples: i64) -> Cell {
        let settings = Settings::from([
            ("planner.horizon.end".to_owned(), 3.0.into()),
            ("planner.num_samples".to_owned(), samples.into()),
        ]);
        let subject = Subject::Plan { run: "runs/a".into(), episodes: 2, seed: 7 };
        let config = with(&[]).unwrap();
        let identity = identity(&subject, "abc", &config, &settings);
        Cell { number: 1, settings, config, identity }
    }

    /// After a change of a preset a sweep took cells for finished that the older one had trained.
    #[test]
    fn a_trained_cell_is_known_by_its_whole_configuration() {
        let settings = Settings::from([("seed".to_owned(), 1.into())]);
        let subject = Subject::Train { preset: Preset::Light };
        let of = |keys: &[&str]| identity(&subject, "", &with(keys).unwrap(), &settings);
        assert!(
            of(&[]).starts_with("train preset=light config=") && of(&[]).ends_with(": seed=1"),
            "{}",
            of(&[])
        );
        assert_ne!(of(&[]), of(&["learner.rho=0.9"]));
        assert_eq!(
            of(&[]),
            of(&["threads=3", "device=cuda", "train.checkpoint_seconds=1", "evaluation.video_every=2"])
        );
    }

    #[test]
    fn a_cell_is_known_by_what_its_result_depends_on() {
        assert_eq!(
            cell(64).identity,
            "plan weights=abc episodes=2 seed=7: planner.horizon.end=3.0 planner.num_samples=64"
        );
        assert_ne!(cell(64).id(), cell(65).id());
        assert_eq!(cell(64).label(), "horizon=3.0 num_samples=64");
        let folder = cell(64).folder(Path::new("runs/s"));
        assert!(folder.display().to_string().starts_with("runs/s/horizon=3.0-num_samples=64-"));
    }

    #[test]
    fn what_is_kept_is_read_back_and_damage_is_named() {
        let out = tempfile::tempdir().unwrap();
        let cell = cell(64);
        assert_eq!(cell.kept(out.path()).unwrap(), None);
        let measured =
            Measured { return_mean: 0.1 + 0.2, return_sd: 1.0, return_best: 2.0, episodes: 2, cost: 1e-3 };
        let kept = Kept { identity: cell.identity.clone(), commit: "c".into(), measured };
        write_atomically(&cell.file(out.path()), &serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(cell.kept(out.path()).unwrap(), Some((measured, "c".into())));
        std::fs::write(cell.file(out.path()), "{").unwrap();
        assert!(cell.kept(out.path()).unwrap_err().to_string().contains("measured again"));
    }
}
