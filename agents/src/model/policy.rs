//! Actions from the numbers of the policy network.

use burn::prelude::*;

/// ½ ln 2π
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_7;
/// Keeps the logarithm of 1 − a² finite.
const SQUASH_EPSILON: f64 = 1e-6;

/// An action drawn from a squashed Gaussian, and how likely it was.
pub struct Drawn {
    /// tanh(μ + σε): `[R, A]`.
    pub action: Tensor<2>,
    /// A·Σ ln N(μ + σε; μ, σ) − Σ ln(1 − a²): `[R]`. The factor A, which makes the entropy bonus of the Gaussian grow with
    /// the square of the number of actions, is TD-MPC2's; later versions of its code scale the second sum as well.
    pub scaled_log_probability: Tensor<1>,
}

/// Draws with noise ε `[R, A]` from the network's numbers `[R, 2A]`, μ and then s: ln σ goes from one end of
/// `log_std_range` to the other as tanh s does from −1 to 1.
pub fn draw(numbers: Tensor<2>, noise: Tensor<2>, log_std_range: [f64; 2]) -> Drawn {
    let actions = noise.dims()[1];
    let [low, high] = log_std_range;
    let mean = numbers.clone().narrow(1, 0, actions);
    let log_std = (numbers.narrow(1, actions, actions).tanh() + 1.0) * (0.5 * (high - low)) + low;
    let action = (mean + log_std.clone().exp() * noise.clone()).tanh();
    let gaussian = noise.square() * -0.5 - log_std - HALF_LN_TAU;
    let squashed = ((-action.clone().square() + 1.0).clamp_min(0.0) + SQUASH_EPSILON).log();
    let log_probability = gaussian * actions as f64 - squashed;
    Drawn { action, scaled_log_probability: log_probability.sum_dim(1).squeeze_dim(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::test_support::values;

    fn rows(x: &[f32]) -> Tensor<2> {
        Tensor::<1>::from_floats(x, &cpu()).unsqueeze()
    }

    /// By hand: μ = (0.5, −1), tanh s = 0 so that ln σ = −4 in the published range, ε = (1, −2).
    #[test]
    fn actions_and_probabilities_of_hand_numbers() {
        let drawn = draw(rows(&[0.5, -1.0, 0.0, 0.0]), rows(&[1.0, -2.0]), [-10.0, 2.0]);
        let std = (-4f64).exp();
        let action = [(0.5 + std).tanh(), (-1.0 - 2.0 * std).tanh()];
        for (found, known) in values(drawn.action).into_iter().zip(action) {
            assert!((f64::from(found) - known).abs() < 1e-6, "{found} instead of {known}");
        }
        let ln_normal = |e: f64| -0.5 * e * e + 4.0 - 0.5 * std::f64::consts::TAU.ln();
        let known =
            2.0 * (ln_normal(1.0) + ln_normal(-2.0)) - action.iter().map(|a| (1.0 - a * a).ln()).sum::<f64>();
        let found = f64::from(values(drawn.scaled_log_probability)[0]);
        assert!((found - known).abs() < 1e-3, "{found} instead of {known}");
    }

    #[test]
    fn the_standard_deviation_stays_in_its_range_and_noise_zero_is_the_mean() {
        for (s, log_std) in [(50.0, 2.0), (-50.0, -10.0), (0.0, -4.0)] {
            let drawn = draw(rows(&[0.0, s]), rows(&[0.01]), [-10.0, 2.0]);
            let known = (f64::exp(log_std) * 0.01).tanh();
            assert!((f64::from(values(drawn.action)[0]) - known).abs() < 1e-6);
        }
        assert_eq!(values(draw(rows(&[0.0, 0.0]), rows(&[0.0]), [-10.0, 2.0]).action), [0.0]);
    }

    /// Far out 1 − a² is zero in floating point.
    #[test]
    fn saturated_actions_have_finite_probabilities() {
        let drawn = draw(rows(&[40.0, -40.0, 0.0, 3.0]), rows(&[1.0, 1.0]), [-10.0, 2.0]);
        assert!(values(drawn.scaled_log_probability)[0].is_finite());
        assert!(values(drawn.action).iter().all(|a| a.abs() <= 1.0));
    }
}
