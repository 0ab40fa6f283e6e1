//! Where the model files are, and loading them.
use std::{
    env,
    path::{Path, PathBuf},
};

use mujoco_rs::{
    prelude::{MjModel, MjSpec},
    wrappers::mj_auxiliary::MjVfs,
};

use super::check_library;
use crate::Error;

/// Loads a model; `file` is relative to the model directory, e.g. `gymnasium/hopper.xml`.
pub(crate) fn load_model(file: &str) -> Result<MjModel, Error> {
    check_library()?;
    let path = find(file)?;
    MjModel::from_xml(&path).map_err(|error| model_error(&path, &error))
}

/// Loads a model whose `floor`, if it has one, reaches everywhere to the eye too, as it does to the feet: planes are
/// endless in collisions, but drawn as large as the file says, and whoever runs fast leaves that behind.
pub(crate) fn load_endless(file: &str) -> Result<MjModel, Error> {
    let (mut spec, path) = load_spec(file)?;
    if let Some(floor) = spec.geom_mut("floor") {
        let [x, _, grid] = *floor.size();
        *floor.size_mut() = [0.0, 0.0, grid];
        let material = floor.material().to_owned();
        if let Some(material) = spec.material_mut(&material) {
            // squares as large as before: so many per metre instead of per floor
            material.texrepeat_mut().iter_mut().for_each(|repeats| *repeats /= 2.0 * x as f32);
            material.set_texuniform(true);
        }
    }
    spec.compile().map_err(|error| model_error(&path, &error))
}

/// Loads a model for editing. Returns its path too, for the messages of what follows.
pub(crate) fn load_spec(file: &str) -> Result<(MjSpec, PathBuf), Error> {
    check_library()?;
    let path = find(file)?;
    let spec = MjSpec::from_xml(&path).map_err(|error| model_error(&path, &error))?;
    Ok((spec, path))
}

/// Loads a model from the text that `edit` makes of the file's.
pub(crate) fn load_edited(file: &str, edit: impl FnOnce(&str) -> String) -> Result<MjModel, Error> {
    check_library()?;
    let path = find(file)?;
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| model_error(path, &error));
    let mut files = MjVfs::new();
    let mut add = |name: &str, text: &str| {
        files.add_from_buffer(name, text.as_bytes()).map_err(|error| model_error(&path, &error))
    };
    for name in ["common/skybox.xml", "common/visual.xml", "common/materials.xml"] {
        add(&format!("./{name}"), &read(&path.with_file_name(name))?)?;
    }
    add("edited.xml", &edit(&read(&path)?))?;
    MjModel::from_xml_vfs("edited.xml", &files).map_err(|error| model_error(&path, &error))
}

/// What MuJoCo said about a model file, on one line.
pub(crate) fn model_error(file: &Path, error: &dyn std::error::Error) -> Error {
    let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    Error::ModelInvalid { file: file.to_path_buf(), message }
}

fn find(file: &str) -> Result<PathBuf, Error> {
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.to_path_buf()));
    find_in(file, candidates(env::var_os("TD_KOOPMAN_MUJOCO_DIR").map(PathBuf::from), beside))
}

/// The user's directory alone when there is one, because its models are wanted and no others; else beside the
/// program, for a bundle that was copied here; else where the build put them.
fn candidates(users: Option<PathBuf>, beside_the_program: Option<PathBuf>) -> Vec<PathBuf> {
    match users {
        Some(dir) => vec![dir],
        None => beside_the_program.into_iter().chain([env!("TD_KOOPMAN_MUJOCO_DIR").into()]).collect(),
    }
}

fn find_in(file: &str, looked_in: Vec<PathBuf>) -> Result<PathBuf, Error> {
    match looked_in.iter().map(|dir| dir.join(file)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => Err(Error::ModelMissing { file: file.into(), looked_in }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: &str = env!("TD_KOOPMAN_MUJOCO_DIR");

    #[test]
    fn the_users_directory_wins_then_the_programs_then_the_builds() {
        let (users, program) = (PathBuf::from("/users"), PathBuf::from("/program"));
        assert_eq!(candidates(Some(users.clone()), Some(program.clone())), [users]);
        assert_eq!(candidates(None, Some(program.clone())), [program, BUILT.into()]);
    }

    #[test]
    fn a_missing_model_names_every_place() {
        let error = find_in("gymnasium/no.xml", vec!["/one".into(), BUILT.into()]).unwrap_err().to_string();
        assert!(error.contains("gymnasium/no.xml was not found in /one, /"), "{error}");
    }

    #[test]
    fn a_damaged_model_is_named_with_what_mujoco_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("mujoco/requirements.txt");
        let error = model_error(&path, &MjModel::from_xml(&path).unwrap_err()).to_string();
        assert!(error.contains("requirements.txt: "), "{error}");
    }
}
