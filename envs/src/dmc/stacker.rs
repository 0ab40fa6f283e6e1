//! stacker-stack-2 and -stack-4: an arm stacks boxes until one is at the target, and lets go.
use std::f64::consts::TAU;

use super::{
    Task,
    arm::{Arm, CLOSE, SUBSTEPS, model_without, pose},
    distance,
    randomizers::draw_without_contact,
    tolerance::{Sigmoid, at_least, at_most},
};
use crate::{
    Error,
    mujoco::{Convention, Physics},
    random::Random,
};

/// Boxes in the model.
const BOXES: [&str; 4] = ["box0", "box1", "box2", "box3"];
/// Metres from the target at which the hand has let go.
const FAR: f64 = 0.1;

pub(crate) struct Stacker {
    arm: Arm,
    boxes: Vec<Cube>,
    /// Half the height of a box.
    size: f64,
    target: usize,
    target_site: usize,
}

struct Cube {
    body: usize,
    site: usize,
    /// Places in `qpos` and in `qvel` of x, angle and z.
    joints: [(usize, usize); 3],
}

impl Cube {
    fn find(physics: &Physics, name: &str) -> Result<Self, Error> {
        let joint = |axis| physics.joint(&format!("{name}_{axis}"));
        let joints = [joint("x")?, joint("y")?, joint("z")?];
        Ok(Self { body: physics.body(name)?, site: physics.site(name)?, joints })
    }
}

impl Stacker {
    /// With two boxes or with four.
    pub(crate) fn load(boxes: usize) -> Result<(Physics, Self), Error> {
        let (used, unused) = BOXES.split_at(boxes);
        let model = model_without("dm_control/stacker.xml", unused)?;
        let physics = Physics::new(model, Convention::DmControl, SUBSTEPS);
        let task = Self {
            arm: Arm::find(&physics)?,
            boxes: used.iter().map(|name| Cube::find(&physics, name)).collect::<Result<_, _>>()?,
            size: physics.model().geom_size()[physics.geom("target")?][0],
            target: physics.body("target")?,
            target_site: physics.site("target")?,
        };
        Ok((physics, task))
    }
}

impl Task for Stacker {
    /// Any pose of the arm, the target where the top of a stack may be, the boxes on one side; nothing touches.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        draw_without_contact(physics, |physics| {
            self.arm.randomize(physics, random);
            let below = (random.uniform(0.0, 1.0) * self.boxes.len() as f64).floor();
            let target = [random.uniform(-0.37, 0.37), self.size * (2.0 * below + 1.0)];
            self.set_extra(physics, &target);
            physics.edit(|qpos, _| {
                for cube in &self.boxes {
                    let [(x, _), (angle, _), (z, _)] = cube.joints;
                    qpos[x] = random.uniform(0.1, 0.3);
                    qpos[z] = random.uniform(0.0, 0.7);
                    qpos[angle] = random.uniform(0.0, TAU);
                }
            });
        });
    }

    /// The target's x and z.
    fn extra(&self, physics: &Physics) -> Vec<f64> {
        let place = physics.model().body_pos()[self.target];
        vec![place[0], place[2]]
    }

    fn set_extra(&mut self, physics: &mut Physics, extra: &[f64]) {
        physics.edit_model(|model| {
            let place = &mut model.body_pos_mut()[self.target];
            (place[0], place[2]) = (extra[0], extra[1]);
        });
    }

    /// The arm, where the boxes are, their velocities, the target's x and z.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let poses = self.boxes.iter().flat_map(|cube| pose(physics, cube.body));
        let joints = self.boxes.iter().flat_map(|cube| cube.joints);
        let velocities = joints.map(|(_, place)| physics.data().qvel()[place]);
        let [x, z, ..] = pose(physics, self.target);
        self.arm.observe(physics).chain(poses).chain(velocities).chain([x, z])
    }

    /// A box at the target, the hand away from it.
    fn reward(&self, physics: &Physics) -> f64 {
        let sites = physics.data().site_xpos();
        let apart = |site: usize| distance(sites[site], sites[self.target_site]);
        let nearest = self.boxes.iter().map(|cube| apart(cube.site)).fold(f64::INFINITY, f64::min);
        at_most(nearest, 0.0, 2.0 * self.size, Sigmoid::DEFAULT)
            * at_least(apart(self.arm.grasp), FAR, CLOSE, Sigmoid::DEFAULT)
    }
}
