//! Recorded episodes: split, standardised, cut into windows.

use crate::replay::{Episode, ReplayArrays};
use crate::rng::Stream;
use thiserror::Error;

/// Episodes of one system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Numbers O of an observation.
    pub observation_dim: usize,
    /// Numbers A of an action.
    pub action_dim: usize,
    /// What was recorded.
    pub episodes: Vec<Episode>,
}

/// What cannot be learned from.
#[derive(Debug, Error, PartialEq)]
pub enum RecordingError {
    /// Of two recordings.
    #[error(
        "{found:?} numbers of an observation and an action beside {expected:?}: recordings of different systems"
    )]
    Dimensions {
        /// O and A of the first.
        expected: [usize; 2],
        /// O and A of the other.
        found: [usize; 2],
    },
    /// Too few episodes.
    #[error("{0} episode(s): at least two are needed, one to learn from and one to be tested on")]
    Episodes(usize),
    /// No window.
    #[error(
        "no episode {part} has {horizon} steps (the longest has {longest}): record longer ones, or lower `{key}`"
    )]
    TooShort {
        /// Of which part.
        part: &'static str,
        /// Steps of a window.
        horizon: usize,
        /// Steps of the longest episode.
        longest: usize,
        /// The key that says how long windows are.
        key: &'static str,
    },
}

impl From<&ReplayArrays> for Recording {
    /// Everything that a replay holds, the oldest episode first.
    fn from(replay: &ReplayArrays) -> Self {
        let slots = replay.rewards.len().max(1);
        let (o, a) = (replay.observations.len() / slots, replay.actions.len() / slots);
        let episode = |span: &[u64]| {
            let (start, end) = (span[0] as usize, (span[0] + span[1]) as usize);
            Episode {
                observations: replay.observations[start * o..(end + 1) * o].to_vec(),
                actions: replay.actions[start * a..end * a].to_vec(),
                rewards: replay.rewards[start..end].to_vec(),
            }
        };
        let episodes = replay.episodes.chunks_exact(3).map(episode).collect();
        Self { observation_dim: o, action_dim: a, episodes }
    }
}

impl Recording {
    /// Numbers of observations and actions.
    fn dims(&self) -> [usize; 2] {
        [self.observation_dim, self.action_dim]
    }

    /// Transitions of all episodes.
    pub fn transitions(&self) -> usize {
        self.episodes.iter().map(Episode::len).sum()
    }

    /// Appends the episodes of another recording of the same system.
    ///
    /// # Errors
    /// Observations or actions have another size.
    pub fn append(&mut self, other: Self) -> Result<(), RecordingError> {
        if self.episodes.is_empty() {
            *self = other;
            return Ok(());
        }
        if self.dims() != other.dims() {
            return Err(RecordingError::Dimensions { expected: self.dims(), found: other.dims() });
        }
        self.episodes.extend(other.episodes);
        Ok(())
    }

    /// Episodes to learn from and episodes to be tested on: whole ones, so that no test window overlaps what was learned. A
    /// share of about `test_share` of them, but at least one, drawn by `stream`.
    ///
    /// # Errors
    /// There are fewer than two.
    pub fn split(mut self, test_share: f64, stream: &mut Stream) -> Result<[Self; 2], RecordingError> {
        let count = self.episodes.len();
        if count < 2 {
            return Err(RecordingError::Episodes(count));
        }
        // Fisher–Yates
        for i in (1..count).rev() {
            self.episodes.swap(i, ((stream.unit() * (i + 1) as f64) as usize).min(i));
        }
        let tested = ((count as f64 * test_share).round() as usize).clamp(1, count - 1);
        let test = self.episodes.split_off(count - tested);
        let other = Self { episodes: test, ..self };
        Ok([Self { episodes: self.episodes, ..other }, other])
    }

    /// Mean and standard deviation of what is observed and of rewards.
    pub fn scale(&self) -> Scale {
        let observations =
            self.episodes.iter().flat_map(|e| e.observations.chunks_exact(self.observation_dim));
        let rewards = self.episodes.iter().flat_map(|e| e.rewards.chunks_exact(1));
        Scale { observation: moments(self.observation_dim, observations), reward: moments(1, rewards)[0] }
    }

    /// The same in units of `scale`.
    pub fn standardised(mut self, scale: &Scale) -> Self {
        let unit = |x: &mut f32, [mean, std]: [f64; 2]| *x = ((f64::from(*x) - mean) / std) as f32;
        for episode in &mut self.episodes {
            for row in episode.observations.chunks_exact_mut(self.observation_dim) {
                row.iter_mut().zip(&scale.observation).for_each(|(x, &of)| unit(x, of));
            }
            episode.rewards.iter_mut().for_each(|x| unit(x, scale.reward));
        }
        self
    }

    /// First steps of all windows of `horizon` steps that lie inside an episode, as (episode, number of such steps).
    fn starts(&self, horizon: usize) -> impl Iterator<Item = (&Episode, usize)> {
        self.episodes.iter().map(move |e| (e, (e.len() + 1).saturating_sub(horizon)))
    }

    /// Whether there is a window of `horizon` steps.
    ///
    /// # Errors
    /// There is none; `part` and `key` say where, and what to change.
    pub fn require_windows(
        &self,
        horizon: usize,
        part: &'static str,
        key: &'static str,
    ) -> Result<(), RecordingError> {
        if self.starts(horizon).any(|(_, count)| count > 0) {
            return Ok(());
        }
        let longest = self.episodes.iter().map(Episode::len).max().unwrap_or(0);
        Err(RecordingError::TooShort { part, horizon, longest, key })
    }

    /// `size` windows of `horizon` steps, each with the same probability, with replacement.
    ///
    /// # Panics
    /// If no episode is that long, see [`Recording::require_windows`].
    pub fn windows(&self, size: usize, horizon: usize, stream: &mut Stream) -> Windows {
        let ends: Vec<usize> = (self.starts(horizon))
            .scan(0, |end, (_, count)| {
                *end += count;
                Some(*end)
            })
            .collect();
        let count = ends.last().copied().unwrap_or(0);
        assert!(count > 0, "no episode has {horizon} steps");
        let mut windows = Windows { size, horizon, ..Windows::default() };
        for _ in 0..size {
            let index = ((stream.unit() * count as f64) as usize).min(count - 1);
            let at = ends.partition_point(|&end| end <= index);
            let first = index - if at == 0 { 0 } else { ends[at - 1] };
            let (episode, [o, a]) = (&self.episodes[at], self.dims());
            let observations = &episode.observations[first * o..(first + horizon + 1) * o];
            windows.observations.extend_from_slice(observations);
            windows.actions.extend_from_slice(&episode.actions[first * a..(first + horizon) * a]);
            windows.rewards.extend_from_slice(&episode.rewards[first..first + horizon]);
        }
        windows
    }
}

/// Mean and standard deviation of each number of an observation, and of rewards.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// `[O]`
    pub observation: Vec<[f64; 2]>,
    /// Of a reward.
    pub reward: [f64; 2],
}

/// Mean and standard deviation by column; 1 for what does not vary, which nothing can be divided by.
fn moments<'a>(columns: usize, rows: impl Iterator<Item = &'a [f32]> + Clone) -> Vec<[f64; 2]> {
    let mean_of = |value: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        let (mut sum, mut count) = (vec![0.0; columns], 0.0);
        for row in rows.clone() {
            sum.iter_mut().zip(row).enumerate().for_each(|(i, (s, &x))| *s += value(i, f64::from(x)));
            count += 1.0;
        }
        sum.iter().map(|s| s / count).collect()
    };
    let means = mean_of(&|_, x| x);
    let variances = mean_of(&|i, x| (x - means[i]).powi(2));
    let std = |mean: f64, variance: f64| {
        let std = variance.sqrt();
        // below that it is the rounding of single precision
        if std > 1e-6 * mean.abs().max(1.0) { std } else { 1.0 }
    };
    means.iter().zip(variances).map(|(&mean, variance)| [mean, std(mean, variance)]).collect()
}

/// Windows of recorded episodes, on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windows {
    /// Their number B.
    pub size: usize,
    /// Steps T of each.
    pub horizon: usize,
    /// s_0 … s_T: `[B, T + 1, O]`
    pub observations: Vec<f32>,
    /// u_0 … u_{T−1}: `[B, T, A]`
    pub actions: Vec<f32>,
    /// r_0 … r_{T−1}: `[B, T]`
    pub rewards: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ReplayConfig;
    use crate::replay::{Ending, Replay};

    /// Observation, action and reward of step t of episode e are all 100 e + t.
    fn recording(lengths: &[usize]) -> Recording {
        let episode = |(e, &len): (usize, &usize)| {
            let number = |t: usize| (100 * e + t) as f32;
            Episode {
                observations: (0..=len).map(number).collect(),
                actions: (0..len).map(number).collect(),
                rewards: (0..len).map(number).collect(),
            }
        };
        let episodes = lengths.iter().enumerate().map(episode).collect();
        Recording { observation_dim: 1, action_dim: 1, episodes }
    }

    #[test]
    fn windows_lie_inside_episodes_and_all_of_them_are_drawn() {
        let recording = recording(&[5, 2, 7, 3]);
        let windows = recording.windows(2000, 3, &mut Stream::new(1, "test"));
        let mut firsts = Vec::new();
        for b in 0..windows.size {
            let first = windows.observations[b * 4];
            let expected: Vec<f32> = (0..4).map(|k| first + k as f32).collect();
            assert_eq!(windows.observations[b * 4..][..4], expected);
            assert_eq!(windows.actions[b * 3..][..3], expected[..3]);
            assert_eq!(windows.rewards[b * 3..][..3], expected[..3]);
            firsts.push(first as u32);
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts, [0, 1, 2, 200, 201, 202, 203, 204, 300], "and none of the episode of two steps");
    }

    #[test]
    fn whole_episodes_are_split_and_none_is_lost() {
        let [train, test] = recording(&[4; 10]).split(0.2, &mut Stream::new(1, "split")).unwrap();
        assert_eq!((train.episodes.len(), test.episodes.len()), (8, 2));
        let all = [&train.episodes[..], &test.episodes[..]].concat();
        let mut names: Vec<u32> = all.iter().map(|e| e.observations[0] as u32 / 100).collect();
        assert_ne!(names, (0..10).collect::<Vec<_>>(), "drawn by chance");
        names.sort_unstable();
        assert_eq!(names, (0..10).collect::<Vec<_>>());
        let [train, test] = recording(&[4; 2]).split(0.001, &mut Stream::new(1, "split")).unwrap();
        assert_eq!((train.episodes.len(), test.episodes.len()), (1, 1));
        let one = recording(&[4]).split(0.2, &mut Stream::new(1, "split"));
        assert_eq!(one, Err(RecordingError::Episodes(1)));
    }

    #[test]
    fn standardised_numbers_have_mean_0_and_variance_1_unless_they_are_constant() {
        let mut recording = recording(&[5, 9]);
        recording.episodes.iter_mut().for_each(|e| e.rewards.fill(7.0));
        let scale = recording.scale();
        assert_eq!(scale.reward, [7.0, 1.0]);
        let standard = recording.clone().standardised(&scale);
        assert!(standard.episodes.iter().all(|e| e.rewards.iter().all(|&r| r == 0.0)));
        let [mean, std] = standard.scale().observation[0];
        assert!(mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6, "{mean} ± {std}");
        assert_eq!(standard.episodes[0].actions, recording.episodes[0].actions, "actions stay as they are");
    }

    #[test]
    fn a_replay_is_a_recording_of_the_episodes_it_still_has() {
        let all = recording(&[4, 3, 5]);
        let config = ReplayConfig { capacity: 12, priority_exponent: 0.6, importance_exponent: 0.4 };
        let mut replay = Replay::new(&config, 2, 1, 1);
        // the last one does not fit behind the others, and takes the place of the first two
        all.episodes.iter().for_each(|episode| replay.add(episode, Ending::Truncated).unwrap());
        let left = Recording { episodes: all.episodes[2..].to_vec(), ..all };
        assert_eq!(Recording::from(&replay.export()), left);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let mut both = Recording::default();
        both.append(recording(&[3])).unwrap();
        both.append(recording(&[4])).unwrap();
        assert_eq!((both.episodes.len(), both.transitions()), (2, 7));
        let other = Recording { observation_dim: 2, ..recording(&[3]) };
        let error = both.append(other).unwrap_err().to_string();
        assert!(error.contains("[2, 1]") && error.contains("[1, 1]"), "{error}");
        assert_eq!(both.require_windows(4, "to learn from", "train.horizon"), Ok(()));
        let error = both.require_windows(5, "to be tested on", "test.horizon").unwrap_err().to_string();
        assert!(error.contains("to be tested on has 5 steps (the longest has 4)"), "{error}");
    }
}
