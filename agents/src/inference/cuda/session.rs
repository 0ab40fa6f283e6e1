//! Plans of one shape: their buffers, and their kernels as one graph.

use super::program::Program;
use super::shape::{Bases, Plan, Shape, Turn};
use super::sizes::{Blocks, Tiles};
use crate::cuda::{self, CudaError, grid, pinned, pinned_mut};
use cudarc::driver::result::{memcpy_dtoh_async, memcpy_htod_async};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{
    CudaFunction, CudaGraph, CudaSlice, CudaStream, DevicePtr, DeviceRepr, PinnedHostSlice, PushKernelArg,
};

// SAFETY: plain numbers in the order and with the sizes of the C struct.
unsafe impl DeviceRepr for Plan {}

/// Buffers and graph.
pub(super) struct Session {
    graph: CudaGraph,
    input: PinnedHostSlice<f32>,
    output: PinnedHostSlice<f32>,
    /// What the graph reads and writes.
    _buffers: [CudaSlice<u32>; 3],
}

// SAFETY: a graph may not be used by two threads at once; sessions belong to a program behind a lock.
unsafe impl Send for Session {}

impl Session {
    pub fn new(program: &mut Program, shape: Shape) -> Result<Self, CudaError> {
        let (stream, sizes) = (program.stream.clone(), program.sizes);
        let (a, e) = (sizes.action, shape.environments);
        let inputs = shape.inputs(sizes.observation, a);
        let segments = shape.segments(a);
        let on_host = if shape.policy_std.is_some() { inputs.noise } else { inputs.end };
        // SAFETY: written before it is read, by whoever fills the input and by the graph.
        let (mut input, mut output) = unsafe {
            (
                stream.context().alloc_pinned::<f32>(on_host)?,
                stream.context().alloc_pinned::<f32>(e * shape.decision(a))?,
            )
        };
        let device_input = stream.alloc_zeros::<u32>(inputs.end)?;
        let table: Vec<u32> = segments.iter().flatten().map(|n| *n as u32).collect();
        let table = stream.clone_htod(&table)?;
        let work = stream.alloc_zeros::<u32>(shape.work_len(sizes))?;
        let base = |buffer: &CudaSlice<u32>| buffer.device_ptr(&stream).0;
        let [weights, vectors] = program.addresses();
        let bases = Bases { weights, vectors, input: base(&device_input), work: base(&work) };
        let (plan, out) = (shape.plan(sizes, bases), shape.out(sizes, bases));
        let turns = shape.turns(sizes, Blocks::Suited, program.machine);
        let kernels = turns.iter().map(|turn| (turn.kernel, turn.tiles));
        program.prepare(&kernels.chain([("draw", Tiles::ONE)]).collect())?;
        let draw = program.kernel("draw", Tiles::ONE)?;
        let with_kernel = |turn: Turn| Ok((program.kernel(turn.kernel, turn.tiles)?, turn));
        let turns: Vec<_> = turns.into_iter().map(with_kernel).collect::<Result<_, CudaError>>()?;
        // asking for these waits for the stream, which it may not while it captures
        let (table_at, source, target) = (base(&table), pinned_mut(&mut input)?, pinned_mut(&mut output)?);
        stream.synchronize()?;
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let launched = (|| {
            // SAFETY: both ends live as long as the graph, which is replayed only while nothing else uses them.
            unsafe { memcpy_htod_async(bases.input, &*source, stream.cu_stream())? };
            if let Some(bits) = shape.policy_std {
                let longest = segments.iter().map(|s| s[1] as usize).max().unwrap_or(1);
                let at = |number: usize| bases.input + 4 * number as u64;
                let (seeds, std, first) = (at(inputs.seeds), f32::from_bits(bits), at(inputs.noise));
                let blocks = longest.div_ceil(4 * 256).clamp(1, 1024);
                let config = grid((blocks, segments.len(), e), 256, 0);
                let mut launch = stream.launch_builder(&draw);
                launch.arg(&seeds).arg(&table_at).arg(&std).arg(&first);
                // SAFETY: the arguments that `draw` declares; segments lie inside the input.
                unsafe { launch.launch(config)? };
            }
            turns.iter().try_for_each(|(function, turn)| launch(&stream, function, turn, &plan))?;
            // SAFETY: as above.
            unsafe { memcpy_dtoh_async(target, out, stream.cu_stream())? };
            Ok::<(), CudaError>(())
        })();
        let graph =
            stream.end_capture(CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH);
        launched?;
        let graph = graph?.expect("the stream was capturing");
        Ok(Self { graph, input, output, _buffers: [device_input, work, table] })
    }

    /// A plan, whose input `fill` writes: its parts up to the noise, and the noise if it is drawn on the host. Decisions
    /// `[E, decision]`.
    pub fn run(&mut self, program: &Program, fill: impl FnOnce(&mut [f32])) -> Result<&[f32], CudaError> {
        fill(pinned_mut(&mut self.input)?);
        self.graph.launch()?;
        program.stream.synchronize()?;
        pinned(&self.output)
    }
}

fn launch(stream: &CudaStream, function: &CudaFunction, turn: &Turn, plan: &Plan) -> Result<(), CudaError> {
    let numbers = turn.arguments.iter().map(|argument| (&raw const *argument).cast_mut().cast());
    let mut arguments: Vec<_> =
        std::iter::once((&raw const *plan).cast_mut().cast()).chain(numbers).collect();
    let config = grid((turn.blocks, 1, 1), turn.threads, turn.shared);
    // SAFETY: the arguments that the kernel declares, and buffers of the sizes that it goes over.
    unsafe { cuda::launch(stream, function, config, turn.behind(), &mut arguments) }
}
