//! What kernels of our own need of an NVIDIA GPU, and of a CPU in tests.

#[cfg(feature = "cuda")]
mod gpu;
#[cfg(test)]
pub(crate) mod host;
#[cfg(test)]
mod nvrtc;

#[cfg(feature = "cuda")]
pub(crate) use gpu::{
    Behind, CudaError, compile, grid, has_clusters, has_tensor_cores, launch, pinned, pinned_mut, stream,
};

/// The numbers of kernels, which come before them.
pub(crate) const ARITHMETIC: &str = include_str!("arithmetic.cu");
