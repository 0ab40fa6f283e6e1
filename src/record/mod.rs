//! Everything a training run tells the world leaves through a [`Recorder`].
//!
//! The loop fills in plain numbers; what becomes of them – CSV rows, TensorBoard events, a progress bar – is
//! decided by the recorders it was given. Learning and planning code returns diagnostics and never prints.

mod clock;
mod console;
mod csv_files;
mod event_file;
mod events;
mod multi;
mod rate;
mod resume;
mod tensorboard;

pub use clock::{Clock, timed};
pub use console::{ConsoleRecorder, say};
pub use csv_files::{CsvRecorder, EVALUATION_COLUMNS};
pub use events::{Diagnosis, Episode, Evaluation, Progress, Start};
pub use multi::Multi;
pub use tensorboard::TensorBoardRecorder;

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// The last rows a checkpoint knows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Environment step of the last episode recorded.
    pub episode: Option<u64>,
    /// Environment step of the last evaluation recorded.
    pub evaluation: Option<u64>,
}

/// Where the events of a training run go.
///
/// # Order of calls and checkpoints
///
/// A run that was killed resumes from its last checkpoint and repeats what came after it. The recorders that write
/// files are then opened with `resume(…)`, drop the rows that the checkpoint does not know ([`Recorded`]), and end up
/// with the record of a run that was never interrupted. For that to hold, the loop calls [`Recorder::flush`] before it
/// writes a checkpoint.
pub trait Recorder {
    /// A process begins to work on the run.
    fn start(&mut self, _start: &Start) {}

    /// One training episode has ended.
    fn episode(&mut self, episode: &Episode) -> Result<()>;

    /// One evaluation has been made.
    fn evaluation(&mut self, evaluation: &Evaluation) -> Result<()>;

    /// The model has been judged; it comes right before the evaluation of the same step.
    fn diagnosis(&mut self, _diagnosis: &Diagnosis) -> Result<()> {
        Ok(())
    }

    /// Where the run stands; may be called at every decision, so it must be cheap, and it cannot fail.
    fn progress(&mut self, _progress: &Progress) {}

    /// Puts everything recorded so far on the disk; call it before a checkpoint is written.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// The run is complete: flushes, and tidies up the terminal.
    fn finish(&mut self) -> Result<()> {
        self.flush()
    }
}
