//! Our fused operations. Each has a plain-tensor reference (used on devices without a kernel, and by the tests)
//! and a hand-written backward pass checked against it.

mod adam;
mod aligned;
mod convolution;
#[cfg(any(test, feature = "cuda"))]
mod cuda;
mod dense;
mod flex;
mod linear_rollout;
mod linear_rollout_flex;
mod matrix;
mod normalization;
pub(crate) mod product;
mod recurrence;
pub(crate) mod simd;
mod simnorm;
mod two_hot;

pub(crate) use adam::adam_slice;
pub use adam::{AdamStep, adam_step};
pub(crate) use aligned::{Aligned, LINE};
pub use dense::{Activation, dense};
pub(crate) use flex::contiguous_flex;
pub use linear_rollout::{LinearRollout, linear_rollout_readout};
pub use normalization::{LAYER_NORM_EPSILON, NormActivation, layer_norm};
pub use recurrence::{Unroll, diagonal_recurrence, diagonal_recurrence_reference};
pub use simnorm::sim_norm;
pub(crate) use simnorm::softmax_in_groups;
pub use two_hot::{two_hot, two_hot_cross_entropy};
