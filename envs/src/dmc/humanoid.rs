//! humanoid-stand, humanoid-walk, humanoid-run and humanoid-run_pure_state: get up, stay up, and move at a given speed.
use std::ops::Range;

use super::{
    Pace, Task, ZZ, load, local,
    randomizers::{draw_without_contact, randomize_limited_and_rotational_joints},
    tolerance::{Sigmoid, at_least, small_control, tolerance},
};
use crate::{Error, mujoco::Physics, random::Random};

/// 0.025 s of control in steps of 0.005 s.
const SUBSTEPS: usize = 5;
/// Positions of the root, before those of the joints.
const ROOT: usize = 7;
/// Height of the head that counts as standing, in metres.
const STAND_HEIGHT: f64 = 1.4;
/// Entries of the last row of a rotation matrix.
const LAST_ROW: Range<usize> = 6..9;

/// What is observed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// What the body feels, wherever it is.
    Egocentric,
    /// All positions and velocities of the simulator.
    State,
}

pub(crate) struct Humanoid {
    pace: Pace,
    view: View,
    torso: usize,
    head: usize,
    extremities: [usize; 4],
    velocity: Range<usize>,
}

impl Humanoid {
    pub(crate) fn load(pace: Pace, view: View) -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/humanoid.xml", SUBSTEPS)?;
        let task = Self {
            pace,
            view,
            torso: physics.body("torso")?,
            head: physics.body("head")?,
            extremities: [
                physics.body("left_hand")?,
                physics.body("left_foot")?,
                physics.body("right_hand")?,
                physics.body("right_foot")?,
            ],
            velocity: physics.sensor("torso_subtreelinvel")?,
        };
        Ok((physics, task))
    }
}

impl Task for Humanoid {
    /// Any pose that touches nothing, not even the floor.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        draw_without_contact(physics, |physics| randomize_limited_and_rotational_joints(physics, random));
    }

    /// Joints, height of the head, hands and feet in the torso's frame, the vertical in that frame, velocity of
    /// the centre of mass (or, instead of these, all positions); all velocities.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let (frame, torso) = (data.xmat()[self.torso], data.xpos()[self.torso]);
        let limbs = self.extremities.iter().flat_map(move |&limb| {
            let place = data.xpos()[limb];
            local(frame, std::array::from_fn(|axis| place[axis] - torso[axis]))
        });
        let joints = data.qpos()[ROOT..].iter().copied();
        let vertical = LAST_ROW.map(move |entry| frame[entry]);
        let centre = data.sensordata()[self.velocity.clone()].iter().copied();
        let body = joints.chain([data.xpos()[self.head][2]]).chain(limbs).chain(vertical);
        let felt = (self.view == View::Egocentric).then(|| body.chain(centre));
        let positions = (self.view == View::State).then(|| data.qpos().iter().copied());
        let either = felt.into_iter().flatten().chain(positions.into_iter().flatten());
        either.chain(data.qvel().iter().copied())
    }

    /// Standing, times moving or not moving, times little force.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let height = data.xpos()[self.head][2];
        let standing = at_least(height, STAND_HEIGHT, STAND_HEIGHT / 4.0, Sigmoid::DEFAULT);
        let upright = at_least(data.xmat()[self.torso][ZZ], 0.9, 1.9, Sigmoid::Linear(0.0));
        let [x, y] = [0, 1].map(|axis| data.sensordata()[self.velocity.start + axis]);
        let moving = match self.pace {
            Pace::Stand => {
                let still = [x, y].map(|speed| tolerance(speed, (0.0, 0.0), 2.0, Sigmoid::DEFAULT));
                (still[0] + still[1]) / 2.0
            }
            Pace::Move(speed) => (5.0 * at_least(x.hypot(y), speed, speed, Sigmoid::Linear(0.0)) + 1.0) / 6.0,
        };
        small_control(data.ctrl()) * (standing * upright) * moving
    }
}
