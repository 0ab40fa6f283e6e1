//! Our fused operations. Each has a plain-tensor reference (used on devices without a kernel, and by the tests)
//! and a hand-written backward pass checked against it.

mod adam;
mod convolution;
mod dense;
mod flex;
mod linear_rollout;
mod linear_rollout_flex;
mod normalization;
mod recurrence;
#[cfg(feature = "cuda")]
mod recurrence_cuda;
pub(crate) mod simd;
mod simnorm;

pub use adam::{AdamStep, adam_step};
pub use dense::{Activation, dense};
pub(crate) use flex::contiguous_flex;
pub use linear_rollout::{LinearRollout, linear_rollout_readout};
pub use normalization::{LAYER_NORM_EPSILON, layer_norm_mish, layer_norm_tanh};
pub use recurrence::{Unroll, diagonal_recurrence, diagonal_recurrence_reference};
pub use simnorm::sim_norm;
