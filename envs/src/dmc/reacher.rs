//! reacher-easy and reacher-hard: bring the tip of a two-link arm to a target.
use std::f64::consts::TAU;

use super::{
    Task, load,
    randomizers::randomize_limited_and_rotational_joints,
    tolerance::{Sigmoid, at_most},
};
use crate::{Error, mujoco::Physics, random::Random};

pub(crate) struct Reacher {
    target: usize,
    finger: usize,
    /// Radii of target and finger together.
    reach: f64,
}

impl Reacher {
    /// With a target of that radius in metres.
    pub(crate) fn load(target_radius: f64) -> Result<(Physics, Self), Error> {
        let mut physics = load("dm_control/reacher.xml", 1)?;
        let (target, finger) = (physics.geom("target")?, physics.geom("finger")?);
        physics.edit_model(|model| model.geom_size_mut()[target][0] = target_radius);
        let reach = target_radius + physics.model().geom_size()[finger][0];
        Ok((physics, Self { target, finger, reach }))
    }

    /// The way from finger to target, in the plane.
    fn to_target(&self, physics: &Physics) -> [f64; 2] {
        let places = physics.data().geom_xpos();
        std::array::from_fn(|axis| places[self.target][axis] - places[self.finger][axis])
    }
}

impl Task for Reacher {
    /// Any pose, and a target between 5 and 20 cm from the shoulder.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        randomize_limited_and_rotational_joints(physics, random);
        let ((sine, cosine), radius) = (random.uniform(0.0, TAU).sin_cos(), random.uniform(0.05, 0.2));
        self.set_extra(physics, &[radius * sine, radius * cosine]);
    }

    /// The target's x and y.
    fn extra(&self, physics: &Physics) -> Vec<f64> {
        physics.model().geom_pos()[self.target][..2].to_vec()
    }

    fn set_extra(&mut self, physics: &mut Physics, extra: &[f64]) {
        physics.edit_model(|model| model.geom_pos_mut()[self.target][..2].copy_from_slice(extra));
    }

    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        data.qpos().iter().copied().chain(self.to_target(physics)).chain(data.qvel().iter().copied())
    }

    /// Whether finger and target touch.
    fn reward(&self, physics: &Physics) -> f64 {
        let [x, y] = self.to_target(physics);
        at_most(x.hypot(y), self.reach, 0.0, Sigmoid::DEFAULT)
    }
}
