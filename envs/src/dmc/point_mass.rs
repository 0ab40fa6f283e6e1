//! point-mass-easy and point-mass-hard: bring a point to the middle; the hard one has to find out which way the
//! actuators pull.
use super::{
    Task, distance, load,
    randomizers::{randomize_limited_and_rotational_joints, uniform_direction},
    tolerance::{Sigmoid, at_most, small_control},
};
use crate::{Error, mujoco::Physics, random::Random};

/// The two actuators of the hard task pull in directions whose cosine is at most this.
const MAX_COSINE: f64 = 0.9;

/// Which way the actuators pull.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gains {
    /// Along the axes.
    Fixed,
    /// Drawn anew for every episode.
    Random,
}

pub(crate) struct PointMass {
    gains: Gains,
    target: usize,
    mass: usize,
    target_radius: f64,
}

impl PointMass {
    pub(crate) fn load(gains: Gains) -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/point_mass.xml", 1)?;
        let target = physics.geom("target")?;
        let task = Self {
            gains,
            target,
            mass: physics.geom("pointmass")?,
            target_radius: physics.model().geom_size()[target][0],
        };
        Ok((physics, task))
    }
}

impl Task for PointMass {
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        randomize_limited_and_rotational_joints(physics, random);
        if self.gains == Gains::Random {
            let first: [f64; 2] = uniform_direction(random);
            let second: [f64; 2] = loop {
                let second = uniform_direction(random);
                if f64::abs(first[0] * second[0] + first[1] * second[1]) <= MAX_COSINE {
                    break second;
                }
            };
            self.set_extra(physics, &[first, second].concat());
        }
    }

    /// The two directions.
    fn extra(&self, physics: &Physics) -> Vec<f64> {
        match self.gains {
            Gains::Fixed => vec![],
            Gains::Random => physics.model().wrap_prm().to_vec(),
        }
    }

    fn set_extra(&mut self, physics: &mut Physics, extra: &[f64]) {
        if self.gains == Gains::Random {
            // SAFETY: both tendons of this model are fixed ones, of which these numbers are the joints'
            // coefficients; only site indices would have to stay as they are.
            physics.edit_model(|model| unsafe { model.wrap_prm_mut() }.copy_from_slice(extra));
        }
    }

    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        physics.data().qpos().iter().chain(physics.data().qvel()).copied()
    }

    /// Near the target, slightly favouring little force.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let far = distance(data.geom_xpos()[self.target], data.geom_xpos()[self.mass]);
        let near = at_most(far, self.target_radius, self.target_radius, Sigmoid::DEFAULT);
        near * small_control(data.ctrl())
    }
}
