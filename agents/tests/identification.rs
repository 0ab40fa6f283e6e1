//! A known stable linear system is learned: by Koopman dynamics until its eigenvalues are recovered, by all dynamics until
//! they predict it.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;
use std::f32::consts::FRAC_1_SQRT_2;
use td_koopman_agents::config::*;
use td_koopman_agents::device::cpu;
use td_koopman_agents::model::dynamics::Koopman;
use td_koopman_agents::predictor::Predictor;
use td_koopman_agents::rng::Stream;

/// Eigenvalues of the system, one of each conjugate pair: 0.95·e^{0.4i} and 0.8·e^{1.3i}.
const TRUTH: [(f32, f32); 2] = [(0.95, 0.4), (0.8, 1.3)];
const STATES: usize = 4;
const ACTIONS: usize = 1;
const HORIZON: usize = 12;
const BATCH: usize = 64;

/// Linear encoder, Koopman dynamics, linear decoder: the offline model of arXiv 2306.11941 without nonlinearities.
#[derive(Module, Debug)]
struct Model {
    encoder: Linear,
    koopman: Koopman,
    decoder: Linear,
}

fn config(form: EigenvalueForm) -> ModelConfig {
    let mut config = AgentConfig::tiny(DynamicsKind::Koopman).model;
    (config.latent_dim, config.encoder_hidden) = (STATES, vec![]);
    let koopman = &mut config.koopman;
    koopman.eigenvalues = EigenvalueConfig {
        form,
        mu_init: -0.1,
        mu_bounds: [-1.0, 0.0],
        dt: StepSize::Scalar,
        dt_range: [0.25, 0.25],
        dt_training: Training::Fixed,
        ring_phase: 3.0,
        ..koopman.eigenvalues.clone()
    };
    koopman.control = ControlConfig {
        form: ControlForm::Additive,
        conditioning: Conditioning::Start,
        action_hidden: vec![],
        encoded_dim: 4,
        ..koopman.control.clone()
    };
    config.mlp.hidden_dim = 32;
    config.gru = GruConfig { hidden_dim: 32, layers: 1 };
    config.transformer =
        TransformerConfig { width: 32, layers: 1, heads: 2, feed_forward: 32, max_horizon: HORIZON };
    config.dssm =
        DssmConfig { width: 32, modes: 16, layers: 1, eigenvalues: config.koopman.eigenvalues.clone() };
    config
}

/// x' = T R T⁻¹ x + B u with block rotations R and an orthogonal T that mixes all states.
fn simulate(stream: &mut Stream) -> (Tensor<2>, Tensor<3>, Tensor<3>) {
    let s = FRAC_1_SQRT_2;
    let mix = [[s, 0.0, s, 0.0], [0.0, s, 0.0, s], [s, 0.0, -s, 0.0], [0.0, s, 0.0, -s]];
    let push = [1.0, 0.3, -0.5, 0.8];
    let through = |m: &dyn Fn(usize, usize) -> f32, x: [f32; 4]| -> [f32; 4] {
        std::array::from_fn(|i| (0..4).map(|j| m(i, j) * x[j]).sum())
    };
    let (mut first, mut actions, mut states) = (vec![], vec![], vec![]);
    for _ in 0..BATCH {
        let mut y: [f32; 4] = stream.normal(4).try_into().unwrap();
        first.extend(through(&|i, j| mix[i][j], y));
        for u in stream.normal(HORIZON) {
            let before = y;
            for (k, (radius, angle)) in TRUTH.into_iter().enumerate() {
                let (c, d) = (radius * angle.cos(), radius * angle.sin());
                y[2 * k] = c * before[2 * k] - d * before[2 * k + 1] + push[2 * k] * u;
                y[2 * k + 1] = d * before[2 * k] + c * before[2 * k + 1] + push[2 * k + 1] * u;
            }
            actions.push(u);
            states.extend(through(&|i, j| mix[i][j], y));
        }
    }
    let tensor = |v: Vec<f32>, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(v, shape), &cpu());
    (
        tensor(first, [1, BATCH, STATES]).squeeze_dim(0),
        tensor(actions, [BATCH, HORIZON, ACTIONS]),
        tensor(states, [BATCH, HORIZON, STATES]),
    )
}

#[test]
fn eigenvalues_of_a_linear_system_are_recovered() {
    for form in [EigenvalueForm::Decay, EigenvalueForm::Zoh, EigenvalueForm::Ring] {
        let device = cpu().autodiff();
        let mut stream = Stream::new(1, "test");
        device.seed(1); // burn's initialiser of the two linear layers
        let mut model = Model {
            encoder: LinearConfig::new(STATES, STATES).init(&device),
            koopman: Koopman::new(&config(form), ACTIONS, &mut stream, &device),
            decoder: LinearConfig::new(STATES, STATES).init(&device),
        };
        let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
        for step in 0..3000 {
            let (first, actions, states) = simulate(&mut stream);
            let z0 = model.encoder.forward(Tensor::from_inner(first));
            let z = model.koopman.rollout(z0, Tensor::from_inner(actions));
            let error = (model.decoder.forward(z) - Tensor::from_inner(states)).square().mean();
            let gradients = GradientsParams::from_grads(error.backward(), &model);
            let rate = if step < 2000 { 1e-2 } else { 1e-3 };
            model = adam.step(rate, model, gradients);
        }
        let lambda = model.koopman.lambda();
        let re: Vec<f32> = lambda.re.inner().try_into_vec_as().unwrap();
        let im: Vec<f32> = lambda.im.inner().try_into_vec_as().unwrap();
        for (radius, angle) in TRUTH {
            let (a, b) = (radius * angle.cos(), radius * angle.sin());
            // a mode and its conjugate are read out alike
            let distance = |j: usize| (re[j] - a).hypot(im[j].abs() - b);
            let nearest = (0..2).map(distance).fold(f32::MAX, f32::min);
            assert!(nearest < 1e-2, "{form:?}: {radius}·e^{angle}i is {nearest} away from {re:?} + i{im:?}");
        }
    }
}

/// After a short training on rollouts, one step ahead: a tenth of the error of predicting that nothing changes.
#[test]
fn every_dynamics_predicts_a_linear_system_better_than_persistence() {
    for dynamics in DynamicsKind::ALL {
        let device = cpu().autodiff();
        let mut stream = Stream::new(1, "test");
        // with a linear lift and read-out: complex modes cannot mix the states by themselves
        let config = ModelConfig { dynamics, latent_dim: 8, ..config(EigenvalueForm::Decay) };
        let mut model = Predictor::new(&config, STATES, ACTIONS, &mut stream, &device);
        let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
        for _ in 0..300 {
            let (first, actions, states) = simulate(&mut stream);
            let predicted = model.forward(Tensor::from_inner(first), Tensor::from_inner(actions));
            let error = (predicted - Tensor::from_inner(states)).square().mean();
            let gradients = GradientsParams::from_grads(error.backward(), &model);
            model = adam.step(1e-2, model, gradients);
        }
        let (first, actions, states) = simulate(&mut stream);
        let next = states.narrow(1, 0, 1);
        let predicted = model.valid().forward(first.clone(), actions.narrow(1, 0, 1));
        let error = (predicted - next.clone()).square().mean().into_scalar::<f32>();
        let persistence = (first.unsqueeze_dim(1) - next).square().mean().into_scalar::<f32>();
        assert!(error < 0.1 * persistence, "{dynamics:?}: {error}, persistence {persistence}");
    }
}
