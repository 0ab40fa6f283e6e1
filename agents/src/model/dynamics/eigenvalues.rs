//! The spectrum: (μ, ω, Δt) → per-step multipliers λ̄ and the input gain of the zero-order hold.

use crate::config::{EigenvalueConfig, EigenvalueForm, Mu, Omega, StepSize, Training};
use crate::rng::Stream;
use burn::module::Param;
use burn::prelude::*;
use burn::tensor::activation::{sigmoid, softplus};
use std::f64::consts::PI;

/// A complex vector `[m]` in two real parts.
#[derive(Clone, Debug)]
pub struct Complex {
    /// Real parts.
    pub re: Tensor<1>,
    /// Imaginary parts.
    pub im: Tensor<1>,
}

impl Complex {
    /// Multiplies the complex columns of `matrix [l, 2m]`, stored as `[Re | Im]`, by this vector.
    pub fn scale(&self, matrix: Tensor<2>) -> Tensor<2> {
        let m = self.re.dims()[0];
        let (re, im) = (matrix.clone().narrow(1, 0, m), matrix.narrow(1, m, m));
        let (gr, gi) = (self.re.clone().unsqueeze(), self.im.clone().unsqueeze());
        let real = re.clone() * gr.clone() - im.clone() * gi.clone();
        Tensor::cat(vec![real, re * gi + im * gr], 1)
    }
}

/// Parameters of m eigenvalues.
#[derive(Module, Debug)]
pub struct Eigenvalues {
    /// μ itself, or what is mapped to it (see [`Eigenvalues::mu`]).
    raw_mu: Param<Tensor<1>>,
    omega: Param<Tensor<1>>,
    /// log Δt, `[m]` or `[1]`.
    log_dt: Param<Tensor<1>>,
    #[module(skip)]
    config: EigenvalueConfig,
}

/// The discretised spectrum.
#[derive(Clone, Debug)]
pub struct Discrete {
    /// λ̄ = multiplier of one step.
    pub lambda: Complex,
    /// Factor of the input matrix L (`zoh` and `ring`).
    pub gain: Option<Complex>,
}

impl Eigenvalues {
    /// m eigenvalues.
    pub fn new(config: &EigenvalueConfig, m: usize, stream: &mut Stream, device: &Device) -> Self {
        let parameter = |values: Vec<f32>, training: Training| {
            let n = values.len();
            let p: Param<Tensor<1>> = Param::from_data(TensorData::new(values, [n]), device);
            p.set_require_grad(training == Training::Learned)
        };
        let mu_training = if config.mu == Mu::Fixed { Training::Fixed } else { Training::Learned };
        let start = Start::draw(config, m, stream);
        let raw_mu = start.mu.into_iter().map(|mu| raw_mu(config, mu) as f32).collect();
        let dt_training = match config.form {
            EigenvalueForm::Ring => Training::Fixed,
            EigenvalueForm::Decay | EigenvalueForm::Zoh => config.dt_training,
        };
        Self {
            raw_mu: parameter(raw_mu, mu_training),
            omega: parameter(start.omega, config.omega_training),
            log_dt: parameter(start.log_dt, dt_training),
            config: config.clone(),
        }
    }

    /// Parameters of m eigenvalues, fixed ones included.
    pub(crate) fn count(config: &EigenvalueConfig, m: usize) -> usize {
        match (config.form, config.dt) {
            (EigenvalueForm::Ring, _) | (_, StepSize::Scalar) => 2 * m + 1,
            (_, StepSize::LogUniform) => 3 * m,
        }
    }

    fn mu(&self) -> Tensor<1> {
        let raw = self.raw_mu.val();
        let [low, high] = self.config.mu_bounds;
        match (self.config.mu, self.config.form) {
            (Mu::Bounded, _) => sigmoid(raw) * (high - low) + low,
            // a hard clamp at 0 would stop the gradient of a mode that reached it
            (_, EigenvalueForm::Decay | EigenvalueForm::Ring) => -softplus(raw, 1.0),
            (_, EigenvalueForm::Zoh) => raw,
        }
    }

    /// λ̄ and the input gain.
    pub fn discretise(&self) -> Discrete {
        let (mu, dt) = (self.mu(), self.log_dt.val().exp());
        let phase = self.omega.val() * dt.clone();
        match self.config.form {
            EigenvalueForm::Decay => Discrete { lambda: polar(mu.exp(), phase), gain: None },
            EigenvalueForm::Ring => {
                // the latent keeps the variance of its inputs whatever the decay (LRU, eq. 7)
                let radius = mu.exp();
                // bounded below: the root's slope is infinite at |λ̄| = 1
                let gain = (-radius.clone().square() + 1.0).clamp_min(1e-6).sqrt();
                let gain = Complex { im: gain.zeros_like(), re: gain };
                Discrete { lambda: polar(radius, phase), gain: Some(gain) }
            }
            EigenvalueForm::Zoh => {
                let decay = mu * dt.clone();
                let lambda = polar(decay.clone().exp(), phase.clone());
                let phi = phi1(decay, phase);
                let gain = Complex { re: phi.re * dt.clone(), im: phi.im * dt };
                Discrete { lambda, gain: Some(gain) }
            }
        }
    }
}

/// Where the parameters begin.
struct Start {
    mu: Vec<f64>,
    omega: Vec<f32>,
    log_dt: Vec<f32>,
}

impl Start {
    fn draw(config: &EigenvalueConfig, m: usize, stream: &mut Stream) -> Self {
        if config.form == EigenvalueForm::Ring {
            let [inner, outer] = config.ring.map(|radius| radius.powi(2));
            // |λ̄|² uniform: as many eigenvalues on every patch of the ring
            let square = |share: f64| (inner + (outer - inner) * share).max(1e-8);
            return Self {
                mu: (0..m).map(|_| square(stream.unit()).ln() / 2.0).collect(),
                omega: stream.uniform(m, 0.0, config.ring_phase as f32),
                log_dt: vec![0.0],
            };
        }
        let omega = match config.omega {
            Omega::Linear => (0..m).map(|j| (j as f64 * PI) as f32).collect(),
            Omega::Random => stream.uniform(m, 0.0, (m as f64 * PI) as f32),
        };
        let [first, last] = config.dt_range.map(|dt| dt.ln() as f32);
        let log_dt = match config.dt {
            StepSize::Scalar => vec![first],
            StepSize::LogUniform => stream.uniform(m, first, last),
        };
        Self { mu: vec![config.mu_init; m], omega, log_dt }
    }
}

/// What [`Eigenvalues::mu`] maps to `mu`.
fn raw_mu(config: &EigenvalueConfig, mu: f64) -> f64 {
    let [low, high] = config.mu_bounds;
    match (config.mu, config.form) {
        // inverse sigmoid of the position between the bounds, inverse softplus of −μ
        (Mu::Bounded, _) => {
            let share = ((mu - low) / (high - low)).clamp(0.01, 0.99);
            (share / (1.0 - share)).ln()
        }
        (_, EigenvalueForm::Decay | EigenvalueForm::Ring) => (-mu).max(1e-4).exp_m1().ln(),
        (_, EigenvalueForm::Zoh) => mu,
    }
}

fn polar(radius: Tensor<1>, phase: Tensor<1>) -> Complex {
    Complex { re: radius.clone() * phase.clone().cos(), im: radius * phase.sin() }
}

/// φ1(x) = (e^x − 1)/x at x = a + ib, without cancellation and without 0/0:
/// expm1(x) = [expm1(a)·cos b − 2 sin²(b/2)] + i·e^a·sin b, and 1 + x/2 + x²/6 below |x| = 1e-2
/// (whose error there is x³/24 < 5e-8).
fn phi1(a: Tensor<1>, b: Tensor<1>) -> Complex {
    let square = a.clone().square() + b.clone().square();
    let small = square.clone().lower_elem(1e-4);
    // both branches are computed: the unused one must stay finite, or its NaN enters the gradient
    let safe = square.mask_fill(small.clone(), 1.0);
    let half = (a.clone() * 0.5).tanh();
    let expm1 = half.clone() * 2.0 / (-half + 1.0); // expm1(a) = 2t/(1 − t), t = tanh(a/2)
    let re = expm1 * b.clone().cos() - (b.clone() * 0.5).sin().square() * 2.0;
    let im = a.clone().exp() * b.clone().sin();
    // (re + i·im) / (a + ib)
    let quotient_re = (re.clone() * a.clone() + im.clone() * b.clone()) / safe.clone();
    let quotient_im = (im * a.clone() - re * b.clone()) / safe;
    let series_re = a.clone() * 0.5 + (a.clone().square() - b.clone().square()) / 6.0 + 1.0;
    let series_im = b.clone() * 0.5 + a * b / 3.0;
    Complex {
        re: quotient_re.mask_where(small.clone(), series_re),
        im: quotient_im.mask_where(small, series_im),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::tiny;
    use crate::test_support::values;
    use rustfft::num_complex::Complex64;

    fn config() -> EigenvalueConfig {
        tiny(crate::config::DynamicsKind::Koopman).model.koopman.eigenvalues
    }

    fn build(config: &EigenvalueConfig, m: usize) -> Discrete {
        Eigenvalues::new(config, m, &mut Stream::new(1, "init"), &crate::device::cpu()).discretise()
    }

    #[test]
    fn phi1_is_accurate_over_sixteen_orders_of_magnitude() {
        let device = crate::device::cpu();
        for e in -12..=1 {
            for (p, q) in [(-1.0, 1.0), (-0.2, 3.0), (0.0, 1.0), (-1.0, 0.0), (0.5, -0.5)] {
                let (a, b) = (p * 10f64.powi(e), q * 10f64.powi(e));
                let (a, b) = (a as f32, b as f32);
                let x = Complex64::new(a.into(), b.into());
                let series = Complex64::ONE + x / 2.0 + x * x / 6.0 + x * x * x / 24.0;
                let expected = if x.norm() < 1e-3 { series } else { (x.exp() - 1.0) / x };
                let got = phi1(Tensor::from_floats([a], &device), Tensor::from_floats([b], &device));
                let got = Complex64::new(values(got.re)[0].into(), values(got.im)[0].into());
                assert!((got - expected).norm() < 1e-6 * expected.norm().max(1e-3), "{x}: {got} {expected}");
            }
        }
    }

    #[test]
    fn zero_eigenvalue_and_zero_step_are_finite_in_value_and_gradient() {
        let zoh = EigenvalueConfig { form: EigenvalueForm::Zoh, mu_init: 0.0, ..config() };
        for (dt, mu_init) in [([1e-30, 1e-30], -0.2), ([0.1, 0.1], 0.0)] {
            let config = EigenvalueConfig { dt_range: dt, mu_init, dt: StepSize::Scalar, ..zoh.clone() };
            let device = crate::device::cpu().autodiff();
            let e = Eigenvalues::new(&config, 3, &mut Stream::new(1, "init"), &device);
            let d = e.discretise();
            let gain = d.gain.unwrap();
            let all = [d.lambda.re, d.lambda.im, gain.re, gain.im];
            let grads = all.iter().cloned().reduce(|a, b| a + b).unwrap().sum().backward();
            assert!(all.into_iter().flat_map(|t| values(t.inner())).all(f32::is_finite));
            for p in [&e.raw_mu, &e.omega, &e.log_dt] {
                assert!(values(p.val().grad(&grads).unwrap()).into_iter().all(f32::is_finite));
            }
        }
    }

    #[test]
    fn zoh_is_the_exponential_of_the_generator() {
        let zoh = EigenvalueConfig {
            form: EigenvalueForm::Zoh,
            mu: Mu::Fixed,
            dt: StepSize::Scalar,
            dt_range: [0.05, 0.05],
            ..config()
        };
        let d = build(&zoh, 4);
        let (re, im) = (values(d.lambda.re), values(d.lambda.im));
        for j in 0..4 {
            let expected = (Complex64::new(-0.2, j as f64 * PI) * 0.05).exp();
            assert!((re[j] as f64 - expected.re).abs() < 1e-6 && (im[j] as f64 - expected.im).abs() < 1e-6);
        }
    }

    #[test]
    fn decay_and_bounds_hold_by_construction() {
        let decay = build(&EigenvalueConfig { mu_init: -0.2, ..config() }, 8);
        let radius = values((decay.lambda.re.square() + decay.lambda.im.square()).sqrt());
        assert!(radius.iter().all(|r| (r - (-0.2f32).exp()).abs() < 1e-5), "{radius:?}");
        assert!(decay.gain.is_none());
        let bounded = EigenvalueConfig { mu: Mu::Bounded, mu_init: -5.0, ..config() };
        let e = Eigenvalues::new(&bounded, 8, &mut Stream::new(1, "init"), &crate::device::cpu());
        assert!(values(e.mu()).iter().all(|mu| (-0.3..=-0.1).contains(mu)));
    }

    /// A ring holds as many eigenvalues inside radius √((a² + b²)/2) as outside, and inputs of variance 1 at every step
    /// give latents of variance γ² Σ |λ̄|^{2k} = 1.
    #[test]
    fn a_ring_is_filled_evenly_and_keeps_the_variance() {
        let ring = EigenvalueConfig {
            form: EigenvalueForm::Ring,
            ring: [0.4, 0.9],
            ring_phase: 0.5,
            dt_training: Training::Learned,
            ..config()
        };
        let e = Eigenvalues::new(&ring, 4000, &mut Stream::new(1, "init"), &crate::device::cpu().autodiff());
        assert!(!e.log_dt.val().is_require_grad() && e.raw_mu.val().is_require_grad());
        let parameters = [&e.raw_mu, &e.omega, &e.log_dt].map(|p| p.val().dims()[0]);
        assert_eq!(parameters.iter().sum::<usize>(), Eigenvalues::count(&ring, 4000));
        let d = e.discretise();
        let (re, im) = (values(d.lambda.re.inner()), values(d.lambda.im.inner()));
        let gain = values(d.gain.unwrap().re.inner());
        let radius: Vec<f32> = re.iter().zip(&im).map(|(re, im)| re.hypot(*im)).collect();
        assert!(radius.iter().all(|r| (0.4 - 1e-5..0.9 + 1e-5).contains(r)));
        let inner = radius.iter().filter(|r| **r < ((0.16f32 + 0.81) / 2.0).sqrt()).count();
        assert!((1800..2200).contains(&inner), "{inner}, six standard deviations of a fair coin are 190");
        for (j, (re, im)) in re.iter().zip(&im).enumerate() {
            let phase = im.atan2(*re);
            assert!((0.0..=0.5 + 1e-5).contains(&phase));
            let variance: f32 = (0..400).map(|k| (gain[j] * radius[j].powi(k)).powi(2)).sum();
            assert!((variance - 1.0).abs() < 1e-3, "mode {j}: {variance}");
        }
    }

    #[test]
    fn fixed_parameters_take_no_gradient() {
        let fixed = EigenvalueConfig {
            mu: Mu::Fixed,
            omega_training: Training::Fixed,
            dt_training: Training::Fixed,
            omega: Omega::Random,
            ..config()
        };
        let e = Eigenvalues::new(&fixed, 4, &mut Stream::new(1, "init"), &crate::device::cpu().autodiff());
        assert!(![&e.raw_mu, &e.omega, &e.log_dt].iter().any(|p| p.val().is_require_grad()));
    }
}
