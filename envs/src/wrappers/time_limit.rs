//! Ends an episode when its time is up.
use crate::{End, Env, Error, Frame, Painter, Spec, State, Step};

/// Truncates an episode after `max_episode_steps` of its spec. A task that ends itself in that very step has
/// terminated: nothing would have followed.
pub struct TimeLimit {
    inner: Box<dyn Env>,
    steps: usize,
}

impl TimeLimit {
    /// Limits `inner` to the length in its spec.
    pub fn new(inner: Box<dyn Env>) -> Self {
        Self { inner, steps: 0 }
    }
}

impl Env for TimeLimit {
    fn spec(&self) -> &Spec {
        self.inner.spec()
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.steps = 0;
        self.inner.reset(seed, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let step = self.inner.step(action, observation);
        self.steps += 1;
        match step.end {
            End::Running if self.steps >= self.spec().max_episode_steps => {
                Step { end: End::Truncated, ..step }
            }
            _ => step,
        }
    }

    fn state(&self) -> Option<State> {
        self.inner.state()
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        self.inner.set_state(state, observation)?;
        self.steps = 0;
        Ok(())
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
    use crate::wrappers::testing::Counter;

    fn ends(length: usize) -> Vec<End> {
        let mut env = TimeLimit::new(Box::new(Counter::new(length)));
        env.reset(0, &mut [0.0]);
        (0..5).map(|_| env.step(&[0.0], &mut [0.0]).end).collect()
    }

    #[test]
    fn the_last_step_is_truncated_and_no_other() {
        use End::{Running, Truncated};
        assert_eq!(ends(99), [Running, Running, Running, Running, Truncated]);
    }

    #[test]
    fn a_termination_at_the_limit_stays_one() {
        assert_eq!(ends(5)[4], End::Terminated);
    }

    #[test]
    fn a_reset_restarts_the_clock() {
        let mut env = TimeLimit::new(Box::new(Counter::new(99)));
        for seed in 0..2 {
            env.reset(seed, &mut [0.0]);
            for _ in 0..4 {
                assert_eq!(env.step(&[0.0], &mut [0.0]).end, End::Running);
            }
        }
    }
}
