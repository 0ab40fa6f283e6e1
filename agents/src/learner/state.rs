//! Saving and restoring a learner.

use super::Learner;
use super::parameters::{Parameter, ParameterError, read_parameters, write_parameters};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Everything of a [`Learner`] that changes in training.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnerState {
    /// Updates done.
    pub updates: u64,
    /// Steps of the model's and the policy's optimiser.
    pub optimizer_steps: [u64; 2],
    /// Parameters under `world.`, `target.`, moments under `adam.` and `policy_adam.`, and what is known of the model's
    /// foresight under `trust.`.
    pub parameters: BTreeMap<String, Parameter>,
}

impl Learner {
    /// Everything that changes in training, for saving.
    pub fn export(&self) -> LearnerState {
        if let Some(state) = self.export_away() {
            return state;
        }
        let (model_steps, model) = self.model_adam.export();
        let (policy_steps, policy) = self.policy_adam.export();
        let groups = [
            ("world", read_parameters(self.online().world())),
            ("target", self.slow.export()),
            ("adam", model),
            ("policy_adam", policy),
            ("trust", self.trust.export()),
        ];
        let named = |(group, parameters): (&'static str, BTreeMap<_, _>)| {
            parameters.into_iter().map(move |(name, p): (String, Parameter)| (format!("{group}.{name}"), p))
        };
        LearnerState {
            updates: self.updates,
            optimizer_steps: [model_steps, policy_steps],
            parameters: groups.into_iter().flat_map(named).collect(),
        }
    }

    /// What values are divided by in the policy loss, where they are (the second recipe).
    pub fn value_scale(&self) -> Option<f64> {
        self.slow.scale()
    }

    /// Restores what [`Learner::export`] gave.
    pub fn import(&mut self, saved: &LearnerState) -> Result<(), ParameterError> {
        let group = |prefix: &str| -> BTreeMap<String, Parameter> {
            let strip =
                |(name, p): (&String, &Parameter)| Some((name.strip_prefix(prefix)?.to_owned(), p.clone()));
            saved.parameters.iter().filter_map(strip).collect()
        };
        self.world = write_parameters(self.world.clone(), &group("world."))?;
        self.online = OnceLock::new();
        self.away.return_home();
        self.slow.import(&group("target."))?;
        let [model_steps, policy_steps] = saved.optimizer_steps;
        self.model_adam.import(model_steps, &group("adam."), &self.device);
        self.policy_adam.import(policy_steps, &group("policy_adam."), &self.device);
        self.trust.import(&group("trust."));
        self.updates = saved.updates;
        Ok(())
    }
}
