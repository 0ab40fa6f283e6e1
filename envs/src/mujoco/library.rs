//! The shared library: the right version, and quiet.
use std::sync::Once;

use crate::Error;

/// The MuJoCo release that the bindings describe; struct layouts are exact to it.
const VERSION: &str = "3.17.0";

/// Refuses a MuJoCo library of another version than the bindings: reading its structures would be undefined
/// behaviour. Also sends MuJoCo's messages to the `log` crate; otherwise they go to a file `MUJOCO_LOG.TXT`
/// in the working directory. Making an environment on MuJoCo does this first.
///
/// # Errors
///
/// [`Error::LibraryVersion`] with both versions.
pub(super) fn check_library() -> Result<(), Error> {
    static HOOK: Once = Once::new();
    // SAFETY: no other thread uses MuJoCo meanwhile. Within this crate every use starts with a model, every
    // model is loaded after this function, and `Once` makes concurrent callers wait.
    HOOK.call_once(|| unsafe { mujoco_rs::logging::install_logging_hook() });
    check_version(mujoco_rs::mujoco_version())
}

fn check_version(found: &str) -> Result<(), Error> {
    match found {
        VERSION => Ok(()),
        _ => Err(Error::LibraryVersion { expected: VERSION, found: found.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_the_one_of_the_bindings() {
        assert_eq!(mujoco_rs::mujoco_version(), "3.17.0");
        check_library().unwrap();
    }

    #[test]
    fn another_version_is_refused_with_both_numbers() {
        let error = check_version("3.16.0").unwrap_err().to_string();
        assert!(error.contains("built for MuJoCo 3.17.0 but loaded MuJoCo 3.16.0"), "{error}");
    }
}
