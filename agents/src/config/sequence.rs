//! The latent dynamics to compare, and the sizes of those with a memory.

use super::EigenvalueConfig;
use serde::{Deserialize, Serialize};

/// The latent dynamics to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DynamicsKind {
    /// Diagonal complex linear dynamics with control input (arXiv 2306.11941).
    Koopman,
    /// The task-oriented latent dynamics of TD-MPC v1: an MLP on [z, a].
    Mlp,
    /// Gated recurrent units that start at z_0 and read the actions (arXiv 1406.1078).
    Gru,
    /// A causal transformer over z_0, a_0, … a_t (arXiv 1706.03762).
    Transformer,
    /// Layers of diagonal complex state spaces with nonlinearities between them (arXiv 2206.11893).
    Dssm,
}

impl DynamicsKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Koopman, Self::Mlp, Self::Gru, Self::Transformer, Self::Dssm];

    /// Its name in configurations, on the command line and in legends.
    pub fn name(self) -> &'static str {
        match self {
            Self::Koopman => "koopman",
            Self::Mlp => "mlp",
            Self::Gru => "gru",
            Self::Transformer => "transformer",
            Self::Dssm => "dssm",
        }
    }
}

/// Whose number of parameters the dynamics are sized to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchParams {
    /// Nobody's: the sizes are those of the configuration.
    #[default]
    None,
    /// The Koopman dynamics'.
    Koopman,
    /// The MLP's.
    Mlp,
    /// The gated recurrent units'.
    Gru,
    /// The transformer's.
    Transformer,
    /// The diagonal state spaces'.
    Dssm,
}

impl MatchParams {
    /// The dynamics to match.
    pub fn dynamics(self) -> Option<DynamicsKind> {
        match self {
            Self::None => None,
            Self::Koopman => Some(DynamicsKind::Koopman),
            Self::Mlp => Some(DynamicsKind::Mlp),
            Self::Gru => Some(DynamicsKind::Gru),
            Self::Transformer => Some(DynamicsKind::Transformer),
            Self::Dssm => Some(DynamicsKind::Dssm),
        }
    }
}

/// MLP dynamics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Width of both hidden layers; 0 for the model's `hidden_dim`.
    pub hidden_dim: usize,
}

/// Gated recurrent units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GruConfig {
    /// Width W of every layer's hidden state.
    pub hidden_dim: usize,
    /// Layers on top of each other.
    pub layers: usize,
}

/// A causal transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerConfig {
    /// Width W of a token, a multiple of `heads`.
    pub width: usize,
    /// Layers on top of each other.
    pub layers: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Hidden width F of a layer's feed-forward network.
    pub feed_forward: usize,
    /// Longest horizon: there are as many learned positions, and one for z_0.
    pub max_horizon: usize,
}

/// Layers of diagonal state spaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DssmConfig {
    /// Width W of what goes from layer to layer.
    pub width: usize,
    /// Complex modes m of a layer's state.
    pub modes: usize,
    /// Layers on top of each other.
    pub layers: usize,
    /// The spectrum of every layer.
    pub eigenvalues: EigenvalueConfig,
}

impl super::ModelConfig {
    /// The longest rollout that the dynamics allow, where they have one.
    pub fn max_horizon(&self) -> Option<usize> {
        (self.dynamics == DynamicsKind::Transformer).then_some(self.transformer.max_horizon)
    }
}
