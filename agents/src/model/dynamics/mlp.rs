//! TOLD, the latent dynamics of TD-MPC v1: z' = MLP([z, a]), absolute (no residual).

use crate::config::ModelConfig;
use crate::model::init::Init;
use crate::model::mlp::Mlp;
use crate::rng::Stream;
use burn::prelude::*;

/// z' = MLP([z, a]).
#[derive(Module, Debug)]
pub struct MlpDynamics {
    net: Mlp,
}

impl MlpDynamics {
    /// For a latent of `config.latent_dim` and `actions` action dimensions.
    pub fn new(config: &ModelConfig, actions: usize, stream: &mut Stream, device: &Device) -> Self {
        let (latent, hidden) = (config.latent_dim, config.hidden_dim);
        let sizes = [latent + actions, hidden, hidden, latent];
        Self { net: Mlp::new(&sizes, Init::Orthogonal, stream, device) }
    }

    /// One step: `z [R, D]`, `a [R, A]` → `[R, D]`.
    pub fn step(&self, z: Tensor<2>, a: Tensor<2>) -> Tensor<2> {
        self.net.forward(Tensor::cat(vec![z, a], 1))
    }
}
