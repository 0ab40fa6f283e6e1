//! Everything a run must remember besides networks and replay.

use super::meters::Meters;
use crate::record::Recorded;
use serde::{Deserialize, Serialize};
use td_koopman_agents::planner::Plan;
use td_koopman_agents::replay::Episode;
use td_koopman_agents::rng::Stream;

/// The random streams of a run, one per purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// Planner noise.
    pub planning: Stream,
    /// Random actions before the first update.
    pub exploration: Stream,
    /// Sequences drawn from the replay.
    pub replay: Stream,
    /// Policy noise in targets and policy loss.
    pub learning: Stream,
    /// Seeds of episodes.
    pub environment: Stream,
}

impl Streams {
    /// The streams of a run with this seed.
    pub fn new(seed: u64) -> Self {
        let stream = |name| Stream::new(seed, name);
        Self {
            planning: stream("planning"),
            exploration: stream("exploration"),
            replay: stream("replay"),
            learning: stream("learning"),
            environment: stream("environment"),
        }
    }
}

/// Counters, streams and the episode being lived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Environment steps taken.
    pub env_step: u64,
    /// Decisions taken.
    pub decision: u64,
    /// Episodes finished.
    pub episode: u64,
    /// Updates due; a fraction is carried along.
    pub updates_owed: f64,
    /// Whether the first updates have been ordered.
    pub learning: bool,
    /// Random streams.
    pub streams: Streams,
    /// Seed of the episode being lived.
    pub episode_seed: u64,
    /// Decision at which it began: the schedules are read there.
    pub episode_start: u64,
    /// The episode so far. With its seed it is also the environment's state: the environment is deterministic, so
    /// resuming replays its actions.
    pub live: Episode,
    /// Warm start of the next plan.
    pub plan: Plan,
    /// Environment step of the last evaluation that was due.
    pub evaluated_at: u64,
    /// Rows written.
    pub recorded: Recorded,
    /// Return of the last finished episode.
    pub last_return: Option<f64>,
    /// Mean return of the last evaluation.
    pub last_evaluation: Option<f64>,
    /// Sums since the last row of `train.csv`.
    pub meters: Meters,
    /// CPU and wall seconds of training.
    pub seconds: [f64; 2],
}

impl TrainState {
    /// The beginning of a run, without an episode yet.
    pub fn new(seed: u64) -> Self {
        Self {
            env_step: 0,
            decision: 0,
            episode: 0,
            updates_owed: 0.0,
            learning: false,
            streams: Streams::new(seed),
            episode_seed: 0,
            episode_start: 0,
            live: Episode::default(),
            plan: Plan::cold(),
            evaluated_at: 0,
            recorded: Recorded::default(),
            last_return: None,
            last_evaluation: None,
            meters: Meters::default(),
            seconds: [0.0; 2],
        }
    }
}
