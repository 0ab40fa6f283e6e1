//! How good is the model? Predictions of many steps judged against what was stored.
//!
//! A latent that collapses, or a model that cannot say more than "nothing changes", shows in these numbers thousands of
//! steps before it shows in the returns.

use crate::agent::Agent;
use crate::modes::{Claims, Mode};
use crate::replay::Batch;
use std::ops::Range;

/// Depths k, in decisions, at which predictions are judged.
pub const DEPTHS: [usize; 5] = [1, 3, 5, 10, 20];

const LATENT_ERROR: [&str; 5] =
    ["latent_error_1", "latent_error_3", "latent_error_5", "latent_error_10", "latent_error_20"];
const PERSISTENCE: [&str; 5] =
    ["persistence_1", "persistence_3", "persistence_5", "persistence_10", "persistence_20"];
const REWARD_R2: [&str; 5] = ["reward_r2_1", "reward_r2_3", "reward_r2_5", "reward_r2_10", "reward_r2_20"];

/// Depth at which the linear share is taken.
const LINEAR_DEPTH: usize = 5;

/// A prediction of K steps for B sequences, on the host.
#[derive(Clone, Debug, Default)]
pub struct Foresight {
    /// D.
    pub latent_dim: usize,
    /// Latents of the stored observations z_0 … z_K: `[B, K + 1, D]`.
    pub latents: Vec<f32>,
    /// ẑ_1 … ẑ_K: `[B, K, D]`.
    pub predicted: Vec<f32>,
    /// r̂ at ẑ_0 … ẑ_{K−1} with the stored actions: `[B, K]`.
    pub rewards: Vec<f32>,
    /// ẑ_1 … ẑ_K under the nearest time-invariant linear system, `[B, K, D]`; `None` for dynamics that have none.
    pub linear: Option<Vec<f32>>,
}

impl Agent {
    /// What [`diagnose`] says of the model on `batch`, up to [`Agent::foresight`] steps deep. The names depend on the
    /// configuration only; what cannot be known is NaN.
    ///
    /// - `latent_error_k`: e_k = E‖ẑ_k − z_k‖² / Var z_k, with z_k the online encoding of the observation k steps later;
    /// - `persistence_k`: p_k = E‖z_0 − z_k‖² / Var z_k, the error of "nothing changes": only e_k ≪ p_k is a prediction;
    /// - `reward_r2_k`: coefficient of determination of the k-th reward, predicted from z_0 and the actions;
    /// - `effective_rank`: (tr C)² / tr C² with C the covariance of the latents (participation ratio);
    /// - `latent_norm`: root mean square of ‖z‖;
    /// - `linear_share`: of Koopman dynamics, 1 − E‖ẑ_5 − z̃_5‖² / Var ẑ_5, where z̃ is the rollout of the linear
    ///   time-invariant system that has the batch's mean gate: 1 means that the prediction is linear.
    pub fn diagnose(&self, batch: &Batch) -> Vec<(&'static str, f64)> {
        diagnose(batch, &self.foresee(batch))
    }

    /// The modes of Koopman dynamics on `batch`, up to [`Agent::foresight`] steps deep; `None` with other dynamics.
    pub fn modes(&self, batch: &Batch) -> Option<Vec<Mode>> {
        let (k, foresight) = (batch.horizon, self.foresee(batch));
        let d = foresight.latent_dim;
        let mut claims = Claims::new(self.lambda()?, k);
        let windows =
            foresight.latents.chunks_exact((k + 1) * d).zip(foresight.predicted.chunks_exact(k * d));
        for ((latents, predicted), mask) in windows.zip(batch.mask.chunks_exact(k)) {
            // padding comes behind what is real
            let real = mask.iter().take_while(|&&m| m == 1.0).count() * d;
            claims.add(&latents[..d], &latents[d..d + real], &predicted[..real]);
        }
        Some(claims.modes())
    }
}

/// See [`Agent::diagnose`].
pub fn diagnose(batch: &Batch, foresight: &Foresight) -> Vec<(&'static str, f64)> {
    let (k, d) = (batch.horizon, foresight.latent_dim);
    let stored = |b: usize, t: usize| &foresight.latents[(b * (k + 1) + t) * d..][..d];
    let predicted = |b: usize, t: usize| &foresight.predicted[(b * k + t - 1) * d..][..d];
    // the sequences that are real at depth t
    let real =
        |t: usize| (0..batch.size).filter(move |b| t >= 1 && t <= k && batch.mask[b * k + t - 1] == 1.0);
    let mut values = Vec::new();
    for (i, &t) in DEPTHS.iter().enumerate() {
        let rows: Vec<usize> = real(t).collect();
        let variance = variance(rows.iter().map(|&b| stored(b, t)));
        let error = mean(rows.iter().map(|&b| squared_distance(predicted(b, t), stored(b, t))));
        let persistence = mean(rows.iter().map(|&b| squared_distance(stored(b, 0), stored(b, t))));
        let reward = |b: usize| std::slice::from_ref(&batch.rewards[b * k + t - 1]);
        let missed =
            |b: usize| f64::from(batch.rewards[b * k + t - 1] - foresight.rewards[b * k + t - 1]).powi(2);
        let spread = self::variance(rows.iter().map(|&b| reward(b)));
        values.push((LATENT_ERROR[i], over(error, variance)));
        values.push((PERSISTENCE[i], over(persistence, variance)));
        values.push((REWARD_R2[i], 1.0 - over(mean(rows.iter().map(|&b| missed(b))), spread)));
    }
    let start: Vec<&[f32]> = (0..batch.size).map(|b| stored(b, 0)).collect();
    values.push(("effective_rank", participation_ratio(&start)));
    values.push(("latent_norm", mean(start.iter().map(|z| squared_distance(z, &vec![0.0; d]))).sqrt()));
    if let Some(linear) = &foresight.linear {
        let rows: Vec<usize> = real(LINEAR_DEPTH).collect();
        let at = |b: usize| -> Range<usize> { (b * k + LINEAR_DEPTH - 1) * d..(b * k + LINEAR_DEPTH) * d };
        let missed = rows.iter().map(|&b| squared_distance(&linear[at(b)], &foresight.predicted[at(b)]));
        let spread = variance(rows.iter().map(|&b| &foresight.predicted[at(b)]));
        values.push(("linear_share", 1.0 - over(mean(missed), spread)));
    }
    values
}

/// An error in units of a variance; NaN where nothing varies, as rewards of which all are alike.
fn over(error: f64, variance: f64) -> f64 {
    if variance > 0.0 { error / variance } else { f64::NAN }
}

/// NaN of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
    sum / count
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

fn centre<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Vec<f64> {
    let (mut sum, mut count) = (Vec::new(), 0.0);
    for row in rows {
        sum.resize(row.len(), 0.0);
        sum.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
        count += 1.0;
    }
    sum.iter_mut().for_each(|s| *s /= count);
    sum
}

/// Variance summed over the dimensions.
fn variance<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone) -> f64 {
    let centre = centre(rows.clone());
    let from_centre = |row: &[f32]| row.iter().zip(&centre).map(|(&x, c)| (f64::from(x) - c).powi(2)).sum();
    mean(rows.map(from_centre))
}

/// (Σ λ)² / Σ λ² over the eigenvalues λ of the covariance: D for a round cloud, 1 for a line.
fn participation_ratio(rows: &[&[f32]]) -> f64 {
    let centre = centre(rows.iter().copied());
    let d = centre.len();
    let mut covariance = vec![0.0; d * d];
    for row in rows {
        let x: Vec<f64> = row.iter().zip(&centre).map(|(&x, c)| f64::from(x) - c).collect();
        for (i, line) in covariance.chunks_exact_mut(d).enumerate() {
            line.iter_mut().zip(&x).for_each(|(c, y)| *c += x[i] * y);
        }
    }
    let trace: f64 = (0..d).map(|i| covariance[i * d + i]).sum();
    trace * trace / covariance.iter().map(|c| c * c).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ControlForm, DynamicsKind, tests::tiny};
    use crate::replay::{Ending, Episode, Replay};
    use crate::rng::Stream;

    fn value(values: &[(&str, f64)], name: &str) -> f64 {
        values.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    /// Two sequences of one step in a latent of one dimension; the deeper depths do not exist.
    #[test]
    fn hand_numbers() {
        let batch =
            Batch { size: 2, horizon: 1, rewards: vec![1.0, 3.0], mask: vec![1.0, 1.0], ..Batch::default() };
        let foresight = Foresight {
            latent_dim: 1,
            latents: vec![0.0, 2.0, 0.0, -2.0],
            predicted: vec![2.0, -1.0],
            rewards: vec![1.0, 2.0],
            linear: None,
        };
        let values = diagnose(&batch, &foresight);
        // Var z_1 = 4; errors 0 and 1; persistence 4 and 4; Var r = 1, missed by 0 and 1
        let at = |name| value(&values, name);
        assert_eq!((at("latent_error_1"), at("persistence_1"), at("reward_r2_1")), (0.125, 1.0, 0.5));
        assert!(at("latent_error_3").is_nan() && at("reward_r2_20").is_nan());
        assert_eq!(at("latent_norm"), 0.0);
    }

    #[test]
    fn the_rank_of_a_line_is_one_and_of_a_cross_two() {
        let (a, b, c, d) = ([1.0, 2.0, 0.0], [3.0, 6.0, 0.0], [-1.0, -2.0, 0.0], [2.0, 4.0, 0.0]);
        assert!((participation_ratio(&[&a, &b, &c, &d]) - 1.0).abs() < 1e-12);
        let cross = [[1.0, 0.0, 5.0], [-1.0, 0.0, 5.0], [0.0, 1.0, 5.0], [0.0, -1.0, 5.0]];
        let cross: Vec<&[f32]> = cross.iter().map(|row| &row[..]).collect();
        assert!((participation_ratio(&cross) - 2.0).abs() < 1e-12);
    }

    /// Padding, which repeats the last observation, would make every model look good.
    #[test]
    fn padded_steps_are_not_judged() {
        let batch = |mask: [f32; 4]| Batch {
            size: 2,
            horizon: 2,
            rewards: vec![1.0, 0.0, 2.0, 0.0],
            mask: mask.to_vec(),
            ..Batch::default()
        };
        let foresight = Foresight {
            latent_dim: 1,
            latents: vec![0.0, 1.0, 1.0, 0.0, 3.0, 3.0],
            predicted: vec![0.0, 0.0, 0.0, 0.0],
            rewards: vec![0.0; 4],
            linear: None,
        };
        let one = diagnose(&batch([1.0, 0.0, 0.0, 0.0]), &foresight);
        assert!(value(&one, "latent_error_1").is_nan(), "one sequence has no variance");
        let two = diagnose(&batch([1.0, 0.0, 1.0, 0.0]), &foresight);
        assert_eq!(value(&two, "latent_error_1"), 5.0);
    }

    /// All dynamics are judged; the paper's form is linear, a gate along the rollout is not.
    #[test]
    fn every_dynamics_is_judged_and_only_koopman_has_a_linear_share() {
        let replay = || {
            let mut replay = Replay::new(&tiny(DynamicsKind::Mlp).replay, 3, 4, 2);
            let mut stream = Stream::new(1, "test");
            let mut episode = Episode::start(&stream.normal(4));
            for _ in 0..60 {
                episode.push(&stream.uniform(2, -1.0, 1.0), stream.unit() as f32, &stream.normal(4));
            }
            replay.add(&episode, Ending::Truncated).unwrap();
            replay
        };
        let trained = |dynamics, form| {
            let mut config = tiny(dynamics);
            config.model.koopman.control.form = form;
            let mut agent = Agent::new(&config, 4, 2, &mut Stream::new(1, "init"), &crate::device::cpu());
            let (mut state, mut stream) = (agent.export(), Stream::new(2, "init"));
            for parameter in state.parameters.values_mut().filter(|p| p.values.iter().all(|x| *x == 0.0)) {
                parameter.values = stream.uniform(parameter.values.len(), -0.5, 0.5);
            }
            agent.import(&state).unwrap();
            agent
        };
        let judge = |dynamics, form| {
            let agent = trained(dynamics, form);
            agent.diagnose(&replay().windows(64, agent.foresight(), &mut Stream::new(3, "test")))
        };
        for dynamics in DynamicsKind::ALL {
            let values = judge(dynamics, ControlForm::Gated);
            assert!(values.iter().all(|(_, x)| x.is_finite()), "{dynamics:?} {values:?}");
            let share = values.iter().any(|(name, _)| *name == "linear_share");
            assert_eq!(share, dynamics == DynamicsKind::Koopman);
        }
        let share = |form| value(&judge(DynamicsKind::Koopman, form), "linear_share");
        assert!((share(ControlForm::Additive) - 1.0).abs() < 1e-9);
        let gated = share(ControlForm::Gated);
        assert!(gated < 0.999, "{gated}");

        // what modes miss by comes to what the latent does, where the second step is padding
        let agent = trained(DynamicsKind::Koopman, ControlForm::Gated);
        let mut windows = replay().windows(64, 2, &mut Stream::new(3, "test"));
        windows.mask.iter_mut().skip(1).step_by(2).for_each(|mask| *mask = 0.0);
        let modes = agent.modes(&windows).unwrap();
        let missed: f64 = modes.iter().map(|mode| mode.share * mode.missed[0]).sum();
        let known = value(&agent.diagnose(&windows), "latent_error_1");
        assert!((missed / known - 1.0).abs() < 1e-5, "{missed} instead of {known}");
        assert_eq!(trained(DynamicsKind::Mlp, ControlForm::Gated).modes(&windows), None);
    }
}
