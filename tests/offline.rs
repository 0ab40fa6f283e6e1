//! The offline study as a user runs it: each cell once, interrupted and gone on with, mistakes named.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const TINY: [&str; 7] = [
    "data.test_share=0.34",
    "train.horizon=2",
    "train.mlp_horizon=1",
    "train.steps_per_update=8",
    "test.horizon=2",
    "test.windows=5",
    "model.latent_dim=16",
];

fn offline(folder: &Path, words: &[&str]) -> Command {
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/d4rl.hdf5");
    let mut command = Command::new(env!("CARGO_BIN_EXE_td-koopman"));
    command.current_dir(folder).args(["offline", "--data", &format!("tiny={recording}")]).args(words);
    if !words.contains(&"--out") {
        command.args(["--out", "results/x"]);
    }
    for setting in TINY {
        command.args(["--set", setting]);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_study_fits_each_cell_once_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let (runs, out) = (folder.path().join("runs/x"), folder.path().join("results/x"));
    let words =
        ["--variants", "koopman,mlp,slow:model.dynamics=gru;train.learning_rate=1e-4", "--seeds", "1..2"];
    let words = [&words[..], &["--updates", "20"]].concat();
    let list = offline(folder.path(), &[&words[..], &["--list"]].concat()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), 6, "{}", said(&list));
    // one of them by hand, as a cluster would; of another data set too, which it needs not read
    let more = ["--cell", "2", "--data", "another=absent.hdf5"];
    let cell = offline(folder.path(), &[&words[..], &more].concat()).output().unwrap();
    assert!(cell.status.success() && runs.join("tiny/koopman/seed2/errors.csv").exists(), "{}", said(&cell));

    let first = offline(folder.path(), &words).output().unwrap();
    assert!(first.status.success() && said(&first).contains("6 cells, 5 to do"), "{}", said(&first));
    let page = read(&out.join("README.md"));
    for part in
        ["11 transitions in 3 episodes, 2 of them to learn from", "| slow |", "*nothing changes*", "gru"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    for picture in ["tiny-state.svg", "tiny-reward.svg"] {
        assert!(page.contains(picture) && read(&out.join(picture)).contains("steps ahead"));
    }
    let errors = read(&out.join("errors.csv"));
    assert_eq!(errors.lines().count(), 1 + 3 * 2 * 2, "variants × seeds × depths: {errors}");

    // the page says what the numbers say: the mean over seeds and depths, with three digits
    let mean = |variant: &str, column: usize| {
        let start = format!("tiny,{variant},");
        let rows = errors.lines().filter(|row| row.starts_with(&start));
        rows.map(|row| row.split(',').nth(column).unwrap().parse::<f64>().unwrap()).sum::<f64>() / 4.0
    };
    for (column, part) in [(4, "state"), (5, "reward")] {
        let table = page.split(&format!("Errors of the {part}")).nth(1).unwrap();
        for variant in ["koopman", "mlp", "slow"] {
            let row = table.lines().find(|row| row.starts_with(&format!("| {variant} "))).unwrap();
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let said: f64 = cells[cells.len() - 3].split_whitespace().next().unwrap().parse().unwrap();
            let expected = mean(variant, column);
            assert!((said / expected - 1.0).abs() < 6e-3, "{expected}: {row}");
        }
    }

    // a clone has the results alone
    fs::remove_dir_all(&runs).unwrap();
    let again = offline(folder.path(), &words).output().unwrap();
    assert!(again.status.success() && said(&again).contains("6 cells, 0 to do"), "{}", said(&again));
    assert!(!runs.exists());
    assert_eq!(read(&out.join("errors.csv")), errors);
}

/// What comes out does not depend on an interruption, to the bit.
#[test]
fn an_interrupted_cell_goes_on_as_if_it_had_not_been() {
    let [whole, broken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let words = ["--variants", "koopman", "--seeds", "1", "--updates", "3000", "--cell", "1"];
    let run = Path::new("runs/x/tiny/koopman/seed1");
    assert!(offline(whole.path(), &words).output().unwrap().status.success());
    let child = offline(broken.path(), &words).stderr(Stdio::piped()).spawn().unwrap();
    while !broken.path().join(run).join("config.toml").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(!broken.path().join(run).join("errors.csv").exists(), "it was stopped too late to test anything");
    let resumed = offline(broken.path(), &words).output().unwrap();
    assert!(resumed.status.success(), "{}", said(&resumed));
    let file = |folder: &Path, name: &str| read(&folder.join(run).join(name));
    assert_eq!(file(broken.path(), "errors.csv"), file(whole.path(), "errors.csv"));
    let losses = |folder: &Path| {
        let text = file(folder, "train.csv");
        text.lines().map(|row| row.rsplit_once(',').unwrap().0.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(losses(broken.path()), losses(whole.path()));
    assert_eq!(losses(whole.path()).len(), 301);
    assert_eq!(file(broken.path(), "provenance.txt").lines().count(), 2);
}

#[test]
fn mistakes_are_named_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |words: &[&str], code: i32, complaint: &str| {
        let output = offline(folder.path(), words).output().unwrap();
        let said = said(&output);
        assert!(output.status.code() == Some(code) && said.contains(complaint), "{words:?}: {said}");
        assert!(!folder.path().join("runs").exists(), "{words:?}");
    };
    refused(&["--variants", "koopmann"], 2, "`koopman`, `mlp`");
    refused(&["--set", "train.horizn=3"], 2, "the nearest is `train.horizon`");
    refused(&["--cell", "99"], 2, "the cells 1 to 15");
    refused(&["--data", "absent.hdf5"], 1, "absent.hdf5");
    refused(&["--data", "here=."], 2, "is no run and has none below it");
    refused(&["--seeds", "3..1"], 2, "did you mean");
    refused(&["--out", ".."], 2, "has no name");
    refused(&["--data", &format!("tiny={}", file!())], 2, "names `tiny` twice");
    refused(&["--variants", "koopman:train.horizon=6"], 2, "no episode to learn from has 6 steps");
    refused(&["--variants", "koopman,far:model.dynamics=gru;test.horizon=1"], 2, "variants are tested alike");
    refused(&["--device", "cuda:7x"], 2, "unknown device `cuda:7x`");
    refused(&["--test", &fixture("d4rl")], 2, "no --data is another recording");
    refused(&["--test", "absent.hdf5"], 1, "absent.hdf5");
}

fn fixture(name: &str) -> String {
    format!("{}/tests/data/{name}.hdf5", env!("CARGO_MANIFEST_DIR"))
}

/// What was fitted is judged on another recording later on, without another update; what was known stays as it was.
#[test]
fn models_are_tested_on_other_recordings_without_learning_from_them() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/x/tiny/koopman/seed1");
    let words = ["--variants", "koopman,gru", "--seeds", "1", "--updates", "20"];
    assert!(offline(folder.path(), &words).output().unwrap().status.success());
    let (errors, losses) = (read(&run.join("errors.csv")), read(&run.join("train.csv")));
    assert!(!run.join("tests.csv").exists());

    let test = format!("other={}", fixture("minari"));
    let words = [&words[..], &["--test", &test]].concat();
    let output = offline(folder.path(), &words).output().unwrap();
    assert!(output.status.success() && said(&output).contains("2 cells, 2 to do"), "{}", said(&output));
    assert_eq!((read(&run.join("errors.csv")), read(&run.join("train.csv"))), (errors.clone(), losses));
    let out = folder.path().join("results/x");
    let (page, tests) = (read(&out.join("README.md")), read(&out.join("tests.csv")));
    assert!(page.contains("### tiny, tested on other") && page.contains("of which nothing was learned"));
    assert!(page.contains("tiny-on-other-state.svg") && out.join("tiny-on-other-reward.svg").exists());
    assert_eq!(tests.lines().count(), 1 + 2 * 2, "variants × depths: {tests}");
    let own = errors.lines().nth(1).unwrap().split(',').nth(1).unwrap();
    let there = tests.lines().find(|row| row.starts_with("tiny,other,koopman,1,1,")).unwrap();
    let ratio = there.split(',').nth(5).unwrap().parse::<f64>().unwrap() / own.parse::<f64>().unwrap();
    assert!(ratio > 1.5, "episodes that go on where those of the data set end: {there}, {own}");

    // once is enough, with the results alone as well, and without asking again
    fs::remove_dir_all(folder.path().join("runs")).unwrap();
    for words in [&words[..], &words[..6]] {
        let again = offline(folder.path(), words).output().unwrap();
        assert!(said(&again).contains("2 cells, 0 to do"), "{}", said(&again));
    }
    // another recording by that name
    let last = words.len() - 1;
    let renamed = format!("other={}", fixture("d4rl_no_next_observations"));
    let output = offline(folder.path(), &[&words[..last], &[&renamed]].concat()).output().unwrap();
    assert!(said(&output).contains("give --test another name"), "{}", said(&output));
}

/// A mode a row and depth: those of a Koopman latent of 16 numbers, eight, which hold all variance.
#[test]
fn koopman_dynamics_show_their_modes() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--variants", "koopman,mlp", "--seeds", "1", "--updates", "20"];
    assert!(offline(folder.path(), &words).output().unwrap().status.success());
    let kept = folder.path().join("results/x/runs/tiny");
    let modes = read(&kept.join("koopman/seed1/modes.csv"));
    assert!(modes.starts_with("mode,re,im,share,steps_ahead,missed,changed\n"), "{modes}");
    assert_eq!(modes.lines().count(), 1 + 8, "windows have two steps, and modes are judged after 1: {modes}");
    let share = |row: &str| row.split(',').nth(3).unwrap().parse::<f64>().unwrap();
    assert!((modes.lines().skip(1).map(share).sum::<f64>() - 1.0).abs() < 1e-5, "{modes}");
    assert!(!kept.join("mlp/seed1/modes.csv").exists());
    let out = folder.path().join("results/x");
    let page = read(&out.join("README.md"));
    assert!(page.contains("![eigenvalues](tiny-spectrum.svg)"), "{page}");
    let table = page.split("| in half |").nth(1).unwrap();
    assert!(table.lines().nth(2).unwrap().starts_with("| koopman | "), "{table}");
    assert!(read(&out.join("tiny-spectrum.svg")).contains("missed after 1 steps"));
}

/// A cell's files are of one recording and one set of settings.
#[test]
fn other_settings_in_the_same_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--variants", "mlp", "--seeds", "1", "--updates", "10"];
    assert!(offline(folder.path(), &words).output().unwrap().status.success());
    let other =
        offline(folder.path(), &[&words[..], &["--set", "model.hidden_dim=9"]].concat()).output().unwrap();
    assert_eq!(other.status.code(), Some(2), "{}", said(&other));
    assert!(said(&other).contains("model.hidden_dim = 128 → 9"), "{}", said(&other));
}
