//! pendulum-swingup: swing up and hold a pole with a motor too weak to lift it at once.
use std::f64::consts::PI;

use super::{
    Task, XZ, ZZ, load,
    tolerance::{Sigmoid, tolerance},
};
use crate::{Error, mujoco::Physics, random::Random};

/// Largest angle to the vertical that is paid for, in degrees.
const ANGLE_BOUND: f64 = 8.0;

pub(crate) struct Pendulum {
    pole: usize,
}

impl Pendulum {
    pub(crate) fn load() -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/pendulum.xml", 1)?;
        let task = Self { pole: physics.body("pole")? };
        Ok((physics, task))
    }
}

impl Task for Pendulum {
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        physics.edit(|qpos, _| qpos[0] = random.uniform(-PI, PI));
    }

    /// Cosine and sine of the angle to the vertical, and its rate.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let pole = physics.data().xmat()[self.pole];
        [pole[ZZ], pole[XZ], physics.data().qvel()[0]].into_iter()
    }

    fn reward(&self, physics: &Physics) -> f64 {
        let upright = physics.data().xmat()[self.pole][ZZ];
        tolerance(upright, (ANGLE_BOUND.to_radians().cos(), 1.0), 0.0, Sigmoid::DEFAULT)
    }
}
