//! `train.csv`, `eval.csv` and `model.csv` in the folder of a run.

use super::resume::{keep, keep_rows_up_to};
use super::{Diagnosis, Episode, Evaluation, Recorded, Recorder};
use anyhow::{Context, Result, ensure};
use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
};
use td_koopman_agents::learner::Losses;

/// The columns of `eval.csv`.
pub const EVALUATION_COLUMNS: [&str; 6] =
    ["env_step", "return_mean", "return_sd", "episodes", "cpu_seconds", "wall_seconds"];

/// Writes `train.csv`, a row an episode, `eval.csv` and `model.csv`, a row an evaluation.
///
/// Every row is handed to the operating system as a whole, so that a killed process loses none and `tail -f` shows
/// them as they come; [`Recorder::flush`] puts them on the disk.
pub struct CsvRecorder {
    train: Table,
    eval: Table,
    model: Table,
}

impl CsvRecorder {
    /// Begins the files anew; what an earlier run left in them is lost.
    pub fn create(run_folder: &Path) -> Result<Self> {
        for name in ["train.csv", "eval.csv", "model.csv"] {
            let path = run_folder.join(name);
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        Self::append(run_folder)
    }

    /// Goes on from a checkpoint: rows it does not know are dropped, a missing file is begun.
    pub fn resume(run_folder: &Path, recorded: Recorded) -> Result<Self> {
        keep_rows_up_to(&run_folder.join("train.csv"), recorded.episode)?;
        keep_rows_up_to(&run_folder.join("eval.csv"), recorded.evaluation)?;
        // which runs of older versions do not have
        keep(&run_folder.join("model.csv"), recorded.evaluation)?;
        Self::append(run_folder)
    }

    /// Refuses files that lack columns of what the run is going to record, before it takes a step. What `model.csv` has is known at
    /// an evaluation only.
    pub fn require_columns(&self, episode: &Episode) -> Result<()> {
        self.train.cells(&train_row(episode))?;
        Ok(())
    }

    fn append(run_folder: &Path) -> Result<Self> {
        let train = Table::append(run_folder.join("train.csv"))?;
        let mut eval = Table::append(run_folder.join("eval.csv"))?;
        eval.columns(&EVALUATION_COLUMNS.map(Cow::from))?;
        let model = Table::append(run_folder.join("model.csv"))?;
        Ok(Self { train, eval, model })
    }
}

impl Recorder for CsvRecorder {
    fn episode(&mut self, episode: &Episode) -> Result<()> {
        self.train.row(train_row(episode))
    }

    fn evaluation(&mut self, evaluation: &Evaluation) -> Result<()> {
        let Evaluation { env_step, return_mean, return_sd, episodes, cpu_seconds, wall_seconds } = evaluation;
        let cells = [
            env_step.to_string(),
            number(*return_mean),
            number(*return_sd),
            episodes.to_string(),
            seconds(*cpu_seconds),
            seconds(*wall_seconds),
        ];
        self.eval.row(EVALUATION_COLUMNS.map(Cow::from).into_iter().zip(cells).collect())
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis) -> Result<()> {
        let first = (Cow::from("env_step"), diagnosis.env_step.to_string());
        let rest = diagnosis.values.iter().map(|(name, value)| (name.clone(), number(*value)));
        self.model.row([first].into_iter().chain(rest).collect())
    }

    fn flush(&mut self) -> Result<()> {
        self.train.sync()?;
        self.eval.sync()?;
        self.model.sync()
    }
}

/// The cells of an episode with the names of their columns.
fn train_row(episode: &Episode) -> Vec<(Cow<'static, str>, String)> {
    let mut row: Vec<(Cow<'static, str>, String)> = vec![
        ("env_step".into(), episode.env_step.to_string()),
        ("decision".into(), episode.decision.to_string()),
        ("episode".into(), episode.episode.to_string()),
        ("return".into(), number(episode.episode_return)),
        ("length".into(), episode.length.to_string()),
        ("end".into(), episode.end.to_string()),
        ("updates".into(), episode.updates.to_string()),
    ];
    let terms = episode.losses.map(|losses| losses.terms());
    row.extend(Losses::TERMS.iter().enumerate().map(|(index, name)| {
        let value = terms.map(|terms| terms[index]);
        (format!("loss_{name}").into(), value.map_or_else(String::new, number))
    }));
    row.extend([
        (
            "gradient_norm".into(),
            episode.losses.map_or_else(String::new, |losses| number(losses.gradient_norm)),
        ),
        ("horizon".into(), episode.horizon.to_string()),
        ("exploration_std".into(), number(episode.exploration_std)),
        ("bad_scores".into(), episode.bad_scores.to_string()),
        ("plan_seconds".into(), seconds(episode.plan_seconds)),
        ("update_seconds".into(), seconds(episode.update_seconds)),
        ("env_seconds".into(), seconds(episode.env_seconds)),
        ("cpu_seconds".into(), seconds(episode.cpu_seconds)),
        ("wall_seconds".into(), seconds(episode.wall_seconds)),
    ]);
    row.extend(episode.extras.iter().map(|&(name, value)| (name.into(), number(value))));
    row
}

/// The shortest text that reads back as the same number, with an exponent where that is shorter.
fn number(value: f64) -> String {
    format!("{value:?}")
}

fn seconds(value: f64) -> String {
    format!("{value:.3}")
}

/// A CSV file that grows by whole rows, all with the same columns.
struct Table {
    path: PathBuf,
    writer: csv::Writer<File>,
    /// The columns the file has; empty until it has a header.
    header: Vec<String>,
}

impl Table {
    fn append(path: PathBuf) -> Result<Self> {
        let cannot_open = || format!("cannot open {} to append to it", path.display());
        let file = OpenOptions::new().create(true).append(true).open(&path).with_context(cannot_open)?;
        let mut reader = csv::Reader::from_path(&path).with_context(cannot_open)?;
        let header = reader.headers().with_context(cannot_open)?.iter().map(String::from).collect();
        Ok(Self { path, writer: csv::Writer::from_writer(file), header })
    }

    /// Writes the header if there is none.
    fn columns(&mut self, names: &[Cow<str>]) -> Result<()> {
        if self.header.is_empty() {
            self.header = names.iter().map(|name| name.to_string()).collect();
            self.write(names.iter().map(|name| name.as_ref()))?;
        }
        Ok(())
    }

    /// Writes the cells that the header has columns for: a run begun by an older version goes on with the columns it has.
    fn row(&mut self, row: Vec<(Cow<'static, str>, String)>) -> Result<()> {
        self.columns(&row.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())?;
        let cells = self.cells(&row)?;
        self.write(cells.into_iter())
    }

    /// The cells of a row in the order of the header.
    fn cells<'a>(&self, row: &'a [(Cow<'static, str>, String)]) -> Result<Vec<&'a str>> {
        let cell =
            |column: &String| row.iter().find(|(name, _)| name == column).map(|(_, cell)| cell.as_str());
        let cells: Vec<&str> = self.header.iter().map_while(cell).collect();
        ensure!(
            cells.len() == self.header.len(),
            "{} has the columns {} but this run records {}; resume with the configuration the run was begun with, \
             or begin it in another folder",
            self.path.display(),
            self.header.join(","),
            row.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>().join(",")
        );
        Ok(cells)
    }

    fn write<'a>(&mut self, cells: impl Iterator<Item = &'a str>) -> Result<()> {
        // The writer's buffer is far larger than a row: flushing after each makes each one write to the file.
        self.writer
            .write_record(cells)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(self.writer.flush()?))
            .with_context(|| format!("cannot write a row to {}", self.path.display()))
    }

    fn sync(&mut self) -> Result<()> {
        self.writer
            .get_ref()
            .sync_data()
            .with_context(|| format!("cannot put {} on the disk", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::events::samples::{diagnosis, episode, evaluation};
    use std::fs;

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn the_columns_are_these_and_an_absent_loss_is_an_empty_cell() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = CsvRecorder::create(folder.path()).unwrap();
        recorder.episode(&Episode { losses: None, ..episode(1) }).unwrap();
        recorder.episode(&episode(2)).unwrap();
        recorder.evaluation(&evaluation(400)).unwrap();

        assert_eq!(
            read(folder.path(), "train.csv"),
            "env_step,decision,episode,return,length,end,updates,loss_total,loss_consistency,loss_reward,loss_value,\
             loss_policy,gradient_norm,horizon,exploration_std,bad_scores,plan_seconds,update_seconds,env_seconds,cpu_seconds,\
             wall_seconds,spectral_radius,modes_alive\n\
             200,100,1,-12.5,200,truncated,50,,,,,,,5,0.3,7,1.250,0.500,0.062,4.000,2.000,0.99,32.0\n\
             400,200,2,-12.5,200,truncated,100,1.5,0.25,0.125,0.5,-0.75,10.0,5,0.3,7,1.250,0.500,0.062,4.000,4.000,\
             0.99,32.0\n"
        );
        assert_eq!(
            read(folder.path(), "eval.csv"),
            "env_step,return_mean,return_sd,episodes,cpu_seconds,wall_seconds\n400,512.25,20.5,10,90.000,45.500\n"
        );
        recorder.diagnosis(&diagnosis(400)).unwrap();
        assert_eq!(read(folder.path(), "model.csv"), "env_step,effective_rank,return_h3\n400,4.5,NaN\n");
    }

    fn up_to(env_step: u64) -> Recorded {
        Recorded { episode: Some(env_step), evaluation: Some(env_step) }
    }

    /// What a run records when it steps through the episodes `range`, evaluating at each second one.
    fn play(recorder: &mut CsvRecorder, range: std::ops::RangeInclusive<u64>) {
        for n in range {
            recorder.episode(&episode(n)).unwrap();
            if n % 2 == 0 {
                recorder.diagnosis(&diagnosis(200 * n)).unwrap();
                recorder.evaluation(&evaluation(200 * n)).unwrap();
            }
        }
    }

    #[test]
    fn a_killed_and_resumed_run_leaves_the_files_of_an_uninterrupted_one() {
        let [whole, killed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        play(&mut CsvRecorder::create(whole.path()).unwrap(), 1..=6);

        // killed after episode 5 and in the middle of a line; the last checkpoint is of episode 3
        play(&mut CsvRecorder::create(killed.path()).unwrap(), 1..=5);
        let train = killed.path().join("train.csv");
        fs::write(&train, read(killed.path(), "train.csv") + "12").unwrap();
        play(&mut CsvRecorder::resume(killed.path(), up_to(600)).unwrap(), 4..=6);

        for name in ["train.csv", "eval.csv", "model.csv"] {
            assert_eq!(read(killed.path(), name), read(whole.path(), name), "{name}");
        }
    }

    #[test]
    fn resuming_begins_the_files_that_are_missing() {
        let [whole, resumed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        play(&mut CsvRecorder::create(whole.path()).unwrap(), 4..=6);
        play(&mut CsvRecorder::resume(resumed.path(), up_to(600)).unwrap(), 4..=6);
        for name in ["train.csv", "eval.csv", "model.csv"] {
            assert_eq!(read(resumed.path(), name), read(whole.path(), name), "{name}");
        }
    }

    #[test]
    fn creating_forgets_an_earlier_run() {
        let folder = tempfile::tempdir().unwrap();
        play(&mut CsvRecorder::create(folder.path()).unwrap(), 1..=6);
        CsvRecorder::create(folder.path()).unwrap();
        assert_eq!(read(folder.path(), "train.csv"), "");
        assert_eq!(read(folder.path(), "eval.csv"), EVALUATION_COLUMNS.join(",") + "\n");
    }

    #[test]
    fn other_diagnostics_than_the_header_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        play(&mut CsvRecorder::create(folder.path()).unwrap(), 1..=1);
        let mut recorder = CsvRecorder::resume(folder.path(), up_to(200)).unwrap();
        let other = Episode { extras: vec![("spectral_radius", 1.0), ("loop_gain", 1.0)], ..episode(2) };
        let error = recorder.episode(&other).unwrap_err().to_string();
        assert!(
            error.contains("train.csv") && error.contains("modes_alive") && error.contains("loop_gain"),
            "{error}"
        );
        assert_eq!(read(folder.path(), "train.csv").lines().count(), 2, "the row was written all the same");
    }

    /// A column that is no longer recorded ended a resumed run at the end of its first episode.
    #[test]
    fn a_column_that_is_not_recorded_any_more_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        CsvRecorder::create(folder.path()).unwrap().require_columns(&episode(1)).unwrap();
        play(&mut CsvRecorder::create(folder.path()).unwrap(), 1..=1);
        let recorder = CsvRecorder::resume(folder.path(), up_to(200)).unwrap();
        recorder.require_columns(&episode(0)).unwrap();
        let fewer = Episode { extras: vec![("modes_alive", 32.0)], ..episode(0) };
        let error = recorder.require_columns(&fewer).unwrap_err().to_string();
        assert!(error.contains("train.csv") && error.contains("spectral_radius"), "{error}");
    }

    /// A new version that records more once refused to go on with the runs of the last one.
    #[test]
    fn a_run_of_an_older_version_goes_on_with_the_columns_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let older = |n| Episode { extras: vec![("modes_alive", 32.0)], ..episode(n) };
        CsvRecorder::create(folder.path()).unwrap().episode(&older(1)).unwrap();
        let mut recorder = CsvRecorder::resume(folder.path(), up_to(200)).unwrap();
        recorder.episode(&episode(2)).unwrap();
        let text = read(folder.path(), "train.csv");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 3 && lines[0].ends_with("wall_seconds,modes_alive"), "{text}");
        assert!(lines[1].ends_with(",2.000,32.0") && lines[2].ends_with(",4.000,32.0"), "{text}");
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = CsvRecorder::create(&folder.path().join("absent")).err().unwrap().to_string();
        assert!(error.contains("absent") && error.contains("train.csv"), "{error}");
    }
}
