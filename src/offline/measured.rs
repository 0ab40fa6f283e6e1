//! What a fitted model is judged by, as the small files of a cell.

use super::config::OfflineConfig;
use crate::report::write_atomically;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;
use td_koopman_agents::config::DynamicsKind;
use td_koopman_agents::modes::Mode;
use td_koopman_agents::offline::Errors;

const ERRORS: &str = "errors.csv";
const TESTS: &str = "tests.csv";
const MODES: &str = "modes.csv";
/// Small files that are worth keeping.
pub const FILES: [&str; 3] = [ERRORS, TESTS, MODES];
/// Depths at which modes are judged.
pub const MODE_DEPTHS: [usize; 3] = [1, 10, 100];

/// Another recording that a cell is tested on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// What it is called.
    pub name: String,
    /// Which it is.
    pub fingerprint: String,
}

/// What was measured of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Errors by depth, on episodes of its data set.
    pub errors: Errors,
    /// The same on each of the other recordings that were asked for.
    pub elsewhere: Vec<Errors>,
    /// Of Koopman dynamics; empty otherwise.
    pub modes: Vec<ModeRow>,
    /// CPU seconds of all updates; NaN where they are not known.
    pub cpu_seconds: f64,
}

/// A row of `errors.csv`.
#[derive(Debug, Serialize, Deserialize)]
struct Depth {
    steps_ahead: usize,
    state_mse: f64,
    reward_mse: f64,
}

/// A row of `tests.csv`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TestRow {
    test: String,
    recording: String,
    steps_ahead: usize,
    state_mse: f64,
    reward_mse: f64,
}

/// A row of `modes.csv`: a mode at a depth; see [`Mode`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeRow {
    /// From 0.
    pub mode: usize,
    /// λ̄'s real part.
    pub re: f32,
    /// λ̄'s imaginary part.
    pub im: f32,
    /// Its share of the variance of all latents.
    pub share: f32,
    /// Which of [`MODE_DEPTHS`].
    pub steps_ahead: usize,
    /// What it misses by, over its variance; NaN of a mode that does not vary.
    pub missed: f32,
    /// What the claim that nothing changes misses by.
    pub changed: f32,
}

/// What is in a cell's folder; `None` where something is missing.
///
/// # Errors
/// A file is damaged, or there is another recording of the same name.
pub fn read(folder: &Path, config: &OfflineConfig, elsewhere: &[Elsewhere]) -> Result<Option<Measured>> {
    let depths = |rows: Vec<Depth>| Errors {
        state: rows.iter().map(|row| row.state_mse).collect(),
        reward: rows.iter().map(|row| row.reward_mse).collect(),
    };
    let path = folder.join(ERRORS);
    let Some(rows) = rows_of::<Depth>(&path)? else { return Ok(None) };
    ensure!(rows.len() == config.test.horizon, damaged(&path));
    let errors = depths(rows);
    let tests: Vec<TestRow> = rows_of(&folder.join(TESTS))?.unwrap_or_default();
    let mut others = Vec::new();
    for other in elsewhere {
        let own = |row: &&TestRow| row.test == other.name;
        if let Some(row) = tests.iter().filter(own).find(|row| row.recording != other.fingerprint) {
            let (name, there, asked) = (&other.name, &row.recording, &other.fingerprint);
            anyhow::bail!(
                "{} was tested on another recording named `{name}` ({there}, not {asked}): give --test another name",
                folder.display()
            );
        }
        let rows: Vec<Depth> = (tests.iter().filter(own))
            .map(|row| Depth {
                steps_ahead: row.steps_ahead,
                state_mse: row.state_mse,
                reward_mse: row.reward_mse,
            })
            .collect();
        if rows.len() != config.test.horizon {
            return Ok(None);
        }
        others.push(depths(rows));
    }
    let modes = match config.model.dynamics {
        DynamicsKind::Koopman => rows_of(&folder.join(MODES))?,
        _ => Some(Vec::new()),
    };
    Ok(modes.map(|modes| Measured { errors, elsewhere: others, modes, cpu_seconds: f64::NAN }))
}

/// All rows of a file; `None` if there is no such file.
fn rows_of<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<Vec<T>>> {
    if path.exists() { read_rows(path).map(Some).with_context(|| damaged(path)) } else { Ok(None) }
}

fn damaged(path: &Path) -> String {
    format!("{} is damaged: remove it, and the cell is judged again", path.display())
}

/// Writes what was found on a data set's own episodes.
pub fn write_errors(folder: &Path, errors: &Errors) -> Result<()> {
    let depths = errors.state.iter().zip(&errors.reward).enumerate();
    let row = |(k, (&state_mse, &reward_mse))| Depth { steps_ahead: k + 1, state_mse, reward_mse };
    write_rows(&folder.join(ERRORS), &depths.map(row).collect::<Vec<_>>())
}

/// Writes what was found elsewhere; what is known of recordings that were not asked for now stays.
pub fn write_tests(folder: &Path, found: &[(Elsewhere, Errors)]) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    let path = folder.join(TESTS);
    let mut rows: Vec<TestRow> = rows_of(&path)?.unwrap_or_default();
    rows.retain(|row| found.iter().all(|(of, _)| of.name != row.test));
    for (of, errors) in found {
        let depths = errors.state.iter().zip(&errors.reward).enumerate();
        rows.extend(depths.map(|(k, (&state_mse, &reward_mse))| TestRow {
            test: of.name.clone(),
            recording: of.fingerprint.clone(),
            steps_ahead: k + 1,
            state_mse,
            reward_mse,
        }));
    }
    write_rows(&path, &rows)
}

/// Writes what Koopman modes do.
pub fn write_modes(folder: &Path, modes: &[Mode]) -> Result<()> {
    let mut rows = Vec::new();
    for (number, mode) in modes.iter().enumerate() {
        for k in MODE_DEPTHS.into_iter().filter(|&k| k <= mode.missed.len()) {
            rows.push(ModeRow {
                mode: number,
                re: mode.lambda[0] as f32,
                im: mode.lambda[1] as f32,
                share: mode.share as f32,
                steps_ahead: k,
                missed: mode.missed[k - 1] as f32,
                changed: mode.changed[k - 1] as f32,
            });
        }
    }
    write_rows(&folder.join(MODES), &rows)
}

/// Writes a table, with the fields' names above.
pub fn write_rows<T: Serialize>(path: &Path, rows: &[T]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    write_atomically(path, &writer.into_inner()?)
}

/// Reads one.
pub fn read_rows<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let read = || csv::Reader::from_path(path)?.deserialize().collect::<csv::Result<Vec<T>>>();
    read().with_context(|| format!("cannot read {}", path.display()))
}
