//! One line for every variant of a study: what it is, how it did against the baseline, what its model can do, and what it
//! taught.

use super::compare::{Comparison, Tried};
use super::plan::StudyPlan;
use super::statistics::mean;
use super::text::{cell, number};
use crate::report::Evaluated;
use std::fmt::Write;
use std::path::Path;

/// Columns of `model.csv` that the table shows.
const MODEL: [(&str, &str); 6] = [
    ("latent_error_5", "e₅"),
    ("persistence_5", "p₅"),
    ("reward_r2_5", "R²₅"),
    ("reward_r2_10", "R²₁₀"),
    ("effective_rank", "rank"),
    ("linear_share", "linear"),
];

/// Mean of a run's evaluations in the second half of its training: less of an accident than the last one alone.
fn late_return(evaluations: &[Evaluated]) -> Option<f64> {
    let half = evaluations.last()?.env_step / 2.0;
    let late: Vec<f64> = evaluations.iter().filter(|e| e.env_step > half).map(|e| e.return_mean).collect();
    Some(mean(&late))
}

/// Late returns of a variant's runs on a task.
fn late_returns(tried: &[Tried], env: &str, variant: &str) -> Vec<f64> {
    let of_it = tried.iter().filter(|run| run.cell.env == env && run.cell.variant == variant);
    of_it.filter_map(|run| late_return(&run.evaluations)).collect()
}

/// Mean over the tasks of the ratio of mean late returns to the baseline's; `None` unless both have runs on every task.
fn ratio(comparison: &Comparison, tried: &[Tried], variant: &str, baseline: &str) -> Option<f64> {
    let of_task = |env: &String| {
        let [own, base] = [variant, baseline].map(|variant| late_returns(tried, env, variant));
        (!own.is_empty() && !base.is_empty()).then(|| mean(&own) / mean(&base))
    };
    let tasks = comparison.environments.iter().map(|env| of_task(&env.name)).collect::<Option<Vec<_>>>()?;
    Some(mean(&tasks))
}

/// The last row of a run's `model.csv`, for the columns of [`MODEL`]; NaN where there is none.
fn model_row(run: &Path) -> [f64; MODEL.len()] {
    let read = || -> Option<[f64; MODEL.len()]> {
        let mut reader = csv::Reader::from_path(run.join("model.csv")).ok()?;
        let header = reader.headers().ok()?.clone();
        let last = reader.records().filter_map(Result::ok).last()?;
        let value = |column: &str| {
            let index = header.iter().position(|name| name == column);
            index.and_then(|index| last.get(index)?.parse().ok()).unwrap_or(f64::NAN)
        };
        Some(MODEL.map(|(column, _)| value(column)))
    };
    read().unwrap_or([f64::NAN; MODEL.len()])
}

/// Share of the training episodes in the second half of a run that returned less than half of their median: lost, not just
/// worse. `None` without episodes, and where half of the median is no less than it: returns that are not positive.
fn lost(run: &Path) -> Option<f64> {
    let mut reader = csv::Reader::from_path(run.join("train.csv")).ok()?;
    let header = reader.headers().ok()?.clone();
    let [step, returned] = ["env_step", "return"].map(|column| header.iter().position(|name| name == column));
    let number = |row: &csv::StringRecord, column| row.get(column?)?.parse::<f64>().ok();
    let rows = reader.records().filter_map(Result::ok);
    let episodes: Vec<[f64; 2]> =
        rows.filter_map(|row| Some([number(&row, step)?, number(&row, returned)?])).collect();
    let half = episodes.last()?[0] / 2.0;
    let mut late: Vec<f64> = episodes.iter().filter(|[step, _]| *step > half).map(|[_, x]| *x).collect();
    late.sort_by(f64::total_cmp);
    let median = *late.get(late.len() / 2)?;
    let threshold = (median > 0.0).then_some(median / 2.0)?;
    Some(late.iter().filter(|x| **x < threshold).count() as f64 / late.len() as f64)
}

/// Appends the table, the best variant first, those that have not run last.
pub fn write(page: &mut String, comparison: &Comparison, tried: &[Tried], plan: &StudyPlan) {
    let _ = write!(
        page,
        "\n## Variants\n\n{}\n\n*late* is the mean return of a run's evaluations in the second half of its training, here the mean over \
         seeds; *ratio* is the mean over tasks of its ratio to that of `{}`. *lost* is the share of that half's training episodes that \
         returned less than half of their median. CPU s: of one training, mean over all runs. Then, at the end of \
         training and over all runs, what the model can do: error e₅ of the latent five decisions ahead and that of \"nothing \
         changes\", p₅, both over the variance; R² of the reward predicted five and ten decisions ahead; effective rank of the latent; \
         linear share of the prediction (see `td-koopman diagnose --help`).\n\n| variant | ratio |",
        plan.about, plan.baseline
    );
    for env in &comparison.environments {
        let _ = write!(page, " {} late |", env.name);
    }
    let _ = write!(page, " lost | runs | CPU s |");
    MODEL.iter().for_each(|(_, title)| page.push_str(&format!(" {title} |")));
    *page += " settings | idea | taught |\n|---|---:|";
    *page += &"---:|".repeat(comparison.environments.len() + 3 + MODEL.len());
    *page += "---|---|---|\n";
    let mut order: Vec<usize> = (0..comparison.variants.len()).collect();
    let ratios: Vec<Option<f64>> =
        comparison.variants.iter().map(|v| ratio(comparison, tried, v, &plan.baseline)).collect();
    order.sort_by(|&a, &b| ratios[b].unwrap_or(-1.0).total_cmp(&ratios[a].unwrap_or(-1.0)));
    for index in order {
        let variant = &comparison.variants[index];
        let of_it = tried.iter().filter(|run| run.cell.variant == *variant);
        let begun: Vec<&Tried> = of_it.filter(|run| !run.evaluations.is_empty()).collect();
        let _ = write!(page, "| {variant} | {} |", ratios[index].map_or("–".into(), number));
        for env in &comparison.environments {
            let late = late_returns(tried, &env.name, variant);
            let _ = write!(page, " {} |", number(mean(&late)));
        }
        let lost: Vec<f64> = begun.iter().filter_map(|run| lost(&run.files)).collect();
        let percent = if lost.is_empty() { "–".into() } else { format!("{:.0} %", 100.0 * mean(&lost)) };
        let seconds: Vec<f64> =
            begun.iter().filter_map(|run| Some(run.evaluations.last()?.cpu_seconds)).collect();
        let _ = write!(page, " {percent} | {} | {} |", begun.len(), number(mean(&seconds)));
        let rows: Vec<_> = begun.iter().map(|run| model_row(&run.files)).collect();
        for column in 0..MODEL.len() {
            let known: Vec<f64> = rows.iter().map(|row| row[column]).filter(|x| x.is_finite()).collect();
            let shown = if known.is_empty() { "–".into() } else { format!("{:.2}", mean(&known)) };
            let _ = write!(page, " {shown} |");
        }
        let settings: Vec<String> =
            plan.variants[index].settings.iter().map(|s| format!("`{}`", cell(s))).collect();
        let note = &plan.notes[index];
        let _ = writeln!(page, " {} | {} | {} |", settings.join(" "), cell(&note.idea), cell(&note.taught));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_is_the_second_half() {
        let at =
            |env_step, return_mean| Evaluated { env_step, return_mean, return_sd: 0.0, cpu_seconds: 0.0 };
        let rows = [at(5.0, 1.0), at(10.0, 2.0), at(15.0, 30.0), at(20.0, 50.0)];
        assert_eq!(late_return(&rows), Some(40.0));
        assert_eq!(late_return(&rows[..1]), Some(1.0));
        assert_eq!(late_return(&[]), None);
    }

    #[test]
    fn lost_episodes_return_less_than_half_of_the_median() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(lost(run.path()), None);
        let episodes = [(100, 1), (200, 9), (300, 8), (400, 10), (500, 4), (600, 5)];
        let rows = episodes.map(|(step, returned)| format!("{step},0,{returned}\n")).concat();
        std::fs::write(run.path().join("train.csv"), format!("env_step,decision,return\n{rows}")).unwrap();
        // behind step 300: 10, 4, 5, whose median is 5
        assert_eq!(lost(run.path()), Some(0.0));
        let rows = rows.replace("0,4", "0,2");
        std::fs::write(run.path().join("train.csv"), format!("env_step,decision,return\n{rows}")).unwrap();
        assert_eq!(lost(run.path()), Some(1.0 / 3.0));
        std::fs::write(run.path().join("train.csv"), "env_step,return\n100,-900\n200,-200\n").unwrap();
        assert_eq!(lost(run.path()), None);
    }

    #[test]
    fn the_last_row_of_a_model_file_is_read_by_its_columns() {
        let run = tempfile::tempdir().unwrap();
        assert!(model_row(run.path()).iter().all(|x| x.is_nan()));
        let text = "env_step,persistence_5,latent_error_5,linear_share\n100,9,8,7\n200,0.5,0.25,NaN\n";
        std::fs::write(run.path().join("model.csv"), text).unwrap();
        let row = model_row(run.path());
        assert_eq!(row[..2], [0.25, 0.5]);
        assert!(row[2..].iter().all(|x| x.is_nan()));
    }
}
