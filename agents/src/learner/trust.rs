//! How well rewards are predicted, by depth: what a plan may be trusted for.

use super::parameters::Parameter;
use burn::prelude::*;
use std::collections::BTreeMap;

/// Name of the sums among saved parameters.
const SUMS: &str = "reward_sums";
/// Share of the newest batch in the running sums: about the last hundred updates count.
const RATE: f32 = 0.01;
/// Rewards vary if their variance is more than this of their mean square: below it f32 sums say nothing.
const VARIES: f32 = 1e-5;

/// Running sums over the steps k = 0 … H − 1 of training sequences, all predicted from the first observation and the actions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trust {
    /// Of each step: how many real ones, Σ r, Σ r², Σ (r̂ − r)².
    sums: Vec<[f32; 4]>,
}

impl Trust {
    /// What [`Trust::follow`] takes, on the device: predicted and stored rewards and the mask, all `[B, H]` → `[4·H]`.
    pub fn observe(predicted: Tensor<2>, rewards: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
        let error = (predicted - rewards.clone()).square();
        let over_batch = |x: Tensor<2>| (x * mask.clone()).sum_dim(0).squeeze_dim::<1>(0);
        let sums = [rewards.ones_like(), rewards.clone(), rewards.square(), error].map(over_batch);
        Tensor::stack::<2>(sums.into(), 1).flatten(0, 1)
    }

    /// Takes in a batch.
    pub fn follow(&mut self, observed: &[f32]) {
        // training sequences may grow
        self.sums.resize(self.sums.len().max(observed.len() / 4), [0.0; 4]);
        for (sums, new) in self.sums.iter_mut().zip(observed.chunks_exact(4)) {
            sums.iter_mut().zip(new).for_each(|(sum, new)| *sum += RATE * (new - *sum));
        }
    }

    /// The R² of the reward k steps ahead over that of the first, no larger than the one before, in [0, 1]: 1, w_1, … w_{H−1}.
    /// Where rewards do not vary there is nothing to get wrong, and the step counts as the one before.
    pub fn weights(&self) -> Vec<f64> {
        let r2 = |&[count, sum, squares, error]: &[f32; 4]| {
            let (mean, square) = (sum / count, squares / count);
            let variance = square - mean * mean;
            (variance > VARIES * square).then(|| 1.0 - f64::from(error / count / variance))
        };
        let first = self.sums.first().and_then(r2).unwrap_or(1.0);
        let next = |trust: &mut f64, sums| {
            let share = match r2(sums) {
                Some(r2) if first > 0.0 => (r2 / first).clamp(0.0, 1.0),
                Some(_) => 0.0,
                None => 1.0,
            };
            *trust = trust.min(share);
            Some(*trust)
        };
        let later = self.sums.iter().skip(1).scan(1.0, next);
        std::iter::once(1.0).chain(later).collect()
    }

    /// Everything, for saving.
    pub fn export(&self) -> BTreeMap<String, Parameter> {
        let shape = vec![self.sums.len(), 4];
        BTreeMap::from([(SUMS.into(), Parameter { shape, values: self.sums.concat() })])
    }

    /// Restores what [`Trust::export`] gave; checkpoints of older versions have nothing here.
    pub fn import(&mut self, saved: &BTreeMap<String, Parameter>) {
        let chunks = |p: &Parameter| p.values.as_chunks().0.to_vec();
        self.sums = saved.get(SUMS).map(chunks).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    fn rows<const H: usize>(x: [[f32; H]; 3]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(x.concat(), [3, H]), &crate::device::cpu())
    }

    /// R² by hand: 1, 3/4, below 0, and a step whose rewards are all alike; the third sequence ended after one step.
    #[test]
    fn weights_are_measured_r2_that_only_fall() {
        let rewards = rows([[1.0, 2.0, 0.0, 5.0], [3.0, 4.0, 2.0, 5.0], [5.0, 9.0, 9.0, 9.0]]);
        let predicted = rows([[1.0, 2.5, 3.0, 5.0], [3.0, 3.5, 0.0, 5.0], [5.0, -9.0, 0.0, 0.0]]);
        let mask = rows([[1.0; 4], [1.0; 4], [1.0, 0.0, 0.0, 0.0]]);
        let mut trust = Trust::default();
        assert_eq!(trust.weights(), [1.0]);
        for _ in 0..3 {
            trust.follow(&values(Trust::observe(predicted.clone(), rewards.clone(), mask.clone())));
        }
        let found = trust.weights();
        assert_eq!((found[0], found.len()), (1.0, 4));
        assert!((found[1] - 0.75).abs() < 1e-5 && found[2..] == [0.0, 0.0], "{found:?}");
        // constant rewards alone take nothing away
        let alike = trust.sums[3];
        trust.sums = vec![trust.sums[0], trust.sums[1], alike];
        assert!((trust.weights()[2] - 0.75).abs() < 1e-5);
    }

    /// Nothing deeper is trusted by a model that does not even know the first reward.
    #[test]
    fn without_foresight_only_one_step_counts() {
        let (rewards, predicted) = (rows([[1.0; 2], [2.0; 2], [3.0; 2]]), rows([[9.0; 2]; 3]));
        let mut trust = Trust::default();
        trust.follow(&values(Trust::observe(predicted, rewards.clone(), rewards.ones_like())));
        assert_eq!(trust.weights(), [1.0, 0.0]);
    }

    #[test]
    fn saved_sums_are_restored() {
        let mut trust = Trust::default();
        trust.follow(&[3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]);
        let mut restored = Trust::default();
        restored.import(&trust.export());
        assert_eq!(restored, trust);
        restored.import(&BTreeMap::new());
        assert_eq!(restored, Trust::default());
    }
}
