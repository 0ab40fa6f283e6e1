//! Latent dynamics alone, trained on many steps at once: the model of the paper's training-speed protocol.
//!
//! One iteration is forward, mean squared error against target states and backward, as timed in section 5 of arXiv
//! 2306.11941; no optimiser.

use crate::config::{DynamicsKind, ModelConfig};
use crate::model::{Init, dynamics::Dynamics, linear};
use crate::ops::{self, Activation};
use crate::rng::Stream;
use burn::nn::Linear;
use burn::prelude::*;

/// States from a first state and actions: lifted to the latent, advanced there, read out linearly.
#[derive(Module, Debug)]
pub struct Predictor {
    /// State → latent and back; none when the dynamics work on the state itself.
    ends: Option<[Linear; 2]>,
    dynamics: Dynamics,
}

impl Predictor {
    /// For `states` and `actions` dimensions; without lift and read-out when `config.latent_dim` equals `states`.
    pub fn new(
        config: &ModelConfig,
        states: usize,
        actions: usize,
        stream: &mut Stream,
        device: &Device,
    ) -> Self {
        let latent = config.latent_dim;
        let mut layer = |inputs, outputs| linear(inputs, outputs, Init::Orthogonal, stream, device);
        let ends = (latent != states).then(|| [layer(states, latent), layer(latent, states)]);
        Self { ends, dynamics: Dynamics::new(config, actions, stream, device) }
    }

    /// s_1 … s_T from `state [B, S]` and `actions [B, T, A]`: `[B, T, S]`.
    pub fn forward(&self, state: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        let Some([lift, read]) = &self.ends else { return self.dynamics.rollout(state, actions) };
        let [batch, states] = state.dims();
        let horizon = actions.dims()[1];
        let z = self.dynamics.rollout(apply(lift, state), actions);
        let rows = z.reshape([(batch * horizon) as i32, -1]);
        apply(read, rows).reshape([batch, horizon, states])
    }
}

/// A predictor with data to train it on.
pub struct Trial {
    predictor: Predictor,
    state: Tensor<2>,
    actions: Tensor<3>,
    targets: Tensor<3>,
}

impl Trial {
    /// Random states `[B, S]`, actions `[B, T, A]` and targets `[B, T, S]`, with `sizes` = `[B, T, S, A]`.
    pub fn new(config: &ModelConfig, sizes: [usize; 4], stream: &mut Stream, device: &Device) -> Self {
        let [batch, horizon, states, actions] = sizes;
        let device = device.clone().autodiff();
        let predictor = Predictor::new(config, states, actions, stream, &device);
        let mut numbers = |size, shape: [usize; 3]| {
            Tensor::<3>::from_data(TensorData::new(stream.normal(size), shape), &device)
        };
        Self {
            predictor,
            state: numbers(batch * states, [1, batch, states]).squeeze_dim(0),
            actions: numbers(batch * horizon * actions, [batch, horizon, actions]),
            targets: numbers(batch * horizon * states, [batch, horizon, states]),
        }
    }

    /// One iteration: the loss, after all gradients were computed.
    pub fn iterate(&self) -> f32 {
        let predicted = self.predictor.forward(self.state.clone(), self.actions.clone());
        let loss = (predicted - self.targets.clone()).square().mean();
        drop(loss.backward());
        loss.into_scalar()
    }
}

fn apply(layer: &Linear, x: Tensor<2>) -> Tensor<2> {
    let bias = layer.bias.as_ref().expect("our layers have a bias");
    ops::dense(x, layer.weight.val(), bias.val(), Activation::Identity)
}

/// Floating-point operations of the matrix products of one iteration of a [`Trial`] of `sizes` = `[B, T, S, A]`;
/// backward costs twice the forward.
pub fn iteration_flops(config: &ModelConfig, sizes: [usize; 4]) -> f64 {
    let [batch, horizon, states, actions] = sizes.map(|n| n as f64);
    let (d, w) = (config.latent_dim as f64, config.hidden_dim as f64);
    let control = &config.koopman.control;
    let step = match config.dynamics {
        DynamicsKind::Mlp => (d + actions) * w + w * w + w * d,
        DynamicsKind::Koopman => {
            let widths = control.action_hidden.iter().chain([&control.encoded_dim]).map(|&w| w as f64);
            let (encoder, l) = widths.fold((0.0, actions), |(sum, inputs), w| (sum + inputs * w, w));
            encoder + l * d + 2.0 * d
        }
    };
    let ends = if d == states { 0.0 } else { states * d };
    6.0 * batch * (horizon * (step + ends) + ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ControlForm;
    use crate::config::tests::tiny;
    use crate::test_support::{max_difference, normal};

    fn model(dynamics: DynamicsKind, latent: usize) -> ModelConfig {
        let mut config = tiny(dynamics).model;
        config.latent_dim = latent;
        config.koopman.control.form = ControlForm::Additive;
        config
    }

    /// Predicting T steps at once is predicting one step T times.
    #[test]
    fn a_prediction_does_not_depend_on_how_far_it_goes() {
        for (dynamics, latent) in [(DynamicsKind::Koopman, 16), (DynamicsKind::Mlp, 5)] {
            let stream = &mut Stream::new(1, "init");
            let model = Predictor::new(&model(dynamics, latent), 5, 2, stream, &crate::device::cpu());
            let (state, actions) = (normal::<2>([3, 5], 1), normal::<3>([3, 9, 2], 2));
            let far = model.forward(state.clone(), actions.clone());
            let near = model.forward(state, actions.narrow(1, 0, 4));
            assert!(max_difference(far.narrow(1, 0, 4), near) < 1e-5, "{dynamics:?}");
        }
    }

    #[test]
    fn the_loss_is_the_mean_squared_error() {
        let config = model(DynamicsKind::Koopman, 16);
        let mut trial = Trial::new(&config, [3, 9, 5, 2], &mut Stream::new(1, "init"), &crate::device::cpu());
        trial.targets = trial.predictor.forward(trial.state.clone(), trial.actions.clone()).detach();
        assert_eq!(trial.iterate(), 0.0);
        trial.targets = trial.targets + 2.0;
        assert!((trial.iterate() - 4.0).abs() < 1e-4);
    }

    /// One step of the MLP at TD-MPC v1's sizes: (56·512 + 512² + 512·50) multiply-adds, six FLOP each in training.
    #[test]
    fn floors_count_every_product_three_times() {
        let mut config = model(DynamicsKind::Mlp, 50);
        config.hidden_dim = 512;
        assert_eq!(
            iteration_flops(&config, [1, 1, 50, 6]),
            6.0 * (56.0 * 512.0 + 512.0 * 512.0 + 512.0 * 50.0)
        );
    }
}
