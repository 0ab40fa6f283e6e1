//! Episodes as they are compared: bit by bit.
use crate::{End, Env, Error, random::Random};

/// What an environment showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Episode {
    /// The first observation, then the observation after each step, one after the other, as bits.
    pub(super) observations: Vec<u64>,
    /// Rewards, as bits.
    pub(super) rewards: Vec<u64>,
    /// How the last step ended.
    pub(super) end: Option<End>,
}

impl Episode {
    pub(super) fn steps(&self) -> usize {
        self.rewards.len()
    }
}

/// Actions for an episode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Actions {
    /// Uniform in the range, from this seed.
    Random(u64),
    /// In the middle of the range.
    Middle,
    /// At the lower limits.
    Low,
    /// At the upper limits.
    High,
    /// At the lower limits but for one actuator, which is at its upper one.
    LowBut(usize),
}

/// Starts with `seed` and plays up to `steps` steps.
pub(super) fn play(env: &mut dyn Env, seed: u64, actions: Actions, steps: usize) -> Result<Episode, Error> {
    let mut first = blank(env);
    env.reset(seed, &mut first);
    go_on(env, first, actions, steps)
}

/// Plays from where the environment is, having shown `first`.
///
/// # Errors
///
/// What an environment that lives elsewhere died of.
pub(super) fn go_on(
    env: &mut dyn Env,
    first: Vec<f64>,
    actions: Actions,
    steps: usize,
) -> Result<Episode, Error> {
    let (low, high) = (env.spec().action_low.clone(), env.spec().action_high.clone());
    let mut random = match actions {
        Actions::Random(seed) => Random::from_seed(seed),
        _ => Random::from_seed(0),
    };
    let bits = |x: &f64| x.to_bits();
    let mut episode = Episode { observations: first.iter().map(bits).collect(), ..Episode::default() };
    for _ in 0..steps {
        let entry = |i: usize, random: &mut Random| match actions {
            Actions::Random(_) => random.uniform(low[i], high[i]),
            Actions::Middle => (low[i] + high[i]) / 2.0,
            Actions::LowBut(other) if other == i => high[i],
            Actions::Low | Actions::LowBut(_) => low[i],
            Actions::High => high[i],
        };
        let action: Vec<f64> = (0..low.len()).map(|i| entry(i, &mut random)).collect();
        let mut observation = blank(env);
        let step = env.step(&action, &mut observation);
        episode.observations.extend(observation.iter().map(bits));
        episode.rewards.push(step.reward.to_bits());
        episode.end = Some(step.end);
        if step.end.is_over() {
            break;
        }
    }
    env.failure().map_or(Ok(episode), Err)
}

/// A place for an observation in which entries that are not written can be told.
pub(super) fn blank(env: &dyn Env) -> Vec<f64> {
    vec![UNWRITTEN; env.spec().observation_dim]
}

/// A NaN that no calculation yields.
pub(super) const UNWRITTEN: f64 = f64::from_bits(0x7ff8_0000_dead_beef);
