//! `td-koopman`: see `td-koopman --help`.

use anyhow::{Context, Result};
use clap::Parser;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use td_koopman::bench::bench;
use td_koopman::checkpoint::Checkpoint;
use td_koopman::cli::{BenchArgs, Cli, Command, DiagnoseArgs, EnvsArgs, EvalArgs, TrainArgs, settings};
use td_koopman::config::{ConfigError, Layer, RunConfig, resolve};
use td_koopman::diagnose;
use td_koopman::environments;
use td_koopman::evaluate::{evaluate, restore};
use td_koopman::report;
use td_koopman::study::{
    self,
    args::{CompareArgs, SweepArgs},
    compare::Comparison,
    sweep::Sweep,
};
use td_koopman::task::Task;
use td_koopman::trace::Trace;
use td_koopman::train::{Outcome, train};
use td_koopman_agents::device::{self, DeviceError};

/// What was asked for cannot be done as asked.
const USAGE: u8 = 2;
/// Stopped by Ctrl-C, as shells say it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    device::keep_freed_memory();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TD_KOOPMAN_LOG").unwrap_or_else(|_| "error".into()),
        )
        .with_writer(io::stderr)
        .init();
    let cli = Cli::parse();
    if let Err(error) = study::stop_with_parent() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let result = match cli.command {
        None => run_training(&cli.train),
        Some(Command::Train(args)) => run_training(&args),
        Some(Command::Eval(args)) => run_evaluation(&args),
        Some(Command::Diagnose(args)) => run_diagnosis(&args),
        Some(Command::Bench(args)) => run_bench(&args),
        Some(Command::Plot(args)) => {
            report::plot(&args.curves, &args.title, &args.out).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Compare(args)) => run_comparison(&args),
        Some(Command::Sweep(args)) => run_sweep(&args),
        Some(Command::Envs(args)) => run_environments(&args),
    };
    result.unwrap_or_else(|error| {
        // a closed pipe (`| head`) is no failure of ours
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {error:#}");
        let usage = error.is::<ConfigError>()
            || error.is::<DeviceError>()
            || matches!(error.downcast_ref(), Some(td_koopman_envs::Error::UnknownEnv { .. }));
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
            eprintln!(
                "finished: {} environment steps, curve in {}",
                config.steps,
                folder.join("curve.svg").display()
            );
            ExitCode::SUCCESS
        }
        Outcome::Interrupted => {
            eprintln!("stopped and saved in {}: the same command goes on from here", folder.display());
            ExitCode::from(INTERRUPTED)
        }
    })
}

fn run_evaluation(args: &EvalArgs) -> Result<ExitCode> {
    let checkpoint = Checkpoint::newest_of(&args.run)?;
    let mut layers = vec![Layer::parse("the run's configuration", &checkpoint.config()?.to_toml())?];
    layers.extend(settings(&args.set)?);
    layers.extend(args.device.clone().map(|name| Layer::key("--device", "device", name)));
    let config: RunConfig = resolve(&layers)?;
    let stop = stop_on_ctrl_c()?;
    with_threads(config.threads, || play(&config, &checkpoint, args, &stop))
}

/// Plays episodes with the agent of a checkpoint and says how they went.
fn play(config: &RunConfig, checkpoint: &Checkpoint, args: &EvalArgs, stop: &AtomicBool) -> Result<ExitCode> {
    let trace = Trace::default();
    let repeat = config.train.action_repeat;
    let mut task = match &args.trace {
        Some(_) => Task::open_watched(&config.env, repeat, trace.watcher())?,
        None => Task::open(&config.env, repeat)?,
    };
    let (agent, state) = restore(config, checkpoint, &task)?;
    let mut out = io::stdout();
    writeln!(out, "{} after {} environment steps", task.spec().official, state.env_step)?;
    let schedule = agent.schedule(state.episode_start);
    let mut written = Ok(());
    let scores = evaluate(&agent, &mut task, schedule, args.episodes, args.seed, stop, |scores| {
        let (n, last) = (scores.returns.len(), scores.returns.last().copied().unwrap_or_default());
        let line = writeln!(out, "episode {n}: return {last:.3} in {} decisions", scores.lengths[n - 1]);
        written = std::mem::replace(&mut written, Ok(())).and(line);
    });
    written?;
    let Some(scores) = scores else { return Ok(ExitCode::from(INTERRUPTED)) };
    writeln!(out, "return {:.3} ± {:.3} over {} episodes", scores.mean(), scores.sd(), args.episodes)?;
    if scores.bad_scores > 0 {
        eprintln!(
            "warning: {} candidates had a score that is infinite or not a number; they were ranked last",
            scores.bad_scores
        );
    }
    if let Some(path) = &args.trace {
        trace.write(path, task.spec())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_diagnosis(args: &DiagnoseArgs) -> Result<ExitCode> {
    let stop = stop_on_ctrl_c()?;
    match with_threads(0, || diagnose::table(args, &stop))? {
        Some(table) => writeln!(io::stdout(), "{table}").map(|()| ExitCode::SUCCESS).map_err(Into::into),
        None => Ok(ExitCode::from(INTERRUPTED)),
    }
}

fn run_bench(args: &BenchArgs) -> Result<ExitCode> {
    let grid = args.grid()?;
    let threads = grid.subjects.first().and_then(|s| s.planners.first()).map_or(0, |config| config.threads);
    let report = with_threads(threads, || bench(&grid))?;
    writeln!(io::stdout(), "{}", report.table())?;
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_comparison(args: &CompareArgs) -> Result<ExitCode> {
    let comparison = Comparison::new(args)?;
    if args.list {
        return print_lines(&comparison.commands());
    }
    let outcome = comparison.run(args.jobs.get(), &*stop_on_ctrl_c()?)?;
    Ok(tell(outcome, &comparison.out))
}

fn run_sweep(args: &SweepArgs) -> Result<ExitCode> {
    let sweep = Sweep::load(&args.file, args.out.as_deref())?;
    if args.list {
        return print_lines(&sweep.commands());
    }
    let stop = stop_on_ctrl_c()?;
    if let Some(number) = args.cell {
        let cell = sweep.cell(number.get())?;
        return Ok(match with_threads(cell.config.threads, || sweep.measure(cell, &stop))? {
            Outcome::Finished => ExitCode::SUCCESS,
            Outcome::Interrupted => ExitCode::from(INTERRUPTED),
        });
    }
    Ok(tell(sweep.run(args.jobs.get(), &stop)?, &sweep.out))
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
            eprintln!("finished: {}", report.display());
            ExitCode::SUCCESS
        }
        study::Outcome::Failed(cells) => {
            eprintln!("{cells} cells failed, see {}; the same command tries them again", report.display());
            ExitCode::FAILURE
        }
        study::Outcome::Interrupted => {
            eprintln!("stopped and saved: the same command goes on from here");
            ExitCode::from(INTERRUPTED)
        }
    }
}

fn run_environments(args: &EnvsArgs) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match &args.name {
        Some(name) => environments::describe(name, &mut out)?,
        None => environments::list(&mut out)?,
    }
    Ok(ExitCode::SUCCESS)
}
