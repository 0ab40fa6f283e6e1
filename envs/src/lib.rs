//! Continuous-control environments on plain `f64` slices: all Gymnasium v5 tasks and 46 of the DeepMind Control
//! Suite (all but humanoid_CMU and lqr) on the real MuJoCo 3.17, and some that need no simulator.
//!
//! [`registry::make`] turns a name into an environment, [`registry::make_with`] a name and options; [`Env`] is what
//! it can do; [`wrappers`] change its clock and its units. Everything here is deterministic: the seed given to `reset` decides an episode
//! bit for bit.
//!
//! A program of one's own [`register`]s further environments while it runs.
//!
//! # Adding an environment
//!
//! 1. On MuJoCo: one file in `gym/` or `dmc/` with a type that implements the `Task` of that folder:
//!    observation, reward, termination, reset, options, nothing else. Look names up once, when it is made.
//!    What a start draws besides positions and velocities, such as a target that is part of the model, goes through
//!    `extra` and `set_extra`.
//! 2. Without MuJoCo: one file in `classic/` that implements [`Env`], of which only `spec`, `reset` and
//!    `step` are required. Draw everything random from a generator made from the seed.
//! 3. Leave the time limit, the action repeat and the action scaling to [`wrappers`].
//! 4. Add one line to the folder's table: names, sizes, episode length, action repeat, constructor, options.
//! 5. Record the original: a name in `scripts/originals.py`, then `scripts/record_reference.py NAME`. The tests take
//!    every environment of the tables; where random actions leave the reward at zero, add a chosen state that does
//!    not to `scripts/chosen_states.py` and `tests/parity.rs`, and options that differ from the defaults to both.
//! 6. [`check::run`] checks it with all others in `tests/check.rs`; `td-koopman envs NAME --check` prints the
//!    result.
//! 7. A new model file must be one that `envs/mujoco/provision.py` keeps.
#![warn(missing_docs)]

pub mod check;
pub mod classic;
mod custom;
mod dmc;
mod entry;
mod env;
mod error;
mod gym;
#[cfg(feature = "gymnasium-rs")]
pub mod gymnasium_rs;
mod mujoco;
mod options;
mod picture;
mod python;
mod random;
pub mod registry;
pub mod wrappers;

pub use custom::register;
pub use entry::Entry;
pub use env::{End, Env, Source, Spec, State, StateDims, Step};
pub use error::Error;
pub use options::{EnvOption, OptionValue};
pub use picture::{Frame, Painter, View};
pub use random::Random;
