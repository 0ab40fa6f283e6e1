//! One linear layer for few rows: weights packed once.

use crate::config::Precision;
use crate::ops::product::{Product, Rounded, packed, padded, panel, terms};
use crate::ops::simd::{multiversion, sum_of, sum_of_two};
use crate::ops::{Aligned, contiguous_flex};
use burn::prelude::*;

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
    /// As [`packed`]; a single output is not.
    weight: Aligned,
    bias: Aligned,
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
        let weight = match outputs {
            1 => Aligned::of(weight),
            _ => packed(weight, outputs, precision),
        };
        bias.resize(stride, 0.0);
        Self { inputs, outputs, precision, weight, bias: Aligned::of(&bias) }
    }

    /// Numbers of a row of x that products are taken of.
    fn terms(&self) -> usize {
        terms(self.inputs, self.precision)
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
        let product = self.product(x, x_stride, rows, out);
        // SAFETY: x and out are long enough, as asserted, and `pack` made weight and bias.
        unsafe { product.run(self.precision) }
    }

    /// x: as the precision has it.
    fn product(&self, x: &[f32], x_stride: usize, rows: usize, out: &mut [f32]) -> Product<'_> {
        let (weight, bias, terms, panel) = (&self.weight, &self.bias, self.terms(), panel(self.precision));
        let x_stride = [x_stride, 1];
        let (part, x, out) = ([0, terms], x.as_ptr(), out.as_mut_ptr());
        Product { weight, panel, bias, terms, part, x, x_stride, rows, out }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::product::bf16::{pair, unpaired};
    use crate::ops::product::lanes::{Pairs, WIDTH};
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
        let mut run = |set, kernel: unsafe fn(&Product)| {
            let mut out = empty();
            // SAFETY: sizes as in `apply`; below, instruction sets are detected.
            unsafe { kernel(&layer.product(x, x_stride, rows, &mut out)) };
            found.push((set, out));
        };
        match layer.precision {
            Precision::F32 => {
                run("portable", |product| unsafe { product.panels::<[f32; WIDTH]>() });
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    run("avx2", |product| unsafe { product.avx2() });
                }
            }
            Precision::Bf16 => run("portable", |product| unsafe { product.panels::<Pairs>() }),
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
