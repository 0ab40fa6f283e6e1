//! Gymnasium's MountainCarContinuous-v0: get out of a valley with an engine too weak to drive straight up.
use crate::{
    End, Env, EnvOption, Error, OptionValue, Spec, State, StateDims, Step,
    entry::Entry,
    env::{check_state, fill},
    options::{Options, option},
    random::Random,
};

const POWER: f64 = 0.0015;
/// Pull of the slope, whose height is sin 3x.
const GRAVITY: f64 = 0.0025;
const MAX_SPEED: f32 = 0.07;
const POSITIONS: (f64, f64) = (-1.2, 0.6);
const GOAL_POSITION: f64 = 0.45;
const GOAL_REWARD: f64 = 100.0;
const ACTION_COST: f64 = 0.1;

/// Observes position and velocity, in steps instead of seconds; is driven by a force in [-1, 1]; pays 100 at the
/// goal, which ends the episode, and -0.1 u² on the way. The state is kept in single precision, as Gymnasium's is
/// from the first step on.
pub(crate) struct MountainCar {
    spec: Spec,
    position: f32,
    velocity: f32,
    goal_velocity: f64,
}

impl MountainCar {
    pub(crate) const OPTIONS: &'static [EnvOption] =
        &[option("goal_velocity", OptionValue::Number(0.0), "least velocity that counts at the goal")];

    /// The car, called as `entry` says.
    pub(crate) fn new(entry: &Entry, options: &Options) -> Self {
        let dims = StateDims { qpos: 1, qvel: 1, extra: 0 };
        let spec = Spec { terminates: true, ..entry.spec(2, (vec![-1.0], vec![1.0]), Some(dims)) };
        Self { spec, position: 0.0, velocity: 0.0, goal_velocity: options.number("goal_velocity") }
    }

    fn start(&mut self, position: f64, velocity: f64, observation: &mut [f64]) {
        (self.position, self.velocity) = (position as f32, velocity as f32);
        self.observe(observation);
    }

    fn observe(&self, observation: &mut [f64]) {
        fill(observation, [self.position, self.velocity].map(f64::from));
    }
}

impl Env for MountainCar {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    /// At rest, position uniform in [-0.6, -0.4).
    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.start(Random::from_seed(seed).uniform(-0.6, -0.4), 0.0, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let &[force] = action else { panic!("the car has one engine, not {}", action.len()) };
        let slope = f64::from(3.0 * self.position).cos();
        let velocity = f64::from(self.velocity) + force.clamp(-1.0, 1.0) * POWER - GRAVITY * slope;
        let limit = f64::from(MAX_SPEED);
        let mut velocity = velocity.clamp(-limit, limit);
        let (low, high) = POSITIONS;
        let position = (f64::from(self.position) + velocity).clamp(low, high);
        if position == low && velocity < 0.0 {
            velocity = 0.0;
        }
        let arrived = position >= GOAL_POSITION && velocity >= self.goal_velocity;
        let cost = ACTION_COST * force.powi(2);
        self.start(position, velocity, observation);
        if arrived {
            Step { reward: GOAL_REWARD - cost, end: End::Terminated }
        } else {
            Step { reward: -cost, end: End::Running }
        }
    }

    fn state(&self) -> Option<State> {
        Some(State { qpos: vec![self.position.into()], qvel: vec![self.velocity.into()], extra: vec![] })
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, state)?;
        self.start(state.qpos[0], state.qvel[0], observation);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn a_slow_arrival_counts_only_when_it_may() {
        for (least, end) in [(0.0, End::Terminated), (0.02, End::Running)] {
            let option = ("goal_velocity".to_owned(), OptionValue::Number(least));
            let mut env = registry::make_with("mountain-car", &[option]).unwrap();
            let (start, mut seen) = (State { qpos: vec![0.445], qvel: vec![0.01], extra: vec![] }, [0.0; 2]);
            env.set_state(&start, &mut seen).unwrap();
            assert_eq!(env.step(&[0.0], &mut seen).end, end, "{seen:?}");
        }
    }
}
