//! Recordings as HDF5, the files that other people's are in: D4RL's and Minari's are read, D4RL's are written.
//!
//! A D4RL file has all rows (o, a, r) one after the other and flags where an episode ends. A Minari file has a group per
//! episode, with one observation more than actions.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::read;
pub use write::write;
