//! Puts MuJoCo and the task models where the build can find them, and tells the linker where the library is.
//!
//! Cargo runs this before the final link of any binary or test, which is the first moment the real library is
//! needed: `mujoco/link/libmujoco.so`, which mujoco-rs's own build script sees, is a linker script that only
//! names it. The root `build.rs` repeats the rpath for its package, because link arguments do not travel.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

const VERSION: &str = "3.17.0";
const LIBRARY: &str = "libmujoco.so.3.17.0";

/// Which MuJoCo the binaries are linked with.
enum Library {
    /// The one `provision.py` takes from the pinned wheel.
    Pinned,
    /// The user's: the directory in a `MUJOCO_DYNAMIC_LINK_DIR` that our `.cargo/config.toml` did not set.
    Users(PathBuf),
}

fn main() {
    for path in ["build.rs", "mujoco"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for variable in ["TD_KOOPMAN_MUJOCO_DIR", "MUJOCO_DYNAMIC_LINK_DIR", "PYTHON"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let library = library();
    let data = data_dir();
    let needed = needed_files(&data, &library);
    if !needed.iter().all(|file| file.is_file()) {
        provision(&data, &needed);
    }
    // A cache that was deleted after the build is filled again instead of failing in the loader.
    for file in &needed {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let library_dir = match library {
        Library::Pinned => {
            let dir = data.join("lib");
            println!("cargo::rustc-link-search=native={}", dir.display());
            dir
        }
        Library::Users(dir) => dir,
    };
    println!("cargo::metadata=lib={}", library_dir.display());
    // beside the executable first, so that a copied bundle is self-contained
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", library_dir.display());
    println!("cargo::rustc-env=TD_KOOPMAN_MUJOCO_DIR={}", data.display());
}

fn library() -> Library {
    let set = env::var_os("MUJOCO_DYNAMIC_LINK_DIR").and_then(|dir| fs::canonicalize(dir).ok());
    let ours = fs::canonicalize("mujoco/link").ok();
    match set {
        Some(dir) if Some(&dir) != ours.as_ref() => Library::Users(dir),
        _ => Library::Pinned,
    }
}

/// Where the library and the models are kept, shared by all checkouts of one user.
fn data_dir() -> PathBuf {
    if let Some(dir) = env::var_os("TD_KOOPMAN_MUJOCO_DIR") {
        let dir = PathBuf::from(dir);
        if dir.is_relative() {
            fail(&format!(
                "TD_KOOPMAN_MUJOCO_DIR is the relative path `{}`; give an absolute one, \
                 because the build, the linker and the program start from different directories",
                dir.display()
            ));
        }
        return dir;
    }
    let set = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    match set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))) {
        Some(cache) => cache.join("td-koopman").join(format!("mujoco-{VERSION}")),
        None => fail(
            "neither HOME nor XDG_CACHE_HOME is set; \
             set TD_KOOPMAN_MUJOCO_DIR to a writable directory for MuJoCo and the task models",
        ),
    }
}

/// One file of each wheel. `provision.py` renames a finished directory into place, so one stands for all.
fn needed_files(data: &Path, library: &Library) -> Vec<PathBuf> {
    let mut files = vec![data.join("gymnasium/half_cheetah.xml"), data.join("dm_control/cheetah.xml")];
    if let Library::Pinned = library {
        files.push(data.join("lib").join(LIBRARY));
    }
    files
}

fn provision(data: &Path, needed: &[PathBuf]) {
    if (env::var("CARGO_CFG_TARGET_OS"), env::var("CARGO_CFG_TARGET_ARCH"))
        != (Ok("linux".into()), Ok("x86_64".into()))
    {
        fail(&format!(
            "MuJoCo is fetched for Linux on x86-64 only; elsewhere install MuJoCo {VERSION}, set \
             MUJOCO_DYNAMIC_LINK_DIR to its library directory and TD_KOOPMAN_MUJOCO_DIR to a directory that \
             holds gymnasium/*.xml and dm_control/*.xml"
        ));
    }
    let python = env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let why = match Command::new(&python).arg("mujoco/provision.py").arg(data).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            eprint!("{said}");
            match said.lines().rev().find(|line| !line.trim().is_empty()) {
                _ if output.status.success() && needed.iter().all(|file| file.is_file()) => return,
                _ if output.status.success() => {
                    format!("{} is marked complete but lacks files, remove it", data.display())
                }
                Some(line) => line.to_string(),
                None => format!("`{python} mujoco/provision.py` failed ({})", output.status),
            }
        }
        Err(error) => format!("`{python}` does not run: {error}"),
    };
    fail(&format!(
        "MuJoCo {VERSION} and the task models are not in {} and could not be fetched: {why}. \
         Install Python 3 with pip and go online once; or set PYTHON to an interpreter that has pip; or unpack the \
         wheels listed in envs/mujoco/requirements.txt yourself and set TD_KOOPMAN_MUJOCO_DIR to a directory that \
         holds lib/{LIBRARY}, gymnasium/*.xml and dm_control/*.xml",
        data.display()
    ));
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
