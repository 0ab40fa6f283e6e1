//! Operations on the rows of a block, in place; the columns behind the real ones are padding.

use crate::model::{Bound, RMS_EPSILON};
use crate::ops::simd::{mish, multiversion, sum_of, tanh};
use crate::ops::{LAYER_NORM_EPSILON, NormActivation, softmax_in_groups};

/// LayerNorm, and what follows it.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub activation: NormActivation,
}

impl LayerNorm {
    /// Rows `stride` apart, whose mean is zero: their layer's weights see to that.
    pub(super) fn apply(&self, rows: &mut [f32], stride: usize) {
        let Self { gamma, beta, activation } = self;
        match activation {
            NormActivation::Identity => scale(rows, stride, gamma, beta),
            NormActivation::Mish => scale_mish(rows, stride, gamma, beta),
            NormActivation::Tanh => scale_tanh(rows, stride, gamma, beta),
        }
    }
}

multiversion! {
    fn scale(rows: &mut [f32], stride: usize, gamma: &[f32], beta: &[f32]) {
        scale_into(rows, stride, gamma, beta, |v| v);
    }
}
multiversion! {
    fn scale_mish(rows: &mut [f32], stride: usize, gamma: &[f32], beta: &[f32]) {
        scale_into(rows, stride, gamma, beta, mish);
    }
}
multiversion! {
    fn scale_tanh(rows: &mut [f32], stride: usize, gamma: &[f32], beta: &[f32]) {
        scale_into(rows, stride, gamma, beta, tanh);
    }
}

#[inline(always)]
fn scale_into(rows: &mut [f32], stride: usize, gamma: &[f32], beta: &[f32], act: impl Fn(f32) -> f32) {
    let n = gamma.len();
    for row in rows.chunks_exact_mut(stride) {
        let x = &mut row[..n];
        let variance = sum_of(x, |x| x * x) / n as f32;
        let scale = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
        for ((x, g), b) in x.iter_mut().zip(gamma).zip(beta) {
            *x = act(*x * scale * g + b);
        }
    }
}

/// Keeps the first `n` numbers of rows `stride` apart in bounds, see [`Bound::apply`].
pub(super) fn bound(bound: Bound, rows: &mut [f32], stride: usize, n: usize) {
    match bound {
        Bound::Free => {}
        Bound::Simplices(group) => simplices(rows, stride, n, group),
        Bound::Sphere => sphere(rows, stride, n),
    }
}

multiversion! {
    fn simplices(rows: &mut [f32], stride: usize, n: usize, group: usize) {
        // not with `for_each`, whose closure would not be compiled for this processor
        for row in rows.chunks_exact_mut(stride) {
            softmax_in_groups(&mut row[..n], group);
        }
    }
}
multiversion! {
    fn sphere(rows: &mut [f32], stride: usize, n: usize) {
        for row in rows.chunks_exact_mut(stride) {
            let z = &mut row[..n];
            let rms = (sum_of(z, |z| z * z) / n as f32 + RMS_EPSILON as f32).sqrt();
            for z in z {
                *z /= rms;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{normal, values};

    /// Rows of `n` numbers, `stride` apart, and the same in 64 bits.
    fn rows(n: usize, stride: usize, scale: f32) -> (Vec<f32>, Vec<Vec<f64>>) {
        let x = values(normal::<2>([7, stride], 1) * scale + 0.5 * scale);
        let exact = x.chunks(stride).map(|row| row[..n].iter().map(|x| f64::from(*x)).collect());
        (x.clone(), exact.collect())
    }

    fn agree(found: &[f32], stride: usize, known: impl Iterator<Item = Vec<f64>>, what: &str) {
        for (found, known) in found.chunks(stride).zip(known) {
            for (found, known) in found.iter().zip(known) {
                let bound = 4e-6 * known.abs().max(1.0);
                assert!((f64::from(*found) - known).abs() < bound, "{what}: {found} instead of {known}");
            }
        }
    }

    /// Against 64-bit arithmetic, at widths that do and do not fill registers.
    #[test]
    fn layer_norms_agree_with_64_bits() {
        for (n, stride) in [(1, 16), (35, 48), (64, 64), (512, 512)] {
            let gamma = values(normal::<1>([n], 2) * 0.3 + 1.0);
            let beta = values(normal::<1>([n], 3));
            for activation in [NormActivation::Identity, NormActivation::Tanh, NormActivation::Mish] {
                let (mut x, mut exact) = rows(n, stride, 3.0);
                let norm = LayerNorm { gamma: gamma.clone(), beta: beta.clone(), activation };
                for (x, exact) in x.chunks_mut(stride).zip(&mut exact) {
                    let mean = exact.iter().sum::<f64>() / n as f64;
                    for (x, exact) in x.iter_mut().zip(exact) {
                        *exact -= mean;
                        *x = *exact as f32;
                    }
                }
                norm.apply(&mut x, stride);
                let known = exact.into_iter().map(|row| {
                    let mean = row.iter().sum::<f64>() / n as f64;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                    let deviation = (variance + f64::from(LAYER_NORM_EPSILON)).sqrt();
                    let act = |v: f64| match activation {
                        NormActivation::Identity => v,
                        NormActivation::Tanh => v.tanh(),
                        NormActivation::Mish => v * v.exp().ln_1p().tanh(),
                    };
                    let scaled = row.iter().zip(&gamma).zip(&beta);
                    let v = |((x, g), b): ((&f64, &f32), &f32)| {
                        (x - mean) / deviation * f64::from(*g) + f64::from(*b)
                    };
                    scaled.map(|numbers| act(v(numbers))).collect()
                });
                agree(&x, stride, known, &format!("{activation:?} {n}"));
            }
        }
    }

    #[test]
    fn bounds_agree_with_64_bits_and_leave_the_rest_alone() {
        for (n, stride, group) in [(16, 32, 8), (20, 32, 5), (512, 512, 8)] {
            for kind in [Bound::Free, Bound::Simplices(group), Bound::Sphere] {
                let (before, exact) = rows(n, stride, 2.0);
                let mut x = before.clone();
                bound(kind, &mut x, stride, n);
                let known = exact.into_iter().map(|row| match kind {
                    Bound::Free => row,
                    Bound::Sphere => {
                        let rms = (row.iter().map(|x| x * x).sum::<f64>() / n as f64 + RMS_EPSILON).sqrt();
                        row.iter().map(|x| x / rms).collect()
                    }
                    Bound::Simplices(group) => {
                        let softmax = |x: &[f64]| {
                            let sum: f64 = x.iter().map(|x| x.exp()).sum();
                            x.iter().map(|x| x.exp() / sum).collect::<Vec<_>>()
                        };
                        row.chunks(group).flat_map(softmax).collect()
                    }
                });
                agree(&x, stride, known, &format!("{kind:?}"));
                assert!(x.chunks(stride).zip(before.chunks(stride)).all(|(x, before)| x[n..] == before[n..]));
            }
        }
    }
}
