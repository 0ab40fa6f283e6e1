//! One linear layer for few rows: weights packed once, blocks of six rows by 64 columns kept in registers.

use super::bf16::{Rounded, pair};
use super::lanes::{Lanes, Pairs, WIDTH};
use crate::config::Precision;
use crate::device::multiplies_bf16;
use crate::ops::contiguous_flex;
use crate::ops::simd::{multiversion, sum_of, sum_of_two};
use burn::prelude::*;

/// Rows of a block; with four AVX-512 registers a row it takes 24 of the 32, which hides the latency of a
/// multiply-add twice over.
const ROWS: usize = 6;
/// Most registers abreast in a panel of columns.
const PANEL: usize = 4;
/// Inputs summed before the next row block: that part of a panel, 32 kB, stays in the first-level cache.
const DEPTH: usize = 128;

/// y = x·W + b for blocks of rows that stay in the cache.
///
/// Each number of the result is summed in the order of the inputs whatever the block, so it does not depend on how
/// rows are divided.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    inputs: usize,
    outputs: usize,
    /// A single output is always `F32`.
    precision: Precision,
    /// One after another, panels of up to 64 columns as `[terms, columns]`; columns are filled up with zeros to
    /// sixteens. A single output is not padded. See [`Layer::terms`].
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Smallest multiple of the register width that holds `n` numbers.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(WIDTH)
}

/// Of a tensor on the CPU.
pub(crate) fn numbers<const D: usize>(t: Tensor<D>) -> Vec<f32> {
    let count = t.shape().num_elements();
    contiguous_flex(t).storage()[..count].to_vec()
}

multiversion! {
    /// Takes their mean from rows of `width` numbers.
    fn centre(rows: &mut [f32], width: usize) {
        for row in rows.chunks_exact_mut(width) {
            let mean = sum_of(row, |x| x) / width as f32;
            for x in row {
                *x -= mean;
            }
        }
    }
}

impl Layer {
    /// From `weight [K, N]` and, if there is one, `bias [N]`, on the CPU.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>, precision: Precision) -> Self {
        let [inputs, outputs] = weight.dims();
        let weight = contiguous_flex(weight);
        let bias = bias.map_or(vec![0.0; outputs], numbers);
        Self::pack(&weight.storage::<f32>()[..inputs * outputs], bias, inputs, precision)
    }

    /// The same with outputs whose mean is zero: y − mean(y) = x·(W − the means of its rows) + b − mean(b).
    pub fn centred(weight: Tensor<2>, bias: Tensor<1>, precision: Precision) -> Self {
        let [inputs, outputs] = weight.dims();
        let (mut weight, mut bias) = (numbers(weight), numbers(bias));
        centre(&mut weight, outputs);
        centre(&mut bias, outputs);
        Self::pack(&weight, bias, inputs, precision)
    }

    fn pack(weight: &[f32], mut bias: Vec<f32>, inputs: usize, precision: Precision) -> Self {
        let outputs = bias.len();
        let (stride, precision) =
            if outputs == 1 { (1, Precision::F32) } else { (padded(outputs), precision) };
        let mut packed = Vec::with_capacity(inputs * stride);
        for from in (0..outputs).step_by(PANEL * WIDTH) {
            let columns = (stride - from).min(PANEL * WIDTH);
            let real = from..(from + columns).min(outputs);
            let padding = columns - real.len();
            match precision {
                Precision::F32 => {
                    for row in weight.chunks_exact(outputs) {
                        packed.extend_from_slice(&row[real.clone()]);
                        packed.resize(packed.len() + padding, 0.0);
                    }
                }
                Precision::Bf16 => {
                    for rows in weight.chunks(2 * outputs) {
                        let below = |j| rows.get(outputs + j).copied().unwrap_or(0.0);
                        packed.extend(real.clone().map(|j| pair([rows[j], below(j)])));
                        packed.resize(packed.len() + padding, 0.0);
                    }
                }
            }
        }
        bias.resize(stride, 0.0);
        Self { inputs, outputs, precision, weight: packed, bias }
    }

    /// Numbers of a row of x that products are taken of: the inputs, or pairs of them, the last one filled up with a zero.
    fn terms(&self) -> usize {
        match self.precision {
            Precision::F32 => self.inputs,
            Precision::Bf16 => self.inputs.div_ceil(2),
        }
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Distance of the rows of a result.
    pub fn stride(&self) -> usize {
        self.bias.len()
    }

    /// `rows` rows of x, `x_stride` apart, to as many of `out`, [`Layer::stride`] apart; its padding becomes 0. What is in
    /// `rounded` does not matter.
    pub fn apply(&self, x: &[f32], x_stride: usize, rows: usize, out: &mut [f32], rounded: &mut Rounded) {
        if rows == 0 {
            return;
        }
        assert!(x.len() >= (rows - 1) * x_stride + self.inputs && out.len() >= rows * self.stride());
        if self.outputs == 1 {
            return dot_rows(x, x_stride, &self.weight, self.bias[0], &mut out[..rows]);
        }
        let (x, x_stride) = match self.precision {
            Precision::F32 => (x, x_stride),
            Precision::Bf16 => (rounded.round(x, x_stride, rows, self.inputs), self.terms()),
        };
        let job = Job { layer: self, x: x.as_ptr(), x_stride, rows, out: out.as_mut_ptr() };
        if self.precision == Precision::Bf16 {
            #[cfg(target_arch = "x86_64")]
            if multiplies_bf16() {
                // SAFETY: the processor was asked just above; for the pointers see `Job`.
                return unsafe { job.avx512_bf16() };
            }
            // SAFETY: arrays need no instruction set; for the pointers see `Job`.
            return unsafe { job.run::<Pairs>() };
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                // SAFETY: the feature was detected just above; for the pointers see `Job`.
                return unsafe { job.avx512() };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: as above.
                return unsafe { job.avx2() };
            }
        }
        // SAFETY: arrays need no instruction set; for the pointers see `Job`.
        unsafe { job.run::<[f32; WIDTH]>() }
    }
}

multiversion! {
    /// A layer of one output: a dot product a row.
    fn dot_rows(x: &[f32], x_stride: usize, weight: &[f32], bias: f32, out: &mut [f32]) {
        for (row, y) in out.iter_mut().enumerate() {
            let x = &x[row * x_stride..][..weight.len()];
            *y = bias + sum_of_two(weight, x, |w, x| w * x);
        }
    }
}

/// A checked call of [`Layer::apply`]: `x` is valid for `rows` rows of the layer's terms, `x_stride` apart, and `out`
/// for `rows` of its stride; weight and bias have the sizes that [`Layer::new`] gave them.
struct Job<'a> {
    layer: &'a Layer,
    x: *const f32,
    x_stride: usize,
    rows: usize,
    out: *mut f32,
}

impl Job<'_> {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512(&self) {
        // SAFETY: AVX-512 is there, as this function requires.
        unsafe { self.run::<std::arch::x86_64::__m512>() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn avx512_bf16(&self) {
        // SAFETY: AVX-512 BF16 is there, as this function requires.
        unsafe { self.run::<super::lanes::Avx512Pairs>() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(&self) {
        // SAFETY: AVX2 and FMA are there, as this function requires.
        unsafe { self.run::<super::lanes::Avx2>() }
    }

    #[inline(always)]
    unsafe fn run<L: Lanes>(&self) {
        let (weight, terms, stride) = (&self.layer.weight, self.layer.terms(), self.layer.stride());
        for from in (0..stride).step_by(PANEL * WIDTH) {
            let columns = (stride - from).min(PANEL * WIDTH);
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
        let terms = self.layer.terms();
        for from in (0..terms.max(1)).step_by(DEPTH) {
            let terms = [from, (from + DEPTH).min(terms)];
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
        // weights behind `w`, by `Layer::apply` and the callers above.
        unsafe {
            let (x, bias) = (self.x.add(row * self.x_stride), self.layer.bias.as_ptr().add(at));
            let out = self.out.add(row * self.layer.stride() + at);
            // rows of the bias are all the same one
            let (from, from_stride) =
                if first == 0 { (bias, 0) } else { (out.cast_const(), self.layer.stride()) };
            let mut sums = [[L::splat(0.0); V]; R];
            for (r, sums) in sums.iter_mut().enumerate() {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(from.add(r * from_stride + v * WIDTH));
                }
            }
            for k in first..end {
                let mut weights = [L::splat(0.0); V];
                for (v, weight) in weights.iter_mut().enumerate() {
                    *weight = L::load(w.add(k * w_stride + v * WIDTH));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat(*x.add(r * self.x_stride + k));
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = sum.add_product(x, weight);
                    }
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    sum.store(out.add(r * self.layer.stride() + v * WIDTH));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::bf16::unpaired;
    use crate::test_support::{normal, values};

    /// Every width of the last panel, every height of the last block, rows apart from each other, on every
    /// instruction set of this processor.
    #[test]
    fn a_packed_layer_is_the_matrix_product() {
        for (inputs, outputs) in
            [(7, 1), (5, 6), (16, 16), (9, 33), (50, 50), (3, 64), (20, 130), (64, 192), (300, 70)]
        {
            let (w, b) = (normal::<2>([inputs, outputs], 1), normal::<1>([outputs], 2));
            for precision in [Precision::F32, Precision::Bf16] {
                let layer = Layer::new(w.clone(), Some(b.clone()), precision);
                for rows in [1, 2, 3, 4, 5, 6, 7, 13, 48] {
                    let x_stride = inputs + 3;
                    let x = values(normal::<2>([rows, x_stride], 3));
                    let expected =
                        product(&x, x_stride, &values(w.clone()), &values(b.clone()), layer.precision);
                    for (set, out) in on_every_instruction_set(&layer, &x, x_stride, rows) {
                        let what = format!("{set} {precision:?} {inputs} {outputs} {rows}");
                        for (y, expected) in out.chunks_exact(layer.stride()).zip(expected.chunks(outputs)) {
                            for (y, e) in y.iter().zip(expected) {
                                assert!((f64::from(*y) - e).abs() < 1e-4 * e.abs().max(1.0), "{what}");
                            }
                            assert!(y[outputs..].iter().all(|y| *y == 0.0), "{what}");
                        }
                    }
                }
            }
        }
    }

    /// x·W + b in 64 bits, of factors as the precision has them.
    fn product(x: &[f32], x_stride: usize, w: &[f32], b: &[f32], precision: Precision) -> Vec<f64> {
        let factor = |x: &f32| match precision {
            Precision::F32 => f64::from(*x),
            Precision::Bf16 => f64::from(unpaired(pair([*x, 0.0]))[0]),
        };
        let sum = |x: &[f32], j: usize| {
            let column = w.iter().skip(j).step_by(b.len());
            x.iter().zip(column).map(|(x, w)| factor(x) * factor(w)).sum::<f64>() + f64::from(b[j])
        };
        x.chunks(x_stride).flat_map(|x| (0..b.len()).map(move |j| sum(x, j))).collect()
    }

    /// What each computes, by its name.
    fn on_every_instruction_set(
        layer: &Layer,
        x: &[f32],
        x_stride: usize,
        rows: usize,
    ) -> Vec<(&'static str, Vec<f32>)> {
        let (mut found, mut rounded) = (Vec::new(), Rounded::default());
        let empty = || vec![f32::NAN; rows * layer.stride()];
        let mut out = empty();
        layer.apply(x, x_stride, rows, &mut out, &mut rounded);
        found.push(("chosen", out));
        if layer.outputs == 1 {
            return found;
        }
        let (x, x_stride) = match layer.precision {
            Precision::F32 => (x, x_stride),
            Precision::Bf16 => (rounded.round(x, x_stride, rows, layer.inputs), layer.terms()),
        };
        let mut run = |set, kernel: unsafe fn(&Job)| {
            let mut out = empty();
            let job = Job { layer, x: x.as_ptr(), x_stride, rows, out: out.as_mut_ptr() };
            // SAFETY: sizes as in `apply`; below, instruction sets are detected.
            unsafe { kernel(&job) };
            found.push((set, out));
        };
        match layer.precision {
            Precision::F32 => {
                run("portable", |job| unsafe { job.run::<[f32; WIDTH]>() });
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    run("avx2", |job| unsafe { job.avx2() });
                }
            }
            Precision::Bf16 => run("portable", |job| unsafe { job.run::<Pairs>() }),
        }
        found
    }

    #[test]
    #[should_panic(expected = "x.len()")]
    fn too_few_numbers_are_refused() {
        let layer = Layer::new(normal::<2>([4, 8], 1), None, Precision::F32);
        layer.apply(&[0.0; 7], 4, 2, &mut [0.0; 32], &mut Rounded::default());
    }
}
