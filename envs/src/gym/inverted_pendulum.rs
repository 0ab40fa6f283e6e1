//! InvertedPendulum-v5: keep the pole up.
use super::{Task, Transition, add_uniform};
use crate::{End, Step, env::fill, random::Random};

/// Largest tilt of the pole, in radians.
const HEALTHY_ANGLE: f64 = 0.2;
/// Half-width of the uniform reset noise.
const RESET_NOISE: f64 = 0.01;

pub(crate) struct InvertedPendulum;

impl Task for InvertedPendulum {
    const MODEL: &'static str = "gymnasium/inverted_pendulum.xml";
    const FRAME_SKIP: usize = 2;
    const OBSERVATION_DIM: usize = 4;

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, RESET_NOISE, random);
        add_uniform(qvel, RESET_NOISE, random);
    }

    fn observe(&self, qpos: &[f64], qvel: &[f64], observation: &mut [f64]) {
        fill(observation, qpos.iter().chain(qvel).copied());
    }

    fn terminates(&self) -> bool {
        true
    }

    fn judge(&self, transition: &Transition) -> Step {
        let finite = transition.qpos.iter().chain(transition.qvel).all(|x| x.is_finite());
        if finite && transition.qpos[1].abs() <= HEALTHY_ANGLE {
            Step { reward: 1.0, end: End::Running }
        } else {
            Step { reward: 0.0, end: End::Terminated }
        }
    }
}
