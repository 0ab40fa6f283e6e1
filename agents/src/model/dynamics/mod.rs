//! The first seam: latent dynamics. Encoder, heads, losses, replay and planner are the same for all of them.

mod control;
mod eigenvalues;
mod koopman;
mod mlp;

pub use control::Control;
pub use eigenvalues::{Complex, Discrete, Eigenvalues};
pub use koopman::Koopman;
pub use mlp::MlpDynamics;

use crate::config::{DynamicsKind, ModelConfig};
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

    /// z_1 … z_H from `z0 [B, D]` and `actions [B, H, A]`: `[B, H, D]`.
    pub fn rollout(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Koopman(d) => d.rollout(z0, actions),
            Self::Mlp(d) => {
                let [batch, horizon, action_dim] = actions.dims();
                let mut z = z0;
                let mut latents = Vec::with_capacity(horizon);
                for t in 0..horizon {
                    z = d.step(z, actions.clone().narrow(1, t, 1).reshape([batch, action_dim]));
                    latents.push(z.clone());
                }
                Tensor::stack(latents, 1)
            }
        }
    }
}
