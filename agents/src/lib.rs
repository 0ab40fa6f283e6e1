//! Learning and planning on tensors: latent world models, planners, the TD-MPC learner and its replay.
//!
//! No file, no clock and no simulator is touched here. Vocabulary of all shapes: B batch, E environments,
//! H horizon, N candidates, D latent, A action, O observation, m complex modes (D = 2m).
#![warn(missing_docs)]

pub mod agent;
pub mod arithmetic;
pub mod config;
#[cfg(any(test, feature = "cuda"))]
mod cuda;
pub mod device;
pub mod diagnosis;
pub mod inference;
pub mod learner;
pub mod model;
pub mod modes;
pub mod offline;
pub mod ops;
pub mod planner;
pub mod predictor;
pub mod replay;
pub mod rng;
#[cfg(test)]
mod test_support;
