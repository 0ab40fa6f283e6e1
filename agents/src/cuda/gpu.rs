//! The device's side: a compiler, a stream, memory that both sides see.

use cudarc::driver::sys::{
    CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig, cuLaunchKernelEx,
};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaStream, DriverError, LaunchConfig, PinnedHostSlice,
};
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use std::ffi::c_void;
use std::sync::Arc;
use thiserror::Error;

/// Why something does not run on this GPU.
#[derive(Debug, Error)]
pub(crate) enum CudaError {
    #[error("CUDA: {0}")]
    Driver(#[from] DriverError),
    #[error("our kernels do not compile: {0}")]
    Compile(String),
}

/// A stream on which everything of one user happens, in order.
pub(crate) fn stream(context: &Arc<CudaContext>) -> Result<Arc<CudaStream>, CudaError> {
    // SAFETY: buffers are used on the stream they were made on, and on no other.
    unsafe { context.disable_event_tracking() };
    Ok(context.new_stream()?)
}

/// Whether its tensor cores know TF32 and bfloat16: those of GPUs from Ampere on.
pub(crate) fn has_tensor_cores(context: &Arc<CudaContext>) -> Result<bool, CudaError> {
    Ok(context.compute_capability()?.0 >= 8)
}

/// Whether its blocks can see each other's shared memory: those of GPUs from Hopper on.
pub(crate) fn has_clusters(context: &Arc<CudaContext>) -> Result<bool, CudaError> {
    Ok(context.compute_capability()?.0 >= 9)
}

/// Compiled for the GPU of this context: takes seconds.
pub(crate) fn compile(context: &Arc<CudaContext>, source: String) -> Result<Arc<CudaModule>, CudaError> {
    let (major, minor) = context.compute_capability()?;
    let architecture = format!("--gpu-architecture=compute_{major}{minor}");
    // what is rounded where does not depend on what else a kernel does
    let options = vec!["--std=c++17".into(), "--fmad=false".into(), architecture];
    let options = CompileOptions { options, ..Default::default() };
    let ptx = compile_ptx_with_opts(source, options).map_err(|e| CudaError::Compile(e.to_string()))?;
    Ok(context.load_module(ptx)?)
}

/// A grid of blocks with so many threads and bytes of shared memory.
pub(crate) fn grid((x, y, z): (usize, usize, usize), threads: usize, shared: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (x as u32, y as u32, z as u32),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: shared as u32,
    }
}

/// When a kernel's blocks may be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Once everything in front of it has ended.
    Everything,
    /// While the kernel in front of it ends, for which it waits itself: see `begin` in `arithmetic.cu`.
    Kernel,
}

/// Launches a kernel.
///
/// # Safety
/// The kernel takes what `arguments` point to, and stays inside what they name.
pub(crate) unsafe fn launch(
    stream: &CudaStream,
    function: &CudaFunction,
    config: LaunchConfig,
    behind: Behind,
    arguments: &mut [*mut c_void],
) -> Result<(), CudaError> {
    let hopper = stream.context().compute_capability()?.0 >= 9;
    let mut early = CUlaunchAttribute {
        id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: [0; 4],
        value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
    };
    let config = CUlaunchConfig {
        gridDimX: config.grid_dim.0,
        gridDimY: config.grid_dim.1,
        gridDimZ: config.grid_dim.2,
        blockDimX: config.block_dim.0,
        blockDimY: config.block_dim.1,
        blockDimZ: config.block_dim.2,
        sharedMemBytes: config.shared_mem_bytes,
        hStream: stream.cu_stream(),
        attrs: &raw mut early,
        numAttrs: u32::from(hopper && behind == Behind::Kernel),
    };
    // SAFETY: what the caller promises; the driver reads the rest before it returns.
    let launched = unsafe {
        cuLaunchKernelEx(&config, function.cu_function(), arguments.as_mut_ptr(), std::ptr::null_mut())
    };
    Ok(launched.result()?)
}

/// Numbers that the GPU copies from and to, once it has been waited for.
pub(crate) fn pinned(pinned: &PinnedHostSlice<f32>) -> Result<&[f32], CudaError> {
    // SAFETY: numbers that were allocated; whoever uses them has waited for the stream.
    Ok(unsafe { std::slice::from_raw_parts(pinned.as_ptr()?, pinned.len()) })
}

/// The same, to be written.
pub(crate) fn pinned_mut(pinned: &mut PinnedHostSlice<f32>) -> Result<&mut [f32], CudaError> {
    let len = pinned.len();
    // SAFETY: as above.
    Ok(unsafe { std::slice::from_raw_parts_mut(pinned.as_mut_ptr()?, len) })
}
