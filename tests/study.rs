//! Studies as a user runs them: each cell once, a failure named, a kill survived.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

const TINY: [&str; 14] = [
    "model.hidden_dim=16",
    "model.latent_dim=8",
    "model.encoder_hidden=[16]",
    "learner.batch_size=8",
    "planner.num_samples=16",
    "planner.num_elites=4",
    "planner.iterations=2",
    "train.seed_decisions=200",
    "train.seed_episodes=0",
    "train.updates_per_decision=0.2",
    "train.checkpoint_seconds=0.05",
    "evaluation.episodes=1",
    "evaluation.every=200",
    "learner.horizon=2",
];

fn program(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_td-koopman"));
    command.current_dir(folder).args(words);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn compare(folder: &Path, words: &[&str]) -> Command {
    let mut command = program(folder, &["compare", "--env", "pendulum", "--out", "results/x"]);
    command.args(words);
    for setting in TINY {
        command.args(["--set", setting]);
    }
    command
}

/// All files below a folder, with their times and contents.
fn files(folder: &Path) -> BTreeMap<String, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry));
        } else {
            let time = entry.metadata().unwrap().modified().unwrap();
            found.insert(entry.display().to_string(), (time, fs::read(&entry).unwrap()));
        }
    }
    found
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("waited in vain: {what}");
}

#[test]
fn a_comparison_runs_each_cell_once_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let (runs, out) = (folder.path().join("runs"), folder.path().join("results/x"));
    let words = [
        "--variants",
        "koopman,few:planner.num_samples=8;model.dynamics=mlp",
        "--seeds",
        "1..2",
        "--steps",
        "600",
    ];
    let first = compare(folder.path(), &[&words[..], &["--jobs", "2"]].concat()).output().unwrap();
    assert!(first.status.success(), "{}", said(&first));
    assert!(said(&first).contains("4 runs, 4 to do"), "{}", said(&first));
    let page = fs::read_to_string(out.join("README.md")).unwrap();
    for text in [
        "| pendulum | koopman | 2 of 2 | ",
        "| pendulum | few | 2 | ",
        "| `planner.num_samples` | 16 | 8 |",
        "| `model.dynamics` | \"koopman\" | \"mlp\" |",
        "no score over tasks",
        "compare --env pendulum",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    let csv = fs::read_to_string(out.join("curves.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 3, "{csv}");
    for file in [
        "pendulum.svg",
        "pendulum-cpu.svg",
        "runs/pendulum/few/seed2/eval.csv",
        "runs/pendulum/koopman/seed1/provenance.txt",
    ] {
        assert!(out.join(file).exists(), "{file}");
    }
    let before = files(&runs);
    let again = compare(folder.path(), &words).output().unwrap();
    assert!(again.status.success() && said(&again).contains("4 runs, 0 to do"), "{}", said(&again));
    assert!(files(&runs) == before, "a finished run was touched");

    // other settings in the same folder are refused for each of its runs, which are left as they are, and so is the
    // report: an empty one was written over it
    let curves = fs::read(out.join("curves.csv")).unwrap();
    let other =
        compare(folder.path(), &[&words[..], &["--set", "learner.rho=0.9"]].concat()).output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other).contains("learner.rho = 0.5 → 0.9"), "{}", said(&other));
    assert!(files(&runs) == before, "a refused run was touched");
    assert_eq!(fs::read(out.join("curves.csv")).unwrap(), curves);

    // a clone of the repository has the results and no runs: nothing is trained again, and more seeds go on from there
    fs::remove_dir_all(&runs).unwrap();
    let cloned = compare(folder.path(), &words).output().unwrap();
    assert!(cloned.status.success() && said(&cloned).contains("4 runs, 0 to do"), "{}", said(&cloned));
    assert!(said(&cloned).contains("4 were finished elsewhere") && !runs.exists(), "{}", said(&cloned));
    assert_eq!(fs::read(out.join("curves.csv")).unwrap(), curves);
    let page = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(page.contains("| pendulum | koopman | 2 of 2 | "), "{page}");

    // other settings are refused there as well: they were trained, and replaced what is committed
    let kept = files(&out.join("runs"));
    let other =
        compare(folder.path(), &[&words[..], &["--set", "learner.rho=0.9"]].concat()).output().unwrap();
    assert!(said(&other).contains("4 runs, 0 to do"), "{}", said(&other));
    assert!(
        said(&other).contains("failed: pendulum koopman seed 1 (what is kept is not"),
        "{}",
        said(&other)
    );
    assert!(said(&other).contains("learner.rho = 0.5 → 0.9"), "{}", said(&other));
    assert_eq!(other.status.code(), Some(1));
    assert!(!runs.exists() && files(&out.join("runs")) == kept, "{}", said(&other));
    assert_eq!(fs::read(out.join("curves.csv")).unwrap(), curves);
}

/// A terminal that was closed, or `2>&1 | head`, ended a study of days with a panic.
#[test]
fn a_study_whose_words_nobody_reads_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut study =
        compare(folder.path(), &["--list"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(study.stderr.take());
    assert!(study.wait().unwrap().success());
}

/// Studies say in a comment that finished runs are not repeated. A new default (`train.seed_episodes`) made three of them train everything anew.
#[test]
fn committed_runs_still_answer_the_studies_they_were_made_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut asked = 0;
    for file in fs::read_dir(root.join("configs/sweep")).unwrap().map(|e| e.unwrap().path()) {
        let name = file.file_stem().unwrap().to_str().unwrap();
        if file.extension().is_none_or(|e| e != "toml")
            || !root.join("results").join(name).join("runs").exists()
        {
            continue;
        }
        let list = program(root, &["compare", "--list", "--study", file.to_str().unwrap()]).output().unwrap();
        assert!(list.status.success(), "{name}: {}", said(&list));
        assert!(!said(&list).contains("failed: "), "{name}: {}", said(&list));
        asked += 1;
    }
    assert!(asked > 5, "{asked} studies with committed runs");
}

#[test]
fn a_failed_cell_is_named_with_its_last_words_and_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    // a file where the run's checkpoint belongs makes the run fail when it saves
    let seed2 = folder.path().join("runs/x/pendulum/koopman/seed2");
    fs::create_dir_all(&seed2).unwrap();
    fs::write(seed2.join("checkpoint-1"), "").unwrap();
    // another process trains the third: it was called failed in the page of this study
    let seed3 = folder.path().join("runs/x/pendulum/koopman/seed3");
    fs::create_dir_all(&seed3).unwrap();
    let lock = fs::File::create(seed3.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let words = ["--variants", "koopman", "--seeds", "2,3,1", "--steps", "400"];
    let output = compare(folder.path(), &words).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("failed: pendulum koopman seed 2 (exit code 1: error: "),
        "{}",
        said(&output)
    );
    assert!(said(&output).contains("1 cells failed"), "{}", said(&output));
    let page = fs::read_to_string(folder.path().join("results/x/README.md")).unwrap();
    assert!(
        page.contains("| pendulum | koopman | **1 of 2** | ") && page.contains("failed: exit code 1"),
        "{page}"
    );
    assert!(!page.contains("another process") && page.contains("runs: 1 of 3 finished"), "{page}");

    fs::remove_file(seed2.join("checkpoint-1")).unwrap();
    let output = compare(folder.path(), &words).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("1 cells are trained by other processes"), "{}", said(&output));
}

/// Kills the study itself; its runs notice, save and end, and the same command goes on from there.
#[test]
fn a_killed_comparison_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/x/pendulum/koopman/seed1");
    let words = ["--variants", "koopman", "--seeds", "1", "--steps", "2000"];
    let mut study: Child = compare(folder.path(), &words).stderr(Stdio::null()).spawn().unwrap();
    let rows = || fs::read_to_string(run.join("eval.csv")).map_or(0, |text| text.lines().count());
    wait_for("the second evaluation", || rows() >= 3);
    study.kill().unwrap();
    study.wait().unwrap();
    wait_for("the run to end", || fs::File::open(run.join("lock")).unwrap().try_lock().is_ok());
    assert!(!run.join("curve.svg").exists(), "it was finished before it could be killed");

    let output = compare(folder.path(), &words).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(rows(), 1 + 10);
    let provenance = fs::read_to_string(run.join("provenance.txt")).unwrap();
    let starts: Vec<&str> = provenance.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert!(starts.len() == 2 && starts[0] == "from_env_step=0" && starts[1] != starts[0], "{provenance}");
}

/// A study from a file, stopped between two variants: the page tells of the finished one, and later of both.
#[test]
fn a_stopped_study_reports_what_is_finished_and_a_finished_one_what_was_taught() {
    let folder = tempfile::tempdir().unwrap();
    let settings: String = TINY.iter().map(|s| format!("{}\n", s.replace('=', " = "))).collect();
    let text = format!(
        "about = \"Is less enough?\"\nenv = [\"pendulum\"]\nseeds = [1]\nsteps = 1000\nbaseline = \"koopman\"\n\
         [[variants]]\nlabel = \"koopman\"\nidea = \"the baseline\"\n\
         [[variants]]\nlabel = \"few\"\nidea = \"less is enough\"\ntaught = \"it is\"\nset = {{ \"planner.num_samples\" = 8 }}\n\
         [set]\n{settings}"
    );
    fs::write(folder.path().join("few.toml"), text).unwrap();
    let words = ["compare", "--study", "few.toml"];
    let study = program(folder.path(), &words).stderr(Stdio::piped()).spawn().unwrap();
    let second = folder.path().join("runs/few/pendulum/few/seed1/train.csv");
    wait_for("the second variant to begin", || second.exists());
    Command::new("kill").args(["-INT", &study.id().to_string()]).status().unwrap();
    assert_eq!(study.wait_with_output().unwrap().status.code(), Some(130));
    let page = || fs::read_to_string(folder.path().join("results/few/README.md")).unwrap();
    // returns of a pendulum are negative: they have no ratio
    for text in ["runs: 1 of 2 finished", "Is less enough?", "| koopman | – | -", "| few | – | – |"] {
        assert!(page().contains(text), "{text} is not in {}", page());
    }

    // what is left is listed, and the page can be had again without training it
    let with = |flag| program(folder.path(), &[&words[..], &[flag]].concat()).output().unwrap();
    let list = String::from_utf8(with("--list").stdout).unwrap();
    assert!(list.lines().count() == 1 && list.contains("runs/few/pendulum/few/seed1"), "{list}");
    let (stopped, runs) = (page(), files(&folder.path().join("runs")));
    fs::remove_file(folder.path().join("results/few/README.md")).unwrap();
    let report = with("--report");
    assert!(report.status.success() && said(&report).contains("2 runs, 1 to do"), "{}", said(&report));
    assert!(page() == stopped && files(&folder.path().join("runs")) == runs, "{}", page());

    let output = program(folder.path(), &words).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let page = page();
    let line = page.lines().find(|line| line.starts_with("| few | ")).unwrap();
    assert!(line.contains("`planner.num_samples=8` | less is enough | it is |"), "{line}");
    let model: Vec<&str> = line.split('|').map(str::trim).collect();
    assert!(model[6].parse::<f64>().is_ok(), "the error of its latents: {line}");
}

#[test]
fn a_plan_sweep_measures_each_cell_once_and_cells_merge() {
    let folder = tempfile::tempdir().unwrap();
    let trained = compare(folder.path(), &["--variants", "koopman", "--seeds", "1", "--steps", "400"])
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", said(&trained));
    let text = "kind = \"plan\"\nrun = \"runs/x/pendulum/koopman/seed1\"\nepisodes = 1\n\
                [grid]\n\"planner.num_samples\" = [8, 16]\n\"planner.horizon.end\" = [1, 3]\n";
    fs::write(folder.path().join("grid.toml"), text).unwrap();
    let refused = program(folder.path(), &["sweep", "grid.toml"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("\"planner.horizon.decisions\" = 0"), "{}", said(&refused));
    fs::write(
        folder.path().join("grid.toml"),
        text.to_owned() + "[set]\n\"planner.horizon.decisions\" = 0\n",
    )
    .unwrap();

    let list = program(folder.path(), &["sweep", "grid.toml", "--list"]).output().unwrap();
    let commands = String::from_utf8(list.stdout).unwrap();
    assert_eq!(commands.lines().count(), 4);
    // a command of the list whose cell has become another one: it measured that, and the sweep ended without a result
    let edited = fs::read_to_string(folder.path().join("grid.toml")).unwrap();
    fs::write(folder.path().join("grid.toml"), edited.replace("[8, 16]", "[16, 8]")).unwrap();
    let shell = |line: usize| {
        let command = commands.lines().nth(line).unwrap();
        Command::new("sh").current_dir(folder.path()).args(["-c", command]).output().unwrap()
    };
    let stale = shell(2);
    assert_eq!(stale.status.code(), Some(2), "{}", said(&stale));
    assert!(
        said(&stale).contains("--cell 3 is not ") && said(&stale).contains(" any more"),
        "{}",
        said(&stale)
    );
    fs::write(folder.path().join("grid.toml"), edited).unwrap();
    // one cell by hand, as from the list
    let by_hand = shell(2);
    assert!(by_hand.status.success(), "{}", said(&by_hand));
    let left = program(folder.path(), &["sweep", "grid.toml", "--list"]).output().unwrap();
    assert_eq!(String::from_utf8(left.stdout).unwrap().lines().count(), 3);
    let cells = folder.path().join("results/grid/cells");
    let by_hand = files(&cells);
    assert_eq!(by_hand.len(), 1);

    let swept = program(folder.path(), &["sweep", "grid.toml", "--jobs", "2"]).output().unwrap();
    assert!(swept.status.success() && said(&swept).contains("4 cells, 3 to do"), "{}", said(&swept));
    let all = files(&cells);
    assert!(all.len() == 4 && by_hand.iter().all(|(name, file)| all[name] == *file));
    let again = program(folder.path(), &["sweep", "grid.toml"]).output().unwrap();
    assert!(again.status.success() && said(&again).contains("4 cells, 0 to do"), "{}", said(&again));
    assert!(files(&cells) == all, "a finished cell was touched");

    let out = folder.path().join("results/grid");
    let table = fs::read_to_string(out.join("cells.csv")).unwrap();
    assert!(table.starts_with("cell,id,planner.horizon.end,planner.num_samples,return_mean,return_sd,return_best,episodes,ms_per_plan,commit\n1,"));
    assert_eq!(table.lines().count(), 1 + 4, "{table}");
    for file in ["heatmap-return.svg", "heatmap-cost.svg", "pareto.svg", "sweep.toml"] {
        assert!(out.join(file).exists(), "{file}");
    }
    let page = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(page.contains("cells: 4 of 4 finished") && page.contains("on the Pareto front"), "{page}");
}

#[test]
fn a_training_sweep_averages_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = "kind = \"train\"\n[set]\nenv = \"pendulum\"\nsteps = 400\n".to_owned();
    for setting in TINY {
        let (key, value) = setting.split_once('=').unwrap();
        text += &format!("\"{key}\" = {value}\n");
    }
    text += "[[cells]]\nseed = 1\n[[cells]]\nseed = 2\n[[cells]]\nseed = 1\n\"planner.num_samples\" = 8\n";
    fs::write(folder.path().join("s.toml"), text).unwrap();
    let swept = program(folder.path(), &["sweep", "s.toml", "--jobs", "2"]).output().unwrap();
    assert!(swept.status.success(), "{}", said(&swept));
    let out = folder.path().join("results/s");
    let svg = fs::read_to_string(out.join("pareto.svg")).unwrap();
    let dots = svg.matches("r=\"40\"").count();
    assert_eq!(dots, 2, "two settings, one of them with two seeds");
    assert_eq!(fs::read_to_string(out.join("cells.csv")).unwrap().lines().count(), 1 + 3);
    assert!(!out.join("heatmap-return.svg").exists());
}

#[test]
fn mistakes_end_with_one_sentence_and_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.toml"), "kind = \"train\"\n[grid]\n").unwrap();
    for (words, sentence) in [
        (&["compare", "--env", "pendulum", "--seeds", "3..1"][..], "did you mean 1..3?"),
        (&["compare", "--env", "pendulum", "--jobs", "0"], "--jobs"),
        (&["compare", "--env", "pendulum", "--set", "learner.roh=1"], "unknown key `learner.roh`"),
        (&["compare", "--env", "pendulun"], "the nearest names are pendulum"),
        (&["sweep", "absent.toml"], "cannot read the sweep file absent.toml"),
        (&["sweep", "empty.toml"], "[grid] is empty"),
    ] {
        let output = program(folder.path(), words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(sentence), "{words:?}: {}", said(&output));
    }
}
