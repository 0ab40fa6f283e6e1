//! Networks: encoder, latent dynamics, heads.

pub mod dynamics;
mod init;
mod mlp;
mod world;

pub(crate) use init::{Init, linear};
pub(crate) use mlp::dense;
pub use mlp::{Critic, Mlp};
pub(crate) use world::ACTION_BOUND;
pub use world::World;
