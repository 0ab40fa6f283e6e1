//! What goes on in one of the environments of a run.

use crate::task::Task;
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use td_koopman_agents::planner::Plan;
use td_koopman_agents::replay::Episode;
use td_koopman_agents::rng::Stream;

/// The episode that an environment lives through, and the streams that are its own: what happens to it does not depend on
/// when the others end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// Seeds of its episodes.
    pub seeds: Stream,
    /// Planner noise.
    pub noise: Stream,
    /// Seed of the episode.
    pub seed: u64,
    /// Decision of the run at which it began: the schedules are read there.
    pub start: u64,
    /// The episode so far. With its seed it is also the environment's state: the environment is deterministic, so
    /// resuming replays its actions.
    pub episode: Episode,
    /// Warm start of the next plan.
    pub plan: Plan,
}

impl Life {
    /// That of environment `index` of a run with this seed, without an episode yet.
    pub fn new(seed: u64, index: usize) -> Self {
        let stream = |name: &str| match index {
            0 => Stream::new(seed, name),
            _ => Stream::new(seed, &format!("{name} {index}")),
        };
        let (seeds, noise) = (stream("environment"), stream("planning"));
        Self { seeds, noise, seed: 0, start: 0, episode: Episode::default(), plan: Plan::cold() }
    }

    /// Begins an episode at a decision of the run.
    pub fn begin(&mut self, task: &mut Task, decision: u64) {
        (self.seed, self.start) = (self.seeds.seed(), decision);
        task.reset(self.seed);
        self.episode = Episode::start(task.observation());
        self.plan = Plan::cold();
    }

    /// Brings the environment to where the episode stands: its seed, then its actions.
    ///
    /// # Errors
    /// It does not get there, or its process has died.
    pub fn relive(&self, task: &mut Task) -> Result<()> {
        task.reset(self.seed);
        let actions = task.spec().action_dim();
        for action in self.episode.actions.chunks_exact(actions) {
            task.step(action);
        }
        task.require_alive()?;
        ensure!(
            self.episode.observations.ends_with(task.observation()),
            "the environment did not repeat the saved episode: was the run begun with another MuJoCo library or on another \
             kind of machine? Begin it anew in another --out folder"
        );
        Ok(())
    }
}
