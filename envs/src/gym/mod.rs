//! Gymnasium 1.4 MuJoCo v5 tasks, a file per family: observation, reward, termination, reset.
//!
//! Traps of v5: a reward for being healthy is paid only while healthy; the velocity is a difference of
//! positions over a control step; Walker2d has a model file of its own; the time limit is a truncation.
mod half_cheetah;
mod inverted_pendulum;
mod legged;

pub(crate) use half_cheetah::HalfCheetah;
pub(crate) use inverted_pendulum::InvertedPendulum;
pub(crate) use legged::{Hopper, Walker2d};

use crate::{
    Env, Error, Spec, State, Step,
    entry::Entry,
    env::check_state,
    mujoco::{Convention, Physics, load_model},
    random::Random,
};

/// What a Gymnasium task adds to its simulation.
pub(crate) trait Task: Send + 'static {
    /// The model file, relative to the model directory.
    const MODEL: &'static str;
    /// Physics steps in a control step.
    const FRAME_SKIP: usize;
    /// Entries of an observation.
    const OBSERVATION_DIM: usize;

    /// Adds the reset noise to the model's default state.
    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random);

    /// Writes the observation.
    fn observe(&self, qpos: &[f64], qvel: &[f64], observation: &mut [f64]);

    /// Whether [`Task::judge`] can end an episode.
    fn terminates(&self) -> bool {
        false
    }

    /// Judges a control step.
    fn judge(&self, transition: &Transition) -> Step;
}

/// A control step that was taken.
pub(crate) struct Transition<'a> {
    /// Positions after it.
    pub(crate) qpos: &'a [f64],
    /// Velocities after it.
    pub(crate) qvel: &'a [f64],
    /// Change of `qpos[0]`, the forward position of whatever runs, per second.
    pub(crate) x_velocity: f64,
    /// Σ aᵢ² of the action.
    pub(crate) squared_action: f64,
}

/// Makes an environment of a task.
pub(crate) fn make<T: Task>(entry: &Entry, task: T) -> Result<Box<dyn Env>, Error> {
    let physics = Physics::new(load_model(T::MODEL)?, Convention::Gymnasium, T::FRAME_SKIP);
    let spec = entry.spec(T::OBSERVATION_DIM, physics.action_range(), Some(physics.state_dims()));
    let spec = Spec { terminates: task.terminates(), ..spec };
    Ok(Box::new(GymEnv { spec, physics, task }))
}

struct GymEnv<T> {
    spec: Spec,
    physics: Physics,
    task: T,
}

impl<T: Task> GymEnv<T> {
    fn observe(&self, observation: &mut [f64]) {
        self.task.observe(self.physics.data().qpos(), self.physics.data().qvel(), observation);
    }
}

impl<T: Task> Env for GymEnv<T> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.physics.clear();
        self.physics.edit(|qpos, qvel| self.task.randomize(qpos, qvel, &mut Random::from_seed(seed)));
        self.physics.start_here();
        self.observe(observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let x = self.physics.data().qpos()[0];
        self.physics.step(action);
        let data = self.physics.data();
        let transition = Transition {
            qpos: data.qpos(),
            qvel: data.qvel(),
            x_velocity: (data.qpos()[0] - x) / self.physics.control_timestep(),
            squared_action: action.iter().map(|a| a * a).sum(),
        };
        self.observe(observation);
        self.task.judge(&transition)
    }

    fn state(&self) -> Option<State> {
        Some(self.physics.state())
    }

    fn set_state(&mut self, qpos: &[f64], qvel: &[f64], observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, qpos, qvel)?;
        self.physics.start_from(qpos, qvel);
        self.observe(observation);
        Ok(())
    }
}

/// Adds uniform noise in `[-scale, scale)` to every entry.
fn add_uniform(values: &mut [f64], scale: f64, random: &mut Random) {
    values.iter_mut().for_each(|value| *value += random.uniform(-scale, scale));
}
