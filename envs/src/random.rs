//! The one random stream of an episode.
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// A portable random stream: the same seed gives the same numbers on every machine.
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in `[low, high)`; `low` where they are equal, as with noise that was switched off.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        if low == high { low } else { self.0.random_range(low..high) }
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        self.0.sample(StandardNormal)
    }
}
