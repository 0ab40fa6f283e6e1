//! Networks: encoder, latent dynamics, heads.

pub mod dynamics;
mod init;
mod mlp;
mod size;
mod world;

pub(crate) use init::{Init, linear};
pub use mlp::{Critic, Mlp};
pub(crate) use mlp::{dense, dense_steps};
pub use size::Parameters;
pub(crate) use world::ACTION_BOUND;
pub use world::World;
