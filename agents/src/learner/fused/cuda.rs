//! A program as a graph on an NVIDIA GPU.

use super::orders::{Kernel, Matrix, Program};
use super::{KERNELS, Runner, header};
use crate::cuda::{self, ARITHMETIC, CudaError, grid, pinned, pinned_mut};
use cudarc::driver::result::{memcpy_dtoh_async, memcpy_htod_async};
use cudarc::driver::sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED_BYTES;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{
    CudaContext, CudaGraph, CudaModule, CudaSlice, CudaStream, DevicePtr, PinnedHostSlice, PushKernelArg,
};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// An array of numbers on a GPU, and what updates them.
pub(super) struct Gpu {
    stream: Arc<CudaStream>,
    graph: CudaGraph,
    numbers: CudaSlice<f32>,
    input: PinnedHostSlice<f32>,
    output: PinnedHostSlice<f32>,
    /// What the graph reads.
    _orders: CudaSlice<i32>,
}

// SAFETY: a graph may not be used by two threads at once; whoever runs it has it alone.
unsafe impl Send for Gpu {}
// SAFETY: shared references only read numbers, on a stream that may be used by several threads.
unsafe impl Sync for Gpu {}

/// By device: compiling takes seconds.
static MODULES: LazyLock<Mutex<HashMap<usize, Arc<CudaModule>>>> = LazyLock::new(Default::default);

fn module(device: usize, context: &Arc<CudaContext>) -> Result<Arc<CudaModule>, CudaError> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(&device) {
        return Ok(module.clone());
    }
    let module = cuda::compile(context, format!("{}{ARITHMETIC}{KERNELS}", header()))?;
    modules.insert(device, module.clone());
    Ok(module)
}

/// Whether GPU number `device` can run programs.
pub(super) fn runs(device: usize) -> Result<bool, CudaError> {
    cuda::has_tensor_cores(&CudaContext::new(device)?)
}

impl Runner for Gpu {
    type Error = CudaError;
    type Place = usize;

    fn new(&device: &usize, program: &Program, input: usize, output: Matrix) -> Result<Self, CudaError> {
        let context = CudaContext::new(device)?;
        let stream = cuda::stream(&context)?;
        let module = module(device, &context)?;
        let function = |kernel: Kernel| {
            let function = module.load_function(kernel.entry().0)?;
            function.set_attribute(SHARED_BYTES, kernel.shared() as i32)?;
            Ok::<_, CudaError>(function)
        };
        let functions = Kernel::ALL.into_iter().map(function).collect::<Result<Vec<_>, _>>()?;
        // SAFETY: written before they are read.
        let (mut from, mut to) =
            unsafe { (context.alloc_pinned::<f32>(input)?, context.alloc_pinned::<f32>(output.numbers())?) };
        let numbers = stream.alloc_zeros::<f32>(program.numbers)?;
        let orders = stream.clone_htod(&program.orders)?;
        let (at, told) = (numbers.device_ptr(&stream).0, orders.device_ptr(&stream).0);
        // asking for these waits for the stream, which it may not while it captures
        let (source, target) = (pinned_mut(&mut from)?, pinned_mut(&mut to)?);
        stream.synchronize()?;
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let captured = (|| {
            // SAFETY: both ends live as long as the graph, which is replayed only while nothing else uses them.
            unsafe { memcpy_htod_async(at, &*source, stream.cu_stream())? };
            for launch in &program.launches {
                let told = told + 4 * launch.orders as u64;
                let threads = launch.kernel.entry().1 as usize;
                let config = grid((launch.blocks as usize, 1, 1), threads, launch.kernel.shared());
                let mut call = stream.launch_builder(&functions[launch.kernel as usize]);
                call.arg(&at).arg(&told);
                // SAFETY: the two pointers that all kernels take; orders stay inside the array.
                unsafe { call.launch(config)? };
            }
            // SAFETY: as above.
            unsafe { memcpy_dtoh_async(target, at + 4 * output.at as u64, stream.cu_stream())? };
            Ok::<(), CudaError>(())
        })();
        let graph =
            stream.end_capture(CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
        captured?;
        let graph = graph?.expect("the stream was capturing");
        Ok(Self { graph, numbers, input: from, output: to, _orders: orders, stream })
    }

    fn write(&mut self, at: usize, numbers: &[f32]) -> Result<(), CudaError> {
        self.stream.memcpy_htod(numbers, &mut self.numbers.slice_mut(at..at + numbers.len()))?;
        Ok(self.stream.synchronize()?)
    }

    fn read(&self, at: usize, count: usize) -> Result<Vec<f32>, CudaError> {
        let numbers = self.stream.clone_dtoh(&self.numbers.slice(at..at + count))?;
        self.stream.synchronize()?;
        Ok(numbers)
    }

    fn run(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<Vec<f32>, CudaError> {
        fill(pinned_mut(&mut self.input)?);
        self.graph.launch()?;
        self.stream.synchronize()?;
        Ok(pinned(&self.output)?.to_vec())
    }
}
