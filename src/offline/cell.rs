//! One cell of an offline study: a model, fitted to a recording and judged; resumable.

use super::config::OfflineConfig;
use super::data::Prepared;
use super::measured::{self, Elsewhere, Measured, read_rows, write_rows};
use crate::checkpoint::numbers;
use crate::config::leaves;
use crate::record::{Clock, say};
use crate::report::write_atomically;
use crate::train::{Outcome, lock, refuse_differences};
use anyhow::{Context, Result, bail};
use indicatif::{HumanDuration, ProgressBar};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use td_koopman_agents::device;
use td_koopman_agents::learner::Parameter;
use td_koopman_agents::offline::{Sizes, Trainer, TrainerState, UpdateLosses, count};
use toml::{Table, Value};

/// Updates of a row of `train.csv`; a cell stops and saves between rows.
const ROW: u64 = 10;
const STATE: &str = "trainer.safetensors";
const LOSSES: &str = "train.csv";
const CONFIG: &str = "config.toml";
/// Small files that are worth keeping, besides what was measured.
pub const KEPT: [&str; 3] = [CONFIG, LOSSES, "provenance.txt"];

/// A cell of an offline study.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Its place in the study, from 1.
    pub number: usize,
    /// The name of its data set.
    pub data: String,
    /// The fingerprint of that.
    pub fingerprint: String,
    /// Its variant's label.
    pub variant: String,
    /// Its seed.
    pub seed: u64,
    /// Its settings.
    pub config: OfflineConfig,
    /// Other recordings that it is tested on.
    pub elsewhere: Vec<Elsewhere>,
}

/// A row of `train.csv`: means over the updates since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    update: u64,
    state_loss: f64,
    consistency_loss: f64,
    reward_loss: f64,
    cpu_seconds: f64,
}

impl Cell {
    /// What the progress calls it.
    pub fn name(&self) -> String {
        format!("{} {} seed {}", self.data, self.variant, self.seed)
    }

    /// Its place below `runs/NAME/` and below `results/NAME/runs/`.
    pub fn place(&self) -> PathBuf {
        PathBuf::from(&self.data).join(&self.variant).join(format!("seed{}", self.seed))
    }

    /// Everything its result depends on, as `config.toml` has it.
    fn table(&self) -> Table {
        let mut table =
            Table::try_from(&self.config).expect("settings are plain numbers, strings and tables");
        let seed =
            i64::try_from(self.seed).map_or_else(|_| Value::String(self.seed.to_string()), Value::Integer);
        table.insert("seed".into(), seed);
        table.insert("recording".into(), Value::String(self.fingerprint.clone()));
        table
    }

    /// Refuses a folder with a cell of other settings or of another recording.
    fn refuse_foreign(&self, folder: &Path) -> Result<()> {
        let path = folder.join(CONFIG);
        if !path.exists() {
            return Ok(());
        }
        let damaged = || format!("cannot read {}", path.display());
        let there: Table = fs::read_to_string(&path).with_context(damaged)?.parse().with_context(damaged)?;
        // how it is computed does not change what comes out, but for rounding
        let comparable = |table: Table| -> BTreeMap<String, Value> {
            leaves(&table)
                .into_iter()
                .filter(|(key, _)| !["threads", "device"].contains(&key.as_str()))
                .collect()
        };
        refuse_differences(&comparable(there), &comparable(self.table()), folder)
    }

    /// What was measured, if its folder, or what is kept of it, has it.
    ///
    /// # Errors
    /// There are files of a cell with other settings or another recording.
    pub fn measured(&self, folder: &Path) -> Result<Option<Measured>> {
        self.refuse_foreign(folder)?;
        let Some(measured) = measured::read(folder, &self.config, &self.elsewhere)? else { return Ok(None) };
        let losses: Vec<Row> = read_rows(&folder.join(LOSSES)).unwrap_or_default();
        let cpu_seconds = losses.last().map_or(f64::NAN, |row| row.cpu_seconds);
        Ok(Some(Measured { cpu_seconds, ..measured }))
    }

    /// Fits the model and judges it in `folder`, going on with what is there.
    pub fn run(&self, data: &Prepared, folder: &Path, stop: &AtomicBool) -> Result<Outcome> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let _lock = lock(folder)?;
        if self.measured(folder)?.is_some() {
            say(format_args!("{} is finished already", self.name()));
            return Ok(Outcome::Finished);
        }
        let settings = toml::to_string(&self.table()).context("cannot write the settings")?;
        write_atomically(&folder.join(CONFIG), settings.as_bytes())?;
        let device = device::open(&self.config.device)?;
        let sizes = Sizes {
            observations: data.train.observation_dim,
            actions: data.train.action_dim,
            horizon: self.config.horizon(),
        };
        let parameters = count(&self.config.model, sizes.observations, sizes.actions);
        let mut trainer = Trainer::new(&self.config.model, &self.config.train, sizes, self.seed, &device);
        let mut rows: Vec<Row> = Vec::new();
        if let Some(saved) = read_state(&folder.join(STATE))? {
            trainer.import(&saved).with_context(|| format!("{} cannot go on", self.name()))?;
            rows = read_rows(&folder.join(LOSSES))?;
            rows.retain(|row| row.update <= saved.updates);
        }
        crate::provenance::append(folder, &self.config.device, parameters, trainer.updates())?;
        let clock = Clock::resume(rows.last().map_or(0.0, |row| row.cpu_seconds), 0.0);
        let all = self.config.train.updates;
        let mut pace = Pace::new(all, trainer.updates());
        let mut saved = Instant::now();
        let save = |trainer: &Trainer, rows: &[Row]| -> Result<()> {
            write_rows(&folder.join(LOSSES), rows)?;
            write_atomically(&folder.join(STATE), &state_file(&trainer.export())?)
        };
        while trainer.updates() < all {
            if stop.load(Ordering::Relaxed) {
                save(&trainer, &rows)?;
                return Ok(Outcome::Interrupted);
            }
            let count = ROW.min(all - trainer.updates());
            let losses: Vec<UpdateLosses> = (0..count).map(|_| trainer.update(&data.train)).collect();
            let mean = |of: fn(&UpdateLosses) -> f32| {
                losses.iter().map(|l| f64::from(of(l))).sum::<f64>() / losses.len() as f64
            };
            let row = Row {
                update: trainer.updates(),
                state_loss: mean(|l| l.state),
                consistency_loss: mean(|l| l.consistency),
                reward_loss: mean(|l| l.reward),
                cpu_seconds: clock.cpu_seconds(),
            };
            if !(row.state_loss + row.consistency_loss + row.reward_loss).is_finite() {
                bail!(
                    "the loss is no longer a number after {} updates: try a lower train.learning_rate",
                    row.update
                );
            }
            rows.push(row);
            pace.show(&row);
            if saved.elapsed() > Duration::from_secs(60) {
                save(&trainer, &rows)?;
                saved = Instant::now();
            }
        }
        save(&trainer, &rows)?;
        measured::write_errors(folder, &trainer.errors(&data.test))?;
        let found = self.elsewhere.iter().cloned().zip(data.elsewhere.iter().map(|w| trainer.errors(w)));
        measured::write_tests(folder, &found.collect::<Vec<_>>())?;
        if let Some(modes) = trainer.modes(&data.test) {
            measured::write_modes(folder, &modes)?;
        }
        Ok(Outcome::Finished)
    }
}

/// How far a cell is: a bar on a terminal, a line every ten seconds elsewhere.
struct Pace {
    all: u64,
    first: u64,
    begun: Instant,
    shown: Option<Instant>,
    bar: ProgressBar,
}

impl Pace {
    fn new(all: u64, first: u64) -> Self {
        let bar = ProgressBar::new(all).with_position(first);
        let style = "{bar:30} {human_pos} / {human_len} updates  {msg}";
        bar.set_style(indicatif::ProgressStyle::with_template(style).expect("the template is constant"));
        Self { all, first, begun: Instant::now(), shown: None, bar }
    }

    fn show(&mut self, row: &Row) {
        let elapsed = self.begun.elapsed().as_secs_f64();
        let left = elapsed / (row.update - self.first).max(1) as f64 * (self.all - row.update) as f64;
        let left = HumanDuration(Duration::from_secs_f64(left));
        let said = format!(
            "loss: state {:.4}, consistency {:.4}, reward {:.4}  ETA {left}",
            row.state_loss, row.consistency_loss, row.reward_loss
        );
        if !self.bar.is_hidden() {
            self.bar.set_position(row.update);
            self.bar.set_message(said);
        } else if self.shown.is_none_or(|then| then.elapsed() > Duration::from_secs(10)) {
            self.shown = Some(Instant::now());
            say(format_args!("update {} of {}  {said}", row.update, self.all));
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A trainer as a file: its parameters, with the counter and the stream in the header.
fn state_file(state: &TrainerState) -> Result<Vec<u8>> {
    let mut views = Vec::new();
    for (name, p) in &state.parameters {
        let bytes = bytemuck::cast_slice(&p.values);
        views.push((name.as_str(), TensorView::new(Dtype::F32, p.shape.clone(), bytes)?));
    }
    let header = serde_json::to_string(&(state.updates, &state.stream))?;
    Ok(safetensors::serialize(views, Some(HashMap::from([("td_koopman".into(), header)])))?)
}

fn read_state(path: &Path) -> Result<Option<TrainerState>> {
    if !path.exists() {
        return Ok(None);
    }
    let read = || -> Result<TrainerState> {
        let bytes = fs::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let header = header.metadata().as_ref().and_then(|all| all.get("td_koopman"));
        let (updates, stream) = serde_json::from_str(header.context("it has no counter")?)?;
        let parameter = |(name, view): (String, TensorView)| {
            (name, Parameter { shape: view.shape().to_vec(), values: numbers(view.data()) })
        };
        let parameters = SafeTensors::deserialize(&bytes)?.tensors().into_iter().map(parameter).collect();
        Ok(TrainerState { updates, stream, parameters })
    };
    let damaged = || format!("{} is damaged: remove it, and the cell begins anew", path.display());
    read().map(Some).with_context(damaged)
}
