//! The paper's offline study: predicting recorded trajectories many steps ahead (arXiv 2306.11941, section 5).
//!
//! A [`TrajectoryModel`] lifts a state to a latent, unrolls any of the latent dynamics with the actions that were recorded and reads
//! states and rewards back. A [`Trainer`] fits it to windows of a [`Recording`] and tells its errors by depth, and of Koopman dynamics
//! whether their modes do what they claim.

mod model;
mod modes;
mod recording;
mod trainer;

pub use model::{Foretold, TrajectoryModel, count};
pub use recording::{Recording, RecordingError, Scale, Windows};
pub use trainer::{Errors, Sizes, Trainer, TrainerState, TrainingConfig, UpdateLosses, persistence};
