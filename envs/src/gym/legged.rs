//! Hopper-v5 and Walker2d-v5: run forwards without falling. They differ in the model and in what is healthy.
use super::{Task, Transition, add_uniform};
use crate::{End, Step, env::fill, random::Random};

/// Paid for every step that ends healthy.
const HEALTHY_REWARD: f64 = 1.0;
/// Weight of Σ aᵢ² against forward speed in m/s.
const CONTROL_COST: f64 = 1e-3;
/// Half-width of the uniform reset noise.
const RESET_NOISE: f64 = 5e-3;
/// Velocities are cut to this size in the observation.
const OBSERVED_VELOCITY: f64 = 10.0;

pub(crate) struct Hopper;

impl Hopper {
    /// High enough, upright enough, and nothing but the forward position has run away.
    fn is_healthy(qpos: &[f64], qvel: &[f64]) -> bool {
        let bounded = qpos[2..].iter().chain(qvel).all(|x| x.abs() < 100.0);
        bounded && qpos[1] > 0.7 && qpos[2].abs() < 0.2
    }
}

impl Task for Hopper {
    const MODEL: &'static str = "gymnasium/hopper.xml";
    const FRAME_SKIP: usize = 4;
    const OBSERVATION_DIM: usize = 11;

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        randomize(qpos, qvel, random);
    }

    fn observe(&self, qpos: &[f64], qvel: &[f64], observation: &mut [f64]) {
        observe(qpos, qvel, observation);
    }

    fn terminates(&self) -> bool {
        true
    }

    fn judge(&self, transition: &Transition) -> Step {
        judge(transition, Self::is_healthy(transition.qpos, transition.qvel))
    }
}

pub(crate) struct Walker2d;

impl Walker2d {
    /// Neither too low nor too high, and upright enough.
    fn is_healthy(qpos: &[f64]) -> bool {
        0.8 < qpos[1] && qpos[1] < 2.0 && qpos[2].abs() < 1.0
    }
}

impl Task for Walker2d {
    const MODEL: &'static str = "gymnasium/walker2d_v5.xml";
    const FRAME_SKIP: usize = 4;
    const OBSERVATION_DIM: usize = 17;

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        randomize(qpos, qvel, random);
    }

    fn observe(&self, qpos: &[f64], qvel: &[f64], observation: &mut [f64]) {
        observe(qpos, qvel, observation);
    }

    fn terminates(&self) -> bool {
        true
    }

    fn judge(&self, transition: &Transition) -> Step {
        judge(transition, Self::is_healthy(transition.qpos))
    }
}

fn randomize(qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
    add_uniform(qpos, RESET_NOISE, random);
    add_uniform(qvel, RESET_NOISE, random);
}

/// All but the forward position, with bounded velocities.
fn observe(qpos: &[f64], qvel: &[f64], observation: &mut [f64]) {
    let velocities = qvel.iter().map(|v| v.clamp(-OBSERVED_VELOCITY, OBSERVED_VELOCITY));
    fill(observation, qpos[1..].iter().copied().chain(velocities));
}

fn judge(transition: &Transition, healthy: bool) -> Step {
    let running = transition.x_velocity - CONTROL_COST * transition.squared_action;
    if healthy {
        Step { reward: running + HEALTHY_REWARD, end: End::Running }
    } else {
        Step { reward: running, end: End::Terminated }
    }
}
