//! The policy prior: a network, and how its numbers become an action.

use super::network::{Network, Scratch};
use crate::model::ACTION_BOUND;
use crate::ops::simd::{exp, multiversion, tanh};

/// π on packed weights.
#[derive(Clone, Debug)]
pub(crate) enum Policy {
    /// The action plus noise, clamped; the network ends with tanh (TD-MPC).
    Deterministic(Network),
    /// A squashed Gaussian (TD-MPC2), and the bounds of the logarithm of its standard deviation.
    Gaussian(Network, [f32; 2]),
}

impl Policy {
    /// A
    pub fn actions(&self) -> usize {
        match self {
            Self::Deterministic(net) => net.outputs(),
            Self::Gaussian(net, _) => net.outputs() / 2,
        }
    }

    /// Acts at the z of `rows` rows `[z | a]` of `za`, `stride` apart: replaces a, the numbers from `at` on. Rows of `noise`
    /// are `noise_stride` apart.
    pub(super) fn act(
        &self,
        za: &mut [f32],
        stride: usize,
        at: usize,
        noise: &[f32],
        noise_stride: usize,
        scratch: &mut Scratch,
    ) {
        let (rows, actions) = (za.len() / stride, self.actions());
        match self {
            Self::Deterministic(net) => {
                let action = net.forward(za, stride, rows, scratch);
                let actions_and_noise =
                    action.numbers.chunks_exact(action.stride).zip(noise.chunks(noise_stride));
                for (row, (action, noise)) in za.chunks_exact_mut(stride).zip(actions_and_noise) {
                    for (to, (action, noise)) in
                        row[at..at + actions].iter_mut().zip(action.iter().zip(noise))
                    {
                        *to = (action + noise).clamp(-ACTION_BOUND, ACTION_BOUND);
                    }
                }
            }
            Self::Gaussian(net, log_std) => {
                let drawn = net.forward(za, stride, rows, scratch);
                draw(drawn.numbers, drawn.stride, actions, noise, noise_stride, *log_std);
                for (row, action) in za.chunks_exact_mut(stride).zip(drawn.numbers.chunks_exact(drawn.stride))
                {
                    row[at..at + actions].copy_from_slice(&action[..actions]);
                }
            }
        }
    }
}

multiversion! {
    /// Replaces μ of rows `[μ | s]`, `stride` apart, by tanh(μ + σε): ln σ goes from one end of `log_std` to the other as
    /// tanh s does from −1 to 1, see [`World::act`](crate::model::World::act).
    fn draw(
        rows: &mut [f32],
        stride: usize,
        actions: usize,
        noise: &[f32],
        noise_stride: usize,
        log_std: [f32; 2],
    ) {
        let [low, high] = log_std;
        for (row, noise) in rows.chunks_exact_mut(stride).zip(noise.chunks(noise_stride)) {
            let (mean, s) = row.split_at_mut(actions);
            for ((mean, s), noise) in mean.iter_mut().zip(s).zip(noise) {
                let log_std = (tanh(*s) + 1.0) * (0.5 * (high - low)) + low;
                *mean = tanh(*mean + exp(log_std) * noise);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{normal, values};

    /// Against 64-bit arithmetic, also where the standard deviation is at its bounds.
    #[test]
    fn gaussian_actions_agree_with_64_bits() {
        let (actions, stride, [low, high]) = (3, 16, [-10.0, 2.0]);
        for scale in [0.1, 1.0, 20.0] {
            let numbers = values(normal::<2>([9, stride], 1) * scale);
            let noise = values(normal::<2>([9, 5], 2));
            let mut rows = numbers.clone();
            draw(&mut rows, stride, actions, &noise, 5, [low as f32, high as f32]);
            let all = rows.chunks(stride).zip(numbers.chunks(stride)).zip(noise.chunks(5));
            for ((found, numbers), noise) in all {
                for i in 0..actions {
                    let [mean, s, noise] = [numbers[i], numbers[actions + i], noise[i]].map(f64::from);
                    let std = (low + (high - low) * 0.5 * (s.tanh() + 1.0)).exp();
                    let known = (mean + std * noise).tanh();
                    assert!((f64::from(found[i]) - known).abs() < 1e-5, "{} instead of {known}", found[i]);
                }
            }
        }
    }
}
