//! hopper-stand and hopper-hop: a planar body on one leg gets up, and hops.
use std::ops::Range;

use super::{
    Task, load,
    randomizers::randomize_limited_and_rotational_joints,
    tolerance::{Sigmoid, at_least, small_control, tolerance},
};
use crate::{Error, mujoco::Physics, random::Random};

/// 0.02 s of control in steps of 0.005 s.
const SUBSTEPS: usize = 4;
/// Heights of the torso over the foot that count as standing, in metres.
const STAND_HEIGHT: (f64, f64) = (0.6, 2.0);
/// The speed of full reward, in m/s.
const HOP_SPEED: f64 = 2.0;

/// What the hopper is asked to do.
pub(crate) enum Goal {
    Stand,
    Hop,
}

pub(crate) struct Hopper {
    goal: Goal,
    torso: usize,
    foot: usize,
    velocity: Range<usize>,
    touch: [usize; 2],
}

impl Hopper {
    pub(crate) fn load(goal: Goal) -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/hopper.xml", SUBSTEPS)?;
        let task = Self {
            goal,
            torso: physics.body("torso")?,
            foot: physics.body("foot")?,
            velocity: physics.sensor("torso_subtreelinvel")?,
            touch: [physics.sensor("touch_toe")?.start, physics.sensor("touch_heel")?.start],
        };
        Ok((physics, task))
    }
}

impl Task for Hopper {
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        randomize_limited_and_rotational_joints(physics, random);
    }

    /// All but the forward position, then the forces on toe and heel on a logarithmic scale.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let touch = self.touch.iter().map(|&reading| data.sensordata()[reading].ln_1p());
        data.qpos()[1..].iter().chain(data.qvel()).copied().chain(touch)
    }

    /// Standing, times moving forwards or little force.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let height = data.xipos()[self.torso][2] - data.xipos()[self.foot][2];
        let standing = tolerance(height, STAND_HEIGHT, 0.0, Sigmoid::DEFAULT);
        standing
            * match self.goal {
                Goal::Stand => small_control(data.ctrl()),
                Goal::Hop => {
                    let speed = data.sensordata()[self.velocity.start];
                    at_least(speed, HOP_SPEED, HOP_SPEED / 2.0, Sigmoid::Linear(0.5))
                }
            }
    }
}
