//! Published learning curves, to be drawn beside ours; `results/published/README.md` says where they come from.

use crate::report::{Curve, Origin, Point};
use anyhow::{Context, Result};
use serde::Deserialize;

const CURVES: &str = include_str!("../../results/published/published_curves.csv");

/// Those drawn, of those in the file, and what legends call them.
const DRAWN: [(&str, &str); 3] =
    [("tdmpc1-paper", "TD-MPC, published"), ("tdmpc2", "TD-MPC2, published"), ("sac", "SAC, published")];

#[derive(Deserialize)]
struct Row {
    task: String,
    algo: String,
    env_step: f64,
    mean: f64,
    seeds: u64,
}

/// The published curves of a task as far as `last_step`, beyond which they would squeeze ours. Lines without bands: the
/// file has their deviations.
pub fn curves(task: &str, last_step: f64) -> Result<Vec<Curve>> {
    let rows: Vec<Row> = csv::Reader::from_reader(CURVES.as_bytes())
        .deserialize()
        .collect::<Result<_, _>>()
        .context("results/published/published_curves.csv is damaged")?;
    let curve = |(algo, label): &(&str, &str)| {
        let of_it =
            || rows.iter().filter(|row| row.task == task && row.algo == *algo && row.env_step <= last_step);
        let point = |row: &Row| Point::with_sd(row.env_step, row.mean, 0.0);
        let seeds = of_it().next()?.seeds;
        let label = format!("{label} ({seeds} seeds)");
        Some(Curve { label, points: of_it().map(point).collect(), origin: Origin::Published })
    };
    Ok(DRAWN.iter().filter_map(curve).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_of_a_task_end_where_ours_do() {
        let curves = curves("cheetah-run", 100_000.0).unwrap();
        assert_eq!(curves.len(), 3);
        assert_eq!(curves[0].label, "TD-MPC, published (5 seeds)");
        let last = curves[0].points.last().unwrap();
        assert_eq!((last.env_step, last.mean, last.high), (100_000.0, 602.8, 602.8));
        assert!(super::curves("cheetah-run", 10_000.0).unwrap().is_empty());
        assert!(super::curves("halfcheetah", 1e6).unwrap().is_empty());
    }
}
