//! All activations against plain tensors and difference quotients.

use super::*;
use crate::test_support::*;

const ALL: [NormActivation; 3] = [NormActivation::Identity, NormActivation::Tanh, NormActivation::Mish];

type Layer = fn(Tensor<2>, Tensor<1>, Tensor<1>, NormActivation) -> Tensor<2>;

/// The layer as a function of `[x, γ, β]`, with γ and β as one row.
fn of(layer: Layer, activation: NormActivation) -> impl Fn(&[Tensor<2>]) -> Tensor<2> {
    move |inputs| {
        let [x, gamma, beta] = [0, 1, 2].map(|i: usize| inputs[i].clone());
        layer(x, gamma.squeeze_dim(0), beta.squeeze_dim(0), activation)
    }
}

fn inputs(rows: usize, n: usize) -> [Tensor<2>; 3] {
    let x = normal::<2>([rows, n], 1).mul_scalar(3.0).add_scalar(0.7);
    [x, normal::<2>([1, n], 2), normal::<2>([1, n], 3)]
}

/// Value and gradients of the fused layer equal those of the reference, relative to the largest of each.
fn assert_equals_reference(inputs: &[Tensor<2>], activation: NormActivation, tolerance: f32) {
    let (y, grads) = value_and_gradients(inputs, of(layer_norm, activation));
    let (reference, reference_grads) = value_and_gradients(inputs, of(layer_norm_reference, activation));
    let pairs = std::iter::once((y, reference)).chain(grads.into_iter().zip(reference_grads));
    for (what, (a, b)) in ["value", "x", "gamma", "beta"].into_iter().zip(pairs) {
        assert!(values(a.clone()).iter().all(|v| v.is_finite()), "{activation:?}: {what} is not finite");
        let scale = b.clone().abs().max().into_scalar::<f32>().max(1e-3);
        let difference = max_difference(a, b) / scale;
        assert!(difference < tolerance, "{activation:?}: {what} differs by {difference} (relative)");
    }
}

#[test]
fn fused_layers_equal_the_reference_in_value_and_every_gradient() {
    for activation in ALL {
        // three chunks, the last one partial; and a single row
        assert_equals_reference(&inputs(150, 33), activation, 2e-6);
        assert_equals_reference(&inputs(1, 256), activation, 2e-6);
    }
}

#[test]
fn every_gradient_equals_central_differences() {
    let inputs = inputs(3, 7);
    for activation in ALL {
        let (_, grads) = value_and_gradients(&inputs, of(layer_norm, activation));
        let quotients = central_differences(&inputs, of(layer_norm, activation), 1e-2);
        for (what, (a, b)) in ["x", "gamma", "beta"].into_iter().zip(grads.into_iter().zip(quotients)) {
            let difference = max_difference(a, b);
            assert!(difference < 1e-3, "{activation:?}: {what} differs by {difference}");
        }
    }
}

#[test]
fn extreme_inputs_give_finite_values_and_gradients() {
    for activation in ALL {
        for size in [1e2, 1e4] {
            let [x, gamma, beta] = inputs(20, 64);
            let signs = x.clone().sign() * size;
            assert_equals_reference(&[signs, gamma.clone(), beta.clone()], activation, 1e-5);
            // activations far out on both sides, through γ and through β
            assert_equals_reference(&[x.clone(), gamma.clone() * size, beta.clone()], activation, 1e-5);
            assert_equals_reference(&[x, gamma.clone(), beta.clone() * size], activation, 1e-5);
            // no variance
            assert_equals_reference(
                &[Tensor::full([20, 64], size, &beta.device()), gamma, beta],
                activation,
                1e-5,
            );
        }
    }
}

#[test]
fn strided_views_are_handled() {
    let x = normal::<2>([40, 30], 1).transpose().slice([3..28, 7..31]);
    let [gamma, beta] = [2, 3].map(|seed| normal::<2>([50, 1], seed).transpose().narrow(1, 5, 24));
    for activation in ALL {
        // the gradient arrives transposed as well
        let turned = |layer| {
            let (y, grads) = value_and_gradients(
                &[x.clone(), gamma.clone(), beta.clone()],
                move |inputs: &[Tensor<2>]| of(layer, activation)(inputs).transpose(),
            );
            std::iter::once(y).chain(grads)
        };
        for (a, b) in turned(layer_norm as Layer).zip(turned(layer_norm_reference)) {
            assert!(max_difference(a, b) < 2e-5, "{activation:?}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for activation in ALL {
        assert_same_on_any_thread_count(|| value_and_gradients(&inputs(300, 33), of(layer_norm, activation)));
    }
}

#[test]
fn layers_end_in_their_activation() {
    let device = crate::device::cpu();
    let (x, gamma) = (Tensor::<2>::from_floats([[-1.0, 1.0]], &device), Tensor::<1>::ones([2], &device));
    let beta = Tensor::<1>::zeros([2], &device);
    // LayerNorm leaves ±1 as it is, up to ε
    let known = [[-1.0, 1.0], [-0.76159, 0.76159], [-0.30340, 0.86510]];
    for (activation, known) in ALL.into_iter().zip(known) {
        let y = values(layer_norm(x.clone(), gamma.clone(), beta.clone(), activation));
        assert!(y.iter().zip(known).all(|(a, b)| (a - b).abs() < 1e-4), "{activation:?}: {y:?}");
    }
}
