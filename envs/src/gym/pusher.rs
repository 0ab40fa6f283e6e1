//! Pusher-v5: push a cylinder to a goal with a seven-joint arm.
use super::{Task, Transition, add_uniform, distance, options::frame_skip, squared};
use crate::{
    End, EnvOption, Error,
    OptionValue::Number,
    Step,
    mujoco::{Data, Physics},
    options::{Options, option},
    random::Random,
};

/// Joints of the arm; the positions after them are the cylinder's and the goal's.
const JOINTS: usize = 7;
/// Half-width of the uniform reset noise of the arm's velocities.
const VELOCITY_NOISE: f64 = 0.005;
/// Least distance between cylinder and goal at the start, in metres.
const START_DISTANCE: f64 = 0.17;

pub(super) struct Pusher {
    near: f64,
    dist: f64,
    control: f64,
    arm: usize,
    object: usize,
    goal: usize,
}

impl Task for Pusher {
    const MODEL: &'static str = "gymnasium/pusher_v5.xml";
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(5),
        option("reward_near_weight", Number(0.5), "weight of the distance between arm and cylinder, in m"),
        option("reward_dist_weight", Number(1.0), "weight of the distance between cylinder and goal, in m"),
        option("reward_control_weight", Number(0.1), "weight of the sum of squared actions"),
    ];

    fn new(options: &Options, physics: &Physics) -> Result<Self, Error> {
        Ok(Self {
            near: options.number("reward_near_weight"),
            dist: options.number("reward_dist_weight"),
            control: options.number("reward_control_weight"),
            arm: physics.body("tips_arm")?,
            object: physics.body("object")?,
            goal: physics.body("goal")?,
        })
    }

    /// The arm in its default pose, the cylinder anywhere but at the goal.
    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        let cylinder = loop {
            let place = [random.uniform(-0.3, 0.0), random.uniform(-0.2, 0.2)];
            if squared(&place).sqrt() > START_DISTANCE {
                break place;
            }
        };
        qpos[JOINTS..JOINTS + 2].copy_from_slice(&cylinder);
        qpos[JOINTS + 2..].fill(0.0);
        add_uniform(&mut qvel[..JOINTS], VELOCITY_NOISE, random);
    }

    /// Joints of the arm and their velocities, then where its tips, the cylinder and the goal are.
    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        let joints = data.qpos()[..JOINTS].iter().chain(&data.qvel()[..JOINTS]).copied();
        joints.chain([self.arm, self.object, self.goal].into_iter().flat_map(|body| data.xpos()[body]))
    }

    fn judge(&self, transition: &Transition) -> Step {
        let places = transition.data.xpos();
        let near = distance(places[self.object], places[self.arm]);
        let dist = distance(places[self.object], places[self.goal]);
        let reward = -self.dist * dist - self.control * squared(transition.action) - self.near * near;
        Step { reward, end: End::Running }
    }
}
