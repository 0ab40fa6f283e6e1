//! The diagonal recurrence against known mathematics: three ways to unroll it, finite differences, and the gradient
//! theorem of arXiv 2306.11941 (theorem 3.1).

use burn::prelude::*;
use td_koopman_agents::device::cpu;
use td_koopman_agents::ops::{Unroll, diagonal_recurrence, diagonal_recurrence_reference};
use td_koopman_agents::rng::Stream;

/// m modes with |λ̄| in [low, high] and any phase, as `[Re | Im]`.
fn eigenvalues(m: usize, low: f32, high: f32, stream: &mut Stream) -> Vec<f32> {
    let (radius, phase) = (stream.uniform(m, low, high), stream.uniform(m, 0.0, std::f32::consts::TAU));
    let re = radius.iter().zip(&phase).map(|(r, p)| r * p.cos());
    let im = radius.iter().zip(&phase).map(|(r, p)| r * p.sin());
    re.chain(im).collect()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &cpu())
}

fn numbers<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    t.try_into_vec_as().unwrap()
}

/// Largest difference relative to the largest number.
fn relative(a: &[f32], b: &[f32]) -> f32 {
    let scale = b.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (x, y)| m.max((x - y).abs())) / scale
}

struct Case {
    lambda: Vec<f32>,
    z0: Vec<f32>,
    c: Vec<f32>,
    batch: usize,
    horizon: usize,
    m: usize,
}

impl Case {
    fn random(batch: usize, horizon: usize, m: usize, seed: u64) -> Self {
        let mut s = Stream::new(seed, "test");
        Self {
            lambda: eigenvalues(m, 0.0, 1.0, &mut s),
            z0: s.normal(batch * 2 * m),
            c: s.normal(batch * horizon * 2 * m),
            batch,
            horizon,
            m,
        }
    }

    fn inputs(&self) -> (Tensor<1>, Tensor<2>, Tensor<3>) {
        let w = 2 * self.m;
        (
            tensor(self.lambda.clone(), [w]),
            tensor(self.z0.clone(), [self.batch, w]),
            tensor(self.c.clone(), [self.batch, self.horizon, w]),
        )
    }

    /// z and the gradients of Σ weights·z for λ̄, z_0 and c.
    fn gradients(
        &self,
        weights: &[f32],
        f: impl Fn(Tensor<1>, Tensor<2>, Tensor<3>) -> Tensor<3>,
    ) -> [Vec<f32>; 4] {
        let (lambda, z0, c) = self.inputs();
        let lambda = Tensor::from_inner(lambda).require_grad();
        let z0 = Tensor::from_inner(z0).require_grad();
        let c = Tensor::from_inner(c).require_grad();
        let z = f(lambda.clone(), z0.clone(), c.clone());
        let weights = tensor(weights.to_vec(), [self.batch, self.horizon, 2 * self.m]);
        let grads = (z.clone() * Tensor::from_inner(weights)).sum().backward();
        [
            numbers(z.inner()),
            numbers(lambda.grad(&grads).unwrap()),
            numbers(z0.grad(&grads).unwrap()),
            numbers(c.grad(&grads).unwrap()),
        ]
    }
}

#[test]
fn recurrence_convolution_and_reference_agree_for_every_horizon() {
    for horizon in 1..=200 {
        let case = Case::random(3, horizon, 5, horizon as u64);
        let (lambda, z0, c) = case.inputs();
        let reference = numbers(diagonal_recurrence_reference(lambda.clone(), z0.clone(), c.clone()));
        for unroll in [Unroll::Recurrence, Unroll::Fft, Unroll::Auto] {
            let z = numbers(diagonal_recurrence(lambda.clone(), z0.clone(), c.clone(), unroll));
            assert!(
                relative(&z, &reference) < 1e-5,
                "{unroll:?} at H = {horizon}: {}",
                relative(&z, &reference)
            );
        }
    }
}

#[test]
fn gradients_of_all_unrolls_agree() {
    // 130 trajectories: three chunks of the eigenvalue gradient
    for (batch, horizon) in [(1, 1), (130, 5), (3, 20), (2, 100), (2, 200)] {
        let case = Case::random(batch, horizon, 4, 7);
        let weights = Stream::new(8, "test").normal(batch * horizon * 8);
        let reference = case.gradients(&weights, diagonal_recurrence_reference);
        for unroll in [Unroll::Recurrence, Unroll::Fft] {
            let got = case.gradients(&weights, |l, z, c| diagonal_recurrence(l, z, c, unroll));
            for (what, (a, b)) in ["z", "λ", "z0", "c"].iter().zip(got.iter().zip(&reference)) {
                let limit = if horizon > 20 { 1e-4 } else { 1e-5 };
                assert!(relative(a, b) < limit, "{what} {unroll:?} at H = {horizon}: {}", relative(a, b));
            }
        }
    }
}

/// The loss Σ weights·z in f64, written down independently.
fn loss(lambda: &[f64], z0: &[f64], c: &[f64], weights: &[f32], m: usize) -> f64 {
    let (mut re, mut im) = (z0[..m].to_vec(), z0[m..].to_vec());
    let mut total = 0.0;
    for (c, w) in c.chunks_exact(2 * m).zip(weights.chunks_exact(2 * m)) {
        for j in 0..m {
            let (lr, li) = (lambda[j], lambda[m + j]);
            (re[j], im[j]) = (lr * re[j] - li * im[j] + c[j], lr * im[j] + li * re[j] + c[m + j]);
            total += w[j] as f64 * re[j] + w[m + j] as f64 * im[j];
        }
    }
    total
}

#[test]
fn gradients_equal_finite_differences() {
    let (m, horizon) = (3, 12);
    let case = Case::random(1, horizon, m, 3);
    let weights = Stream::new(4, "test").normal(horizon * 2 * m);
    let wide = |x: &[f32]| x.iter().map(|&x| x as f64).collect::<Vec<_>>();
    let inputs = [wide(&case.lambda), wide(&case.z0), wide(&case.c)];
    for unroll in [Unroll::Recurrence, Unroll::Fft] {
        let [_, grads @ ..] = case.gradients(&weights, |l, z, c| diagonal_recurrence(l, z, c, unroll));
        for (which, gradient) in grads.iter().enumerate() {
            let differences: Vec<f32> = (0..gradient.len())
                .map(|i| {
                    let shifted = |by: f64| {
                        let mut x = inputs.clone();
                        x[which][i] += by;
                        loss(&x[0], &x[1], &x[2], &weights, m)
                    };
                    ((shifted(1e-5) - shifted(-1e-5)) / 2e-5) as f32
                })
                .collect();
            assert!(relative(gradient, &differences) < 1e-5, "input {which} {unroll:?}");
        }
    }
}

/// Theorem 3.1: for a loss at step k only, |∂L/∂z_0| = |λ̄|^k |∂L/∂z_k| and |∂L/∂c_{l−1}| = |λ̄|^{k−l} |∂L/∂z_k| for
/// every mode, and exactly nothing for l > k. |λ̄| = e^{Δtμ}.
#[test]
fn gradients_shrink_exactly_as_the_theorem_says() {
    let m = 6;
    for (mu, k) in [(-0.5f32, 1usize), (-0.2, 20), (-0.02, 100), (0.0, 100), (0.05, 20)] {
        let (horizon, radius) = (k + 3, mu.exp());
        for unroll in [Unroll::Recurrence, Unroll::Fft] {
            let mut case = Case::random(1, horizon, m, 5);
            case.lambda = eigenvalues(m, radius, radius, &mut Stream::new(6, "test"));
            let cotangent = Stream::new(7, "test").normal(2 * m);
            let mut weights = vec![0.0; horizon * 2 * m];
            weights[(k - 1) * 2 * m..][..2 * m].copy_from_slice(&cotangent);
            let [_, _, z0, c] = case.gradients(&weights, |l, z, c| diagonal_recurrence(l, z, c, unroll));
            let modulus = |x: &[f32], j: usize| x[j].hypot(x[m + j]);
            for j in 0..m {
                let expected = radius.powi(k as i32) * modulus(&cotangent, j);
                assert!(
                    (modulus(&z0, j) / expected - 1.0).abs() < 1e-4,
                    "z_0, μ = {mu}, k = {k}, {unroll:?}"
                );
                for l in 1..=horizon {
                    let got = modulus(&c[(l - 1) * 2 * m..], j);
                    if l > k {
                        let zero =
                            if unroll == Unroll::Recurrence { 0.0 } else { 1e-5 * modulus(&cotangent, j) };
                        assert!(got <= zero, "causality at l = {l} > k = {k}: {got}");
                    } else {
                        let expected = radius.powi((k - l) as i32) * modulus(&cotangent, j);
                        let error = (got - expected).abs() / modulus(&cotangent, j).max(expected);
                        assert!(error < 1e-4, "c_{l}, μ = {mu}, k = {k}, {unroll:?}: {error}");
                    }
                }
            }
        }
    }
}

/// Without input and with μ = 0 the energy of every mode is constant (test T4 of the reference).
#[test]
fn rotation_keeps_energy() {
    let m = 4;
    let mut case = Case::random(2, 150, m, 9);
    case.lambda = eigenvalues(m, 1.0, 1.0, &mut Stream::new(10, "test"));
    case.c.fill(0.0);
    let (lambda, z0, c) = case.inputs();
    let z = numbers(diagonal_recurrence(lambda, z0.clone(), c, Unroll::Recurrence));
    let energy = |z: &[f32]| z.iter().map(|x| x * x).sum::<f32>();
    let start = numbers(z0);
    for b in 0..2 {
        let e0 = energy(&start[b * 2 * m..][..2 * m]);
        for k in 0..150 {
            let e = energy(&z[(b * 150 + k) * 2 * m..][..2 * m]);
            assert!((e / e0 - 1.0).abs() < 1e-4);
        }
    }
}
