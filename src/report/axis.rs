//! Ranges and tick labels of a chart's axes.

use std::ops::Range;

/// The range of the x axis for steps that reach from `min` to `max`.
///
/// It begins at zero, where training begins, unless the curves are far from it; it is never empty.
pub(super) fn step_range(min: f64, max: f64) -> Range<f64> {
    let start = if min >= 0.0 && min <= 0.5 * max { 0.0 } else { min };
    // a little air, so that the last marker is not cut in half
    let width = max - start;
    if width > 0.0 { start..max + 0.015 * width } else { around(max, 1.0) }
}

/// The range of the y axis for values that reach from `min` to `max`, with air above and below.
pub(super) fn value_range(min: f64, max: f64) -> Range<f64> {
    let air = 0.06 * (max - min);
    if air > 0.0 { min - air..max + air } else { around(min, 1e-3) }
}

/// A range around a single value that reaches at least `least` to either side.
fn around(value: f64, least: f64) -> Range<f64> {
    let air = (0.1 * value.abs()).max(least);
    value - air..value + air
}

/// Ticks of a logarithmic axis: powers of ten, or if that makes fewer than three, twice and five times those as well, or more digits, or
/// four that are equally far apart.
pub(super) fn log_ticks(range: &Range<f64>) -> Vec<f64> {
    let decades = range.start.log10().floor() as i32..=range.end.log10().floor() as i32;
    let of = |digits: &[f64]| -> Vec<f64> {
        let all = decades.clone().flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)));
        all.filter(|tick| range.contains(tick)).collect()
    };
    let finest = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let sets = [&[1.0][..], &[1.0, 2.0, 5.0], &finest];
    let apart = || (0..4).map(|i| range.start * (range.end / range.start).powf(f64::from(i) / 3.0)).collect();
    sets.into_iter().map(of).find(|ticks| ticks.len() >= 3).unwrap_or_else(apart)
}

/// The text of a tick: `0.25`, `-150`, `20k`, `1.5M`.
pub(super) fn tick(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Ticks are round numbers with the noise of a floating-point sum.
    let text = format!("{scaled:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

/// The text of a tick of a logarithmic axis, two digits of it: `0.0032`, `0.1`, `32`, `1e-6`.
pub(super) fn error_tick(value: f64) -> String {
    if !(1e-4..1e4).contains(&value) {
        return format!("{value:.1e}").replace(".0e", "e");
    }
    let decimals = (1 - value.log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short_and_free_of_rounding_noise() {
        let cases = [
            (0.0, "0"),
            (-1e-17, "0"),
            (0.1 + 0.2, "0.3"),
            (-150.0, "-150"),
            (5_000.0, "5000"),
            (20_000.0, "20k"),
            (12_500.0, "12.5k"),
            (1_500_000.0, "1.5M"),
            (-20_000.0, "-20k"),
        ];
        for (value, text) in cases {
            assert_eq!(tick(value), text);
        }
    }

    #[test]
    fn ticks_of_a_logarithmic_axis_have_two_digits() {
        for (value, text) in [
            (0.1, "0.1"),
            (0.003_162, "0.0032"),
            (1.0, "1"),
            (31.62, "32"),
            (1e-6, "1e-6"),
            (3.162e4, "3.2e4"),
        ] {
            assert_eq!(error_tick(value), text);
        }
    }

    /// Costs between 0.6 and 0.7 s had an axis without a number.
    #[test]
    fn a_logarithmic_axis_has_numbers_however_short_it_is() {
        assert_eq!(log_ticks(&(0.05..200.0)), [0.1, 1.0, 10.0, 100.0]);
        assert_eq!(log_ticks(&(0.9..11.0)), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(log_ticks(&(2.2..4.5)), [2.5, 3.0, 4.0]);
        let close = log_ticks(&(0.6..0.7));
        assert!(close.len() == 4 && close.windows(2).all(|pair| pair[0] < pair[1]), "{close:?}");
    }

    #[test]
    fn steps_begin_at_zero_unless_they_are_far_from_it() {
        assert_eq!(step_range(1_000.0, 20_000.0).start, 0.0);
        assert_eq!(step_range(90_000.0, 100_000.0).start, 90_000.0);
    }

    #[test]
    fn no_range_is_empty() {
        for value in [0.0, -3.0, 1e6] {
            for range in [step_range(value, value), value_range(value, value)] {
                assert!(range.start < value && value < range.end, "{range:?}");
            }
        }
    }
}
