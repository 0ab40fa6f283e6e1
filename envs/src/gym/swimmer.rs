//! Swimmer-v5: swim forwards in a viscous plane.
use super::{Task, Transition, add_uniform, options::*, squared};
use crate::{
    End, EnvOption, Error, Step,
    mujoco::{Data, Physics},
    options::Options,
    random::Random,
};

pub(super) struct Swimmer {
    forward: f64,
    control: f64,
    noise: f64,
    hidden: usize,
}

impl Task for Swimmer {
    const MODEL: &'static str = "gymnasium/swimmer.xml";
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(4),
        forward_reward_weight(1.0),
        ctrl_cost_weight(1e-4),
        reset_noise_scale(0.1),
        EXCLUDE_CURRENT_POSITIONS,
    ];

    fn new(options: &Options, _physics: &Physics) -> Result<Self, Error> {
        Ok(Self {
            forward: options.number("forward_reward_weight"),
            control: options.number("ctrl_cost_weight"),
            noise: options.number("reset_noise_scale"),
            hidden: hidden_positions(options, 2),
        })
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, self.noise, random);
        add_uniform(qvel, self.noise, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        data.qpos()[self.hidden..].iter().chain(data.qvel()).copied()
    }

    fn judge(&self, transition: &Transition) -> Step {
        let reward = self.forward * transition.x_velocity - self.control * squared(transition.action);
        Step { reward, end: End::Running }
    }
}
