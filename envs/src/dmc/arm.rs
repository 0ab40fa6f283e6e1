//! The planar arm with a two-fingered hand of manipulator and stacker.
use mujoco_rs::prelude::MjModel;

use super::{
    edit::delete,
    randomizers::randomize_limited_and_rotational_joints,
    tolerance::{Sigmoid, at_most},
};
use crate::{
    Error,
    mujoco::{Physics, load_spec, model_error},
    random::Random,
};

/// 0.01 s of control in steps of 0.001 s.
pub(crate) const SUBSTEPS: usize = 10;
/// Metres within which a thing is where it should be.
pub(crate) const CLOSE: f64 = 0.01;
/// In the order in which they are observed, which is not that of the model.
const JOINTS: [&str; 8] =
    ["arm_root", "arm_shoulder", "arm_elbow", "arm_wrist", "finger", "fingertip", "thumb", "thumbtip"];
/// Of `JOINTS`.
const FINGER: usize = 4;
const THUMB: usize = 6;
const TOUCH: [&str; 5] = ["palm_touch", "finger_touch", "thumb_touch", "fingertip_touch", "thumbtip_touch"];

pub(crate) struct Arm {
    /// Places in `qpos` and in `qvel`.
    joints: [(usize, usize); 8],
    touch: [usize; 5],
    hand: usize,
    /// The site between the fingers.
    pub(crate) grasp: usize,
}

impl Arm {
    pub(crate) fn find(physics: &Physics) -> Result<Self, Error> {
        let mut joints = [(0, 0); 8];
        for (place, name) in joints.iter_mut().zip(JOINTS) {
            *place = physics.joint(name)?;
        }
        let mut touch = [0; 5];
        for (place, name) in touch.iter_mut().zip(TOUCH) {
            *place = physics.sensor(name)?.start;
        }
        Ok(Self { joints, touch, hand: physics.body("hand")?, grasp: physics.site("grasp")? })
    }

    /// Draws the joints, thumb and finger alike. Hinges of other things turn too; who calls this places them next.
    pub(crate) fn randomize(&self, physics: &mut Physics, random: &mut Random) {
        randomize_limited_and_rotational_joints(physics, random);
        physics.edit(|qpos, _| qpos[self.joints[FINGER].0] = qpos[self.joints[THUMB].0]);
    }

    /// Sine and cosine of the joints, their velocities, touch on a logarithmic scale, where the hand is.
    pub(crate) fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let angles =
            self.joints.iter().flat_map(|&(place, _)| <[f64; 2]>::from(data.qpos()[place].sin_cos()));
        let velocities = self.joints.iter().map(|&(_, place)| data.qvel()[place]);
        let touch = self.touch.iter().map(|&reading| data.sensordata()[reading].ln_1p());
        angles.chain(velocities).chain(touch).chain(pose(physics, self.hand))
    }
}

/// A body's place and orientation in the plane: x, z, and the quaternion's w and y.
pub(crate) fn pose(physics: &Physics, body: usize) -> [f64; 4] {
    let (place, orientation) = (physics.data().xpos()[body], physics.data().xquat()[body]);
    [place[0], place[2], orientation[0], orientation[2]]
}

/// How close things are that should be together, this far apart.
pub(crate) fn closeness(distance: f64) -> f64 {
    at_most(distance, CLOSE, 2.0 * CLOSE, Sigmoid::DEFAULT)
}

/// The model of a file without some of its bodies.
pub(crate) fn model_without(file: &str, bodies: &[&str]) -> Result<MjModel, Error> {
    let (mut spec, file) = load_spec(file)?;
    for name in bodies {
        delete(spec.body_mut(name), "body", name, &file)?;
    }
    spec.compile().map_err(|error| model_error(&file, &error))
}
