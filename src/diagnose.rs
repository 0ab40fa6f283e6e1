//! How good the model of an agent is, and what its planning horizon does to its returns.

use crate::evaluate::evaluate;
use crate::task::Task;
use std::borrow::Cow;
use std::sync::atomic::AtomicBool;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::modes::Mode;
use td_koopman_agents::replay::{Batch, Replay};
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
    let windows = windows(agent, replay, seed, env_step);
    agent.diagnose(&windows).into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// What Koopman modes do on the same sequences; `None` with other dynamics, or without a replay.
pub fn modes(agent: &Agent, replay: &Replay, seed: u64, env_step: u64) -> Option<Vec<Mode>> {
    if replay.is_empty() { None } else { agent.modes(&windows(agent, replay, seed, env_step)) }
}

fn windows(agent: &Agent, replay: &Replay, seed: u64, env_step: u64) -> Batch {
    let mut stream = Stream::new(seed, &format!("diagnosis {env_step}"));
    replay.windows(WINDOWS, agent.foresight(), &mut stream)
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
