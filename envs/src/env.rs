//! The vocabulary: what an environment says about itself and what it can do.
use std::fmt;

use crate::{Error, Frame, Painter};

/// Whether and how an episode ended with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on.
    Running,
    /// The task ended it: the return after this step is zero.
    Terminated,
    /// Time ran out: the task would have gone on, so a value estimate must bootstrap.
    Truncated,
}

impl End {
    /// True when the episode is over, for either reason.
    pub fn is_over(self) -> bool {
        self != End::Running
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Running => "running",
            End::Terminated => "terminated",
            End::Truncated => "truncated",
        })
    }
}

/// What a step returns besides the observation it writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The reward of the transition, unscaled.
    pub reward: f64,
    /// Whether the episode goes on.
    pub end: End,
}

/// Where a task was defined first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Gymnasium 1.4, MuJoCo v5 tasks.
    Gymnasium,
    /// DeepMind Control Suite, dm_control 1.0.50.
    DmControl,
    /// Written in this crate; no MuJoCo.
    Classic,
    /// Any Gymnasium environment, in a Python process.
    Python,
    /// Added by a user.
    Custom,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Source::Gymnasium => "Gymnasium",
            Source::DmControl => "DMControl",
            Source::Classic => "classic",
            Source::Python => "Python",
            Source::Custom => "custom",
        })
    }
}

/// What an environment is.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Short name, e.g. `halfcheetah`.
    pub name: String,
    /// The name in the library it comes from, e.g. `HalfCheetah-v5` or `dmc/cheetah-run`.
    pub official: String,
    /// Where it was defined first.
    pub source: Source,
    /// Entries of an observation.
    pub observation_dim: usize,
    /// Lowest action, per actuator, in the units that `step` expects.
    pub action_low: Vec<f64>,
    /// Highest action.
    pub action_high: Vec<f64>,
    /// Length of an episode in simulator steps, also under an action repeat; see [`Spec::decisions`].
    pub max_episode_steps: usize,
    /// Simulator steps a decision should last: the published TD-MPC setting for this task, until
    /// [`ActionRepeat`](crate::wrappers::ActionRepeat) writes the one it applies.
    pub action_repeat: usize,
    /// Whether an episode can end before its time, with [`End::Terminated`].
    pub terminates: bool,
    /// Simulated seconds of a simulator step, where there is a clock.
    pub timestep: Option<f64>,
    /// Sizes of a [`State`], where there is one.
    pub state_dims: Option<StateDims>,
}

impl Spec {
    /// An environment of one's own, one simulator step a decision, without terminations, clock and state. What differs is
    /// changed afterwards: `Spec { timestep: Some(0.02), ..Spec::new(…) }`.
    ///
    /// `action_range` has the lowest and highest action of each actuator, in the units that `step` expects.
    pub fn new(
        name: &str,
        observation_dim: usize,
        action_range: &[(f64, f64)],
        max_episode_steps: usize,
    ) -> Self {
        let (action_low, action_high) = action_range.iter().copied().unzip();
        Self {
            name: name.into(),
            official: name.into(),
            source: Source::Custom,
            observation_dim,
            action_low,
            action_high,
            max_episode_steps,
            action_repeat: 1,
            terminates: false,
            timestep: None,
            state_dims: None,
        }
    }

    /// Entries of an action.
    pub fn action_dim(&self) -> usize {
        self.action_low.len()
    }

    /// What `unit` in [-1, 1] is in the range of an actuator, linearly; clamped if it lies outside.
    pub fn scaled(&self, actuator: usize, unit: f64) -> f64 {
        let (low, high) = (self.action_low[actuator], self.action_high[actuator]);
        let (centre, half_width) = ((low + high) / 2.0, (high - low) / 2.0);
        // clamped after scaling, so that rounding cannot leave the range either
        (centre + half_width * unit).clamp(low, high)
    }

    /// Decisions in an episode of full length: `max_episode_steps / action_repeat`, rounded up.
    pub fn decisions(&self) -> usize {
        self.max_episode_steps.div_ceil(self.action_repeat)
    }
}

/// The simulator state from which an episode can be started.
///
/// It is complete at the start of an episode only: later, solver warm starts and actuator activations matter
/// too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Generalised positions.
    pub qpos: Vec<f64>,
    /// Generalised velocities.
    pub qvel: Vec<f64>,
    /// What a start draws besides, mostly nothing: the place of a target that is part of the model, actuator
    /// activations, the shape of the ground.
    pub extra: Vec<f64>,
}

/// Sizes of a [`State`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDims {
    /// Generalised positions.
    pub qpos: usize,
    /// Generalised velocities.
    pub qvel: usize,
    /// What a start draws besides.
    pub extra: usize,
}

impl State {
    /// Its sizes.
    pub fn dims(&self) -> StateDims {
        StateDims { qpos: self.qpos.len(), qvel: self.qvel.len(), extra: self.extra.len() }
    }
}

/// An environment: something to act in.
///
/// # Panics
///
/// The methods panic on slices of another length than the spec says.
pub trait Env: Send {
    /// What this environment is.
    fn spec(&self) -> &Spec;

    /// Starts an episode. Everything random in it comes from `seed`: the same seed gives the same episode,
    /// bitwise, whatever happened before.
    fn reset(&mut self, seed: u64, observation: &mut [f64]);

    /// Applies `action`, in the environment's own units, and writes the observation that follows.
    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step;

    /// Why the episode cannot go on, if its physics diverged, or the process in which it lives failed; from the latter no
    /// reset helps. Until then its numbers are NaN and its steps `Terminated`.
    fn failure(&self) -> Option<Error> {
        None
    }

    /// The simulator state, where there is one.
    fn state(&self) -> Option<State> {
        None
    }

    /// Starts an episode from a chosen state. From the `state()` that follows a `reset`, the same actions
    /// give the same episode, bitwise.
    ///
    /// # Errors
    ///
    /// The environment has no state, or one of other sizes.
    fn set_state(&mut self, _state: &State, _observation: &mut [f64]) -> Result<(), Error> {
        Err(Error::NoState { env: self.spec().name.clone() })
    }

    /// Draws the present state; the episode goes on as if nobody had looked. What has no picture keeps this
    /// default; a [`Frame`] can draw simple ones.
    ///
    /// # Errors
    ///
    /// There is no picture, no such camera, or nothing to draw with.
    fn render(&mut self, _painter: &mut Painter) -> Result<Frame, Error> {
        Err(Error::NoPicture { env: self.spec().name.clone() })
    }
}

/// Refuses a state of the wrong size, with the sizes.
pub(crate) fn check_state(spec: &Spec, state: &State) -> Result<(), Error> {
    match spec.state_dims {
        Some(dims) if dims == state.dims() => Ok(()),
        Some(expected) => Err(Error::StateSize { env: spec.name.clone(), expected, given: state.dims() }),
        None => Err(Error::NoState { env: spec.name.clone() }),
    }
}

/// Fills `observation` with `values`, in order.
///
/// # Panics
///
/// When there are more or fewer values than entries: a task and its spec disagree.
pub(crate) fn fill(observation: &mut [f64], values: impl IntoIterator<Item = f64>) {
    let mut values = values.into_iter();
    for (index, entry) in observation.iter_mut().enumerate() {
        *entry = values.next().unwrap_or_else(|| panic!("an observation ends after {index} values"));
    }
    assert!(values.next().is_none(), "an observation has more than {} values", observation.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wrappers::testing::Counter;

    #[test]
    fn an_environment_without_a_state_says_so() {
        let mut env = Counter::new(3);
        assert_eq!(env.state(), None);
        let error = env.set_state(&State::default(), &mut [0.0]).unwrap_err();
        assert!(error.to_string().contains("`counter` cannot be put into a chosen state"), "{error}");
    }

    #[test]
    fn decisions_round_up() {
        let spec = Spec { max_episode_steps: 1000, action_repeat: 3, ..Counter::new(3).spec().clone() };
        assert_eq!(spec.decisions(), 334);
    }

    #[test]
    fn ends_are_written_in_lower_case() {
        let words = [End::Running, End::Terminated, End::Truncated].map(|end| end.to_string());
        assert_eq!(words, ["running", "terminated", "truncated"]);
    }

    #[test]
    #[should_panic(expected = "ends after 1 values")]
    fn an_observation_of_the_wrong_size_is_a_programming_error() {
        fill(&mut [0.0; 2], [1.0]);
    }
}
