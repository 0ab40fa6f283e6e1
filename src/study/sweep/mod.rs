//! The `sweep` command: a grid of settings, each cell measured once.

mod cell;
mod file;
mod report;

pub use cell::{Cell, Measured};
pub use file::{Settings, Subject, SweepFile};

use super::Outcome;
use super::files::{self, runs_folder};
use super::pool::{self, Ending, Job};
use super::text::{command_line, this_program};
use crate::checkpoint::Checkpoint;
use crate::config::{ConfigError, Layer, resolve};
use crate::record::say;
use crate::train;
use anyhow::{Context, Result};
use cell::identity;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A sweep whose cells are all resolved.
pub struct Sweep {
    /// The file that says what to sweep.
    path: PathBuf,
    /// Its text.
    text: String,
    file: SweepFile,
    /// Of the agent that plays, if none is trained: opened once, as the run may go on and write others.
    checkpoint: Option<Checkpoint>,
    cells: Vec<Cell>,
    /// Where the runs and logs go.
    runs: PathBuf,
    /// Where the results go.
    pub out: PathBuf,
}

impl Sweep {
    /// The sweep that a file asks for, checked as a whole before anything runs.
    pub fn load(path: &Path, out: Option<&Path>) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError(format!("cannot read the sweep file {}: {e}", path.display())))?;
        let file = SweepFile::parse(&text, path)?;
        let stem = path.file_stem().unwrap_or("sweep".as_ref());
        let out = out.map_or_else(|| Path::new("results").join(stem), Path::to_owned);
        let (base, checkpoint) = base(&file.subject)?;
        let weights = checkpoint.as_ref().map_or(Ok(String::new()), Checkpoint::fingerprint)?;
        let mut cells = Vec::new();
        for (index, settings) in file.cells.iter().enumerate() {
            let cell = resolved(&file, path, &base, &weights, index + 1, settings);
            cells.push(cell.with_context(|| format!("cell {} ({})", index + 1, file::words(settings)))?);
        }
        Ok(Self { path: path.to_owned(), text, file, checkpoint, cells, runs: runs_folder(&out), out })
    }

    /// The cell with this number, from 1.
    ///
    /// # Errors
    /// There is none, or it is another one than `id` names.
    pub fn cell(&self, number: usize, id: Option<&str>) -> Result<&Cell> {
        let path = self.path.display();
        let cell = self.cells.get(number - 1).ok_or_else(|| {
            let last = self.cells.len();
            ConfigError(format!("--cell {number}: {path} has the cells 1 to {last}"))
        })?;
        if let Some(id) = id
            && id != cell.id()
        {
            return Err(ConfigError(format!(
                "--cell {number} is not {id} any more, but {} ({}): {path} or what it measures was changed; start the \
                 sweep again, or list its commands again",
                cell.id(),
                cell.label()
            ))
            .into());
        }
        Ok(cell)
    }

    /// One independent command for each cell that is not finished.
    pub fn commands(&self) -> Result<Vec<String>> {
        let cells = self.cells.iter().zip(self.measured()?).filter(|(_, measured)| measured.is_none());
        Ok(cells.map(|(cell, _)| command_line(&this_program(), &self.arguments(cell))).collect())
    }

    fn arguments(&self, cell: &Cell) -> Vec<String> {
        let words = [
            "sweep".to_owned(),
            self.path.display().to_string(),
            "--cell".into(),
            cell.number.to_string(),
            "--id".into(),
            cell.id(),
            "--out".into(),
            self.out.display().to_string(),
        ];
        words.to_vec()
    }

    /// Measures one cell in this process, unless it has been.
    pub fn measure(&self, cell: &Cell, stop: &AtomicBool) -> Result<train::Outcome> {
        if cell.kept(&self.out)?.is_some() {
            say(format_args!("cell {} is finished already", cell.number));
            return Ok(train::Outcome::Finished);
        }
        cell.measure(&self.file.subject, self.checkpoint.as_ref(), &self.runs, &self.out, stop)
    }

    /// Measures what is missing, `parallel` cells at a time, then writes the report.
    pub fn run(&self, parallel: usize, stop: &AtomicBool) -> Result<Outcome> {
        let mut missing = Vec::new();
        for (index, cell) in self.cells.iter().enumerate() {
            if cell.kept(&self.out)?.is_none() {
                missing.push(index);
            }
        }
        say(format_args!("{} cells, {} to do", self.cells.len(), missing.len()));
        let jobs: Vec<Job> = missing.iter().map(|&index| self.job(&self.cells[index])).collect();
        let endings = pool::run(&jobs, parallel, stop, |_, _| report::write_cells(self, &self.measured()?))?;
        if endings.contains(&Ending::Stopped) {
            return Ok(Outcome::Interrupted);
        }
        let measured = self.measured()?;
        let mut failures: Vec<Option<String>> = self.cells.iter().map(|_| None).collect();
        for (index, ending) in missing.into_iter().zip(endings) {
            if measured[index].is_none() {
                failures[index] = Some(without_result(ending, &self.cells[index], &self.out));
            }
        }
        report::write(self, &measured, &failures)?;
        let failed = failures.iter().flatten().count();
        Ok(if failed > 0 { Outcome::Failed(failed) } else { Outcome::Finished })
    }

    /// What is known of each cell, and the commit that measured it.
    fn measured(&self) -> Result<Vec<Option<(Measured, String)>>> {
        self.cells.iter().map(|cell| cell.kept(&self.out)).collect()
    }

    fn job(&self, cell: &Cell) -> Job {
        let folder = cell.folder(&self.runs);
        let (work, run) = match self.file.subject {
            Subject::Plan { .. } => (1, None),
            Subject::Train { .. } => (cell.config.steps, Some(folder.clone())),
        };
        let (kept, out) = (cell.clone(), self.out.clone());
        Job {
            name: format!("cell {} ({})", cell.number, cell.label()),
            arguments: self.arguments(cell),
            folder,
            work,
            done: Box::new(move || match &run {
                Some(run) => files::env_step(run),
                None => u64::from(kept.kept(&out).is_ok_and(|measured| measured.is_some())),
            }),
        }
    }
}

/// Why a cell that was tried has no result.
fn without_result(ending: Ending, cell: &Cell, out: &Path) -> String {
    match ending {
        Ending::Failed(why) => why,
        Ending::Finished | Ending::Stopped => {
            let why = format!(
                "it ended well, but its result {} is not in {}: was it removed? Start the sweep again",
                cell.id(),
                out.join("cells").display()
            );
            say(format_args!("failed: cell {} ({why})", cell.number));
            why
        }
    }
}

/// What the cells' settings are laid over, and the checkpoint whose weights play, if none are trained.
fn base(subject: &Subject) -> Result<(Vec<Layer>, Option<Checkpoint>)> {
    let one_thread = Layer::key("a sweep's default", "threads", 1);
    match subject {
        Subject::Train { preset } => {
            let mut layers = preset.layers();
            layers.push(one_thread);
            Ok((layers, None))
        }
        Subject::Plan { run, .. } => {
            let checkpoint = if run.is_dir() { Checkpoint::newest(run)? } else { None };
            let checkpoint = checkpoint.ok_or_else(|| {
                ConfigError(format!(
                    "`run = \"{}\"` holds no checkpoint: give the folder of a run that was begun",
                    run.display()
                ))
            })?;
            let config = Layer::parse("the run's configuration", &checkpoint.config()?.to_toml())?;
            Ok((vec![config, one_thread], Some(checkpoint)))
        }
    }
}

fn resolved(
    file: &SweepFile,
    path: &Path,
    base: &[Layer],
    weights: &str,
    number: usize,
    settings: &Settings,
) -> Result<Cell> {
    let mut layers = base.to_vec();
    let source = path.display().to_string();
    let mut all = file.common.clone();
    all.extend(settings.clone());
    layers.extend(all.iter().map(|(key, value)| Layer::key(&source, key, value.clone())));
    let config = resolve(&layers)?;
    config.env.make()?;
    let is_plan = matches!(file.subject, Subject::Plan { .. });
    if is_plan && settings.contains_key("planner.horizon.end") && config.planner.horizon.decisions > 0 {
        return Err(ConfigError(format!(
            "`planner.horizon.end` is swept while the horizon grows over the first {} decisions: add \
             \"planner.horizon.decisions\" = 0 to [set], so that each cell plans with its own horizon",
            config.planner.horizon.decisions
        ))
        .into());
    }
    // as the configuration understood them: 3 and 3.0 are the same
    let entries = config.entries();
    let entry = |key: &String| {
        // `env` alone names the environment, which is `env.name` beside options
        let other = match key.as_str() {
            "env" => "env.name",
            "env.name" => "env",
            same => same,
        };
        let value = entries.get(key).or_else(|| entries.get(other)).cloned();
        let value = value.ok_or_else(|| {
            ConfigError(format!(
                "`{key}` in {source} holds no value; give the keys below it, such as `{key}.start`"
            ))
        })?;
        Ok((key.clone(), value))
    };
    let understood =
        |settings: &Settings| settings.keys().map(entry).collect::<Result<Settings, ConfigError>>();
    let identity = identity(&file.subject, weights, &config, &understood(&all)?);
    Ok(Cell { number, settings: understood(settings)?, config, identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Sweep> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.toml");
        std::fs::write(&path, text).unwrap();
        Sweep::load(&path, None)
    }

    const TRAIN: &str = "kind = \"train\"\nset.env = \"pendulum\"\n";

    #[test]
    fn cells_are_resolved_and_named_by_what_was_understood() {
        let sweep = load(&format!("{TRAIN}[grid]\n\"learner.rho\" = [1, 0.5]\nseed = [1, 2]")).unwrap();
        assert_eq!((sweep.cells.len(), sweep.out.clone()), (4, PathBuf::from("results/my")));
        let cell = sweep.cell(1, None).unwrap();
        assert_eq!(
            (cell.config.env.name.as_str(), cell.config.threads, cell.config.learner.rho),
            ("pendulum", 1, 1.0)
        );
        assert!(cell.identity.ends_with(": env=\"pendulum\" learner.rho=1.0 seed=1"), "{}", cell.identity);
        let command = &sweep.commands().unwrap()[3];
        let id = sweep.cell(4, None).unwrap().id();
        let end = format!("my.toml --cell 4 --id {id} --out results/my");
        assert!(command.contains(" sweep ") && command.ends_with(&end), "{command}");
        let error = sweep.cell(5, None).unwrap_err().to_string();
        assert!(error.contains("has the cells 1 to 4"), "{error}");
        assert_eq!(sweep.cell(4, Some(&id)).unwrap().number, 4);
        let error = sweep.cell(3, Some(&id)).unwrap_err().to_string();
        assert!(error.contains(&format!("--cell 3 is not {id} any more, but ")), "{error}");
    }

    /// A child of a sweep whose file was edited measured another cell, and the sweep was finished without a result.
    #[test]
    fn a_cell_without_a_result_has_failed() {
        let sweep = load(&format!("{TRAIN}[grid]\nseed = [1]")).unwrap();
        let why = |ending| without_result(ending, &sweep.cells[0], &sweep.out);
        assert_eq!(why(Ending::Failed("exit code 1".into())), "exit code 1");
        assert!(why(Ending::Finished).contains("is not in results/my/cells"), "{}", why(Ending::Finished));
    }

    /// The name was looked up as `env.name.name`.
    #[test]
    fn an_environment_may_be_named_in_a_table() {
        for set in ["[set.env]\nname = \"pendulum\"", "[set]\nenv = { name = \"pendulum\", g = 3 }"] {
            let sweep =
                load(&format!("kind = \"train\"\n{set}\n[grid]\n\"planner.horizon\" = [{{ end = 3 }}]"));
            let cell = sweep.unwrap().cells.remove(0);
            assert_eq!((cell.config.env.name.as_str(), cell.label().as_str()), ("pendulum", "horizon=3.0"));
            assert!(
                cell.identity.contains(" env.name=\"pendulum\" planner.horizon.end=3.0"),
                "{}",
                cell.identity
            );
        }
    }

    #[test]
    fn mistakes_are_named_with_their_cell() {
        for (text, complaint) in [
            (
                &*format!("{TRAIN}[grid]\n\"learner.roh\" = [1]"),
                "cell 1 (learner.roh=1): unknown key `learner.roh`",
            ),
            (&format!("{TRAIN}[grid]\nenv = [\"pendulum\", \"pendulun\"]"), "the nearest names are pendulum"),
            (&format!("{TRAIN}[grid]\n\"planner.num_elites\" = [8, 800]"), "cell 2 (planner.num_elites=800)"),
            (
                "kind = \"plan\"\nrun = \"runs/absent\"\n[grid]\nsteps = [1]",
                "runs/absent\"` holds no checkpoint",
            ),
            (&format!("{TRAIN}[grid]\n\"planner.horizon\" = [{{}}]"), "cell 1 (planner.horizon={})"),
        ] {
            let error = format!("{:#}", load(text).err().unwrap());
            assert!(error.contains(complaint), "{error}");
        }
        let error = Sweep::load(Path::new("absent.toml"), None).err().unwrap().to_string();
        assert!(error.contains("cannot read the sweep file absent.toml"), "{error}");
    }
}
