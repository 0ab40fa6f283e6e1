//! dm_control's soft indicator function, of which all suite rewards are made.

/// How the value falls off outside the bounds. The number is the value one margin away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sigmoid {
    /// exp(-½ (s d)²) with s = √(-2 ln v)
    Gaussian(f64),
    /// 1 - (1 - v) d, not below 0
    Linear(f64),
    /// 1 - (1 - v) d², not below 0
    Quadratic(f64),
    /// 1 / (1 + (s d)²) with s = √(1/v - 1)
    LongTail(f64),
    /// 1 / (1 + s d) with s = 1/v - 1
    Reciprocal(f64),
}

impl Sigmoid {
    /// The fall-off that dm_control takes when none is named.
    pub(crate) const DEFAULT: Self = Sigmoid::Gaussian(0.1);

    /// The value at a distance of `d` margins.
    fn value(self, d: f64) -> f64 {
        match self {
            Sigmoid::Gaussian(v) => {
                let scale = (-2.0 * v.ln()).sqrt();
                (-0.5 * (d * scale).powi(2)).exp()
            }
            Sigmoid::Linear(v) => (1.0 - d * (1.0 - v)).max(0.0),
            Sigmoid::Quadratic(v) => (1.0 - d.powi(2) * (1.0 - v)).max(0.0),
            Sigmoid::LongTail(v) => 1.0 / (1.0 + d.powi(2) * (1.0 / v - 1.0)),
            Sigmoid::Reciprocal(v) => 1.0 / (1.0 + d * (1.0 / v - 1.0)),
        }
    }
}

/// 1 where `x` lies within `bounds` (low, high); outside, a value that falls with the distance in units of
/// `margin`, and 0 at once when that is 0.
pub(crate) fn tolerance(x: f64, bounds: (f64, f64), margin: f64, sigmoid: Sigmoid) -> f64 {
    let (low, high) = bounds;
    if low <= x && x <= high { 1.0 } else { sigmoid.value(if x < low { low - x } else { x - high } / margin) }
}

/// [`tolerance`] of `x` being at least `low`.
pub(crate) fn at_least(x: f64, low: f64, margin: f64, sigmoid: Sigmoid) -> f64 {
    tolerance(x, (low, f64::INFINITY), margin, sigmoid)
}

/// [`tolerance`] of `x` being at most `high`, from 0.
pub(crate) fn at_most(x: f64, high: f64, margin: f64, sigmoid: Sigmoid) -> f64 {
    tolerance(x, (0.0, high), margin, sigmoid)
}

/// How little force is used: 1 at rest, 0.8 at full force, on average over the actuators.
pub(crate) fn small_control(controls: &[f64]) -> f64 {
    let small = controls.iter().map(|&control| tolerance(control, (0.0, 0.0), 1.0, Sigmoid::Quadratic(0.0)));
    (4.0 + small.sum::<f64>() / controls.len() as f64) / 5.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of x, low, high, margin, sigmoid (0 gaussian, 1 linear, 2 quadratic, 3 long tail,
    /// 4 reciprocal), value at margin, and the
    /// value that dm_control gives; written by `scripts/record_reference.py`.
    const TABLE: &[u8] = include_bytes!("../../tests/reference/tolerance.bin");

    #[test]
    fn it_agrees_with_dm_control() {
        let numbers: Vec<f64> =
            TABLE.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
        let mut rows = 0;
        for row in numbers.chunks_exact(7) {
            let sigmoid = match row[4] {
                0.0 => Sigmoid::Gaussian(row[5]),
                1.0 => Sigmoid::Linear(row[5]),
                2.0 => Sigmoid::Quadratic(row[5]),
                3.0 => Sigmoid::LongTail(row[5]),
                _ => Sigmoid::Reciprocal(row[5]),
            };
            let value = tolerance(row[0], (row[1], row[2]), row[3], sigmoid);
            assert!((value - row[6]).abs() < 1e-15, "{row:?}: {value}");
            rows += 1;
        }
        assert!(rows > 100, "the table has only {rows} rows");
    }
}
