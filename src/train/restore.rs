//! A trained agent, to be looked at.

use super::TrainState;
use crate::checkpoint::Checkpoint;
use crate::config::RunConfig;
use crate::memory;
use crate::task::Task;
use anyhow::Result;
use td_koopman_agents::agent::Agent;
use td_koopman_agents::device::{self, Products};
use td_koopman_agents::rng::Stream;

/// The agent of a checkpoint, for planning in `task`, and where its training stood.
pub fn restore(config: &RunConfig, checkpoint: &Checkpoint, task: &Task) -> Result<(Agent, TrainState)> {
    let device = device::open_for(&config.device, &[Products::Plans(config.planner.precision)])?;
    let (observations, actions) = (task.spec().observation_dim, task.spec().action_dim());
    memory::require(memory::Work::Plan, config, observations, actions, 1)?;
    let init = &mut Stream::new(config.seed, "init");
    let mut agent = Agent::new(&config.agent_for(task.spec()), observations, actions, init, &device);
    agent.import(&checkpoint.learner()?)?;
    Ok((agent, TrainState::load(checkpoint)?))
}
