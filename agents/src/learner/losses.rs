//! The losses of TD-MPC v1 (Hansen et al. 2022, eq. 6–9, and the published code) as pure functions.

use burn::prelude::*;

/// Per-sequence losses are capped here before they are averaged (published code, not the paper).
pub(super) const SEQUENCE_LOSS_CAP: f32 = 1e4;

/// What the model predicts along a batch of sequences.
pub struct Prediction {
    /// ẑ_1 … ẑ_H: `[B, H, D]`
    pub latents: Tensor<3>,
    /// r̂_0 … r̂_{H−1}: `[B, H]`
    pub rewards: Tensor<2>,
    /// Both critics at (ẑ_t, a_t): `[B, H]` each
    pub values: [Tensor<2>; 2],
}

/// What it should have predicted; no gradient flows into these.
pub struct Target {
    /// Latents of the observed o_1 … o_H under the slow encoder: `[B, H, D]`
    pub latents: Tensor<3>,
    /// Observed rewards: `[B, H]`
    pub rewards: Tensor<2>,
    /// TD targets: `[B, H]`
    pub values: Tensor<2>,
}

/// Losses per sequence, each `[B]`.
pub struct SequenceLosses {
    /// Σ_t w_t mean_D (ẑ_{t+1} − z̄_{t+1})²
    pub consistency: Tensor<1>,
    /// Σ_t w_t (r̂_t − r_t)²
    pub reward: Tensor<1>,
    /// Σ_t w_t [(Q1 − y)² + (Q2 − y)²]
    pub value: Tensor<1>,
    /// Σ_t w_t [|Q1 − y| + |Q2 − y|], the new replay priority
    pub priority: Tensor<1>,
}

/// Cross-entropy of continuation `logits [B, H]`, for the latents that transitions led to, with whether they did not
/// terminate, Σ_t mask·[max(x, 0) − x·c + ln(1 + e^{−|x|})], c = 1 − terminated: `[B]`.
pub fn continuation_loss(logits: Tensor<2>, terminated: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    let softplus = (-logits.clone().abs()).exp().log1p();
    let loss = logits.clone().clamp_min(0.0) - logits * (-terminated + 1.0) + softplus;
    (loss * mask).sum_dim(1).squeeze_dim(1)
}

/// TD target y = r + γ·(1 − terminated)·v(o′), v no smaller and no larger than `range`. A truncated step bootstraps like any
/// other.
///
/// All `[B, H]`; `terminated` is 1 or 0.
pub fn td_target(
    reward: Tensor<2>,
    terminated: Tensor<2>,
    next_value: Tensor<2>,
    range: Option<[f64; 2]>,
    discount: f64,
) -> Tensor<2> {
    let next_value = match range {
        Some([low, high]) => next_value.clamp(low, high),
        None => next_value,
    };
    reward + next_value * (-terminated + 1.0) * discount
}

/// Losses per sequence with weights w_t = ρ^t·mask, `weights [B, H]`.
pub fn sequence_losses(prediction: Prediction, target: Target, weights: Tensor<2>) -> SequenceLosses {
    let over_time = |x: Tensor<2>| (x * weights.clone()).sum_dim(1).squeeze_dim::<1>(1);
    let latent_error = (prediction.latents - target.latents).square().mean_dim(2).squeeze_dim::<2>(2);
    let [e1, e2] = prediction.values.map(|q| q - target.values.clone());
    SequenceLosses {
        consistency: over_time(latent_error).clamp_max(SEQUENCE_LOSS_CAP),
        reward: over_time((prediction.rewards - target.rewards).square()).clamp_max(SEQUENCE_LOSS_CAP),
        value: over_time(e1.clone().square() + e2.clone().square()).clamp_max(SEQUENCE_LOSS_CAP),
        priority: over_time(e1.detach().abs() + e2.detach().abs()),
    }
}

/// Step weights ρ^t·mask: `mask [B, H]` → `[B, H]`.
pub fn step_weights(mask: Tensor<2>, rho: f64) -> Tensor<2> {
    let horizon = mask.dims()[1];
    let powers: Vec<f32> = (0..horizon).map(|t| rho.powi(t as i32) as f32).collect();
    let powers = Tensor::<1>::from_floats(powers.as_slice(), &mask.device());
    mask * powers.unsqueeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    fn row(x: &[f32]) -> Tensor<2> {
        Tensor::<1>::from_floats(x, &crate::device::cpu()).unsqueeze()
    }

    /// tdmpc2#62: the terminal was looked up only at the end of a slice. A termination in the middle must cut the
    /// bootstrap there; truncation (rsl_rl, burn-rl, rlevo: treated as termination) must not cut it anywhere.
    #[test]
    fn only_terminated_steps_lose_their_bootstrap() {
        let y = td_target(row(&[1.0, 2.0, 3.0]), row(&[0.0, 1.0, 0.0]), row(&[10.0, 10.0, 10.0]), None, 0.9);
        assert_eq!(values(y), [10.0, 2.0, 12.0]);
    }

    /// Without a range the values of InvertedPendulum, where 1 a step adds up to 100, rose to 150 in one seed of three.
    #[test]
    fn next_values_stay_within_their_range() {
        let y = td_target(row(&[1.0; 3]), row(&[0.0; 3]), row(&[150.0, 50.0, -3.0]), Some([0.0, 100.0]), 0.5);
        assert_eq!(values(y), [51.0, 26.0, 1.0]);
    }

    #[test]
    fn losses_of_hand_numbers() {
        let latents = |x: &[f32]| row(x).reshape([1, 2, 2]);
        let prediction = Prediction {
            latents: latents(&[1.0, 1.0, 2.0, 0.0]),
            rewards: row(&[1.0, 5.0]),
            values: [row(&[1.0, 0.0]), row(&[2.0, 3.0])],
        };
        let target = Target {
            latents: latents(&[0.0, 0.0, 0.0, 0.0]),
            rewards: row(&[0.0, 1.0]),
            values: row(&[0.0, 1.0]),
        };
        let l = sequence_losses(prediction, target, step_weights(row(&[1.0, 1.0]), 0.5));
        assert_eq!(values(l.consistency), [1.0 + 0.5 * 2.0]);
        assert_eq!(values(l.reward), [1.0 + 0.5 * 16.0]);
        assert_eq!(values(l.value), [5.0 + 0.5 * 5.0]);
        assert_eq!(values(l.priority), [3.0 + 0.5 * 3.0]);
    }

    /// ln(1 + e^{-2}) for a surely continuing step that continues, 2 more if it terminated, ln 2 where the model is unsure.
    #[test]
    fn continuation_losses_of_hand_numbers() {
        let loss = |logit, terminated, mask| {
            values(continuation_loss(row(&[logit]), row(&[terminated]), row(&[mask])))[0]
        };
        let small = (1.0 + (-2f32).exp()).ln();
        for (found, known) in [
            (loss(2.0, 0.0, 1.0), small),
            (loss(2.0, 1.0, 1.0), small + 2.0),
            (loss(-2.0, 1.0, 1.0), small),
            (loss(0.0, 1.0, 1.0), 2f32.ln()),
            (loss(-1e4, 0.0, 1.0), 1e4),
            (loss(3.0, 1.0, 0.0), 0.0),
        ] {
            assert!((found - known).abs() < 1e-6 * known.max(1.0), "{found} instead of {known}");
        }
    }

    #[test]
    fn padding_weighs_nothing_and_huge_losses_are_capped() {
        assert_eq!(values(step_weights(row(&[1.0, 0.0, 1.0]), 0.5)), [1.0, 0.0, 0.25]);
        let zeros = || row(&[0.0]).reshape([1, 1, 1]);
        let prediction =
            Prediction { latents: zeros(), rewards: row(&[1e6]), values: [row(&[0.0]), row(&[0.0])] };
        let target = Target { latents: zeros(), rewards: row(&[0.0]), values: row(&[0.0]) };
        assert_eq!(values(sequence_losses(prediction, target, row(&[1.0])).reward), [1e4]);
    }
}
