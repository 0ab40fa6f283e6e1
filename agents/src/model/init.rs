//! Weight initialisation from our own random stream, so that a seed means the same on every device.

use crate::rng::Stream;
use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;

/// How a linear layer starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Orthogonal weights of gain 1, zero bias (TD-MPC's default).
    Orthogonal,
    /// All zero: the last layer of reward and critics, so that predictions start at 0.
    Zero,
    /// Normal weights of this standard deviation, zero bias (TD-MPC2's default).
    Normal(f64),
}

/// A linear layer with bias, `[.., inputs] → [.., outputs]`.
pub fn linear(inputs: usize, outputs: usize, init: Init, stream: &mut Stream, device: &Device) -> Linear {
    let weight = match init {
        Init::Orthogonal => orthogonal(inputs, outputs, stream),
        Init::Zero => vec![0.0; inputs * outputs],
        Init::Normal(std) => stream.normal(inputs * outputs).into_iter().map(|x| x * std as f32).collect(),
    };
    Linear {
        weight: Param::from_data(TensorData::new(weight, [inputs, outputs]), device),
        bias: Some(Param::from_data(TensorData::new(vec![0f32; outputs], [outputs]), device)),
    }
}

/// A (semi-)orthogonal `[rows, columns]` matrix, row-major, uniform over all such matrices: rows (or columns,
/// if there are fewer of them) are orthonormal (Saxe et al. 2014). Gram–Schmidt in f64, applied twice.
pub fn orthogonal(rows: usize, columns: usize, stream: &mut Stream) -> Vec<f32> {
    let (short, long) = (rows.min(columns), rows.max(columns));
    let mut vectors: Vec<Vec<f64>> =
        (0..short).map(|_| stream.normal(long).into_iter().map(f64::from).collect()).collect();
    for i in 0..short {
        let (done, rest) = vectors.split_at_mut(i);
        let v = &mut rest[0];
        for _ in 0..2 {
            for u in done.iter() {
                let dot: f64 = u.iter().zip(v.iter()).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(u).for_each(|(v, u)| *v -= dot * u);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
    }
    let mut out = vec![0.0; rows * columns];
    for (i, v) in vectors.iter().enumerate() {
        for (j, &x) in v.iter().enumerate() {
            let at = if rows <= columns { i * columns + j } else { j * columns + i };
            out[at] = x as f32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_matrices_keep_lengths() {
        for (rows, columns) in [(5, 5), (3, 8), (8, 3), (1, 4)] {
            let w = orthogonal(rows, columns, &mut Stream::new(1, "init"));
            let short = rows.min(columns);
            for a in 0..short {
                for b in 0..short {
                    let dot: f32 = match rows <= columns {
                        true => (0..columns).map(|j| w[a * columns + j] * w[b * columns + j]).sum(),
                        false => (0..rows).map(|i| w[i * columns + a] * w[i * columns + b]).sum(),
                    };
                    assert!((dot - (a == b) as u8 as f32).abs() < 1e-6);
                }
            }
        }
    }
}
