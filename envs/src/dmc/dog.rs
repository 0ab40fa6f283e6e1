//! dog-stand, -walk, -trot, -run and -fetch: a dog with 38 muscles stands, moves at a given speed, brings a ball.
use std::{f64::consts::TAU, ops::Range};

use mujoco_rs::prelude::{MjModel, MjtJoint, MjtObjBase};

use super::{
    Task, ZZ, distance,
    edit::{delete, missing},
    local,
    randomizers::uniform_azimuth,
    tolerance::{Sigmoid, at_least, at_most, tolerance},
};
use crate::{
    Error,
    mujoco::{Convention, Physics, load_spec, model_error},
    random::Random,
};

const MODEL: &str = "dm_control/dog.xml";
/// 0.015 s of control in steps of 0.005 s.
const SUBSTEPS: usize = 3;
/// The floor reaches as far as one runs in the 15 s of an episode.
const EPISODE_SECONDS: f64 = 15.0;
/// Half-width of the floor of `fetch`, in metres.
const FETCH_FLOOR: f64 = 10.0;
/// Standing means at least this share of the height in the default pose.
const STAND_SHARE: f64 = 0.9;
/// Angle to the vertical up to which a part counts as upright, in degrees.
const UPRIGHT_ANGLE: f64 = 30.0;
/// Standard deviation of the start velocities in the plane, in m/s and rad/s.
const VELOCITY_NOISE: f64 = 2.0;
/// Distance of the mouth from the ball at which reaching it still pays a tenth, in metres.
const BITE_MARGIN: f64 = 2.0;

/// What the dog is asked to do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    Stand,
    /// At this speed in m/s.
    Move(f64),
    Fetch,
}

pub(crate) struct Dog {
    goal: Goal,
    torso: usize,
    pelvis: usize,
    skull: usize,
    /// Places of the hinges in `qpos` and in `qvel`.
    hinges: Vec<(usize, usize)>,
    /// Heights of torso and pelvis that count as standing.
    stand_heights: [f64; 2],
    weight: f64,
    velocity: Range<usize>,
    /// Inertial sensors and forces on the feet, then touch of the feet.
    sensors: Vec<usize>,
    touch: [usize; 4],
    ball: Option<Ball>,
}

/// What `fetch` has besides.
struct Ball {
    ball: usize,
    target: usize,
    head: usize,
    bites: [usize; 2],
    /// Places of its root in `qpos` and in `qvel`.
    root: (usize, usize),
    bite_radius: f64,
    target_radius: f64,
    floor: f64,
}

impl Dog {
    pub(crate) fn load(goal: Goal) -> Result<(Physics, Self), Error> {
        let mut physics = Physics::new(model(goal)?, Convention::DmControl, SUBSTEPS);
        physics.clear();
        let model = physics.model();
        let hinges = (0..model.jnt_type().len())
            .filter(|&joint| model.jnt_type()[joint] == MjtJoint::mjJNT_HINGE)
            .map(|joint| (model.jnt_qposadr()[joint] as usize, model.jnt_dofadr()[joint] as usize))
            .collect();
        let mut sensors = vec![];
        for name in ["accelerometer", "velocimeter", "gyro", "foot_L", "foot_R", "hand_L", "hand_R"] {
            sensors.extend(physics.sensor(name)?);
        }
        let mut touch = [0; 4];
        for (place, name) in touch.iter_mut().zip(["palm_L", "palm_R", "sole_L", "sole_R"]) {
            *place = physics.sensor(name)?.start;
        }
        let (torso, pelvis) = (physics.body("torso")?, physics.body("pelvis")?);
        let gravity = -physics.data().model_opt().gravity[2];
        let task = Self {
            goal,
            torso,
            pelvis,
            skull: physics.body("skull")?,
            hinges,
            stand_heights: [torso, pelvis].map(|part| STAND_SHARE * physics.data().xpos()[part][2]),
            weight: gravity * model.body_subtreemass()[torso],
            velocity: physics.sensor("torso_linvel")?,
            sensors,
            touch,
            ball: if goal == Goal::Fetch { Some(Ball::new(&physics)?) } else { None },
        };
        Ok((physics, task))
    }

    /// Velocity of the centre of mass in the torso's frame.
    fn velocity(&self, physics: &Physics) -> [f64; 3] {
        let sensors = &physics.data().sensordata()[self.velocity.clone()];
        local(physics.data().xmat()[self.torso], std::array::from_fn(|axis| sensors[axis]))
    }
}

impl Ball {
    fn new(physics: &Physics) -> Result<Self, Error> {
        let (bites, target) =
            ([physics.site("upper_bite")?, physics.site("lower_bite")?], physics.geom("target")?);
        let model = physics.model();
        Ok(Self {
            ball: physics.geom("ball")?,
            target,
            head: physics.site("head")?,
            bites,
            root: physics.joint("ball_root")?,
            bite_radius: model.site_size()[bites[0]][0],
            target_radius: model.geom_size()[target][0],
            floor: model.geom_size()[physics.geom("floor")?][0],
        })
    }

    /// On its way from the edge to the centre, up in the air and not quite straight.
    fn throw(&self, physics: &mut Physics, random: &mut Random) {
        let (radius, (sine, cosine)) = (0.75 * self.floor, random.uniform(0.0, TAU).sin_cos());
        let gravity = -physics.data().model_opt().gravity[2];
        let rise = (2.0 * gravity * random.uniform(0.0, 3.0)).sqrt();
        let speed = random.uniform(0.0, 5.0);
        let direction = [-sine + 0.05 * random.normal(), -cosine + 0.05 * random.normal()];
        physics.edit(|qpos, qvel| {
            let (q, v) = self.root;
            qpos[q..q + 3].copy_from_slice(&[radius * sine, radius * cosine, 0.05]);
            qvel[v..v + 3].copy_from_slice(&[speed * direction[0], speed * direction[1], rise]);
        });
    }

    /// Place and velocity of the ball, then place of the target, as seen from the head.
    fn observe(&self, physics: &Physics) -> [f64; 9] {
        let data = physics.data();
        let (frame, head) = (data.site_xmat()[self.head], data.site_xpos()[self.head]);
        let velocity = |object, id| -> [f64; 3] {
            let [_, _, _, linear @ ..] = data.object_velocity(object, id, false);
            linear
        };
        let of_head = velocity(MjtObjBase::mjOBJ_SITE, self.head);
        let of_ball = velocity(MjtObjBase::mjOBJ_GEOM, self.ball);
        let seen =
            |from: [f64; 3], to: [f64; 3]| local(frame, std::array::from_fn(|axis| to[axis] - from[axis]));
        let ball = seen(head, data.geom_xpos()[self.ball]);
        let target = seen(head, data.geom_xpos()[self.target]);
        let parts = [ball, seen(of_head, of_ball), target];
        std::array::from_fn(|i| parts[i / 3][i % 3])
    }

    /// Having the ball in the mouth, or at the target already, times having brought it near the target.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let ball = data.geom_xpos()[self.ball];
        let [upper, lower] = self.bites.map(|bite| distance(ball, data.site_xpos()[bite]));
        let to_target = distance(ball, data.geom_xpos()[self.target]);
        let fall_off = Sigmoid::Reciprocal(0.1);
        let reach = if to_target < 2.0 * self.target_radius {
            1.0
        } else {
            (6.0 * at_most((upper + lower) / 2.0, self.bite_radius, BITE_MARGIN, fall_off) + 1.0) / 7.0
        };
        reach * (at_most(to_target, self.target_radius, self.floor, fall_off) + 1.0) / 2.0
    }
}

/// The file is for all dog tasks. As in dm_control it is given a floor of the right size, and all but `fetch` do
/// without ball, target and walls.
fn model(goal: Goal) -> Result<MjModel, Error> {
    let (mut spec, file) = load_spec(MODEL)?;
    let reach = match goal {
        Goal::Stand => EPISODE_SECONDS,
        Goal::Move(speed) => EPISODE_SECONDS * speed,
        Goal::Fetch => FETCH_FLOOR,
    };
    let floor = spec.geom_mut("floor").ok_or_else(|| missing("geom", "floor"))?;
    *floor.size_mut() = [reach, reach, 0.1];
    if goal != Goal::Fetch {
        delete(spec.body_mut("ball"), "body", "ball", &file)?;
        for name in ["target", "wall_px", "wall_nx", "wall_py", "wall_ny"] {
            delete(spec.geom_mut(name), "geom", name, &file)?;
        }
        for name in ["ball", "head"] {
            delete(spec.camera_mut(name), "camera", name, &file)?;
        }
    }
    spec.compile().map_err(|error| model_error(&file, &error))
}

impl Task for Dog {
    /// The default pose, turned and pushed anyhow in the plane, with the muscles tense at random.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        let orientation = uniform_azimuth(random);
        physics.edit(|qpos, qvel| {
            qpos[3..7].copy_from_slice(&orientation);
            for place in [0, 1, 5] {
                qvel[place] = VELOCITY_NOISE * random.normal();
            }
        });
        let ranges = physics.model().actuator_ctrlrange().iter();
        let tension: Vec<f64> = ranges.map(|&[low, high]| random.uniform(low, high)).collect();
        physics.set_activations(&tension);
        if let Some(ball) = &self.ball {
            ball.throw(physics, random);
        }
    }

    /// How tense the muscles are.
    fn extra(&self, physics: &Physics) -> Vec<f64> {
        physics.data().act().to_vec()
    }

    fn set_extra(&mut self, physics: &mut Physics, extra: &[f64]) {
        physics.set_activations(extra);
    }

    /// Joints and their velocities, heights of torso and pelvis, the vertical in the frames of skull, torso and
    /// pelvis, velocity, inertial sensors, forces on and touch of the feet, muscles; then ball and target.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let joints = self.hinges.iter().map(|&(place, _)| data.qpos()[place]);
        let velocities = self.hinges.iter().map(|&(_, place)| data.qvel()[place]);
        let heights = [self.torso, self.pelvis].map(|part| data.xpos()[part][2]);
        let upright = [self.skull, self.torso, self.pelvis].into_iter().flat_map(|part| {
            let frame = &data.xmat()[part];
            frame[6..].iter().copied()
        });
        let sensors = self.sensors.iter().chain(&self.touch).map(|&reading| data.sensordata()[reading]);
        let ball = self.ball.iter().flat_map(|ball| ball.observe(physics));
        let pose = joints.chain(velocities).chain(heights).chain(upright).chain(self.velocity(physics));
        pose.chain(sensors).chain(data.act().iter().copied()).chain(ball)
    }

    /// Standing high and upright on all feet, times what is asked for.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let cosine = UPRIGHT_ANGLE.to_radians().cos();
        let high = [self.torso, self.pelvis]
            .into_iter()
            .zip(self.stand_heights)
            .map(|(part, height)| at_least(data.xpos()[part][2], height, height, Sigmoid::DEFAULT));
        let upright = [self.skull, self.torso, self.pelvis]
            .into_iter()
            .map(|part| at_least(data.xmat()[part][ZZ], cosine, cosine + 1.0, Sigmoid::Linear(0.0)));
        let touch: f64 = self.touch.iter().map(|&reading| data.sensordata()[reading]).sum();
        let on_feet = at_least(touch, self.weight, self.weight, Sigmoid::Linear(0.9));
        let stand = high.chain(upright).product::<f64>() * on_feet;
        match (self.goal, &self.ball) {
            (Goal::Move(speed), _) => {
                let forward = self.velocity(physics)[0];
                let moving = tolerance(forward, (speed, 2.0 * speed), speed.max(1.0), Sigmoid::Linear(0.0));
                stand * (4.0 * moving + 1.0) / 5.0
            }
            (Goal::Fetch, Some(ball)) => stand * ball.reward(physics),
            _ => stand,
        }
    }
}
