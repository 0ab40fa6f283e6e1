//! The operations' kernels with burn's sums and matrix products around them.

use super::Form;
use super::launch::{empty, launch};
use crate::config::Precision;
use crate::ops::dense::{Activation, DenseGrads, DenseOps};
use crate::ops::normalization::{NormActivation, NormGrads, NormOps};
use crate::ops::recurrence::{Method, RecurrenceGrads, RecurrenceOps};
use crate::ops::simnorm::SimNormOps;
use crate::ops::two_hot::TwoHotOps;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::Shape;
use burn_cubecl::{CubeBackend, kernel::into_contiguous, tensor::CubeTensor};

/// A row is one warp's.
const WARP: usize = 32;

fn sizes(t: &CubeTensor) -> [usize; 2] {
    [t.meta.shape()[0], t.meta.shape()[1]]
}

/// Over rows: `[R, n]` → `[n]`.
fn sum_of_rows(t: CubeTensor) -> CubeTensor {
    let n = sizes(&t)[1];
    CubeBackend::float_reshape(CubeBackend::float_sum_dim(t, 0), Shape::new([n]))
}

impl DenseOps for CubeBackend {
    fn dense(
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        activation: Activation,
        _: Precision,
    ) -> CubeTensor {
        let product = into_contiguous(Self::float_matmul(x, weight));
        let [rows, n] = sizes(&product);
        let y = empty(&product, [rows, n]);
        launch("activate", activation.form(n), rows, n, &[&product, &into_contiguous(bias)], &[&y]);
        y
    }

    fn dense_backward(y: CubeTensor, g: CubeTensor, activation: Activation) -> DenseGrads<Self> {
        let affine = match activation {
            Activation::Identity => g,
            _ => {
                let (y, g) = (into_contiguous(y), into_contiguous(g));
                let [rows, n] = sizes(&y);
                let affine = empty(&y, [rows, n]);
                launch("activate_backward", activation.form(n), rows, n, &[&y, &g], &[&affine]);
                affine
            }
        };
        DenseGrads { bias: sum_of_rows(affine.clone()), affine }
    }

    fn input_gradient(affine: CubeTensor, weight: CubeTensor, _: Precision) -> CubeTensor {
        Self::float_matmul(affine, Self::float_transpose(weight))
    }

    fn weight_gradient(x: CubeTensor, affine: CubeTensor, _: Precision) -> CubeTensor {
        Self::float_matmul(Self::float_transpose(x), affine)
    }
}

impl NormOps for CubeBackend {
    fn normalise(
        x: CubeTensor,
        gamma: CubeTensor,
        beta: CubeTensor,
        activation: NormActivation,
    ) -> CubeTensor {
        let [x, gamma, beta] = [x, gamma, beta].map(into_contiguous);
        let [rows, n] = sizes(&x);
        let y = empty(&x, [rows, n]);
        launch("normalise", activation.form(n), rows, WARP, &[&x, &gamma, &beta], &[&y]);
        y
    }

    fn normalise_backward(
        x: CubeTensor,
        gamma: CubeTensor,
        beta: CubeTensor,
        y: CubeTensor,
        g: CubeTensor,
        activation: NormActivation,
    ) -> NormGrads<Self> {
        let [x, gamma, beta, y, g] = [x, gamma, beta, y, g].map(into_contiguous);
        let [rows, n] = sizes(&x);
        let [to_x, to_gamma, to_beta] = [(); 3].map(|()| empty(&x, [rows, n]));
        let (reads, writes) = ([&x, &gamma, &beta, &y, &g], [&to_x, &to_gamma, &to_beta]);
        launch("normalise_backward", activation.form(n), rows, WARP, &reads, &writes);
        NormGrads { x: to_x, gamma: sum_of_rows(to_gamma), beta: sum_of_rows(to_beta) }
    }
}

impl SimNormOps for CubeBackend {
    fn sim_norm(x: CubeTensor, group: usize) -> CubeTensor {
        let x = into_contiguous(x);
        let [rows, n] = sizes(&x);
        let y = empty(&x, [rows, n]);
        launch("sim_norm", Form { group, ..Form::rows_of(n) }, rows, n / group, &[&x], &[&y]);
        y
    }

    fn sim_norm_backward(y: CubeTensor, g: CubeTensor, group: usize) -> CubeTensor {
        let (y, g) = (into_contiguous(y), into_contiguous(g));
        let [rows, n] = sizes(&y);
        let out = empty(&y, [rows, n]);
        launch("sim_norm_backward", Form { group, ..Form::rows_of(n) }, rows, n / group, &[&y, &g], &[&out]);
        out
    }
}

impl TwoHotOps for CubeBackend {
    fn two_hot_loss(logits: CubeTensor, position: CubeTensor) -> CubeTensor {
        let (logits, position) = (into_contiguous(logits), into_contiguous(position));
        let [rows, n] = sizes(&logits);
        let loss = empty(&logits, [rows, 1]);
        launch("two_hot_loss", Form::rows_of(n), rows, WARP, &[&logits, &position], &[&loss]);
        loss
    }

    fn two_hot_loss_backward(logits: CubeTensor, position: CubeTensor, g: CubeTensor) -> CubeTensor {
        let [logits, position, g] = [logits, position, g].map(into_contiguous);
        let [rows, n] = sizes(&logits);
        let out = empty(&logits, [rows, n]);
        launch("two_hot_loss_backward", Form::rows_of(n), rows, WARP, &[&logits, &position, &g], &[&out]);
        out
    }
}

impl RecurrenceOps for CubeBackend {
    fn recurrence(lambda: CubeTensor, z0: CubeTensor, c: CubeTensor, _: Method) -> CubeTensor {
        let [lambda, z0, c] = [lambda, z0, c].map(into_contiguous);
        let ([rows, n], steps) = (sizes(&z0), c.meta.shape()[1]);
        let z = empty(&c, [rows, steps, n]);
        launch("recurrence", Form { steps, ..Form::rows_of(n) }, rows, n / 2, &[&lambda, &z0, &c], &[&z]);
        z
    }

    fn recurrence_backward(
        lambda: CubeTensor,
        z0: CubeTensor,
        z: CubeTensor,
        g: CubeTensor,
        _: Method,
    ) -> RecurrenceGrads<Self> {
        let [lambda, z0, z, g] = [lambda, z0, z, g].map(into_contiguous);
        let ([rows, n], steps) = (sizes(&z0), z.meta.shape()[1]);
        let [to_z0, to_lambda] = [(); 2].map(|()| empty(&z, [rows, n]));
        let to_c = empty(&z, [rows, steps, n]);
        let (reads, writes) = ([&lambda, &z0, &z, &g], [&to_c, &to_z0, &to_lambda]);
        launch("recurrence_backward", Form { steps, ..Form::rows_of(n) }, rows, n / 2, &reads, &writes);
        RecurrenceGrads { lambda: sum_of_rows(to_lambda), z0: to_z0, c: to_c }
    }
}
