//! DeepMind Control Suite tasks (dm_control 1.0.50), a file per family: observation, reward, reset.
//!
//! No task here ends an episode: a thousand control steps, then the time limit truncates. A control step pays
//! between 0 and 1. Observations are the entries of dm_control's dictionary in its order.
mod acrobot;
mod cartpole;
mod cheetah;
mod quadruped;
mod randomizers;
mod tolerance;
mod walker;

pub(crate) use acrobot::Acrobot;
pub(crate) use cartpole::Cartpole;
pub(crate) use cheetah::Cheetah;
pub(crate) use quadruped::Quadruped;
pub(crate) use walker::{Pace, Walker};

use crate::{
    End, Env, Error, Spec, State, Step,
    entry::Entry,
    env::check_state,
    mujoco::{Convention, Physics, load_model},
    random::Random,
};

/// Entries of a row-major rotation matrix, named as in dm_control: `XZ` is the x component of the z axis.
const XX: usize = 0;
const XZ: usize = 2;
const ZZ: usize = 8;

/// What a suite task adds to its simulation.
pub(crate) trait Task: Send + 'static {
    /// Entries of an observation.
    const OBSERVATION_DIM: usize;

    /// Puts a cleared simulation into a random start state. The environment then starts from it.
    fn randomize(&self, physics: &mut Physics, random: &mut Random);

    /// Writes the observation.
    fn observe(&self, physics: &Physics, observation: &mut [f64]);

    /// Judges the state after a control step.
    fn reward(&self, physics: &Physics) -> f64;
}

/// Makes an environment of a task and its simulation.
pub(crate) fn make<T: Task>(entry: &Entry, (physics, task): (Physics, T)) -> Result<Box<dyn Env>, Error> {
    let spec = entry.spec(T::OBSERVATION_DIM, physics.action_range(), Some(physics.state_dims()));
    Ok(Box::new(SuiteEnv { spec, physics, task }))
}

/// Loads a simulation with `substeps` physics steps per control step.
fn load(model: &str, substeps: usize) -> Result<Physics, Error> {
    Ok(Physics::new(load_model(model)?, Convention::DmControl, substeps))
}

struct SuiteEnv<T> {
    spec: Spec,
    physics: Physics,
    task: T,
}

impl<T: Task> Env for SuiteEnv<T> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.physics.clear();
        self.task.randomize(&mut self.physics, &mut Random::from_seed(seed));
        self.physics.start_here();
        self.task.observe(&self.physics, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        self.physics.step(action);
        self.task.observe(&self.physics, observation);
        Step { reward: self.task.reward(&self.physics), end: End::Running }
    }

    fn state(&self) -> Option<State> {
        Some(self.physics.state())
    }

    fn set_state(&mut self, qpos: &[f64], qvel: &[f64], observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, qpos, qvel)?;
        self.physics.start_from(qpos, qvel);
        self.task.observe(&self.physics, observation);
        Ok(())
    }
}
