//! The file that says what to sweep.

use crate::config::{ConfigError, Preset, leaves};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Settings by key, `a.b.c`.
pub type Settings = BTreeMap<String, Value>;

/// What a sweep measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// How a trained agent plays with other planner settings, and what its plans cost.
    Plan,
    /// How agents trained with other settings play.
    Train,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    kind: Kind,
    run: Option<PathBuf>,
    episodes: Option<u64>,
    seed: Option<u64>,
    preset: Option<Preset>,
    heatmap: Option<[String; 2]>,
    #[serde(default)]
    set: Table,
    grid: Option<Table>,
    cells: Option<Vec<Table>>,
}

/// What is swept over.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A trained agent's planner.
    Plan {
        /// The run whose newest checkpoint plays.
        run: PathBuf,
        /// Episodes of each cell.
        episodes: u64,
        /// Their seed.
        seed: u64,
    },
    /// Training.
    Train {
        /// Sizes and schedules.
        preset: Preset,
    },
}

/// A sweep file, read and checked; the settings are not resolved yet.
#[derive(Clone, Debug, PartialEq)]
pub struct SweepFile {
    /// What is swept over.
    pub subject: Subject,
    /// Keys of the columns and of the rows of the heat maps.
    pub heatmap: Option<[String; 2]>,
    /// Settings of all cells.
    pub common: Settings,
    /// Settings of each cell; no two are the same.
    pub cells: Vec<Settings>,
}

impl SweepFile {
    /// From the text of the file `source`.
    pub fn parse(text: &str, source: &Path) -> Result<Self, ConfigError> {
        let wrong = |what: String| ConfigError(format!("{}: {what}", source.display()));
        let raw: Raw = toml::from_str(text).map_err(|e| wrong(e.to_string().trim_end().into()))?;
        let unwanted = |name: &str, is_there: bool, kind: &str| match is_there {
            true => Err(wrong(format!("`{name}` has no meaning in a sweep of kind = \"{kind}\"; remove it"))),
            false => Ok(()),
        };
        let subject = match raw.kind {
            Kind::Plan => {
                unwanted("preset", raw.preset.is_some(), "plan")?;
                let run = raw.run.ok_or_else(|| {
                    wrong("kind = \"plan\" needs `run`, the folder of a trained agent, such as run = \"runs/a\"".into())
                })?;
                let episodes = raw.episodes.unwrap_or(10);
                if episodes == 0 {
                    return Err(wrong("`episodes = 0` must be at least 1".into()));
                }
                Subject::Plan { run, episodes, seed: raw.seed.unwrap_or(1000) }
            }
            Kind::Train => {
                unwanted("run", raw.run.is_some(), "train")?;
                unwanted("episodes", raw.episodes.is_some(), "train")?;
                unwanted("seed", raw.seed.is_some(), "train")?;
                Subject::Train { preset: raw.preset.unwrap_or_default() }
            }
        };
        let cells = match (raw.grid, raw.cells) {
            (Some(grid), None) => product(&grid).map_err(wrong)?,
            (None, Some(cells)) => cells.iter().map(|cell| leaves(cell).into_iter().collect()).collect(),
            _ => return Err(wrong("give either [grid] or a list of [[cells]]".into())),
        };
        if cells.is_empty() {
            return Err(wrong("there are no [[cells]]".into()));
        }
        for (index, cell) in cells.iter().enumerate() {
            if let Some(first) = cells[..index].iter().position(|before| before == cell) {
                let (first, second) = (first + 1, index + 1);
                return Err(wrong(format!(
                    "cells {first} and {second} are the same ({}); remove one",
                    words(cell)
                )));
            }
        }
        let common = leaves(&raw.set).into_iter().collect();
        let sweep = Self { subject, heatmap: raw.heatmap, common, cells };
        for key in sweep.heatmap.iter().flatten() {
            if !sweep.keys().contains(key) {
                let keys = sweep.keys().join(", ");
                return Err(wrong(format!("`{key}` in `heatmap` is not swept; these keys are: {keys}")));
            }
        }
        Ok(sweep)
    }

    /// The keys that any cell sets.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.cells.iter().flat_map(|cell| cell.keys().cloned()).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// All combinations of the values, the last key's changing fastest.
fn product(grid: &Table) -> Result<Vec<Settings>, String> {
    let mut cells = vec![Settings::new()];
    let keys = leaves(grid);
    if keys.is_empty() {
        return Err(
            "[grid] is empty; give keys and lists, such as \"planner.num_samples\" = [64, 256]".into()
        );
    }
    for (key, values) in keys {
        let values = values.as_array().ok_or_else(|| {
            format!("`{key} = {values}` in [grid] must be a list, such as [{values}]; what is the same everywhere belongs in [set]")
        })?;
        if values.is_empty() {
            return Err(format!("`{key} = []` in [grid] has no value; give at least one"));
        }
        let with = |cell: &Settings, value: &Value| {
            let mut cell = cell.clone();
            // a value may be a table: `"planner.horizon" = [{ start = 1, end = 5 }]`
            cell.extend(leaves(&Table::from_iter([(key.clone(), value.clone())])));
            cell
        };
        cells = cells
            .iter()
            .flat_map(|cell| values.iter().map(move |value| (cell, value)))
            .map(|(c, v)| with(c, v))
            .collect();
    }
    Ok(cells)
}

/// Settings as words: `planner.num_samples=64 planner.horizon.end=3`.
pub fn words(settings: &Settings) -> String {
    settings.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SweepFile, String> {
        SweepFile::parse(text, Path::new("my.toml")).map_err(|e| e.to_string())
    }

    const PLAN: &str = "kind = \"plan\"\nrun = \"runs/a\"\n";

    #[test]
    fn a_grid_is_the_product_of_its_lists_quoted_or_nested() {
        let quoted = parse(&format!(
            "{PLAN}[grid]\n\"planner.num_samples\" = [64, 256]\n\"planner.horizon.end\" = [1, 3, 5]"
        ));
        let nested =
            parse(&format!("{PLAN}[grid.planner]\nnum_samples = [64, 256]\nhorizon.end = [1, 3, 5]"));
        let quoted = quoted.unwrap();
        assert_eq!(quoted, nested.unwrap());
        assert_eq!(quoted.cells.len(), 6);
        assert_eq!(words(&quoted.cells[1]), "planner.horizon.end=1 planner.num_samples=256");
        assert_eq!(quoted.keys(), ["planner.horizon.end", "planner.num_samples"]);
        assert_eq!(quoted.subject, Subject::Plan { run: "runs/a".into(), episodes: 10, seed: 1000 });
    }

    /// The settings of such a cell were looked up under a key that no configuration has.
    #[test]
    fn a_value_of_a_grid_may_be_a_table() {
        let sweep =
            parse(&format!("{PLAN}[grid]\n\"planner.horizon\" = [{{ start = 1, end = 3 }}, {{ end = 5 }}]"));
        let cells: Vec<String> = sweep.unwrap().cells.iter().map(words).collect();
        assert_eq!(cells, ["planner.horizon.end=3 planner.horizon.start=1", "planner.horizon.end=5"]);
    }

    #[test]
    fn cells_can_be_listed() {
        let text = "kind = \"train\"\npreset = \"light\"\nset.env = \"pendulum\"\n[[cells]]\nseed = 1\n[[cells]]\n\"learner.rho\" = 0.7\n";
        let sweep = parse(text).unwrap();
        assert_eq!(sweep.cells.iter().map(words).collect::<Vec<_>>(), ["seed=1", "learner.rho=0.7"]);
        assert_eq!(words(&sweep.common), "env=\"pendulum\"");
        assert_eq!(sweep.subject, Subject::Train { preset: Preset::Light });
    }

    #[test]
    fn mistakes_are_named_with_the_file() {
        for (text, complaint) in [
            ("kind = \"plan\"\n[grid]\nsteps = [1]", "needs `run`"),
            ("kind = \"planner\"\n", "expected `plan` or `train`"),
            ("kind = \"train\"\nrun = \"a\"\n[grid]\nseed = [1]", "`run` has no meaning"),
            (&format!("{PLAN}[grid]"), "[grid] is empty"),
            (&format!("{PLAN}[grid]\nsteps = []"), "`steps = []` in [grid] has no value"),
            (&format!("{PLAN}[grid]\nsteps = 3"), "must be a list, such as [3]"),
            (&format!("{PLAN}[grid]\nsteps = [3, 3]"), "cells 1 and 2 are the same (steps=3)"),
            (&format!("{PLAN}cells = []"), "there are no [[cells]]"),
            (PLAN, "either [grid] or a list of [[cells]]"),
            (&format!("{PLAN}episodes = 0\n[grid]\nsteps = [3]"), "`episodes = 0`"),
            (&format!("{PLAN}jobs = 0\n[grid]\nsteps = [3]"), "unknown field `jobs`"),
            (
                &format!("{PLAN}heatmap = [\"a\", \"steps\"]\n[grid]\nsteps = [3]"),
                "`a` in `heatmap` is not swept",
            ),
            ("kind =", "my.toml"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("my.toml: ") && error.contains(complaint), "{text}: {error}");
        }
    }
}
