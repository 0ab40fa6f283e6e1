//! The `offline` command: the paper's offline study (arXiv 2306.11941, section 5) on recordings of anybody.
//!
//! Data sets × variants × seeds, each a process that can be resumed, as in [`study`](crate::study).

pub mod args;
pub mod hdf5;

mod cell;
mod config;
mod data;
mod measured;
mod modes_report;
mod report;
mod tape;

pub use config::OfflineConfig;
pub use data::Source;
pub use tape::Tape;

use crate::cli::{settings, whole_numbers};
use crate::config::{ConfigError, Layer};
use crate::record::say;
use crate::report::write_atomically;
use crate::study::Outcome;
use crate::study::choices::{Variant, distinct, list, seeds};
use crate::study::files::{env_step, is_locked, runs_folder};
use crate::study::pool::{self, Ending, Job};
use crate::study::text::{command_line, slug, this_program};
use crate::train;
use anyhow::{Context, Result};
use args::OfflineArgs;
use cell::{Cell, KEPT};
use data::{Data, Prepared};
use measured::{FILES, Measured};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use td_koopman_agents::device;
use td_koopman_agents::offline::Recording;

/// An offline study.
pub struct Offline {
    args: OfflineArgs,
    data: Vec<Data>,
    /// Its variants' labels.
    variants: Vec<String>,
    seeds: Vec<u64>,
    cells: Vec<Cell>,
    /// Where the page goes.
    pub out: PathBuf,
}

impl Offline {
    /// The study that the flags ask for, checked as a whole, with its data sets read, before anything runs.
    pub fn new(args: &OfflineArgs) -> Result<Self> {
        let sources = args.data.iter().map(|text| Source::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&String> = sources.iter().map(|source| &source.name).collect();
        distinct("--data", &names)?;
        let tests = args.test.iter().map(|text| Source::parse(text)).collect::<Result<Vec<_>, _>>()?;
        distinct("--test", &tests.iter().map(|source| &source.name).collect::<Vec<_>>())?;
        let variants = list(&args.variants, ',')?
            .iter()
            .map(|text| Variant::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<String> = variants.iter().map(|variant| variant.label.clone()).collect();
        distinct("--variants", &labels)?;
        let seeds = seeds(&args.seeds)?;
        let joined = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("-");
        let default = || PathBuf::from("results").join(slug(&format!("offline-{joined}")));
        let out = args.out.clone().unwrap_or_else(default);
        if out.file_name().is_none() {
            let rule = "the runs live in runs/NAME, so give a folder such as results/NAME";
            return Err(ConfigError(format!("--out {} has no name: {rule}", out.display())).into());
        }
        let configs = variants
            .iter()
            .map(|variant| {
                configuration(args, variant).with_context(|| format!("variant `{}`", variant.label))
            })
            .collect::<Result<Vec<_>>>()?;
        for config in &configs {
            device::open(&config.device)?;
        }
        let alike = |config: &OfflineConfig| config.data == configs[0].data && config.test == configs[0].test;
        if let Some(other) = configs.iter().position(|config| !alike(config)) {
            let label = &labels[other];
            let rule = "variants are tested alike, so that they can be compared: set [data] and [test] for all, with --set";
            return Err(ConfigError(format!(
                "variant `{label}` is tested in another way than `{}`: {rule}",
                labels[0]
            ))
            .into());
        }
        // a cell alone needs its own data set alone
        let cells_of_each = labels.len() * seeds.len();
        let (first, count) = match args.cell {
            Some(number) => ((number.get() - 1) / cells_of_each, 1),
            None => (0, sources.len()),
        };
        if first >= sources.len() {
            let (number, all) = (first * cells_of_each + 1, sources.len() * cells_of_each);
            return Err(ConfigError(format!("--cell {number}: this study has the cells 1 to {all}")).into());
        }
        let known = |test: Source| -> Result<(Source, Recording)> {
            let recording = test.read()?;
            Ok((test, recording))
        };
        let tests = tests.into_iter().map(known).collect::<Result<Vec<_>>>()?;
        let read = |source: Source| -> Result<Data> {
            let name = source.name.clone();
            Data::read(source, &tests, &configs).with_context(|| format!("data set `{name}`"))
        };
        let data = sources.into_iter().skip(first).take(count).map(read).collect::<Result<Vec<_>>>()?;
        let is_used = |name: &str| data.iter().flat_map(|of| &of.elsewhere).any(|of| of.source.name == name);
        if let Some((test, recording)) =
            tests.iter().find(|(test, _)| args.cell.is_none() && !is_used(&test.name))
        {
            return Err(ConfigError(format!(
                "--test {}: no --data is another recording of a system with {} numbers an observation and {} an action",
                test.name, recording.observation_dim, recording.action_dim
            ))
            .into());
        }
        let mut cells = Vec::new();
        for of in &data {
            for (config, variant) in configs.iter().zip(&labels) {
                for &seed in &seeds {
                    cells.push(Cell {
                        number: first * cells_of_each + cells.len() + 1,
                        data: of.source.name.clone(),
                        fingerprint: of.fingerprint.clone(),
                        variant: variant.clone(),
                        seed,
                        config: config.clone(),
                        elsewhere: of.elsewhere.iter().map(data::Other::named).collect(),
                    });
                }
            }
        }
        Ok(Self { args: args.clone(), data, variants: labels, seeds, cells, out })
    }

    /// One independent command for each cell that is not finished.
    pub fn commands(&self) -> Result<Vec<String>> {
        let mut commands = Vec::new();
        for cell in &self.cells {
            if self.finished(cell)?.is_none() {
                commands.push(command_line(&this_program(), &self.arguments(cell)));
            }
        }
        Ok(commands)
    }

    /// CPU threads of a cell.
    pub fn threads(&self) -> usize {
        self.cells.first().map_or(1, |cell| cell.config.threads)
    }

    /// Does one cell, by its number from 1, in this process.
    ///
    /// # Panics
    /// If the study was made for another cell.
    pub fn run_cell(&self, number: usize, stop: &AtomicBool) -> Result<train::Outcome> {
        let cell = self.cells.iter().find(|cell| cell.number == number).expect("its data set was read");
        let of = self.data.iter().find(|of| of.source.name == cell.data).expect("its own data set");
        let elsewhere = of.elsewhere.iter().map(|other| other.source.read()).collect::<Result<Vec<_>>>()?;
        cell.run(&Prepared::new(of.source.read()?, elsewhere, &cell.config)?, &self.folder(cell), stop)
    }

    /// Does what is missing, `parallel` cells at a time, then writes the page; if it is stopped, of what is finished.
    pub fn run(&self, parallel: usize, stop: &AtomicBool) -> Result<Outcome> {
        fs::create_dir_all(&self.out).with_context(|| format!("cannot create {}", self.out.display()))?;
        let mut missing = Vec::new();
        for cell in &self.cells {
            if self.finished(cell)?.is_none() {
                missing.push(cell);
            }
        }
        say(format_args!("{} cells, {} to do", self.cells.len(), missing.len()));
        let jobs: Vec<Job> = missing.iter().map(|cell| self.job(cell)).collect();
        let endings = pool::run(&jobs, parallel, stop, |_, _| Ok(()))?;
        let (mut failures, mut locked) = (vec![None; self.cells.len()], 0);
        for (cell, ending) in missing.iter().zip(&endings) {
            match ending {
                Ending::Failed(_) if is_locked(&self.folder(cell)) => locked += 1,
                Ending::Failed(why) => failures[cell.number - 1] = Some(why.clone()),
                Ending::Finished | Ending::Stopped => {}
            }
        }
        let mut measured = Vec::new();
        for cell in &self.cells {
            measured.push(self.keep(cell)?);
        }
        if measured.iter().any(Option::is_some) {
            report::write(self, &measured, &failures)?;
        }
        Ok(match failures.iter().flatten().count() {
            _ if endings.contains(&Ending::Stopped) => Outcome::Interrupted,
            0 if locked > 0 => Outcome::Locked(locked),
            0 => Outcome::Finished,
            failed => Outcome::Failed(failed),
        })
    }

    fn folder(&self, cell: &Cell) -> PathBuf {
        runs_folder(&self.out).join(cell.place())
    }

    fn kept(&self, cell: &Cell) -> PathBuf {
        self.out.join("runs").join(cell.place())
    }

    /// What was measured of a cell, here or, as an earlier page left it, elsewhere; and where the files are.
    fn finished(&self, cell: &Cell) -> Result<Option<(Measured, PathBuf)>> {
        for folder in [self.folder(cell), self.kept(cell)] {
            if let Some(measured) = cell.measured(&folder)? {
                return Ok(Some((measured, folder)));
            }
        }
        Ok(None)
    }

    /// Copies the small files of a finished cell to where the page is.
    fn keep(&self, cell: &Cell) -> Result<Option<Measured>> {
        let Some((measured, folder)) = self.finished(cell)? else { return Ok(None) };
        let kept = self.kept(cell);
        for name in KEPT.iter().chain(&FILES).filter(|_| folder != kept) {
            let from = folder.join(name);
            // not every cell has modes, or is tested elsewhere
            if FILES.contains(name) && !from.exists() {
                continue;
            }
            let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
            write_atomically(&kept.join(name), &bytes)?;
        }
        Ok(Some(measured))
    }

    fn job(&self, cell: &Cell) -> Job {
        let folder = self.folder(cell);
        Job {
            name: cell.name(),
            arguments: self.arguments(cell),
            folder: folder.clone(),
            work: cell.config.train.updates,
            // the first column of its train.csv: updates
            done: Box::new(move || env_step(&folder)),
        }
    }

    /// The arguments that do one cell: those of the study, and its number.
    fn arguments(&self, cell: &Cell) -> Vec<String> {
        let args = &self.args;
        let mut words = vec!["offline".to_owned()];
        let mut flag = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        args.data.iter().for_each(|data| flag("data", data.clone()));
        args.test.iter().for_each(|test| flag("test", test.clone()));
        flag("variants", args.variants.clone());
        flag("seeds", args.seeds.clone());
        args.updates.iter().for_each(|n| flag("updates", n.to_string()));
        args.device.iter().for_each(|name| flag("device", name.clone()));
        args.config.iter().for_each(|file| flag("config", file.display().to_string()));
        args.set.iter().for_each(|setting| flag("set", setting.clone()));
        flag("out", self.out.display().to_string());
        flag("cell", cell.number.to_string());
        words
    }
}

/// The settings of a variant.
fn configuration(args: &OfflineArgs, variant: &Variant) -> Result<OfflineConfig> {
    let mut layers = args.config.iter().map(|file| Layer::file(file)).collect::<Result<Vec<_>, _>>()?;
    layers.extend(settings(&args.set)?);
    let updates = whole_numbers("updates", args.updates.map(Into::into))?;
    layers.extend(updates.into_iter().map(|n| Layer::key("--updates", "train.updates", n)));
    layers.extend(args.device.as_deref().map(|name| Layer::key("--device", "device", name)));
    let dynamics = variant.dynamics.as_deref();
    layers.extend(dynamics.map(|name| Layer::key("--variants", "model.dynamics", name)));
    layers.extend(settings(&variant.settings)?);
    Ok(OfflineConfig::resolve(&layers)?)
}
