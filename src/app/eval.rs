//! `td-koopman eval`.

use super::{INTERRUPTED, changes, require_writable, stop_on_ctrl_c, warn_of_bad_scores, with_threads};
use crate::checkpoint::Checkpoint;
use crate::cli::EvalArgs;
use crate::config::{ConfigError, RunConfig};
use crate::evaluate::{Moment, Scores, Watcher, watch};
use crate::offline::Tape;
use crate::record::say;
use crate::task::Task;
use crate::trace::Trace;
use crate::train::{configuration, restore};
use crate::video::Video;
use anyhow::Result;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Plays episodes with the newest checkpoint of a run.
pub fn run(args: &EvalArgs) -> Result<ExitCode> {
    if args.trace.is_some() && args.trace == args.record {
        return Err(ConfigError("--trace and --record name the same file".into()).into());
    }
    if args.video.video_episode.get() > args.episodes {
        let (wanted, played) = (args.video.video_episode, args.episodes);
        return Err(ConfigError(format!(
            "--video-episode {wanted} is not among the {played} episodes played"
        ))
        .into());
    }
    let config = configuration(&args.run, changes(&args.set, args.device.as_deref())?)?;
    let stop = stop_on_ctrl_c()?;
    with_threads(config.threads, || play(&config, args, &stop))
}

/// Plays episodes with the agent of the newest checkpoint and says how they went.
fn play(config: &RunConfig, args: &EvalArgs, stop: &AtomicBool) -> Result<ExitCode> {
    let trace = Trace::default();
    let repeat = config.train.action_repeat;
    for path in args.trace.iter().chain(&args.record) {
        require_writable(path)?;
    }
    let mut task = match &args.trace {
        Some(_) => Task::open_watched(&config.env, repeat, trace.watcher())?,
        None => Task::open(&config.env, repeat)?,
    };
    let video = match &args.video.video {
        Some(path) => Video::open(path, args.video.options(), &mut task)?,
        None => None,
    };
    let (agent, state) =
        Checkpoint::read_newest(&args.run, |checkpoint| restore(config, checkpoint, task.spec()))?;
    let mut out = io::stdout();
    let written = writeln!(out, "{} after {} environment steps", task.spec().official, state.env_step);
    let tape = args.record.as_ref().map(|_| Tape::default());
    let mut audience = Audience { out, written, finished: 0, video, tape };
    let schedule = agent.schedule(state.episode_start());
    let scores = watch(&agent, &mut task, schedule, args.episodes, args.seed, stop, &mut audience);
    let Audience { mut out, written, finished, video, tape } = audience;
    // files first: neither a reader who has seen enough (`| head`) nor Ctrl-C takes away what was played
    let film = video.map(Video::finish).transpose();
    if finished > 0 {
        if let Some(path) = &args.trace {
            trace.write(path, task.spec(), finished)?;
        }
        if let (Some(path), Some(tape)) = (&args.record, tape) {
            tape.write(path)?;
        }
    }
    task.require_alive()?;
    written?;
    let filmed = match film {
        Ok(said) => {
            said.iter().try_for_each(|said| writeln!(out, "{said}"))?;
            said.is_some()
        }
        Err(error) => {
            say(format_args!("warning: no video: {error:#}"));
            false
        }
    };
    let Some(scores) = scores else {
        let kept = if finished > 0 { "; files that were asked for have these" } else { "" };
        say(format_args!("stopped after {finished} of {} episodes{kept}", args.episodes));
        return Ok(ExitCode::from(INTERRUPTED));
    };
    writeln!(out, "return {:.3} ± {:.3} over {} episodes", scores.mean(), scores.sd(), args.episodes)?;
    let [(_, value), (_, discounted)] = scores.expectation();
    writeln!(out, "discounted return {discounted:.3}; the critics expected {value:.3} where episodes begin")?;
    warn_of_bad_scores(scores.bad_scores);
    Ok(if args.video.video.is_some() && !filmed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints a line an episode, films one of them and records all.
struct Audience {
    out: io::Stdout,
    written: io::Result<()>,
    /// Episodes that are over.
    finished: u64,
    video: Option<Video>,
    tape: Option<Tape>,
}

impl Watcher for Audience {
    fn moment(&mut self, task: &mut Task, moment: &Moment) {
        if let Some(video) = &mut self.video {
            video.moment(task, moment);
        }
        if let Some(tape) = &mut self.tape {
            tape.moment(task, moment);
        }
    }

    fn episode(&mut self, scores: &Scores) {
        let (n, last) = (scores.returns.len(), scores.returns.last().copied().unwrap_or_default());
        let decisions = scores.lengths.last().copied().unwrap_or_default();
        self.finished = n as u64;
        let line = writeln!(self.out, "episode {n}: return {last:.3} in {decisions} decisions");
        self.written = std::mem::replace(&mut self.written, Ok(())).and(line);
    }
}
