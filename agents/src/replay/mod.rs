//! Replay of whole episodes with prioritised sampling of short sequences.

mod batch;
mod buffer;
mod episode;
mod sum_tree;

pub use batch::Batch;
pub use buffer::{Replay, ReplayArrays, ReplayError};
pub use episode::{Ending, Episode};
