//! How rewards and values along an imagined sequence add up to its score.

/// How much of a sequence's score each of its steps is trusted with.
///
/// With weights 1 = w_0 ≥ w_1 ≥ … ≥ 0 of its rewards a sequence scores G = Σ_{1≤k<H} (w_{k−1} − w_k) G_k + w_{H−1} G_H, where
/// G_k = Σ_{t<k} γ^t r_t + γ^k Q(z_k, π(z_k)) follows the model k steps and then asks the critics. With w_t = λ^t this is the
/// λ-return (Sutton & Barto 2018, section 12.1) of a plan, with w_t = 1 TD-MPC's score, G_H.
#[derive(Clone, Debug, PartialEq)]
pub struct Returns {
    /// γ, per decision.
    discount: f64,
    /// w_0, w_1, …; behind the last the ratio of the last two goes on.
    weights: Vec<f64>,
}

impl Returns {
    /// All of the sequence, then the critics.
    pub fn to_the_end(discount: f64) -> Self {
        Self { discount, weights: vec![1.0] }
    }

    /// The λ-return, λ in (0, 1].
    pub fn lambda(discount: f64, lambda: f64) -> Self {
        Self { discount, weights: vec![1.0, lambda] }
    }

    /// By weights of the rewards, of which the first is 1 and none is larger than the one before or below 0.
    ///
    /// # Panics
    /// If they are not that.
    pub fn weighted(discount: f64, weights: Vec<f64>) -> Self {
        let falling = weights.windows(2).all(|w| w[1] <= w[0] && w[1] >= 0.0);
        assert!(weights.first() == Some(&1.0) && falling, "weights of rewards: {weights:?}");
        Self { discount, weights }
    }

    /// w_t.
    fn weight(&self, t: usize) -> f64 {
        match (self.weights.get(t), &self.weights[..]) {
            (Some(&weight), _) => weight,
            (None, [.., before, last]) if *before > 0.0 => {
                last * (last / before).powi((t + 1 - self.weights.len()) as i32)
            }
            (None, weights) => weights[weights.len() - 1],
        }
    }

    /// Weights of r_0 … r_{H−1}, discounted: `[H]`.
    pub fn of_rewards(&self, horizon: usize) -> Vec<f32> {
        let weight = |t: usize| (self.discount.powi(t as i32) * self.weight(t)) as f32;
        (0..horizon).map(weight).collect()
    }

    /// Weights of the values at z_1 … z_H, discounted, 0 but for the last if all steps are trusted: `[H]`.
    pub fn of_values(&self, horizon: usize) -> Vec<f32> {
        let weight = |k: usize| {
            let later = if k < horizon { self.weight(k) } else { 0.0 };
            (self.discount.powi(k as i32) * (self.weight(k - 1) - later)) as f32
        };
        (1..=horizon).map(weight).collect()
    }

    /// Depths at which values are asked for.
    pub fn depths(&self, horizon: usize) -> usize {
        if self.weight(horizon - 1) == 1.0 { 1 } else { horizon }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REWARDS: [f64; 4] = [1.0, -2.0, 0.5, 3.0];
    const VALUES: [f64; 4] = [10.0, 7.0, -4.0, 2.0];

    /// Rewards of k steps, then the value.
    fn to_depth(k: usize, discount: f64) -> f64 {
        let sum: f64 = (0..k).map(|t| discount.powi(t as i32) * REWARDS[t]).sum();
        sum + discount.powi(k as i32) * VALUES[k - 1]
    }

    fn score(returns: &Returns, horizon: usize) -> f64 {
        let sum = |weights: Vec<f32>, of: &[f64]| -> f64 {
            assert_eq!(weights.len(), horizon);
            weights.iter().zip(of).map(|(w, x)| f64::from(*w) * x).sum()
        };
        sum(returns.of_rewards(horizon), &REWARDS) + sum(returns.of_values(horizon), &VALUES)
    }

    /// The weights against the mixture they stand for.
    #[test]
    fn weights_are_those_of_the_mixture() {
        for (discount, lambda) in [(0.9f64, 0.7f64), (1.0, 0.01), (0.5, 1.0)] {
            for horizon in 1..=4 {
                let shallow = |k: usize| (1.0 - lambda) * lambda.powi(k as i32 - 1) * to_depth(k, discount);
                let mixture = (1..horizon).map(shallow).sum::<f64>()
                    + lambda.powi(horizon as i32 - 1) * to_depth(horizon, discount);
                let returns = Returns::lambda(discount, lambda);
                let found = score(&returns, horizon);
                assert!((found - mixture).abs() < 1e-5, "γ {discount}, λ {lambda}, H {horizon}");
                let asked = returns.of_values(horizon).iter().filter(|w| **w != 0.0).count();
                assert_eq!(asked, returns.depths(horizon));
            }
        }
    }

    #[test]
    fn measured_weights_mix_depths_by_what_they_lose() {
        let returns = Returns::weighted(0.9, vec![1.0, 0.8, 0.4]);
        // behind the measured steps each is trusted half as much as the one before: 0.2
        let parts = [0.2, 0.4, 0.2, 0.2];
        let mixture: f64 = (0..4).map(|i| parts[i] * to_depth(i + 1, 0.9)).sum();
        assert!((score(&returns, 4) - mixture).abs() < 1e-5);
        // what is not trusted at all does not count: one step, then the critics
        let blind = Returns::weighted(0.9, vec![1.0, 0.0]);
        assert!((score(&blind, 4) - to_depth(1, 0.9)).abs() < 1e-5);
        assert_eq!(Returns::weighted(0.9, vec![1.0]), Returns::to_the_end(0.9));
    }
}
