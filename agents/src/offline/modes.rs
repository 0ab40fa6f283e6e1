//! The modes of Koopman dynamics that were fitted to a recording.

use super::recording::Windows;
use super::trainer::{Given, Trainer};
use crate::modes::{Claims, Mode};
use burn::prelude::*;

impl Trainer {
    /// All modes on `windows`, which are in the units that were learned from; `None` where the dynamics are not Koopman.
    pub fn modes(&self, windows: &Windows) -> Option<Vec<Mode>> {
        let (model, t) = (self.model(), windows.horizon);
        let mut claims = Claims::new(model.lambda()?, t);
        for Given { first, actions, states, .. } in self.in_parts(windows) {
            let [b, _, o] = states.dims();
            let met = numbers(model.encode(states.reshape([b * t, o])));
            let [starts, foretold] = model.latents(first, actions).map(numbers);
            let d = starts.len() / b;
            let windows =
                starts.chunks_exact(d).zip(met.chunks_exact(t * d)).zip(foretold.chunks_exact(t * d));
            windows.for_each(|((start, met), foretold)| claims.add(start, met, foretold));
        }
        Some(claims.modes())
    }
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.try_into_vec_as().expect("latents are f32")
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
