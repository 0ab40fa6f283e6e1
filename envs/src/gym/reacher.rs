//! Reacher-v5: bring the tip of a two-link arm to a target.
use super::{Task, Transition, add_uniform, distance, options::frame_skip, squared};
use crate::{
    End, EnvOption, Error,
    OptionValue::Number,
    Step,
    mujoco::{Data, Physics},
    options::{Options, option},
    random::Random,
};

/// Half-widths of the uniform reset noise of the arm.
const POSITION_NOISE: f64 = 0.1;
const VELOCITY_NOISE: f64 = 0.005;
/// Radius of the disc in which the target lies, in metres.
const TARGET_RADIUS: f64 = 0.2;

pub(super) struct Reacher {
    near: f64,
    control: f64,
    fingertip: usize,
    target: usize,
}

impl Task for Reacher {
    const MODEL: &'static str = "gymnasium/reacher.xml";
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(2),
        option("reward_dist_weight", Number(1.0), "weight of the distance from the target, in m"),
        option("reward_control_weight", Number(1.0), "weight of the sum of squared actions"),
    ];

    fn new(options: &Options, physics: &Physics) -> Result<Self, Error> {
        Ok(Self {
            near: options.number("reward_dist_weight"),
            control: options.number("reward_control_weight"),
            fingertip: physics.body("fingertip")?,
            target: physics.body("target")?,
        })
    }

    /// The last two positions are the target's.
    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, POSITION_NOISE, random);
        add_uniform(qvel, VELOCITY_NOISE, random);
        let target = loop {
            let place = [(); 2].map(|()| random.uniform(-TARGET_RADIUS, TARGET_RADIUS));
            if squared(&place).sqrt() < TARGET_RADIUS {
                break place;
            }
        };
        qpos[2..].copy_from_slice(&target);
        qvel[2..].fill(0.0);
    }

    /// Cosines and sines of the joints, target, velocities of the joints, the way from the target to the tip.
    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        let (joints, target) = data.qpos().split_at(2);
        let (from, to) = (data.xpos()[self.target], data.xpos()[self.fingertip]);
        let angles = joints.iter().map(|q| q.cos()).chain(joints.iter().map(|q| q.sin()));
        let rest = target.iter().chain(&data.qvel()[..2]).copied();
        angles.chain(rest).chain([to[0] - from[0], to[1] - from[1]])
    }

    fn judge(&self, transition: &Transition) -> Step {
        let places = transition.data.xpos();
        let far = distance(places[self.fingertip], places[self.target]);
        let reward = -self.near * far - self.control * squared(transition.action);
        Step { reward, end: End::Running }
    }
}
