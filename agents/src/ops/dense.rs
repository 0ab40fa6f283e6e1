//! A linear layer with its activation as one operation: y = act(x·W + b).
//!
//! Forward, blocks of rows are preloaded with the bias, multiplied into, and activated while they are still in the
//! cache. Backward, one pass turns ∂L/∂y into ∂L/∂(x·W + b) and the bias gradient; two matrix products follow, and
//! only those that somebody asked for.

use super::flex::contiguous;
use super::simd::{self, multiversion};
use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{
    Autodiff, Backend, Dispatch, ExtensionType, Flex, backend_extension, tensor::FloatTensor,
};
use burn::prelude::*;
use burn::tensor::activation;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// What follows the affine map; every derivative can be written in terms of the output y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// ELU, α = 1; dy/dx = 1 + min(y, 0).
    Elu,
    /// tanh; dy/dx = 1 − y².
    Tanh,
}

/// Output elements of one block: 512 kB of f32, half of a common L2 cache.
const BLOCK: usize = 1 << 17;
/// Rows per chunk of the bias gradient: fixed, so that the sum does not depend on the thread count.
const ROWS: usize = 64;

/// Gradients before the two matrix products.
#[derive(ExtensionType)]
pub struct DenseGrads<B: Backend> {
    /// ∂L/∂(x·W + b), `[R, N]`
    affine: FloatTensor<B>,
    /// ∂L/∂b, `[N]`
    bias: FloatTensor<B>,
}

/// The dense layer as backend operations.
#[backend_extension(Flex, Autodiff)]
pub trait DenseOps: Backend {
    /// act(x·W + b): `x [R, K]`, `weight [K, N]`, `bias [N]` → `[R, N]`.
    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;
    /// From the output y and its gradient g.
    fn dense_backward(y: FloatTensor<Self>, g: FloatTensor<Self>, activation: Activation)
    -> DenseGrads<Self>;
}

multiversion! { fn elu_slice(x: &mut [f32]) { for v in x.iter_mut() { *v = simd::elu(*v) } } }
multiversion! { fn tanh_slice(x: &mut [f32]) { for v in x.iter_mut() { *v = simd::tanh(*v) } } }
multiversion! {
    fn identity_backward(g: &mut [f32], _y: &[f32], d_bias: &mut [f32]) {
        for g in g.chunks_exact(d_bias.len()) {
            d_bias.iter_mut().zip(g).for_each(|(d, g)| *d += g);
        }
    }
}
multiversion! {
    fn elu_backward(g: &mut [f32], y: &[f32], d_bias: &mut [f32]) {
        for (g, y) in g.chunks_exact_mut(d_bias.len()).zip(y.chunks_exact(d_bias.len())) {
            for ((g, y), d) in g.iter_mut().zip(y).zip(d_bias.iter_mut()) {
                *g *= 1.0 + y.min(0.0);
                *d += *g;
            }
        }
    }
}
multiversion! {
    fn tanh_backward(g: &mut [f32], y: &[f32], d_bias: &mut [f32]) {
        for (g, y) in g.chunks_exact_mut(d_bias.len()).zip(y.chunks_exact(d_bias.len())) {
            for ((g, y), d) in g.iter_mut().zip(y).zip(d_bias.iter_mut()) {
                *g *= 1.0 - y * y;
                *d += *g;
            }
        }
    }
}

/// out += x·w for row-major `x [R, K]`, `w [K, N]`, `out [R, N]`.
fn multiply_add(x: &[f32], w: &[f32], out: &mut [f32], k: usize, n: usize) {
    let rows = out.len() / n;
    assert!(x.len() == rows * k && w.len() == k * n && out.len() == rows * n);
    // SAFETY: the three matrices are row-major with unit column stride and have the lengths asserted above; `out` is
    // borrowed mutably and overlaps neither.
    unsafe {
        gemm::gemm(
            rows,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            true,
            x.as_ptr(),
            1,
            k as isize,
            w.as_ptr(),
            1,
            n as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Preloads a block with the bias and returns it initialised.
fn preload<'a>(block: &'a mut [MaybeUninit<f32>], bias: &[f32]) -> &'a mut [f32] {
    for row in block.chunks_exact_mut(bias.len()) {
        row.write_copy_of_slice(bias);
    }
    // SAFETY: blocks are whole rows, and every row was written just above.
    unsafe { block.assume_init_mut() }
}

impl DenseOps for Flex {
    fn dense(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, activation: Activation) -> FlexTensor {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let (r, k) = (x.layout().shape()[0], x.layout().shape()[1]);
        let n = weight.layout().shape()[1];
        let (w, b) = (&weight.storage::<f32>()[..k * n], &bias.storage::<f32>()[..n]);
        let x = &x.storage::<f32>()[..r * k];
        let rows = (BLOCK / n).clamp(1, r.max(1));
        let mut out: Vec<f32> = Vec::with_capacity(r * n);
        (out.spare_capacity_mut()[..r * n].par_chunks_mut(rows * n)).zip(x.par_chunks(rows * k)).for_each(
            |(block, x)| {
                let block = preload(block, b);
                multiply_add(x, w, block, k, n);
                match activation {
                    Activation::Identity => {}
                    Activation::Elu => elu_slice(block),
                    Activation::Tanh => tanh_slice(block),
                }
            },
        );
        // SAFETY: all r·n elements were initialised block by block above.
        unsafe { out.set_len(r * n) };
        FlexTensor::from_data(TensorData::new(out, [r, n]))
    }

    fn dense_backward(y: FlexTensor, g: FlexTensor, activation: Activation) -> DenseGrads<Flex> {
        let (y, mut g) = (contiguous(y), contiguous(g));
        let n = y.layout().shape()[1];
        let kernel = match activation {
            Activation::Identity => identity_backward,
            Activation::Elu => elu_backward,
            Activation::Tanh => tanh_backward,
        };
        let sums: Vec<Vec<f32>> = (g.storage_mut::<f32>().par_chunks_mut(ROWS * n))
            .zip(y.storage::<f32>().par_chunks(ROWS * n))
            .map(|(g, y)| {
                let mut sum = vec![0.0; n];
                kernel(g, y, &mut sum);
                sum
            })
            .collect();
        let mut bias = vec![0.0; n];
        for sum in sums {
            bias.iter_mut().zip(sum).for_each(|(total, part)| *total += part);
        }
        DenseGrads { affine: g, bias: FlexTensor::from_data(TensorData::new(bias, [n])) }
    }
}

impl<B: DenseOps, C: CheckpointStrategy> DenseOps for Autodiff<B, C> {
    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Dense;
        impl<B: DenseOps> Backward<B, 3> for Dense {
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Activation); // x, W, y
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let (x, weight, y, activation) = ops.state;
                let DenseGrads { affine, bias } = B::dense_backward(y, g, activation);
                let [to_x, to_weight, to_bias] = ops.parents;
                if let Some(node) = to_x {
                    grads.register::<B>(node.id, B::float_matmul(affine.clone(), B::float_transpose(weight)));
                }
                if let Some(node) = to_weight {
                    grads.register::<B>(node.id, B::float_matmul(B::float_transpose(x), affine));
                }
                if let Some(node) = to_bias {
                    grads.register::<B>(node.id, bias);
                }
            }
        }
        let parents = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) = (x.into_primitive(), weight.into_primitive(), bias.into_primitive());
        match Dense.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::dense(x.clone(), weight.clone(), bias, activation);
                prep.finish((x, weight, y.clone(), activation), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::dense(x, weight, bias, activation)),
        }
    }

    fn dense_backward(_: FloatTensor<Self>, _: FloatTensor<Self>, _: Activation) -> DenseGrads<Self> {
        unimplemented!("second-order gradients through dense layers are not supported")
    }
}

/// act(x·W + b).
///
/// # Shapes
/// - `x`: `[R, K]`, `weight`: `[K, N]`, `bias`: `[N]`; result `[R, N]`.
pub fn dense(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, activation: Activation) -> Tensor<2> {
    if super::is_flex(&x) {
        Tensor::from_dispatch(Dispatch::dense(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch(),
            activation,
        ))
    } else {
        dense_reference(x, weight, bias, activation)
    }
}

/// The same with plain tensor operations.
fn dense_reference(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, activation: Activation) -> Tensor<2> {
    let affine = x.matmul(weight) + bias.unsqueeze();
    match activation {
        Activation::Identity => affine,
        Activation::Elu => activation::elu(affine, 1.0),
        Activation::Tanh => affine.tanh(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{max_difference, normal};

    const ALL: [Activation; 3] = [Activation::Identity, Activation::Elu, Activation::Tanh];

    #[test]
    fn fused_layers_equal_plain_ones_in_value_and_every_gradient() {
        // several blocks, the last ones partial; and a single row
        for (r, k, n) in [(700, 33, 257), (1, 5, 3), (65, 64, 1)] {
            for activation in ALL {
                let run = |f: fn(Tensor<2>, Tensor<2>, Tensor<1>, Activation) -> Tensor<2>| {
                    let x = Tensor::from_inner(normal::<2>([r, k], 1)).require_grad();
                    let w = Tensor::from_inner(normal::<2>([k, n], 2) * 0.2).require_grad();
                    let b = Tensor::from_inner(normal::<1>([n], 3)).require_grad();
                    let y = f(x.clone(), w.clone(), b.clone(), activation);
                    let weights = Tensor::from_inner(normal::<2>([r, n], 4));
                    let grads = (y.clone() * weights).sum().backward();
                    let g = |t: Option<Tensor<2>>| t.unwrap();
                    (y.inner(), g(x.grad(&grads)), g(w.grad(&grads)), b.grad(&grads).unwrap())
                };
                let (a, b) = (run(dense), run(dense_reference));
                assert!(max_difference(a.0, b.0) < 1e-5, "{activation:?} value");
                assert!(max_difference(a.1, b.1) < 1e-4, "{activation:?} x");
                assert!(max_difference(a.2, b.2) < 1e-3, "{activation:?} weight");
                assert!(max_difference(a.3, b.3) < 1e-3, "{activation:?} bias");
            }
        }
    }

    /// Kernels index storage flat; a transposed or offset view once read the wrong elements.
    #[test]
    fn strided_views_are_handled() {
        let (x, w, b) = (normal::<2>([12, 20], 1), normal::<2>([9, 7], 2), normal::<1>([9], 3));
        let x = x.transpose().slice([3..13, 2..9]);
        let w = w.transpose();
        for activation in ALL {
            let plain = dense_reference(x.clone(), w.clone(), b.clone(), activation);
            assert!(max_difference(dense(x.clone(), w.clone(), b.clone(), activation), plain) < 1e-5);
        }
    }

    #[test]
    fn parameters_without_gradient_get_none() {
        let x = Tensor::from_inner(normal::<2>([4, 3], 1)).require_grad();
        let w: Tensor<2> = Tensor::from_inner(normal::<2>([3, 2], 2));
        let b: Tensor<1> = Tensor::from_inner(normal::<1>([2], 3));
        let grads = dense(x.clone(), w.clone(), b.clone(), Activation::Elu).sum().backward();
        assert!(x.grad(&grads).is_some() && w.grad(&grads).is_none() && b.grad(&grads).is_none());
    }
}
