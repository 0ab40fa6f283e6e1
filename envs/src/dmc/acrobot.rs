//! acrobot-swingup, dense and sparse: bring the tip of a two-link pendulum, driven at the elbow only, to a target above.
use std::f64::consts::PI;

use super::{
    Reward, Task, XZ, ZZ, distance, load,
    tolerance::{Sigmoid, at_most},
};
use crate::{Error, mujoco::Physics, random::Random};

pub(crate) struct Acrobot {
    upper_arm: usize,
    lower_arm: usize,
    target: usize,
    tip: usize,
    target_radius: f64,
    margin: f64,
}

impl Acrobot {
    pub(crate) fn load(reward: Reward) -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/acrobot.xml", 1)?;
        let target = physics.site("target")?;
        let task = Self {
            upper_arm: physics.body("upper_arm")?,
            lower_arm: physics.body("lower_arm")?,
            target,
            tip: physics.site("tip")?,
            target_radius: physics.model().site_size()[target][0],
            margin: if reward == Reward::Sparse { 0.0 } else { 1.0 },
        };
        Ok((physics, task))
    }
}

impl Task for Acrobot {
    /// Both angles anywhere, at rest.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        physics.edit(|qpos, _| qpos.fill_with(|| random.uniform(-PI, PI)));
    }

    /// Sines and cosines of both arms' angles to the vertical, then velocities.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let (upper, lower) = (data.xmat()[self.upper_arm], data.xmat()[self.lower_arm]);
        let orientations = [upper[XZ], lower[XZ], upper[ZZ], lower[ZZ]];
        orientations.into_iter().chain(data.qvel().iter().copied())
    }

    /// Gaussian in the distance from the tip to the target's surface, with a margin of 1 m; or inside or not.
    fn reward(&self, physics: &Physics) -> f64 {
        let (target, tip) = (physics.data().site_xpos()[self.target], physics.data().site_xpos()[self.tip]);
        at_most(distance(target, tip), self.target_radius, self.margin, Sigmoid::DEFAULT)
    }
}
