//! State and action encoders, latent dynamics, and what reads states and rewards back.

use crate::config::ModelConfig;
use crate::model::dynamics::{Complex, Dynamics};
use crate::model::{Init, Mlp, Parameters};
use crate::rng::Stream;
use burn::prelude::*;

/// ŝ_k = d(ẑ_k) and r̂_k = R(ẑ_k, u_k), with ẑ_0 = g(s_0) and any of the latent dynamics.
#[derive(Module, Debug)]
pub struct TrajectoryModel {
    encoder: Mlp,
    dynamics: Dynamics,
    decoder: Mlp,
    reward: Mlp,
}

/// What is said of T steps.
pub struct Foretold {
    /// ẑ_1 … ẑ_T: `[B, T, D]`
    pub latents: Tensor<3>,
    /// ŝ_1 … ŝ_T: `[B, T, O]`
    pub states: Tensor<3>,
    /// r̂_0 … r̂_{T−1}: `[B, T]`
    pub rewards: Tensor<2>,
}

/// Widths of encoder, decoder and reward; the decoder is the encoder backwards.
fn sizes(config: &ModelConfig, observations: usize, actions: usize) -> [Vec<usize>; 3] {
    let widths = config.encoder_hidden.iter().copied();
    let encoder: Vec<usize> = [observations].into_iter().chain(widths).chain([config.latent_dim]).collect();
    let decoder = encoder.iter().rev().copied().collect();
    [encoder, decoder, vec![config.latent_dim + actions, config.hidden_dim, 1]]
}

/// Parameters of a model for `observations` and `actions` dimensions.
pub fn count(config: &ModelConfig, observations: usize, actions: usize) -> Parameters {
    let dynamics = Parameters::of(config, observations, actions).dynamics;
    let others: usize = sizes(config, observations, actions).iter().map(|sizes| Mlp::count(sizes)).sum();
    Parameters { dynamics, total: dynamics + others }
}

impl TrajectoryModel {
    /// For `observations` and `actions` dimensions; layers between have ELU, as in TD-MPC.
    pub fn new(
        config: &ModelConfig,
        observations: usize,
        actions: usize,
        stream: &mut Stream,
        device: &Device,
    ) -> Self {
        let [encoder, decoder, reward] = sizes(config, observations, actions);
        let mut net = |sizes: &[usize]| Mlp::new(sizes, Init::Orthogonal, stream, device);
        let (encoder, decoder, reward) = (net(&encoder), net(&decoder), net(&reward));
        // behind them, so that with one seed all other networks start equal whatever the dynamics
        let dynamics = Dynamics::new(config, actions, stream, device);
        Self { encoder, dynamics, decoder, reward }
    }

    /// g(s): `[R, O]` → `[R, D]`.
    pub fn encode(&self, states: Tensor<2>) -> Tensor<2> {
        self.encoder.forward(states)
    }

    /// ẑ_0 … ẑ_T, `[B, 1, D]` and `[B, T, D]`, from `state [B, O]` with `actions [B, T, A]`.
    pub fn latents(&self, state: Tensor<2>, actions: Tensor<3>) -> [Tensor<3>; 2] {
        let z0 = self.encode(state);
        let later = self.dynamics.rollout(z0.clone(), actions);
        [z0.unsqueeze_dim(1), later]
    }

    /// λ̄ of Koopman dynamics; `None` of others.
    pub fn lambda(&self) -> Option<Complex> {
        self.dynamics.lambda()
    }

    /// What `actions [B, T, A]` lead to from `state [B, O]`.
    pub fn forward(&self, state: Tensor<2>, actions: Tensor<3>) -> Foretold {
        let [batch, steps, width] = actions.dims();
        let [z0, latents] = self.latents(state, actions.clone());
        let latent = latents.dims()[2];
        let states = self.decoder.forward(latents.clone().reshape([batch * steps, latent]));
        // the reward of a step is that of the state in which its action was taken
        let before = match steps {
            1 => z0,
            _ => Tensor::cat(vec![z0, latents.clone().narrow(1, 0, steps - 1)], 1),
        };
        let inputs = Tensor::cat(vec![before, actions], 2).reshape([batch * steps, latent + width]);
        let rewards = self.reward.forward(inputs).reshape([batch, steps]);
        Foretold { latents, states: states.reshape([batch as i32, steps as i32, -1]), rewards }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DynamicsKind;
    use crate::config::tests::tiny;
    use crate::learner::read_parameters;
    use crate::test_support::{max_difference, normal};

    /// With any dynamics the first steps do not know what comes behind them, and its parameters are as many as were counted.
    #[test]
    fn a_prediction_is_causal_and_its_parameters_are_counted() {
        for dynamics in DynamicsKind::ALL {
            let config = tiny(dynamics).model;
            let model =
                TrajectoryModel::new(&config, 5, 2, &mut Stream::new(1, "init"), &crate::device::cpu());
            let (state, actions) = (normal::<2>([3, 5], 1), normal::<3>([3, 9, 2], 2));
            let far = model.forward(state.clone(), actions.clone());
            for steps in [1, 4] {
                let near = model.forward(state.clone(), actions.clone().narrow(1, 0, steps));
                assert_eq!(near.states.dims(), [3, steps, 5]);
                assert!(max_difference(far.states.clone().narrow(1, 0, steps), near.states) < 1e-5);
                assert!(max_difference(far.rewards.clone().narrow(1, 0, steps), near.rewards) < 1e-5);
            }
            let held: usize = read_parameters(&model).values().map(|p| p.values.len()).sum();
            let counted = count(&config, 5, 2);
            // eigenvalues that are derived, not held, count as well
            assert!(held.abs_diff(counted.total) <= config.latent_dim, "{dynamics:?}: {held}, {counted:?}");
        }
    }

    /// The reward of step k is read from ẑ_k and u_k: the first one from the state that was given.
    #[test]
    fn the_first_reward_does_not_depend_on_the_dynamics() {
        let reward = |dynamics| {
            let config = tiny(dynamics).model;
            let model =
                TrajectoryModel::new(&config, 5, 2, &mut Stream::new(1, "init"), &crate::device::cpu());
            model.forward(normal::<2>([3, 5], 1), normal::<3>([3, 4, 2], 2)).rewards
        };
        let [a, b] = [DynamicsKind::Koopman, DynamicsKind::Mlp].map(reward);
        assert!(max_difference(a.clone().narrow(1, 0, 1), b.clone().narrow(1, 0, 1)) < 1e-6);
        assert!(max_difference(a, b) > 1e-3);
    }
}
