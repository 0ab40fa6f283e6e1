//! `td-koopman diagnose`.

use super::{INTERRUPTED, stop_on_ctrl_c, with_threads};
use crate::checkpoint::Checkpoint;
use crate::cli::{DiagnoseArgs, settings, whole_numbers};
use crate::config::{ConfigError, Layer, RunConfig};
use crate::diagnose::{Value, model, modes, returns};
use crate::provenance::COMMIT;
use crate::report::{Disc, Eigenvalue, require_svg, write_spectrum};
use crate::task::Task;
use crate::train::{self, restore};
use anyhow::Result;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use td_koopman_agents::config::DynamicsKind;
use td_koopman_agents::modes::Mode;
use td_koopman_agents::replay::Replay;

/// The depth, in decisions, at which modes are judged in a picture.
const SHOWN: usize = 5;

/// Prints what the models of some runs are worth.
pub fn run(args: &DiagnoseArgs) -> Result<ExitCode> {
    let stop = stop_on_ctrl_c()?;
    match table(args, &stop)? {
        Some(table) => writeln!(io::stdout(), "{table}").map(|()| ExitCode::SUCCESS).map_err(Into::into),
        None => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// A table of both for the newest checkpoints of some runs, a column a run; `None` if `stop` was raised meanwhile.
fn table(args: &DiagnoseArgs, stop: &AtomicBool) -> Result<Option<String>> {
    let configs = args.runs.iter().map(|run| configuration(run, args)).collect::<Result<Vec<_>>>()?;
    let koopman = |config: &RunConfig| config.model.dynamics == DynamicsKind::Koopman;
    if args.spectrum.is_some() && !configs.iter().any(koopman) {
        return Err(
            ConfigError("--spectrum draws Koopman dynamics, and none of these runs has them".into()).into()
        );
    }
    args.spectrum.as_deref().map(require_svg).transpose()?;
    let (mut columns, mut discs) = (Vec::new(), Vec::new());
    for (i, (run, config)) in args.runs.iter().zip(&configs).enumerate() {
        let examined = with_threads(config.threads, || examine(run, config, args, stop))?;
        let Some(Examined { values, modes }) = examined else { return Ok(None) };
        columns.push(values);
        discs.extend(modes.map(|modes| disc(i + 1, run, &modes)));
    }
    if let Some(path) = &args.spectrum {
        let subtitle = format!("areas: shares of the latent's variance; commit {COMMIT}");
        let shade = format!("missed after {SHOWN} decisions, over the mode's variance");
        write_spectrum(path, "eigenvalues, and how true their modes are", &subtitle, &shade, &discs)?;
    }
    Ok(Some(lay_out(&args.runs.iter().map(|run| run.display().to_string()).collect::<Vec<_>>(), &columns)))
}

/// That of a run, with what the command line says.
fn configuration(run: &Path, args: &DiagnoseArgs) -> Result<RunConfig> {
    let mut changes = settings(&args.set)?;
    let horizons = whole_numbers("eval-horizons", args.eval_horizons.iter().map(|&h| h as u64))?;
    changes.push(Layer::key("--eval-horizons", "evaluation.horizons", horizons));
    train::configuration(run, changes)
}

/// What is known of a run.
struct Examined {
    values: Vec<Value>,
    /// Of Koopman dynamics, if they are to be drawn.
    modes: Option<Vec<Mode>>,
}

fn examine(
    run: &Path,
    config: &RunConfig,
    args: &DiagnoseArgs,
    stop: &AtomicBool,
) -> Result<Option<Examined>> {
    let mut task = Task::open(&config.env, config.train.action_repeat)?;
    let (observations, actions) = (task.spec().observation_dim, task.spec().action_dim());
    let (agent, state, saved) = Checkpoint::read_newest(run, |checkpoint| {
        let (agent, state) = restore(config, checkpoint, task.spec())?;
        Ok((agent, state, checkpoint.replay()?))
    })?;
    let mut replay = Replay::new(&config.replay, config.learner.horizon, observations, actions);
    replay.import(saved)?;
    let mut values = vec![("env_step".into(), state.env_step as f64)];
    values.extend(model(&agent, &replay, args.seed, state.env_step));
    let modes = args.spectrum.as_ref().and_then(|_| modes(&agent, &replay, args.seed, state.env_step));
    let schedule = agent.schedule(state.episode_start());
    let returns =
        returns(&agent, &mut task, schedule, &config.evaluation.horizons, args.episodes, args.seed, stop);
    task.require_alive()?;
    Ok(returns.map(|returns| {
        values.extend(returns);
        Examined { values, modes }
    }))
}

/// The eigenvalues of a run, by its number in the table.
fn disc(number: usize, run: &Path, modes: &[Mode]) -> Disc {
    let name = run.file_name().unwrap_or(run.as_os_str()).to_string_lossy();
    // as much as has room below a disc
    let label: String = format!("{number}  {name}").chars().take(28).collect();
    let eigenvalue = |mode: &Mode| {
        let residual = mode.missed.get(SHOWN - 1).copied().unwrap_or(f64::NAN);
        Eigenvalue { re: mode.lambda[0], im: mode.lambda[1], share: mode.share, residual }
    };
    Disc { label, eigenvalues: modes.iter().map(eigenvalue).collect() }
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
