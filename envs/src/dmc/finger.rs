//! finger-spin, finger-turn-easy and finger-turn-hard: a two-joint finger spins a body, or turns it to an angle.
use std::{f64::consts::PI, ops::Range};

use super::{
    Task, load,
    randomizers::{draw_without_contact, randomize_limited_and_rotational_joints},
};
use crate::{Error, mujoco::Physics, random::Random};

/// 0.02 s of control in steps of 0.01 s.
const SUBSTEPS: usize = 2;
/// The speed from which spinning is paid for, in rad/s.
const SPIN_VELOCITY: f64 = -15.0;
/// Damping of the spun body's hinge, less than the model has.
const SPIN_DAMPING: f64 = 0.03;

/// What the finger is asked to do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    Spin,
    /// Bring the tip of the body within this distance of a target, in metres.
    Turn(f64),
}

pub(crate) struct Finger {
    goal: Goal,
    target_site: usize,
    /// The body's hinge, in x and z, and the distance of its tip from there.
    hinge: [f64; 2],
    radius: f64,
    /// Readings observed as they are, and forces of touch.
    joints: [usize; 2],
    velocities: [usize; 3],
    touch: [usize; 2],
    tip: Range<usize>,
    target: Range<usize>,
    spinner: Range<usize>,
}

impl Finger {
    pub(crate) fn load(goal: Goal) -> Result<(Physics, Self), Error> {
        let mut physics = load("dm_control/finger.xml", SUBSTEPS)?;
        let (hinge, target_site) = (physics.joint("hinge")?, physics.site("target")?);
        physics.edit_model(|model| match goal {
            Goal::Spin => model.dof_damping_mut()[hinge.1] = SPIN_DAMPING,
            Goal::Turn(radius) => model.site_size_mut()[target_site][0] = radius,
        });
        physics.clear();
        let spinner = physics.data().xpos()[physics.body("spinner")?];
        let reading = |name| Ok::<_, Error>(physics.sensor(name)?.start);
        let task = Self {
            goal,
            target_site,
            hinge: [spinner[0], spinner[2]],
            radius: physics.model().geom_size()[physics.geom("cap1")?].iter().sum(),
            joints: [reading("proximal")?, reading("distal")?],
            velocities: [
                reading("proximal_velocity")?,
                reading("distal_velocity")?,
                reading("hinge_velocity")?,
            ],
            touch: [reading("touchtop")?, reading("touchbottom")?],
            tip: physics.sensor("tip")?,
            target: physics.sensor("target")?,
            spinner: physics.sensor("spinner")?,
        };
        Ok((physics, task))
    }

    /// Where a part is seen from the hinge, in x and z.
    fn place_from_hinge(&self, physics: &Physics, part: &Range<usize>) -> [f64; 2] {
        let sensors = physics.data().sensordata();
        let (part, spinner) = (&sensors[part.clone()], &sensors[self.spinner.clone()]);
        [part[0] - spinner[0], part[2] - spinner[2]]
    }

    /// From the tip to the surface of a target of that radius; negative inside.
    fn distance(&self, physics: &Physics, radius: f64) -> f64 {
        let (tip, target) =
            (self.place_from_hinge(physics, &self.tip), self.place_from_hinge(physics, &self.target));
        (target[0] - tip[0]).hypot(target[1] - tip[1]) - radius
    }
}

impl Task for Finger {
    /// Any pose without contact, the target anywhere around the hinge.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        if let Goal::Turn(_) = self.goal {
            let (sine, cosine) = random.uniform(-PI, PI).sin_cos();
            let target = [self.hinge[0] + self.radius * sine, self.hinge[1] + self.radius * cosine];
            self.set_extra(physics, &target);
        }
        draw_without_contact(physics, |physics| randomize_limited_and_rotational_joints(physics, random));
    }

    /// The target's x and z.
    fn extra(&self, physics: &Physics) -> Vec<f64> {
        let place = physics.model().site_pos()[self.target_site];
        if self.goal == Goal::Spin { vec![] } else { vec![place[0], place[2]] }
    }

    fn set_extra(&mut self, physics: &mut Physics, extra: &[f64]) {
        if let &[x, z] = extra {
            physics.edit_model(|model| {
                let place = &mut model.site_pos_mut()[self.target_site];
                (place[0], place[2]) = (x, z);
            });
        }
    }

    /// Joints, tip, velocities, touch on a logarithmic scale, then target and distance.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let sensors = physics.data().sensordata();
        let joints = self.joints.iter().map(|&reading| sensors[reading]);
        let velocities = self.velocities.iter().map(|&reading| sensors[reading]);
        let touch = self.touch.iter().map(|&reading| sensors[reading].ln_1p());
        let turn = match self.goal {
            Goal::Spin => None,
            Goal::Turn(radius) => {
                let [x, z] = self.place_from_hinge(physics, &self.target);
                Some([x, z, self.distance(physics, radius)])
            }
        };
        let body = joints.chain(self.place_from_hinge(physics, &self.tip)).chain(velocities).chain(touch);
        body.chain(turn.into_iter().flatten())
    }

    fn reward(&self, physics: &Physics) -> f64 {
        let done = match self.goal {
            Goal::Spin => physics.data().sensordata()[self.velocities[2]] <= SPIN_VELOCITY,
            Goal::Turn(radius) => self.distance(physics, radius) <= 0.0,
        };
        f64::from(u8::from(done))
    }
}
