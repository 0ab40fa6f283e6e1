//! The losses of TD-MPC2 (Hansen et al. 2024, arXiv 2310.16828, eq. 3 and 4, and the published code) as pure functions.
//! Where both differ the code is followed: coefficients, and a mean over the steps instead of a sum.

use super::losses::{SequenceLosses, Target};
use crate::model::Bins;
use burn::prelude::*;

/// What the model predicts along a batch of sequences.
pub struct Prediction {
    /// ẑ_1 … ẑ_H: `[B, H, D]`
    pub latents: Tensor<3>,
    /// Logits of r̂_0 … r̂_{H−1}: `[B·H, bins]`
    pub rewards: Tensor<2>,
    /// Logits of every critic at (ẑ_t, a_t): `[B·H, bins]` each
    pub values: Vec<Tensor<2>>,
}

/// Losses per sequence with weights w_t = ρ^t·mask, `weights [B, H]`, each a mean over the H steps:
/// consistency mean_D (ẑ_{t+1} − z̄_{t+1})², reward the cross-entropy with r_t, value the mean over the critics of their
/// cross-entropies with y_t. The priority is the value loss.
pub fn sequence_losses(
    prediction: Prediction,
    target: Target,
    weights: Tensor<2>,
    bins: &Bins,
) -> SequenceLosses {
    let [b, h] = weights.dims();
    let over_time = |x: Tensor<2>| (x * weights.clone()).sum_dim(1).squeeze_dim::<1>(1) / h as f64;
    let latent_error = (prediction.latents - target.latents).square().mean_dim(2).squeeze_dim::<2>(2);
    let cross_entropy = |logits, x: &Tensor<2>| {
        over_time(bins.cross_entropy(logits, x.clone().reshape([b * h])).reshape([b, h]))
    };
    let critics = prediction.values.len() as f64;
    let values = prediction.values.into_iter().map(|logits| cross_entropy(logits, &target.values));
    let value = values.reduce(|a, b| a + b).expect("there are critics") / critics;
    SequenceLosses {
        consistency: over_time(latent_error),
        reward: cross_entropy(prediction.rewards, &target.rewards),
        priority: value.clone().detach(),
        value,
    }
}

/// P95 − P5 of the numbers `[n]`, interpolated linearly as NumPy does: `[1]`.
///
/// A full sort is not needed, and on a GPU would be one on the host.
pub fn spread(x: Tensor<1>) -> Tensor<1> {
    let n = x.dims()[0];
    let at = 0.05 * (n - 1) as f64;
    let (below, share) = (at as usize, at.fract());
    let count = (below + 2).min(n);
    // the percentile counted from the end at which `x` is largest
    let percentile = |x: Tensor<1>| {
        let largest = x.topk(count, 0);
        let entry = |i: usize| largest.clone().narrow(0, i.min(count - 1), 1);
        entry(below) * (1.0 - share) + entry(below + 1) * share
    };
    percentile(x.clone()) + percentile(-x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, tests::tiny};
    use crate::device::cpu;
    use crate::learner::losses::step_weights;
    use crate::test_support::values;

    fn row(x: &[f32]) -> Tensor<2> {
        Tensor::<1>::from_floats(x, &cpu()).unsqueeze()
    }

    /// Two steps, ρ = 0.5, five bins on [−2, 2]: equal logits cost ln 5 whatever the target; one of them raised by 1 costs
    /// ln(4 + e) − 1 where it is right.
    #[test]
    fn losses_of_hand_numbers() {
        let mut config = tiny(DynamicsKind::Mlp).model.v2;
        (config.bins, config.bin_range) = (5, [-2.0, 2.0]);
        let bins = Bins::new(&config);
        let equal = || Tensor::<2>::zeros([2, 5], &cpu());
        // symlog(0) is bin 2
        let right = Tensor::<2>::from_floats([[0.0, 0.0, 1.0, 0.0, 0.0]; 2], &cpu());
        let prediction = Prediction {
            latents: row(&[1.0, 1.0, 2.0, 0.0]).reshape([1, 2, 2]),
            rewards: right.clone(),
            values: vec![equal(), right.clone(), right],
        };
        let target = Target {
            latents: Tensor::zeros([1, 2, 2], &cpu()),
            rewards: row(&[0.0, 0.0]),
            values: row(&[0.0, 0.0]),
        };
        let l = sequence_losses(prediction, target, step_weights(row(&[1.0, 1.0]), 0.5), &bins);
        let (unsure, surer) = (5f32.ln(), (4.0 + 1f32.exp()).ln() - 1.0);
        for (found, known) in [
            (l.consistency, (1.0 + 0.5 * 2.0) / 2.0),
            (l.reward, 1.5 * surer / 2.0),
            (l.value, 1.5 * (unsure + 2.0 * surer) / 3.0 / 2.0),
        ] {
            let found = values(found)[0];
            assert!((found - known).abs() < 1e-6, "{found} instead of {known}");
        }
    }

    /// numpy.percentile(x, [5, 95]) of 0, 1, … 20 in any order: 1 and 19; of 0 … 9: 0.45 and 8.55.
    #[test]
    fn the_spread_is_between_interpolated_percentiles() {
        let of = |n: usize| {
            let x: Vec<f32> = (0..n).map(|i| ((i * 7) % n) as f32).collect();
            values(spread(Tensor::from_floats(x.as_slice(), &cpu())))[0]
        };
        assert!((of(22) - 0.9 * 21.0).abs() < 1e-4 && (of(10) - 8.1).abs() < 1e-5, "{} {}", of(22), of(10));
        assert_eq!(of(1), 0.0);
    }
}
