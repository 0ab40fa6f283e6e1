//! Named random streams whose position can be saved: training resumes bit by bit.
//!
//! Burn's own generators are one global state behind a lock; concurrent users would interleave. All random
//! numbers are drawn here on the host and uploaded, so that they are also the same on every device; only plans that have kernels
//! of their own on a GPU draw there, from seeds of these streams.

use crate::ops::simd::{multiversion, normal_pair};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// One random stream (ChaCha8). Streams of one seed with different names are independent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Position", from = "Position")]
pub struct Stream(ChaCha8Rng);

/// What is saved of a [`Stream`].
#[derive(Serialize, Deserialize)]
struct Position {
    key: [u8; 32],
    stream: u64,
    word: u64,
}

impl From<Stream> for Position {
    fn from(Stream(rng): Stream) -> Self {
        // 2^64 words are never drawn; formats without 128-bit integers can hold this
        Self { key: rng.get_seed(), stream: rng.get_stream(), word: rng.get_word_pos() as u64 }
    }
}

impl From<Position> for Stream {
    fn from(p: Position) -> Self {
        let mut rng = ChaCha8Rng::from_seed(p.key);
        rng.set_stream(p.stream);
        rng.set_word_pos(p.word.into());
        Self(rng)
    }
}

/// Noise that makes actions of what a policy network says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PolicyNoise {
    /// Normal with this standard deviation, clipped at ±0.3: TD-MPC.
    Clipped {
        /// Standard deviation.
        std: f64,
    },
    /// Standard normal, which the policy scales: TD-MPC2.
    Standard,
}

impl Stream {
    /// The stream called `name` of a run with this seed.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // FNV-1a: stable across versions and platforms, unlike std's hasher
        let fnv = |hash: u64, byte: u8| (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3);
        rng.set_stream(name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv));
        Self(rng)
    }

    /// `n` standard normal numbers, all at once: as many random words, two of which make two numbers. For noise, of which plans
    /// want tens of thousands: three times as fast as [`Stream::normal`], which has other numbers.
    pub fn noise(&mut self, n: usize) -> Vec<f32> {
        let mut words = vec![0u32; n.next_multiple_of(2)];
        self.0.fill(&mut words[..]);
        let mut noise = vec![0.0; words.len()];
        box_muller(&words, &mut noise);
        noise.truncate(n);
        noise
    }

    /// `n` standard normal numbers, one by one.
    pub fn normal(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.0.sample::<f32, _>(StandardNormal)).collect()
    }

    /// `n` normal numbers of standard deviation `std`, clipped at ±0.3: the policy noise of TD-MPC v1.
    pub fn clipped_normal(&mut self, n: usize, std: f64) -> Vec<f32> {
        let mut noise = self.noise(n);
        noise.iter_mut().for_each(|x| *x = (*x * std as f32).clamp(-0.3, 0.3));
        noise
    }

    /// `n` numbers of policy noise.
    pub fn policy_noise(&mut self, n: usize, noise: PolicyNoise) -> Vec<f32> {
        match noise {
            PolicyNoise::Clipped { std } => self.clipped_normal(n, std),
            PolicyNoise::Standard => self.noise(n),
        }
    }

    /// What dropout leaves of `n` numbers, as factors: 0 with probability `rate`, else 1/(1 − rate).
    ///
    /// The gaps between zeros are drawn, geometrically distributed: as many random numbers as there are zeros.
    ///
    /// # Panics
    /// Unless 0 ≤ `rate` < 1.
    pub fn dropout(&mut self, n: usize, rate: f64) -> Vec<f32> {
        assert!((0.0..1.0).contains(&rate), "a dropout rate lies in [0, 1), not at {rate}");
        let mut keep = vec![(1.0 / (1.0 - rate)) as f32; n];
        if rate == 0.0 {
            return keep;
        }
        // ln of (0, 1]: a gap of k has probability rate·(1 − rate)^k
        let mut gap = || ((1.0 - self.unit()).ln() / (1.0 - rate).ln()) as usize;
        let mut at = gap();
        while let Some(factor) = keep.get_mut(at) {
            *factor = 0.0;
            at += 1 + gap();
        }
        keep
    }

    /// `n` numbers uniform in [low, high).
    pub fn uniform(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| low + (high - low) * self.0.random::<f32>()).collect()
    }

    /// One number uniform in [0, 1), with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// A random seed for something else.
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}

multiversion! {
    /// The first half of `words` says how far out, the second in which direction.
    fn box_muller(words: &[u32], noise: &mut [f32]) {
        let (radii, turns) = words.split_at(words.len() / 2);
        let (cos, sin) = noise.split_at_mut(radii.len());
        for ((radius, turn), (cos, sin)) in radii.iter().zip(turns).zip(cos.iter_mut().zip(sin)) {
            [*cos, *sin] = normal_pair([*radius, *turn]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_seeds_give_different_numbers_and_repeats_equal_ones() {
        let draw = |seed, name| Stream::new(seed, name).normal(8);
        assert_eq!(draw(1, "noise"), draw(1, "noise"));
        assert_ne!(draw(1, "noise"), draw(1, "replay"));
        assert_ne!(draw(1, "noise"), draw(2, "noise"));
    }

    #[test]
    fn a_restored_stream_continues_where_the_saved_one_stopped() {
        let mut stream = Stream::new(3, "noise");
        stream.normal(1001); // an odd position inside a block
        let mut restored = Stream::from(Position::from(stream.clone()));
        assert_eq!(stream.uniform(100, -1.0, 1.0), restored.uniform(100, -1.0, 1.0));
        assert_eq!(stream.seed(), restored.seed());
    }

    /// Of 200,000 numbers 1 % are 2000 ± 45 (one standard deviation); of pairs of neighbours 20 ± 4.5 are both zero, if each
    /// goes on its own. The mean stays 1.
    #[test]
    fn dropout_takes_its_share_everywhere() {
        let mut stream = Stream::new(1, "dropout");
        let keep = stream.dropout(200_000, 0.01);
        let zeros = keep.iter().filter(|x| **x == 0.0).count();
        let pairs = keep.windows(2).filter(|w| w[0] == 0.0 && w[1] == 0.0).count();
        assert!((1820..2180).contains(&zeros) && (4..40).contains(&pairs), "{zeros} {pairs}");
        assert!((keep.iter().sum::<f32>() / 2e5 - 1.0).abs() < 1e-3);
        let first = (0..2000).filter(|_| stream.dropout(3, 0.25)[0] == 0.0).count();
        assert!((420..580).contains(&first), "{first} of 2000 beginnings");
        assert_eq!(stream.dropout(5, 0.0), [1.0; 5]);
    }

    #[test]
    fn moments_are_those_of_the_distribution() {
        let draws: [fn(&mut Stream, usize) -> Vec<f32>; 2] = [Stream::normal, Stream::noise];
        for draw in draws {
            let x = draw(&mut Stream::new(1, "x"), 200_000);
            let mean = |f: &dyn Fn(f64) -> f64| x.iter().map(|x| f(f64::from(*x))).sum::<f64>() / 2e5;
            // standard deviations: 0.002, 0.003, 0.009, 0.022, and of the shares 0.001, 0.0005, 0.0001
            let moments = [1, 2, 3, 4].map(|power| mean(&|x| x.powi(power)));
            let expected = [0.0, 1.0, 0.0, 3.0].into_iter().zip([0.01, 0.013, 0.04, 0.1]);
            for (found, (known, margin)) in moments.into_iter().zip(expected) {
                assert!((found - known).abs() < margin, "{moments:?}");
            }
            for (beyond, share, margin) in [(0.0, 0.5, 5e-3), (-2.0, 0.97725, 2e-3), (3.0, 1.35e-3, 4e-4)] {
                let found = mean(&|x| f64::from(x > beyond));
                assert!((found - share).abs() < margin, "{found} of them are beyond {beyond}");
            }
        }
        let u = Stream::new(1, "x").uniform(100_000, -1.0, 1.0);
        assert!(u.iter().all(|u| (-1.0..1.0).contains(u)));
        assert!((u.iter().sum::<f32>() / 1e5).abs() < 0.02);
    }

    /// Two numbers that come of the same words, neighbours, and how far out both are. One standard deviation is 0.003.
    #[test]
    fn numbers_of_noise_do_not_know_each_other() {
        let x = Stream::new(1, "x").noise(200_000);
        for apart in [1, 2, 100_000] {
            let pairs = || x[apart..].iter().zip(&x).map(|(a, b)| (f64::from(*a), f64::from(*b)));
            let count = pairs().count() as f64;
            let correlation = pairs().map(|(a, b)| a * b).sum::<f64>() / count;
            let of_squares = pairs().map(|(a, b)| (a * a - 1.0) * (b * b - 1.0)).sum::<f64>() / count / 2.0;
            assert!(correlation.abs() < 0.015 && of_squares.abs() < 0.02, "{correlation} {of_squares}");
        }
    }

    #[test]
    fn of_an_odd_number_of_noise_the_last_is_there() {
        let noise = |n| Stream::new(1, "x").noise(n);
        assert!(noise(0).is_empty());
        assert_eq!((noise(5).len(), noise(1).len()), (5, 1));
        assert_eq!(noise(5)[..], noise(6)[..5]);
    }
}
