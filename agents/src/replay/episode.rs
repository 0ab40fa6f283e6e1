//! One episode as it is being lived.

use serde::{Deserialize, Serialize};

/// How an episode stopped. A time limit is not the end of the world: only `Terminated` cuts the bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The task itself ended: there is no value beyond.
    Terminated,
    /// Stopped from outside (time limit): the last state has a value like any other.
    Truncated,
}

/// Observations o_0 … o_T, actions a_0 … a_{T−1} and rewards r_0 … r_{T−1} of one episode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// `[T + 1, O]`
    pub observations: Vec<f32>,
    /// `[T, A]`
    pub actions: Vec<f32>,
    /// `[T]`
    pub rewards: Vec<f32>,
}

impl Episode {
    /// Begins with the first observation.
    pub fn start(observation: &[f32]) -> Self {
        Self { observations: observation.to_vec(), ..Self::default() }
    }

    /// Appends a transition.
    pub fn push(&mut self, action: &[f32], reward: f32, observation: &[f32]) {
        self.observations.extend_from_slice(observation);
        self.actions.extend_from_slice(action);
        self.rewards.push(reward);
    }

    /// Number of transitions T.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether no transition was taken yet.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// Undiscounted return.
    pub fn total_reward(&self) -> f64 {
        self.rewards.iter().map(|&r| r as f64).sum()
    }
}
