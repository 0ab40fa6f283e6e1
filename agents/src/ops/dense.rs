//! A linear layer with its activation as one operation: y = act(x·W + b).
//!
//! Forward, blocks of rows are multiplied, and get bias and activation while they are still in the cache. Backward, one
//! pass turns ∂L/∂y into ∂L/∂(x·W + b) and the bias gradient; two matrix products follow, and only those that somebody
//! asked for. All three products can take their factors in bfloat16, as in mixed-precision training (Kalamkar et al. 2019,
//! arXiv 1905.12322): weights, activations, gradients and all sums stay `f32`.

use super::flex::{by_rows, contiguous, sizes};
use super::matrix::{Matrix, multiply};
use super::product::{Left, Panels, Right, factors};
use super::simd::{self, multiversion};
use crate::config::Precision;
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

/// Rows per chunk of the bias gradient: fixed, so that the sum does not depend on the thread count.
const ROWS: usize = 64;

/// Rows of a product with `terms` terms and `columns` columns that one thread computes together: some 4 MFLOP, twenty times what it costs to
/// pass them on; not so few that reading the right factor counts, and whole blocks of the kernel's six.
fn rows_together(terms: usize, columns: usize) -> usize {
    (2_000_000 / (terms * columns).max(1)).max(48).next_multiple_of(6)
}

/// Gradients before the two matrix products.
#[derive(ExtensionType)]
pub struct DenseGrads<B: Backend> {
    /// ∂L/∂(x·W + b), `[R, N]`
    pub(super) affine: FloatTensor<B>,
    /// ∂L/∂b, `[N]`
    pub(super) bias: FloatTensor<B>,
}

/// The dense layer as backend operations.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Autodiff)]
pub trait DenseOps: Backend {
    /// act(x·W + b): `x [R, K]`, `weight [K, N]`, `bias [N]` → `[R, N]`.
    fn dense(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
        precision: Precision,
    ) -> FloatTensor<Self>;
    /// From the output y and its gradient g.
    fn dense_backward(y: FloatTensor<Self>, g: FloatTensor<Self>, activation: Activation)
    -> DenseGrads<Self>;
    /// affine·Wᵀ: `[R, N]`, `[K, N]` → `[R, K]`.
    fn input_gradient(
        affine: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
    /// xᵀ·affine: `[R, K]`, `[R, N]` → `[K, N]`.
    fn weight_gradient(
        x: FloatTensor<Self>,
        affine: FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
}

/// Adds the bias to whole rows and activates them.
macro_rules! activate_rows {
    ($name:ident, $act:expr) => {
        multiversion! {
            pub(super) fn $name(rows: &mut [f32], bias: &[f32]) {
                for row in rows.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(bias).for_each(|(x, b)| *x = $act(*x + b));
                }
            }
        }
    };
}
activate_rows!(identity_rows, std::convert::identity);
activate_rows!(elu_rows, simd::elu);
activate_rows!(tanh_rows, simd::tanh);

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

impl DenseOps for Flex {
    fn dense(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        activation: Activation,
        precision: Precision,
    ) -> FlexTensor {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let ([r, k], n) = (sizes(&x), sizes(&weight)[1]);
        let (x, bias) = (x.storage::<f32>(), &bias.storage::<f32>()[..n]);
        let right = Right::new(Matrix::new(weight.storage(), k, n), r, precision);
        by_rows(r, n, rows_together(k, n), |first, chunk| {
            let rows = right.multiply(Matrix::new(&x[first * k..], chunk.len() / n, k), chunk);
            match activation {
                Activation::Identity => identity_rows(rows, bias),
                Activation::Elu => elu_rows(rows, bias),
                Activation::Tanh => tanh_rows(rows, bias),
            }
        })
    }

    fn input_gradient(affine: FlexTensor, weight: FlexTensor, precision: Precision) -> FlexTensor {
        let (affine, weight) = (contiguous(affine), contiguous(weight));
        let ([r, n], k) = (sizes(&affine), sizes(&weight)[0]);
        let affine = affine.storage::<f32>();
        let right = Right::new(Matrix::new(weight.storage(), k, n).transposed(), r, precision);
        by_rows(r, k, rows_together(n, k), |first, chunk| {
            right.multiply(Matrix::new(&affine[first * n..], chunk.len() / k, n), chunk);
        })
    }

    fn weight_gradient(x: FlexTensor, affine: FlexTensor, precision: Precision) -> FlexTensor {
        let (x, affine) = (contiguous(x), contiguous(affine));
        let ([r, k], n) = (sizes(&x), sizes(&affine)[1]);
        let (x, affine) = (Matrix::new(x.storage(), r, k), Matrix::new(affine.storage(), r, n));
        // as many as share what is read of a large right factor, unless that leaves threads without work
        let together = rows_together(r, n).max((k / 4).min(192).next_multiple_of(6));
        match factors(precision, [k, r, n]) {
            Some(precision) => {
                let (left, right) = (Left::of(x.transposed(), precision), Panels::of(affine, precision));
                by_rows(k, n, together, |first, chunk| {
                    right.multiply(&left, first, chunk);
                })
            }
            None => by_rows(k, n, together, |first, chunk| {
                multiply(x.columns(first, chunk.len() / n).transposed(), affine, chunk);
            }),
        }
    }

    fn dense_backward(y: FlexTensor, g: FlexTensor, activation: Activation) -> DenseGrads<Flex> {
        let (y, mut g) = (contiguous(y), contiguous(g));
        let [r, n] = sizes(&y);
        let kernel = match activation {
            Activation::Identity => identity_backward,
            Activation::Elu => elu_backward,
            Activation::Tanh => tanh_backward,
        };
        let sums: Vec<Vec<f32>> = (g.storage_mut::<f32>()[..r * n].par_chunks_mut(ROWS * n))
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
        precision: Precision,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Dense;
        impl<B: DenseOps> Backward<B, 3> for Dense {
            // x, W, y
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, Activation, Precision);
            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let (x, weight, y, activation, precision) = ops.state;
                let DenseGrads { affine, bias } = B::dense_backward(y, g, activation);
                let [to_x, to_weight, to_bias] = ops.parents;
                if let Some(node) = to_x {
                    grads.register::<B>(node.id, B::input_gradient(affine.clone(), weight, precision));
                }
                if let Some(node) = to_weight {
                    grads.register::<B>(node.id, B::weight_gradient(x, affine, precision));
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
                let y = B::dense(x.clone(), weight.clone(), bias, activation, precision);
                prep.finish((x, weight, y.clone(), activation, precision), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::dense(x, weight, bias, activation, precision)),
        }
    }

    fn dense_backward(_: FloatTensor<Self>, _: FloatTensor<Self>, _: Activation) -> DenseGrads<Self> {
        unimplemented!("second-order gradients through dense layers are not supported")
    }

    fn input_gradient(_: FloatTensor<Self>, _: FloatTensor<Self>, _: Precision) -> FloatTensor<Self> {
        unimplemented!("second-order gradients through dense layers are not supported")
    }

    fn weight_gradient(_: FloatTensor<Self>, _: FloatTensor<Self>, _: Precision) -> FloatTensor<Self> {
        unimplemented!("second-order gradients through dense layers are not supported")
    }
}

/// act(x·W + b), with factors of its products, and of those of its gradients, in this precision on the device `flex`.
///
/// # Shapes
/// - `x`: `[R, K]`, `weight`: `[K, N]`, `bias`: `[N]`; result `[R, N]`.
pub fn dense(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
    activation: Activation,
    precision: Precision,
) -> Tensor<2> {
    if crate::device::has_kernels(&x.device()) {
        Tensor::from_dispatch(Dispatch::dense(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch(),
            activation,
            precision,
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
    use crate::ops::product::bf16::{pair, unpaired};
    use crate::test_support::{max_difference, normal, values};

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
                let plain = |x, w, b, activation| dense(x, w, b, activation, Precision::F32);
                let (a, b) = (run(plain), run(dense_reference));
                assert!(max_difference(a.0, b.0) < 1e-5, "{activation:?} value");
                assert!(max_difference(a.1, b.1) < 1e-4, "{activation:?} x");
                assert!(max_difference(a.2, b.2) < 1e-3, "{activation:?} weight");
                assert!(max_difference(a.3, b.3) < 1e-3, "{activation:?} bias");
            }
        }
    }

    /// A gradient can be the first rows of more (here those of `cat`, in training the first steps of a batch of one sequence): the bias once
    /// got the sum of all.
    #[test]
    fn gradients_that_begin_a_longer_storage_end_where_they_end() {
        let [x, w] =
            [normal::<2>([4, 3], 1), normal::<2>([3, 5], 2)].map(|t| Tensor::from_inner(t).require_grad());
        let b = Tensor::from_inner(normal::<1>([5], 3)).require_grad();
        let weights = normal::<2>([7, 5], 4);
        let y = dense(x, w, b.clone(), Activation::Identity, Precision::F32);
        let all = Tensor::cat(vec![y, Tensor::from_inner(normal::<2>([3, 5], 5))], 0);
        let grads = (all * Tensor::from_inner(weights.clone())).sum().backward();
        let known = weights.narrow(0, 0, 4).sum_dim(0).squeeze_dim::<1>(0);
        assert!(max_difference(b.grad(&grads).unwrap(), known) < 1e-5);
    }

    /// The three products of a layer in bfloat16 are exact ones of rounded factors; where the processor has none, of the factors.
    #[test]
    fn rounded_layers_are_exact_ones_of_rounded_factors() {
        let [r, k, n] = [700, 33, 257];
        let rounded = |t: Tensor<2>| match factors(Precision::Bf16, [r, k, n]) {
            Some(Precision::Bf16) => {
                let numbers = values(t.clone()).into_iter().map(|x| unpaired(pair([x, 0.0]))[0]);
                Tensor::from_data(TensorData::new(numbers.collect::<Vec<_>>(), t.dims()), &t.device())
            }
            _ => t,
        };
        let (x, w, b) = (normal::<2>([r, k], 1), normal::<2>([k, n], 2) * 0.2, normal::<1>([n], 3));
        let g = normal::<2>([r, n], 4);
        let [x_grad, w_grad] = [&x, &w].map(|t| Tensor::from_inner(t.clone()).require_grad());
        let b_grad = Tensor::from_inner(b.clone()).require_grad();
        let layer = |x, w, b| dense(x, w, b, Activation::Identity, Precision::Bf16);
        let y = layer(x_grad.clone(), w_grad.clone(), b_grad.clone());
        let grads = (y.clone() * Tensor::from_inner(g.clone())).sum().backward();
        let [to_x, to_w] = [x_grad, w_grad].map(|t| t.grad(&grads).unwrap());
        let (x, w) = (rounded(x), rounded(w));
        assert!(max_difference(y.inner(), x.clone().matmul(w.clone()) + b.unsqueeze()) < 1e-5);
        assert!(max_difference(to_x, rounded(g.clone()).matmul(w.transpose())) < 1e-4);
        assert!(max_difference(to_w, x.transpose().matmul(rounded(g.clone()))) < 1e-3);
        let sum = g.sum_dim(0).squeeze_dim(0);
        assert!(max_difference(b_grad.grad(&grads).unwrap(), sum) < 1e-3, "the bias is not rounded");
    }

    /// Kernels index storage flat; a transposed or offset view once read the wrong elements.
    #[test]
    fn strided_views_are_handled() {
        let (x, w, b) = (normal::<2>([12, 20], 1), normal::<2>([9, 7], 2), normal::<1>([9], 3));
        let x = x.transpose().slice([3..13, 2..9]);
        let w = w.transpose();
        for activation in ALL {
            let plain = dense_reference(x.clone(), w.clone(), b.clone(), activation);
            assert!(
                max_difference(dense(x.clone(), w.clone(), b.clone(), activation, Precision::F32), plain)
                    < 1e-5
            );
        }
    }

    #[test]
    fn parameters_without_gradient_get_none() {
        let x = Tensor::from_inner(normal::<2>([4, 3], 1)).require_grad();
        let w: Tensor<2> = Tensor::from_inner(normal::<2>([3, 2], 2));
        let b: Tensor<1> = Tensor::from_inner(normal::<1>([2], 3));
        let grads = dense(x.clone(), w.clone(), b.clone(), Activation::Elu, Precision::F32).sum().backward();
        assert!(x.grad(&grads).is_some() && w.grad(&grads).is_none() && b.grad(&grads).is_none());
    }
}
