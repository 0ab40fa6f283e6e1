//! A trained agent in somebody else's loop: a simulator of their own, or a machine.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! # let (sense, drive) = (|| vec![1.0, 0.0, 0.5], |_: &[f64]| {});
//! let mut controller = td_koopman::Controller::load("runs/pendulum-koopman-seed1".as_ref(), vec![])?;
//! for _ in 0..200 {
//!     let decision = controller.act(&sense())?;
//!     drive(&decision.action);
//! }
//! # Ok(()) }
//! ```

use crate::checkpoint::Checkpoint;
use crate::config::Layer;
use crate::task::Task;
use crate::train::{TrainState, configuration, restore};
use anyhow::{Context, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::path::Path;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::planner::{Mode, Plan};
use td_koopman_agents::rng::Stream;
use td_koopman_envs::Spec;
use thiserror::Error;

/// The agent of a run's newest checkpoint, and what it remembers from one decision to the next.
pub struct Controller {
    agent: Agent,
    schedule: Schedule,
    spec: Spec,
    env_step: u64,
    plan: Plan,
    noise: Stream,
    threads: ThreadPool,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// An action in the environment's own units, within its range: `[A]`. It is meant for [`Spec::action_repeat`] steps.
    pub action: Vec<f64>,
    /// What the plan promises: γ-discounted rewards over the horizon and the value behind it, the mean of the planner's elites.
    pub expected_return: f64,
    /// Candidates whose score was infinite or not a number; they are never chosen.
    pub bad_scores: u64,
}

/// An observation that no decision can rest on.
#[derive(Debug, Error, PartialEq)]
pub enum ObservationError {
    /// Another number of entries.
    #[error("an observation of {env} has {expected} numbers, this one has {given}")]
    Size {
        /// The environment.
        env: String,
        /// Entries that the networks take.
        expected: usize,
        /// Entries that were given.
        given: usize,
    },
    /// Infinite or not a number, as the 32-bit numbers that networks take.
    #[error(
        "entry {index} of the observation, counted from 0, is {value:e}, which is not a finite number of 32 bits"
    )]
    NotFinite {
        /// Which entry.
        index: usize,
        /// What it is.
        value: f64,
    },
}

impl Controller {
    /// Loads the newest checkpoint of a run, with changed settings, such as a smaller `planner.num_samples` where time is short.
    /// The environment need not be there, unless its options are among the changes, or the checkpoint is of an older version.
    ///
    /// # Errors
    /// There is no checkpoint, a setting does not exist, or the environment that is needed cannot be made.
    pub fn load(run: &Path, changes: Vec<Layer>) -> Result<Self> {
        let config = configuration(run, changes)?;
        let (spec, agent, state) = Checkpoint::read_newest(run, |checkpoint| {
            let saved = checkpoint.config()?;
            let same = (&saved.env, saved.train.action_repeat) == (&config.env, config.train.action_repeat);
            let spec = match TrainState::load(checkpoint)?.environment {
                Some(known) if same => known.into(),
                _ => Task::open(&config.env, config.train.action_repeat)?.own_spec().clone(),
            };
            let (agent, state) = restore(&config, checkpoint, &spec)?;
            Ok((spec, agent, state))
        })?;
        let threads = ThreadPoolBuilder::new().num_threads(config.threads).build();
        let mut controller = Self {
            schedule: agent.schedule(state.episode_start()),
            agent,
            env_step: state.env_step,
            plan: Plan::cold(),
            noise: Stream::new(0, ""),
            threads: threads.context("cannot start the threads")?,
            spec,
        };
        // so that no decision that matters waits for tables or for kernels to be compiled
        controller.act(&vec![0.0; controller.spec.observation_dim])?;
        controller.reset(0);
        Ok(controller)
    }

    /// What the agent was trained on, actions in the environment's own units; `action_repeat` is the one of the training.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Environment steps of the training.
    pub fn env_step(&self) -> u64 {
        self.env_step
    }

    /// Forgets the last plan: an episode begins. `seed` is that of the random numbers of its plans. With the seed of a
    /// [`crate::evaluate`] they are those of its first episode.
    pub fn reset(&mut self, seed: u64) {
        self.plan = Plan::cold();
        self.noise = Stream::new(seed, "evaluation 0");
        // there the environment is the first to draw
        self.noise.seed();
    }

    /// Decides, without exploration noise.
    ///
    /// # Errors
    /// The observation has another size, or an entry that is not finite. Nothing has changed then.
    pub fn act(&mut self, observation: &[f64]) -> Result<Decision, ObservationError> {
        let (expected, given) = (self.spec.observation_dim, observation.len());
        if given != expected {
            return Err(ObservationError::Size { env: self.spec.official.clone(), expected, given });
        }
        let rounded: Vec<f32> = observation.iter().map(|&x| x as f32).collect();
        if let Some(index) = rounded.iter().position(|x| !x.is_finite()) {
            return Err(ObservationError::NotFinite { index, value: observation[index] });
        }
        let Self { agent, schedule, plan, noise, threads, .. } = self;
        let (plans, noise) = (std::slice::from_ref(plan), std::slice::from_mut(noise));
        let mut decided = threads.install(|| agent.act(&rounded, plans, *schedule, Mode::Exploit, noise));
        let decision = decided.remove(0);
        self.plan = decision.plan;
        let units = decision.action.iter().enumerate();
        Ok(Decision {
            action: units.map(|(i, &unit)| self.spec.scaled(i, unit.into())).collect(),
            expected_return: decision.elite_score.into(),
            bad_scores: decision.bad_scores,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;
    use crate::evaluate::evaluate;
    use crate::train::train;
    use std::sync::atomic::AtomicBool;

    fn run() -> tempfile::TempDir {
        let settings = [
            "env=pendulum",
            "env.max_episode_steps=60",
            "steps=201",
            "model.hidden_dim=16",
            "planner.num_samples=16",
            "learner.batch_size=8",
            "train.seed_decisions=60",
            "train.seed_episodes=0",
            "train.action_repeat=3",
            "evaluation.episodes=1",
        ];
        let folder = tempfile::tempdir().unwrap();
        train(&with(&settings).unwrap(), folder.path(), &AtomicBool::new(false)).unwrap();
        folder
    }

    /// Whoever steps the environment: the same episode, to the bit.
    #[test]
    fn it_decides_as_an_evaluation_does() {
        let folder = run();
        let mut controller = Controller::load(folder.path(), vec![]).unwrap();
        assert_eq!((controller.spec().action_repeat, controller.env_step()), (3, 201));
        let config = configuration(folder.path(), vec![]).unwrap();
        let mut task = Task::open(&config.env, 3).unwrap();
        let (agent, state) =
            restore(&config, &Checkpoint::newest_of(folder.path()).unwrap(), task.spec()).unwrap();
        let (schedule, stop) = (agent.schedule(state.episode_start()), AtomicBool::new(false));
        let scores = evaluate(&agent, &mut task, schedule, 1, 7, &stop, |_| {}).unwrap();

        let mut env = config.env.make().unwrap();
        let mut observation = [0.0; 3];
        for _ in 0..2 {
            env.reset(Stream::new(7, "evaluation 0").seed(), &mut observation);
            controller.reset(7);
            let mut total = 0.0;
            for _ in 0..20 {
                let action = controller.act(&observation).unwrap().action;
                assert!(action[0].abs() <= 2.0, "Nm, not ±1");
                total += (0..3).map(|_| env.step(&action, &mut observation).reward).sum::<f64>();
            }
            assert_eq!(total, scores.returns[0]);
        }
    }

    #[test]
    fn an_observation_that_is_none_changes_nothing() {
        let folder = run();
        let mut controller = Controller::load(folder.path(), vec![]).unwrap();
        let first = controller.act(&[1.0, 0.0, 0.5]).unwrap();
        let second = controller.act(&[1.0, 0.1, 0.5]).unwrap();
        controller.reset(0);
        assert_eq!(controller.act(&[1.0, 0.0, 0.5]).unwrap(), first);
        let error = controller.act(&[1.0, 0.0]).unwrap_err();
        assert_eq!(error.to_string(), "an observation of Pendulum-v1 has 3 numbers, this one has 2");
        for value in [f64::NAN, 1e39] {
            let error = controller.act(&[1.0, value, 0.0]).unwrap_err();
            assert!(matches!(error, ObservationError::NotFinite { index: 1, .. }), "{error}");
        }
        assert_eq!(controller.act(&[1.0, 0.1, 0.5]).unwrap(), second);
    }

    /// On a machine there is no simulator of it.
    #[test]
    fn the_environment_need_not_be_there() {
        let folder = run();
        let here = Controller::load(folder.path(), vec![]).unwrap().spec().clone();
        let known = Spec { source: td_koopman_envs::Source::Custom, state_dims: None, ..here.clone() };
        let own =
            Task::open(&configuration(folder.path(), vec![]).unwrap().env, 3).unwrap().own_spec().clone();
        assert_eq!(known, Spec { source: td_koopman_envs::Source::Custom, state_dims: None, ..own });
        assert_eq!(here.action_high, [2.0], "Nm");

        let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let is_checkpoint = |path: &std::path::PathBuf| path.to_string_lossy().contains("checkpoint-");
        let checkpoint = entries.into_iter().find(is_checkpoint).unwrap();
        let rename = |file: &str| {
            let path = checkpoint.join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, text.replace("pendulum", "gone")).unwrap();
        };
        rename("config.toml");
        std::fs::remove_file(checkpoint.join("crc32c.json")).unwrap();
        let mut controller = Controller::load(folder.path(), vec![]).unwrap();
        assert!(controller.act(&[1.0, 0.0, 0.5]).unwrap().action[0].abs() <= 2.0);
    }

    #[test]
    fn settings_can_be_changed_and_what_does_not_exist_is_refused() {
        let folder = run();
        let load = |setting| Controller::load(folder.path(), vec![Layer::setting(setting).unwrap()]);
        let act = |mut controller: Controller| controller.act(&[1.0, 0.0, 0.5]).unwrap();
        let (few, many) = (load("planner.num_samples=16").unwrap(), load("planner.num_samples=64").unwrap());
        assert_ne!(act(few), act(many));
        let error = load("planner.num_sample=3").err().unwrap().to_string();
        assert!(error.contains("the nearest is `planner.num_samples`"), "{error}");
    }
}
