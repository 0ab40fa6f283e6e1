//! Studies: sets of runs, each an independent and resumable command, and what they say together.
//!
//! [`compare`] trains environments × variants × seeds; [`sweep`] changes settings, of a trained agent's planner or of
//! training. Both start this same program once a cell ([`pool`]), so that a cell can as well be run by hand, by GNU
//! parallel or by Slurm, and both decide from files what is still to be done.

pub mod args;
pub mod choices;
pub mod compare;
pub mod curves;
pub mod files;
pub mod pareto;
pub mod pool;
pub mod published;
pub mod statistics;
pub mod sweep;

mod board;
mod compare_report;
mod horizons;
mod lessons;
mod plan;
pub(crate) mod text;

pub use pool::stop_with_parent;

/// How a study ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every cell is finished.
    Finished,
    /// So many cells failed; the others are finished.
    Failed(usize),
    /// Other processes train so many cells; the others are finished.
    Locked(usize),
    /// Stopped from outside; the same command goes on.
    Interrupted,
}
