//! cartpole-swingup: swing up a pole by pushing its cart.
use std::f64::consts::PI;

use super::{
    Task, XZ, ZZ, load,
    tolerance::{Sigmoid, tolerance},
};
use crate::{Error, mujoco::Physics, random::Random};

/// Standard deviation of the start state around hanging at rest, in metres, radians and their rates.
const RESET_NOISE: f64 = 0.01;

pub(crate) struct Cartpole {
    pole: usize,
}

impl Cartpole {
    pub(crate) fn load() -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/cartpole.xml", 1)?;
        let task = Self { pole: physics.body("pole_1")? };
        Ok((physics, task))
    }
}

impl Task for Cartpole {
    /// The pole hangs.
    fn randomize(&self, physics: &mut Physics, random: &mut Random) {
        physics.edit(|qpos, qvel| {
            qpos[0] = RESET_NOISE * random.normal();
            qpos[1] = PI + RESET_NOISE * random.normal();
            qvel.fill_with(|| RESET_NOISE * random.normal());
        });
    }

    /// Cart position, cosine and sine of the pole's angle to the vertical, then velocities.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let pole = data.xmat()[self.pole];
        [data.qpos()[0], pole[ZZ], pole[XZ]].into_iter().chain(data.qvel().iter().copied())
    }

    /// Upright, times factors that slightly favour the centre, little force and a slow pole.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let upright = (1.0 + data.xmat()[self.pole][ZZ]) / 2.0;
        let centred = (1.0 + tolerance(data.qpos()[0], (0.0, 0.0), 2.0, Sigmoid::DEFAULT)) / 2.0;
        let small_control = (4.0 + tolerance(data.ctrl()[0], (0.0, 0.0), 1.0, Sigmoid::Quadratic(0.0))) / 5.0;
        let small_velocity = (1.0 + tolerance(data.qvel()[1], (0.0, 0.0), 5.0, Sigmoid::DEFAULT)) / 2.0;
        upright * small_control * small_velocity * centred
    }
}
