//! Networks: encoder, latent dynamics, heads.

mod bins;
mod critics;
pub mod dynamics;
mod imagination;
mod init;
mod latent;
mod mlp;
mod policy;
mod returns;
mod size;
mod world;

pub use bins::Bins;
pub use critics::{Codec, Pick, Reduce};
pub use imagination::Tail;
pub(crate) use init::{Init, linear};
pub(crate) use latent::{Bound, RMS_EPSILON};
#[cfg(test)]
pub(crate) use mlp::Last;
pub use mlp::{Critic, Hidden, Mlp};
pub(crate) use mlp::{dense, dense_steps};
pub use policy::Drawn;
pub use returns::Returns;
pub use size::Parameters;
pub(crate) use world::ACTION_BOUND;
pub use world::World;
