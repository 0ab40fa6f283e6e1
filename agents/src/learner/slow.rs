//! What follows the online networks slowly.

use super::parameters::{Parameter, ParameterError, move_towards, read_parameters, write_parameters};
use crate::config::Recipe;
use crate::model::{Critic, World};
use burn::prelude::*;
use std::collections::BTreeMap;

/// Name of the scale among saved parameters.
const SCALE: &str = "value_scale";

/// Slow targets, without gradients.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // a learner holds one of them
pub(super) enum Slow {
    /// TD-MPC's: the whole model, to encode what is to be predicted and to value it.
    World(World),
    /// TD-MPC2's.
    Critics {
        /// They value; observations are encoded by the online encoder.
        critics: Vec<Critic>,
        /// Running P95 − P5 of values, `[1]`.
        scale: Tensor<1>,
    },
}

impl Slow {
    /// A copy of the `online` networks.
    pub fn new(recipe: Recipe, online: World, device: &Device) -> Self {
        match recipe {
            Recipe::V1 => Self::World(online),
            Recipe::V2 => Self::Critics { critics: online.critics, scale: Tensor::ones([1], device) },
        }
    }

    /// The whole model.
    ///
    /// # Panics
    /// If only critics are followed.
    pub fn world(&self) -> &World {
        match self {
            Self::World(world) => world,
            Self::Critics { .. } => panic!("the second recipe follows critics only"),
        }
    }

    /// The running scale of values.
    pub fn scale(&self) -> Option<f64> {
        match self {
            Self::World(_) => None,
            Self::Critics { scale, .. } => Some(scale.clone().into_scalar::<f32>().into()),
        }
    }

    /// The step `rate` towards the online networks.
    pub fn follow(&mut self, online: &World, rate: f64) {
        match self {
            Self::World(world) => *world = move_towards(world.clone(), online, rate),
            Self::Critics { critics, .. } => *critics = move_towards(critics.clone(), &online.critics, rate),
        }
    }

    /// Everything, for saving.
    pub fn export(&self) -> BTreeMap<String, Parameter> {
        match self {
            Self::World(world) => read_parameters(world),
            Self::Critics { critics, scale } => {
                let values = scale.clone().try_into_vec_as().expect("the scale is f32");
                let mut all = read_parameters(critics);
                all.insert(SCALE.into(), Parameter { shape: vec![1], values });
                all
            }
        }
    }

    /// Restores what [`Slow::export`] gave.
    pub fn import(&mut self, saved: &BTreeMap<String, Parameter>) -> Result<(), ParameterError> {
        match self {
            Self::World(world) => *world = write_parameters(world.clone(), saved)?,
            Self::Critics { critics, scale } => {
                *critics = write_parameters(critics.clone(), saved)?;
                let p = saved.get(SCALE).ok_or_else(|| ParameterError::Missing(SCALE.into()))?;
                *scale = Tensor::from_data(TensorData::new(p.values.clone(), [1]), &scale.device());
            }
        }
        Ok(())
    }
}
