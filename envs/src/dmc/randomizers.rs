//! Random poses of planar models, whose joints are hinges and slides (dm_control's `randomizers.py`).
use std::f64::consts::{PI, TAU};

use mujoco_rs::prelude::MjtJoint;

use crate::{mujoco::Physics, random::Random};

/// Draws after which a pose is kept although it touches something.
const MAX_DRAWS: usize = 1000;

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

/// Draws whatever turns or is limited: limited joints within their limits, other hinges in [-π, π), and the
/// orientation of free bodies. That one has components in [0, 1), as in dm_control, so it is not uniform.
pub(crate) fn randomize_limited_and_rotational_joints(physics: &mut Physics, random: &mut Random) {
    randomize_limited_joints(physics, random);
    randomize_unlimited_hinges(physics, random);
    let model = physics.model();
    let free: Vec<_> = (0..model.jnt_type().len())
        .filter(|&joint| model.jnt_type()[joint] == MjtJoint::mjJNT_FREE)
        .map(|joint| model.jnt_qposadr()[joint] as usize)
        .collect();
    for place in free {
        let quaternion: [f64; 4] = unit(std::array::from_fn(|_| random.uniform(0.0, 1.0)));
        physics.edit(|qpos, _| qpos[place + 3..place + 7].copy_from_slice(&quaternion));
    }
}

/// Calls `draw` until its result touches nothing.
pub(crate) fn draw_without_contact(physics: &mut Physics, mut draw: impl FnMut(&mut Physics)) {
    for _ in 0..MAX_DRAWS {
        draw(physics);
        physics.derive();
        if physics.data().contact().is_empty() {
            break;
        }
    }
}

/// A direction or an orientation, uniformly.
pub(crate) fn uniform_direction<const N: usize>(random: &mut Random) -> [f64; N] {
    unit(std::array::from_fn(|_| random.normal()))
}

/// A turn about the vertical, uniformly.
pub(crate) fn uniform_azimuth(random: &mut Random) -> [f64; 4] {
    let (sine, cosine) = (random.uniform(0.0, TAU) / 2.0).sin_cos();
    [cosine, 0.0, 0.0, sine]
}

fn unit<const N: usize>(vector: [f64; N]) -> [f64; N] {
    let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.map(|x| x / norm)
}

fn draw(physics: &mut Physics, joints: &[(usize, [f64; 2])], random: &mut Random) {
    physics.edit(|qpos, _| {
        for &(place, [low, high]) in joints {
            qpos[place] = random.uniform(low, high);
        }
    });
}
