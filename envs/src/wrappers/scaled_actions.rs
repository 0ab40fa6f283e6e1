//! Lets every environment be driven with actions in [-1, 1].
use crate::{Env, Error, Frame, Painter, Spec, State, Step};

/// Maps actions from [-1, 1] linearly to the inner environment's range; clamps what lies outside.
pub struct ScaledActions {
    inner: Box<dyn Env>,
    spec: Spec,
    /// The action in the inner environment's units.
    action: Vec<f64>,
}

impl ScaledActions {
    /// Scales the actions of `inner`.
    pub fn new(inner: Box<dyn Env>) -> Self {
        let n = inner.spec().action_dim();
        let spec = Spec { action_low: vec![-1.0; n], action_high: vec![1.0; n], ..inner.spec().clone() };
        Self { inner, spec, action: vec![0.0; n] }
    }
}

impl Env for ScaledActions {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.inner.reset(seed, observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let inner = self.inner.spec();
        assert_eq!(action.len(), self.action.len(), "the number of actuators of `{}`", inner.name);
        for (i, &unit) in action.iter().enumerate() {
            self.action[i] = inner.scaled(i, unit);
        }
        self.inner.step(&self.action, observation)
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
    use crate::wrappers::testing::Counter;

    #[test]
    fn the_range_is_reached_and_not_left() {
        let mut env = ScaledActions::new(Box::new(Counter::new(99)));
        assert_eq!((env.spec().action_low[0], env.spec().action_high[0]), (-1.0, 1.0));
        for (unit, own) in [(-1.0, -2.0), (0.0, 2.0), (0.5, 4.0), (1.0, 6.0), (7.0, 6.0), (-7.0, -2.0)] {
            env.reset(0, &mut [0.0]);
            assert_eq!(env.step(&[unit], &mut [0.0]).reward, 1.0 + own, "action {unit}");
        }
    }
}
