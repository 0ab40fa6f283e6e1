//! A line of the registry.
use crate::{Env, Error, Source, Spec};

/// A registered environment: what it is called and how long it lasts.
pub struct Entry {
    /// Short name.
    pub name: &'static str,
    /// The name in the library it comes from.
    pub official: &'static str,
    /// Where it was defined first.
    pub source: Source,
    /// Length of an episode in simulator steps.
    pub max_episode_steps: usize,
    /// Simulator steps per decision in the published TD-MPC experiments; 1 where there are none.
    pub action_repeat: usize,
    pub(crate) build: fn(&Entry) -> Result<Box<dyn Env>, Error>,
}

/// A line of the table.
pub(crate) const fn entry(
    name: &'static str,
    official: &'static str,
    source: Source,
    max_episode_steps: usize,
    action_repeat: usize,
    build: fn(&Entry) -> Result<Box<dyn Env>, Error>,
) -> Entry {
    Entry { name, official, source, max_episode_steps, action_repeat, build }
}

impl Entry {
    /// The spec of this environment, completed with what its simulator says.
    pub(crate) fn spec(
        &self,
        observation_dim: usize,
        (action_low, action_high): (Vec<f64>, Vec<f64>),
        state_dims: Option<(usize, usize)>,
    ) -> Spec {
        Spec {
            name: self.name.into(),
            official: self.official.into(),
            source: self.source,
            observation_dim,
            action_low,
            action_high,
            max_episode_steps: self.max_episode_steps,
            action_repeat: self.action_repeat,
            terminates: false,
            state_dims,
        }
    }
}
