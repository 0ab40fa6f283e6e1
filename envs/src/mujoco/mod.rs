//! MuJoCo: the library checked, the models found, the physics stepped as Gymnasium or as dm_control does.
mod library;
mod models;
mod physics;

use library::check_library;
pub(crate) use models::{load_edited, load_endless, load_model, load_spec, model_error};
pub(crate) use physics::{Convention, Data, Physics};
