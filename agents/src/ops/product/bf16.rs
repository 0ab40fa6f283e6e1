//! bfloat16: the upper half of an `f32`. Two of them lie in the bits of one, the first in its lower half.

use crate::ops::Aligned;
use crate::ops::simd::multiversion;
use rayon::prelude::*;

/// To nearest, ties to even; NaN stays NaN.
#[inline(always)]
fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // the sum carries some NaNs over to zero
    (if x.is_nan() { bits >> 16 | 0x40 } else { nearest }) as u16
}

/// Two numbers, rounded, as one. Only ever moved: an operation on it could change the bits of a NaN.
#[inline(always)]
pub(crate) fn pair([x0, x1]: [f32; 2]) -> f32 {
    f32::from_bits(u32::from(rounded(x0)) | u32::from(rounded(x1)) << 16)
}

/// The numbers of a pair.
#[inline(always)]
pub(crate) fn unpaired(pair: f32) -> [f32; 2] {
    let bits = pair.to_bits();
    [f32::from_bits(bits << 16), f32::from_bits(bits & 0xffff_0000)]
}

/// A buffer for rows of pairs.
#[derive(Default)]
pub(crate) struct Rounded(Aligned);

impl Rounded {
    /// `inputs` numbers of each of `rows` rows of x, `x_stride` apart, as pairs without a distance between rows; a last single
    /// number is paired with zero.
    pub fn round(&mut self, x: &[f32], x_stride: usize, rows: usize, inputs: usize) -> &[f32] {
        let needed = rows * inputs.div_ceil(2);
        self.0.grow(needed);
        round_rows(x, x_stride, inputs, &mut self.0[..needed]);
        &self.0
    }
}

/// Fewest rows, or pairs of them, that are worth another thread.
const ROWS: usize = 64;

/// The numbers of every row of a row-major matrix as pairs, a last single number with zero: `[rows, columns/2]`.
pub(super) fn paired_columns(matrix: &[f32], columns: usize) -> Vec<f32> {
    let pairs = columns.div_ceil(2);
    let mut out = vec![0.0; matrix.len() / columns * pairs];
    let blocks = matrix.par_chunks(ROWS * columns).zip(out.par_chunks_mut(ROWS * pairs));
    blocks.for_each(|(rows, out)| round_rows(rows, columns, columns, out));
    out
}

/// Rows of a row-major matrix paired with each other, a last single one with zeros: `[rows/2, columns]`.
pub(super) fn paired_rows(matrix: &[f32], columns: usize) -> Vec<f32> {
    let zeros = vec![0.0; columns];
    let mut out = vec![0.0; (matrix.len() / columns).div_ceil(2) * columns];
    let rows = matrix.par_chunks(2 * columns).zip(out.par_chunks_exact_mut(columns));
    rows.with_min_len(ROWS).for_each(|(rows, out)| {
        let (first, second) = rows.split_at(columns);
        pair_rows(first, if second.is_empty() { &zeros } else { second }, out);
    });
    out
}

multiversion! {
    /// Pairs of the numbers of two rows.
    pub(super) fn pair_rows(first: &[f32], second: &[f32], out: &mut [f32]) {
        for ((x, y), out) in first.iter().zip(second).zip(out) {
            *out = pair([*x, *y]);
        }
    }
}

multiversion! {
    fn round_rows(x: &[f32], x_stride: usize, inputs: usize, out: &mut [f32]) {
        if inputs == 0 {
            return;
        }
        for (x, out) in x.chunks(x_stride).zip(out.chunks_exact_mut(inputs.div_ceil(2))) {
            let halves: &mut [u16] = bytemuck::cast_slice_mut(out);
            for (half, x) in halves.iter_mut().zip(&x[..inputs]) {
                *half = rounded(*x);
            }
            if let Some(last) = halves.get_mut(inputs) {
                *last = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_of_eight_bits() {
        let bits = |x: f32| f32::from_bits(u32::from(rounded(x)) << 16);
        // what eight bits hold stays; half-way goes to the even neighbour, anything beyond to the nearest
        let unit = 2f32.powi(-7);
        for (x, known) in [
            (0.0, 0.0),
            (-1.5, -1.5),
            (1.0 + unit / 2.0, 1.0),
            (1.0 + unit * 1.5, 1.0 + unit * 2.0),
            (1.0 + unit * 0.51, 1.0 + unit),
            (-1.0 - unit * 0.49, -1.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::INFINITY),
        ] {
            assert_eq!(bits(x), known, "{x}");
        }
        // the largest and the smallest payloads
        for nan in [0x7fff_ffff, 0xffff_ffff, 0x7f80_0001] {
            assert!(bits(f32::from_bits(nan)).is_nan(), "{nan:x}");
        }
        assert_eq!(unpaired(pair([1.5, -2.0])), [1.5, -2.0]);
    }

    #[test]
    fn rows_of_pairs_hold_the_real_numbers_and_nothing_else() {
        let mut buffer = Rounded::default();
        for (inputs, stride) in [(1, 1), (3, 5), (4, 4), (33, 48)] {
            let x: Vec<f32> = (0..3 * stride).map(|i| i as f32).collect();
            // a second pass finds the buffer used
            for rows in [3, 2] {
                let pairs = buffer.round(&x, stride, rows, inputs)[..rows * inputs.div_ceil(2)].to_vec();
                for (pairs, x) in pairs.chunks(inputs.div_ceil(2)).zip(x.chunks(stride)) {
                    let halves: Vec<f32> = pairs.iter().flat_map(|p| unpaired(*p)).collect();
                    assert_eq!(halves[..inputs], x[..inputs]);
                    assert!(halves[inputs..].iter().all(|x| *x == 0.0));
                }
            }
        }
    }
}
