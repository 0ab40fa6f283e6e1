//! Discrete regression: a number as a distribution over bins on a symmetric logarithmic scale.

use crate::config::ModelV2Config;
use crate::ops;
use burn::prelude::*;

/// Evenly spaced bins in symlog space, as in DreamerV3 (Hafner et al. 2023, arXiv 2301.04104) and TD-MPC2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bins {
    count: usize,
    low: f64,
    high: f64,
}

impl Bins {
    /// At least two of them, ascending; checked by the configuration.
    pub fn new(config: &ModelV2Config) -> Self {
        let [low, high] = config.bin_range;
        Self { count: config.bins, low, high }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their values, as symlog: `[count]`.
    pub(crate) fn values(&self) -> Vec<f32> {
        let step = (self.high - self.low) / (self.count - 1) as f64;
        (0..self.count).map(|j| j as f32 * step as f32 + self.low as f32).collect()
    }

    /// Where symlog(x) = sign(x)·ln(1 + |x|) lies among the bins, in [0, count − 1]; what is outside counts as the nearest
    /// end: `[R]` → `[R]`.
    fn position(&self, x: Tensor<1>) -> Tensor<1> {
        let symlog = x.clone().sign() * x.abs().log1p();
        (symlog.clamp(self.low, self.high) - self.low) * ((self.count - 1) as f64 / (self.high - self.low))
    }

    /// Cross-entropy of `logits [R, count]` against the two bins around `x [R]`, which gets no gradient: `[R]`.
    pub fn cross_entropy(&self, logits: Tensor<2>, x: Tensor<1>) -> Tensor<1> {
        ops::two_hot_cross_entropy(logits, self.position(x.detach()))
    }

    /// symexp(Σ_j softmax(logits)_j bin_j) with symexp(v) = sign(v)(e^|v| − 1): `[R, count]` → `[R]`.
    pub fn read(&self, logits: Tensor<2>) -> Tensor<1> {
        let step = (self.high - self.low) / (self.count - 1) as f64;
        let bins = Tensor::<1, Int>::arange(0..self.count as i64, &logits.device()).float() * step + self.low;
        // SimNorm with one group is a softmax, and a fused one
        let v = ops::sim_norm(logits, self.count).matmul(bins.unsqueeze_dim(1)).squeeze_dim::<1>(1);
        v.clone().sign() * (v.abs().exp() - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::test_support::{central_differences, max_difference, value_and_gradients, values};

    const BINS: Bins = Bins { count: 101, low: -10.0, high: 10.0 };

    fn row(x: &[f32]) -> Tensor<1> {
        Tensor::from_floats(x, &cpu())
    }

    /// By hand: symlog(0) = 0 is bin 50; symlog(e − 1) = 1 is five bins up; beyond ±(e^10 − 1) are the ends.
    #[test]
    fn positions_of_hand_numbers() {
        let e = std::f32::consts::E;
        let found = values(BINS.position(row(&[0.0, e - 1.0, 1.0 - e, 1e9, -1e9, f32::INFINITY])));
        for (found, known) in found.iter().zip([50.0, 55.0, 45.0, 100.0, 0.0, 100.0]) {
            assert!((found - known).abs() < 1e-4, "{found} instead of {known}");
        }
    }

    /// Logits that are the logarithm of a two-hot target are read as the number that the target stands for.
    #[test]
    fn numbers_survive_the_round_trip() {
        let x = row(&[0.0, 0.3, -0.3, 1.0, -7.5, 123.4, -2000.0, 21000.0]);
        let target = ops::two_hot(BINS.position(x.clone()), 101);
        let read = values(BINS.read((target + 1e-30).log()));
        for (found, known) in read.into_iter().zip(values(x)) {
            assert!((found - known).abs() < 2e-4 * known.abs().max(1.0), "{found} instead of {known}");
        }
    }

    /// Heads start at zero, and so do values.
    #[test]
    fn equal_logits_are_zero() {
        assert!(values(BINS.read(Tensor::zeros([3, 101], &cpu()))).iter().all(|x| x.abs() < 1e-5));
    }

    #[test]
    fn the_gradient_of_a_reading_equals_central_differences() {
        let bins = Bins { count: 5, low: -2.0, high: 2.0 };
        let x = [crate::test_support::normal::<2>([3, 5], 1)];
        let read = |x: &[Tensor<2>]| bins.read(x[0].clone()).unsqueeze_dim(1);
        let (_, g) = value_and_gradients(&x, read);
        assert!(max_difference(g[0].clone(), central_differences(&x, read, 1e-2)[0].clone()) < 2e-3);
    }
}
