//! Losses against a latent that collapses to what is easy to predict; all of weight 0 unless asked for.

use super::update::{Learner, with_start};
use crate::config::Consistency;
use burn::prelude::*;

/// Added to what a consistency error is divided by.
const SMALLEST_CHANGE: f32 = 1e-4;
/// Added to a variance before its root (VICReg's published code).
const VARIANCE_EPSILON: f32 = 1e-4;

/// Variance and covariance terms of VICReg (Bardes et al. 2022, arXiv 2105.04906, eq. 1–4) for latents `z [B, D]`:
/// mean_d max(0, 1 − √(Var z_d + ε)) and Σ_{i≠j} C_ij² / D.
fn spread(z: Tensor<2>) -> (Tensor<1>, Tensor<1>) {
    let [batch, latent] = z.dims();
    let centred = z.clone() - z.mean_dim(0);
    let covariance = centred.clone().transpose().matmul(centred.clone()) / (batch as f64 - 1.0);
    let variance = centred.square().sum_dim(0).squeeze_dim::<1>(0) / (batch as f64 - 1.0);
    let narrow = (-(variance.clone() + VARIANCE_EPSILON).sqrt() + 1.0).clamp_min(0.0).mean();
    let off_diagonal = covariance.square().sum() - variance.square().sum();
    (narrow, off_diagonal / latent as f64)
}

/// Weights `[1, H]` of the consistency error of every step, without gradient: one over how far the targets have moved from
/// the first latents on average, so that no latent is rewarded for standing still.
///
/// # Shapes
/// - `first`: `[B, D]`, `targets`: `[B, H, D]`
fn relative_weights(first: Tensor<2>, targets: Tensor<3>) -> Tensor<2> {
    let [batch, horizon, latent] = targets.dims();
    let moved = (targets - first.unsqueeze_dim(1)).detach().square();
    let moved = moved.sum_dim(0).sum_dim(2).reshape([1, horizon]) / (batch * latent) as f64;
    (moved + SMALLEST_CHANGE).recip()
}

impl Learner {
    /// The weighted sum of the further losses; a zero if all weigh nothing: `[1]`.
    ///
    /// # Shapes
    /// - `latents`: ẑ_0 … ẑ_H `[B, H + 1, D]` with gradients; `observations`: `[B, H + 1, O]`; `mask`: `[B, H]`
    pub(super) fn auxiliary_loss(
        &self,
        latents: Tensor<3>,
        observations: Tensor<3>,
        mask: Tensor<2>,
    ) -> Tensor<1> {
        let config = &self.config.auxiliary;
        let [b, steps, latent] = latents.dims();
        let mut sum = Tensor::zeros([1], &latents.device());
        if config.variance_coef > 0.0 || config.covariance_coef > 0.0 {
            let (variance, covariance) = spread(latents.clone().narrow(1, 0, 1).reshape([b, latent]));
            sum = sum + variance * config.variance_coef + covariance * config.covariance_coef;
        }
        if let Some(decoded) = self.world.decode(latents.reshape([b * steps, latent])) {
            let observed = Tensor::from_inner(observations.reshape([b * steps, self.observation_dim]));
            let mask = Tensor::from_inner(with_start(mask));
            let error = (decoded - observed).square().mean_dim(1).reshape([b, steps]);
            sum = sum + (error * mask.clone()).sum() / mask.sum() * config.state_coef;
        }
        sum
    }

    /// Scales predicted and target latents so that their squared difference is the error that is asked for.
    pub(super) fn measure(&self, latents: &Tensor<3>, predicted: &mut Tensor<3>, target: &mut Tensor<3>) {
        if self.config.consistency == Consistency::Relative {
            let [b, _, latent] = latents.dims();
            let first = latents.clone().narrow(1, 0, 1).reshape([b, latent]);
            let scale = relative_weights(first, target.clone()).sqrt().unsqueeze_dim::<3>(2);
            *predicted = predicted.clone() * scale.clone();
            *target = target.clone() * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{OBSERVATION, batches, learner};
    use super::*;
    use crate::config::{AgentConfig, DynamicsKind, StateDecoder, tests::tiny};
    use crate::rng::Stream;
    use crate::test_support::{central_differences, max_difference, normal, value_and_gradients, values};

    fn rows<const N: usize>(x: [[f32; N]; 4]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(x.concat(), [4, N]), &crate::device::cpu())
    }

    #[test]
    fn spread_of_hand_numbers() {
        // variances 4/3 and 1/3, covariance 2/3
        let (narrow, off) = spread(rows([[1.0, 0.5], [1.0, 0.5], [-1.0, -0.5], [-1.0, -0.5]]));
        let expected = (1.0 - (1.0f32 / 3.0 + 1e-4).sqrt()) / 2.0;
        assert!((values(narrow)[0] - expected).abs() < 1e-6);
        assert!((values(off)[0] - 2.0 * (4.0 / 9.0) / 2.0).abs() < 1e-6);
        // wide and uncorrelated: nothing to pay
        let (narrow, off) = spread(rows([[2.0, 2.0], [2.0, -2.0], [-2.0, 2.0], [-2.0, -2.0]]));
        assert_eq!((values(narrow)[0], values(off)[0]), (0.0, 0.0));
    }

    #[test]
    fn gradients_of_the_spread_are_those_of_differences() {
        let inputs = [normal::<2>([6, 3], 1) * 0.5];
        let f = |x: &[Tensor<2>]| {
            let (variance, covariance) = spread(x[0].clone());
            Tensor::cat(vec![variance, covariance], 0).unsqueeze()
        };
        let (_, gradients) = value_and_gradients(&inputs, f);
        let differences = central_differences(&inputs, f, 1e-2);
        assert!(max_difference(gradients[0].clone(), differences[0].clone()) < 2e-3);
    }

    /// A latent shrunk by any factor is judged by the same relative error.
    #[test]
    fn relative_consistency_does_not_depend_on_the_scale_of_the_latent() {
        let (first, targets) = (normal::<2>([8, 5], 1), normal::<3>([8, 4, 5], 2));
        let error = |scale: f64| {
            let (z0, z) = (first.clone() * scale, targets.clone() * scale);
            let predicted = z.clone() * 1.1;
            let weights = relative_weights(z0, z.clone());
            values(((predicted - z).square().mean_dim(2).squeeze_dim::<2>(2) * weights).mean())[0]
        };
        assert!((error(1.0) / error(30.0) - 1.0).abs() < 1e-3);
    }

    /// With each of the terms: what it is to improve improves, compared with the same updates without it.
    #[test]
    fn every_term_does_its_work() {
        type Edit = fn(&mut AgentConfig);
        let after = |edit: Edit| {
            let mut config = tiny(DynamicsKind::Koopman);
            config.model.state_decoder = StateDecoder::Linear;
            edit(&mut config);
            let (mut learner, mut noise) = (learner(&config), Stream::new(4, "noise"));
            let batches = batches(&config, 150);
            batches.iter().for_each(|batch| drop(learner.update(batch, &mut noise)));
            let batch = &batches[0];
            let rows = batch.size * (batch.horizon + 1);
            let observed = TensorData::new(batch.observations.clone(), [rows, OBSERVATION]);
            let observed = Tensor::<2>::from_data(observed, &crate::device::cpu());
            let world = learner.online().world();
            let z = world.encode(observed.clone());
            let (variance, covariance) = spread(z.clone());
            let error = (world.decode(z).unwrap() - observed).square().mean();
            [variance, covariance, error].map(|x| values(x)[0])
        };
        let without = after(|_| {});
        let edits: [Edit; 3] = [
            |c| c.learner.auxiliary.variance_coef = 5.0,
            |c| c.learner.auxiliary.covariance_coef = 5.0,
            |c| c.learner.auxiliary.state_coef = 5.0,
        ];
        for (term, edit) in edits.into_iter().enumerate() {
            let with = after(edit);
            assert!(with[term] < 0.5 * without[term], "{term}: {with:?} {without:?}");
        }
    }
}
