//! Runs of one variant as one curve with intervals.

use super::statistics::{Summary, mean, summarise};
use crate::report::{Evaluated, Point, common_grid};

/// The runs of a variant at one evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Environment steps trained for.
    pub env_step: f64,
    /// CPU seconds of training, mean over the runs; NaN for several tasks, whose costs have no common meaning.
    pub cpu_seconds: f64,
    /// Mean and interquartile mean with their intervals.
    pub summary: Summary,
    /// The worst run.
    pub min: f64,
    /// The best run.
    pub max: f64,
}

impl CurvePoint {
    fn of(env_step: f64, cpu_seconds: f64, scores: &[Vec<f64>]) -> Option<Self> {
        let all = || scores.iter().flatten().copied();
        Some(Self {
            env_step,
            cpu_seconds,
            summary: summarise(scores)?,
            min: all().fold(f64::INFINITY, f64::min),
            max: all().fold(f64::NEG_INFINITY, f64::max),
        })
    }

    /// For a picture over `x`: the mean, with its interval as the band.
    pub fn at(&self, x: f64) -> Point {
        let mean = self.summary.mean;
        Point { env_step: x, mean: mean.value, low: mean.low, high: mean.high }
    }
}

/// One task: the curve over the steps at which any of its runs was evaluated. A run that ended early takes part as far
/// as it came.
pub fn of_task(runs: &[Vec<Evaluated>]) -> Vec<CurvePoint> {
    let at = |step: f64| {
        let rows: Vec<&Evaluated> = runs.iter().flatten().filter(|row| row.env_step == step).collect();
        let seconds: Vec<f64> = rows.iter().map(|row| row.cpu_seconds).collect();
        CurvePoint::of(step, mean(&seconds), &[rows.iter().map(|row| row.return_mean).collect()])
    };
    common_grid(runs.iter().flatten().map(|row| row.env_step)).into_iter().filter_map(at).collect()
}

/// The runs of a variant on a task.
#[derive(Clone)]
pub struct TaskRuns {
    /// Environment steps that were asked for.
    pub end: u64,
    /// Evaluations of each run.
    pub runs: Vec<Vec<Evaluated>>,
}

/// Several tasks with returns from 0 to `scale`: the curve of their scores, from 0 to 1, where every task has a run.
///
/// Tasks with different action repeats are evaluated at slightly different steps; `every` is the distance that was
/// meant, and a task's last evaluation counts as at its end.
pub fn of_tasks(tasks: &[TaskRuns], scale: f64, every: u64) -> Vec<CurvePoint> {
    let meant = |step: f64, end: u64| {
        let every = every as f64;
        if step >= end as f64 { end as f64 } else { (step / every).floor() * every }
    };
    let at = |step: f64| {
        let scores = |task: &TaskRuns| {
            let rows = task.runs.iter().flatten().filter(|row| meant(row.env_step, task.end) == step);
            rows.map(|row| row.return_mean / scale).collect::<Vec<_>>()
        };
        CurvePoint::of(step, f64::NAN, &tasks.iter().map(scores).collect::<Vec<_>>())
    };
    let of_task = |task: &TaskRuns| {
        let end = task.end;
        task.runs.iter().flatten().map(|row| meant(row.env_step, end)).collect::<Vec<_>>()
    };
    common_grid(tasks.iter().flat_map(of_task)).into_iter().filter_map(at).collect()
}

/// The return of a run at its end and at its best evaluation.
pub fn final_and_best(run: &[Evaluated]) -> Option<(f64, f64)> {
    let best = run.iter().map(|row| row.return_mean).fold(f64::NEG_INFINITY, f64::max);
    Some((run.last()?.return_mean, best))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: &[(f64, f64)]) -> Vec<Evaluated> {
        let row = |&(env_step, return_mean): &(f64, f64)| Evaluated {
            env_step,
            return_mean,
            return_sd: 0.0,
            cpu_seconds: env_step / 10.0 + return_mean,
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn runs_that_ended_early_take_part_as_far_as_they_came() {
        let curve = of_task(&[run(&[(100.0, 1.0), (200.0, 5.0)]), run(&[(100.0, 3.0)])]);
        let row =
            |p: &CurvePoint| (p.env_step, p.cpu_seconds, p.summary.mean.value, p.min, p.max, p.summary.runs);
        assert_eq!(row(&curve[0]), (100.0, 12.0, 2.0, 1.0, 3.0, 2));
        assert_eq!(row(&curve[1]), (200.0, 25.0, 5.0, 5.0, 5.0, 1));
        let point = curve[0].at(7.0);
        assert_eq!((point.env_step, point.low, point.high), (7.0, 1.0, 3.0));
        assert!(of_task(&[vec![]]).is_empty());
    }

    #[test]
    fn tasks_meet_at_the_steps_that_were_meant_and_weigh_the_same() {
        // the second task has an action repeat of 8 and three runs
        let a = TaskRuns { end: 250, runs: vec![run(&[(100.0, 0.0), (250.0, 1000.0)])] };
        let b = TaskRuns { end: 250, runs: vec![run(&[(104.0, 500.0), (256.0, 0.0)]); 3] };
        let row = |p: &CurvePoint| (p.env_step, p.summary.mean.value, p.summary.runs);
        let curve = |tasks: &[TaskRuns]| of_tasks(tasks, 1000.0, 100).iter().map(row).collect::<Vec<_>>();
        assert_eq!(curve(&[a.clone(), b.clone()]), [(100.0, 0.25, 4), (250.0, 0.5, 4)]);
        let without_runs = TaskRuns { end: 250, runs: vec![vec![]] };
        assert_eq!(curve(&[a.clone(), without_runs]), [], "a task without runs leaves no score");
        // a task that is trained for longer has no score at the other's end unless it was evaluated there
        assert_eq!(curve(&[a, TaskRuns { end: 500, ..b }]), [(100.0, 0.25, 4)]);
    }

    #[test]
    fn final_and_best_of_hand_numbers() {
        assert_eq!(final_and_best(&run(&[(1.0, 2.0), (2.0, 9.0), (3.0, 4.0)])), Some((4.0, 9.0)));
        assert_eq!(final_and_best(&[]), None);
    }
}
