//! Training: act, step, store, learn; evaluate and save when their clocks say so.

mod film;
mod life;
mod meters;
mod restore;
mod run;
mod same_run;
mod saved_spec;
mod state;

pub use life::Life;
pub use restore::{configuration, restore};
pub(crate) use run::lock;
pub use same_run::refuse_another_run;
pub(crate) use same_run::refuse_differences;
pub use saved_spec::SavedSpec;
pub use state::{Streams, TrainState};

use crate::config::RunConfig;
use anyhow::Result;
use run::Run;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a training command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All environment steps were taken.
    Finished,
    /// Stopped from outside; everything is saved, and the same command goes on.
    Interrupted,
}

/// Trains in `run_folder` until the run has taken its environment steps or `stop` is raised. A folder that holds the
/// same run is continued, bit by bit as if it had never stopped.
pub fn train(config: &RunConfig, run_folder: &Path, stop: &AtomicBool) -> Result<Outcome> {
    let mut run = Run::open(config, run_folder)?;
    while !run.is_finished() {
        if stop.load(Ordering::Relaxed) {
            run.save()?;
            return Ok(Outcome::Interrupted);
        }
        if run.owes_updates() {
            run.update()?;
        } else if run.owes_evaluation() {
            run.evaluate(stop)?;
        } else {
            run.decide()?;
        }
        if run.checkpoint_is_due() {
            run.save()?;
        }
    }
    run.finish()?;
    Ok(Outcome::Finished)
}
