//! Networks: encoder, latent dynamics, heads.

pub mod dynamics;
mod init;
mod mlp;
mod world;

pub(crate) use init::{Init, linear};
pub use mlp::{Critic, Mlp};
pub use world::World;
