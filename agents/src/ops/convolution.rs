//! The same recurrence as a causal convolution: z_k = Σ_{j<k} λ̄^{k−1−j} c_j (with λ̄ z_0 added to c_0), through
//! zero-padded FFTs against the Vandermonde kernel (1, λ̄, …, λ̄^{H−1}) of every mode (arXiv 2306.11941, eq. 6–7).

use rustfft::num_complex::{Complex32, Complex64};
use rustfft::{Fft, FftPlanner};
use std::sync::Arc;

/// Kernel spectra of all modes and the transforms for one horizon.
pub(super) struct FftPlan {
    lambda: Vec<Complex32>,
    /// `[m, n]`, already divided by n.
    spectra: Vec<Complex32>,
    size: usize,
    forward: Arc<dyn Fft<f32>>,
    inverse: Arc<dyn Fft<f32>>,
}

/// Work space of one thread.
pub(super) struct Scratch {
    signal: Vec<Complex32>,
    fft: Vec<Complex32>,
}

impl FftPlan {
    /// For z from c: kernel λ̄^k.
    pub fn forward(lambda: &[f32], horizon: usize) -> Self {
        Self::new(lambda, horizon, 1.0)
    }

    /// For the adjoint states from the gradients: kernel conj(λ̄)^k, time reversed.
    pub fn adjoint(lambda: &[f32], horizon: usize) -> Self {
        Self::new(lambda, horizon, -1.0)
    }

    fn new(lambda: &[f32], horizon: usize, sign: f32) -> Self {
        let (re, im) = lambda.split_at(lambda.len() / 2);
        let lambda: Vec<_> = re.iter().zip(im).map(|(&re, &im)| Complex32::new(re, sign * im)).collect();
        let size = padded_size(horizon);
        let mut planner = FftPlanner::new();
        let (forward, inverse) = (planner.plan_fft_forward(size), planner.plan_fft_inverse(size));
        let mut spectra = vec![Complex32::ZERO; lambda.len() * size];
        for (kernel, &lambda) in spectra.chunks_exact_mut(size).zip(&lambda) {
            for (k, out) in kernel[..horizon].iter_mut().enumerate() {
                let power = power(lambda, k) / size as f64;
                *out = Complex32::new(power.re as f32, power.im as f32);
            }
        }
        forward.process(&mut spectra); // one transform per chunk of `size`
        Self { lambda, spectra, size, forward, inverse }
    }

    pub fn scratch(&self) -> Scratch {
        let length = self.forward.get_inplace_scratch_len().max(self.inverse.get_inplace_scratch_len());
        Scratch { signal: vec![Complex32::ZERO; self.size], fft: vec![Complex32::ZERO; length] }
    }

    /// One trajectory: `z0 [2m]`, `c [H, 2m]` → `out [H, 2m]`.
    pub fn forward_row(&self, z0: &[f32], c: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let m = self.lambda.len();
        for (j, lambda) in self.lambda.iter().enumerate() {
            let signal = &mut scratch.signal;
            for (slot, c) in signal.iter_mut().zip(c.chunks_exact(2 * m)) {
                *slot = Complex32::new(c[j], c[m + j]);
            }
            signal[0] += lambda * Complex32::new(z0[j], z0[m + j]);
            self.convolve(j, c.len() / (2 * m), scratch);
            for (out, value) in out.chunks_exact_mut(2 * m).zip(&scratch.signal) {
                (out[j], out[m + j]) = (value.re, value.im);
            }
        }
    }

    /// Adjoint states of one trajectory: `g [H, 2m]` → `a [H, 2m]`.
    pub fn adjoint_row(&self, g: &[f32], a: &mut [f32], scratch: &mut Scratch) {
        let m = self.lambda.len();
        for j in 0..m {
            for (slot, g) in scratch.signal.iter_mut().zip(g.chunks_exact(2 * m).rev()) {
                *slot = Complex32::new(g[j], g[m + j]);
            }
            self.convolve(j, g.len() / (2 * m), scratch);
            for (a, value) in a.chunks_exact_mut(2 * m).rev().zip(&scratch.signal) {
                (a[j], a[m + j]) = (value.re, value.im);
            }
        }
    }

    /// Causal convolution of the first `horizon` samples with kernel `j`, in place.
    fn convolve(&self, j: usize, horizon: usize, scratch: &mut Scratch) {
        let signal = &mut scratch.signal;
        signal[horizon..].fill(Complex32::ZERO);
        self.forward.process_with_scratch(signal, &mut scratch.fft);
        let spectrum = &self.spectra[j * self.size..][..self.size];
        signal.iter_mut().zip(spectrum).for_each(|(s, k)| *s *= k);
        self.inverse.process_with_scratch(signal, &mut scratch.fft);
    }
}

/// Smallest 2^a or 3·2^a of at least 2H − 1: without this padding the circular convolution would wrap the
/// tail of the sequence into its head.
fn padded_size(horizon: usize) -> usize {
    let at_least = (2 * horizon).saturating_sub(1).max(1);
    let power_of_two = at_least.next_power_of_two();
    let three_quarters = power_of_two / 4 * 3;
    if three_quarters >= at_least { three_quarters } else { power_of_two }
}

/// λ^k in polar form and f64: repeated f32 products would drift, and k·arg λ loses digits in f32.
fn power(lambda: Complex32, k: usize) -> Complex64 {
    let lambda = Complex64::new(lambda.re as f64, lambda.im as f64);
    if k == 0 {
        Complex64::ONE
    } else {
        Complex64::from_polar(lambda.norm().powi(k as i32), lambda.arg() * k as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_never_shorter_than_the_linear_convolution() {
        for horizon in 1..600 {
            assert!(padded_size(horizon) >= 2 * horizon - 1);
        }
        assert_eq!(padded_size(24), 48);
    }

    /// The negative test of the padding: a transform of length H wraps the tail into the head.
    #[test]
    fn unpadded_convolution_would_be_wrong() {
        let (horizon, lambda) = (8, [0.9f32, 0.3]);
        let mut plan = FftPlan::forward(&lambda, horizon);
        let c: Vec<f32> = (0..2 * horizon).map(|i| (i as f32 * 0.7).sin()).collect();
        let run = |plan: &FftPlan| {
            let mut out = vec![0.0; 2 * horizon];
            plan.forward_row(&[0.0, 0.0], &c, &mut out, &mut plan.scratch());
            out
        };
        let right = run(&plan);
        let mut planner = FftPlanner::new();
        plan.size = horizon;
        (plan.forward, plan.inverse) = (planner.plan_fft_forward(horizon), planner.plan_fft_inverse(horizon));
        plan.spectra = (0..horizon)
            .map(|k| power(plan.lambda[0], k) / horizon as f64)
            .map(|p| Complex32::new(p.re as f32, p.im as f32))
            .collect();
        plan.forward.process(&mut plan.spectra);
        let wrong = run(&plan);
        let error = right.iter().zip(&wrong).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error > 0.1, "{error}");
    }
}
