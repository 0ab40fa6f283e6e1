//! A learner whose numbers live elsewhere, where kernels of our own update them: see [`fused`](super::fused).
//!
//! They go there with the first update and stay until somebody restores another state, or batches of another size come.

use super::fused::{Elsewhere, Outcome, Start};
use super::{Learner, LearnerState, Update, write_parameters};
use crate::config::AgentConfig;
use crate::model::World;
use crate::replay::Batch;
use crate::rng::Stream;
use burn::module::Module;
use burn::prelude::*;
use std::sync::OnceLock;

/// Whether there is such a place, and what is there.
pub(super) struct Away {
    start: Option<Start>,
    learner: Option<Box<dyn Elsewhere>>,
}

impl Clone for Away {
    fn clone(&self) -> Self {
        Self { start: self.start.clone(), learner: self.learner.as_ref().map(|learner| learner.copy()) }
    }
}

impl std::fmt::Debug for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Away {{ possible: {}, now: {} }}", self.start.is_some(), self.learner.is_some())
    }
}

impl Away {
    /// Nothing is there yet.
    pub fn new(config: &AgentConfig, sizes: [usize; 2], device: &Device) -> Self {
        Self { start: super::fused::start(config, sizes, device), learner: None }
    }

    /// Whether the tensors are what counts.
    pub fn is_home(&self) -> bool {
        self.learner.is_none()
    }

    /// From now on the tensors are what counts.
    pub fn return_home(&mut self) {
        self.learner = None;
    }
}

impl Learner {
    /// The networks without gradients, wherever they are updated.
    pub(super) fn current_world(&self) -> World {
        let world = self.world.valid();
        match &self.away.learner {
            Some(learner) => write_parameters(world, &learner.world()).expect("they are of these networks"),
            None => world,
        }
    }

    /// What [`Learner::export`] does, of numbers that are away.
    pub(super) fn export_away(&self) -> Option<LearnerState> {
        let (optimizer_steps, mut parameters) = self.away.learner.as_ref()?.export();
        let trust = self.trust.export().into_iter();
        parameters.extend(trust.map(|(name, p)| (format!("trust.{name}"), p)));
        Some(LearnerState { updates: self.updates, optimizer_steps, parameters })
    }

    /// What [`Learner::update`] does, if that can be done away.
    pub(super) fn update_away(&mut self, batch: &Batch, noise: &mut Stream) -> Option<Update> {
        let start = self.away.start.clone()?;
        if !self.away.learner.as_ref().is_some_and(|learner| learner.takes(batch)) {
            let state = self.export();
            self.import(&state).expect("it is its own state");
            self.away.learner = start(&state, [batch.size, batch.horizon]);
        }
        let mut learner = self.away.learner.take()?;
        let rows = batch.size * batch.horizon;
        let mut draw = |rows: usize| noise.policy_noise(rows * self.action_dim, self.policy_noise);
        let (targets, policy) = (draw(rows), draw(rows + batch.size));
        let rate = if self.count() { self.config.target_rate } else { 0.0 };
        let Outcome { update, foresight } = learner.update(batch, [&targets, &policy], rate);
        self.away.learner = Some(learner);
        self.online = OnceLock::new();
        self.trust.follow(&foresight);
        Some(update)
    }
}

#[cfg(test)]
impl Away {
    /// What there would be on a machine with such a place.
    pub fn set(&mut self, start: Start) {
        self.start = Some(start);
    }
}
