//! The networks that plans on a GPU need, as plain tensors.

use crate::ops::Activation;
use burn::prelude::*;

/// Weights `[inputs, outputs]` and bias `[outputs]`.
pub(crate) type Linear = (Tensor<2>, Tensor<1>);

/// TD-MPC's networks without gradients. What else there may be has no kernels and plans with plain tensors.
pub(crate) struct Parts {
    pub encoder: Vec<Linear>,
    pub motion: MotionParts,
    pub reward: Vec<Linear>,
    pub policy: Vec<Linear>,
    pub critics: [CriticParts; 2],
}

/// What moves a latent.
pub(crate) enum MotionParts {
    /// z' = MLP([z, a]).
    Mlp(Vec<Linear>),
    /// z' = λ̄ ⊙ z + L̄ [f(a) ⊙ (1 + bound(s(z)))].
    Koopman {
        /// `[2m]`
        lambda: Tensor<1>,
        /// L̄ `[l, 2m]`
        input: Tensor<2>,
        action_encoder: Vec<Linear>,
        /// s, and what bounds it.
        gate: Option<(Vec<Linear>, Activation)>,
        /// Steps for which a gate is held.
        recondition_every: usize,
    },
}

/// A critic: linear, LayerNorm, tanh, linear, ELU, linear.
pub(crate) struct CriticParts {
    pub layers: Vec<Linear>,
    pub gamma: Tensor<1>,
    pub beta: Tensor<1>,
}
