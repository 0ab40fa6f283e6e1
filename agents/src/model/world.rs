//! The world model: encoder, latent dynamics, reward, critics and policy prior, of either recipe.

use super::critics::{Codec, Pick};
use super::dynamics::Dynamics;
use super::init::Init;
use super::latent::Bound;
use super::mlp::{Critic, Hidden, Last, Mlp};
use super::policy::{self, Drawn};
#[cfg(any(test, feature = "cuda"))]
use crate::config::Conditioning;
use crate::config::{Continuation, ModelConfig, Precision, Recipe, StateDecoder};
#[cfg(any(test, feature = "cuda"))]
use crate::inference::cuda::Parts;
use crate::inference::{Head, Packed, Policy};
use crate::ops::Activation;
use crate::rng::Stream;
use burn::prelude::*;

/// All networks of an agent.
#[derive(Module, Debug)]
pub struct World {
    encoder: Mlp,
    /// z' = d(z, a).
    pub dynamics: Dynamics,
    reward: Mlp,
    /// The Q functions.
    pub critics: Vec<Critic>,
    /// The policy prior π; trained apart from the rest.
    pub policy: Mlp,
    /// Whether an episode goes on, where it may end.
    continuation: Option<Mlp>,
    /// What the observation was.
    decoder: Option<Mlp>,
    #[module(skip)]
    bound: Bound,
    #[module(skip)]
    codec: Codec,
    #[module(skip)]
    actor: Actor,
}

/// What the policy's numbers mean.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Actor {
    /// The action before tanh; noise is added behind it (TD-MPC).
    Deterministic,
    /// A squashed Gaussian (TD-MPC2).
    Gaussian {
        /// Of the logarithm of its standard deviation.
        log_std_range: [f64; 2],
    },
}

/// Widths of the networks that every dynamics share.
pub(super) struct Sizes {
    pub encoder: Vec<usize>,
    pub reward: [usize; 4],
    pub critic: [usize; 3],
    pub policy: [usize; 4],
    pub continuation: Option<[usize; 4]>,
    pub decoder: Option<[usize; 2]>,
}

impl Sizes {
    pub fn of(config: &ModelConfig, observations: usize, actions: usize) -> Self {
        let (latent, hidden) = (config.latent_dim, config.hidden_dim);
        let outputs = Codec::of(config).outputs();
        let policy = match config.recipe {
            Recipe::V1 => actions,
            Recipe::V2 => 2 * actions,
        };
        let encoder = [observations].into_iter().chain(config.encoder_hidden.iter().copied());
        Self {
            encoder: encoder.chain([latent]).collect(),
            reward: [latent + actions, hidden, hidden, outputs],
            critic: [latent + actions, hidden, outputs],
            policy: [latent, hidden, hidden, policy],
            continuation: (config.continuation == Continuation::On).then_some([latent, hidden, hidden, 1]),
            decoder: (config.state_decoder == StateDecoder::Linear).then_some([latent, observations]),
        }
    }
}

impl World {
    /// For `observations` and `actions` dimensions.
    pub fn new(
        config: &ModelConfig,
        observations: usize,
        actions: usize,
        stream: &mut Stream,
        device: &Device,
    ) -> Self {
        let sizes = Sizes::of(config, observations, actions);
        let (hidden, bound) = (Hidden::of(config), Bound::of(config));
        let mut net = |sizes: &[usize], last| Mlp::build(sizes, hidden, last, stream, device);
        let encoder = net(&sizes.encoder, bound.last(hidden));
        let reward = net(&sizes.reward, Last::Linear(Init::Zero));
        let critics =
            (0..config.critics()).map(|_| Critic::new(sizes.critic, hidden, stream, device)).collect();
        let mut net = |sizes: &[usize], last| Mlp::build(sizes, hidden, last, stream, device);
        let policy = net(&sizes.policy, Last::Linear(hidden.init()));
        // behind them, so that with one seed all other networks start equal whatever the dynamics
        let dynamics = Dynamics::new(config, actions, stream, device);
        let continuation = sizes
            .continuation
            .map(|sizes| Mlp::build(&sizes, hidden, Last::Linear(Init::Zero), stream, device));
        let decoder = sizes
            .decoder
            .map(|sizes| Mlp::build(&sizes, hidden, Last::Linear(Init::Orthogonal), stream, device));
        let actor = match config.recipe {
            Recipe::V1 => Actor::Deterministic,
            Recipe::V2 => Actor::Gaussian { log_std_range: config.v2.log_std_range },
        };
        let codec = Codec::of(config);
        Self { encoder, dynamics, reward, critics, policy, continuation, decoder, bound, codec, actor }
    }

    /// The same whose products, and those of its gradients, multiply such numbers; of dynamics with a memory in the other networks
    /// only. Planning with packed networks has a precision of its own.
    pub fn multiplying_in(mut self, precision: Precision) -> Self {
        let mut networks = self.dynamics.networks_mut();
        networks.extend([&mut self.encoder, &mut self.reward, &mut self.policy]);
        networks.extend(self.continuation.iter_mut().chain(&mut self.decoder));
        networks.into_iter().for_each(|net| net.multiply_in(precision));
        self.critics.iter_mut().for_each(|critic| critic.multiply_in(precision));
        self
    }

    /// `[R, O]` → `[R, D]`.
    pub fn encode(&self, observations: Tensor<2>) -> Tensor<2> {
        self.bound.apply(self.encoder.forward(observations))
    }

    /// What the observation was at `z [R, D]`: `[R, O]`; `None` without a decoder.
    pub fn decode(&self, z: Tensor<2>) -> Option<Tensor<2>> {
        self.decoder.as_ref().map(|net| net.forward(z))
    }

    /// How outputs of the reward and of critics are numbers.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// The reward head's output for `za [R, D + A]` = [z, a]: `[R, outputs]`.
    pub fn reward_output(&self, za: Tensor<2>) -> Tensor<2> {
        self.reward.forward(za)
    }

    /// r̂(z, a) of `za [R, D + A]` = [z, a]: `[R]`.
    pub fn reward(&self, za: Tensor<2>) -> Tensor<1> {
        self.codec.read(self.reward_output(za))
    }

    /// The value of `za [R, D + A]` = [z, a] by the picked critics: `[R]`.
    pub fn value(&self, za: Tensor<2>, pick: Pick) -> Tensor<1> {
        pick.value(&self.critics, &self.codec, za)
    }

    /// How surely an episode goes on from `z [R, D]`, as a logit `[R]`; `None` if it always does.
    pub fn continuation(&self, z: Tensor<2>) -> Option<Tensor<1>> {
        self.continuation.as_ref().map(|net| net.forward(z).squeeze_dim(1))
    }

    /// The critics and policy as seen by the policy loss: gradients pass through the critics, not into them.
    pub fn with_frozen_critics(&self) -> Self {
        let mut frozen = self.clone();
        frozen.critics = frozen.critics.into_iter().map(Module::no_grad).collect();
        frozen
    }

    /// The policy's action at `z [R, D]` for noise `[R, A]`, inside ±1: `[R, A]`.
    ///
    /// Of TD-MPC tanh π(z) plus the noise, which is clipped and scaled already; of TD-MPC2 a draw from a squashed Gaussian
    /// with this standard normal noise.
    pub fn act(&self, z: Tensor<2>, noise: Tensor<2>) -> Tensor<2> {
        match self.actor {
            Actor::Deterministic => {
                straight_through_clamp(self.policy.forward_into(z, Activation::Tanh) + noise)
            }
            Actor::Gaussian { log_std_range } => {
                policy::draw(self.policy.forward(z), noise, log_std_range).action
            }
        }
    }

    /// The same with its probability.
    ///
    /// # Panics
    /// If the policy is deterministic.
    pub fn draw(&self, z: Tensor<2>, noise: Tensor<2>) -> Drawn {
        let Actor::Gaussian { log_std_range } = self.actor else {
            panic!("a deterministic policy draws nothing")
        };
        policy::draw(self.policy.forward(z), noise, log_std_range)
    }

    /// What plans on a GPU need, where gates see latents as `conditioning` says; `None` of networks without kernels.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn parts(&self, conditioning: Conditioning) -> Option<Parts> {
        let Actor::Deterministic = self.actor else { return None };
        let [first, second] = &self.critics[..] else { return None };
        if self.bound != Bound::Free || self.continuation.is_some() {
            return None;
        }
        Some(Parts {
            encoder: self.encoder.linears()?,
            motion: self.dynamics.parts(conditioning)?,
            reward: self.reward.linears()?,
            policy: self.policy.linears()?,
            critics: [first.parts()?, second.parts()?],
        })
    }

    /// Packed for planning on a CPU; `None` if something has no packed form.
    pub(crate) fn packed(&self, precision: Precision) -> Option<Packed> {
        let policy = match self.actor {
            Actor::Deterministic => Policy::Deterministic(self.policy.packed(Activation::Tanh, precision)),
            Actor::Gaussian { log_std_range } => Policy::Gaussian(
                self.policy.packed(Activation::Identity, precision),
                log_std_range.map(|x| x as f32),
            ),
        };
        Some(Packed {
            latent: self.encoder.outputs(),
            motion: self.dynamics.packed(precision)?,
            reward: Head::new(self.reward.packed(Activation::Identity, precision), &self.codec),
            critics: self
                .critics
                .iter()
                .map(|critic| Head::new(critic.packed(precision), &self.codec))
                .collect(),
            policy,
            continuation: self.continuation.as_ref().map(|net| net.packed(Activation::Identity, precision)),
        })
    }
}

/// Bound of the policy's actions.
pub(crate) const ACTION_BOUND: f32 = 1.0 - 1e-6;

/// Clamp to ±(1 − 1e-6) whose gradient is 1 everywhere (TD-MPC's `TruncatedNormal._clamp`).
fn straight_through_clamp(x: Tensor<2>) -> Tensor<2> {
    let clamped = x.clone().detach().clamp(-ACTION_BOUND, ACTION_BOUND);
    x.clone() - x.detach() + clamped
}

#[cfg(test)]
impl World {
    /// Gives the layers that start at zero random weights: heads of reward, critics and continuation, and the gate.
    pub(crate) fn open(&mut self, stream: &mut Stream) {
        self.reward.set_last(stream);
        self.critics.iter_mut().for_each(|critic| critic.set_last(stream));
        if let Dynamics::Koopman(koopman) = &mut self.dynamics {
            koopman.open_gate(stream);
        }
        if let Some(net) = &mut self.continuation {
            net.set_last(stream);
        }
    }

    /// Makes the continuation this logit everywhere, or takes it away.
    pub(crate) fn set_continuation(&mut self, logit: Option<f32>) {
        match (logit, &mut self.continuation) {
            (Some(logit), Some(net)) => net.set_last_constant(logit),
            (_, net) => *net = None,
        }
    }

    /// Makes every value of a critic a NaN.
    pub(crate) fn break_critic(&mut self, index: usize) {
        self.critics[index].set_nan();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, tests::tiny, tests::tiny_of_both};
    use crate::learner::read_parameters;
    use crate::test_support::{max_difference, normal, values};

    fn world(config: &ModelConfig) -> World {
        World::new(config, 4, 2, &mut Stream::new(1, "init"), &crate::device::cpu())
    }

    /// "Everything else equal" begins with the initial weights.
    #[test]
    fn networks_other_than_the_dynamics_start_equal() {
        let [a, rest @ ..] = DynamicsKind::ALL.map(|d| read_parameters(&world(&tiny(d).model)));
        let others: Vec<_> = a.keys().filter(|name| !name.starts_with("dynamics")).collect();
        assert!(others.len() > 20);
        assert!(rest.iter().all(|b| others.iter().all(|&name| a[name] == b[name])));
    }

    /// Of either recipe: heads start at zero, so rewards and values do, and episodes go on.
    #[test]
    fn everything_is_worth_nothing_at_first() {
        for mut config in DynamicsKind::ALL.into_iter().flat_map(tiny_of_both) {
            config.model.continuation = Continuation::On;
            let w = world(&config.model);
            let z = w.encode(normal::<2>([5, 4], 2));
            let za = Tensor::cat(vec![z.clone(), w.act(z.clone(), normal::<2>([5, 2], 3) * 0.1)], 1);
            let numbers = [w.reward(za.clone()), w.value(za, Pick::SMALLER), w.continuation(z).unwrap()];
            assert!(numbers.into_iter().flat_map(values).all(|x| x.abs() < 1e-5), "{config:?}");
        }
    }

    #[test]
    fn the_clamp_of_actions_passes_gradients_straight_through() {
        let w = {
            let device = crate::device::cpu().autodiff();
            World::new(&tiny(DynamicsKind::Mlp).model, 4, 2, &mut Stream::new(1, "init"), &device)
        };
        let z = Tensor::from_inner(normal::<2>([3, 16], 1));
        let far = Tensor::from_inner(Tensor::full([3, 2], 5.0, &crate::device::cpu())).require_grad();
        let action = w.act(z, far.clone());
        let grads = action.clone().sum().backward();
        assert!(action.inner().lower_equal_elem(1.0).all().into_scalar::<bool>());
        assert!(
            max_difference(far.grad(&grads).unwrap(), Tensor::ones([3, 2], &crate::device::cpu())) == 0.0
        );
    }
}
