//! Gives this package's binaries, tests and examples the run-time path of MuJoCo, and the program its commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    mujoco_path();
    println!("cargo::rustc-env=TD_KOOPMAN_COMMIT={}", commit());
}

/// Link arguments do not travel from `envs`, which finds or fetches the library, to the packages that use it; the
/// directory does, through the `links` key of `envs`.
fn mujoco_path() {
    let Ok(library_dir) = std::env::var("DEP_TD_KOOPMAN_MUJOCO_LIB") else {
        println!(
            "cargo::error=envs/build.rs did not say where MuJoCo is; keep td-koopman-envs a direct dependency \
             of this package"
        );
        std::process::exit(1);
    };
    // beside the executable first, so that a copied bundle is self-contained
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{library_dir}");
}

/// The commit checked out, with `-dirty` if sources differ from it; `unknown` outside a checkout.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    for path in ["src", "agents", "envs", "configs", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let sources =
        ["status", "--porcelain", "--", "src", "agents", "envs", "configs", "Cargo.lock", "build.rs"];
    match git(&sources).as_deref() {
        Some("") => hash,
        _ => format!("{hash}-dirty"),
    }
}
