//! HalfCheetah-v5: run forwards.
use super::{Task, Transition, add_normal, add_uniform, options::*, squared};
use crate::{
    End, EnvOption, Error, Step,
    mujoco::{Data, Physics},
    options::Options,
    random::Random,
};

pub(super) struct HalfCheetah {
    forward: f64,
    control: f64,
    noise: f64,
    hidden: usize,
}

impl Task for HalfCheetah {
    const MODEL: &'static str = "gymnasium/half_cheetah.xml";
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(5),
        forward_reward_weight(1.0),
        ctrl_cost_weight(0.1),
        reset_noise_scale(0.1),
        EXCLUDE_CURRENT_POSITIONS,
    ];

    fn new(options: &Options, _physics: &Physics) -> Result<Self, Error> {
        Ok(Self {
            forward: options.number("forward_reward_weight"),
            control: options.number("ctrl_cost_weight"),
            noise: options.number("reset_noise_scale"),
            hidden: hidden_positions(options, 1),
        })
    }

    /// Uniform in position, normal in velocity.
    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, self.noise, random);
        add_normal(qvel, self.noise, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        data.qpos()[self.hidden..].iter().chain(data.qvel()).copied()
    }

    fn judge(&self, transition: &Transition) -> Step {
        let reward = self.forward * transition.x_velocity - self.control * squared(transition.action);
        Step { reward, end: End::Running }
    }
}
