//! How good the model of an agent is, and what its planning horizon does to its returns.

use crate::checkpoint::Checkpoint;
use crate::cli::{DiagnoseArgs, settings};
use crate::config::{ConfigError, Layer, RunConfig, resolve};
use crate::evaluate::{evaluate, restore};
use crate::task::Task;
use anyhow::Result;
use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::replay::Replay;
use td_koopman_agents::rng::Stream;

/// Sequences that the model is judged on.
const WINDOWS: usize = 256;

/// A named number.
pub type Value = (Cow<'static, str>, f64);

/// The numbers of [`Agent::diagnose`] on sequences of the replay, drawn by seed and step; none without a replay.
pub fn model(agent: &Agent, replay: &Replay, seed: u64, env_step: u64) -> Vec<Value> {
    if replay.is_empty() {
        return Vec::new();
    }
    let mut stream = Stream::new(seed, &format!("diagnosis {env_step}"));
    let windows = replay.windows(WINDOWS, agent.foresight(), &mut stream);
    agent.diagnose(&windows).into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// Mean returns of the same episodes at several planning horizons, as `return_hH`; `None` if `stop` was raised meanwhile.
pub fn returns(
    agent: &Agent,
    task: &mut Task,
    schedule: Schedule,
    horizons: &[usize],
    episodes: u64,
    seed: u64,
    stop: &AtomicBool,
) -> Option<Vec<Value>> {
    let at = |&horizon: &usize| {
        let schedule = Schedule { horizon, ..schedule };
        let scores = evaluate(agent, task, schedule, episodes, seed, stop, |_| {})?;
        Some((format!("return_h{horizon}").into(), scores.mean()))
    };
    horizons.iter().map(at).collect()
}

/// A table of both for the newest checkpoints of some runs, a column a run; `None` if `stop` was raised meanwhile.
pub fn table(args: &DiagnoseArgs, stop: &AtomicBool) -> Result<Option<String>> {
    if args.eval_horizons.contains(&0) {
        return Err(ConfigError("--eval-horizons must all be at least 1".into()).into());
    }
    let mut columns = Vec::new();
    for run in &args.runs {
        let Some(values) = examine(run, args, stop)? else { return Ok(None) };
        columns.push(values);
    }
    Ok(Some(lay_out(&args.runs.iter().map(|run| run.display().to_string()).collect::<Vec<_>>(), &columns)))
}

fn examine(run: &Path, args: &DiagnoseArgs, stop: &AtomicBool) -> Result<Option<Vec<Value>>> {
    let checkpoint = Checkpoint::newest_of(run)?;
    let mut layers = vec![Layer::parse("the run's configuration", &checkpoint.config()?.to_toml())?];
    layers.extend(settings(&args.set)?);
    let config: RunConfig = resolve(&layers)?;
    let mut task = Task::open(&config.env, config.train.action_repeat)?;
    let (agent, state) = restore(&config, &checkpoint, &task)?;
    let (observations, actions) = (task.spec().observation_dim, task.spec().action_dim());
    let mut replay = Replay::new(&config.replay, config.learner.horizon, observations, actions);
    replay.import(checkpoint.replay()?)?;
    let mut values = vec![("env_step".into(), state.env_step as f64)];
    values.extend(model(&agent, &replay, args.seed, state.env_step));
    let schedule = agent.schedule(state.episode_start());
    let returns = returns(&agent, &mut task, schedule, &args.eval_horizons, args.episodes, args.seed, stop);
    task.require_alive()?;
    Ok(returns.map(|returns| {
        values.extend(returns);
        values
    }))
}

/// A line a number, a column a run.
fn lay_out(runs: &[String], columns: &[Vec<Value>]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(&name.as_ref()) {
            names.push(name);
        }
    }
    let mut text = String::new();
    for (i, run) in runs.iter().enumerate() {
        let _ = writeln!(text, "{:>3}  {run}", i + 1);
    }
    let _ = write!(text, "\n{:<20}", "");
    for i in 1..=runs.len() {
        let _ = write!(text, "{i:>11}");
    }
    for name in names {
        let _ = write!(text, "\n{name:<20}");
        for column in columns {
            let cell = match column.iter().find(|(n, _)| n == name) {
                Some((_, value)) if value.abs() >= 100.0 => format!("{value:.0}"),
                Some((_, value)) => format!("{value:.3}"),
                None => "–".into(),
            };
            let _ = write!(text, "{cell:>11}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_only_one_run_has_leaves_a_gap_in_the_others() {
        let columns = [
            vec![("a".into(), 1234.5), ("linear_share".into(), 0.5)],
            vec![("a".into(), -0.25), ("return_h1".into(), f64::NAN)],
        ];
        let text = lay_out(&["one".into(), "two".into()], &columns);
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[4], ["a", "1234", "-0.250"]);
        assert_eq!(lines[5], ["linear_share", "0.500", "–"]);
        assert_eq!(lines[6], ["return_h1", "–", "NaN"]);
    }
}
