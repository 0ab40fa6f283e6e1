//! walker-stand, walker-walk and walker-run: get up, stay up, and move at a given speed.
use std::ops::Range;

use super::{
    Pace, Task, XX, XZ, ZZ, load,
    randomizers::randomize_limited_and_rotational_joints,
    tolerance::{Sigmoid, at_least},
};
use crate::{Error, mujoco::Physics, random::Random};

/// 0.025 s of control in steps of 0.0025 s.
const SUBSTEPS: usize = 10;
/// Height of the torso that counts as standing, in metres.
const STAND_HEIGHT: f64 = 1.2;

pub(crate) struct Walker {
    pace: Pace,
    torso: usize,
    velocity: Range<usize>,
}

impl Walker {
    pub(crate) fn load(pace: Pace) -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/walker.xml", SUBSTEPS)?;
        let task =
            Self { pace, torso: physics.body("torso")?, velocity: physics.sensor("torso_subtreelinvel")? };
        Ok((physics, task))
    }
}

impl Task for Walker {
    /// Any pose, also head down or partly below the floor.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        randomize_limited_and_rotational_joints(physics, random);
    }

    /// Orientation of every body but the world in the plane, height of the torso, velocities.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let orientations = data.xmat()[1..].iter().flat_map(|matrix| [matrix[XX], matrix[XZ]]);
        let height = data.xpos()[self.torso][2];
        orientations.chain([height]).chain(data.qvel().iter().copied())
    }

    /// Standing (three quarters height, one quarter upright), times moving.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let standing =
            at_least(data.xpos()[self.torso][2], STAND_HEIGHT, STAND_HEIGHT / 2.0, Sigmoid::DEFAULT);
        let upright = (1.0 + data.xmat()[self.torso][ZZ]) / 2.0;
        let stand = (3.0 * standing + upright) / 4.0;
        match self.pace {
            Pace::Stand => stand,
            Pace::Move(speed) => {
                let forward = data.sensordata()[self.velocity.start];
                let moving = at_least(forward, speed, speed / 2.0, Sigmoid::Linear(0.5));
                stand * (5.0 * moving + 1.0) / 6.0
            }
        }
    }
}
