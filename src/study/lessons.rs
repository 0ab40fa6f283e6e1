//! One line for every variant of a study: what it is, how it did against the baseline, what its model can do, and what it
//! taught.

use super::compare::{Comparison, Tried};
use super::files;
use super::plan::StudyPlan;
use super::statistics::{mean, ratio};
use super::text::{cell, number};
use crate::report::Evaluated;
use std::collections::BTreeMap;
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

/// Mean over the tasks of the ratio of mean late returns to the baseline's; `None` unless both have runs on every task, with
/// positive returns.
fn mean_ratio(comparison: &Comparison, tried: &[Tried], variant: &str, baseline: &str) -> Option<f64> {
    let of_task = |env: &String| {
        let [own, base] = [variant, baseline].map(|variant| late_returns(tried, env, variant));
        ratio(mean(&own), mean(&base))
    };
    let tasks = comparison.environments.iter().map(|env| of_task(&env.name)).collect::<Option<Vec<_>>>()?;
    Some(mean(&tasks))
}

/// Share of the training episodes in the second half of a run that returned less than half of their median: lost, not just
/// worse. The run ends at the step `end`; it may have been trained for longer since. `None` without episodes, and where half of
/// the median is no less than it: returns that are not positive.
fn lost(run: &Path, end: f64) -> Option<f64> {
    let mut reader = csv::Reader::from_path(run.join("train.csv")).ok()?;
    let header = reader.headers().ok()?.clone();
    let [step, returned] = ["env_step", "return"].map(|column| header.iter().position(|name| name == column));
    let number = |row: &csv::StringRecord, column| row.get(column?)?.parse::<f64>().ok();
    let rows = reader.records().filter_map(Result::ok);
    let episodes = rows.filter_map(|row| Some([number(&row, step)?, number(&row, returned)?]));
    let episodes: Vec<[f64; 2]> = episodes.filter(|[step, _]| *step <= end).collect();
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
    // the evaluation that ends a run may come some steps behind those that were asked for
    let end = |run: &Tried| {
        let last = run.evaluations.last().map_or(0.0, |row| row.env_step);
        last.max(run.cell.config.steps as f64)
    };
    let mut order: Vec<usize> = (0..comparison.variants.len()).collect();
    let ratios: Vec<Option<f64>> =
        comparison.variants.iter().map(|v| mean_ratio(comparison, tried, v, &plan.baseline)).collect();
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
        let lost: Vec<f64> = begun.iter().filter_map(|run| lost(&run.files, end(run))).collect();
        let percent = if lost.is_empty() { "–".into() } else { format!("{:.0} %", 100.0 * mean(&lost)) };
        let seconds: Vec<f64> =
            begun.iter().filter_map(|run| Some(run.evaluations.last()?.cpu_seconds)).collect();
        let _ = write!(page, " {percent} | {} | {} |", begun.len(), number(mean(&seconds)));
        let rows: Vec<_> = begun.iter().map(|run| files::model(&run.files, run.cell.config.steps)).collect();
        for (column, _) in MODEL {
            let row = |row: &BTreeMap<String, f64>| row.get(column).copied().filter(|x| x.is_finite());
            let known: Vec<f64> = rows.iter().filter_map(row).collect();
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
        assert_eq!(lost(run.path(), 600.0), None);
        let episodes = [(100, 1), (200, 9), (300, 8), (400, 10), (500, 4), (600, 5)];
        let rows = episodes.map(|(step, returned)| format!("{step},0,{returned}\n")).concat();
        std::fs::write(run.path().join("train.csv"), format!("env_step,decision,return\n{rows}")).unwrap();
        // behind step 300: 10, 4, 5, whose median is 5
        assert_eq!(lost(run.path(), 600.0), Some(0.0));
        let rows = rows.replace("0,4", "0,2");
        std::fs::write(run.path().join("train.csv"), format!("env_step,decision,return\n{rows}")).unwrap();
        assert_eq!(lost(run.path(), 600.0), Some(1.0 / 3.0));
        assert_eq!(lost(run.path(), 400.0), Some(0.0), "of the first four, 8 and 10");
        std::fs::write(run.path().join("train.csv"), "env_step,return\n100,-900\n200,-200\n").unwrap();
        assert_eq!(lost(run.path(), 600.0), None);
    }
}
