//! What can go wrong with an environment, as sentences for a user.
use std::path::PathBuf;

use crate::{OptionValue, StateDims};

/// An environment could not be made or put into a state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is not in the registry.
    #[error(
        "there is no environment called `{name}`; the nearest names are {}; `td-koopman envs` lists them all",
        .nearest.join(", ")
    )]
    UnknownEnv {
        /// The name asked for.
        name: String,
        /// The most similar registered names, best first.
        nearest: Vec<String>,
    },
    /// The name cannot be given to another environment.
    #[error("there is an environment called `{name}` already; register yours under another name")]
    NameTaken {
        /// The name.
        name: String,
    },
    #[cfg(feature = "gymnasium-rs")]
    /// An environment of another library has a space that cannot be used.
    #[error("the {kind} space of `{env}` is {space}; only boxes with finite actions can be used")]
    Space {
        /// The environment.
        env: String,
        /// `action` or `observation`.
        kind: &'static str,
        /// What it is.
        space: String,
    },
    /// A registered environment could not be made.
    #[error("the environment `{env}` cannot be made: {message}")]
    Build {
        /// Its name.
        env: String,
        /// What its constructor said.
        message: String,
    },
    /// The name of a Python environment is not complete.
    #[error("`{name}` is not written py:MODULE:ID, e.g. py:gymnasium:Pendulum-v1")]
    PythonName {
        /// The name asked for.
        name: String,
    },
    /// The process in which an environment lives cannot be started, or failed.
    #[error("the Python environment `{env}` {message}")]
    Python {
        /// Its name.
        env: String,
        /// What happened, and what the process said.
        message: String,
    },
    /// The MuJoCo library that the program loaded is not the one its bindings were made for.
    #[error(
        "the program was built for MuJoCo {expected} but loaded MuJoCo {found}, whose data structures differ; \
         look for an older or newer libmujoco.so in LD_LIBRARY_PATH, beside the program or in \
         MUJOCO_DYNAMIC_LINK_DIR, and rebuild with the pinned one"
    )]
    LibraryVersion {
        /// The version of the bindings.
        expected: &'static str,
        /// What the library says it is.
        found: String,
    },
    /// A model file is in none of the places where models are looked for.
    #[error(
        "the model {} was not found in {}; set TD_KOOPMAN_MUJOCO_DIR to the directory that holds gymnasium/ and \
         dm_control/, put these two folders beside the program, or remove that directory and build again",
        .file.display(),
        .looked_in.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    ModelMissing {
        /// The file, relative to the model directory.
        file: PathBuf,
        /// The directories that were tried.
        looked_in: Vec<PathBuf>,
    },
    /// MuJoCo does not accept a model file.
    #[error(
        "MuJoCo could not load the model {}: {message}; it may be damaged or of another release, remove the \
         directory and build again",
        .file.display()
    )]
    ModelInvalid {
        /// The file.
        file: PathBuf,
        /// What MuJoCo said.
        message: String,
    },
    /// A model lacks a part that its task reads.
    #[error(
        "the model has no {kind} called `{name}`; its file is not the one of the pinned release, remove the model \
         directory and build again"
    )]
    PartMissing {
        /// The sort of part: body, site, sensor, …
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A simulation left what numbers can describe.
    #[error(
        "the physics of `{env}` diverged: MuJoCo met a position, velocity or acceleration beyond reason and would go on \
         from the model's default state, as if nothing had happened"
    )]
    Diverged {
        /// The environment.
        env: String,
    },
    /// A state has the wrong number of entries.
    #[error(
        "the environment `{env}` has a state of {} positions, {} velocities and {} further numbers, but was given \
         {}, {} and {}",
        .expected.qpos, .expected.qvel, .expected.extra, .given.qpos, .given.qvel, .given.extra
    )]
    StateSize {
        /// The environment.
        env: String,
        /// The sizes it has.
        expected: StateDims,
        /// The sizes given.
        given: StateDims,
    },
    /// A task has no option of that name.
    #[error(
        "the environment `{env}` has no option `{name}`; {}",
        match &known[..] {
            [] => "it has none".to_owned(),
            known => format!("its options are {}; `td-koopman envs {env}` describes them", known.join(", ")),
        }
    )]
    UnknownOption {
        /// The environment.
        env: String,
        /// The name given.
        name: String,
        /// The names it has.
        known: Vec<&'static str>,
    },
    /// An option was given a value that it cannot take.
    #[error(
        "the option `{name}` of the environment `{env}` cannot be {value}: it is {expected}, {default} by default"
    )]
    OptionValue {
        /// The environment.
        env: String,
        /// The option.
        name: &'static str,
        /// The value given.
        value: OptionValue,
        /// What it takes.
        expected: &'static str,
        /// What it is when nothing is given.
        default: OptionValue,
    },
    /// The environment cannot be drawn.
    #[error("the environment `{env}` has no picture")]
    NoPicture {
        /// The environment.
        env: String,
    },
    /// A Python environment cannot be drawn.
    #[error("the environment `{env}` has no picture: {message}")]
    PythonPicture {
        /// Its name.
        env: String,
        /// Why, in Python's words.
        message: String,
    },
    /// There is nothing to draw MuJoCo's pictures with.
    #[error(
        "pictures need OpenGL through EGL, which does not work here ({message}); on Debian and Ubuntu \
         `apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri` brings one that needs no graphics card"
    )]
    NoRenderer {
        /// What could not be done.
        message: String,
    },
    /// The model has no such camera.
    #[error("the model has no camera `{camera}`; its cameras are {}", if .known.is_empty() { "none".into() } else { .known.join(", ") })]
    UnknownCamera {
        /// The camera asked for.
        camera: String,
        /// Numbers and names of those there are.
        known: Vec<String>,
    },
    /// The picture is larger than the model allows, or empty.
    #[error("a picture of {width}x{height} is not possible; the model allows 1x1 to {}x{}", .largest.0, .largest.1)]
    PictureSize {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// The most of both.
        largest: (usize, usize),
    },
    /// The environment has no state that can be set.
    #[error("the environment `{env}` cannot be put into a chosen state; start it with a seed instead")]
    NoState {
        /// The environment.
        env: String,
    },
}
