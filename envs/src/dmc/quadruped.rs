//! quadruped-walk and quadruped-run: get a four-legged body off its back and move at a given speed.
use std::{ops::Range, path::Path};

use mujoco_rs::prelude::{MjModel, MjtJoint, MjtSensor, SpecElement, SpecObject};

use super::{
    Task, ZZ,
    tolerance::{Sigmoid, at_least},
};
use crate::{
    Error,
    mujoco::{Convention, Physics, load_spec, model_error},
    random::Random,
};

const MODEL: &str = "dm_control/quadruped.xml";
/// 0.02 s of control in steps of 0.005 s.
const SUBSTEPS: usize = 4;
/// The floor reaches as far as one runs in the 20 s of an episode.
const EPISODE_SECONDS: f64 = 20.0;
/// How far the body is raised at a time until it touches nothing, in metres.
const RAISE: f64 = 0.01;
/// Raises after which it is left where it is, as high as a house.
const MAX_RAISES: usize = 10_000;

pub(crate) struct Quadruped {
    /// The speed of full reward, in m/s.
    speed: f64,
    torso: usize,
    /// Places of the leg joints in `qpos` and in `qvel`.
    hinges: Vec<(usize, usize)>,
    velocimeter: Range<usize>,
    /// Readings of gyroscope and accelerometer, in the order of the model.
    imu: Vec<usize>,
    /// Readings of the toes' force and torque sensors, in the order of the model.
    force_torque: Vec<usize>,
}

impl Quadruped {
    pub(crate) fn load(speed: f64) -> Result<(Physics, Self), Error> {
        let physics = Physics::new(model(speed)?, Convention::DmControl, SUBSTEPS);
        let model = physics.model();
        let hinges = (0..model.jnt_type().len())
            .filter(|&joint| model.jnt_type()[joint] == MjtJoint::mjJNT_HINGE)
            .map(|joint| (model.jnt_qposadr()[joint] as usize, model.jnt_dofadr()[joint] as usize))
            .collect();
        let readings = |kinds: [MjtSensor; 2]| {
            let sensors = model.sensor_type().iter().enumerate().filter(|(_, kind)| kinds.contains(kind));
            sensors.flat_map(|(sensor, _)| physics.sensor_readings(sensor)).collect()
        };
        let task = Self {
            speed,
            torso: physics.body("torso")?,
            hinges,
            velocimeter: physics.sensor("velocimeter")?,
            imu: readings([MjtSensor::mjSENS_GYRO, MjtSensor::mjSENS_ACCELEROMETER]),
            force_torque: readings([MjtSensor::mjSENS_FORCE, MjtSensor::mjSENS_TORQUE]),
        };
        Ok((physics, task))
    }
}

/// The file is for all quadruped tasks. As dm_control does for these two, it is given a floor of the right
/// size and freed of walls, ball, target, terrain and range finders.
fn model(speed: f64) -> Result<MjModel, Error> {
    let (mut spec, file) = load_spec(MODEL)?;
    let reach = EPISODE_SECONDS * speed;
    let floor = spec.geom_mut("floor").ok_or_else(|| missing("geom", "floor"))?;
    *floor.size_mut() = [reach, reach, 0.5];
    for name in ["wall_px", "wall_py", "wall_nx", "wall_ny", "terrain"] {
        delete(spec.geom_mut(name), "geom", name, &file)?;
    }
    delete(spec.body_mut("ball"), "body", "ball", &file)?;
    delete(spec.site_mut("target"), "site", "target", &file)?;
    let range_finders: Vec<String> = spec
        .sensor_iter()
        .filter(|sensor| sensor.type_() == MjtSensor::mjSENS_RANGEFINDER)
        .map(|sensor| sensor.name().to_string())
        .collect();
    for name in &range_finders {
        delete(spec.sensor_mut(name), "sensor", name, &file)?;
    }
    spec.compile().map_err(|error| model_error(&file, &error))
}

fn delete<T: SpecObject>(
    part: Option<&mut T>,
    kind: &'static str,
    name: &str,
    file: &Path,
) -> Result<(), Error> {
    let part = part.ok_or_else(|| missing(kind, name))?;
    // SAFETY: this borrow is exclusive and ends here, so nobody can delete the part again or look at it.
    unsafe { part.delete() }.map_err(|error| model_error(file, &error))
}

fn missing(kind: &'static str, name: &str) -> Error {
    Error::PartMissing { kind, name: name.to_string() }
}

impl Task for Quadruped {
    /// Any orientation, legs straight, as low as it touches nothing.
    fn randomize(&self, physics: &mut Physics, random: &mut Random) {
        let quaternion: [f64; 4] = std::array::from_fn(|_| random.normal());
        let norm = quaternion.iter().map(|x| x * x).sum::<f64>().sqrt();
        for raise in 0..MAX_RAISES {
            physics.edit(|qpos, _| {
                qpos[..3].copy_from_slice(&[0.0, 0.0, RAISE * raise as f64]);
                qpos[3..7].copy_from_slice(&quaternion.map(|x| x / norm));
            });
            physics.start_here();
            if physics.data().contact().is_empty() {
                break;
            }
        }
    }

    /// Leg joints, actuator activations, velocity in the body's frame, uprightness, inertial sensors, and the
    /// toes' forces and torques on a logarithmic scale.
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
        egocentric.chain(torso_velocity).chain([upright]).chain(imu).chain(force_torque)
    }

    /// Upright, linear from upside down, times moving along the body's own x axis.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let upright = at_least(data.xmat()[self.torso][ZZ], 1.0, 2.0, Sigmoid::Linear(0.0));
        let forward = data.sensordata()[self.velocimeter.start];
        upright * at_least(forward, self.speed, self.speed, Sigmoid::Linear(0.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_touches_nothing_and_lies_as_low_as_it_can() {
        let (mut physics, task) = Quadruped::load(0.5).unwrap();
        for seed in 0..20 {
            task.randomize(&mut physics, &mut Random::from_seed(seed));
            assert!(physics.data().contact().is_empty());
            physics.edit(|qpos, _| qpos[2] -= RAISE);
            physics.start_here();
            assert!(!physics.data().contact().is_empty());
        }
    }
}
