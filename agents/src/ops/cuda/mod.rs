//! The fused operations on an NVIDIA GPU: kernels of our own between burn's, on its tensors and its stream.

#[cfg(feature = "cuda")]
mod launch;
#[cfg(feature = "cuda")]
mod operations;
#[cfg(test)]
mod tests;

use super::dense::Activation;
use super::normalization::{LAYER_NORM_EPSILON, NormActivation};

const KERNELS: &str = include_str!("kernels.cu");

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Form {
    /// Numbers of a row.
    n: usize,
    /// By the kernels' own number.
    activation: usize,
    /// Numbers that SimNorm normalises together.
    group: usize,
    /// Steps of the recurrence.
    steps: usize,
}

impl Form {
    fn rows_of(n: usize) -> Self {
        Self { n, activation: 0, group: 1, steps: 1 }
    }

    /// What comes before the kernels.
    fn header(self) -> String {
        let Self { n, activation, group, steps } = self;
        let epsilon = format!("{LAYER_NORM_EPSILON:e}f");
        let all = [("N", n), ("ACTIVATION", activation), ("GROUP", group), ("STEPS", steps), ("BF16", 0)];
        let lines = all.map(|(name, value)| format!("#define {name} {value}\n"));
        format!("{}#define EPSILON {epsilon}\n", lines.concat())
    }
}

impl Activation {
    fn form(self, n: usize) -> Form {
        let activation = match self {
            Self::Identity => 0,
            Self::Elu => 1,
            Self::Tanh => 2,
        };
        Form { activation, ..Form::rows_of(n) }
    }
}

impl NormActivation {
    fn form(self, n: usize) -> Form {
        let activation = match self {
            Self::Identity => 0,
            Self::Tanh => 2,
            Self::Mish => 3,
        };
        Form { activation, ..Form::rows_of(n) }
    }
}
