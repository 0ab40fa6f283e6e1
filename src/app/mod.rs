//! The program: what its commands do.

mod act;
mod diagnose;
mod eval;

use crate::bench::{args::BenchArgs, bench};
use crate::cli::{Cli, Command, EnvsArgs, TrainArgs, settings};
use crate::config::{ConfigError, Layer};
use crate::environments;
use crate::offline::{Offline, args::OfflineArgs};
use crate::record::say;
use crate::report;
use crate::study::{
    self,
    args::{CompareArgs, SweepArgs},
    compare::Comparison,
    sweep::Sweep,
};
use crate::train::{Outcome, train};
use anyhow::{Context, Result};
use clap::Parser;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use td_koopman_agents::device::{self, DeviceError};
use td_koopman_agents::offline::RecordingError;

/// What was asked for cannot be done as asked.
const USAGE: u8 = 2;
/// Stopped by Ctrl-C, as shells say it.
const INTERRUPTED: u8 = 130;

/// The program: reads the command line, does what it says, and returns how that ended.
pub fn run() -> ExitCode {
    device::keep_freed_memory();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TD_KOOPMAN_LOG").unwrap_or_else(|_| "error".into()),
        )
        .with_writer(io::stderr)
        .init();
    let cli = Cli::parse();
    if let Err(error) = study::stop_with_parent() {
        say(format_args!("error: {error:#}"));
        return ExitCode::FAILURE;
    }
    let result = match cli.command {
        None => run_training(&cli.train),
        Some(Command::Train(args)) => run_training(&args),
        Some(Command::Eval(args)) => eval::run(&args),
        Some(Command::Act(args)) => act::run(&args),
        Some(Command::Diagnose(args)) => diagnose::run(&args),
        Some(Command::Bench(args)) => run_bench(&args),
        Some(Command::Plot(args)) => {
            report::plot(&args.curves, &args.title, &args.out).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Compare(args)) => run_comparison(&args),
        Some(Command::Sweep(args)) => run_sweep(&args),
        Some(Command::Offline(args)) => run_offline(&args),
        Some(Command::Envs(args)) => run_environments(&args),
        Some(Command::Config(args)) => run_config(&args),
    };
    result.unwrap_or_else(|error| {
        // a closed pipe (`| head`) is no failure of ours
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        say(format_args!("error: {error:#}"));
        let usage = error.is::<ConfigError>()
            || error.is::<DeviceError>()
            || error.is::<RecordingError>()
            || matches!(
                error.downcast_ref(),
                Some(td_koopman_envs::Error::UnknownEnv { .. } | td_koopman_envs::Error::PythonName { .. })
            );
        if usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
    })
}

/// A flag that the first Ctrl-C raises; the second one stops the program at once.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        say("stopping; Ctrl-C again ends it at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

/// Runs `work` on one of `threads` threads (0: one per core), the others helping: from inside the pool a parallel
/// loop starts at once, from outside each one would wait for a thread to wake up.
fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start the threads")?;
    pool.install(work)
}

fn run_training(args: &TrainArgs) -> Result<ExitCode> {
    let config = args.resolve()?;
    let folder = args.folder(&config);
    let stop = stop_on_ctrl_c()?;
    Ok(match with_threads(config.threads, || train(&config, &folder, &stop))? {
        Outcome::Finished => {
            say(format_args!(
                "finished: {} environment steps, curve in {}",
                config.steps,
                folder.join("curve.svg").display()
            ));
            ExitCode::SUCCESS
        }
        Outcome::Interrupted => {
            say(format_args!(
                "stopped and saved in {}: the same command goes on from here",
                folder.display()
            ));
            ExitCode::from(INTERRUPTED)
        }
    })
}

fn run_bench(args: &BenchArgs) -> Result<ExitCode> {
    let grid = args.grid()?;
    if let Some(path) = &args.json {
        require_writable(path)?;
    }
    let threads = grid.subjects.first().and_then(|s| s.planners.first()).map_or(0, |config| config.threads);
    let report = with_threads(threads, || bench(&grid))?;
    writeln!(io::stdout(), "{}", report.table())?;
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the command line changes of a trained agent's settings.
fn changes(set: &[String], device: Option<&str>) -> Result<Vec<Layer>> {
    let mut changes = settings(set)?;
    changes.extend(device.map(|name| Layer::key("--device", "device", name)));
    Ok(changes)
}

fn warn_of_bad_scores(count: u64) {
    if count > 0 {
        say(format_args!(
            "warning: {count} candidates had a score that is infinite or not a number; they were ranked last"
        ));
    }
}

/// Refuses a file that could not be written once everything is done.
fn require_writable(path: &Path) -> Result<()> {
    let is_new = !path.exists();
    let tried = std::fs::OpenOptions::new().append(true).create(true).open(path);
    tried.map(drop).with_context(|| format!("cannot write {}", path.display()))?;
    if is_new {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

fn run_comparison(args: &CompareArgs) -> Result<ExitCode> {
    let comparison = Comparison::new(args)?;
    if args.list {
        return print_lines(&comparison.commands());
    }
    let outcome = if args.report {
        comparison.report()?
    } else {
        comparison.run(args.jobs.get(), &*stop_on_ctrl_c()?)?
    };
    Ok(tell(outcome, &comparison.out))
}

fn run_sweep(args: &SweepArgs) -> Result<ExitCode> {
    let sweep = Sweep::load(&args.file, args.out.as_deref())?;
    if args.list {
        return print_lines(&sweep.commands()?);
    }
    let stop = stop_on_ctrl_c()?;
    if let Some(number) = args.cell {
        let cell = sweep.cell(number.get(), args.id.as_deref())?;
        return Ok(match with_threads(cell.config.threads, || sweep.measure(cell, &stop))? {
            Outcome::Finished => ExitCode::SUCCESS,
            Outcome::Interrupted => ExitCode::from(INTERRUPTED),
        });
    }
    Ok(tell(sweep.run(args.jobs.get(), &stop)?, &sweep.out))
}

fn run_offline(args: &OfflineArgs) -> Result<ExitCode> {
    let study = Offline::new(args)?;
    if args.list {
        return print_lines(&study.commands()?);
    }
    let stop = stop_on_ctrl_c()?;
    if let Some(number) = args.cell {
        return Ok(match with_threads(study.threads(), || study.run_cell(number.get(), &stop))? {
            Outcome::Finished => ExitCode::SUCCESS,
            Outcome::Interrupted => ExitCode::from(INTERRUPTED),
        });
    }
    Ok(tell(study.run(args.jobs.get(), &stop)?, &study.out))
}

fn run_config(args: &TrainArgs) -> Result<ExitCode> {
    write!(io::stdout(), "{}", args.resolve()?.annotated())?;
    Ok(ExitCode::SUCCESS)
}

fn print_lines(lines: &[String]) -> Result<ExitCode> {
    let mut out = io::stdout();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how a study ended.
fn tell(outcome: study::Outcome, out: &Path) -> ExitCode {
    let report = out.join("README.md");
    match outcome {
        study::Outcome::Finished => {
            say(format_args!("finished: {}", report.display()));
            ExitCode::SUCCESS
        }
        study::Outcome::Failed(cells) => {
            say(format_args!("{cells} cells failed, named above; the same command tries them again"));
            ExitCode::FAILURE
        }
        study::Outcome::Locked(cells) => {
            say(format_args!(
                "{cells} cells are trained by other processes; when they end, the same command goes on"
            ));
            ExitCode::FAILURE
        }
        study::Outcome::Interrupted => {
            say("stopped and saved: the same command goes on from here");
            ExitCode::from(INTERRUPTED)
        }
    }
}

fn run_environments(args: &EnvsArgs) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match &args.name {
        Some(name) if args.check => {
            return Ok(if environments::check(name, &mut out)? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Some(name) => environments::describe(name, &mut out)?,
        None => environments::list(&mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}
