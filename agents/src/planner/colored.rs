//! Noise with a power spectrum that falls with the frequency: sequences that hold a direction for a while.

use crate::rng::Stream;
use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// Gaussian sequences of one length whose power spectrum is f^{−β} (Timmer & König 1995, as used by iCEM,
/// arXiv 2008.06389, section 3.1): every frequency gets a random complex amplitude of that variance, and is transformed
/// back. Frequency 0 counts as the lowest other one, 1/H: so up to H = 3 all noise is white.
pub(super) struct ColoredNoise {
    /// Standard deviations of the amplitudes, scaled so that the noise has unit variance: `[H]`.
    amplitudes: Vec<f32>,
    inverse: Arc<dyn Fft<f32>>,
}

impl ColoredNoise {
    /// Exponent `beta` (0: white, 1: pink, 2: red), sequences of `horizon` steps.
    pub fn new(beta: f64, horizon: usize) -> Self {
        // in steps of 1/H, of which only the ratios matter; from H/2 on the frequencies are negative
        let frequency = |k: usize| k.min(horizon - k).max(1) as f64;
        let power: Vec<f64> = (0..horizon).map(|k| frequency(k).powf(-beta)).collect();
        let total: f64 = power.iter().sum();
        Self {
            amplitudes: power.iter().map(|p| (p / total).sqrt() as f32).collect(),
            inverse: FftPlanner::new().plan_fft_inverse(horizon),
        }
    }

    /// H
    pub fn horizon(&self) -> usize {
        self.amplitudes.len()
    }

    /// `sequences` of `[H, A]`, row-major, every action dimension on its own.
    pub fn draw(&self, stream: &mut Stream, sequences: usize, actions: usize) -> Vec<f32> {
        let horizon = self.horizon();
        let series = sequences * actions;
        // amplitudes without the symmetry of a real signal give two of them: the real and the imaginary part are
        // independent, as the spectrum itself is symmetric
        let numbers = stream.noise(series.div_ceil(2) * 2 * horizon);
        let amplitudes = numbers.chunks_exact(2).zip(self.amplitudes.iter().cycle());
        let mut signals: Vec<_> = amplitudes.map(|(n, s)| Complex32::new(n[0] * s, n[1] * s)).collect();
        self.inverse.process(&mut signals); // one transform per chunk of H
        let mut noise = vec![0.0; series * horizon];
        for (pair, signal) in signals.chunks_exact(horizon).enumerate() {
            for (part, which) in [(2 * pair, 0), (2 * pair + 1, 1)].into_iter().filter(|(i, _)| *i < series) {
                let (sequence, action) = (part / actions, part % actions);
                for (step, value) in signal.iter().enumerate() {
                    noise[(sequence * horizon + step) * actions + action] = [value.re, value.im][which];
                }
            }
        }
        noise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCES: usize = 4000;

    /// Of sequences with one action: mean product of steps `lag` apart, cyclically.
    fn correlation(noise: &[f32], horizon: usize, lag: usize) -> f64 {
        let product =
            |x: &[f32]| -> f64 { (0..horizon).map(|t| f64::from(x[t] * x[(t + lag) % horizon])).sum() };
        noise.chunks_exact(horizon).map(product).sum::<f64>() / noise.len() as f64
    }

    fn draw(beta: f64, horizon: usize) -> Vec<f32> {
        ColoredNoise::new(beta, horizon).draw(&mut Stream::new(1, "test"), SEQUENCES, 1)
    }

    #[test]
    fn the_variance_is_one_whatever_the_exponent_and_the_horizon() {
        for beta in [0.0, 0.25, 1.0, 2.0, 4.0] {
            for horizon in [1, 2, 3, 5, 30] {
                let variance = correlation(&draw(beta, horizon), horizon, 0);
                assert!((variance - 1.0).abs() < 0.1, "β {beta} H {horizon}: {variance}");
            }
        }
    }

    #[test]
    fn without_an_exponent_the_noise_is_white() {
        let noise = draw(0.0, 30);
        for lag in 1..15 {
            assert!(correlation(&noise, 30, lag).abs() < 0.02, "lag {lag}");
        }
    }

    /// The power at every frequency, from the sequences themselves, falls with slope −β on logarithmic axes.
    #[test]
    fn the_spectrum_falls_with_the_exponent() {
        const H: usize = 32;
        for beta in [0.0, 1.0, 2.0] {
            let noise = draw(beta, H);
            let power = |k: usize| {
                let angle = |t: usize| std::f64::consts::TAU * (k * t) as f64 / H as f64;
                let part = |x: &[f32], f: fn(f64) -> f64| -> f64 {
                    x.iter().enumerate().map(|(t, x)| f64::from(*x) * f(angle(t))).sum()
                };
                let energy = |x: &[f32]| part(x, f64::cos).powi(2) + part(x, f64::sin).powi(2);
                noise.chunks_exact(H).map(energy).sum::<f64>()
            };
            let slope = (power(8) / power(1)).ln() / 8f64.ln();
            assert!((slope + beta).abs() < 0.05, "{slope} instead of −{beta}");
            assert!((power(8) / power(24) - 1.0).abs() < 1e-3, "real signals");
        }
    }

    /// Power 1, 1, 2^{−β} at k = 0, ±1, ±2 of five steps gives Σ s² cos(2πk/5) / Σ s² at lag 1.
    #[test]
    fn neighbouring_steps_are_correlated_as_the_spectrum_says() {
        let cos = |k: f64| (std::f64::consts::TAU * k / 5.0).cos();
        let expected = (1.0 + 2.0 * cos(1.0) + 0.5 * cos(2.0)) / 3.5;
        assert!(expected > 0.3 && (correlation(&draw(2.0, 5), 5, 1) - expected).abs() < 0.02);
    }

    #[test]
    fn action_dimensions_and_sequences_are_independent() {
        let noise = ColoredNoise::new(2.0, 8).draw(&mut Stream::new(2, "test"), SEQUENCES, 3);
        let at = |sequence: usize, step: usize, action: usize| {
            f64::from(noise[(sequence * 8 + step) * 3 + action])
        };
        let mean = |f: &dyn Fn(usize) -> f64| (0..SEQUENCES - 1).map(f).sum::<f64>() / SEQUENCES as f64;
        assert!(mean(&|s| at(s, 3, 0) * at(s, 3, 1)).abs() < 0.06);
        assert!(mean(&|s| at(s, 3, 1) * at(s, 3, 2)).abs() < 0.06);
        assert!(mean(&|s| at(s, 3, 2) * at(s + 1, 3, 0)).abs() < 0.06);
        assert!(mean(&|s| at(s, 3, 1) * at(s, 4, 1)) > 0.3, "steps of one are not");
    }
}
