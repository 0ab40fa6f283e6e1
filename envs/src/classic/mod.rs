//! Environments that need no simulator: small, fast, and with known answers.
pub mod linear;
mod pendulum;

use linear::Linear;
use pendulum::Pendulum;

use crate::{
    Source::Classic,
    entry::{Entry, entry},
};

/// The registered environments without a simulator: one line an environment.
#[rustfmt::skip] // one line an environment
pub(crate) const TABLE: &[Entry] = &[
    entry("pendulum", "Pendulum-v1", Classic, [3, 1], 200, 1, |e, o| Ok(Box::new(Pendulum::new(e, o)))).with(Pendulum::OPTIONS),
    entry("linear", "linear", Classic, [4, 2], 200, 1, |e, _| Ok(Box::new(Linear::new(e)))),
];
