//! Environments that need no simulator: small, fast, and with known answers.
mod cart_pole;
pub mod linear;
mod mountain_car;
mod noise;
mod pendulum;

use cart_pole::CartPole;
use linear::Linear;
use mountain_car::MountainCar;
use pendulum::Pendulum;

use crate::{
    Source::Classic,
    entry::{Entry, entry},
};

/// The registered environments without a simulator: one line an environment.
#[rustfmt::skip] // one line an environment
pub(crate) const TABLE: &[Entry] = &[
    entry("pendulum", "Pendulum-v1", Classic, [3, 1], 200, 1, |e, o| Ok(Box::new(Pendulum::new(e, o)))).with(Pendulum::OPTIONS),
    entry("mountain-car", "MountainCarContinuous-v0", Classic, [2, 1], 999, 1, |e, o| Ok(Box::new(MountainCar::new(e, o)))).with(MountainCar::OPTIONS),
    entry("cart-pole", "cart-pole", Classic, [5, 1], 500, 1, |e, o| Ok(Box::new(CartPole::new(e, o)))).with(CartPole::OPTIONS),
    entry("linear", "linear", Classic, [4, 2], 200, 1, |e, o| Ok(Box::new(Linear::uncoupled(e, o)))).with(Linear::LINEAR),
    entry("coupled", "coupled", Classic, [4, 2], 200, 1, |e, o| Ok(Box::new(Linear::coupled(e, o)))).with(Linear::COUPLED),
];
