//! Means, interquartile means and their bootstrap intervals over runs, after Agarwal et al. 2021, "Deep Reinforcement
//! Learning at the Edge of the Statistical Precipice" (arXiv 2108.13264) and its library rliable.

use td_koopman_agents::rng::Stream;

/// Bootstrap samples of an interval.
const RESAMPLES: usize = 2000;
/// The probability that an interval leaves out at each of its ends.
const TAIL: f64 = 0.025;
/// One seed for all intervals: the same scores give the same report.
const SEED: u64 = 1;

/// A statistic with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The statistic of the scores.
    pub value: f64,
    /// The 2.5th percentile of its bootstrap distribution.
    pub low: f64,
    /// The 97.5th.
    pub high: f64,
}

/// What is known of the scores of a variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Mean over tasks of the mean over runs.
    pub mean: Estimate,
    /// Interquartile mean over all runs of all tasks.
    pub iqm: Estimate,
    /// Number of runs.
    pub runs: usize,
}

/// Summarises `scores[task][run]`; `None` if any task has no run.
///
/// The intervals are percentile intervals of a stratified bootstrap: each of 2000 resamples draws, within each task, as
/// many runs as the task has, with replacement. With a handful of runs such intervals are too narrow (a bootstrap of one
/// run has no width at all): they order variants, they do not test hypotheses.
pub fn summarise(scores: &[Vec<f64>]) -> Option<Summary> {
    if scores.is_empty() || scores.iter().any(Vec::is_empty) {
        return None;
    }
    let mut stream = Stream::new(SEED, "bootstrap");
    let (mut means, mut iqms) = (Vec::with_capacity(RESAMPLES), Vec::with_capacity(RESAMPLES));
    for _ in 0..RESAMPLES {
        let resampled: Vec<Vec<f64>> = scores.iter().map(|runs| resample(runs, &mut stream)).collect();
        means.push(mean_of_tasks(&resampled));
        iqms.push(interquartile_mean(&resampled.concat()));
    }
    let estimate = |value, mut samples: Vec<f64>| {
        samples.sort_by(f64::total_cmp);
        Estimate { value, low: percentile(&samples, TAIL), high: percentile(&samples, 1.0 - TAIL) }
    };
    Some(Summary {
        mean: estimate(mean_of_tasks(scores), means),
        iqm: estimate(interquartile_mean(&scores.concat()), iqms),
        runs: scores.iter().map(Vec::len).sum(),
    })
}

fn resample(runs: &[f64], stream: &mut Stream) -> Vec<f64> {
    // `unit` has 53 bits and is below 1, so the index stays in range and is as good as unbiased
    runs.iter().map(|_| runs[(stream.unit() * runs.len() as f64) as usize]).collect()
}

/// The mean of some numbers.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// How many times as good a return is as another; `None` unless both are positive: of negative ones the worse would have
/// the larger ratio.
pub fn ratio(own: f64, other: f64) -> Option<f64> {
    (own > 0.0 && other > 0.0).then(|| own / other)
}

fn mean_of_tasks(scores: &[Vec<f64>]) -> f64 {
    mean(&scores.iter().map(|runs| mean(runs)).collect::<Vec<_>>())
}

/// The mean of the middle half: of n numbers the ⌊n/4⌋ smallest and as many of the largest are left out. Where n is no
/// multiple of four fewer are, as in `scipy.stats.trim_mean(x, 0.25)`, which rliable uses.
pub fn interquartile_mean(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    mean(&sorted[cut..sorted.len() - cut])
}

/// The quantile `q` of sorted numbers, interpolated linearly between neighbours (numpy's default).
fn percentile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice as bad as the baseline's −400 was the ratio 2, the best of a table.
    #[test]
    fn returns_that_are_not_positive_have_no_ratio() {
        assert_eq!(ratio(300.0, 200.0), Some(1.5));
        for (own, other) in [(-800.0, -400.0), (-1.0, 2.0), (2.0, 0.0), (0.0, 2.0), (f64::NAN, 1.0)] {
            assert_eq!(ratio(own, other), None, "{own} over {other}");
        }
    }

    /// Values of `scipy.stats.trim_mean(x, 0.25)`.
    #[test]
    fn the_interquartile_mean_is_scipys() {
        for (values, expected) in [
            (&[7.0][..], 7.0),
            (&[1.0, 3.0], 2.0),
            (&[0.0, 1.0, 5.0], 2.0),                       // ⌊0.75⌋ = 0: nothing is cut
            (&[100.0, 1.0, 2.0, -50.0], 1.5),              // one at each end
            (&[0.0, 1.0, 2.0, 3.0, 100.0], 2.0),           // ⌊1.25⌋ = 1
            (&[0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 100.0], 3.6), // ⌊1.75⌋ = 1
            (&[9.0, 8.0, 7.0, 6.0, 4.0, 3.0, 2.0, 1.0], 5.0), // two at each end
        ] {
            assert!((interquartile_mean(values) - expected).abs() < 1e-12, "{values:?}");
        }
    }

    #[test]
    fn percentiles_are_numpys() {
        let sorted = [0.0, 10.0, 20.0, 30.0];
        for (q, expected) in [(0.0, 0.0), (0.5, 15.0), (1.0, 30.0), (0.25, 7.5)] {
            assert_eq!(percentile(&sorted, q), expected);
        }
        assert_eq!(percentile(&[4.0], 0.975), 4.0);
    }

    #[test]
    fn constant_scores_and_single_runs_have_intervals_without_width() {
        for scores in [vec![vec![5.0; 4]], vec![vec![5.0]], vec![vec![5.0; 3], vec![5.0; 2]]] {
            let five = Estimate { value: 5.0, low: 5.0, high: 5.0 };
            let summary = summarise(&scores).unwrap();
            assert_eq!((summary.mean, summary.iqm), (five, five));
        }
        assert_eq!(summarise(&[]), None);
        assert_eq!(summarise(&[vec![1.0], vec![]]), None);
    }

    #[test]
    fn intervals_repeat_contain_the_estimate_and_stay_inside_the_scores() {
        let scores = vec![vec![1.0, 4.0, 2.0, 8.0, 5.0], vec![3.0, 3.5, 9.0]];
        let summary = summarise(&scores).unwrap();
        assert_eq!(summarise(&scores).unwrap(), summary);
        assert_eq!(summary.runs, 8);
        assert!((summary.mean.value - (4.0 + 31.0 / 6.0) / 2.0).abs() < 1e-12, "tasks weigh the same");
        for e in [summary.mean, summary.iqm] {
            assert!(1.0 < e.low && e.low < e.value && e.value < e.high && e.high < 9.0, "{e:?}");
        }
    }

    /// Two runs 0 and 1 have means 0, ½ and 1 with probabilities ¼, ½ and ¼. Were runs exchanged between tasks, the
    /// mean of two constant tasks would vary as well.
    #[test]
    fn the_bootstrap_resamples_within_tasks() {
        let two = summarise(&[vec![0.0, 1.0]]).unwrap();
        assert_eq!((two.mean.low, two.mean.value, two.mean.high), (0.0, 0.5, 1.0));
        let constant = summarise(&[vec![0.0; 3], vec![1.0; 3]]).unwrap();
        assert_eq!((constant.mean.low, constant.mean.high), (0.5, 0.5));
    }

    /// The interval of a mean of many normal scores is the textbook's ±1.96 standard errors.
    #[test]
    fn the_interval_of_many_scores_is_that_of_the_normal_distribution() {
        let scores: Vec<f64> = Stream::new(3, "scores").normal(400).into_iter().map(f64::from).collect();
        let e = summarise(&[scores]).unwrap().mean;
        let half = (e.high - e.low) / 2.0;
        assert!((half - 1.96 / 20.0).abs() < 0.012, "{half}");
    }
}
