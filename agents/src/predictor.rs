//! Latent dynamics alone, trained on many steps at once: the model of the paper's training-speed protocol.
//!
//! One iteration is forward, mean squared error against target states and backward, as timed in section 5 of arXiv
//! 2306.11941; no optimiser.

use crate::config::ModelConfig;
use crate::model::{Init, dense, dense_steps, dynamics::Dynamics, linear};
use crate::ops::{Activation, linear_rollout_readout};
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
        let z0 = dense(lift, state, Activation::Identity);
        match self.dynamics.linear(&z0, actions.clone()) {
            Some(rollout) => {
                let bias = read.bias.as_ref().expect("our layers have a bias");
                linear_rollout_readout(rollout, z0, read.weight.val(), bias.val())
            }
            None => dense_steps(read, self.dynamics.rollout(z0, actions), Activation::Identity),
        }
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
        fn normal<const D: usize>(stream: &mut Stream, shape: [usize; D], device: &Device) -> Tensor<D> {
            Tensor::from_data(TensorData::new(stream.normal(shape.iter().product()), shape), device)
        }
        Self {
            predictor,
            state: normal(stream, [batch, states], &device),
            actions: normal(stream, [batch, horizon, actions], &device),
            targets: normal(stream, [batch, horizon, states], &device),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::tiny;
    use crate::config::{ControlForm, DynamicsKind};
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
        for dynamics in DynamicsKind::ALL {
            // a latent of five numbers is the state itself; complex modes need an even one
            let latent = if dynamics == DynamicsKind::Koopman { 16 } else { 5 };
            let stream = &mut Stream::new(1, "init");
            let model = Predictor::new(&model(dynamics, latent), 5, 2, stream, &crate::device::cpu());
            let (state, actions) = (normal::<2>([3, 5], 1), normal::<3>([3, 9, 2], 2));
            let far = model.forward(state.clone(), actions.clone());
            let near = model.forward(state, actions.narrow(1, 0, 4));
            assert!(max_difference(far.narrow(1, 0, 4), near) < 1e-5, "{dynamics:?}");
        }
    }

    /// Rollout and read-out as one operation are the two after each other.
    #[test]
    fn a_linear_rollout_is_predicted_as_before() {
        let config = model(DynamicsKind::Koopman, 16);
        let model = Predictor::new(&config, 5, 2, &mut Stream::new(1, "init"), &crate::device::cpu());
        let (state, actions) = (normal::<2>([3, 5], 1), normal::<3>([3, 9, 2], 2));
        let [lift, read] = model.ends.as_ref().unwrap();
        let z0 = dense(lift, state.clone(), Activation::Identity);
        assert!(model.dynamics.linear(&z0, actions.clone()).is_some());
        let apart = dense_steps(read, model.dynamics.rollout(z0, actions.clone()), Activation::Identity);
        assert!(max_difference(model.forward(state, actions), apart) < 1e-5);
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
}
