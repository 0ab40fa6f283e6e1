//! Fitting a [`TrajectoryModel`] to windows of recorded episodes, and its errors by depth.

use super::model::TrajectoryModel;
use super::recording::{Recording, Windows};
use crate::config::ModelConfig;
use crate::learner::{Adam, Parameter, ParameterError, read_parameters, write_parameters};
use crate::rng::Stream;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Windows that are predicted at once when errors are measured.
const TESTED_AT_ONCE: usize = 250;

/// How a model is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Updates.
    pub updates: u64,
    /// Steps T that are predicted in training.
    pub horizon: usize,
    /// The same for MLP dynamics.
    pub mlp_horizon: usize,
    /// Steps of an update, B·T: shorter windows are more.
    pub steps_per_update: usize,
    /// Adam's learning rate at first; it falls linearly to 0.
    pub learning_rate: f64,
    /// Adam's ε.
    pub adam_epsilon: f64,
    /// Gradients are scaled down to this global norm.
    pub max_gradient_norm: f64,
    /// Weight of ‖ẑ_k − g(s_k)‖² beside that of states, which is 1.
    pub consistency_coef: f64,
    /// Weight of the error of rewards.
    pub reward_coef: f64,
}

/// Numbers of an observation, of an action, of a window's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// O
    pub observations: usize,
    /// A
    pub actions: usize,
    /// T, in training.
    pub horizon: usize,
}

/// A model that is being fitted.
pub struct Trainer {
    config: TrainingConfig,
    sizes: Sizes,
    model: TrajectoryModel,
    adam: Adam,
    /// Which windows come next.
    stream: Stream,
    updates: u64,
    device: Device,
}

/// Everything a [`Trainer`] needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerState {
    /// Updates made.
    pub updates: u64,
    /// Where the draws of windows stand.
    pub stream: Stream,
    /// Networks as `model.…`, moments as `adam.…`.
    pub parameters: BTreeMap<String, Parameter>,
}

/// Means over the windows of an update, their steps and, where there are several, numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateLosses {
    /// (ŝ_k − s_k)²
    pub state: f32,
    /// (ẑ_k − g(s_k))²
    pub consistency: f32,
    /// (r̂_k − r_k)²
    pub reward: f32,
}

/// Mean squared errors by depth, in the units of what was learned from.
#[derive(Clone, Debug, PartialEq)]
pub struct Errors {
    /// Of ŝ_1 … ŝ_T, mean over windows and numbers of a state.
    pub state: Vec<f64>,
    /// Of r̂_0 … r̂_{T−1}.
    pub reward: Vec<f64>,
}

impl Trainer {
    /// A fresh one. Networks and draws come from streams of `seed`.
    pub fn new(
        model: &ModelConfig,
        config: &TrainingConfig,
        sizes: Sizes,
        seed: u64,
        device: &Device,
    ) -> Self {
        let device = device.clone().autodiff();
        let mut init = Stream::new(seed, "init");
        let model = TrajectoryModel::new(model, sizes.observations, sizes.actions, &mut init, &device);
        let adam = Adam::new(config.learning_rate, config.adam_epsilon, config.max_gradient_norm);
        let stream = Stream::new(seed, "windows");
        Self { config: config.clone(), sizes, model, adam, stream, updates: 0, device }
    }

    /// Updates made.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// One step of Adam on windows of `recording`, which is in the units that are to be predicted.
    ///
    /// # Panics
    /// If no episode is as long as a window, see [`Recording::require_windows`].
    pub fn update(&mut self, recording: &Recording) -> UpdateLosses {
        let horizon = self.sizes.horizon;
        let size = self.config.steps_per_update.div_ceil(horizon);
        let windows = recording.windows(size, horizon, &mut self.stream);
        let left = 1.0 - self.updates as f64 / self.config.updates as f64;
        self.adam.learn_at(self.config.learning_rate * left.max(0.0));
        let [states, consistency, rewards] = losses(&self.model, &windows, self.sizes, &self.device);
        let loss = states.clone()
            + consistency.clone() * self.config.consistency_coef
            + rewards.clone() * self.config.reward_coef;
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        self.model = self.adam.step(self.model.clone(), gradients).0;
        self.updates += 1;
        let numbers = Tensor::cat(vec![states, consistency, rewards], 0).inner();
        let numbers: Vec<f32> = numbers.try_into_vec_as().expect("losses are f32");
        UpdateLosses { state: numbers[0], consistency: numbers[1], reward: numbers[2] }
    }

    /// Errors of what is predicted of `windows`, by depth.
    pub fn errors(&self, windows: &Windows) -> Errors {
        let (model, t) = (self.model(), windows.horizon);
        let mut errors = Errors { state: vec![0.0; t], reward: vec![0.0; t] };
        for given in self.in_parts(windows) {
            let Given { first, actions, states, rewards } = given;
            let foretold = model.forward(first, actions);
            let sums = |squares: Tensor<2>, to: &mut [f64]| {
                let sums = squares.sum_dim(0).try_into_vec_as::<f32>().expect("errors are f32");
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to += f64::from(sum));
            };
            sums((foretold.states - states).square().mean_dim(2).squeeze_dim(2), &mut errors.state);
            sums((foretold.rewards - rewards).square(), &mut errors.reward);
        }
        for sum in errors.state.iter_mut().chain(&mut errors.reward) {
            *sum /= windows.size as f64;
        }
        errors
    }

    /// Windows as tensors without gradients, some at a time.
    pub(super) fn in_parts(&self, windows: &Windows) -> impl Iterator<Item = Given> {
        let [o, a, t] = [self.sizes.observations, self.sizes.actions, windows.horizon];
        (0..windows.size).step_by(TESTED_AT_ONCE).map(move |first| {
            let size = TESTED_AT_ONCE.min(windows.size - first);
            let part = |numbers: &[f32], width: usize| numbers[first * width..][..size * width].to_vec();
            let windows = Windows {
                size,
                horizon: t,
                observations: part(&windows.observations, (t + 1) * o),
                actions: part(&windows.actions, t * a),
                rewards: part(&windows.rewards, t),
            };
            Given::of(&windows, self.sizes, &self.device.clone().inner())
        })
    }

    /// The model as it is, without gradients.
    pub(super) fn model(&self) -> TrajectoryModel {
        self.model.valid()
    }

    /// Everything that is needed to go on.
    pub fn export(&self) -> TrainerState {
        let named = |prefix: &'static str| move |(name, p)| (format!("{prefix}.{name}"), p);
        let (_, moments) = self.adam.export();
        let parameters = read_parameters(&self.model.valid()).into_iter().map(named("model"));
        let parameters = parameters.chain(moments.into_iter().map(named("adam"))).collect();
        TrainerState { updates: self.updates, stream: self.stream.clone(), parameters }
    }

    /// Goes on from what [`Trainer::export`] gave.
    ///
    /// # Errors
    /// The parameters are those of another model.
    pub fn import(&mut self, saved: &TrainerState) -> Result<(), ParameterError> {
        let part = |prefix: &str| -> BTreeMap<String, Parameter> {
            let own =
                |(name, p): (&String, &Parameter)| Some((name.strip_prefix(prefix)?.to_owned(), p.clone()));
            saved.parameters.iter().filter_map(own).collect()
        };
        self.model = write_parameters(self.model.clone(), &part("model."))?;
        self.adam.import(saved.updates, &part("adam."), &self.device.clone().inner());
        (self.updates, self.stream) = (saved.updates, saved.stream.clone());
        Ok(())
    }
}

/// Windows as tensors.
pub(super) struct Given {
    /// s_0: `[B, O]`
    pub first: Tensor<2>,
    /// `[B, T, A]`
    pub actions: Tensor<3>,
    /// s_1 … s_T: `[B, T, O]`
    pub states: Tensor<3>,
    /// `[B, T]`
    pub rewards: Tensor<2>,
}

impl Given {
    fn of(windows: &Windows, sizes: Sizes, device: &Device) -> Self {
        let (b, t) = (windows.size, windows.horizon);
        let steps = |numbers: &[f32], shape: [usize; 3]| {
            Tensor::<3>::from_data(TensorData::new(numbers.to_vec(), shape), device)
        };
        let all = steps(&windows.observations, [b, t + 1, sizes.observations]);
        Self {
            first: all.clone().narrow(1, 0, 1).squeeze_dim(1),
            actions: steps(&windows.actions, [b, t, sizes.actions]),
            states: all.narrow(1, 1, t),
            rewards: Tensor::from_data(TensorData::new(windows.rewards.clone(), [b, t]), device),
        }
    }
}

/// L_state, L_cons and that of rewards, means over everything: `[1]` each. The latents that predicted ones are to meet are
/// trained as well: the encoder is to find coordinates in which the dynamics hold.
fn losses(model: &TrajectoryModel, windows: &Windows, sizes: Sizes, device: &Device) -> [Tensor<1>; 3] {
    let Given { first, actions, states, rewards } = Given::of(windows, sizes, device);
    let (b, t) = (windows.size, windows.horizon);
    let foretold = model.forward(first, actions);
    let met = model.encode(states.clone().reshape([b * t, sizes.observations]));
    let latents = foretold.latents.reshape(met.dims());
    [
        (foretold.states - states).square().mean(),
        (latents - met).square().mean(),
        (foretold.rewards - rewards).square().mean(),
    ]
}

/// Errors of the prediction that nothing changes: the state stays, its reward is the mean, 0.
pub fn persistence(windows: &Windows, observations: usize) -> Errors {
    let (t, o) = (windows.horizon, observations);
    let mut errors = Errors { state: vec![0.0; t], reward: vec![0.0; t] };
    for b in 0..windows.size {
        let window = &windows.observations[b * (t + 1) * o..][..(t + 1) * o];
        for k in 0..t {
            let later = &window[(k + 1) * o..][..o];
            let squares = window.iter().zip(later).map(|(&s, &x)| f64::from(x - s).powi(2));
            errors.state[k] += squares.sum::<f64>() / (o * windows.size) as f64;
            errors.reward[k] += f64::from(windows.rewards[b * t + k]).powi(2) / windows.size as f64;
        }
    }
    errors
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::tests::tiny;
    use crate::config::{ControlForm, DynamicsKind};
    use crate::replay::Episode;

    const SIZES: Sizes = Sizes { observations: 2, actions: 1, horizon: 8 };

    fn config(updates: u64) -> TrainingConfig {
        TrainingConfig {
            updates,
            horizon: 8,
            mlp_horizon: 8,
            steps_per_update: 256,
            learning_rate: 3e-3,
            adam_epsilon: 1e-8,
            max_gradient_norm: 10.0,
            consistency_coef: 1.0,
            reward_coef: 1.0,
        }
    }

    /// A damped rotation that is pushed; the reward is its second number less the action.
    pub fn recording() -> Recording {
        let mut stream = Stream::new(1, "test");
        let episode = |_| {
            let mut s = [stream.normal(1)[0], stream.normal(1)[0]];
            let mut episode = Episode::start(&s);
            for u in stream.normal(30) {
                let reward = s[1] - u;
                s = [0.9 * (0.95 * s[0] - 0.3 * s[1]) + 0.2 * u, 0.9 * (0.3 * s[0] + 0.95 * s[1])];
                episode.push(&[u], reward, &s);
            }
            episode
        };
        Recording { observation_dim: 2, action_dim: 1, episodes: (0..20).map(episode).collect() }
    }

    pub fn trainer(dynamics: DynamicsKind, updates: u64) -> Trainer {
        let mut model = tiny(dynamics).model;
        model.koopman.control.form = ControlForm::Additive;
        Trainer::new(&model, &config(updates), SIZES, 1, &crate::device::cpu())
    }

    /// Of a known linear system with a reward that is linear, after a short training: a small part of what is to be explained,
    /// on episodes that were not learned from, at all depths.
    #[test]
    fn a_linear_system_is_foretold_by_all_dynamics() {
        let [train, test] = recording().split(0.2, &mut Stream::new(1, "split")).unwrap();
        let scale = train.scale();
        let [train, test] = [train, test].map(|part| part.standardised(&scale));
        let windows = test.windows(300, 8, &mut Stream::new(2, "test"));
        let nothing = persistence(&windows, 2);
        for dynamics in DynamicsKind::ALL {
            let mut trainer = trainer(dynamics, 400);
            let first = trainer.update(&train);
            for _ in 1..400 {
                trainer.update(&train);
            }
            let last = trainer.update(&train);
            assert!(
                last.state < 0.1 * first.state && last.reward < 0.1 * first.reward,
                "{dynamics:?}: {last:?}"
            );
            let errors = trainer.errors(&windows);
            for k in 0..8 {
                assert!(errors.state[k] < 0.1 * nothing.state[k], "{dynamics:?}, {k}: {errors:?}");
                assert!(errors.reward[k] < 0.1 * nothing.reward[k], "{dynamics:?}, {k}: {errors:?}");
            }
        }
    }

    /// Errors are those of the losses: of the windows an update was made of, before it.
    #[test]
    fn errors_are_means_by_depth_of_what_is_learned_from() {
        let recording = recording();
        let mut trainer = trainer(DynamicsKind::Gru, 10);
        // more than are predicted at once, and not a multiple of them
        let windows = recording.windows(TESTED_AT_ONCE + 7, 8, &mut Stream::new(3, "test"));
        let [state, _, reward] = losses(&trainer.model, &windows, SIZES, &trainer.device);
        let errors = trainer.errors(&windows);
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / 8.0;
        let near = |a: f64, b: Tensor<1>| (a / f64::from(b.into_scalar::<f32>()) - 1.0).abs() < 1e-4;
        assert!(near(mean(&errors.state), state) && near(mean(&errors.reward), reward));
        trainer.update(&recording);
        assert_ne!(trainer.errors(&windows), errors);
    }

    #[test]
    fn nothing_changes_and_the_reward_is_the_mean() {
        let windows = Windows {
            size: 2,
            horizon: 2,
            observations: vec![0.0, 0.0, 1.0, 0.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            actions: vec![0.0; 4],
            rewards: vec![1.0, 2.0, 3.0, 0.0],
        };
        // depth 1: (1 + 0)/2 and 0; depth 2: (9 + 16)/2 and 0; over two windows
        assert_eq!(persistence(&windows, 2), Errors { state: vec![0.25, 6.25], reward: vec![5.0, 2.0] });
    }

    #[test]
    fn a_trainer_that_was_saved_goes_on_as_if_it_had_not_been() {
        let recording = recording();
        let mut whole = trainer(DynamicsKind::Koopman, 6);
        let mut saved = None;
        for update in 0..6 {
            if update == 3 {
                saved = Some(whole.export());
            }
            whole.update(&recording);
        }
        let mut resumed = trainer(DynamicsKind::Koopman, 6);
        resumed.import(&saved.unwrap()).unwrap();
        assert_eq!(resumed.updates(), 3);
        for _ in 3..6 {
            resumed.update(&recording);
        }
        assert_eq!(resumed.export(), whole.export());
        let error = trainer(DynamicsKind::Gru, 6).import(&whole.export()).unwrap_err();
        assert!(matches!(error, ParameterError::Missing(_)), "{error}");
    }
}
