//! The run as TensorBoard scalars.

use super::event_file::{EventFile, event_files};
use super::{Diagnosis, Episode, Evaluation, Recorder};
use anyhow::{Context, Result};
use std::{fs, path::Path};
use td_koopman_agents::learner::Losses;

/// Writes scalars to `tensorboard/` in the folder of a run: `tensorboard --logdir <run folder>` shows them.
///
/// The tags are `train/…`, `eval/…`, `loss/…`, `time/…` and, for the diagnostics of the model, `model/…`; the step is
/// the environment step. Times are milliseconds per decision or per update, averaged since the last episode.
pub struct TensorBoardRecorder {
    events: EventFile,
    /// Where the last episode left the counters; unknown until the first episode after a resume.
    last: Option<Counters>,
}

#[derive(Clone, Copy)]
struct Counters {
    env_step: u64,
    decision: u64,
    updates: u64,
    wall_seconds: f64,
}

impl TensorBoardRecorder {
    /// Begins the record anew; the event files of an earlier run in the folder are removed.
    pub fn create(run_folder: &Path) -> Result<Self> {
        let folder = run_folder.join("tensorboard");
        if folder.exists() {
            for path in event_files(&folder)? {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let start = Counters { env_step: 0, decision: 0, updates: 0, wall_seconds: 0.0 };
        Ok(Self { events: EventFile::create(&folder)?, last: Some(start) })
    }

    /// Goes on from a checkpoint at `env_step` in a further file, which tells TensorBoard to forget the events past
    /// that step.
    pub fn resume(run_folder: &Path, env_step: u64) -> Result<Self> {
        let mut events = EventFile::create(&run_folder.join("tensorboard"))?;
        events.restart_at(env_step + 1)?;
        Ok(Self { events, last: None })
    }
}

impl Recorder for TensorBoardRecorder {
    fn episode(&mut self, episode: &Episode) -> Result<()> {
        let mut values = vec![
            ("train/return".to_string(), episode.episode_return),
            ("train/length".to_string(), episode.length as f64),
            ("train/horizon".to_string(), episode.horizon as f64),
            ("train/exploration_std".to_string(), episode.exploration_std),
        ];
        if let Some(losses) = &episode.losses {
            let terms = Losses::TERMS.iter().zip(losses.terms());
            values.extend(terms.map(|(name, value)| (format!("loss/{name}"), value)));
            values.push(("train/gradient_norm".to_string(), losses.gradient_norm));
        }
        if let Some(last) = self.last {
            values.extend(timings(episode, last));
        }
        values.extend(known(&episode.extras));
        self.last = Some(Counters {
            env_step: episode.env_step,
            decision: episode.decision,
            updates: episode.updates,
            wall_seconds: episode.wall_seconds,
        });
        self.events.scalars(episode.env_step, &values)
    }

    fn evaluation(&mut self, evaluation: &Evaluation) -> Result<()> {
        let values = [
            ("eval/return_mean".to_string(), evaluation.return_mean),
            ("eval/return_sd".to_string(), evaluation.return_sd),
        ];
        self.events.scalars(evaluation.env_step, &values)
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) -> Result<()> {
        self.events.scalars(diagnosis.env_step, &known(&diagnosis.values).collect::<Vec<_>>())
    }

    fn flush(&mut self) -> Result<()> {
        self.events.sync()
    }
}

/// The diagnostics of the model that are numbers.
fn known<N: std::fmt::Display>(values: &[(N, f64)]) -> impl Iterator<Item = (String, f64)> {
    let known = values.iter().filter(|(_, value)| value.is_finite());
    known.map(|(name, value)| (format!("model/{name}"), *value))
}

/// What a decision, an update and an environment step cost since the last episode; nothing for what did not happen.
fn timings(episode: &Episode, last: Counters) -> impl Iterator<Item = (String, f64)> {
    let decisions = episode.decision.saturating_sub(last.decision) as f64;
    let updates = episode.updates.saturating_sub(last.updates) as f64;
    let env_steps = episode.env_step.saturating_sub(last.env_step) as f64;
    [
        ("time/plan_ms", 1e3 * episode.plan_seconds / decisions),
        ("time/env_ms", 1e3 * episode.env_seconds / decisions),
        ("time/update_ms", 1e3 * episode.update_seconds / updates),
        ("time/env_steps_per_second", env_steps / (episode.wall_seconds - last.wall_seconds)),
    ]
    .into_iter()
    .filter(|(_, value)| value.is_finite())
    .map(|(tag, value)| (tag.to_string(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::event_file::tests::read;
    use crate::record::events::samples::{episode, evaluation};

    fn read_all(run_folder: &Path) -> Vec<(i64, String, f32)> {
        let mut files = event_files(&run_folder.join("tensorboard")).unwrap();
        files.sort();
        files.iter().flat_map(|path| read(path)).collect()
    }

    fn value(scalars: &[(i64, String, f32)], step: i64, tag: &str) -> Option<f32> {
        scalars.iter().find(|(s, t, _)| *s == step && t == tag).map(|(_, _, value)| *value)
    }

    #[test]
    fn scalars_are_tagged_by_what_they_are_and_times_are_per_decision_and_update() {
        let run = tempfile::tempdir().unwrap();
        let mut recorder = TensorBoardRecorder::create(run.path()).unwrap();
        recorder.episode(&episode(1)).unwrap();
        recorder.episode(&Episode { losses: None, updates: 50, update_seconds: 0.0, ..episode(2) }).unwrap();
        recorder.evaluation(&evaluation(400)).unwrap();

        let scalars = read_all(run.path());
        let expected = [
            ("train/return", -12.5),
            ("loss/consistency", 0.25),
            ("train/gradient_norm", 10.0),
            ("time/plan_ms", 12.5),
            ("time/update_ms", 10.0),
            ("time/env_steps_per_second", 100.0),
            ("model/modes_alive", 32.0),
        ];
        for (tag, expected) in expected {
            assert_eq!(value(&scalars, 200, tag), Some(expected), "{tag}");
        }
        for absent in ["loss/total", "train/gradient_norm", "time/update_ms"] {
            assert_eq!(value(&scalars, 400, absent), None, "{absent} although there was no update");
        }
        assert_eq!(value(&scalars, 400, "eval/return_mean"), Some(512.25));
    }

    /// Before the first plan the mean of its scores is not a number.
    #[test]
    fn diagnostics_that_are_not_known_yet_are_left_out() {
        let run = tempfile::tempdir().unwrap();
        let extras = vec![("elite_score", f64::NAN), ("modes_alive", 32.0)];
        TensorBoardRecorder::create(run.path()).unwrap().episode(&Episode { extras, ..episode(1) }).unwrap();
        let scalars = read_all(run.path());
        assert_eq!(value(&scalars, 200, "model/elite_score"), None);
        assert_eq!(value(&scalars, 200, "model/modes_alive"), Some(32.0));
    }

    #[test]
    fn resuming_leaves_the_old_file_and_tells_the_reader_where_to_go_on() {
        let run = tempfile::tempdir().unwrap();
        TensorBoardRecorder::create(run.path()).unwrap().episode(&episode(1)).unwrap();
        let mut resumed = TensorBoardRecorder::resume(run.path(), 200).unwrap();
        resumed.episode(&episode(2)).unwrap();

        let scalars = read_all(run.path());
        assert_eq!(value(&scalars, 201, "restart"), Some(0.0));
        assert_eq!(value(&scalars, 200, "train/return"), Some(-12.5));
        assert_eq!(value(&scalars, 400, "train/return"), Some(-12.5));
        // the counters of the episode before are not known, so neither are the costs since then
        assert_eq!(value(&scalars, 400, "time/plan_ms"), None);
    }

    #[test]
    fn creating_removes_the_events_of_an_earlier_run_and_nothing_else() {
        let run = tempfile::tempdir().unwrap();
        TensorBoardRecorder::create(run.path()).unwrap().episode(&episode(1)).unwrap();
        fs::write(run.path().join("tensorboard/notes.txt"), "mine").unwrap();
        TensorBoardRecorder::create(run.path()).unwrap();
        assert_eq!(read_all(run.path()), []);
        assert!(run.path().join("tensorboard/notes.txt").exists());
    }
}
