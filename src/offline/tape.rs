//! Episodes that an agent plays, recorded as they are played.

use super::hdf5;
use crate::evaluate::{Moment, Watcher};
use crate::task::Task;
use anyhow::Result;
use std::path::Path;
use td_koopman_agents::offline::Recording;
use td_koopman_agents::replay::Episode;
use td_koopman_envs::End;

/// A recording that grows by a row a decision.
#[derive(Default)]
pub struct Tape {
    recording: Recording,
    /// Whether each episode that is over ended by termination.
    terminated: Vec<bool>,
}

impl Watcher for Tape {
    fn moment(&mut self, task: &mut Task, moment: &Moment) {
        if moment.decision == 0 {
            let spec = task.spec();
            (self.recording.observation_dim, self.recording.action_dim) =
                (spec.observation_dim, spec.action_dim());
            self.recording.episodes.push(Episode::start(task.observation()));
        } else if let Some(episode) = self.recording.episodes.last_mut() {
            let action: Vec<f32> = task.action().iter().map(|&a| a as f32).collect();
            episode.push(&action, moment.reward as f32, task.observation());
        }
        if moment.end != End::Running {
            self.terminated.push(moment.end == End::Terminated);
        }
    }
}

impl Tape {
    /// Writes the episodes that are over as HDF5, in D4RL's layout.
    pub fn write(mut self, path: &Path) -> Result<()> {
        self.recording.episodes.truncate(self.terminated.len());
        hdf5::write(path, &self.recording, &self.terminated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;
    use crate::evaluate::watch;
    use std::sync::atomic::AtomicBool;
    use td_koopman_agents::agent::Agent;
    use td_koopman_agents::device;
    use td_koopman_agents::rng::Stream;

    /// What was played is read from the file: the same environment, given its actions, does the same again.
    #[test]
    fn a_tape_replays_to_the_bit() {
        let config = with(&["env=pendulum", "model.hidden_dim=16", "planner.num_samples=16"]).unwrap();
        let agent = Agent::new(&config.agent(), 3, 1, &mut Stream::new(1, "init"), &device::cpu());
        let mut task = Task::open(&"pendulum".into(), 0).unwrap();
        let (mut tape, stop) = (Tape::default(), AtomicBool::new(false));
        let scores = watch(&agent, &mut task, agent.schedule(0), 2, 5, &stop, &mut tape).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tape.hdf5");
        tape.write(&path).unwrap();
        let read = hdf5::read(&path).unwrap();
        assert_eq!((read.observation_dim, read.action_dim, read.episodes.len()), (3, 1, 2));
        for (i, episode) in read.episodes.iter().enumerate() {
            assert!((episode.total_reward() - scores.returns[i]).abs() < 1e-3);
            task.reset(Stream::new(5, &format!("evaluation {i}")).seed());
            for k in 0..episode.len() {
                assert_eq!(task.observation(), &episode.observations[3 * k..3 * k + 3]);
                assert_eq!(task.step(&episode.actions[k..k + 1]).reward as f32, episode.rewards[k]);
            }
        }
    }
}
