//! How rewards and values along an imagined sequence add up to its score.

/// G = (1 − λ) Σ_{k<H} λ^{k−1} G_k + λ^{H−1} G_H, where G_k = Σ_{t<k} γ^t r_t + γ^k Q(z_k, π(z_k)) follows the model k steps
/// and then asks the critics: the λ-return (Sutton & Barto 2018, section 12.1) of a plan. With λ = 1 this is TD-MPC's score,
/// G_H.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Returns {
    /// γ, per decision.
    pub discount: f64,
    /// λ in (0, 1].
    pub lambda: f64,
}

impl Returns {
    /// All of the sequence, then the critics.
    pub fn to_the_end(discount: f64) -> Self {
        Self { discount, lambda: 1.0 }
    }

    /// Weights of r_0 … r_{H−1}: `[H]`.
    pub fn of_rewards(&self, horizon: usize) -> Vec<f32> {
        let weight = |t| (self.discount.powi(t) * self.lambda.powi(t)) as f32;
        (0..horizon as i32).map(weight).collect()
    }

    /// Weights of the values at z_1 … z_H, 0 but for the last if λ = 1: `[H]`.
    pub fn of_values(&self, horizon: usize) -> Vec<f32> {
        let weight = |k: usize| {
            let share = if k < horizon { 1.0 - self.lambda } else { 1.0 };
            (share * self.lambda.powi(k as i32 - 1) * self.discount.powi(k as i32)) as f32
        };
        (1..=horizon).map(weight).collect()
    }

    /// Depths at which values are asked for.
    pub fn depths(&self, horizon: usize) -> usize {
        if self.lambda == 1.0 { 1 } else { horizon }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The weights against the mixture they stand for.
    #[test]
    fn weights_are_those_of_the_mixture() {
        let (rewards, values) = ([1.0, -2.0, 0.5, 3.0], [10.0, 7.0, -4.0, 2.0]);
        for (discount, lambda) in [(0.9f64, 0.7f64), (1.0, 0.01), (0.5, 1.0)] {
            for horizon in 1..=4 {
                let to_depth = |k: usize| {
                    let sum: f64 = (0..k).map(|t| discount.powi(t as i32) * rewards[t]).sum();
                    sum + discount.powi(k as i32) * values[k - 1]
                };
                let shallow = |k: usize| (1.0 - lambda) * lambda.powi(k as i32 - 1) * to_depth(k);
                let mixture = (1..horizon).map(shallow).sum::<f64>()
                    + lambda.powi(horizon as i32 - 1) * to_depth(horizon);
                let returns = Returns { discount, lambda };
                let sum = |weights: Vec<f32>, of: &[f64]| -> f64 {
                    assert_eq!(weights.len(), horizon);
                    weights.iter().zip(of).map(|(w, x)| f64::from(*w) * x).sum()
                };
                let found =
                    sum(returns.of_rewards(horizon), &rewards) + sum(returns.of_values(horizon), &values);
                assert!((found - mixture).abs() < 1e-5, "γ {discount}, λ {lambda}, H {horizon}");
                let asked = returns.of_values(horizon).iter().filter(|w| **w != 0.0).count();
                assert_eq!(asked, returns.depths(horizon));
            }
        }
    }
}
