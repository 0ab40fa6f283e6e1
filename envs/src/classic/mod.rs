//! Environments that need no simulator: small, fast, and with known answers.
pub mod linear;
mod pendulum;

pub(crate) use linear::Linear;
pub(crate) use pendulum::Pendulum;
