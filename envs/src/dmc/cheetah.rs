//! cheetah-run: run forwards at 10 m/s.
use std::ops::Range;

use super::{
    Task, load,
    randomizers::randomize_limited_joints,
    tolerance::{Sigmoid, at_least},
};
use crate::{Error, mujoco::Physics, random::Random};

/// The speed of full reward, in m/s.
const RUN_SPEED: f64 = 10.0;
/// Physics steps in which a random pose falls and comes to rest.
const SETTLING_STEPS: usize = 200;

pub(crate) struct Cheetah {
    velocity: Range<usize>,
}

impl Cheetah {
    pub(crate) fn load() -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/cheetah.xml", 1)?;
        let task = Self { velocity: physics.sensor("torso_subtreelinvel")? };
        Ok((physics, task))
    }
}

impl Task for Cheetah {
    /// Limited joints anywhere, then settled.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        randomize_limited_joints(physics, random);
        physics.simulate(SETTLING_STEPS);
    }

    /// All but the forward position.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        physics.data().qpos()[1..].iter().chain(physics.data().qvel()).copied()
    }

    /// Linear in the forward speed of the centre of mass.
    fn reward(&self, physics: &Physics) -> f64 {
        let speed = physics.data().sensordata()[self.velocity.start];
        at_least(speed, RUN_SPEED, RUN_SPEED, Sigmoid::Linear(0.0))
    }
}
