//! Evaluations during training, some of them with a video.

use crate::config::RunConfig;
use crate::evaluate::{Scores, evaluate, watch};
use crate::record::say;
use crate::task::Task;
use crate::video::{Options, Video};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use td_koopman_agents::agent::{Agent, Schedule};

/// The file for a video of the evaluation after `env_step` steps, if there is to be one.
pub fn file(config: &RunConfig, folder: &Path, env_step: u64) -> Option<PathBuf> {
    let (every, number) = (config.evaluation.video_every, env_step / config.evaluation.every);
    let wanted = every > 0 && (number.is_multiple_of(every) || env_step >= config.steps);
    wanted.then(|| folder.join("videos").join(format!("{env_step}.gif")))
}

/// A video in `path`; none, after a warning, if there can be none: training goes on without.
fn open(path: &Path, task: &mut Task) -> Option<Video> {
    let mut open = || {
        let folder = path.parent().context("a video lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Video::open(path, Options::default(), task)
    };
    open().unwrap_or_else(|error| {
        say(format_args!("warning: no video: {error:#}"));
        None
    })
}

/// Evaluates in an environment of its own, so that training goes on as if nobody had looked; records the first episode
/// into `film`. `None` if `stop` was raised meanwhile.
pub fn evaluation(
    agent: &Agent,
    schedule: Schedule,
    config: &RunConfig,
    film: Option<&Path>,
    stop: &AtomicBool,
) -> Result<Option<Scores>> {
    let mut task = Task::open(&config.env, config.train.action_repeat)?;
    let (episodes, seed) = (config.evaluation.episodes, config.seed);
    let scores = match film.and_then(|path| open(path, &mut task)) {
        Some(mut video) => {
            let scores = watch(agent, &mut task, schedule, episodes, seed, stop, &mut video);
            if let Err(error) = video.finish() {
                say(format_args!("warning: no video: {error:#}"));
            }
            scores
        }
        None => evaluate(agent, &mut task, schedule, episodes, seed, stop, |_| {}),
    };
    task.require_alive()?;
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It ended the training, unsaved.
    #[test]
    fn a_video_that_cannot_be_written_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("videos"), "a file where the folder belongs").unwrap();
        let mut task = Task::open(&"pendulum".into(), 0).unwrap();
        assert!(open(&folder.path().join("videos/9.gif"), &mut task).is_none());
        assert!(open(&folder.path().join("9.gif"), &mut task).is_some());
    }
}
