//! The first seam: latent dynamics. Encoder, heads, losses, replay and planner are the same for all of them.

mod control;
mod dssm;
mod eigenvalues;
mod gru;
mod koopman;
mod mlp;
mod remainder;
#[cfg(test)]
mod tests;
mod transformer;

pub use control::Control;
pub use dssm::Dssm;
pub use eigenvalues::{Complex, Discrete, Eigenvalues};
pub use gru::Gru;
pub use koopman::Koopman;
pub use mlp::MlpDynamics;
pub use remainder::Remainder;
pub use transformer::Transformer;

use crate::config::{Conditioning, DynamicsKind, ModelConfig, Precision};
use crate::inference::Motion;
use crate::model::mlp::Mlp;
use crate::ops::LinearRollout;
use crate::rng::Stream;
use burn::prelude::*;

/// Latent dynamics: z_{t+1} = d(z_0, a_0, … a_t).
///
/// Koopman and MLP dynamics are Markov: z_{t+1} = d(z_t, a_t). The others remember what they read since z_0; with a new
/// z_0 the memory starts anew.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // an agent holds three of them
pub enum Dynamics {
    /// Diagonal complex linear dynamics.
    Koopman(Koopman),
    /// TD-MPC's MLP.
    Mlp(MlpDynamics),
    /// Gated recurrent units.
    Gru(Gru),
    /// A causal transformer.
    Transformer(Transformer),
    /// Layers of diagonal state spaces.
    Dssm(Dssm),
}

/// Where a rollout stands: all that the next step depends on.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // a rollout holds one of them
pub enum State {
    /// z_t of Markov dynamics: `[R, D]`.
    Latent(Tensor<2>),
    /// The hidden state of every recurrent layer: each `[R, ·]`.
    Hidden(Vec<Tensor<2>>),
    /// What every attention layer can look at.
    Attended(Vec<Attended>),
}

/// Keys and values of all tokens so far, W = heads·d: each `[R, heads, tokens, d]`.
#[derive(Clone, Debug)]
pub struct Attended {
    /// What queries are compared with.
    pub keys: Tensor<4>,
    /// What is read there.
    pub values: Tensor<4>,
}

impl Attended {
    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.keys.dims()[2]
    }
}

impl Dynamics {
    /// The dynamics named in the configuration, sized as it says (see [`ModelConfig::matched`]).
    pub fn new(config: &ModelConfig, actions: usize, stream: &mut Stream, device: &Device) -> Self {
        let config = &config.matched(actions);
        match config.dynamics {
            DynamicsKind::Koopman => Self::Koopman(Koopman::new(config, actions, stream, device)),
            DynamicsKind::Mlp => Self::Mlp(MlpDynamics::new(config, actions, stream, device)),
            DynamicsKind::Gru => Self::Gru(Gru::new(config, actions, stream, device)),
            DynamicsKind::Transformer => Self::Transformer(Transformer::new(config, actions, stream, device)),
            DynamicsKind::Dssm => Self::Dssm(Dssm::new(config, actions, stream, device)),
        }
    }

    /// A rollout that stands at `z0 [R, D]`.
    pub fn begin(&self, z0: Tensor<2>) -> State {
        match self {
            Self::Koopman(_) | Self::Mlp(_) => State::Latent(z0),
            Self::Gru(d) => State::Hidden(d.begin(z0)),
            Self::Transformer(d) => State::Attended(d.begin(z0)),
            Self::Dssm(d) => State::Hidden(d.begin(z0)),
        }
    }

    /// One step on with `a [R, A]`: the next latent `[R, D]`, and where the rollout stands then.
    ///
    /// # Panics
    /// If the state was begun by another kind of dynamics.
    pub fn advance(&self, state: State, a: Tensor<2>) -> (Tensor<2>, State) {
        match (self, state) {
            (Self::Koopman(d), State::Latent(z)) => markov(d.step(z, a)),
            (Self::Mlp(d), State::Latent(z)) => markov(d.step(z, a)),
            (Self::Gru(d), State::Hidden(h)) => {
                let (z, h) = d.extend(h, a.unsqueeze_dim(1));
                (z.squeeze_dim(1), State::Hidden(h))
            }
            (Self::Transformer(d), State::Attended(past)) => {
                let (z, seen) = d.extend(past, a.unsqueeze_dim(1));
                (z.squeeze_dim(1), State::Attended(seen))
            }
            (Self::Dssm(d), State::Hidden(s)) => {
                let (z, s) = d.extend(s, a.unsqueeze_dim(1));
                (z.squeeze_dim(1), State::Hidden(s))
            }
            _ => panic!("this state was begun by another kind of dynamics"),
        }
    }

    /// One step without a past: `z [R, D]`, `a [R, A]` → `[R, D]`.
    pub fn step(&self, z: Tensor<2>, a: Tensor<2>) -> Tensor<2> {
        self.advance(self.begin(z), a).0
    }

    /// Numbers about the dynamics for the training record.
    pub fn diagnostics(&self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Koopman(d) => d.diagnostics(),
            _ => Vec::new(),
        }
    }

    /// λ̄ of Koopman dynamics; `None` of others.
    pub fn lambda(&self) -> Option<Complex> {
        match self {
            Self::Koopman(d) => Some(d.lambda()),
            _ => None,
        }
    }

    /// The rollout from `z0 [B, D]` with `actions [B, H, A]` as a linear system, where it is one.
    pub fn linear(&self, z0: &Tensor<2>, actions: Tensor<3>) -> Option<LinearRollout> {
        match self {
            Self::Koopman(d) => d.linear(z0, actions),
            _ => None,
        }
    }

    /// z_1 … z_H from `z0 [B, D]` and `actions [B, H, A]`, as trained: `[B, H, D]`.
    ///
    /// The same as H steps of [`Dynamics::advance`], except for Koopman dynamics with a gate at the start: there each step
    /// taken alone is a start.
    pub fn rollout(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Koopman(d) => d.rollout(z0, actions),
            Self::Mlp(d) => d.rollout(z0, actions),
            Self::Gru(d) => d.extend(d.begin(z0), actions).0,
            Self::Transformer(d) => d.extend(d.begin(z0), actions).0,
            Self::Dssm(d) => d.extend(d.begin(z0), actions).0,
        }
    }

    /// The same while planning: with `gates [B, H, l]` of [`Dynamics::gates`], or step by step.
    pub fn imagine(&self, z0: Tensor<2>, actions: Tensor<3>, gates: Option<Tensor<3>>) -> Tensor<3> {
        match (self, gates) {
            (Self::Koopman(d), Some(gates)) => d.rollout_shared(z0, actions, Some(gates)),
            (Self::Koopman(d), None) => d.rollout_along(z0, actions),
            _ => self.rollout(z0, actions),
        }
    }

    /// The rollout of the linear time-invariant system nearest to the dynamics around these starts, `[B, H, D]`: of
    /// Koopman dynamics that with the mean gate; `None` for others.
    pub fn rollout_linear(&self, z0: Tensor<2>, actions: Tensor<3>) -> Option<Tensor<3>> {
        match self {
            Self::Koopman(d) => Some(d.rollout_mean_gate(z0, actions)),
            _ => None,
        }
    }

    /// What all candidates of a plan share, from `z0 [E, D]` and the nominal plan `[E, H, A]`: gates `[E, H, l]`, or
    /// `None` if every candidate goes its own way.
    pub fn gates(&self, conditioning: Conditioning, z0: Tensor<2>, nominal: Tensor<3>) -> Option<Tensor<3>> {
        match self {
            Self::Koopman(d) => d.gates(conditioning, z0, nominal),
            _ => None,
        }
    }

    /// Its networks; none of dynamics with a memory, whose layers are not such networks.
    pub(crate) fn networks_mut(&mut self) -> Vec<&mut Mlp> {
        match self {
            Self::Koopman(d) => d.networks_mut(),
            Self::Mlp(d) => vec![d.network_mut()],
            Self::Gru(_) | Self::Transformer(_) | Self::Dssm(_) => Vec::new(),
        }
    }

    /// What plans on a GPU need; `None` of dynamics without kernels.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn parts(&self, conditioning: Conditioning) -> Option<crate::inference::cuda::MotionParts> {
        match self {
            Self::Koopman(koopman) => koopman.parts(conditioning),
            Self::Mlp(mlp) => mlp.parts(),
            _ => None,
        }
    }

    /// Packed for planning; `None` for dynamics that plan with plain tensors.
    pub(crate) fn packed(&self, precision: Precision) -> Option<Motion> {
        match self {
            Self::Koopman(d) => Some(Motion::Koopman(d.packed(precision))),
            Self::Mlp(d) => Some(d.packed(precision)),
            Self::Gru(_) | Self::Transformer(_) | Self::Dssm(_) => None,
        }
    }
}

fn markov(z: Tensor<2>) -> (Tensor<2>, State) {
    (z.clone(), State::Latent(z))
}
