//! The ring of episodes.
//!
//! An episode of T transitions takes T + 1 consecutive slots (the last one holds the final observation) and never
//! wraps around the end of the ring: a sequence is a plain slice, and no sequence can cross an end. Whole episodes
//! are evicted, oldest first.

use super::sum_tree::SumTree;
use super::{Batch, Ending, Episode};
use crate::config::ReplayConfig;
use crate::rng::Stream;
use std::collections::VecDeque;
use thiserror::Error;

/// Priorities are capped here, and never smaller than [`MIN_PRIORITY`] (TD-MPC v1).
const MAX_PRIORITY: f32 = 1e4;
const MIN_PRIORITY: f32 = 1e-6;

/// What a replay cannot take.
#[derive(Debug, Error, PartialEq)]
pub enum ReplayError {
    /// Longer than the ring.
    #[error(
        "an episode of {len} transitions does not fit a replay of {capacity} slots: raise `replay.capacity`"
    )]
    EpisodeTooLong {
        /// Transitions of the episode.
        len: usize,
        /// Slots of the ring.
        capacity: usize,
    },
    /// Saved arrays that do not fit together.
    #[error("the saved replay is inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// Prioritised replay of sequences.
#[derive(Clone, Debug)]
pub struct Replay {
    config: ReplayConfig,
    /// Largest length H of the sequences.
    horizon: usize,
    observation_dim: usize,
    action_dim: usize,
    observations: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<f32>,
    /// p^α of every slot a sequence may start at, 0 elsewhere.
    tree: SumTree,
    episodes: VecDeque<Span>,
    /// Where the next episode goes.
    head: usize,
    /// Slots with positive priority.
    starts: usize,
    /// Of all slots, 0 included.
    reward_range: [f32; 2],
}

/// One stored episode.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    /// First slot.
    start: usize,
    /// Transitions T; slots start … start + T.
    len: usize,
    ending: Ending,
}

impl Span {
    fn slots(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len + 1
    }

    /// Slots at which a sequence of `horizon` steps may start: every one whose sequence lies inside the episode, and in
    /// a terminated episode the last ones as well. Otherwise a termination would be seen only as the last step of a
    /// sequence, with weight ρ^{H−1}, and values near it would hardly be learned. Sequences are padded.
    fn starts(&self, horizon: usize) -> std::ops::Range<usize> {
        let last = match self.ending {
            Ending::Terminated => self.len,
            Ending::Truncated => (self.len + 1).saturating_sub(horizon).max(1),
        };
        self.start..self.start + last
    }
}

/// The content of a replay as flat arrays, for saving.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplayArrays {
    /// `[slots, O]`
    pub observations: Vec<f32>,
    /// `[slots, A]`
    pub actions: Vec<f32>,
    /// `[slots]`
    pub rewards: Vec<f32>,
    /// p^α, `[slots]`
    pub priorities: Vec<f64>,
    /// (first slot, transitions, 1 if terminated) of every episode, oldest first: `[episodes, 3]`
    pub episodes: Vec<u64>,
    /// Where the next episode goes.
    pub head: u64,
}

impl Replay {
    /// An empty replay of sequences of up to `horizon` steps. Memory grows with its content.
    pub fn new(config: &ReplayConfig, horizon: usize, observation_dim: usize, action_dim: usize) -> Self {
        Self {
            tree: SumTree::new(config.capacity),
            config: config.clone(),
            horizon,
            observation_dim,
            action_dim,
            observations: Vec::new(),
            actions: Vec::new(),
            rewards: Vec::new(),
            episodes: VecDeque::new(),
            head: 0,
            starts: 0,
            reward_range: [0.0; 2],
        }
    }

    /// Transitions stored.
    pub fn len(&self) -> usize {
        self.episodes.iter().map(|e| e.len).sum()
    }

    /// Whether there is nothing to sample.
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// Adds a finished episode, evicting the oldest ones if need be. Its starts get the largest priority there is.
    pub fn add(&mut self, episode: &Episode, ending: Ending) -> Result<(), ReplayError> {
        let slots = episode.len() + 1;
        if slots > self.config.capacity {
            return Err(ReplayError::EpisodeTooLong { len: episode.len(), capacity: self.config.capacity });
        }
        if episode.is_empty() {
            return Ok(());
        }
        let largest = self.tree.weights().iter().fold(0.0, |a: f64, &b| a.max(b));
        let priority = if largest > 0.0 { largest } else { 1.0 };
        if self.head + slots > self.config.capacity {
            let head = self.head;
            self.evict_while(|oldest| oldest.start >= head);
            self.head = 0;
        }
        let new = Span { start: self.head, len: episode.len(), ending };
        let range = new.slots();
        self.evict_while(|oldest| oldest.start < range.end && range.start < oldest.slots().end);
        self.store(range, episode);
        self.reward_range = range_of(&self.rewards);
        for slot in new.starts(self.horizon) {
            self.tree.set(slot, priority);
        }
        self.starts += new.starts(self.horizon).len();
        self.head += slots;
        self.episodes.push_back(new);
        Ok(())
    }

    fn evict_while(&mut self, overlaps: impl Fn(&Span) -> bool) {
        while let Some(oldest) = self.episodes.front().filter(|e| overlaps(e)).copied() {
            for slot in oldest.starts(self.horizon) {
                self.tree.set(slot, 0.0);
            }
            self.starts -= oldest.starts(self.horizon).len();
            self.episodes.pop_front();
        }
    }

    fn store(&mut self, slots: std::ops::Range<usize>, episode: &Episode) {
        fn put(to: &mut Vec<f32>, at: usize, from: &[f32], width: usize, slots: usize) {
            let end = (at + slots) * width;
            if to.len() < end {
                to.resize(end, 0.0);
            }
            to[at * width..][..from.len()].copy_from_slice(from);
        }
        let count = slots.len();
        put(&mut self.observations, slots.start, &episode.observations, self.observation_dim, count);
        put(&mut self.actions, slots.start, &episode.actions, self.action_dim, count);
        put(&mut self.rewards, slots.start, &episode.rewards, 1, count);
    }

    /// Draws `size` sequences of `horizon` steps with probability proportional to p^α, with replacement.
    ///
    /// # Panics
    /// If the replay is empty, or keeps track of shorter sequences only.
    pub fn sample(&self, size: usize, horizon: usize, stream: &mut Stream, batch: &mut Batch) {
        assert!(!self.is_empty(), "an empty replay cannot be sampled");
        assert!(horizon <= self.horizon, "sequences of {horizon} steps from a replay for {}", self.horizon);
        batch.resize(size, horizon, self.observation_dim, self.action_dim);
        batch.reward_range = self.reward_range;
        let total = self.tree.total();
        for i in 0..size {
            let slot = self.tree.find(stream.unit() * total);
            let probability = self.tree.get(slot) / total;
            let weight = (self.starts as f64 * probability).powf(-self.config.importance_exponent);
            batch.weights[i] = weight as f32;
            self.copy_sequence(slot, i, batch);
        }
        let largest = batch.weights.iter().fold(0.0, |a: f32, &b| a.max(b));
        batch.weights.iter_mut().for_each(|w| *w /= largest);
    }

    /// Draws `size` sequences of any `horizon`, all with the same probability and weight, with replacement. Those that
    /// an episode is too short for, or that its termination cuts, are padded.
    ///
    /// # Panics
    /// If the replay is empty.
    pub fn windows(&self, size: usize, horizon: usize, stream: &mut Stream) -> Batch {
        assert!(!self.is_empty(), "an empty replay has no windows");
        let ends: Vec<usize> = (self.episodes.iter())
            .scan(0, |end, episode| {
                *end += episode.starts(horizon).len();
                Some(*end)
            })
            .collect();
        let count = ends[ends.len() - 1];
        let mut batch = Batch { reward_range: self.reward_range, ..Batch::default() };
        batch.resize(size, horizon, self.observation_dim, self.action_dim);
        batch.weights.fill(1.0);
        for i in 0..size {
            let index = ((stream.unit() * count as f64) as usize).min(count - 1);
            let episode = ends.partition_point(|&end| end <= index);
            let before = if episode == 0 { 0 } else { ends[episode - 1] };
            self.copy_sequence(self.episodes[episode].start + index - before, i, &mut batch);
        }
        batch
    }

    fn copy_sequence(&self, slot: usize, i: usize, batch: &mut Batch) {
        let episode = self.episode_of(slot);
        let (h, o, a) = (batch.horizon, self.observation_dim, self.action_dim);
        let real = h.min(episode.start + episode.len - slot);
        let from = &self.observations[slot * o..][..(real + 1) * o];
        let to = &mut batch.observations[i * (h + 1) * o..][..(h + 1) * o];
        to[..from.len()].copy_from_slice(from);
        // padding repeats the final observation: harmless numbers, masked out of every loss
        for k in real + 1..=h {
            to.copy_within(real * o..(real + 1) * o, k * o);
        }
        batch.actions[i * h * a..][..real * a].copy_from_slice(&self.actions[slot * a..][..real * a]);
        batch.rewards[i * h..][..real].copy_from_slice(&self.rewards[slot..][..real]);
        batch.mask[i * h..][..real].fill(1.0);
        let reaches_end = slot + real == episode.start + episode.len;
        if reaches_end && episode.ending == Ending::Terminated {
            batch.terminated[i * h + real - 1] = 1.0;
        }
        batch.starts[i] = slot;
    }

    /// The episode a slot belongs to. In order of age, first slots ascend from the oldest episode to the end of
    /// the ring and then again from 0; adding the capacity to the second run makes them one ascending sequence.
    fn episode_of(&self, slot: usize) -> Span {
        let oldest = self.episodes[0].start;
        let unwrapped = |at: usize| if at >= oldest { at } else { at + self.config.capacity };
        let after = self.episodes.partition_point(|e| unwrapped(e.start) <= unwrapped(slot));
        self.episodes[after - 1]
    }

    /// Sets the priorities p of sampled sequences (only their starts change, as in TD-MPC v1).
    pub fn set_priorities(&mut self, starts: &[usize], priorities: &[f32]) {
        for (&slot, &p) in starts.iter().zip(priorities) {
            // a NaN never reaches the tree: its start keeps the priority it had
            if !p.is_nan() && self.tree.get(slot) > 0.0 {
                let p = p.min(MAX_PRIORITY) + MIN_PRIORITY;
                self.tree.set(slot, (p as f64).powf(self.config.priority_exponent));
            }
        }
    }

    /// Everything stored, for saving.
    pub fn export(&self) -> ReplayArrays {
        ReplayArrays {
            observations: self.observations.clone(),
            actions: self.actions.clone(),
            rewards: self.rewards.clone(),
            priorities: self.tree.weights()[..self.rewards.len()].to_vec(),
            episodes: (self.episodes.iter())
                .flat_map(|e| [e.start as u64, e.len as u64, (e.ending == Ending::Terminated) as u64])
                .collect(),
            head: self.head as u64,
        }
    }

    /// Restores what [`Replay::export`] gave into a replay of the same configuration and sizes.
    pub fn import(&mut self, saved: ReplayArrays) -> Result<(), ReplayError> {
        let slots = saved.rewards.len();
        if slots > self.config.capacity {
            return Err(ReplayError::Inconsistent("more slots than `replay.capacity`"));
        }
        if saved.observations.len() != slots * self.observation_dim
            || saved.actions.len() != slots * self.action_dim
            || saved.priorities.len() != slots
            || !saved.episodes.len().is_multiple_of(3)
        {
            return Err(ReplayError::Inconsistent("array lengths do not fit the environment"));
        }
        if saved.priorities.iter().any(|p| !(p.is_finite() && *p >= 0.0)) {
            return Err(ReplayError::Inconsistent("a priority is negative or not a number"));
        }
        let spans = saved.episodes.chunks_exact(3).map(|e| Span {
            start: e[0] as usize,
            len: e[1] as usize,
            ending: if e[2] == 1 { Ending::Terminated } else { Ending::Truncated },
        });
        self.episodes = spans.collect();
        if self.episodes.iter().any(|e| e.slots().end > slots) {
            return Err(ReplayError::Inconsistent("an episode lies outside the ring"));
        }
        self.starts = self.episodes.iter().map(|e| e.starts(self.horizon).len()).sum();
        self.tree = SumTree::new(self.config.capacity);
        for (slot, &weight) in saved.priorities.iter().enumerate() {
            self.tree.set(slot, weight);
        }
        (self.observations, self.actions, self.rewards) = (saved.observations, saved.actions, saved.rewards);
        self.reward_range = range_of(&self.rewards);
        self.head = saved.head as usize;
        Ok(())
    }
}

/// The smallest and the largest of some numbers and 0.
fn range_of(numbers: &[f32]) -> [f32; 2] {
    numbers.iter().fold([0.0; 2], |[low, high]: [f32; 2], &x| [low.min(x), high.max(x)])
}
