//! TD-MPC v1's learner: losses, TD targets, optimiser, slow targets.

mod adam;
pub mod losses;
mod parameters;
#[cfg(test)]
mod tests;
mod update;

pub use adam::Adam;
pub use parameters::{Parameter, ParameterError, move_towards, read_parameters, write_parameters};
pub use update::{Learner, LearnerState, Losses, Update};
