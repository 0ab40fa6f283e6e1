//! Reward and critics: a network, and how its output is a number.

use super::network::{Network, Scratch};
use crate::model::Codec;
use crate::ops::simd::{exp, multiversion};

/// A network whose output is read as one number a row.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    net: Network,
    /// The value of every bin, where the output is the logits of a distribution over them; filled up with zeros to the
    /// stride of the output.
    bins: Option<Vec<f32>>,
}

impl Head {
    pub fn new(net: Network, codec: &Codec) -> Self {
        let bins = match codec {
            Codec::Scalar => None,
            Codec::Bins(bins) => {
                let mut values = bins.values();
                values.resize(net.stride(), 0.0);
                Some(values)
            }
        };
        Self { net, bins }
    }

    /// The numbers of `rows` rows of x, `x_stride` apart: `[rows]`.
    pub(super) fn read<'a>(
        &self,
        x: &[f32],
        x_stride: usize,
        rows: usize,
        scratch: &'a mut Scratch,
    ) -> &'a [f32] {
        let numbers = self.net.forward(x, x_stride, rows, scratch).numbers;
        if let Some(bins) = &self.bins {
            read_bins(numbers, self.net.outputs(), bins);
        }
        &numbers[..rows]
    }
}

/// Partial results of a row: one AVX-512 register, so that they do not depend on the processor.
const LANES: usize = 16;

multiversion! {
    /// symexp(Σ_j softmax(x)_j bin_j) over the first `count` numbers of every row, to the front of `rows`; see
    /// [`Bins::read`](crate::model::Bins::read). Rows and `bins`, which ends with zeros, are a multiple of 16 long.
    fn read_bins(rows: &mut [f32], count: usize, bins: &[f32]) {
        let stride = bins.len();
        let read = rows.len() / stride;
        for i in 0..read {
            let row = &mut rows[i * stride..][..stride];
            // as if there were no padding: e^-∞
            row[count..].fill(f32::NEG_INFINITY);
            let mut max = [f32::NEG_INFINITY; LANES];
            for x in row.chunks_exact(LANES) {
                for l in 0..LANES {
                    max[l] = if x[l] > max[l] { x[l] } else { max[l] };
                }
            }
            let max = max.iter().fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m });
            let (mut sum, mut dot) = ([0f32; LANES], [0f32; LANES]);
            for (x, bin) in row.chunks_exact(LANES).zip(bins.chunks_exact(LANES)) {
                for l in 0..LANES {
                    let e = exp(x[l] - max);
                    sum[l] += e;
                    dot[l] += e * bin[l];
                }
            }
            // behind what is read, as rows are longer than one number
            rows[i] = dot.iter().sum::<f32>() / sum.iter().sum::<f32>();
        }
        for v in &mut rows[..read] {
            *v = (exp(v.abs()) - 1.0).copysign(*v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, tests::tiny_of_both};
    use crate::model::Bins;
    use crate::test_support::{normal, values};

    /// Against 64-bit arithmetic: peaked, flat and huge logits, and numbers of bins that do and do not fill registers.
    #[test]
    fn bins_are_read_as_the_formula_says() {
        let mut config = tiny_of_both(DynamicsKind::Mlp)[1].model.v2.clone();
        for (count, range) in [(101, [-10.0, 10.0]), (16, [-5.0, 5.0]), (2, [-1.0, 3.0]), (33, [-10.0, 10.0])]
        {
            (config.bins, config.bin_range) = (count, range);
            let mut bins = Bins::new(&config).values();
            bins.resize(count.next_multiple_of(LANES), 0.0);
            for scale in [0.0, 1.0, 30.0, 1e4] {
                let logits = values(normal::<2>([5, count], 1) * scale);
                let mut rows = vec![0.0; 5 * bins.len()];
                for (row, logits) in rows.chunks_mut(bins.len()).zip(logits.chunks(count)) {
                    row[..count].copy_from_slice(logits);
                }
                read_bins(&mut rows, count, &bins);
                for (read, logits) in rows.iter().zip(logits.chunks(count)) {
                    let logits = logits.iter().map(|x| f64::from(*x));
                    let max = logits.clone().fold(f64::NEG_INFINITY, f64::max);
                    let step = (range[1] - range[0]) / (count - 1) as f64;
                    let shares: Vec<f64> = logits.map(|x| (x - max).exp()).collect();
                    let mean = shares.iter().enumerate().map(|(j, p)| p * (range[0] + step * j as f64));
                    let v = mean.sum::<f64>() / shares.iter().sum::<f64>();
                    let known = v.signum() * v.abs().exp_m1();
                    let bound = 4e-6 * (1.0 + known.abs());
                    assert!((f64::from(*read) - known).abs() < bound, "{read}, {known}: {count} bins");
                }
            }
        }
    }

    /// Also where every logit is −∞, as the padding is.
    #[test]
    fn logits_that_are_no_numbers_are_no_reading() {
        let bins = Bins::new(&tiny_of_both(DynamicsKind::Mlp)[1].model.v2);
        let mut values = bins.values();
        values.resize(32, 0.0);
        for broken in [f32::NAN, f32::INFINITY] {
            let mut rows = vec![0.5; 64];
            rows[3] = broken;
            read_bins(&mut rows, bins.count(), &values);
            assert!(rows[0].is_nan() && rows[1].is_finite(), "{broken}");
        }
        let mut rows = vec![f32::NEG_INFINITY; 32];
        read_bins(&mut rows, bins.count(), &values);
        assert!(rows[0].is_nan());
    }
}
