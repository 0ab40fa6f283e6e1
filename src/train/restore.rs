//! A trained agent, to be looked at.

use super::TrainState;
use crate::checkpoint::Checkpoint;
use crate::config::{ConfigError, Layer, RunConfig, resolve};
use crate::memory;
use anyhow::Result;
use std::path::Path;
use td_koopman_agents::agent::Agent;
use td_koopman_agents::device::{self, Products};
use td_koopman_agents::rng::Stream;
use td_koopman_envs::Spec;

/// The configuration of a run somebody named, with changes.
pub fn configuration(run: &Path, changes: Vec<Layer>) -> Result<RunConfig> {
    let saved = Checkpoint::read_newest(run, Checkpoint::config)?;
    let mut layers = vec![Layer::parse("the run's configuration", &saved.to_toml())?];
    layers.extend(changes);
    Ok(resolve(&layers)?)
}

/// The agent of a checkpoint, for planning in the environment of `spec`, and where its training stood.
pub fn restore(config: &RunConfig, checkpoint: &Checkpoint, spec: &Spec) -> Result<(Agent, TrainState)> {
    let device = device::open_for(&config.device, &[Products::Plans(config.planner.precision)])?;
    let (observations, actions) = (spec.observation_dim, spec.action_dim());
    memory::require(memory::Work::Plan, config, observations, actions, 1)?;
    let init = &mut Stream::new(config.seed, "init");
    let mut agent = Agent::new(&config.agent_for(spec), observations, actions, init, &device);
    agent.import(&checkpoint.learner()?).map_err(|error| match checkpoint.config() {
        Ok(saved)
            if (&saved.model, saved.agent, &saved.env) != (&config.model, config.agent, &config.env) =>
        {
            ConfigError(format!(
                "a setting changes the networks of an agent that is trained already: {error}"
            ))
            .into()
        }
        _ => anyhow::Error::from(error),
    })?;
    Ok((agent, TrainState::load(checkpoint)?))
}
