//! Whether the modes of Koopman dynamics are eigenfunctions: what they claim about later latents, against what is there.
//!
//! A mode g_j says that it turns and shrinks by λ̄_j a step and is pushed by actions. The residual of k
//! steps, as in residual dynamic mode decomposition (Colbrook and Townsend 2024, arXiv 2111.14889), is how far the latent
//! of the state that came lies from the one foretold: E|g_j(s_k) − ẑ_{k,j}|². Here it is in units of the mode's variance, so that 1 is
//! what its mean would miss by, and a mode that stays what it always is has earned nothing.

use crate::model::dynamics::Complex;
use burn::prelude::*;

/// A mode of Koopman dynamics on some windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Mode {
    /// λ̄: real and imaginary part.
    pub lambda: [f64; 2],
    /// Its share of the variance of all latents.
    pub share: f64,
    /// E|g(s_k) − ẑ_k|² over its variance, for k = 1 … T; NaN of a mode that does not vary, and where no window is that long.
    pub missed: Vec<f64>,
    /// The same of the claim that nothing changes, E|g(s_k) − g(s_0)|².
    pub changed: Vec<f64>,
}

/// What all modes claimed of windows, and what came: sums over them.
pub(crate) struct Claims {
    /// λ̄ as `[Re | Im]`, `[D]`
    lambda: Vec<f32>,
    /// Windows that have a k-th step: `[T]`
    windows: Vec<f64>,
    /// (g(s_k) − ẑ_k)²: `[T, D]`
    missed: Vec<f64>,
    /// (g(s_k) − g(s_0))²: `[T, D]`
    changed: Vec<f64>,
    /// g(s_k) and its square, over windows and steps: `[D]`
    moments: [Vec<f64>; 2],
}

impl Claims {
    /// None so far, of windows of up to `steps` steps.
    pub fn new(lambda: Complex, steps: usize) -> Self {
        let lambda = Tensor::cat(vec![lambda.re, lambda.im], 0);
        let lambda: Vec<f32> = lambda.try_into_vec_as().expect("eigenvalues are f32");
        let d = lambda.len();
        Self {
            lambda,
            windows: vec![0.0; steps],
            missed: vec![0.0; steps * d],
            changed: vec![0.0; steps * d],
            moments: [vec![0.0; d], vec![0.0; d]],
        }
    }

    /// Adds a window of n steps: g(s_0) `[D]`, g(s_1) … g(s_n) and ẑ_1 … ẑ_n, `[n, D]` each.
    pub fn add(&mut self, start: &[f32], met: &[f32], foretold: &[f32]) {
        let d = self.lambda.len();
        for (k, (met, foretold)) in met.chunks_exact(d).zip(foretold.chunks_exact(d)).enumerate() {
            self.windows[k] += 1.0;
            let square = |x: f32, y: f32| (f64::from(x) - f64::from(y)).powi(2);
            for i in 0..d {
                self.missed[k * d + i] += square(met[i], foretold[i]);
                self.changed[k * d + i] += square(met[i], start[i]);
                self.moments[0][i] += f64::from(met[i]);
                self.moments[1][i] += f64::from(met[i]).powi(2);
            }
        }
    }

    /// All modes.
    pub fn modes(&self) -> Vec<Mode> {
        let (d, m) = (self.lambda.len(), self.lambda.len() / 2);
        let count: f64 = self.windows.iter().sum();
        let [first, second] = &self.moments;
        let variance = |i: usize| (second[i] / count - (first[i] / count).powi(2)).max(0.0);
        // both parts of a mode
        let variances: Vec<f64> = (0..m).map(|j| variance(j) + variance(m + j)).collect();
        let all: f64 = variances.iter().sum();
        let mode = |j: usize| {
            let over_variance = |sums: &[f64]| {
                let at = |(k, windows): (usize, &f64)| {
                    (sums[k * d + j] + sums[k * d + m + j]) / windows / variances[j]
                };
                let known = |x: f64| if x.is_finite() { x } else { f64::NAN };
                self.windows.iter().enumerate().map(at).map(known).collect()
            };
            Mode {
                lambda: [self.lambda[j].into(), self.lambda[m + j].into()],
                share: if all > 0.0 { variances[j] / all } else { 0.0 },
                missed: over_variance(&self.missed),
                changed: over_variance(&self.changed),
            }
        };
        (0..m).map(mode).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    /// Two modes, two windows, of which one has a single step; by hand.
    #[test]
    fn hand_numbers() {
        let row = |x: &[f32]| Tensor::<1>::from_floats(x, &cpu());
        let mut claims = Claims::new(Complex { re: row(&[0.5, 0.0]), im: row(&[0.0, 1.0]) }, 3);
        // re, re, im, im
        claims.add(
            &[0.0; 4],
            &[1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 1.0, 0.0],
            &[0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0],
        );
        claims.add(&[2.0, 0.0, 0.0, 0.0], &[-1.0, 0.0, 1.0, 0.0], &[-1.0, 0.0, 1.0, 0.0]);
        let [a, b] = <[Mode; 2]>::try_from(claims.modes()).unwrap();
        // the first mode's real parts are 1, 3, −1, with variance 8/3, and its imaginary ones do not vary
        assert_eq!((a.lambda, b.lambda), ([0.5, 0.0], [0.0, 1.0]));
        let near = |found: f64, known: f64| assert!((found - known).abs() < 1e-12, "{found} {known}");
        near(a.missed[0], (2.0 + 0.0) / 2.0 * 3.0 / 8.0);
        near(a.missed[1], 1.0 * 3.0 / 8.0);
        near(a.changed[0], (2.0 + 10.0) / 2.0 * 3.0 / 8.0);
        near(a.changed[1], 10.0 * 3.0 / 8.0);
        near(a.share, 1.0);
        assert!(a.missed[2].is_nan() && b.share == 0.0 && b.missed.iter().all(|x| x.is_nan()), "{b:?}");
    }
}
