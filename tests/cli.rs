//! The commands as a user types them.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_td-koopman")).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

#[test]
fn bad_requests_end_with_one_sentence_and_exit_code_2() {
    for (arguments, sentence) in [
        (&["--env", "halfcheeta"][..], "the nearest names are halfcheetah"),
        (
            &["--env", "pendulum", "--dynamics", "foo"],
            "expected one of `koopman`, `mlp`, `gru`, `transformer`, `dssm`",
        ),
        (&["--env", "pendulum", "--set", "learner.horizn=3"], "the nearest is `learner.horizon`"),
        (
            &["--env", "pendulum", "--set", "learner.horizon=x"],
            "is a string, but `learner.horizon` is an integer",
        ),
        (&["--env", "pendulum", "--config", "absent.toml"], "cannot read the configuration absent.toml"),
        (&["--env", "pendulum", "--device", "tpu"], "unknown device `tpu`"),
        (&["compare", "--env", "pendulum", "--seeds", "3..1"], "did you mean 1..3?"),
        (&["sweep", "absent.toml"], "cannot read the sweep file absent.toml"),
        (&["eval", "absent"], "absent holds no checkpoint"),
        (&["envs", "pendulm", "--check"], "the nearest names are pendulum"),
        (&["--env", "pendulum", "--seed", "9223372036854775809"], "--seed 9223372036854775809 is too large"),
        // once they were opened first
        (&["--env", "pendulum", "--num-envs", "1000000000000"], "planning would take at least"),
        (
            &["--env", "pendulum", "--dynamics", "transformer", "--eval-horizons", "5,60"],
            "`evaluation.horizons = 60` exceeds model.transformer.max_horizon = 50",
        ),
        (&["--env", "py:gymnasium"], "is not written py:MODULE:ID, e.g. py:gymnasium:Pendulum-v1"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = said(&output);
        assert!(said.contains(sentence) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
}

/// The one said that episode 1 is not among those recorded, the other that returns are not numbers.
#[test]
fn no_episodes_are_refused() {
    for command in ["eval", "diagnose"] {
        let output = run(&[command, "absent", "--episodes", "0"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("invalid value '0' for '--episodes"), "{}", said(&output));
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_built_in_names_its_feature() {
    let output = run(&["--env", "pendulum", "--device", "cuda"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("rebuild with `--features cuda`"));
}

#[test]
fn envs_lists_every_environment_with_its_numbers() {
    let output = run(&["envs"]);
    let table = said(&output);
    assert!(output.status.success());
    let row = table.lines().find(|line| line.trim_start().starts_with("cheetah-run")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["cheetah-run", "dmc/cheetah-run", "17", "6", "1000", "4"]);
    assert!(table.contains("DeepMind Control Suite"), "{table}");
}

#[test]
fn an_option_that_the_environment_does_not_have_is_refused_with_those_it_has() {
    let output = run(&["--env", "hopper", "--set", "env.ctrl_cost=0.1"]);
    assert_eq!(output.status.code(), Some(2));
    let message = said(&output);
    assert!(
        message.contains("`hopper` has no option `ctrl_cost`; its options are max_episode_steps,"),
        "{message}"
    );
    assert!(message.contains("ctrl_cost_weight") && message.contains("td-koopman envs hopper"), "{message}");
}

#[test]
fn an_environment_is_tested_in_a_table() {
    let output = run(&["envs", "pendulum", "--check"]);
    let table = said(&output);
    assert!(output.status.success(), "{table}");
    for line in ["pendulum (Pendulum-v1, classic)", "passed   same seed, same episode", "passed   pictures"] {
        assert!(table.lines().any(|row| row.starts_with(line)), "{line}: {table}");
    }
    assert!(
        table.contains(" steps a second") && table.ends_with("`pendulum` keeps its promises\n"),
        "{table}"
    );
}

/// Train, evaluate twice, write a trace: what the README promises.
#[test]
fn evaluation_repeats_bit_by_bit_and_writes_a_trace() {
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name).display().to_string();
    let folder = path("run");
    let trained = run(&[
        "--env",
        "cartpole-swingup",
        "--steps",
        "2400",
        "--out",
        &folder,
        "--set",
        "model.hidden_dim=16",
        "--set",
        "planner.num_samples=16",
        "--set",
        "learner.batch_size=8",
        "--set",
        "train.seed_decisions=125",
        "--set",
        "train.seed_episodes=0",
        "--set",
        "evaluation.episodes=1",
    ]);
    assert!(trained.status.success(), "{}", said(&trained));
    assert!(said(&trained).contains("parameters in koopman dynamics"), "{}", said(&trained));
    let provenance = std::fs::read_to_string(temporary.path().join("run/provenance.txt")).unwrap();
    assert!(provenance.contains(" dynamics_parameters="), "{provenance}");
    for file in ["config.toml", "train.csv", "eval.csv", "curve.svg", "provenance.txt", "tensorboard"] {
        assert!(temporary.path().join("run").join(file).exists(), "{file}");
    }
    let evaluate = |trace: &str| {
        let output = run(&["eval", &folder, "--episodes", "2", "--seed", "7", "--trace", trace]);
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    };
    let (a, b) = (path("a.csv"), path("b.csv"));
    assert_eq!(evaluate(&a), evaluate(&b));
    let (a, b) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    assert!(a == b, "traces of equal evaluations differ");
    let text = String::from_utf8(a).unwrap();
    assert_eq!(text.lines().count(), 1 + 2 * 1000);
    assert!(text.lines().last().unwrap().ends_with("truncated"));
    acts_as_in_the_trace(&folder, &text);
    let (cut, tape) = (path("cut.csv"), path("cut.hdf5"));
    plays_on_for_nobody(&[
        "eval",
        &folder,
        "--episodes",
        "2",
        "--seed",
        "7",
        "--trace",
        &cut,
        "--record",
        &tape,
    ]);
    assert!(std::fs::read_to_string(cut).unwrap() == text && std::fs::metadata(tape).unwrap().len() > 0);
    let refused = run(&["act", &folder, "--set", "model.hidden_dim=32"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(self::said(&refused).contains("a setting changes the networks"), "{}", self::said(&refused));
    let refused = run(&["--env", "cartpole-swingup", "--steps", "800", "--out", &folder]);
    assert_eq!(refused.status.code(), Some(2));
    let said = evaluate(&path("c.csv"));
    assert!(
        said.contains("return ")
            && said.contains(" ± ")
            && said.contains("over 2 episodes")
            && said.contains("the critics expected"),
        "{said}"
    );

    let spectrum = path("s.svg");
    let words = ["diagnose", &folder, "--eval-horizons", "1", "--episodes", "1", "--set", "threads=1"];
    let diagnosed = run(&[&words[..], &["--spectrum", &spectrum]].concat());
    assert!(self::said(&diagnosed).contains("return_h1"), "{}", self::said(&diagnosed));
    assert!(std::fs::read_to_string(spectrum).unwrap().contains("\n1  run\n"), "the disc of the first run");
    let refused = run(&["diagnose", &folder, "--eval-horizons", "3,3"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        self::said(&refused).contains("`evaluation.horizons = 3` is there twice (set in --eval-horizons)")
    );

    let video = path("v.gif");
    let filmed =
        run(&["eval", &folder, "--episodes", "2", "--seed", "7", "--video", &video, "--video-every", "25"]);
    let filmed = self::said(&filmed);
    assert!(
        filmed.contains(said.lines().last().unwrap()),
        "looking on changed the returns: {filmed}\n{said}"
    );
    // where there is no OpenGL, one warning says what to install
    let drawn = filmed.contains("v.gif, 6 frames") && std::fs::read(&video).unwrap().starts_with(b"GIF89a");
    assert!(drawn || filmed.contains("warning: no video: pictures need OpenGL"), "{filmed}");
}

/// Nobody reads what it prints (`| head`): files that were asked for were not written then.
fn plays_on_for_nobody(arguments: &[&str]) {
    let program = Command::new(env!("CARGO_BIN_EXE_td-koopman"));
    let mut child = { program }.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

/// Asked for the first decisions of the first episode of a trace, it answers what was done there, and an answer it has to every line.
fn acts_as_in_the_trace(folder: &str, trace: &str) {
    // eight steps a decision; qpos and qvel are four columns
    let rows: Vec<Vec<&str>> = trace.lines().skip(1).step_by(8).map(|row| row.split(',').collect()).collect();
    let asked = |row: &[&str]| format!("[{}]\n", row[6..11].join(","));
    let input = "[NaN]\n{\"reset\": 7}\n\n".to_owned() + &asked(&rows[0]) + "[1, 2]\n" + &asked(&rows[1]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_td-koopman"))
        .args(["act", folder, "--set", "threads=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 7, "{text}");
    assert_eq!(
        (&answers[0]["env"], &answers[0]["action_repeat"]),
        (&"dmc/cartpole-swingup".into(), &8.into())
    );
    assert_eq!(answers[2], serde_json::json!({ "reset": 7 }));
    for (answer, row) in [(&answers[4], &rows[0]), (&answers[6], &rows[1])] {
        assert_eq!(answer["action"][0].as_f64().unwrap(), row[11].parse::<f64>().unwrap(), "{answer}");
        assert!(answer["expected_return"].is_number() && answer["ms"].as_f64().unwrap() > 0.0, "{answer}");
    }
    for (number, sentence) in
        [(1, "neither an observation"), (3, "neither an observation"), (5, "has 5 numbers, this one has 2")]
    {
        let error = answers[number]["error"].as_str().unwrap();
        assert!(error.contains(sentence), "{error}");
    }
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("2 decisions, "));
}
