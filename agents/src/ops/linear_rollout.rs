//! The rollout of a linear latent with its linear read-out as one operation: z_{k+1} = λ̄ ⊙ z_k + u_k·L̄ and
//! y_k = z_k·W + b.
//!
//! Backward, with g_k = ∂L/∂y_k and δ_k = g_k·Wᵀ, the adjoint states a_T = δ_T, a_k = δ_k + conj(λ̄) ⊙ a_{k+1} follow as
//! in [`diagonal_recurrence`]; then ∂/∂u_{k−1} = a_k·L̄ᵀ, ∂/∂L̄ = Σ u_{k−1}ᵀ·a_k, ∂/∂W = Σ z_kᵀ·g_k, ∂/∂b = Σ g_k,
//! ∂/∂z_0 = conj(λ̄) ⊙ a_1 and ∂/∂λ̄ = Σ conj(z_{k−1}) ⊙ a_k.

use super::recurrence::{Unroll, diagonal_recurrence};
use burn::backend::autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, backend_extension, tensor::FloatTensor};
use burn::prelude::*;

/// T steps of a linear system of D = 2m reals from l inputs.
#[derive(Clone, Debug)]
pub struct LinearRollout {
    /// λ̄ as `[Re | Im]`: `[D]`
    pub lambda: Tensor<1>,
    /// L̄: `[l, D]`
    pub input: Tensor<2>,
    /// u: `[B, T, l]`
    pub u: Tensor<3>,
}

/// What a forward pass leaves for the backward one.
#[derive(ExtensionType)]
pub struct LatentsAndOutputs<B: Backend> {
    /// z: `[B, T·D]`
    pub(super) latents: FloatTensor<B>,
    /// y: `[B, T, S]`
    pub(super) outputs: FloatTensor<B>,
}

/// Gradients of [`linear_rollout_readout`], in the shapes of its arguments.
#[derive(ExtensionType)]
pub struct LinearRolloutGrads<B: Backend> {
    pub(super) lambda: FloatTensor<B>,
    pub(super) z0: FloatTensor<B>,
    pub(super) u: FloatTensor<B>,
    pub(super) input: FloatTensor<B>,
    pub(super) weight: FloatTensor<B>,
    pub(super) bias: FloatTensor<B>,
}

/// The rollout with its read-out as backend operations.
#[backend_extension(Flex, Autodiff)]
pub trait LinearRolloutOps: Backend {
    /// y: `lambda [D]`, `z0 [B, D]`, `u [B, T, l]`, `input [l, D]`, `weight [D, S]`, `bias [S]` → `[B, T, S]`.
    fn linear_rollout(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        u: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// The same, keeping the latents.
    fn linear_rollout_latents(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        u: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> LatentsAndOutputs<Self>;
    /// Gradients, given the latents and the gradient g of y.
    fn linear_rollout_backward(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        u: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        latents: FloatTensor<Self>,
        g: FloatTensor<Self>,
    ) -> LinearRolloutGrads<Self>;
}

impl<B: LinearRolloutOps, C: CheckpointStrategy> LinearRolloutOps for Autodiff<B, C> {
    fn linear_rollout(
        lambda: FloatTensor<Self>,
        z0: FloatTensor<Self>,
        u: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct LinearRollout;
        impl<B: LinearRolloutOps> Backward<B, 6> for LinearRollout {
            type State = [FloatTensor<B>; 6]; // λ̄, z_0, u, L̄, W, z
            fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
                let g = grads.consume::<B>(&ops.node);
                let [lambda, z0, u, input, weight, z] = ops.state;
                let out = B::linear_rollout_backward(lambda, z0, u, input, weight, z, g);
                let all = [out.lambda, out.z0, out.u, out.input, out.weight, out.bias];
                for (parent, grad) in ops.parents.into_iter().zip(all) {
                    if let Some(node) = parent {
                        grads.register::<B>(node.id, grad);
                    }
                }
            }
        }
        let arguments = [lambda, z0, u, input, weight, bias];
        let parents = arguments.each_ref().map(|t| t.node());
        let [lambda, z0, u, input, weight, bias] = arguments.map(|t| t.into_primitive());
        match LinearRollout.prepare::<C>(parents).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let kept = [&lambda, &z0, &u, &input, &weight].map(Clone::clone);
                let LatentsAndOutputs { latents, outputs } =
                    B::linear_rollout_latents(lambda, z0, u, input, weight, bias);
                let [lambda, z0, u, input, weight] = kept;
                prep.finish([lambda, z0, u, input, weight, latents], outputs)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_rollout(lambda, z0, u, input, weight, bias)),
        }
    }

    fn linear_rollout_latents(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> LatentsAndOutputs<Self> {
        unimplemented!("the latents are kept on the backend under autodiff")
    }

    fn linear_rollout_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
    ) -> LinearRolloutGrads<Self> {
        unimplemented!("second-order gradients through the linear rollout are not supported")
    }
}

/// y_1 … y_T with y_k = z_k·W + b, for z_{k+1} = λ̄ ⊙ z_k + u_k·L̄.
///
/// # Shapes
/// - `z0`: `[B, D]`, `weight`: `[D, S]`, `bias`: `[S]`; result `[B, T, S]`.
pub fn linear_rollout_readout(
    rollout: LinearRollout,
    z0: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<3> {
    if !crate::device::is_flex(&z0.device()) {
        return linear_rollout_readout_reference(rollout, z0, weight, bias);
    }
    let LinearRollout { lambda, input, u } = rollout;
    let ([batch, _, inputs], [latent, _]) = (u.dims(), weight.dims());
    assert_eq!((z0.dims(), input.dims()), ([batch, latent], [inputs, latent]));
    Tensor::from_dispatch(Dispatch::linear_rollout(
        lambda.into_dispatch(),
        z0.into_dispatch(),
        u.into_dispatch(),
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// The same, one operation after the other.
fn linear_rollout_readout_reference(
    rollout: LinearRollout,
    z0: Tensor<2>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<3> {
    let LinearRollout { lambda, input, u } = rollout;
    let ([batch, steps, inputs], [latent, outputs]) = (u.dims(), weight.dims());
    let rows = batch * steps;
    let c = u.reshape([rows, inputs]).matmul(input).reshape([batch, steps, latent]);
    let z = diagonal_recurrence(lambda, z0, c, Unroll::Recurrence).reshape([rows, latent]);
    (z.matmul(weight) + bias.unsqueeze()).reshape([batch, steps, outputs])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{max_difference, normal, values};

    type Operation = fn(LinearRollout, Tensor<2>, Tensor<2>, Tensor<1>) -> Tensor<3>;

    /// λ̄, z_0, u, L̄, W and b for D 10, l 3 and S 5.
    struct Arguments(Tensor<1>, Tensor<2>, Tensor<3>, Tensor<2>, Tensor<2>, Tensor<1>);

    impl Arguments {
        fn random(batch: usize, steps: usize) -> Self {
            let lambda = normal::<1>([10], 1).tanh() * 0.7; // every |λ̄| below 1
            let (z0, u) = (normal::<2>([batch, 10], 2), normal::<3>([batch, steps, 3], 3));
            let (input, weight) = (normal::<2>([3, 10], 4) * 0.5, normal::<2>([10, 5], 5) * 0.3);
            Self(lambda, z0, u, input, weight, normal::<1>([5], 6))
        }

        fn apply(&self, operation: Operation) -> Tensor<3> {
            let Self(lambda, z0, u, input, weight, bias) = self;
            let rollout = LinearRollout { lambda: lambda.clone(), input: input.clone(), u: u.clone() };
            operation(rollout, z0.clone(), weight.clone(), bias.clone())
        }

        /// The outputs, and the gradients of their weighted sum for every argument in order.
        fn gradients(&self, operation: Operation) -> [Vec<f32>; 7] {
            fn tracked<const D: usize>(t: &Tensor<D>) -> Tensor<D> {
                Tensor::from_inner(t.clone()).require_grad()
            }
            let Self(lambda, z0, u, input, weight, bias) = self;
            let t = Self(
                tracked(lambda),
                tracked(z0),
                tracked(u),
                tracked(input),
                tracked(weight),
                tracked(bias),
            );
            let y = t.apply(operation);
            let grads = (y.clone() * Tensor::from_inner(normal(y.dims(), 7))).sum().backward();
            [
                values(y.inner()),
                values(t.0.grad(&grads).unwrap()),
                values(t.1.grad(&grads).unwrap()),
                values(t.2.grad(&grads).unwrap()),
                values(t.3.grad(&grads).unwrap()),
                values(t.4.grad(&grads).unwrap()),
                values(t.5.grad(&grads).unwrap()),
            ]
        }

        fn assert_fused_equals_reference(&self) {
            let size = self.2.dims();
            let plain = self.apply(linear_rollout_readout_reference);
            assert!(
                max_difference(self.apply(linear_rollout_readout), plain) < 1e-5,
                "{size:?} without gradients"
            );
            let fused = self.gradients(linear_rollout_readout);
            let reference = self.gradients(linear_rollout_readout_reference);
            for (i, (a, b)) in fused.iter().zip(&reference).enumerate() {
                let largest = b.iter().fold(1.0f32, |m, x| m.max(x.abs()));
                let difference = a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                assert!(
                    a.len() == b.len() && difference < 1e-5 * largest,
                    "{size:?} {i}: {difference} of {largest}"
                );
            }
        }
    }

    /// The central difference of every element of every argument.
    #[test]
    fn gradients_are_those_of_finite_differences() {
        fn nudge<const D: usize>(t: &Tensor<D>, element: Option<usize>, by: f32) -> Tensor<D> {
            let (mut numbers, shape) = (values(t.clone()), t.dims());
            if let Some(element) = element {
                numbers[element] += by;
            }
            Tensor::from_data(TensorData::new(numbers, shape), &t.device())
        }
        let Arguments(lambda, z0, u, input, weight, bias) = &Arguments::random(2, 3);
        let weights = values(normal::<3>([2, 3, 5], 7));
        let gradients = Arguments::random(2, 3).gradients(linear_rollout_readout);
        for (argument, gradient) in gradients[1..].iter().enumerate() {
            for (element, &expected) in gradient.iter().enumerate() {
                let at = |i: usize| (i == argument).then_some(element);
                let loss = |by: f32| -> f64 {
                    let nudged = Arguments(
                        nudge(lambda, at(0), by),
                        nudge(z0, at(1), by),
                        nudge(u, at(2), by),
                        nudge(input, at(3), by),
                        nudge(weight, at(4), by),
                        nudge(bias, at(5), by),
                    );
                    let y = values(nudged.apply(linear_rollout_readout));
                    y.iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
                };
                let slope = ((loss(1e-2) - loss(-1e-2)) / 2e-2) as f32;
                let error = (slope - expected).abs() / expected.abs().max(1.0);
                assert!(error < 1e-3, "argument {argument}, element {element}: {slope}, not {expected}");
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Arguments::random(41, 100).gradients(linear_rollout_readout))
        };
        assert_eq!(run(1), run(3));
    }

    /// One block; several blocks in as many parts, and several in each part, the last ones partial; trajectories longer
    /// than a block.
    #[test]
    fn the_fused_rollout_equals_its_operations_in_value_and_every_gradient() {
        for (batch, steps) in [(1, 1), (3, 7), (45, 10), (41, 100), (19, 201)] {
            Arguments::random(batch, steps).assert_fused_equals_reference();
        }
    }

    /// Expanded, narrowed and transposed tensors are not row-major in memory.
    #[test]
    fn strided_arguments_are_handled() {
        Arguments(
            (normal::<1>([20], 1).tanh() * 0.7).narrow(0, 7, 10),
            normal::<2>([1, 10], 2).expand([6, 10]),
            normal::<3>([6, 9, 3], 3).narrow(1, 2, 5),
            (normal::<2>([10, 3], 4) * 0.5).transpose(),
            (normal::<2>([5, 12], 5) * 0.3).transpose().narrow(0, 1, 10),
            normal::<1>([5], 6),
        )
        .assert_fused_equals_reference();
    }
}
