//! Several seeds as one curve.

use super::curve::Point;

/// The seeds of one experiment at one environment step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aggregate {
    /// The environment step.
    pub env_step: f64,
    /// Mean over the seeds.
    pub mean: f64,
    /// The worst seed.
    pub min: f64,
    /// The best seed.
    pub max: f64,
    /// How many seeds have a value here.
    pub n: usize,
}

impl From<Aggregate> for Point {
    /// A point whose band reaches from the worst to the best seed.
    fn from(aggregate: Aggregate) -> Self {
        let Aggregate { env_step, mean, min, max, .. } = aggregate;
        Self { env_step, mean, low: min, high: max }
    }
}

/// The environment steps at which there is anything, in order and without repetition.
pub fn common_grid(steps: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut grid: Vec<f64> = steps.collect();
    grid.sort_by(f64::total_cmp);
    grid.dedup();
    grid
}

/// Mean, minimum and maximum over `seeds` at each step of `grid`.
///
/// Between its points a curve is interpolated linearly; before its first and after its last it does not take part,
/// so `n` can change along the grid. Points that are not finite are left out; steps that no curve reaches, too.
pub fn aggregate(seeds: &[Vec<Point>], grid: &[f64]) -> Vec<Aggregate> {
    let seeds: Vec<Vec<(f64, f64)>> = seeds.iter().map(|points| finite_and_sorted(points)).collect();
    grid.iter()
        .filter_map(|&env_step| {
            let values: Vec<f64> = seeds.iter().filter_map(|seed| interpolate(seed, env_step)).collect();
            let n = values.len();
            (n > 0).then(|| Aggregate {
                env_step,
                mean: values.iter().sum::<f64>() / n as f64,
                min: values.iter().copied().fold(f64::INFINITY, f64::min),
                max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                n,
            })
        })
        .collect()
}

fn finite_and_sorted(points: &[Point]) -> Vec<(f64, f64)> {
    let finite = |&(env_step, mean): &(f64, f64)| env_step.is_finite() && mean.is_finite();
    let mut pairs: Vec<_> = points.iter().map(|point| (point.env_step, point.mean)).filter(finite).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    pairs
}

/// The value at `x` of the polyline through `points`, which are in order; `None` outside their range.
fn interpolate(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = points.partition_point(|&(at, _)| at < x);
    let &(x1, y1) = points.get(after)?;
    if x1 == x {
        return Some(y1);
    }
    let &(x0, y0) = points.get(after.checked_sub(1)?)?;
    Some(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(points: &[(f64, f64)]) -> Vec<Point> {
        points.iter().map(|&(env_step, mean)| Point::with_sd(env_step, mean, 1.0)).collect()
    }

    #[test]
    fn hand_numbers() {
        // a second seed on another grid, beginning later and ending earlier
        let seeds = [seed(&[(0.0, 0.0), (100.0, 10.0), (200.0, 40.0)]), seed(&[(50.0, 1.0), (150.0, 3.0)])];
        let grid = common_grid(seeds.iter().flatten().map(|point| point.env_step));
        assert_eq!(grid, [0.0, 50.0, 100.0, 150.0, 200.0]);
        let row = |env_step, mean, min, max, n| Aggregate { env_step, mean, min, max, n };
        let expected = [
            row(0.0, 0.0, 0.0, 0.0, 1),
            row(50.0, 3.0, 1.0, 5.0, 2),
            row(100.0, 6.0, 2.0, 10.0, 2),
            row(150.0, 14.0, 3.0, 25.0, 2),
            row(200.0, 40.0, 40.0, 40.0, 1),
        ];
        assert_eq!(aggregate(&seeds, &grid), expected);
        assert_eq!(Point::from(expected[2]), Point { env_step: 100.0, mean: 6.0, low: 2.0, high: 10.0 });
    }

    #[test]
    fn steps_outside_every_curve_are_left_out() {
        let seeds = [seed(&[(10.0, 1.0), (20.0, 2.0)]), seed(&[])];
        let steps: Vec<f64> =
            aggregate(&seeds, &[0.0, 10.0, 15.0, 20.0, 30.0]).iter().map(|a| a.env_step).collect();
        assert_eq!(steps, [10.0, 15.0, 20.0]);
    }

    #[test]
    fn a_value_that_is_not_finite_is_bridged_and_does_not_spoil_the_mean() {
        let seeds = [seed(&[(0.0, 0.0), (10.0, f64::NAN), (20.0, 20.0)]), seed(&[(10.0, 30.0)])];
        let at_ten = aggregate(&seeds, &[10.0]);
        assert_eq!(at_ten, [Aggregate { env_step: 10.0, mean: 20.0, min: 10.0, max: 30.0, n: 2 }]);
    }
}
