//! CUDA kernels of the diagonal recurrence: one thread per (trajectory, mode), state in registers.

use super::recurrence::{Method, RecurrenceGrads, RecurrenceOps};
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::{ops::FloatTensorOps, tensor::FloatTensor};
use burn::tensor::Shape;
use burn_cubecl::{
    CubeBackend, kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype, tensor::CubeTensor,
};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

#[cube(launch)]
fn forward_kernel<F: Float>(
    lambda: &Tensor<F>,
    z0: &Tensor<F>,
    c: &Tensor<F>,
    out: &mut Tensor<F>,
    #[define(F)] _dtype: ElemType,
) {
    let h = out.shape(1);
    let m2 = out.shape(2);
    let m = m2 / 2;
    if ABSOLUTE_POS >= out.shape(0) * m {
        terminate!();
    }
    let i = ABSOLUTE_POS / m;
    let j = ABSOLUTE_POS % m;
    let lr = lambda[j];
    let li = lambda[m + j];
    let mut zr = z0[i * m2 + j];
    let mut zi = z0[i * m2 + m + j];
    for k in 0..h {
        let p = (i * h + k) * m2 + j;
        let nr = lr * zr - li * zi + c[p];
        let ni = lr * zi + li * zr + c[p + m];
        zr = nr;
        zi = ni;
        out[p] = zr;
        out[p + m] = zi;
    }
}

#[cube(launch)]
fn backward_kernel<F: Float>(
    lambda: &Tensor<F>,
    z0: &Tensor<F>,
    z: &Tensor<F>,
    g: &Tensor<F>,
    d_c: &mut Tensor<F>,
    d_z0: &mut Tensor<F>,
    d_lambda: &mut Tensor<F>, // [B, 2m], summed over the batch afterwards
    #[define(F)] _dtype: ElemType,
) {
    let h = z.shape(1);
    let m2 = z.shape(2);
    let m = m2 / 2;
    if ABSOLUTE_POS >= z.shape(0) * m {
        terminate!();
    }
    let i = ABSOLUTE_POS / m;
    let j = ABSOLUTE_POS % m;
    let lr = lambda[j];
    let li = lambda[m + j];
    let mut ar = F::new(0.0_f32);
    let mut ai = F::new(0.0_f32);
    let mut sr = F::new(0.0_f32);
    let mut si = F::new(0.0_f32);
    for kk in 0..h {
        let k = h - 1 - kk;
        let p = (i * h + k) * m2 + j;
        let xr = g[p] + lr * ar + li * ai;
        let xi = g[p + m] + lr * ai - li * ar;
        ar = xr;
        ai = xi;
        d_c[p] = xr;
        d_c[p + m] = xi;
        let mut pr = z0[i * m2 + j];
        let mut pi = z0[i * m2 + m + j];
        if k > 0 {
            pr = z[p - m2];
            pi = z[p - m2 + m];
        }
        sr += pr * xr + pi * xi;
        si += pr * xi - pi * xr;
    }
    d_z0[i * m2 + j] = lr * ar + li * ai;
    d_z0[i * m2 + m + j] = lr * ai - li * ar;
    d_lambda[i * m2 + j] = sr;
    d_lambda[i * m2 + m + j] = si;
}

fn like(t: &CubeTensor, shape: Shape) -> CubeTensor {
    empty_device_contiguous_dtype(t.client.clone(), t.device.clone(), shape, t.dtype)
}

impl RecurrenceOps for CubeBackend {
    fn recurrence(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        c: FloatTensor<Self>,
        _: Method,
    ) -> FloatTensor<Self> {
        let (lambda, z0, c) = (into_contiguous(lambda), into_contiguous(z0), into_contiguous(c));
        let out = like(&c, c.meta.shape().clone());
        let n = out.meta.shape()[0] * out.meta.shape()[2] / 2;
        let dim = CubeDim::new(&c.client, n);
        let count = calculate_cube_count_elemwise(&c.client, n, dim);
        let dt = dtype_to_storage_type(c.dtype);
        forward_kernel::launch(
            &out.client,
            count,
            dim,
            lambda.into_tensor_arg(),
            z0.into_tensor_arg(),
            c.into_tensor_arg(),
            out.clone().into_tensor_arg(),
            dt,
        );
        out
    }
    fn recurrence_backward(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        z: FloatTensor<Self>,
        g: FloatTensor<Self>,
        _: Method,
    ) -> RecurrenceGrads<Self> {
        let (lambda, z0, z, g) =
            (into_contiguous(lambda), into_contiguous(z0), into_contiguous(z), into_contiguous(g));
        let (b, m2) = (z.meta.shape()[0], z.meta.shape()[2]);
        let d_c = like(&z, z.meta.shape().clone());
        let d_z0 = like(&z, Shape::new([b, m2]));
        let d_lambda = like(&z, Shape::new([b, m2]));
        let n = b * m2 / 2;
        let dim = CubeDim::new(&z.client, n);
        let count = calculate_cube_count_elemwise(&z.client, n, dim);
        let dt = dtype_to_storage_type(z.dtype);
        backward_kernel::launch(
            &d_c.client,
            count,
            dim,
            lambda.into_tensor_arg(),
            z0.into_tensor_arg(),
            z.clone().into_tensor_arg(),
            g.into_tensor_arg(),
            d_c.clone().into_tensor_arg(),
            d_z0.clone().into_tensor_arg(),
            d_lambda.clone().into_tensor_arg(),
            dt,
        );
        let lambda = Self::float_reshape(Self::float_sum_dim(d_lambda, 0), Shape::new([m2]));
        RecurrenceGrads { lambda, z0: d_z0, c: d_c }
    }
}
