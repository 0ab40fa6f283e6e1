//! Lets a decision last several simulator steps.
use std::num::NonZeroUsize;

use crate::{End, Env, Error, Frame, Painter, Spec, State, Step};

/// Applies each action several times and sums the rewards; stops at an end. The observation is the last one.
///
/// In the spec `action_repeat` becomes the number applied; `max_episode_steps` still counts simulator steps.
pub struct ActionRepeat {
    inner: Box<dyn Env>,
    spec: Spec,
}

impl ActionRepeat {
    /// Repeats every action `times` times.
    pub fn new(inner: Box<dyn Env>, times: NonZeroUsize) -> Self {
        let spec = Spec { action_repeat: times.get(), ..inner.spec().clone() };
        Self { inner, spec }
    }
}

impl Env for ActionRepeat {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.inner.reset(seed, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let mut total = Step { reward: 0.0, end: End::Running };
        for _ in 0..self.spec.action_repeat {
            let step = self.inner.step(action, observation);
            total = Step { reward: total.reward + step.reward, end: step.end };
            if step.end.is_over() {
                break;
            }
        }
        total
    }

    fn state(&self) -> Option<State> {
        self.inner.state()
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        self.inner.set_state(state, observation)
    }
    fn failure(&self) -> Option<Error> {
        self.inner.failure()
    }

    fn render(&mut self, painter: &mut Painter) -> Result<Frame, Error> {
        self.inner.render(painter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wrappers::{TimeLimit, testing::Counter};

    fn repeat(inner: impl Env + 'static, times: usize) -> ActionRepeat {
        ActionRepeat::new(Box::new(inner), NonZeroUsize::new(times).unwrap())
    }

    #[test]
    fn rewards_are_summed_and_the_observation_is_the_last() {
        let (mut env, mut observation) = (repeat(Counter::new(99), 3), [0.0]);
        env.reset(0, &mut observation);
        let step = env.step(&[10.0], &mut observation);
        assert_eq!((step.reward, step.end, observation), (1.0 + 2.0 + 3.0 + 30.0, End::Running, [3.0]));
        assert_eq!(
            (env.spec().action_repeat, env.spec().max_episode_steps, env.spec().decisions()),
            (3, 5, 2)
        );
    }

    #[test]
    fn it_stops_at_a_termination() {
        let (mut env, mut observation) = (repeat(Counter::new(2), 3), [0.0]);
        env.reset(0, &mut observation);
        assert_eq!(env.step(&[0.0], &mut observation), Step { reward: 3.0, end: End::Terminated });
        assert_eq!(observation, [2.0]);
    }

    #[test]
    fn it_stops_at_the_time_limit() {
        let (mut env, mut observation) = (repeat(TimeLimit::new(Box::new(Counter::new(99))), 3), [0.0]);
        env.reset(0, &mut observation);
        env.step(&[0.0], &mut observation);
        assert_eq!(env.step(&[0.0], &mut observation), Step { reward: 4.0 + 5.0, end: End::Truncated });
    }
}
