//! Pictures of environments: asked for with [`Env::render`](crate::Env::render), drawn by a [`Painter`].
mod canvas;
mod painter;

pub use canvas::Frame;
pub use painter::{Painter, View};
