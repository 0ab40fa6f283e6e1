//! The bowl with random bumps from which quadruped-escape has to get out.
use std::f64::consts::TAU;

use crate::random::Random;

/// Lowest factor of a bump: 0 would be as bumpy as possible, 1 smooth.
const SMOOTHNESS: f64 = 0.15;
/// Bumps along each side: one for every 2 m of the 60 m.
pub(crate) const BUMPS: usize = 30;
/// Where the ground stays low in the middle, as a share of the half-width.
const FLAT: f64 = 0.04;
/// Pole of the filter that turns values into coefficients of cubic B-splines, √3 - 2 (Unser, Aldroubi, Eden 1993).
const POLE: f64 = -0.267_949_192_431_122_7;

/// Random bumps, row by row.
pub(crate) fn random_bumps(random: &mut Random) -> Vec<f64> {
    (0..BUMPS * BUMPS).map(|_| random.uniform(SMOOTHNESS, 1.0)).collect()
}

/// Heights of the ground from 0 to 1 on a square grid of `size` points a side: a sinusoidal bowl times the bumps,
/// which cubic splines spread over the grid as scipy's `ndimage.zoom` does.
pub(crate) fn heights(bumps: &[f64], size: usize) -> Vec<f32> {
    let mut coefficients = bumps.to_vec();
    (0..BUMPS).for_each(|row| filter(&mut coefficients, row * BUMPS, 1));
    (0..BUMPS).for_each(|column| filter(&mut coefficients, column, BUMPS));
    let taps: Vec<[(usize, f64); 4]> = (0..size).map(|point| taps(point, size)).collect();
    let place = |point: usize| -1.0 + 2.0 * point as f64 / (size - 1) as f64;
    let height = |row: usize, column: usize| {
        let radius = place(row).hypot(place(column)).clamp(FLAT, 1.0);
        let bowl = 0.5 - (TAU * radius).cos() / 2.0;
        let across = |line: usize| -> f64 {
            taps[column].iter().map(|&(knot, weight)| weight * coefficients[line * BUMPS + knot]).sum()
        };
        bowl * taps[row].iter().map(|&(knot, weight)| weight * across(knot)).sum::<f64>()
    };
    (0..size * size).map(|point| height(point / size, point % size) as f32).collect()
}

/// Turns `BUMPS` values, `step` apart from `first` on, into spline coefficients; beyond the ends they are mirrored.
fn filter(values: &mut [f64], first: usize, step: usize) {
    let at = |place: usize| first + place * step;
    let gain = (1.0 - POLE) * (1.0 - 1.0 / POLE);
    (0..BUMPS).for_each(|place| values[at(place)] *= gain);
    // the sum over the endlessly mirrored values, which repeat after 2 (n - 1)
    let period = 2 * (BUMPS - 1);
    let mirrored = |place: usize| if place < BUMPS { place } else { period - place };
    let sum: f64 = (0..period).map(|place| POLE.powi(place as i32) * values[at(mirrored(place))]).sum();
    values[at(0)] = sum / (1.0 - POLE.powi(period as i32));
    for place in 1..BUMPS {
        values[at(place)] += POLE * values[at(place - 1)];
    }
    let last = BUMPS - 1;
    values[at(last)] = (POLE * values[at(last - 1)] + values[at(last)]) * POLE / (POLE * POLE - 1.0);
    for place in (0..last).rev() {
        values[at(place)] = POLE * (values[at(place + 1)] - values[at(place)]);
    }
}

/// The four knots around a point of the finer grid, and what they weigh.
fn taps(point: usize, size: usize) -> [(usize, f64); 4] {
    let place = point as f64 * ((BUMPS - 1) as f64 / (size - 1) as f64);
    let (start, x) = (place.floor(), place - place.floor());
    let y = 1.0 - x;
    let weights = [
        y.powi(3) / 6.0,
        (x * x * (x - 2.0) * 3.0 + 4.0) / 6.0,
        (y * y * (y - 2.0) * 3.0 + 4.0) / 6.0,
        x.powi(3) / 6.0,
    ];
    let last = BUMPS as isize - 1;
    std::array::from_fn(|i| {
        let knot = (start as isize + i as isize - 1).abs();
        (if knot > last { 2 * last - knot } else { knot } as usize, weights[i])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a grid of the bumps' own resolution a spline goes through them.
    #[test]
    fn splines_interpolate() {
        let bumps = random_bumps(&mut Random::from_seed(3));
        let heights = heights(&bumps, BUMPS);
        let place = |point: usize| -1.0 + 2.0 * point as f64 / (BUMPS - 1) as f64;
        for (point, height) in heights.iter().enumerate() {
            let radius = place(point / BUMPS).hypot(place(point % BUMPS)).clamp(FLAT, 1.0);
            let bowl = 0.5 - (TAU * radius).cos() / 2.0;
            assert!((f64::from(*height) - bowl * bumps[point]).abs() < 1e-6, "{point}");
        }
    }

    #[test]
    fn equal_bumps_are_no_bumps() {
        let heights = heights(&[0.5; BUMPS * BUMPS], 201);
        assert!((heights[100 * 201 + 50] - 0.5).abs() < 1e-6, "half-way out the bowl is highest");
        assert!(heights[0].abs() < 1e-6 && heights[100 * 201 + 100] < 0.01);
    }
}
