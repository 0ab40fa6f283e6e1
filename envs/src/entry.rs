//! A line of the registry.
use crate::{
    Env, EnvOption, Error, OptionValue, Source, Spec, StateDims,
    options::{Options, option},
};

/// A registered environment: what it is called, how long it lasts, what can be chosen.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Short name.
    pub name: &'static str,
    /// The name in the library it comes from.
    pub official: &'static str,
    /// Where it was defined first.
    pub source: Source,
    /// Entries of an observation, with the default options.
    pub observation_dim: usize,
    /// Entries of an action.
    pub action_dim: usize,
    /// Length of an episode in simulator steps.
    pub max_episode_steps: usize,
    /// Simulator steps per decision in the published TD-MPC experiments; 1 where there are none.
    pub action_repeat: usize,
    pub(crate) options: &'static [EnvOption],
    pub(crate) build: Build,
}

/// Makes the environment of a line.
pub(crate) type Build = fn(&Entry, &Options) -> Result<Box<dyn Env>, Error>;

/// A line of the table.
pub(crate) const fn entry(
    name: &'static str,
    official: &'static str,
    source: Source,
    [observation_dim, action_dim]: [usize; 2],
    max_episode_steps: usize,
    action_repeat: usize,
    build: Build,
) -> Entry {
    Entry {
        name,
        official,
        source,
        observation_dim,
        action_dim,
        max_episode_steps,
        action_repeat,
        options: &[],
        build,
    }
}

impl Entry {
    /// The same, with what can be chosen.
    pub(crate) const fn with(self, options: &'static [EnvOption]) -> Self {
        Self { options, ..self }
    }

    /// What can be chosen: the length of an episode, then what the task offers.
    pub fn options(&self) -> Vec<EnvOption> {
        let length = option(
            "max_episode_steps",
            OptionValue::Count(self.max_episode_steps),
            "length of an episode in simulator steps",
        );
        [&[length], self.options].concat()
    }

    /// Makes the environment, without its time limit.
    pub(crate) fn build(&self, given: &[(String, OptionValue)]) -> Result<Box<dyn Env>, Error> {
        let options = self.resolve(given)?;
        (self.build)(&Entry { max_episode_steps: options.count("max_episode_steps"), ..*self }, &options)
    }

    /// All options of this environment, some as given.
    pub(crate) fn resolve(&self, given: &[(String, OptionValue)]) -> Result<Options, Error> {
        Options::resolve(self.name, &self.options(), given)
    }

    /// The spec of this environment, completed with what its simulator says.
    pub(crate) fn spec(
        &self,
        observation_dim: usize,
        (action_low, action_high): (Vec<f64>, Vec<f64>),
        state_dims: Option<StateDims>,
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
            timestep: None,
            state_dims,
        }
    }
}
