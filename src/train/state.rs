//! Everything a run must remember besides networks and replay.

use super::life::Life;
use super::meters::Meters;
use super::saved_spec::SavedSpec;
use crate::checkpoint::Checkpoint;
use crate::record::Recorded;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use td_koopman_agents::rng::Stream;

/// The random streams of a run that all its environments share, one per purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Streams {
    /// Random actions before the first update.
    pub exploration: Stream,
    /// Sequences drawn from the replay.
    pub replay: Stream,
    /// Policy noise in targets and policy loss.
    pub learning: Stream,
}

impl Streams {
    /// The streams of a run with this seed.
    pub fn new(seed: u64) -> Self {
        let stream = |name| Stream::new(seed, name);
        Self { exploration: stream("exploration"), replay: stream("replay"), learning: stream("learning") }
    }
}

/// Counters, streams and the episodes being lived.
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
    /// One for every environment.
    pub lives: Vec<Life>,
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
    /// The environment; unknown to older checkpoints.
    #[serde(default)]
    pub environment: Option<SavedSpec>,
}

impl TrainState {
    /// The beginning of a run in so many environments, without episodes yet.
    pub fn new(seed: u64, environments: usize) -> Self {
        Self {
            env_step: 0,
            decision: 0,
            episode: 0,
            updates_owed: 0.0,
            learning: false,
            streams: Streams::new(seed),
            lives: (0..environments).map(|index| Life::new(seed, index)).collect(),
            evaluated_at: 0,
            recorded: Recorded::default(),
            last_return: None,
            last_evaluation: None,
            meters: Meters::default(),
            seconds: [0.0; 2],
            environment: None,
        }
    }

    /// That of a checkpoint.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self> {
        let saved: Value = checkpoint.state()?;
        serde_json::from_value(with_lives(saved)).context("the state of the run cannot be read")
    }

    /// Decision at which the youngest episode began: the schedules are read there, for all environments alike.
    pub fn episode_start(&self) -> u64 {
        self.lives.iter().map(|life| life.start).max().unwrap_or_default()
    }
}

/// Before there could be several environments the only life was spread over the state.
fn with_lives(mut state: Value) -> Value {
    if state.get("lives").is_none() {
        let life = json!({
            "seeds": state["streams"]["environment"],
            "noise": state["streams"]["planning"],
            "seed": state["episode_seed"],
            "start": state["episode_start"],
            "episode": state["live"],
            "plan": state["plan"],
        });
        state["lives"] = json!([life]);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checkpoint of the time before there were several environments.
    #[test]
    fn the_only_life_of_an_older_state_is_found() {
        let mut state = TrainState::new(7, 1);
        (state.lives[0].seed, state.lives[0].start) = (u64::MAX - 3, 40);
        let new = serde_json::to_value(&state).unwrap();
        let mut old = new.clone();
        let life = old["lives"][0].take();
        old.as_object_mut().unwrap().remove("lives");
        for (key, value) in
            [("episode_seed", "seed"), ("episode_start", "start"), ("live", "episode"), ("plan", "plan")]
        {
            old[key] = life[value].clone();
        }
        old["streams"]["planning"] = life["noise"].clone();
        old["streams"]["environment"] = life["seeds"].clone();
        let read = |value| serde_json::from_value::<TrainState>(with_lives(value)).unwrap();
        assert_eq!(read(old), state);
        assert_eq!(read(new), state);
    }

    #[test]
    fn environments_have_streams_of_their_own_and_the_first_those_of_a_lone_one() {
        let (one, three) = (TrainState::new(7, 1), TrainState::new(7, 3));
        assert_eq!(one.lives[0], three.lives[0]);
        assert_ne!(three.lives[1].seeds, three.lives[2].seeds);
        assert_ne!(three.lives[0].noise, three.lives[1].noise);
    }
}
