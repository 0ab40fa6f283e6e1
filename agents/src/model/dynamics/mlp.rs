//! TOLD, the latent dynamics of TD-MPC v1: z' = MLP([z, a]), absolute (no residual); in TD-MPC2 with normalised layers and
//! latents.

use crate::config::{ModelConfig, Precision};
use crate::inference::Motion;
use crate::model::latent::Bound;
use crate::model::mlp::{Hidden, Mlp};
use crate::ops::Activation;
use crate::rng::Stream;
use burn::prelude::*;

/// z' = MLP([z, a]).
#[derive(Module, Debug)]
pub struct MlpDynamics {
    net: Mlp,
    #[module(skip)]
    bound: Bound,
}

impl MlpDynamics {
    /// For a latent of `config.latent_dim` and `actions` action dimensions.
    pub fn new(config: &ModelConfig, actions: usize, stream: &mut Stream, device: &Device) -> Self {
        let (hidden, bound) = (Hidden::of(config), Bound::of_predictions(config));
        let sizes = Self::sizes(config, actions);
        Self { net: Mlp::build(&sizes, hidden, bound.last(hidden), stream, device), bound }
    }

    pub(super) fn network_mut(&mut self) -> &mut Mlp {
        &mut self.net
    }

    /// Widths from input to output.
    pub(crate) fn sizes(config: &ModelConfig, actions: usize) -> [usize; 4] {
        let hidden = match config.mlp.hidden_dim {
            0 => config.hidden_dim,
            own => own,
        };
        [config.latent_dim + actions, hidden, hidden, config.latent_dim]
    }

    /// Number of parameters.
    pub(crate) fn count(config: &ModelConfig, actions: usize) -> usize {
        let hidden = Hidden::of(config);
        Mlp::count_built(&Self::sizes(config, actions), hidden, Bound::of_predictions(config).last(hidden))
    }

    /// One step: `z [R, D]`, `a [R, A]` → `[R, D]`.
    pub fn step(&self, z: Tensor<2>, a: Tensor<2>) -> Tensor<2> {
        self.bound.apply(self.net.forward(Tensor::cat(vec![z, a], 1)))
    }

    /// z_1 … z_H from `z0 [B, D]` and `actions [B, H, A]`: `[B, H, D]`.
    pub fn rollout(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        let [batch, horizon, action_dim] = actions.dims();
        let mut z = z0;
        let steps = (0..horizon).map(|t| {
            z = self.step(z.clone(), actions.clone().narrow(1, t, 1).reshape([batch, action_dim]));
            z.clone()
        });
        Tensor::stack(steps.collect(), 1)
    }

    /// What plans on a GPU need; `None` of TD-MPC2's.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn parts(&self) -> Option<crate::inference::cuda::MotionParts> {
        let net = self.net.linears().filter(|_| self.bound == Bound::Free)?;
        Some(crate::inference::cuda::MotionParts::Mlp(net))
    }

    /// Packed for planning.
    pub(crate) fn packed(&self, precision: Precision) -> Motion {
        Motion::Mlp(self.net.packed(Activation::Identity, precision), self.bound)
    }
}
