//! Agents of random sizes, for tests of kernels that have none of their own: what nobody thought of.

use super::tests::tiny;
use super::*;
use crate::rng::Stream;
use std::ops::Range;

/// The first `count` cases; with `KERNEL_CASES=from..to` in the environment, those.
pub(crate) fn cases(count: u64) -> Range<u64> {
    let Ok(cases) = std::env::var("KERNEL_CASES") else { return 0..count };
    let (from, to) = cases.split_once("..").expect("KERNEL_CASES is from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Draws one case.
pub(crate) struct Draw(Stream);

impl Draw {
    pub fn new(case: u64) -> Self {
        Self(Stream::new(case, "cases"))
    }

    /// From `low` to `high`, more often small than large.
    pub fn size(&mut self, low: usize, high: usize) -> usize {
        let x = self.0.unit();
        low + (x * x * (high + 1 - low) as f64) as usize
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[(self.0.unit() * all.len() as f64) as usize]
    }

    fn layers(&mut self, most: usize) -> Vec<usize> {
        (0..self.size(0, most)).map(|_| self.size(1, 90)).collect()
    }

    /// An agent of the first recipe with dynamics and a planner that have kernels, in many forms.
    pub fn agent(&mut self) -> AgentConfig {
        let dynamics = self.of(&[DynamicsKind::Koopman, DynamicsKind::Koopman, DynamicsKind::Mlp]);
        let mut config = tiny(dynamics);
        config.planner.noise = NoiseSource::Host;
        let model = &mut config.model;
        (model.latent_dim, model.hidden_dim) = (2 * self.size(1, 40), self.size(4, 200));
        model.encoder_hidden = self.layers(3);
        model.mlp.hidden_dim = self.size(0, 120);
        let control = &mut model.koopman.control;
        control.form =
            self.of(&[ControlForm::Gated, ControlForm::Gated, ControlForm::Bilinear, ControlForm::Additive]);
        (control.encoded_dim, control.gate_hidden) = (self.size(1, 70), self.size(0, 70));
        (control.action_hidden, control.recondition_every) = (self.layers(3), self.size(1, 3));
        let planner = &mut config.planner;
        planner.kind = self.of(&[PlannerKind::Mppi, PlannerKind::Mppi2, PlannerKind::Cem]);
        planner.num_samples = self.size(2, 90);
        planner.policy_fraction = self.of(&[0.0, 0.05, 0.5]);
        planner.num_elites = self.size(1, planner.num_samples);
        (planner.iterations, planner.depth_lambda) = (self.size(1, 3), self.of(&[1.0, 0.6]));
        config
    }
}
