//! Whether the modes of Koopman dynamics are eigenfunctions: what they claim about later latents, against what is there.
//!
//! A mode g_j says that it turns and shrinks by λ̄_j a step and is pushed by actions. On trajectories that were not learned from, the
//! residual of k steps, as in residual dynamic mode decomposition (Colbrook and Townsend 2024, arXiv 2111.14889), is how far the latent
//! of the state that came lies from the one foretold: E|g_j(s_k) − ẑ_{k,j}|². Here it is in units of the mode's variance, so that 1 is
//! what its mean would miss by, and a mode that stays what it always is has earned nothing.

use super::recording::Windows;
use super::trainer::{Given, Trainer};
use burn::prelude::*;

/// A mode of Koopman dynamics on some windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Mode {
    /// λ̄: real and imaginary part.
    pub lambda: [f64; 2],
    /// Its share of the variance of all latents.
    pub share: f64,
    /// E|g(s_k) − ẑ_k|² over its variance, for k = 1 … T; NaN of a mode that does not vary.
    pub missed: Vec<f64>,
    /// The same of the claim that nothing changes, E|g(s_k) − g(s_0)|².
    pub changed: Vec<f64>,
}

/// Sums over windows, and where it says so over their steps, of each of the D numbers of a latent.
struct Sums {
    windows: f64,
    /// (g(s_k) − ẑ_k)²: `[T, D]`
    missed: Vec<f64>,
    /// (g(s_k) − g(s_0))²: `[T, D]`
    changed: Vec<f64>,
    /// g(s_k) less what the first windows have on average, and its square, over steps as well: `[D]`
    moments: [Vec<f64>; 2],
}

impl Trainer {
    /// All modes on `windows`, which are in the units that were learned from; `None` where the dynamics are not Koopman.
    pub fn modes(&self, windows: &Windows) -> Option<Vec<Mode>> {
        let model = self.model();
        let lambda = model.lambda()?;
        let [re, im] = [lambda.re, lambda.im].map(numbers);
        let (m, t) = (re.len(), windows.horizon);
        let d = 2 * m;
        let mut sums = Sums {
            windows: windows.size as f64,
            missed: vec![0.0; t * d],
            changed: vec![0.0; t * d],
            moments: [vec![0.0; d], vec![0.0; d]],
        };
        let mut centre: Option<Tensor<3>> = None;
        for Given { first, actions, states, .. } in self.in_parts(windows) {
            let [b, _, o] = states.dims();
            let met = model.encode(states.reshape([b * t, o])).reshape([b, t, d]);
            let [z0, foretold] = model.latents(first, actions);
            let add = |numbers: Tensor<3>, to: &mut [f64]| {
                let numbers = numbers.try_into_vec_as::<f32>().expect("latents are f32");
                to.iter_mut().zip(numbers).for_each(|(to, x)| *to += f64::from(x));
            };
            add((met.clone() - foretold).square().sum_dim(0), &mut sums.missed);
            add((met.clone() - z0).square().sum_dim(0), &mut sums.changed);
            // variances of numbers far from zero would be lost in the rounding of their squares
            let centre = centre.get_or_insert_with(|| met.clone().mean_dim(0).mean_dim(1));
            let from_centre = met - centre.clone();
            add(from_centre.clone().sum_dim(0).sum_dim(1), &mut sums.moments[0]);
            add(from_centre.square().sum_dim(0).sum_dim(1), &mut sums.moments[1]);
        }
        Some(sums.modes(&re, &im, t))
    }
}

impl Sums {
    fn modes(&self, re: &[f32], im: &[f32], t: usize) -> Vec<Mode> {
        let m = re.len();
        let count = self.windows * t as f64;
        // of both parts of a mode
        let of_mode = |number: &dyn Fn(usize) -> f64, j: usize| number(j) + number(m + j);
        let [first, second] = &self.moments;
        let variance = |i: usize| (second[i] / count - (first[i] / count).powi(2)).max(0.0);
        let variances: Vec<f64> = (0..m).map(|j| of_mode(&variance, j)).collect();
        let all: f64 = variances.iter().sum();
        let mode = |j: usize| {
            let over_variance = |sums: &[f64]| {
                let at = |k: usize| of_mode(&|i| sums[k * 2 * m + i], j) / self.windows / variances[j];
                (0..t).map(|k| if variances[j] > 0.0 { at(k) } else { f64::NAN }).collect()
            };
            Mode {
                lambda: [re[j].into(), im[j].into()],
                share: if all > 0.0 { variances[j] / all } else { 0.0 },
                missed: over_variance(&self.missed),
                changed: over_variance(&self.changed),
            }
        };
        (0..m).map(mode).collect()
    }
}

fn numbers(x: Tensor<1>) -> Vec<f32> {
    x.try_into_vec_as().expect("eigenvalues are f32")
}

#[cfg(test)]
mod tests {
    use super::super::trainer::tests::{recording, trainer};
    use super::*;
    use crate::config::DynamicsKind;
    use crate::rng::Stream;
    use crate::test_support::values;

    /// What all latents together miss by, k steps ahead, over their variance.
    fn missed(modes: &[Mode], k: usize) -> f64 {
        modes.iter().map(|mode| mode.share * mode.missed[k - 1]).sum()
    }

    /// The same numbers from latents one by one; more windows than are taken at once.
    #[test]
    fn residuals_are_those_of_single_latents() {
        let trainer = trainer(DynamicsKind::Koopman, 1);
        let windows = recording().windows(400, 3, &mut Stream::new(2, "test"));
        let modes = trainer.modes(&windows).unwrap();
        let model = trainer.model();
        let all = Tensor::<3>::from_data(
            TensorData::new(windows.observations.clone(), [400, 4, 2]),
            &crate::device::cpu(),
        );
        let met = values(model.encode(all.clone().reshape([1600, 2])));
        let actions =
            Tensor::from_data(TensorData::new(windows.actions.clone(), [400, 3, 1]), &crate::device::cpu());
        let [_, foretold] = model.latents(all.narrow(1, 0, 1).squeeze_dim(1), actions);
        let foretold = values(foretold);
        let m = modes.len();
        let met = |b: usize, k: usize, i: usize| f64::from(met[(b * 4 + k) * 2 * m + i]);
        let foretold = |b: usize, k: usize, i: usize| f64::from(foretold[(b * 3 + k - 1) * 2 * m + i]);
        let mean = |of: &dyn Fn(usize, usize) -> f64, ks: &[usize]| -> f64 {
            let rows = (0..400).flat_map(|b| ks.iter().map(move |&k| (b, k)));
            rows.map(|(b, k)| of(b, k)).sum::<f64>() / (400 * ks.len()) as f64
        };
        let near = |found: f64, known: f64| assert!((found / known - 1.0).abs() < 1e-4, "{found} {known}");
        let variance = |j: usize| {
            let parts = [j, m + j].map(|i| {
                let centre = mean(&|b, k| met(b, k, i), &[1, 2, 3]);
                mean(&|b, k| (met(b, k, i) - centre).powi(2), &[1, 2, 3])
            });
            parts[0] + parts[1]
        };
        let total: f64 = (0..m).map(variance).sum();
        for (j, mode) in modes.iter().enumerate() {
            near(mode.share, variance(j) / total);
            for k in 1..=3 {
                let of = |other: &dyn Fn(usize, usize) -> f64| {
                    let square = |i| mean(&|b, k| (met(b, k, i) - other(b, i)).powi(2), &[k]);
                    (square(j) + square(m + j)) / variance(j)
                };
                near(mode.missed[k - 1], of(&|b, i| foretold(b, k, i)));
                near(mode.changed[k - 1], of(&|b, i| met(b, 0, i)));
            }
        }
        let lambda = model.lambda().unwrap();
        assert_eq!(values(lambda.re), modes.iter().map(|mode| mode.lambda[0] as f32).collect::<Vec<_>>());
    }

    /// A linear system has eigenfunctions: fitted to it, latents are foretold; before that they are not.
    #[test]
    fn modes_of_a_linear_system_do_what_they_claim() {
        let recording = recording();
        let windows = recording.windows(300, 8, &mut Stream::new(2, "test"));
        let mut trainer = trainer(DynamicsKind::Koopman, 400);
        let fresh = trainer.modes(&windows).unwrap();
        for _ in 0..400 {
            trainer.update(&recording);
        }
        let modes = trainer.modes(&windows).unwrap();
        assert!((modes.iter().map(|mode| mode.share).sum::<f64>() - 1.0).abs() < 1e-9);
        for k in [1, 4, 8] {
            let changed: f64 = modes.iter().map(|mode| mode.share * mode.changed[k - 1]).sum();
            let (before, after) = (missed(&fresh, k), missed(&modes, k));
            assert!(after < 0.1 * before.min(changed), "{k}: {before} {after} {changed}");
        }
    }

    #[test]
    fn other_dynamics_have_no_modes() {
        let windows = recording().windows(3, 2, &mut Stream::new(2, "test"));
        assert_eq!(trainer(DynamicsKind::Gru, 1).modes(&windows), None);
    }
}
