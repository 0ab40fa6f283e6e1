//! The first seam: latent dynamics. Encoder, heads, losses, replay and planner are the same for all of them.

mod control;
mod eigenvalues;
mod koopman;
mod mlp;

pub use control::Control;
pub use eigenvalues::{Complex, Discrete, Eigenvalues};
pub use koopman::Koopman;
pub use mlp::MlpDynamics;

use crate::config::{Conditioning, DynamicsKind, ModelConfig};
use crate::inference::Motion;
use crate::ops::LinearRollout;
use crate::rng::Stream;
use burn::prelude::*;

/// Latent dynamics: z' = d(z, a).
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // an agent holds three of them
pub enum Dynamics {
    /// Diagonal complex linear dynamics.
    Koopman(Koopman),
    /// TD-MPC's MLP.
    Mlp(MlpDynamics),
}

impl Dynamics {
    /// The dynamics named in the configuration.
    pub fn new(config: &ModelConfig, actions: usize, stream: &mut Stream, device: &Device) -> Self {
        match config.dynamics {
            DynamicsKind::Koopman => Self::Koopman(Koopman::new(config, actions, stream, device)),
            DynamicsKind::Mlp => Self::Mlp(MlpDynamics::new(config, actions, stream, device)),
        }
    }

    /// One step: `z [R, D]`, `a [R, A]` → `[R, D]`.
    pub fn step(&self, z: Tensor<2>, a: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Koopman(d) => d.step(z, a),
            Self::Mlp(d) => d.step(z, a),
        }
    }

    /// Numbers about the dynamics for the training record.
    pub fn diagnostics(&self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Koopman(d) => d.diagnostics(),
            Self::Mlp(_) => Vec::new(),
        }
    }

    /// The rollout from `z0 [B, D]` with `actions [B, H, A]` as a linear system, where it is one.
    pub fn linear(&self, z0: &Tensor<2>, actions: Tensor<3>) -> Option<LinearRollout> {
        match self {
            Self::Koopman(d) => d.linear(z0, actions),
            Self::Mlp(_) => None,
        }
    }

    /// z_1 … z_H from `z0 [B, D]` and `actions [B, H, A]`, as trained: `[B, H, D]`.
    pub fn rollout(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Koopman(d) => d.rollout(z0, actions),
            Self::Mlp(d) => d.rollout(z0, actions),
        }
    }

    /// The same while planning: with `gates [B, H, l]` of [`Dynamics::gates`], or step by step.
    pub fn imagine(&self, z0: Tensor<2>, actions: Tensor<3>, gates: Option<Tensor<3>>) -> Tensor<3> {
        match (self, gates) {
            (Self::Koopman(d), Some(gates)) => d.rollout_shared(z0, actions, Some(gates)),
            (Self::Koopman(d), None) => d.rollout_along(z0, actions),
            (Self::Mlp(d), _) => d.rollout(z0, actions),
        }
    }

    /// What all candidates of a plan share, from `z0 [E, D]` and the nominal plan `[E, H, A]`: gates `[E, H, l]`, or
    /// `None` if every candidate goes its own way.
    pub fn gates(&self, conditioning: Conditioning, z0: Tensor<2>, nominal: Tensor<3>) -> Option<Tensor<3>> {
        match self {
            Self::Koopman(d) => d.gates(conditioning, z0, nominal),
            Self::Mlp(_) => None,
        }
    }

    /// Packed for planning.
    pub(crate) fn packed(&self) -> Motion {
        match self {
            Self::Koopman(d) => Motion::Koopman(d.packed()),
            Self::Mlp(d) => Motion::Mlp(d.packed()),
        }
    }
}
