//! An environment as the agent sees it: f32 numbers, actions in ±1, one step a decision.

use crate::config::EnvConfig;
use anyhow::Result;
use std::num::NonZeroUsize;
use td_koopman_envs::wrappers::{ActionRepeat, ScaledActions, Tap, TapEvent};
use td_koopman_envs::{End, Env, Error, Frame, Painter, Spec};

/// A wrapped environment and its buffers.
pub struct Task {
    env: Box<dyn Env>,
    /// In the environment's own units.
    own: Spec,
    raw: Vec<f64>,
    observation: Vec<f32>,
    action: Vec<f64>,
}

/// What a decision led to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// Rewards of the environment steps of the decision, summed.
    pub reward: f64,
    /// Whether the episode goes on.
    pub end: End,
}

impl Task {
    /// Opens an environment; `action_repeat` 0 takes the task's published one.
    pub fn open(env: &EnvConfig, action_repeat: usize) -> Result<Self> {
        Ok(Self::wrap(env.make()?, action_repeat))
    }

    /// The same, with every environment step reported to `callback` in the environment's own units.
    pub fn open_watched(
        env: &EnvConfig,
        action_repeat: usize,
        callback: impl FnMut(TapEvent<'_>) + Send + 'static,
    ) -> Result<Self> {
        Ok(Self::wrap(Box::new(Tap::new(env.make()?, callback)), action_repeat))
    }

    fn wrap(env: Box<dyn Env>, action_repeat: usize) -> Self {
        let published = NonZeroUsize::new(env.spec().action_repeat).unwrap_or(NonZeroUsize::MIN);
        let times = NonZeroUsize::new(action_repeat).unwrap_or(published);
        let env = ActionRepeat::new(env, times);
        let own = env.spec().clone();
        let env = ScaledActions::new(Box::new(env));
        let (observations, actions) = (env.spec().observation_dim, env.spec().action_dim());
        Self {
            env: Box::new(env),
            own,
            raw: vec![0.0; observations],
            observation: vec![0.0; observations],
            action: vec![0.0; actions],
        }
    }

    /// What the environment is; `action_repeat` is the one in use.
    pub fn spec(&self) -> &Spec {
        self.env.spec()
    }

    /// The same with actions in the environment's own units.
    pub fn own_spec(&self) -> &Spec {
        &self.own
    }

    /// Starts an episode.
    pub fn reset(&mut self, seed: u64) {
        self.env.reset(seed, &mut self.raw);
        self.round();
    }

    /// Takes a decision, an action in ±1 per actuator.
    pub fn step(&mut self, action: &[f32]) -> Transition {
        self.action.iter_mut().zip(action).for_each(|(to, &from)| *to = from.into());
        let step = self.env.step(&self.action, &mut self.raw);
        self.round();
        Transition { reward: step.reward, end: step.end }
    }

    /// Draws the present state.
    ///
    /// # Errors
    ///
    /// See [`Env::render`].
    pub fn render(&mut self, painter: &mut Painter) -> Result<Frame, Error> {
        self.env.render(painter)
    }

    /// Refuses to go on with an environment whose process has failed; see [`Env::failure`].
    ///
    /// # Errors
    ///
    /// What it failed of.
    pub fn require_alive(&self) -> Result<(), Error> {
        self.env.failure().map_or(Ok(()), Err)
    }

    /// The current observation.
    pub fn observation(&self) -> &[f32] {
        &self.observation
    }

    /// The last action, in ±1 per actuator.
    pub fn action(&self) -> &[f64] {
        &self.action
    }

    fn round(&mut self) {
        self.observation.iter_mut().zip(&self.raw).for_each(|(to, &from)| *to = from as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_action_repeat_is_the_default_and_can_be_changed() {
        assert_eq!(Task::open(&"cartpole-swingup".into(), 0).unwrap().spec().action_repeat, 8);
        let task = Task::open(&"cartpole-swingup".into(), 2).unwrap();
        assert_eq!((task.spec().action_repeat, task.spec().decisions()), (2, 500));
    }

    #[test]
    fn an_episode_ends_at_its_time_limit_and_repeats_with_its_seed() {
        let mut task = Task::open(&"pendulum".into(), 0).unwrap();
        let mut run = || {
            task.reset(3);
            let mut total = 0.0;
            for decision in 1.. {
                let t = task.step(&[0.5]);
                total += t.reward;
                if t.end != End::Running {
                    return (decision, t.end, total, task.observation().to_vec());
                }
            }
            unreachable!()
        };
        let first = run();
        assert_eq!((first.0, first.1), (200, End::Truncated));
        assert_eq!(first, run());
    }
}
