//! Editing a model before it is compiled, as dm_control edits its XML.
use std::path::Path;

use mujoco_rs::prelude::SpecObject;

use crate::{Error, mujoco::model_error};

/// Removes a part that the task does without.
pub(crate) fn delete<T: SpecObject>(
    part: Option<&mut T>,
    kind: &'static str,
    name: &str,
    file: &Path,
) -> Result<(), Error> {
    let part = part.ok_or_else(|| missing(kind, name))?;
    // SAFETY: this borrow is exclusive and ends here, so nobody can delete the part again or look at it.
    unsafe { part.delete() }.map_err(|error| model_error(file, &error))
}

pub(crate) fn missing(kind: &'static str, name: &str) -> Error {
    Error::PartMissing { kind, name: name.to_string() }
}
