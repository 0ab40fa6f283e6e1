//! Environments that own another environment and change its clock, its units, or who watches.
//!
//! The usual order, from the inside: [`TimeLimit`] (which [`make`](crate::registry::make) applies), [`Tap`],
//! [`ActionRepeat`], [`ScaledActions`].
mod action_repeat;
mod scaled_actions;
mod tap;
mod time_limit;

pub use action_repeat::ActionRepeat;
pub use scaled_actions::ScaledActions;
pub use tap::{Tap, TapEvent};
pub use time_limit::TimeLimit;

#[cfg(test)]
pub(crate) mod testing {
    //! An environment whose every number is known.
    use crate::{End, Env, Spec, Step};

    /// Observes the number of steps taken, pays it plus the action, terminates at `length`.
    pub(crate) struct Counter {
        spec: Spec,
        steps: usize,
        length: usize,
    }

    impl Counter {
        pub(crate) fn new(length: usize) -> Self {
            let spec = Spec { terminates: true, ..Spec::new("counter", 1, &[(-2.0, 6.0)], 5) };
            Self { spec, steps: 0, length }
        }
    }

    impl Env for Counter {
        fn spec(&self) -> &Spec {
            &self.spec
        }

        fn reset(&mut self, _seed: u64, observation: &mut [f64]) {
            self.steps = 0;
            observation[0] = 0.0;
        }

        fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
            self.steps += 1;
            observation[0] = self.steps as f64;
            let end = if self.steps == self.length { End::Terminated } else { End::Running };
            Step { reward: self.steps as f64 + action[0], end }
        }
    }
}
