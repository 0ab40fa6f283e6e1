//! Gymnasium 1.4 MuJoCo v5 tasks, a file per family: observation, reward, termination, reset, options.
//!
//! Traps of v5: a reward for being healthy is paid only while healthy; velocities are differences of
//! positions over a control step; Walker2d and Pusher have model files of their own; the time limit is a
//! truncation. Body positions are one physics step old, see [`Convention::Gymnasium`].
mod ant;
mod half_cheetah;
mod humanoid;
mod inverted;
mod legged;
mod options;
mod pusher;
mod reacher;
mod swimmer;

use ant::Ant;
use half_cheetah::HalfCheetah;
use humanoid::{Humanoid, HumanoidStandup};
use inverted::{InvertedDoublePendulum, InvertedPendulum};
use legged::{Hopper, Walker2d};
use pusher::Pusher;
use reacher::Reacher;
use swimmer::Swimmer;

use crate::{
    Env, EnvOption, Error, Frame, Painter, Source, Spec, State, Step,
    entry::{Entry, entry},
    env::{check_state, fill},
    mujoco::{Convention, Data, Physics, load_endless},
    options::Options,
    random::Random,
};

/// The registered v5 tasks: names, sizes of observation and action, steps of an episode.
pub(crate) const TABLE: &[Entry] = &[
    v5::<HalfCheetah>("halfcheetah", "HalfCheetah-v5", [17, 6], 1000),
    v5::<Hopper>("hopper", "Hopper-v5", [11, 3], 1000),
    v5::<Walker2d>("walker2d", "Walker2d-v5", [17, 6], 1000),
    v5::<Ant>("ant", "Ant-v5", [105, 8], 1000),
    v5::<Humanoid>("humanoid", "Humanoid-v5", [348, 17], 1000),
    v5::<HumanoidStandup>("humanoid-standup", "HumanoidStandup-v5", [348, 17], 1000),
    v5::<Swimmer>("swimmer", "Swimmer-v5", [8, 2], 1000),
    v5::<Reacher>("reacher", "Reacher-v5", [10, 2], 50),
    v5::<Pusher>("pusher", "Pusher-v5", [23, 7], 100),
    v5::<InvertedPendulum>("inverted-pendulum", "InvertedPendulum-v5", [4, 1], 1000),
    v5::<InvertedDoublePendulum>("inverted-double-pendulum", "InvertedDoublePendulum-v5", [9, 1], 1000),
];

const fn v5<T: Task>(name: &'static str, official: &'static str, sizes: [usize; 2], steps: usize) -> Entry {
    entry(name, official, Source::Gymnasium, sizes, steps, 1, make::<T>).with(T::OPTIONS)
}

/// What a Gymnasium task adds to its simulation.
trait Task: Send + Sized + 'static {
    /// The model file, relative to the model directory.
    const MODEL: &'static str;
    /// The keywords of the constructor; `frame_skip` is among them.
    const OPTIONS: &'static [EnvOption];
    /// How it is stepped.
    const CONVENTION: Convention = Convention::Gymnasium;

    /// The task with these options on this simulation.
    fn new(options: &Options, physics: &Physics) -> Result<Self, Error>;

    /// Adds the reset noise to the model's default state.
    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random);

    /// The entries of the observation.
    fn observe(&self, data: &Data) -> impl Iterator<Item = f64>;

    /// Where it is along the way forwards, in metres.
    fn forward_position(&self, data: &Data) -> f64 {
        data.qpos()[0]
    }

    /// Whether [`Task::judge`] can end an episode.
    fn terminates(&self) -> bool {
        false
    }

    /// Judges a control step.
    fn judge(&self, transition: &Transition) -> Step;
}

/// A control step that was taken.
struct Transition<'a> {
    /// The simulation after it.
    pub(crate) data: &'a Data,
    /// Change of the forward position, per second.
    pub(crate) x_velocity: f64,
    /// The action.
    pub(crate) action: &'a [f64],
}

/// Makes an environment of a task.
fn make<T: Task>(entry: &Entry, options: &Options) -> Result<Box<dyn Env>, Error> {
    let mut physics = Physics::new(load_endless(T::MODEL)?, T::CONVENTION, options.count("frame_skip"));
    physics.start_here();
    let task = T::new(options, &physics)?;
    let observation_dim = task.observe(physics.data()).count();
    let spec = entry.spec(observation_dim, physics.action_range(), Some(physics.state_dims(0)));
    let spec = Spec { terminates: task.terminates(), timestep: Some(physics.control_timestep()), ..spec };
    Ok(Box::new(GymEnv { spec, physics, task }))
}

struct GymEnv<T> {
    spec: Spec,
    physics: Physics,
    task: T,
}

impl<T: Task> GymEnv<T> {
    fn observe(&self, observation: &mut [f64]) {
        fill(observation, self.task.observe(self.physics.data()));
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
        let before = self.task.forward_position(self.physics.data());
        self.physics.step(action);
        let data = self.physics.data();
        let x_velocity = (self.task.forward_position(data) - before) / self.physics.control_timestep();
        self.observe(observation);
        self.task.judge(&Transition { data, x_velocity, action })
    }

    fn state(&self) -> Option<State> {
        let data = self.physics.data();
        Some(State { qpos: data.qpos().to_vec(), qvel: data.qvel().to_vec(), extra: vec![] })
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, state)?;
        self.physics.start_from(&state.qpos, &state.qvel);
        self.observe(observation);
        Ok(())
    }

    fn render(&mut self, painter: &mut Painter) -> Result<Frame, Error> {
        self.physics.render(painter)
    }
}

/// Adds uniform noise in `[-scale, scale)` to every entry.
fn add_uniform(values: &mut [f64], scale: f64, random: &mut Random) {
    values.iter_mut().for_each(|value| *value += random.uniform(-scale, scale));
}

/// Adds normal noise of that standard deviation to every entry.
fn add_normal(values: &mut [f64], scale: f64, random: &mut Random) {
    values.iter_mut().for_each(|value| *value += scale * random.normal());
}

fn squared(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}
