//! What trained agents return when they plan further ahead: the returns at `--eval-horizons` of a study's runs.

use super::compare::{Comparison, Tried};
use super::files;
use super::statistics::{mean, ratio};
use super::text::number;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// What the columns of `model.csv` with such returns begin with.
const COLUMN: &str = "return_h";

/// Planning horizons and returns at the last evaluation of a run, the shortest first; none if they were not asked for.
fn last_returns(run: &Path, steps: u64) -> BTreeMap<u32, f64> {
    let returned = |(name, x): (String, f64)| Some((name.strip_prefix(COLUMN)?.parse().ok()?, x));
    files::model(run, steps).into_iter().filter_map(returned).collect()
}

/// Appends a table with a line for every run that has such returns, and one for their mean; nothing if there are none.
pub fn write(page: &mut String, comparison: &Comparison, tried: &[Tried]) {
    let all: Vec<_> =
        tried.iter().map(|run| (run.cell, last_returns(&run.files, run.cell.config.steps))).collect();
    let Some((_, first)) = all.iter().find(|(_, returns)| !returns.is_empty()) else { return };
    let horizons: Vec<u32> = first.keys().copied().collect();
    let _ = write!(
        page,
        "\n## Planning horizons\n\nReturns of the same trained agents when they plan further ahead, the same episodes at every horizon, at the last \
         evaluation; *over* is the ratio to the return at the shortest.\n\n| env | variant | seed |"
    );
    horizons.iter().for_each(|h| page.push_str(&format!(" H {h} |")));
    horizons[1..].iter().for_each(|h| page.push_str(&format!(" {h} over {} |", horizons[0])));
    *page += "\n|---|---|---:|";
    *page += &"---:|".repeat(2 * horizons.len() - 1);
    *page += "\n";
    for env in &comparison.environments {
        for variant in &comparison.variants {
            let of_it = all.iter().filter(|(cell, returns)| {
                let asked = returns.keys().eq(&horizons);
                cell.env == env.name && cell.variant == *variant && asked
            });
            let rows: Vec<(u64, Vec<f64>)> =
                of_it.map(|(cell, returns)| (cell.seed, returns.values().copied().collect())).collect();
            for (seed, returns) in &rows {
                line(page, &format!("{} | {variant} | {seed}", env.name), returns, &ratios(returns));
            }
            if rows.len() > 1 {
                let over = |values: Vec<Vec<f64>>| -> Vec<f64> {
                    let column = |i: usize| mean(&values.iter().map(|row| row[i]).collect::<Vec<_>>());
                    (0..values[0].len()).map(column).collect()
                };
                let returns = over(rows.iter().map(|(_, returns)| returns.clone()).collect());
                let ratios = over(rows.iter().map(|(_, returns)| ratios(returns)).collect());
                line(page, &format!("{} | {variant} | mean", env.name), &returns, &ratios);
            }
        }
    }
}

/// Ratios to the first; NaN where they would say nothing.
fn ratios(returns: &[f64]) -> Vec<f64> {
    returns[1..].iter().map(|&x| ratio(x, returns[0]).unwrap_or(f64::NAN)).collect()
}

fn line(page: &mut String, start: &str, returns: &[f64], ratios: &[f64]) {
    let ratio = |x: &f64| if x.is_finite() { format!("{x:.2}") } else { "–".into() };
    let numbers = returns.iter().map(|x| number(*x)).chain(ratios.iter().map(ratio));
    let _ = writeln!(page, "| {start} | {} |", numbers.collect::<Vec<_>>().join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_are_read_from_the_last_row_in_the_order_of_horizons() {
        let run = tempfile::tempdir().unwrap();
        assert!(last_returns(run.path(), 200).is_empty());
        let text = "env_step,return_h10,persistence_5,return_h5\n100,1,2,3\n200,450.5,0.5,500\n";
        std::fs::write(run.path().join("model.csv"), text).unwrap();
        assert!(last_returns(run.path(), 200).into_iter().eq([(5, 500.0), (10, 450.5)]));
        let mut page = String::new();
        line(&mut page, "a | b | 1", &[500.0, 450.5], &ratios(&[500.0, 450.5]));
        line(&mut page, "a | b | 2", &[-500.0, -900.0], &ratios(&[-500.0, -900.0]));
        assert_eq!(page, "| a | b | 1 | 500 | 450 | 0.90 |\n| a | b | 2 | -500 | -900 | – |\n");
    }
}
