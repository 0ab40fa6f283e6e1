//! Hopper-v5 and Walker2d-v5: run forwards without falling. They differ in the model and in what is healthy.
use super::{Task, Transition, add_uniform, options::*, squared};
use crate::{
    EnvOption, Error,
    OptionValue::Range,
    Step,
    mujoco::{Data, Physics},
    options::{Options, option},
    random::Random,
};

/// Velocities are cut to this size in the observation.
const OBSERVED_VELOCITY: f64 = 10.0;

/// What both have in common.
struct Legged {
    forward: f64,
    control: f64,
    health: Health,
    healthy_z: (f64, f64),
    healthy_angle: (f64, f64),
    noise: f64,
    hidden: usize,
}

impl Legged {
    fn new(options: &Options) -> Self {
        Self {
            forward: options.number("forward_reward_weight"),
            control: options.number("ctrl_cost_weight"),
            health: Health::new(options),
            healthy_z: options.range("healthy_z_range"),
            healthy_angle: options.range("healthy_angle_range"),
            noise: options.number("reset_noise_scale"),
            hidden: hidden_positions(options, 1),
        }
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, self.noise, random);
        add_uniform(qvel, self.noise, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        let velocities = data.qvel().iter().map(|v| v.clamp(-OBSERVED_VELOCITY, OBSERVED_VELOCITY));
        data.qpos()[self.hidden..].iter().copied().chain(velocities)
    }

    /// Neither too low nor too high, and upright enough.
    fn is_healthy(&self, data: &Data) -> bool {
        inside(data.qpos()[1], self.healthy_z) && inside(data.qpos()[2], self.healthy_angle)
    }

    fn judge(&self, transition: &Transition, healthy: bool) -> Step {
        let running = self.forward * transition.x_velocity - self.control * squared(transition.action);
        self.health.judge(healthy, running)
    }
}

pub(super) struct Hopper {
    legged: Legged,
    healthy_state: (f64, f64),
}

impl Task for Hopper {
    const MODEL: &'static str = "gymnasium/hopper.xml";
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(4),
        forward_reward_weight(1.0),
        ctrl_cost_weight(1e-3),
        healthy_reward(1.0),
        TERMINATE_WHEN_UNHEALTHY,
        option(
            "healthy_state_range",
            Range(-100.0, 100.0),
            "healthy values of all positions and velocities but x and z",
        ),
        healthy_z_range(0.7, f64::INFINITY),
        healthy_angle_range(-0.2, 0.2),
        reset_noise_scale(5e-3),
        EXCLUDE_CURRENT_POSITIONS,
    ];

    fn new(options: &Options, _physics: &Physics) -> Result<Self, Error> {
        Ok(Self { legged: Legged::new(options), healthy_state: options.range("healthy_state_range") })
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        self.legged.randomize(qpos, qvel, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        self.legged.observe(data)
    }

    fn terminates(&self) -> bool {
        self.legged.health.terminates()
    }

    fn judge(&self, transition: &Transition) -> Step {
        let data = transition.data;
        let mut states = data.qpos()[2..].iter().chain(data.qvel());
        let bounded = states.all(|&x| inside(x, self.healthy_state));
        self.legged.judge(transition, bounded && self.legged.is_healthy(data))
    }
}

pub(super) struct Walker2d(Legged);

impl Task for Walker2d {
    const MODEL: &'static str = "gymnasium/walker2d_v5.xml";
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(4),
        forward_reward_weight(1.0),
        ctrl_cost_weight(1e-3),
        healthy_reward(1.0),
        TERMINATE_WHEN_UNHEALTHY,
        healthy_z_range(0.8, 2.0),
        healthy_angle_range(-1.0, 1.0),
        reset_noise_scale(5e-3),
        EXCLUDE_CURRENT_POSITIONS,
    ];

    fn new(options: &Options, _physics: &Physics) -> Result<Self, Error> {
        Ok(Self(Legged::new(options)))
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        self.0.randomize(qpos, qvel, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        self.0.observe(data)
    }

    fn terminates(&self) -> bool {
        self.0.health.terminates()
    }

    fn judge(&self, transition: &Transition) -> Step {
        self.0.judge(transition, self.0.is_healthy(transition.data))
    }
}
