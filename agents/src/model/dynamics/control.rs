//! The control term: how an action pushes the latent.

use super::eigenvalues::Complex;
use crate::config::{ControlConfig, ControlForm, Precision};
use crate::inference::Network;
#[cfg(any(test, feature = "cuda"))]
use crate::inference::cuda::{Gate, Linear};
use crate::model::init::{Init, orthogonal};
use crate::model::mlp::Mlp;
use crate::ops::Activation;
use crate::rng::Stream;
use burn::module::Param;
use burn::prelude::*;

/// c = L̄ [f(a) ⊙ (1 + tanh s(z))]; without a gate c = L̄ f(a), bilinear c = L̄ [f(a) ⊙ (1 + s(z))] with s affine.
#[derive(Module, Debug)]
pub struct Control {
    /// f: A → l
    action_encoder: Mlp,
    /// L as `[l, 2m]`
    input: Param<Tensor<2>>,
    /// s: 2m → l, starting at zero, i.e. at the additive model
    gate: Option<Mlp>,
    #[module(skip)]
    form: ControlForm,
}

impl Control {
    /// For `latent` = 2m reals and `actions` action dimensions.
    pub fn new(
        config: &ControlConfig,
        latent: usize,
        actions: usize,
        stream: &mut Stream,
        device: &Device,
    ) -> Self {
        let encoded = config.encoded_dim;
        let action_encoder = Mlp::new(&config.encoder_sizes(actions), Init::Orthogonal, stream, device);
        let input = orthogonal(encoded, latent, stream);
        let input = Param::from_data(TensorData::new(input, [encoded, latent]), device);
        let gate = config.gate_sizes(latent).map(|sizes| Mlp::new(&sizes, Init::Zero, stream, device));
        Self { action_encoder, input, gate, form: config.form }
    }

    /// Number of parameters.
    pub(crate) fn count(config: &ControlConfig, latent: usize, actions: usize) -> usize {
        let gate = config.gate_sizes(latent).map_or(0, |sizes| Mlp::count(&sizes));
        Mlp::count(&config.encoder_sizes(actions)) + config.encoded_dim * latent + gate
    }

    pub(super) fn networks_mut(&mut self) -> impl Iterator<Item = &mut Mlp> {
        [Some(&mut self.action_encoder), self.gate.as_mut()].into_iter().flatten()
    }

    /// f(a): `[R, A]` → `[R, l]`.
    pub fn encode(&self, a: Tensor<2>) -> Tensor<2> {
        self.action_encoder.forward(a)
    }

    /// 1 + tanh s(z), or 1 + s(z) of the bilinear form: `[R, 2m]` → `[R, l]`; `None` without a gate.
    pub fn gate(&self, z: Tensor<2>) -> Option<Tensor<2>> {
        self.gate.as_ref().map(|s| s.forward_into(z, self.bound()) + 1.0)
    }

    /// What bounds the gate.
    fn bound(&self) -> Activation {
        match self.form {
            ControlForm::Bilinear => Activation::Identity,
            ControlForm::Additive | ControlForm::Gated => Activation::Tanh,
        }
    }

    /// Whether there is a gate.
    pub fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// Layers of f, and of the gate with what bounds it.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn linears(&self) -> Option<(Vec<Linear>, Option<Gate>)> {
        let gate = match &self.gate {
            Some(s) => Some((s.linears()?, self.bound())),
            None => None,
        };
        Some((self.action_encoder.linears()?, gate))
    }

    /// f, packed for planning.
    pub(crate) fn packed_encoder(&self, precision: Precision) -> Network {
        self.action_encoder.packed(Activation::Identity, precision)
    }

    /// The gate without its 1, packed for planning.
    pub(crate) fn packed_gate(&self, precision: Precision) -> Option<Network> {
        self.gate.as_ref().map(|s| s.packed(self.bound(), precision))
    }

    /// L̄ = gain · L as a real `[l, 2m]` matrix.
    pub fn input_matrix(&self, gain: Option<&Complex>) -> Tensor<2> {
        let input = self.input.val();
        match gain {
            Some(gain) => gain.scale(input),
            None => input,
        }
    }
}

#[cfg(test)]
impl Control {
    /// Gives the gate's last layer weights, which start at zero.
    pub(super) fn open_gate(&mut self, stream: &mut Stream) {
        if let Some(gate) = &mut self.gate {
            gate.set_last(stream);
        }
    }
}
