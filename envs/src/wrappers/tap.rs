//! Lets somebody watch every simulator step.
use crate::{Env, Error, Frame, Painter, Spec, State, Step};

/// What a [`Tap`] reports.
pub enum TapEvent<'a> {
    /// An episode started.
    Start {
        /// The state from which it can be replayed, where there is one.
        state: Option<State>,
        /// The first observation.
        observation: &'a [f64],
    },
    /// A step was taken.
    Step {
        /// What was seen before the step.
        observation: &'a [f64],
        /// The action, in the units of the environment below.
        action: &'a [f64],
        /// What it led to.
        step: &'a Step,
    },
}

/// Reports every start and every step of the environment below to a callback, and changes nothing.
///
/// Between [`TimeLimit`](crate::wrappers::TimeLimit) and [`ActionRepeat`](crate::wrappers::ActionRepeat) it
/// sees what the original simulator would be given.
pub struct Tap {
    inner: Box<dyn Env>,
    callback: Box<dyn FnMut(TapEvent<'_>) + Send>,
    /// The observation before the next step.
    before: Vec<f64>,
}

impl Tap {
    /// Reports what happens in `inner` to `callback`.
    pub fn new(inner: Box<dyn Env>, callback: impl FnMut(TapEvent<'_>) + Send + 'static) -> Self {
        let before = vec![0.0; inner.spec().observation_dim];
        Self { inner, callback: Box::new(callback), before }
    }

    fn started(&mut self, observation: &[f64]) {
        self.before.copy_from_slice(observation);
        (self.callback)(TapEvent::Start { state: self.inner.state(), observation });
    }
}

impl Env for Tap {
    fn spec(&self) -> &Spec {
        self.inner.spec()
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.inner.reset(seed, observation);
        self.started(observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let step = self.inner.step(action, observation);
        (self.callback)(TapEvent::Step { observation: &self.before, action, step: &step });
        self.before.copy_from_slice(observation);
        step
    }

    fn state(&self) -> Option<State> {
        self.inner.state()
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        self.inner.set_state(state, observation)?;
        self.started(observation);
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
    use std::{num::NonZeroUsize, sync::mpsc};

    use super::*;
    use crate::wrappers::{ActionRepeat, ScaledActions, testing::Counter};

    #[test]
    fn it_sees_every_simulator_step_in_the_simulators_units() {
        let (sender, receiver) = mpsc::channel();
        let tap = Tap::new(Box::new(Counter::new(99)), move |event| {
            let row = match event {
                TapEvent::Start { state, observation } => {
                    assert_eq!(state, None);
                    vec![observation[0]]
                }
                TapEvent::Step { observation, action, step } => vec![observation[0], action[0], step.reward],
            };
            sender.send(row).unwrap();
        });
        let repeated = ActionRepeat::new(Box::new(tap), NonZeroUsize::new(2).unwrap());
        let mut env = ScaledActions::new(Box::new(repeated));
        env.reset(0, &mut [0.0]);
        env.step(&[1.0], &mut [0.0]);
        let rows: Vec<_> = receiver.try_iter().collect();
        assert_eq!(rows, [vec![0.0], vec![0.0, 6.0, 7.0], vec![1.0, 6.0, 8.0]]);
    }
}
