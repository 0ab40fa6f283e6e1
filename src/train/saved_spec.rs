//! What a checkpoint knows of its environment, so that an agent can act where that environment is not: on a machine, or in a program
//! that was not given it.

use serde::{Deserialize, Serialize};
use td_koopman_envs::{Source, Spec};

/// A [`Spec`] in the environment's own units, with the action repeat of the training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedSpec {
    name: String,
    official: String,
    observation_dim: usize,
    action_low: Vec<f64>,
    action_high: Vec<f64>,
    max_episode_steps: usize,
    action_repeat: usize,
    terminates: bool,
    timestep: Option<f64>,
}

impl From<&Spec> for SavedSpec {
    fn from(spec: &Spec) -> Self {
        Self {
            name: spec.name.clone(),
            official: spec.official.clone(),
            observation_dim: spec.observation_dim,
            action_low: spec.action_low.clone(),
            action_high: spec.action_high.clone(),
            max_episode_steps: spec.max_episode_steps,
            action_repeat: spec.action_repeat,
            terminates: spec.terminates,
            timestep: spec.timestep,
        }
    }
}

impl From<SavedSpec> for Spec {
    /// Without the sizes of states, which only a simulator has.
    fn from(saved: SavedSpec) -> Self {
        Self {
            name: saved.name,
            official: saved.official,
            source: Source::Custom,
            observation_dim: saved.observation_dim,
            action_low: saved.action_low,
            action_high: saved.action_high,
            max_episode_steps: saved.max_episode_steps,
            action_repeat: saved.action_repeat,
            terminates: saved.terminates,
            timestep: saved.timestep,
            state_dims: None,
        }
    }
}
