//! DeepMind Control Suite tasks (dm_control 1.0.50), a file per family: observation, reward, reset.
//!
//! No task here ends an episode: a thousand control steps, then the time limit truncates. A control step pays
//! between 0 and 1. Observations are the entries of dm_control's dictionary in its order.
mod acrobot;
mod arm;
mod ball_in_cup;
mod cartpole;
mod cheetah;
mod dog;
mod edit;
mod finger;
mod fish;
mod hopper;
mod humanoid;
mod manipulator;
mod pendulum;
mod point_mass;
mod quadruped;
mod randomizers;
mod reacher;
mod stacker;
mod swimmer;
mod table;
mod terrain;
mod tolerance;
mod walker;

pub(crate) use table::TABLE;

use crate::{
    End, Env, Error, Frame, Painter, Spec, State, Step,
    entry::{Build, Entry},
    env::{check_state, fill},
    mujoco::{Convention, Physics, load_model},
    random::Random,
};

/// Entries of a row-major rotation matrix, named as in dm_control: `XZ` is the x component of the z axis.
const XX: usize = 0;
const XZ: usize = 2;
const ZZ: usize = 8;

/// What a task on legs is asked to do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    Stand,
    /// At this speed in m/s.
    Move(f64),
}

/// How a task pays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reward {
    /// More the better it is done.
    Smooth,
    /// Done or not.
    Sparse,
}

/// What a suite task adds to its simulation.
pub(crate) trait Task: Send + 'static {
    /// Puts a cleared simulation into a random start state. The environment then starts from it.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random);

    /// What a start draws besides positions and velocities, see [`State::extra`].
    fn extra(&self, _physics: &Physics) -> Vec<f64> {
        vec![]
    }

    /// Puts that into a cleared simulation.
    fn set_extra(&mut self, _physics: &mut Physics, _extra: &[f64]) {}

    /// The entries of the observation.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64>;

    /// Judges the state after a control step.
    fn reward(&self, physics: &Physics) -> f64;
}

/// Makes an environment of a task and its simulation.
pub(crate) fn make<T: Task>(entry: &Entry, (mut physics, task): (Physics, T)) -> Result<Box<dyn Env>, Error> {
    physics.clear();
    let observation_dim = task.observe(&physics).count();
    let extra = task.extra(&physics).len();
    let spec = entry.spec(observation_dim, physics.action_range(), Some(physics.state_dims(extra)));
    let spec = Spec { timestep: Some(physics.control_timestep()), ..spec };
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

impl<T: Task> SuiteEnv<T> {
    fn present_state(&self) -> State {
        let data = self.physics.data();
        let extra = self.task.extra(&self.physics);
        State { qpos: data.qpos().to_vec(), qvel: data.qvel().to_vec(), extra }
    }

    fn start(&mut self, state: &State, observation: &mut [f64]) {
        self.physics.clear();
        self.physics.edit(|qpos, qvel| {
            qpos.copy_from_slice(&state.qpos);
            qvel.copy_from_slice(&state.qvel);
        });
        self.task.set_extra(&mut self.physics, &state.extra);
        self.physics.derive();
        self.observe(observation);
    }

    fn observe(&self, observation: &mut [f64]) {
        fill(observation, self.task.observe(&self.physics));
    }
}

impl<T: Task> Env for SuiteEnv<T> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.physics.clear();
        self.task.randomize(&mut self.physics, &mut Random::from_seed(seed));
        let start = self.present_state();
        self.start(&start, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        self.physics.step(action);
        if self.physics.diverged() {
            observation.fill(f64::NAN);
            return Step { reward: f64::NAN, end: End::Terminated };
        }
        self.observe(observation);
        Step { reward: self.task.reward(&self.physics), end: End::Running }
    }

    /// dm_control raises a `PhysicsError` then.
    fn failure(&self) -> Option<Error> {
        self.physics.diverged().then(|| Error::Diverged { env: self.spec.name.clone() })
    }

    fn state(&self) -> Option<State> {
        Some(self.present_state())
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, state)?;
        self.start(state, observation);
        Ok(())
    }

    fn render(&mut self, painter: &mut Painter) -> Result<Frame, Error> {
        self.physics.render(painter)
    }
}

/// `vector` in the frame that a row-major rotation matrix describes: Rᵀ v.
fn local(rotation: [f64; 9], vector: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|axis| (0..3).map(|k| vector[k] * rotation[3 * k + axis]).sum())
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}
