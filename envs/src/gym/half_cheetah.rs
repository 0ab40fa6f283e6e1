//! HalfCheetah-v5: run forwards.
use super::{Task, Transition, add_uniform};
use crate::{End, Step, env::fill, random::Random};

/// Weight of Σ aᵢ² against forward speed in m/s.
const CONTROL_COST: f64 = 0.1;
/// Scale of the reset noise: uniform in position, normal in velocity.
const RESET_NOISE: f64 = 0.1;

pub(crate) struct HalfCheetah;

impl Task for HalfCheetah {
    const MODEL: &'static str = "gymnasium/half_cheetah.xml";
    const FRAME_SKIP: usize = 5;
    const OBSERVATION_DIM: usize = 17;

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, RESET_NOISE, random);
        qvel.iter_mut().for_each(|v| *v += RESET_NOISE * random.normal());
    }

    /// All but the forward position.
    fn observe(&self, qpos: &[f64], qvel: &[f64], observation: &mut [f64]) {
        fill(observation, qpos[1..].iter().chain(qvel).copied());
    }

    fn judge(&self, transition: &Transition) -> Step {
        let reward = transition.x_velocity - CONTROL_COST * transition.squared_action;
        Step { reward, end: End::Running }
    }
}
