//! fish-upright and fish-swim: a fish turns the right way up, and swims to a target.
use super::{
    Task, ZZ, distance, load, local,
    randomizers::uniform_direction,
    tolerance::{Sigmoid, at_most, tolerance},
};
use crate::{Error, mujoco::Physics, random::Random};

/// 0.04 s of control in steps of 0.004 s.
const SUBSTEPS: usize = 10;
/// Half-width of the joints' start angles, in radians.
const JOINT_NOISE: f64 = 0.2;
const JOINTS: [&str; 7] =
    ["tail1", "tail_twist", "tail2", "finright_roll", "finright_pitch", "finleft_roll", "finleft_pitch"];

/// What the fish is asked to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    Upright,
    Swim,
}

pub(crate) struct Fish {
    goal: Goal,
    torso: usize,
    mouth: usize,
    target: usize,
    /// Places in `qpos` of the root and of the joints.
    root: usize,
    joints: [usize; 7],
    /// Radii of mouth and target together.
    reach: f64,
}

impl Fish {
    pub(crate) fn load(goal: Goal) -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/fish.xml", SUBSTEPS)?;
        let (mouth, target) = (physics.geom("mouth")?, physics.geom("target")?);
        let mut joints = [0; 7];
        for (place, name) in joints.iter_mut().zip(JOINTS) {
            *place = physics.joint(name)?.0;
        }
        let task = Self {
            goal,
            torso: physics.body("torso")?,
            mouth,
            target,
            root: physics.joint("root")?.0,
            joints,
            reach: physics.model().geom_size()[mouth][0] + physics.model().geom_size()[target][0],
        };
        Ok((physics, task))
    }
}

impl Task for Fish {
    /// Any orientation, joints nearly straight, the target anywhere near.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        let quaternion: [f64; 4] = uniform_direction(random);
        physics.edit(|qpos, _| {
            qpos[self.root + 3..self.root + 7].copy_from_slice(&quaternion);
            for &joint in &self.joints {
                qpos[joint] = random.uniform(-JOINT_NOISE, JOINT_NOISE);
            }
        });
        if self.goal == Goal::Swim {
            let target = [random.uniform(-0.4, 0.4), random.uniform(-0.4, 0.4), random.uniform(0.1, 0.3)];
            self.set_extra(physics, &target);
        }
    }

    /// The target.
    fn extra(&self, physics: &Physics) -> Vec<f64> {
        match self.goal {
            Goal::Upright => vec![],
            Goal::Swim => physics.model().geom_pos()[self.target].to_vec(),
        }
    }

    fn set_extra(&mut self, physics: &mut Physics, extra: &[f64]) {
        if self.goal == Goal::Swim {
            physics.edit_model(|model| model.geom_pos_mut()[self.target].copy_from_slice(extra));
        }
    }

    /// Joints, uprightness, the way from mouth to target in the mouth's frame, velocities.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let (mouth, target) = (data.geom_xpos()[self.mouth], data.geom_xpos()[self.target]);
        let way = local(data.geom_xmat()[self.mouth], std::array::from_fn(|axis| target[axis] - mouth[axis]));
        let joints = self.joints.iter().map(|&joint| data.qpos()[joint]);
        let way = way.into_iter().filter(|_| self.goal == Goal::Swim);
        joints.chain([data.xmat()[self.torso][ZZ]]).chain(way).chain(data.qvel().iter().copied())
    }

    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let upright = data.xmat()[self.torso][ZZ];
        match self.goal {
            Goal::Upright => tolerance(upright, (1.0, 1.0), 1.0, Sigmoid::DEFAULT),
            Goal::Swim => {
                let far = distance(data.geom_xpos()[self.mouth], data.geom_xpos()[self.target]);
                let near = at_most(far, self.reach, 2.0 * self.reach, Sigmoid::DEFAULT);
                (7.0 * near + (1.0 + upright) / 2.0) / 8.0
            }
        }
    }
}
