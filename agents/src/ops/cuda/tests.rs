//! The kernels' own text on a CPU, against the operations of the device `flex`.

use super::*;
use crate::cuda::host::{function, on_host};
use crate::ops::contiguous_flex;
use crate::ops::dense::DenseOps;
use crate::ops::normalization::NormOps;
use crate::ops::recurrence::{Method, RecurrenceOps};
use crate::ops::simnorm::SimNormOps;
use crate::ops::two_hot::TwoHotOps;
use crate::test_support::normal;
use burn::backend::Flex;
use burn::prelude::*;
use burn_flex::FlexTensor;
use std::ffi::c_void;

/// The kernels with their numbers of arguments.
const ALL: [(&str, usize); 10] = [
    ("activate", 3),
    ("activate_backward", 3),
    ("normalise", 4),
    ("normalise_backward", 8),
    ("sim_norm", 2),
    ("sim_norm_backward", 3),
    ("two_hot_loss", 3),
    ("two_hot_loss_backward", 4),
    ("recurrence", 4),
    ("recurrence_backward", 7),
];

/// Runs a kernel by its place in [`ALL`].
type Run = unsafe extern "C" fn(u32, u32, u32, *const *mut f32);

/// Kernels of one form.
struct OnCpu(Run);

impl OnCpu {
    fn new(form: Form) -> Self {
        let call = |(i, (name, arguments)): (usize, &(&str, usize))| {
            let arguments: Vec<String> = (0..*arguments).map(|i| format!("p[{i}]")).collect();
            let arguments = arguments.join(", ");
            format!(
                "if (kernel == {i}) host::launch([=] {{ {name}({arguments}); }}, {{rows, 1, 1}}, threads);\n"
            )
        };
        let calls: String = ALL.iter().enumerate().map(call).collect();
        let head = "extern \"C\" void run(unsigned kernel, unsigned rows, unsigned threads, float **p) {\n";
        let text = [&on_host(&form.header(), KERNELS), head, &calls, "}\n"].concat();
        // SAFETY: the function above has this type.
        Self(unsafe { std::mem::transmute::<*mut c_void, Run>(function(&text, c"run")) })
    }

    /// Runs one on so many rows: its inputs, then outputs of so many numbers.
    fn run<const O: usize>(
        &self,
        name: &str,
        [rows, threads]: [usize; 2],
        inputs: &[&FlexTensor],
        outputs: [usize; O],
    ) -> [Vec<f32>; O] {
        let kernel = ALL.iter().position(|kernel| *kernel == (name, inputs.len() + O)).expect("a kernel");
        // what is not written stays NaN
        let mut out = outputs.map(|len| vec![f32::NAN; len]);
        let read = inputs.iter().map(|t| t.storage::<f32>().as_ptr().cast_mut());
        let pointers: Vec<*mut f32> = read.chain(out.iter_mut().map(|out| out.as_mut_ptr())).collect();
        // SAFETY: kernels write to their last arguments only, of the sizes that they go over.
        unsafe { (self.0)(kernel as u32, rows as u32, threads as u32, pointers.as_ptr()) };
        out
    }
}

fn random<const D: usize>(shape: [usize; D], seed: u64) -> FlexTensor {
    contiguous_flex(normal(shape, seed))
}

fn near(what: &str, found: &[f32], known: &FlexTensor, tolerance: f32) {
    let known = &known.storage::<f32>()[..known.layout().shape().num_elements()];
    assert_eq!(found.len(), known.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(known).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{what}: {a} instead of {b} at {i}");
    }
}

/// Over the rows of a matrix.
fn summed(rows: &[f32], n: usize) -> Vec<f32> {
    let add = |sum: Vec<f32>, row: &[f32]| sum.iter().zip(row).map(|(s, x)| s + x).collect();
    rows.chunks_exact(n).fold(vec![0.0; n], add)
}

#[test]
fn dense_layers_are_those_of_the_cpu() {
    let [rows, k] = [5, 7];
    for (n, activation) in [(70, Activation::Elu), (3, Activation::Tanh), (1, Activation::Identity)] {
        let (x, w, b, g) = (random([rows, k], 1), random([k, n], 2), random([n], 3), random([rows, n], 4));
        let layer = |b, activation| {
            let precision = crate::config::Precision::F32;
            <Flex as DenseOps>::dense(x.clone(), w.clone(), b, activation, precision)
        };
        let product =
            layer(contiguous_flex(Tensor::<1>::zeros([n], &crate::device::cpu())), Activation::Identity);
        let (kernels, launch) = (OnCpu::new(activation.form(n)), [rows, 32]);
        let y = layer(b.clone(), activation);
        let [found] = kernels.run("activate", launch, &[&product, &b], [rows * n]);
        near("y", &found, &y, 1e-6);
        let [affine] = kernels.run("activate_backward", launch, &[&y, &g], [rows * n]);
        let known = Flex::dense_backward(y, g, activation);
        near("∂L/∂(x·W + b)", &affine, &known.affine, 1e-6);
        near("∂L/∂b", &summed(&affine, n), &known.bias, 1e-5);
    }
}

#[test]
fn layer_norms_are_those_of_the_cpu() {
    for (rows, n, activation) in
        [(6, 70, NormActivation::Mish), (4, 32, NormActivation::Tanh), (3, 5, NormActivation::Identity)]
    {
        let x = contiguous_flex(normal::<2>([rows, n], 1) * 3.0 + 1.0);
        let (gamma, beta, g) = (random([n], 2), random([n], 3), random([rows, n], 4));
        let y = Flex::normalise(x.clone(), gamma.clone(), beta.clone(), activation);
        let (kernels, launch) = (OnCpu::new(activation.form(n)), [rows, 32]);
        let [found] = kernels.run("normalise", launch, &[&x, &gamma, &beta], [rows * n]);
        near("y", &found, &y, 3e-6);
        let inputs = [&x, &gamma, &beta, &y, &g];
        let [to_x, to_gamma, to_beta] = kernels.run("normalise_backward", launch, &inputs, [rows * n; 3]);
        let known = Flex::normalise_backward(x, gamma, beta, y, g, activation);
        near("∂L/∂x", &to_x, &known.x, 3e-6);
        near("∂L/∂γ", &summed(&to_gamma, n), &known.gamma, 1e-5);
        near("∂L/∂β", &summed(&to_beta, n), &known.beta, 1e-5);
    }
}

/// Far from zero Mish is v or nothing; a NaN stays one.
#[test]
fn mish_of_extreme_numbers_is_finite() {
    let numbers = [-1e30, -100.0, -25.0, 0.0, 25.0, 100.0, 1e30, f32::NAN];
    let n = numbers.len();
    let tensor = |numbers: &[f32]| contiguous_flex(Tensor::<1>::from_floats(numbers, &crate::device::cpu()));
    let kernels = OnCpu::new(Form { activation: 3, ..Form::rows_of(n) });
    let [y] = kernels.run("activate", [1, 32], &[&tensor(&numbers), &tensor(&[0.0; 8])], [n]);
    for (v, y) in numbers.iter().zip(&y).filter(|(v, _)| !v.is_nan()) {
        assert!((y - v.max(0.0)).abs() <= 1e-6 * v.abs().max(1.0), "mish({v}) = {y}");
    }
    assert!(y[7].is_nan());
}

#[test]
fn simnorm_is_that_of_the_cpu() {
    for (rows, n, group) in [(3, 48, 8), (2, 33, 11), (4, 5, 1)] {
        let (x, g) = (contiguous_flex(normal::<2>([rows, n], 1) * 4.0), random([rows, n], 2));
        let kernels = OnCpu::new(Form { group, ..Form::rows_of(n) });
        let y = Flex::sim_norm(x.clone(), group);
        let [found] = kernels.run("sim_norm", [rows, 32], &[&x], [rows * n]);
        near("y", &found, &y, 1e-6);
        let [found] = kernels.run("sim_norm_backward", [rows, 32], &[&y, &g], [rows * n]);
        near("∂L/∂x", &found, &Flex::sim_norm_backward(y, g, group), 1e-6);
    }
}

#[test]
fn cross_entropies_are_those_of_the_cpu() {
    for n in [2, 33, 101] {
        let positions = [0.0, (n - 1) as f32, 0.3, (n - 1) as f32 - 0.25, 1.0];
        let rows = positions.len();
        let x = contiguous_flex(normal::<2>([rows, n], 1) * 5.0 + 100.0);
        let position = Tensor::<1>::from_floats(positions, &crate::device::cpu()).unsqueeze_dim::<2>(1);
        let (position, g) = (contiguous_flex(position), random([rows, 1], 2));
        let (kernels, launch) = (OnCpu::new(Form::rows_of(n)), [rows, 32]);
        let [found] = kernels.run("two_hot_loss", launch, &[&x, &position], [rows]);
        near("loss", &found, &Flex::two_hot_loss(x.clone(), position.clone()), 2e-6);
        let [found] = kernels.run("two_hot_loss_backward", launch, &[&x, &position, &g], [rows * n]);
        near("∂L/∂logits", &found, &Flex::two_hot_loss_backward(x, position, g), 1e-6);
    }
}

#[test]
fn recurrences_are_those_of_the_cpu() {
    let method = Method::Recurrence;
    for (rows, n, steps) in [(3, 80, 7), (2, 2, 1)] {
        let lambda = contiguous_flex(normal::<1>([n], 1) * 0.5);
        let (z0, c, g) = (random([rows, n], 2), random([rows, steps, n], 3), random([rows, steps, n], 4));
        let (kernels, launch) = (OnCpu::new(Form { steps, ..Form::rows_of(n) }), [rows, 64]);
        let z = Flex::recurrence(lambda.clone(), z0.clone(), c.clone(), method);
        let [found] = kernels.run("recurrence", launch, &[&lambda, &z0, &c], [rows * steps * n]);
        near("z", &found, &z, 1e-5);
        let sizes = [rows * steps * n, rows * n, rows * n];
        let [to_c, to_z0, to_lambda] =
            kernels.run("recurrence_backward", launch, &[&lambda, &z0, &z, &g], sizes);
        let known = Flex::recurrence_backward(lambda, z0, z, g, method);
        near("∂L/∂c", &to_c, &known.c, 1e-5);
        near("∂L/∂z_0", &to_z0, &known.z0, 1e-5);
        near("∂L/∂λ̄", &summed(&to_lambda, n), &known.lambda, 1e-5);
    }
}
