//! Right factors of products: packed for the kernel.

use super::bf16::{pair_rows, paired_columns, paired_rows};
use super::lanes::WIDTH;
use super::{Product, panel};
use crate::config::Precision;
use crate::device::multiplies_bf16;
use crate::ops::Aligned;
use crate::ops::matrix::Matrix;
use rayon::prelude::*;
use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Fewest rows, terms and columns of a product that packing is worth its while for.
const LEAST: usize = 32;

/// In what a product `[R, K]·[K, N]` takes its factors, where `precision` is asked for; `None` if it is not for the kernel here. Small ones,
/// among them all that happens to a single observation, would not become faster, and are never rounded; nor are those of processors
/// that would be slower.
pub(crate) fn factors(precision: Precision, sizes: [usize; 3]) -> Option<Precision> {
    let precision = match precision {
        Precision::Bf16 if multiplies_bf16() => Precision::Bf16,
        _ => Precision::F32,
    };
    (sizes.into_iter().min() >= Some(LEAST)).then_some(precision)
}

/// Smallest multiple of the register width that holds `n` numbers.
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(WIDTH)
}

/// Of how many products a sum over `inputs` is made: numbers, or pairs of them, the last one filled up with a zero.
pub(crate) fn terms(inputs: usize, precision: Precision) -> usize {
    match precision {
        Precision::F32 => inputs,
        Precision::Bf16 => inputs.div_ceil(2),
    }
}

/// A row-major matrix as the kernel wants it: one after another, panels of [`panel`] columns as `[terms, columns]`, the last one filled up
/// with zeros to sixteens. A term is a row, or a pair of them, the last one with zeros if there is none.
pub(crate) fn packed(matrix: &[f32], columns: usize, precision: Precision) -> Aligned {
    let terms = terms(matrix.len() / columns, precision);
    let zeros = vec![0.0; columns];
    in_panels(terms, columns, panel(precision), |term, real, out| match precision {
        Precision::F32 => out.copy_from_slice(&matrix[term * columns..][real]),
        Precision::Bf16 => {
            let mut rows = matrix[2 * term * columns..].chunks_exact(columns);
            let [first, second] = [(); 2].map(|()| &rows.next().unwrap_or(&zeros)[real.clone()]);
            pair_rows(first, second, out);
        }
    })
}

/// Panels whose row of a term and of a range of columns `fill` writes.
fn in_panels(
    terms: usize,
    columns: usize,
    width: usize,
    fill: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
) -> Aligned {
    let mut out = Aligned::zeros(terms * padded(columns));
    out.par_chunks_mut((terms * width).max(1)).enumerate().for_each(|(i, panel)| {
        let from = i * width;
        let real = from..columns.min(from + width);
        for (term, row) in panel.chunks_exact_mut(padded(real.len())).enumerate() {
            fill(term, real.clone(), &mut row[..real.len()]);
        }
    });
    out
}

/// The left factor of a product: `f32` where they lie, or pairs.
pub(crate) struct Left<'a> {
    precision: Precision,
    numbers: Cow<'a, [f32]>,
    /// Rows and columns.
    sizes: [usize; 2],
    /// From row to row, and from term to term.
    stride: [usize; 2],
}

impl<'a> Left<'a> {
    pub fn of(matrix: Matrix<'a>, precision: Precision) -> Self {
        let sizes @ [rows, terms] = matrix.sizes();
        let (numbers, stride) = match (precision, matrix.rows_in_memory()) {
            (Precision::F32, Ok(numbers)) => (numbers.into(), [terms, 1]),
            (Precision::F32, Err(columns)) => (columns.into(), [1, rows]),
            (Precision::Bf16, Ok(numbers)) => (paired_columns(numbers, terms).into(), [terms.div_ceil(2), 1]),
            (Precision::Bf16, Err(columns)) => (paired_rows(columns, rows).into(), [1, rows]),
        };
        Self { precision, numbers, sizes, stride }
    }
}

/// The right factor of a product, packed.
pub(crate) struct Panels {
    precision: Precision,
    numbers: Aligned,
    /// Of a column: numbers, or pairs of them.
    terms: usize,
    /// Rows and columns.
    sizes: [usize; 2],
    /// The kernel adds the product to these.
    zeros: Aligned,
}

impl Panels {
    pub fn of(matrix: Matrix, precision: Precision) -> Self {
        let sizes @ [inputs, columns] = matrix.sizes();
        let terms = terms(inputs, precision);
        let transposed = |numbers: &[f32]| {
            in_panels(terms, columns, panel(precision), |term, real, out| {
                for (x, column) in out.iter_mut().zip(real) {
                    *x = numbers[column * terms + term];
                }
            })
        };
        let numbers = match (matrix.rows_in_memory(), precision) {
            (Ok(numbers), _) => packed(numbers, columns, precision),
            (Err(numbers), Precision::F32) => transposed(numbers),
            (Err(numbers), Precision::Bf16) => transposed(&paired_columns(numbers, inputs)),
        };
        Self { precision, numbers, terms, sizes, zeros: Aligned::zeros(padded(columns)) }
    }

    /// Writes rows of left·self, from row `first` on, over `out` and returns it initialised.
    pub fn multiply<'a>(&self, left: &Left, first: usize, out: &'a mut [MaybeUninit<f32>]) -> &'a mut [f32] {
        let [inputs, columns] = self.sizes;
        let rows = out.len() / columns;
        assert!(left.sizes[1] == inputs && left.precision == self.precision, "factors do not fit");
        assert!(out.len() == rows * columns && first + rows <= left.sizes[0]);
        let stride = self.zeros.len();
        let mut apart = Vec::new();
        let target = match stride == columns {
            true => out.as_mut_ptr(),
            false => {
                apart.resize(rows * stride, MaybeUninit::uninit());
                apart.as_mut_ptr()
            }
        };
        let product = Product {
            weight: &self.numbers,
            panel: panel(self.precision),
            bias: &self.zeros,
            terms: self.terms,
            part: [0, self.terms],
            x: left.numbers[first * left.stride[0]..].as_ptr(),
            x_stride: left.stride,
            rows,
            out: target.cast(),
        };
        // SAFETY: the factors have as many rows and terms, as asserted, and `target` has `rows` rows of as many numbers as `zeros`, which are
        // not read before they are written.
        unsafe { product.run(self.precision) };
        for (out, row) in out.chunks_exact_mut(columns).zip(apart.chunks_exact(stride)) {
            out.copy_from_slice(&row[..columns]);
        }
        // SAFETY: the product wrote all of it, or the rows just copied did.
        unsafe { out.assume_init_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::product::bf16::{pair, unpaired};
    use crate::test_support::{normal, values};

    const BOTH: [Precision; 2] = [Precision::F32, Precision::Bf16];

    /// As a factor in this precision.
    fn taken(x: f32, precision: Precision) -> f64 {
        f64::from(match precision {
            Precision::F32 => x,
            Precision::Bf16 => unpaired(pair([x, 0.0]))[0],
        })
    }

    /// Sizes of which every one is odd, or ends a panel, or has several parts and long lines; the left factor and the right one as they lie
    /// or transposed.
    #[test]
    fn products_are_exact_but_for_the_rounding_of_factors_and_sums() {
        for [r, k, n] in
            [[1, 1, 1], [5, 3, 2], [7, 33, 65], [70, 301, 16], [13, 2, 130], [64, 64, 64], [259, 500, 130]]
        {
            let (a, b) = (values(normal::<2>([r, k], 1)), values(normal::<2>([k, n], 2)));
            let transposed = |m: &[f32], columns: usize| -> Vec<f32> {
                (0..columns).flat_map(|j| m.iter().skip(j).step_by(columns).copied()).collect()
            };
            let (a_t, b_t) = (transposed(&a, k), transposed(&b, n));
            let lefts = [Matrix::new(&a, r, k), Matrix::new(&a_t, k, r).transposed()];
            let rights = [Matrix::new(&b, k, n), Matrix::new(&b_t, n, k).transposed()];
            let factors = lefts.into_iter().flat_map(|a| rights.map(|b| (a, b)));
            for (precision, (a_in, b_in)) in
                BOTH.into_iter().flat_map(|p| factors.clone().map(move |f| (p, f)))
            {
                let (left, right) = (Left::of(a_in, precision), Panels::of(b_in, precision));
                let mut out = vec![MaybeUninit::new(f32::NAN); r * n];
                // in two parts
                let (upper, lower) = out.split_at_mut(r / 2 * n);
                let parts = [right.multiply(&left, 0, upper), right.multiply(&left, r / 2, lower)];
                for (i, y) in parts.into_iter().flatten().enumerate() {
                    let number = |x| taken(x, precision);
                    let terms = (0..k).map(|t| number(a[i / n * k + t]) * number(b[t * n + i % n]));
                    let expected: f64 = terms.sum();
                    assert!((f64::from(*y) - expected).abs() < 1e-5 * (k as f64).sqrt(), "{r} {k} {n}: {i}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn factors_of_other_sizes_are_refused() {
        let right = Panels::of(Matrix::new(&[0.0; 24], 6, 4), Precision::F32);
        let left = Left::of(Matrix::new(&[0.0; 12], 3, 4), Precision::F32);
        right.multiply(&left, 0, &mut [MaybeUninit::uninit(); 12]);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn factors_of_other_precisions_are_refused() {
        let right = Panels::of(Matrix::new(&[0.0; 24], 6, 4), Precision::F32);
        let left = Left::of(Matrix::new(&[0.0; 18], 3, 6), Precision::Bf16);
        right.multiply(&left, 0, &mut [MaybeUninit::uninit(); 12]);
    }

    #[test]
    fn small_products_are_not_for_the_kernel_and_never_rounded() {
        assert_eq!(factors(Precision::F32, [32; 3]), Some(Precision::F32));
        for small in [[1, 512, 512], [512, 31, 512], [512, 512, 1]] {
            assert_eq!(BOTH.map(|precision| factors(precision, small)), [None; 2]);
        }
        let supported = if multiplies_bf16() { Precision::Bf16 } else { Precision::F32 };
        assert_eq!(factors(Precision::Bf16, [32; 3]), Some(supported));
    }
}
