//! What the files of a run and of a study say, and how a study writes its own.

use crate::config::RunConfig;
use crate::report::{Evaluated, read_evaluations, write_atomically};
use crate::train::refuse_another_run;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The console output of a cell.
pub const LOG: &str = "console.log";

/// The evaluations of a run up to the one that ends `steps`; none before it has begun.
pub fn evaluations(run: &Path, steps: u64) -> Result<Vec<Evaluated>> {
    let path = run.join("eval.csv");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut rows = read_evaluations(&path)?;
    if let Some(end) = rows.iter().position(|row| row.env_step >= steps as f64) {
        rows.truncate(end + 1);
    }
    Ok(rows)
}

/// The last row of a run's `model.csv` up to the evaluation that ends `steps`, by column; nothing if there is none.
pub fn model(run: &Path, steps: u64) -> BTreeMap<String, f64> {
    let read = || -> csv::Result<BTreeMap<String, f64>> {
        let mut reader = csv::Reader::from_path(run.join("model.csv"))?;
        let header = reader.headers()?.clone();
        let mut last = BTreeMap::new();
        for row in reader.records().filter_map(Result::ok) {
            let known =
                header.iter().zip(&row).filter_map(|(name, x)| Some((name.to_owned(), x.parse().ok()?)));
            last = known.collect();
            if last.get("env_step").is_some_and(|&step| step >= steps as f64) {
                break;
            }
        }
        Ok(last)
    };
    read().unwrap_or_default()
}

/// Whether a process is training in the folder.
pub fn is_locked(run: &Path) -> bool {
    File::open(run.join("lock")).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Refuses a folder that holds a run with other settings.
pub fn refuse_foreign(config: &RunConfig, folder: &Path) -> Result<()> {
    let saved = folder.join("config.toml");
    if !saved.exists() {
        return Ok(());
    }
    let text = fs::read_to_string(&saved).with_context(|| format!("cannot read {}", saved.display()))?;
    refuse_another_run(&RunConfig::from_toml(&text, &saved.display().to_string())?, config, folder)
}

/// Whether the run in `folder` has taken its steps: its last evaluation is there, and so is the curve drawn at its end.
///
/// # Errors
/// The folder holds a run with other settings.
pub fn is_finished(config: &RunConfig, folder: &Path) -> Result<bool> {
    refuse_foreign(config, folder)?;
    if !folder.join("curve.svg").exists() {
        return Ok(false);
    }
    took_its_steps(config, folder)
}

/// Whether the evaluation that ends a run is there.
fn took_its_steps(config: &RunConfig, folder: &Path) -> Result<bool> {
    let last = evaluations(folder, config.steps)?.last().map_or(0.0, |row| row.env_step);
    Ok(last >= config.steps as f64)
}

/// Whether `folder` holds the small files of a run that took its steps: what a study keeps of it, in a clone of a repository
/// perhaps all there is.
///
/// # Errors
/// The folder holds a run with other settings.
pub fn is_kept(config: &RunConfig, folder: &Path) -> Result<bool> {
    if !folder.join("config.toml").exists() {
        return Ok(false);
    }
    refuse_foreign(config, folder)?;
    took_its_steps(config, folder)
}

/// What `train.csv` counts in its first column, environment steps of a run as of its last finished episode; 0 if nothing is known.
pub fn env_step(run: &Path) -> u64 {
    let tail = tail(&run.join("train.csv"), 0).unwrap_or_default();
    // a row being written has no end of line yet
    let whole = tail.rfind('\n').map_or("", |end| &tail[..end]);
    let last = whole.lines().last().unwrap_or_default();
    last.split(',').next().and_then(|cell| cell.parse().ok()).unwrap_or(0)
}

/// The last line of a file, behind its byte `from`, that says anything.
pub fn last_line(path: &Path, from: u64) -> Option<String> {
    let tail = tail(path, from).ok()?;
    tail.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// What a process that failed said last, behind the byte `from`: of a panic where and why, not the advice behind it.
pub fn last_words(path: &Path, from: u64) -> Option<String> {
    let tail = tail(path, from).ok()?;
    let mut lines =
        tail.lines().skip_while(|line| !line.contains("' panicked at ") && !line.contains(") panicked at "));
    match (lines.next(), lines.next()) {
        (Some(place), Some(why)) => Some(format!("{} {}", place.trim(), why.trim())),
        _ => last_line(path, from),
    }
}

/// The last 4 KiB of a file, as far as they are behind its byte `from`.
fn tail(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(4096).max(from)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Copies the small files of a run, as far as they exist.
pub fn keep_small_files(run: &Path, to: &Path) -> Result<()> {
    if run == to {
        return Ok(());
    }
    for name in ["eval.csv", "model.csv", "train.csv", "config.toml", "provenance.txt"] {
        let from = run.join(name);
        if from.exists() {
            let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            write_atomically(&to.join(name), &bytes)?;
        }
    }
    Ok(())
}

/// The folder of a study's runs, `runs/NAME`, for the folder of its results, `…/NAME`.
pub fn runs_folder(out: &Path) -> PathBuf {
    Path::new("runs").join(out.file_name().unwrap_or("study".as_ref()))
}

/// The commits that worked on a run, from its `provenance.txt`.
pub fn commits(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("provenance.txt")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.strip_prefix("commit=")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    #[test]
    fn progress_is_the_last_whole_row() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(env_step(folder.path()), 0);
        for (text, step) in
            [("", 0), ("env_step,x\n", 0), ("env_step,x\n200,1\n400,2\n", 400), ("h\n200,1\n40", 200)]
        {
            fs::write(folder.path().join("train.csv"), text).unwrap();
            assert_eq!(env_step(folder.path()), step, "{text}");
        }
    }

    #[test]
    fn the_last_line_that_says_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(LOG);
        assert_eq!(last_line(&path, 0), None);
        fs::write(&path, "x\n".repeat(5000) + "error: diverged\n\n").unwrap();
        assert_eq!(last_line(&path, 0).unwrap(), "error: diverged");
        assert_eq!(last_line(&path, 10_007).unwrap(), "diverged");
        assert_eq!(last_line(&path, 20_000), None);
    }

    /// A run that was trained for longer than asked for was reported with its evaluations up to there and its model at
    /// the very end.
    #[test]
    fn a_model_is_read_by_its_columns_at_the_step_that_was_asked_for() {
        let run = tempfile::tempdir().unwrap();
        assert!(model(run.path(), 200).is_empty());
        let text =
            "env_step,persistence_5,latent_error_5,linear_share\n100,9,8,7\n208,0.5,0.25,NaN\n300,1,2,\n";
        fs::write(run.path().join("model.csv"), text).unwrap();
        let asked = |steps| model(run.path(), steps);
        assert_eq!((asked(200)["persistence_5"], asked(200)["latent_error_5"]), (0.5, 0.25));
        assert!(asked(200)["linear_share"].is_nan());
        assert_eq!((asked(300)["persistence_5"], asked(1000).get("linear_share")), (1.0, None));
    }

    #[test]
    fn a_run_is_finished_when_it_has_its_steps_and_its_curve() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let config = with(&["env=pendulum", "steps=400"]).unwrap();
        let finished = |config| is_finished(config, folder.path()).unwrap();
        assert!(!finished(&config));
        file("config.toml", &config.to_toml());
        let header = "env_step,return_mean,return_sd,episodes,cpu_seconds,wall_seconds\n";
        file("eval.csv", &format!("{header}200,1,0,1,1,1\n400,2,0,1,2,2\n600,3,0,1,3,3\n"));
        assert!(!finished(&config), "without its curve");
        file("curve.svg", "");
        assert!(finished(&config));
        assert_eq!(evaluations(folder.path(), 300).unwrap().last().unwrap().env_step, 400.0);
        // a run from before there was a continuation head, on a task that cannot terminate
        file("config.toml", &config.to_toml().replace("continuation = \"auto\"\n", ""));
        assert!(finished(&config));
        let longer = with(&["env=pendulum", "steps=1000"]).unwrap();
        assert!(!finished(&longer), "asked for more steps");
        let other = with(&["env=pendulum", "steps=400", "learner.rho=0.9"]).unwrap();
        let error = is_finished(&other, folder.path()).unwrap_err().to_string();
        assert!(error.contains("other settings") && error.contains("rho"), "{error}");

        let kept = folder.path().join("kept");
        assert!(!is_kept(&config, &kept).unwrap(), "nothing there");
        keep_small_files(folder.path(), &kept).unwrap();
        keep_small_files(&kept, &kept).unwrap();
        assert!(is_kept(&config, &kept).unwrap() && !is_finished(&config, &kept).unwrap());
        assert!(!is_kept(&longer, &kept).unwrap() && is_kept(&other, &kept).is_err());
    }
}
