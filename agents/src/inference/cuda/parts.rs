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
    /// A Koopman latent.
    Koopman(Box<KoopmanParts>),
}

/// z' = λ̄ ⊙ z + L̄ [f(a) ⊙ (1 + bound(s(z)))].
pub(crate) struct KoopmanParts {
    /// `[2m]`
    pub lambda: Tensor<1>,
    /// L̄ `[l, 2m]`
    pub input: Tensor<2>,
    pub action_encoder: Vec<Linear>,
    pub gate: Option<Gate>,
    /// Steps for which a gate is held.
    pub recondition_every: usize,
}

/// s, and what bounds it.
pub(crate) type Gate = (Vec<Linear>, Activation);

/// A critic: linear, LayerNorm, tanh, linear, ELU, linear.
pub(crate) struct CriticParts {
    pub layers: Vec<Linear>,
    pub gamma: Tensor<1>,
    pub beta: Tensor<1>,
}
