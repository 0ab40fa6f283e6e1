//! What keeps latents in bounds.

use super::mlp::{Hidden, Last};
use crate::config::{DynamicsKind, LatentNorm, ModelConfig};
use crate::ops;
use burn::prelude::*;

/// Added to the mean square: a latent of zeros stays one.
pub(crate) const RMS_EPSILON: f64 = 1e-8;

/// The last operation of the encoder, and of dynamics that are no linear system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// None.
    Free,
    /// SimNorm over groups of so many numbers.
    Simplices(usize),
    /// z / RMS(z).
    Sphere,
}

impl Bound {
    /// Of encoded observations.
    pub fn of(config: &ModelConfig) -> Self {
        match config.latent_norm() {
            LatentNorm::Simnorm => Self::Simplices(config.v2.simnorm_group),
            LatentNorm::Rms => Self::Sphere,
            LatentNorm::None | LatentNorm::Auto => Self::Free,
        }
    }

    /// Of predicted latents: the same, but a linear system predicts what it predicts.
    pub fn of_predictions(config: &ModelConfig) -> Self {
        match config.dynamics {
            DynamicsKind::Koopman => Self::Free,
            _ => Self::of(config),
        }
    }

    /// How a network ends whose output goes through this: there is a LayerNorm before SimNorm.
    pub fn last(self, hidden: Hidden) -> Last {
        match self {
            Self::Simplices(_) => Last::Normed,
            Self::Free | Self::Sphere => Last::Linear(hidden.init()),
        }
    }

    /// `[R, D]` → `[R, D]`.
    pub fn apply(self, z: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Free => z,
            Self::Simplices(group) => ops::sim_norm(z, group),
            Self::Sphere => z.clone() / (z.square().mean_dim(1) + RMS_EPSILON).sqrt(),
        }
    }

    /// The same for every step: `[B, T, D]` → `[B, T, D]`.
    pub fn apply_steps(self, z: Tensor<3>) -> Tensor<3> {
        let [batch, steps, latent] = z.dims();
        match self {
            Self::Free => z,
            _ => self.apply(z.reshape([batch * steps, latent])).reshape([batch, steps, latent]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{normal, values};

    #[test]
    fn bounded_latents_lie_where_they_should() {
        let z = normal::<3>([2, 3, 16], 1) * 7.0;
        let sums = values(Bound::Simplices(8).apply_steps(z.clone()));
        assert!(sums.chunks(8).all(|group| (group.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        let lengths = values(Bound::Sphere.apply_steps(z.clone()));
        assert!(lengths.chunks(16).all(|z| (z.iter().map(|x| x * x).sum::<f32>() - 16.0).abs() < 1e-3));
        assert_eq!(values(Bound::Free.apply_steps(z.clone())), values(z));
    }
}
