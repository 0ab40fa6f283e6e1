//! quadruped-walk, -run, -escape and -fetch: a four-legged body gets off its back and moves at a given speed, gets
//! out of a bumpy bowl, or brings a ball to the middle.
use std::ops::Range;

use mujoco_rs::prelude::{MjModel, MjtJoint, MjtSensor, SpecElement};

use super::{
    Task, ZZ,
    edit::{delete, missing},
    local,
    randomizers::{uniform_azimuth, uniform_direction},
    terrain,
    tolerance::{Sigmoid, at_least, at_most},
};
use crate::{
    Error,
    mujoco::{Convention, Physics, load_spec, model_error},
    random::Random,
};

const MODEL: &str = "dm_control/quadruped.xml";
/// 0.02 s of control in steps of 0.005 s.
const SUBSTEPS: usize = 4;
/// The floor of `walk` and `run` reaches as far as one runs in the 20 s of an episode.
const EPISODE_SECONDS: f64 = 20.0;
/// Half-width of the floor under the terrain of `escape`, in metres.
const ESCAPE_FLOOR: f64 = 40.0;
/// Angle to the vertical up to which `escape` counts the torso as upright, in degrees.
const ESCAPE_ANGLE: f64 = 20.0;
/// Share of the floor on which body and ball of `fetch` start.
const SPAWN_SHARE: f64 = 0.9;
/// How far the body is raised at a time until it touches nothing, in metres.
const RAISE: f64 = 0.01;
/// Raises after which it is left where it is, as high as a house.
const MAX_RAISES: usize = 10_000;
/// The only height field of the model.
const TERRAIN: usize = 0;

/// What the quadruped is asked to do.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// At this speed in m/s.
    Move(f64),
    Escape,
    Fetch,
}

pub(crate) struct Quadruped {
    goal: Goal,
    torso: usize,
    workspace: usize,
    /// Places of the leg joints in `qpos` and in `qvel`.
    hinges: Vec<(usize, usize)>,
    velocimeter: Range<usize>,
    /// Readings of gyroscope and accelerometer, in the order of the model.
    imu: Vec<usize>,
    /// Readings of the toes' force and torque sensors, in the order of the model.
    force_torque: Vec<usize>,
    /// Readings of the range finders of `escape`.
    range_finders: Vec<usize>,
    /// What the ground of `escape` was made of.
    bumps: Vec<f64>,
    ball: Option<Ball>,
}

/// What `fetch` has besides.
struct Ball {
    ball: usize,
    target: usize,
    /// Places of its root in `qpos` and in `qvel`.
    root: (usize, usize),
    /// Horizontal distances from the ball at which it is reached, and from the target at which it is there.
    reach: f64,
    target_radius: f64,
    floor: f64,
}

impl Quadruped {
    pub(crate) fn load(goal: Goal) -> Result<(Physics, Self), Error> {
        let physics = Physics::new(model(goal)?, Convention::DmControl, SUBSTEPS);
        let model = physics.model();
        let hinges = (0..model.jnt_type().len())
            .filter(|&joint| model.jnt_type()[joint] == MjtJoint::mjJNT_HINGE)
            .map(|joint| (model.jnt_qposadr()[joint] as usize, model.jnt_dofadr()[joint] as usize))
            .collect();
        let readings = |kinds: &[MjtSensor]| {
            let sensors = model.sensor_type().iter().enumerate().filter(|(_, kind)| kinds.contains(kind));
            sensors.flat_map(|(sensor, _)| physics.sensor_readings(sensor)).collect()
        };
        let workspace = physics.site("workspace")?;
        let task = Self {
            goal,
            torso: physics.body("torso")?,
            workspace,
            hinges,
            velocimeter: physics.sensor("velocimeter")?,
            imu: readings(&[MjtSensor::mjSENS_GYRO, MjtSensor::mjSENS_ACCELEROMETER]),
            force_torque: readings(&[MjtSensor::mjSENS_FORCE, MjtSensor::mjSENS_TORQUE]),
            range_finders: readings(&[MjtSensor::mjSENS_RANGEFINDER]),
            bumps: if goal == Goal::Escape { vec![0.0; terrain::BUMPS * terrain::BUMPS] } else { vec![] },
            ball: if goal == Goal::Fetch { Some(Ball::new(&physics, workspace)?) } else { None },
        };
        Ok((physics, task))
    }

    /// Lowers the body onto the ground at `x`, `y` until just before it touches anything.
    fn place(&self, physics: &mut Physics, orientation: [f64; 4], [x, y]: [f64; 2]) {
        let mut height = 0.0;
        for _ in 0..MAX_RAISES {
            physics.edit(|qpos, _| {
                qpos[..3].copy_from_slice(&[x, y, height]);
                qpos[3..7].copy_from_slice(&orientation);
            });
            physics.start_here();
            if physics.data().contact().is_empty() {
                break;
            }
            // added up as in dm_control: with straight legs 0.52 touches the floor and 0.5200000000000002 does not
            height += RAISE;
        }
    }
}

impl Ball {
    fn new(physics: &Physics, workspace: usize) -> Result<Self, Error> {
        let (ball, target) = (physics.geom("ball")?, physics.site("target")?);
        let model = physics.model();
        Ok(Self {
            ball: physics.body("ball")?,
            target,
            root: physics.joint("ball_root")?,
            reach: model.site_size()[workspace][0] + model.geom_size()[ball][0],
            target_radius: model.site_size()[target][0],
            floor: model.geom_size()[physics.geom("floor")?][0],
        })
    }

    /// Place, velocity and spin of the ball relative to the torso, then place of the target, in the torso's frame.
    fn observe(&self, physics: &Physics, torso: usize) -> [f64; 12] {
        let data = physics.data();
        let (frame, own) = (data.xmat()[torso], data.xpos()[torso]);
        let (ball, target) = (data.xpos()[self.ball], data.site_xpos()[self.target]);
        let motion = &data.qvel()[self.root.1..];
        let parts: [[f64; 3]; 4] = [
            std::array::from_fn(|axis| ball[axis] - own[axis]),
            std::array::from_fn(|axis| motion[axis] - data.qvel()[axis]),
            std::array::from_fn(|axis| motion[3 + axis]),
            std::array::from_fn(|axis| target[axis] - own[axis]),
        ];
        let parts = parts.map(|part| local(frame, part));
        std::array::from_fn(|i| parts[i / 3][i % 3])
    }

    /// Being at the ball, and half of it only with the ball at the target.
    fn reward(&self, physics: &Physics, workspace: usize) -> f64 {
        let data = physics.data();
        let ball = data.xpos()[self.ball];
        let apart = |site: usize| {
            let place = data.site_xpos()[site];
            (place[0] - ball[0]).hypot(place[1] - ball[1])
        };
        let (margin, fall_off) = (self.floor * 2f64.sqrt(), Sigmoid::Linear(0.0));
        let reached = at_most(apart(workspace), self.reach, margin, fall_off);
        let fetched = at_most(apart(self.target), self.target_radius, margin, fall_off);
        reached * (0.5 + 0.5 * fetched)
    }
}

/// The file is for all quadruped tasks. As in dm_control each is freed of what it does not use.
fn model(goal: Goal) -> Result<MjModel, Error> {
    let (mut spec, file) = load_spec(MODEL)?;
    let reach = match goal {
        Goal::Move(speed) => Some(EPISODE_SECONDS * speed),
        Goal::Escape => Some(ESCAPE_FLOOR),
        Goal::Fetch => None,
    };
    if let Some(reach) = reach {
        let floor = spec.geom_mut("floor").ok_or_else(|| missing("geom", "floor"))?;
        *floor.size_mut() = [reach, reach, 0.5];
        for name in ["wall_px", "wall_py", "wall_nx", "wall_ny"] {
            delete(spec.geom_mut(name), "geom", name, &file)?;
        }
        delete(spec.body_mut("ball"), "body", "ball", &file)?;
        delete(spec.site_mut("target"), "site", "target", &file)?;
    }
    if goal != Goal::Escape {
        delete(spec.geom_mut("terrain"), "geom", "terrain", &file)?;
        let range_finders: Vec<String> = spec
            .sensor_iter()
            .filter(|sensor| sensor.type_() == MjtSensor::mjSENS_RANGEFINDER)
            .map(|sensor| sensor.name().to_string())
            .collect();
        for name in &range_finders {
            delete(spec.sensor_mut(name), "sensor", name, &file)?;
        }
    }
    spec.compile().map_err(|error| model_error(&file, &error))
}

impl Task for Quadruped {
    /// Legs straight, as low as it touches nothing: in any orientation, or upright and anywhere with the ball
    /// thrown anywhere.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        if self.goal == Goal::Escape {
            self.set_extra(physics, &terrain::random_bumps(random));
        }
        let Some(ball) = &self.ball else {
            self.place(physics, uniform_direction(random), [0.0; 2]);
            return;
        };
        let spawn = SPAWN_SHARE * ball.floor;
        let orientation = uniform_azimuth(random);
        let place = [(); 2].map(|()| random.uniform(-spawn, spawn));
        self.place(physics, orientation, place);
        physics.edit(|qpos, qvel| {
            let (q, v) = ball.root;
            qpos[q..q + 3].copy_from_slice(&[
                random.uniform(-spawn, spawn),
                random.uniform(-spawn, spawn),
                2.0,
            ]);
            qvel[v..v + 2].copy_from_slice(&[5.0 * random.normal(), 5.0 * random.normal()]);
        });
    }

    /// The bumps.
    fn extra(&self, _physics: &Physics) -> Vec<f64> {
        self.bumps.clone()
    }

    fn set_extra(&mut self, physics: &mut Physics, extra: &[f64]) {
        if self.goal == Goal::Escape && self.bumps != extra {
            self.bumps = extra.to_vec();
            physics.edit_model(|model| {
                let heights = terrain::heights(extra, model.hfield_nrow()[TERRAIN] as usize);
                model.hfield_data_mut().copy_from_slice(&heights);
            });
        }
    }

    /// Leg joints, actuator activations, velocity in the body's frame, uprightness, inertial sensors, and the
    /// toes' forces and torques on a logarithmic scale; then the way to the middle and what the range finders see,
    /// or ball and target.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let (qpos, qvel, sensors) = (data.qpos(), data.qvel(), data.sensordata());
        let positions = self.hinges.iter().map(|&(place, _)| qpos[place]);
        let velocities = self.hinges.iter().map(|&(_, place)| qvel[place]);
        let egocentric = positions.chain(velocities).chain(data.act().iter().copied());
        let torso_velocity = sensors[self.velocimeter.clone()].iter().copied();
        let imu = self.imu.iter().map(|&reading| sensors[reading]);
        let force_torque = self.force_torque.iter().map(|&reading| sensors[reading].asinh());
        let upright = data.xmat()[self.torso][ZZ];
        let common = egocentric.chain(torso_velocity).chain([upright]).chain(imu).chain(force_torque);

        let origin = (self.goal == Goal::Escape)
            .then(|| local(data.xmat()[self.torso], data.xpos()[self.torso].map(|place| -place)));
        // -1 says that nothing is in sight
        let ranges = self.range_finders.iter().map(|&reading| match sensors[reading] {
            -1.0 => 1.0,
            range => range.tanh(),
        });
        let ball = self.ball.iter().flat_map(|ball| ball.observe(physics, self.torso));
        common.chain(origin.into_iter().flatten()).chain(ranges).chain(ball)
    }

    /// Upright, linear from upside down, times moving along the body's own x axis, or being far out, or fetching.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let upright =
            |cosine: f64| at_least(data.xmat()[self.torso][ZZ], cosine, 1.0 + cosine, Sigmoid::Linear(0.0));
        match (self.goal, &self.ball) {
            (Goal::Move(speed), _) => {
                let forward = data.sensordata()[self.velocimeter.start];
                upright(1.0) * at_least(forward, speed, speed, Sigmoid::Linear(0.5))
            }
            (Goal::Fetch, Some(ball)) => upright(1.0) * ball.reward(physics, self.workspace),
            _ => {
                let size = physics.model().hfield_size()[TERRAIN][0];
                let place = data.site_xpos()[self.workspace];
                let out = place.iter().map(|x| x * x).sum::<f64>().sqrt();
                upright(ESCAPE_ANGLE.to_radians().cos()) * at_least(out, size, size, Sigmoid::Linear(0.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_touches_nothing_and_lies_as_low_as_it_can() {
        let (mut physics, mut task) = Quadruped::load(Goal::Move(0.5)).unwrap();
        for seed in 0..20 {
            task.randomize(&mut physics, &mut Random::from_seed(seed));
            assert!(physics.data().contact().is_empty());
            physics.edit(|qpos, _| qpos[2] -= RAISE);
            physics.start_here();
            assert!(!physics.data().contact().is_empty());
        }
    }
}
