//! Products with a right factor packed into panels: blocks of six rows by up to 64 columns, kept in registers.

pub(crate) mod bf16;
pub(crate) mod lanes;
mod panels;
mod right;

pub(crate) use bf16::Rounded;
pub(super) use panels::{Left, Panels, factors};
pub(crate) use panels::{packed, padded, terms};
pub(super) use right::Right;

use crate::config::Precision;
use crate::device::multiplies_bf16;
use crate::ops::Aligned;
use lanes::{Lanes, Pairs, WIDTH};
use std::cell::RefCell;

/// Rows of a block; with four AVX-512 registers a row it takes 24 of the 32, with two of AVX2 twelve of the 16, which hides the latency
/// of a multiply-add more than once over.
const ROWS: usize = 6;
/// Most columns of a panel.
pub(crate) const MOST: usize = 4 * WIDTH;
/// Terms of a transposed left factor that go through all columns before the next ones: that much of 192 rows, 150 kB, stays in the
/// second-level cache.
const PART: usize = 192;
/// Lines of a transposed left factor that are read where they lie are shorter, or the product has fewer columns than [`FEW`]. Others, often as
/// far apart as a power of two, would drive each other out of the first-level cache before the next six rows of the product want them.
const LONG: usize = 256;
/// Columns that are not worth copying the left factor for.
const FEW: usize = 128;

/// Kernels, by the registers they use.
enum Kernel {
    Avx512Bf16,
    Avx512,
    Avx2,
    Portable(Precision),
}

impl Kernel {
    /// That with the widest registers of this processor.
    fn of(precision: Precision) -> Self {
        match precision {
            Precision::Bf16 if multiplies_bf16() => Self::Avx512Bf16,
            #[cfg(target_arch = "x86_64")]
            Precision::F32 if is_x86_feature_detected!("avx512f") => Self::Avx512,
            #[cfg(target_arch = "x86_64")]
            Precision::F32 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => {
                Self::Avx2
            }
            _ => Self::Portable(precision),
        }
    }
}

/// Columns of the panels that a right factor is packed into on this processor: as many as the kernel has abreast, so that it reads line
/// after line.
pub(crate) fn panel(precision: Precision) -> usize {
    WIDTH
        * match Kernel::of(precision) {
            Kernel::Avx512Bf16 | Kernel::Avx512 => 4,
            Kernel::Avx2 | Kernel::Portable(_) => 1,
        }
}

/// out = x·W + b.
///
/// `x` is valid for `rows` rows of the numbers of a `part` of the terms, `x_stride` apart from row to row and from term to term, and `out` for `rows` of as
/// many numbers as `bias` has, a multiple of 16; `weight` holds panels of `panel` columns, the last one of what is left, `[terms, columns]`
/// each. With bfloat16 a term is a pair. A part that does not begin with the first term is added to what is in `out`.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub weight: &'a [f32],
    pub panel: usize,
    pub bias: &'a [f32],
    pub terms: usize,
    pub part: [usize; 2],
    pub x: *const f32,
    pub x_stride: [usize; 2],
    pub rows: usize,
    pub out: *mut f32,
}

impl Product<'_> {
    /// With the widest registers of this processor.
    pub unsafe fn run(&self, precision: Precision) {
        thread_local! {
            static LEFT: RefCell<Aligned> = RefCell::default();
        }
        let ([x_row, line], terms) = (self.x_stride, self.terms);
        if x_row != 1 || line == 1 {
            // SAFETY: as the type says.
            return unsafe { self.kernel(precision) };
        }
        LEFT.with_borrow_mut(|left| {
            for first in (0..terms.max(1)).step_by(PART) {
                let part = [first, (first + PART).min(terms)];
                // SAFETY: x has `rows` numbers in each of its lines, and `left` room for those of a part.
                unsafe {
                    let x = self.x.add(first * line);
                    if line < LONG || self.bias.len() < FEW {
                        Product { x, part, ..*self }.kernel(precision);
                        continue;
                    }
                    left.grow(PART * self.rows);
                    for k in 0..part[1] - first {
                        let to = left.as_mut_ptr().add(k * self.rows);
                        x.add(k * line).copy_to_nonoverlapping(to, self.rows);
                    }
                    let x_stride = [1, self.rows];
                    Product { x: left.as_ptr(), x_stride, part, ..*self }.kernel(precision);
                }
            }
        });
    }

    unsafe fn kernel(&self, precision: Precision) {
        // SAFETY: pointers are valid as the type says, and a kernel is there if it was chosen; portable ones need nothing.
        match Kernel::of(precision) {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Bf16 => unsafe { self.avx512_bf16() },
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => unsafe { self.avx512() },
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => unsafe { self.avx2() },
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Avx512Bf16 | Kernel::Avx512 | Kernel::Avx2 => unreachable!("only x86-64 has them"),
            Kernel::Portable(Precision::Bf16) => unsafe { self.panels::<Pairs>() },
            Kernel::Portable(Precision::F32) => unsafe { self.panels::<[f32; WIDTH]>() },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512(&self) {
        // SAFETY: AVX-512 is there, as this function requires.
        unsafe { self.panels::<std::arch::x86_64::__m512>() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn avx512_bf16(&self) {
        // SAFETY: AVX-512 BF16 is there, as this function requires.
        unsafe { self.panels::<lanes::Avx512Pairs>() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2(&self) {
        // SAFETY: AVX2 and FMA are there, as this function requires.
        unsafe { self.panels::<lanes::Avx2>() }
    }

    #[inline(always)]
    pub unsafe fn panels<L: Lanes>(&self) {
        let (weight, terms, stride) = (self.weight, self.terms, self.bias.len());
        for from in (0..stride).step_by(self.panel) {
            let columns = (stride - from).min(self.panel);
            // panels before this one are full
            let panel = weight[from * terms..][..columns * terms].as_ptr();
            let mut column = 0;
            while column < columns {
                let abreast = ((columns - column) / WIDTH).min(L::ABREAST);
                // SAFETY: `column + abreast·16 ≤ columns`, all inside the panel, the bias and the rows of `out`.
                unsafe {
                    let w = panel.add(column);
                    match abreast {
                        4 => self.columns::<L, 4>(w, columns, from + column),
                        3 => self.columns::<L, 3>(w, columns, from + column),
                        2 => self.columns::<L, 2>(w, columns, from + column),
                        _ => self.columns::<L, 1>(w, columns, from + column),
                    }
                }
                column += abreast * WIDTH;
            }
        }
    }

    /// All rows of 16·V columns from `at`, whose weights begin at `w`, `w_stride` apart.
    #[inline(always)]
    unsafe fn columns<L: Lanes, const V: usize>(&self, w: *const f32, w_stride: usize, at: usize) {
        let [first, end] = self.part;
        for from in (first..end.max(first + 1)).step_by(L::DEPTH) {
            let terms = [from, (from + L::DEPTH).min(end)];
            let mut row = 0;
            // SAFETY: `row` plus the height of each block stays within `rows`.
            unsafe {
                while row + ROWS <= self.rows {
                    self.block::<L, ROWS, V>(w, w_stride, at, row, terms);
                    row += ROWS;
                }
                match self.rows - row {
                    5 => self.block::<L, 5, V>(w, w_stride, at, row, terms),
                    4 => self.block::<L, 4, V>(w, w_stride, at, row, terms),
                    3 => self.block::<L, 3, V>(w, w_stride, at, row, terms),
                    2 => self.block::<L, 2, V>(w, w_stride, at, row, terms),
                    1 => self.block::<L, 1, V>(w, w_stride, at, row, terms),
                    _ => {}
                }
            }
        }
    }

    /// Adds the products of terms `first .. end` to what the earlier ones left in `out`, or to the bias.
    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize, const V: usize>(
        &self,
        w: *const f32,
        w_stride: usize,
        at: usize,
        row: usize,
        [first, end]: [usize; 2],
    ) {
        // SAFETY: rows `row .. row + R` and columns `at .. at + 16·V` exist in x, bias and out, and `terms` rows of
        // weights behind `w`, as the type and the callers above say.
        unsafe {
            let [x_row, x_term] = self.x_stride;
            let (x, bias) = (self.x.add(row * x_row), self.bias.as_ptr().add(at));
            let x_at = |k: usize| x.add((k - self.part[0]) * x_term);
            let out = self.out.add(row * self.bias.len() + at);
            // rows of the bias are all the same one
            let (from, from_stride) =
                if first == 0 { (bias, 0) } else { (out.cast_const(), self.bias.len()) };
            let mut sums = [[L::splat(0.0); V]; R];
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(from.add(r * from_stride + v * WIDTH));
                }
            }
            let mut k = first;
            // where terms lie next to each other, some of them need only one address
            while L::UNROLL > 1 && x_term == 1 && k + L::UNROLL <= end {
                let (w, x) = (w.add(k * w_stride), x_at(k));
                for u in 0..L::UNROLL {
                    add_term(&mut sums, w.add(u * w_stride), x.add(u), x_row);
                }
                k += L::UNROLL;
            }
            for k in k..end {
                add_term(&mut sums, w.add(k * w_stride), x_at(k), x_row);
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    sum.store(out.add(r * self.bias.len() + v * WIDTH));
                }
            }
        }
    }
}

/// One term's product with the weights from `w`, of numbers of x that are `x_row` apart.
#[inline(always)]
unsafe fn add_term<L: Lanes, const R: usize, const V: usize>(
    sums: &mut [[L; V]; R],
    w: *const f32,
    x: *const f32,
    x_row: usize,
) {
    // SAFETY: as `Product::block` says.
    unsafe {
        let mut weights = [L::splat(0.0); V];
        for (v, weight) in weights.iter_mut().enumerate() {
            *weight = L::load(w.add(v * WIDTH));
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = L::splat(*x.add(r * x_row));
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = sum.add_product(x, weight);
            }
        }
    }
}
