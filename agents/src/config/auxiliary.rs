//! What keeps a latent from collapsing to what is easy to predict.

use serde::{Deserialize, Serialize};

/// What the error of a predicted latent is measured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Its own units: published.
    #[default]
    Absolute,
    /// How far latents have moved since the start of the sequence, on average over the batch.
    Relative,
}

/// Whether observations are read back from latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateDecoder {
    /// They are not: published.
    #[default]
    None,
    /// By a single layer.
    Linear,
}

/// Weights of further losses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxiliaryConfig {
    /// Of the squared error of observations read back from ẑ_0 … ẑ_H, with a `state_decoder`.
    pub state_coef: f64,
    /// Of VICReg's variance term of z_0.
    pub variance_coef: f64,
    /// Of VICReg's covariance term of z_0.
    pub covariance_coef: f64,
}
