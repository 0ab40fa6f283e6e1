//! Random poses of planar models, whose joints are hinges and slides (dm_control's `randomizers.py`).
use std::f64::consts::PI;

use mujoco_rs::prelude::MjtJoint;

use crate::{mujoco::Physics, random::Random};

/// Draws every joint that has limits uniformly within them.
pub(crate) fn randomize_limited_joints(physics: &mut Physics, random: &mut Random) {
    let model = physics.model();
    let joints: Vec<_> = (0..model.jnt_type().len())
        .filter(|&joint| model.jnt_limited()[joint])
        .map(|joint| (model.jnt_qposadr()[joint] as usize, model.jnt_range()[joint]))
        .collect();
    draw(physics, &joints, random);
}

/// Draws every hinge that turns freely uniformly in [-π, π). Free slides stay where they are.
pub(crate) fn randomize_unlimited_hinges(physics: &mut Physics, random: &mut Random) {
    let model = physics.model();
    let joints: Vec<_> = (0..model.jnt_type().len())
        .filter(|&joint| !model.jnt_limited()[joint] && model.jnt_type()[joint] == MjtJoint::mjJNT_HINGE)
        .map(|joint| (model.jnt_qposadr()[joint] as usize, [-PI, PI]))
        .collect();
    draw(physics, &joints, random);
}

fn draw(physics: &mut Physics, joints: &[(usize, [f64; 2])], random: &mut Random) {
    physics.edit(|qpos, _| {
        for &(place, [low, high]) in joints {
            qpos[place] = random.uniform(low, high);
        }
    });
}
