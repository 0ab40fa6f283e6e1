//! Killing a run at any moment loses nothing since the last checkpoint, and resuming it is as if it had never stopped.

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TINY: [&str; 13] = [
    "model.hidden_dim=16",
    "model.latent_dim=8",
    "model.encoder_hidden=[16]",
    "learner.batch_size=8",
    "planner.num_samples=16",
    "planner.num_elites=4",
    "planner.iterations=2",
    "planner.horizon.decisions=300",
    "evaluation.episodes=1",
    "train.checkpoint_seconds=0",
    "threads=1",
    "evaluation.every=450",
    "train.seed_episodes=0",
];

fn start(folder: &Path, env: &str, steps: &str, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_td-koopman"));
    command.args(["--env", env, "--steps", steps, "--out"]).arg(folder);
    for setting in TINY.iter().chain(more) {
        command.args(["--set", setting]);
    }
    command.stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let number =
        |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    let entries = fs::read_dir(folder).ok()?.map(|e| e.unwrap().path());
    entries.filter(|path| number(path).is_some()).max_by_key(|path| number(path))
}

fn env_step(folder: &Path) -> u64 {
    let state = newest(folder).and_then(|c| fs::read(c.join("state.json")).ok());
    let state: Option<Value> = state.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    state.map_or(0, |s| s["env_step"].as_u64().unwrap())
}

/// Kills the process (SIGKILL) as soon as a checkpoint past `step` is on the disk.
fn kill_after(mut child: Child, folder: &Path, step: u64) {
    for _ in 0..60_000 {
        if env_step(folder) >= step {
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no checkpoint past step {step} appeared");
}

/// Kills the process (SIGKILL) as soon as a row is written that the checkpoint does not know.
fn kill_with_rows_behind(mut child: Child, folder: &Path) {
    let last_row = || {
        let text = fs::read_to_string(folder.join("train.csv")).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().last().and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    while last_row() <= env_step(folder) {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(last_row() > env_step(folder));
}

/// Everything of a run that must not depend on interruptions: all but clocks.
fn essence(folder: &Path) -> (Value, Vec<u8>, Vec<u8>, Vec<Vec<String>>) {
    let checkpoint = newest(folder).unwrap();
    let mut state: Value = serde_json::from_slice(&fs::read(checkpoint.join("state.json")).unwrap()).unwrap();
    let map = state.as_object_mut().unwrap();
    map.remove("seconds");
    map["meters"].as_object_mut().unwrap().retain(|name, _| !name.ends_with("_seconds"));
    let mut rows = Vec::new();
    for file in ["train.csv", "eval.csv", "model.csv"] {
        let mut reader = csv::Reader::from_path(folder.join(file)).unwrap();
        let header = reader.headers().unwrap().clone();
        for record in reader.records() {
            let record = record.unwrap();
            let cells = header.iter().zip(&record).filter(|(name, _)| !name.ends_with("_seconds"));
            rows.push(cells.map(|(name, cell)| format!("{name}={cell}")).collect());
        }
    }
    let read = |name: &str| fs::read(checkpoint.join(name)).unwrap();
    (state, read("agent.safetensors"), read("replay.safetensors"), rows)
}

#[test]
fn a_run_with_videos_is_the_same_run() {
    let temporary = tempfile::tempdir().unwrap();
    let (plain, filmed) = (temporary.path().join("plain"), temporary.path().join("filmed"));
    let rarely = "train.checkpoint_seconds=600";
    finish(start(&plain, "pendulum", "1000", &[rarely]));
    finish(start(&filmed, "pendulum", "1000", &[rarely, "evaluation.video_every=2"]));
    assert_eq!(essence(&plain), essence(&filmed));
    let mut videos: Vec<_> =
        fs::read_dir(filmed.join("videos")).unwrap().map(|e| e.unwrap().file_name()).collect();
    videos.sort();
    assert_eq!(
        videos,
        ["1000.gif", "900.gif"],
        "of the second evaluation, not of the first, and of the last"
    );
    for video in videos {
        let file = fs::File::open(filmed.join("videos").join(video)).unwrap();
        let mut decoder = gif::DecodeOptions::new().read_info(file).unwrap();
        let frames = std::iter::from_fn(|| decoder.read_next_frame().unwrap().map(|frame| frame.delay));
        assert_eq!(frames.count(), 201);
    }
    assert!(!plain.join("videos").exists());
}

fn killed_equals_uninterrupted(env: &str, steps: &str, kills: &[u64], more: &[&str]) {
    let temporary = tempfile::tempdir().unwrap();
    let (whole, killed) = (temporary.path().join("whole"), temporary.path().join("killed"));
    finish(start(&whole, env, steps, more));
    for &step in kills {
        kill_after(start(&killed, env, steps, more), &killed, step);
    }
    finish(start(&killed, env, steps, more));
    let (a, b) = (essence(&whole), essence(&killed));
    assert_eq!(a.0, b.0, "state");
    assert!(a.1 == b.1, "networks and optimisers differ");
    assert!(a.2 == b.2, "replays differ");
    assert_eq!(a.3, b.3, "rows of train.csv and eval.csv");
    assert!(a.3.len() > 4 && killed.join("curve.svg").exists());
}

#[test]
fn a_run_killed_three_times_ends_as_if_it_never_was() {
    killed_equals_uninterrupted("pendulum", "1000", &[30, 431, 777], &["train.seed_decisions=200"]);
}

/// With a checkpoint after every step there is hardly ever a row to take back.
#[test]
fn rows_behind_the_checkpoint_of_a_killed_run_are_written_once() {
    let temporary = tempfile::tempdir().unwrap();
    let (whole, killed) = (temporary.path().join("whole"), temporary.path().join("killed"));
    let more = ["train.seed_decisions=200"];
    let rarely = ["train.seed_decisions=200", "train.checkpoint_seconds=600"];
    finish(start(&whole, "pendulum", "3000", &rarely));
    kill_after(start(&killed, "pendulum", "3000", &more), &killed, 230);
    kill_with_rows_behind(start(&killed, "pendulum", "3000", &rarely), &killed);
    finish(start(&killed, "pendulum", "3000", &rarely));
    assert_eq!(essence(&whole), essence(&killed));
}

/// The same of the second recipe, with dropout, critics drawn for every batch and plan, the running scale of values, and a
/// model that predicts terminations.
#[test]
fn a_killed_run_of_the_second_recipe_ends_as_if_it_never_was() {
    let second = [
        "agent=v2",
        "planner.kind=mppi2",
        "learner.target_every=1",
        "learner.encoder_rate_scale=0.3",
        "replay.priority_exponent=0",
        "train.update_cadence=decision",
        "train.seed_decisions=100",
        "model.v2.critics=3",
    ];
    killed_equals_uninterrupted("inverted-pendulum", "700", &[30, 260, 455], &second);
}

/// The same of three environments whose episodes end at different steps, on two threads.
#[test]
fn a_killed_run_of_several_environments_ends_as_if_it_never_was() {
    let several =
        ["train.num_envs=3", "train.seed_decisions=150", "train.update_cadence=decision", "threads=2"];
    killed_equals_uninterrupted("inverted-pendulum", "900", &[30, 310, 620], &several);
}

/// The same on MuJoCo, whose state is rebuilt by replaying the episode, with MLP dynamics and updates per decision.
#[test]
fn a_killed_mujoco_run_ends_as_if_it_never_was() {
    let more = ["train.seed_decisions=125", "model.dynamics=mlp", "train.update_cadence=decision"];
    killed_equals_uninterrupted("cartpole-swingup", "3200", &[1500, 2300], &more);
}

/// Ctrl-C (here SIGINT) saves at once, says how to go on, and exits with 130; so does a finished run extended.
#[test]
fn an_interrupt_saves_and_more_steps_go_on() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("run");
    // more seconds than a `Duration` holds: the first step panicked
    let never = "train.checkpoint_seconds=1e30";
    let more = ["train.seed_decisions=200", "evaluation.every=1000000", never];
    let child = start(&folder, "pendulum", "1000000", &more);
    while !folder.join("train.csv").exists()
        || fs::read_to_string(folder.join("train.csv")).unwrap().lines().count() < 3
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(newest(&folder).is_none(), "no checkpoint was due yet");
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("stopped and saved in") && said.contains("the same command goes on"), "{said}");
    let reached = env_step(&folder);
    assert!(reached > 0);
    let steps = (reached + 210).to_string();
    finish(start(&folder, "pendulum", &steps, &more));
    assert_eq!(env_step(&folder), reached + 210);
}

#[test]
fn a_folder_of_another_run_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    // a name that is no UTF-8: noting the command line panicked
    let folder = temporary.path().join(OsStr::from_bytes(b"run\xff"));
    finish(start(&folder, "linear", "200", &[]));
    let output = start(&folder, "linear", "400", &["learner.rho=0.7", "seed=2"]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("learner.rho = 0.5 → 0.7; seed = 1 → 2") && said.contains("--out"), "{said}");
}

/// The curve of a finished run is what studies know it by.
#[test]
fn a_finished_run_that_is_extended_has_no_curve_and_one_without_checkpoints_is_left_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let (folder, curve) = (temporary.path().join("run"), temporary.path().join("run/curve.svg"));
    finish(start(&folder, "linear", "200", &[]));
    assert!(curve.exists());
    let mut child = start(&folder, "linear", "1000000", &[]);
    while curve.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    // beginning anew emptied train.csv and eval.csv
    while let Some(checkpoint) = newest(&folder) {
        fs::remove_dir_all(checkpoint).unwrap();
    }
    let rows = fs::read(folder.join("eval.csv")).unwrap();
    let output = start(&folder, "linear", "400", &[]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no checkpoint to go on from") && said.contains("remove eval.csv"), "{said}");
    assert_eq!(fs::read(folder.join("eval.csv")).unwrap(), rows);
    // `--config config.toml --out .` overwrote the user's own file
    let own = temporary.path().join("config.toml");
    fs::write(&own, "seed = 3 # mine").unwrap();
    let output = start(temporary.path(), "linear", "400", &[]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(fs::read_to_string(own).unwrap().contains("mine"));
    assert!(rows.iter().filter(|byte| **byte == b'\n').count() > 1);
}
