//! The learner of either recipe: losses, TD targets, optimiser, slow targets.

mod adam;
mod auxiliary;
mod away;
mod data;
mod fused;
mod imitation;
pub mod losses;
pub mod losses_v2;
mod parameters;
mod slow;
mod state;
#[cfg(test)]
mod tests;
mod trust;
mod update;
mod update_v1;
mod update_v2;

pub use adam::Adam;
pub use parameters::{Parameter, ParameterError, move_towards, read_parameters, write_parameters};
pub use state::LearnerState;
pub use update::{Learner, Losses, Update};
