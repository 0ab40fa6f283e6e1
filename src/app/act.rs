//! `td-koopman act`: a trained agent for another program, a line of JSON for a line of JSON.

use super::{changes, warn_of_bad_scores};
use crate::cli::ActArgs;
use crate::controller::Controller;
use crate::record::say;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

/// What is asked.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Request {
    Decision(Vec<f64>),
    Episode { reset: u64 },
}

/// What is answered.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<'a> {
    About {
        env: &'a str,
        env_steps: u64,
        observation_dim: usize,
        action_low: &'a [f64],
        action_high: &'a [f64],
        action_repeat: usize,
        timestep: Option<f64>,
    },
    Decision {
        action: Vec<f64>,
        expected_return: f64,
        ms: f64,
    },
    Episode {
        reset: u64,
    },
    Error {
        error: String,
    },
}

/// How long decisions took, and what was wrong with them.
#[derive(Default)]
struct Tally {
    decisions: u64,
    total_ms: f64,
    slowest_ms: f64,
    bad_scores: u64,
}

/// Answers until the input ends.
pub fn run(args: &ActArgs) -> Result<ExitCode> {
    let mut controller = Controller::load(&args.run, changes(&args.set, args.device.as_deref())?)?;
    let tally = converse(&mut controller, io::stdin().lock(), io::stdout().lock())?;
    if tally.decisions > 0 {
        let mean = tally.total_ms / tally.decisions as f64;
        let Tally { decisions, slowest_ms, .. } = tally;
        say(format_args!("{decisions} decisions, {mean:.3} ms each, the slowest {slowest_ms:.3} ms"));
    }
    warn_of_bad_scores(tally.bad_scores);
    Ok(ExitCode::SUCCESS)
}

fn converse(controller: &mut Controller, input: impl BufRead, mut output: impl Write) -> Result<Tally> {
    let mut tally = Tally::default();
    put(&mut output, &about(controller))?;
    for line in input.split(b'\n') {
        let line = line.context("cannot read the standard input")?;
        put(&mut output, &answer(controller, &line, &mut tally))?;
    }
    Ok(tally)
}

fn about(controller: &Controller) -> Answer<'_> {
    let spec = controller.spec();
    Answer::About {
        env: &spec.official,
        env_steps: controller.env_step(),
        observation_dim: spec.observation_dim,
        action_low: &spec.action_low,
        action_high: &spec.action_high,
        action_repeat: spec.action_repeat,
        timestep: spec.timestep,
    }
}

fn answer(controller: &mut Controller, line: &[u8], tally: &mut Tally) -> Answer<'static> {
    let observation = match serde_json::from_slice(line) {
        Ok(Request::Decision(observation)) => observation,
        Ok(Request::Episode { reset }) => {
            controller.reset(reset);
            return Answer::Episode { reset };
        }
        Err(_) => {
            let error = "neither an observation, such as [0.1, -0.7] (JSON: all numbers finite), nor {\"reset\": SEED}";
            return Answer::Error { error: error.into() };
        }
    };
    let started = Instant::now();
    match controller.act(&observation) {
        Ok(decision) => {
            let ms = 1e3 * started.elapsed().as_secs_f64();
            tally.decisions += 1;
            tally.total_ms += ms;
            tally.slowest_ms = tally.slowest_ms.max(ms);
            tally.bad_scores += decision.bad_scores;
            // to the microsecond
            let ms = (1e3 * ms).round() / 1e3;
            Answer::Decision { action: decision.action, expected_return: decision.expected_return, ms }
        }
        Err(error) => Answer::Error { error: error.to_string() },
    }
}

/// At once: whoever asked is waiting.
fn put(output: &mut impl Write, answer: &Answer<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *output, answer)?;
    output.write_all(b"\n")?;
    output.flush()
}
