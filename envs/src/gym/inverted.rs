//! InvertedPendulum-v5 and InvertedDoublePendulum-v5: keep one pole, or two on top of each other, up.
use super::{Task, Transition, add_normal, add_uniform, options::*};
use crate::{
    End, EnvOption, Error, Step,
    mujoco::{Data, Physics},
    options::Options,
    random::Random,
};

/// Largest tilt of the single pole, in radians.
const HEALTHY_ANGLE: f64 = 0.2;
/// Lowest healthy height of the tip of two poles, in metres.
const HEALTHY_HEIGHT: f64 = 1.0;
/// Height of the tip when both poles are up, roughly.
const UPRIGHT_HEIGHT: f64 = 2.0;
/// The double pendulum's velocities and constraint force are cut to this size in the observation.
const OBSERVED: f64 = 10.0;

pub(super) struct InvertedPendulum {
    noise: f64,
}

impl Task for InvertedPendulum {
    const MODEL: &'static str = "gymnasium/inverted_pendulum.xml";
    const OPTIONS: &'static [EnvOption] = &[frame_skip(2), reset_noise_scale(0.01)];

    fn new(options: &Options, _physics: &Physics) -> Result<Self, Error> {
        Ok(Self { noise: options.number("reset_noise_scale") })
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, self.noise, random);
        add_uniform(qvel, self.noise, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        data.qpos().iter().chain(data.qvel()).copied()
    }

    fn terminates(&self) -> bool {
        true
    }

    fn judge(&self, transition: &Transition) -> Step {
        let finite = self.observe(transition.data).all(f64::is_finite);
        if finite && transition.data.qpos()[1].abs() <= HEALTHY_ANGLE {
            Step { reward: 1.0, end: End::Running }
        } else {
            Step { reward: 0.0, end: End::Terminated }
        }
    }
}

pub(super) struct InvertedDoublePendulum {
    healthy: f64,
    noise: f64,
}

impl Task for InvertedDoublePendulum {
    const MODEL: &'static str = "gymnasium/inverted_double_pendulum.xml";
    const OPTIONS: &'static [EnvOption] = &[frame_skip(5), healthy_reward(10.0), reset_noise_scale(0.1)];

    fn new(options: &Options, _physics: &Physics) -> Result<Self, Error> {
        Ok(Self { healthy: options.number("healthy_reward"), noise: options.number("reset_noise_scale") })
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, self.noise, random);
        add_normal(qvel, self.noise, random);
    }

    /// Cart, sines and cosines of both angles, velocities, force of the constraint on the cart.
    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        let (cart, angles) = (data.qpos()[0], &data.qpos()[1..]);
        let bounded =
            data.qvel().iter().chain(&data.qfrc_constraint()[..1]).map(|x| x.clamp(-OBSERVED, OBSERVED));
        let sines = angles.iter().map(|angle| angle.sin());
        [cart].into_iter().chain(sines).chain(angles.iter().map(|angle| angle.cos())).chain(bounded)
    }

    fn terminates(&self) -> bool {
        true
    }

    /// Being up, less the tip's distance from above the origin and the speeds of the poles.
    fn judge(&self, transition: &Transition) -> Step {
        let data = transition.data;
        let [x, _, height] = data.site_xpos()[0];
        let distance = 0.01 * x.powi(2) + (height - UPRIGHT_HEIGHT).powi(2);
        let speed = 1e-3 * data.qvel()[1].powi(2) + 5e-3 * data.qvel()[2].powi(2);
        if height > HEALTHY_HEIGHT {
            Step { reward: self.healthy - distance - speed, end: End::Running }
        } else {
            Step { reward: -distance - speed, end: End::Terminated }
        }
    }
}
