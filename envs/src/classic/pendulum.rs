//! Gymnasium's Pendulum-v1: swing up and hold a rod with a motor too weak to lift it at once.
use std::f64::consts::{PI, TAU};

use crate::{
    End, Env, EnvOption, Error, Frame, OptionValue, Painter, Spec, State, StateDims, Step,
    entry::Entry,
    env::{check_state, fill},
    options::{Options, option},
    random::Random,
};

/// Seconds per step.
const TIMESTEP: f64 = 0.05;
/// kg
const MASS: f64 = 1.0;
/// m
const LENGTH: f64 = 1.0;
/// rad/s
const MAX_SPEED: f64 = 8.0;
/// N·m
const MAX_TORQUE: f64 = 2.0;

/// Observes (cos θ, sin θ, θ̇), θ = 0 upright; is driven by a torque in N·m; pays -(θ² + 0.1 θ̇² + 0.001 u²)
/// of the state before the step, θ in [-π, π). Unlike Gymnasium's, the observation is not rounded to `f32`.
pub(crate) struct Pendulum {
    spec: Spec,
    /// m/s²
    gravity: f64,
    /// θ in radians, not wrapped.
    angle: f64,
    /// θ̇ in rad/s.
    velocity: f64,
}

impl Pendulum {
    pub(crate) const OPTIONS: &'static [EnvOption] =
        &[option("g", OptionValue::Number(10.0), "acceleration of gravity in m/s²")];

    /// The pendulum, called as `entry` says.
    pub(crate) fn new(entry: &Entry, options: &Options) -> Self {
        let range = (vec![-MAX_TORQUE], vec![MAX_TORQUE]);
        let spec = entry.spec(3, range, Some(StateDims { qpos: 1, qvel: 1, extra: 0 }));
        let spec = Spec { timestep: Some(TIMESTEP), ..spec };
        Self { spec, gravity: options.number("g"), angle: 0.0, velocity: 0.0 }
    }

    fn start(&mut self, angle: f64, velocity: f64, observation: &mut [f64]) {
        (self.angle, self.velocity) = (angle, velocity);
        self.observe(observation);
    }

    fn observe(&self, observation: &mut [f64]) {
        fill(observation, [self.angle.cos(), self.angle.sin(), self.velocity]);
    }
}

impl Env for Pendulum {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    /// θ uniform in [-π, π), θ̇ uniform in [-1, 1).
    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        let mut random = Random::from_seed(seed);
        self.start(random.uniform(-PI, PI), random.uniform(-1.0, 1.0), observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let &[torque] = action else { panic!("the pendulum has one actuator, not {}", action.len()) };
        let torque = torque.clamp(-MAX_TORQUE, MAX_TORQUE);
        let wrapped = (self.angle + PI).rem_euclid(TAU) - PI;
        let cost = wrapped.powi(2) + 0.1 * self.velocity.powi(2) + 0.001 * torque.powi(2);

        let gravity = 3.0 * self.gravity / (2.0 * LENGTH) * self.angle.sin();
        let acceleration = gravity + 3.0 / (MASS * LENGTH.powi(2)) * torque;
        self.velocity = (self.velocity + acceleration * TIMESTEP).clamp(-MAX_SPEED, MAX_SPEED);
        self.angle += self.velocity * TIMESTEP;
        self.observe(observation);
        Step { reward: -cost, end: End::Running }
    }

    fn state(&self) -> Option<State> {
        Some(State { qpos: vec![self.angle], qvel: vec![self.velocity], extra: vec![] })
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, state)?;
        self.start(state.qpos[0], state.qvel[0], observation);
        Ok(())
    }

    /// The rod and its axle; θ grows anticlockwise.
    fn render(&mut self, painter: &mut Painter) -> Result<Frame, Error> {
        let mut frame = Frame::blank(painter.view().width, painter.view().height, [255; 3]);
        let tip = [-0.8 * self.angle.sin(), 0.8 * self.angle.cos()];
        frame.capsule([0.0; 2], tip, 0.08, [204, 77, 77]);
        frame.capsule([0.0; 2], [0.0; 2], 0.03, [0; 3]);
        Ok(frame)
    }
}
