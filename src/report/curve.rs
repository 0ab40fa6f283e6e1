//! Learning curves and the `eval.csv` files they come from.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// A learning curve with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// What the legend calls it.
    pub label: String,
    /// Its points, in the order of their environment steps.
    pub points: Vec<Point>,
    /// Whose it is.
    pub origin: Origin,
}

/// Whose curve it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Runs of this program: a solid line.
    Runs,
    /// Somebody else's published runs: a dashed line.
    Published,
}

impl Curve {
    /// A curve of runs of this program.
    pub fn of_runs(label: impl Into<String>, points: Vec<Point>) -> Self {
        Self { label: label.into(), points, origin: Origin::Runs }
    }
}

/// A row of `eval.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluated {
    /// Environment steps trained for.
    pub env_step: f64,
    /// Mean return of the evaluation episodes.
    pub return_mean: f64,
    /// Their standard deviation.
    pub return_sd: f64,
    /// CPU seconds of training; NaN where the file does not have them.
    pub cpu_seconds: f64,
}

/// A point of a learning curve. Where a picture has another axis, its x stands in the place of the environment step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Environment steps trained for.
    pub env_step: f64,
    /// The return shown as the line.
    pub mean: f64,
    /// Lower edge of the band around the line.
    pub low: f64,
    /// Upper edge of the band around the line.
    pub high: f64,
}

impl Point {
    /// A point whose band is the mean plus and minus one standard deviation.
    pub fn with_sd(env_step: f64, mean: f64, sd: f64) -> Self {
        Self { env_step, mean, low: mean - sd, high: mean + sd }
    }
}

/// Reads the evaluations of a run, with a band of one standard deviation over the evaluation episodes.
pub fn read_eval_csv(path: &Path) -> Result<Vec<Point>> {
    let point = |row: Evaluated| Point::with_sd(row.env_step, row.return_mean, row.return_sd);
    Ok(read_evaluations(path)?.into_iter().map(point).collect())
}

/// Reads the evaluations of a run.
///
/// The run may still be writing, or may have been killed: a last row that is not complete is left out.
pub fn read_evaluations(path: &Path) -> Result<Vec<Evaluated>> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read {}; is it the eval.csv of a run that has begun?", path.display())
    })?;
    rows(&text).with_context(|| format!("{} is not the eval.csv of a run", path.display()))
}

fn rows(text: &str) -> Result<Vec<Evaluated>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let headers = reader.headers()?.clone();
    let column = |name: &str| {
        headers.iter().position(|header| header == name).with_context(|| format!("it has no column {name}"))
    };
    let columns = [column("env_step")?, column("return_mean")?, column("return_sd")?];
    let cpu = column("cpu_seconds").ok();

    let mut rows = Vec::new();
    let mut records = reader.records().peekable();
    while let Some(record) = records.next() {
        let record = record?;
        if record.len() != headers.len() {
            if records.peek().is_none() && !text.ends_with('\n') {
                break;
            }
            bail!("the row {:?} has {} cells, not {}", record.as_slice(), record.len(), headers.len());
        }
        let number = |column: usize| {
            record[column].parse().with_context(|| format!("{:?} is not a number", &record[column]))
        };
        let [env_step, return_mean, return_sd] =
            [number(columns[0])?, number(columns[1])?, number(columns[2])?];
        let cpu_seconds = cpu.map_or(Ok(f64::NAN), number)?;
        rows.push(Evaluated { env_step, return_mean, return_sd, cpu_seconds });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "env_step,return_mean,return_sd,episodes,cpu_seconds,wall_seconds\n";

    #[test]
    fn columns_are_found_by_name_and_the_band_is_one_standard_deviation() {
        let folder = tempfile::tempdir().unwrap();
        let points = |text: &str| {
            let path = folder.path().join("eval.csv");
            std::fs::write(&path, text).unwrap();
            read_eval_csv(&path).unwrap()
        };
        let expected = [Point { env_step: 1000.0, mean: 5.0, low: 3.0, high: 7.0 }];
        assert_eq!(points(&format!("{HEADER}1000,5,2,10,1,1\n")), expected);
        assert_eq!(points("return_sd,env_step,return_mean\n2.0,1e3,5\n"), expected);
        assert_eq!(points(HEADER), []);
        assert_eq!(rows(&format!("{HEADER}1000,5,2,10,7.5,1\n")).unwrap()[0].cpu_seconds, 7.5);
    }

    #[test]
    fn a_row_being_written_is_left_out_but_a_short_row_elsewhere_is_an_error() {
        assert_eq!(rows(&format!("{HEADER}1000,5,2,10,1,1\n2000,6,1,1")).unwrap().len(), 1);
        assert_eq!(rows(&format!("{HEADER}1000,5,2,10,1,1\n2000,6,1,10,1,1")).unwrap().len(), 2);
        assert!(rows(&format!("{HEADER}1000,5,2\n2000,6,1,10,1,1\n")).is_err());
        assert!(rows(&format!("{HEADER}1000,5,2\n")).is_err());
    }

    #[test]
    fn nan_is_read_as_nan() {
        let read = rows(&format!("{HEADER}1000,NaN,NaN,10,1,1\n")).unwrap();
        assert!(read[0].return_mean.is_nan() && read[0].return_sd.is_nan());
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.csv");
        let error = |text: &str| {
            std::fs::write(&path, text).unwrap();
            format!("{:#}", read_eval_csv(&path).unwrap_err())
        };
        for (text, wrong) in
            [("env_step,return\n", "return_mean"), (&format!("{HEADER}1000,five,2,10,1,1\n"), "five")]
        {
            let error = error(text);
            assert!(error.contains("eval.csv") && error.contains(wrong), "{error}");
        }
        let absent = folder.path().join("absent.csv");
        assert!(format!("{:#}", read_eval_csv(&absent).unwrap_err()).contains("absent.csv"));
    }
}
