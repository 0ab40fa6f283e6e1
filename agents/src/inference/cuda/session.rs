//! Plans of one shape: their buffers, and their kernels as one graph.

use super::layout::Sizes;
use super::program::Program;
use crate::config::PlannerKind;
use crate::cuda::{CudaError, grid, host, host_mut};
use cudarc::driver::result::{memcpy_dtoh_async, memcpy_htod_async};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{
    CudaFunction, CudaGraph, CudaSlice, DevicePtr, DeviceRepr, PinnedHostSlice, PushKernelArg,
};

/// What makes two plans the same work on other numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub kind: PlannerKind,
    /// E
    pub environments: usize,
    /// N
    pub sampled: usize,
    /// P
    pub proposed: usize,
    /// H
    pub horizon: usize,
    /// K
    pub elites: usize,
    pub iterations: usize,
    /// Last latents of a sequence that are valued.
    pub depths: usize,
    pub explores: bool,
    /// The standard deviation of the policy's noise, as bits, if noise is drawn on the device.
    pub policy_std: Option<u32>,
}

/// Where the parts of the input lie, in numbers; the noise comes last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs {
    pub observations: usize,
    pub warm: usize,
    pub of_rewards: usize,
    pub of_values: usize,
    pub settings: usize,
    pub seeds: usize,
    pub noise: usize,
    pub end: usize,
}

/// See the kinds of a `Segment` in `kernels/noise.cu`.
const NORMAL: i32 = 0;
const POLICY_NOISE: i32 = 1;
const GUMBEL: i32 = 2;

impl Shape {
    fn candidates(&self) -> usize {
        self.sampled + self.proposed
    }

    /// Numbers of the largest buffer.
    pub fn largest(&self, sizes: Sizes) -> usize {
        let steps = self.environments * self.candidates() * self.horizon;
        let noise = self.inputs(sizes.observation, sizes.action).end;
        noise.max(steps * sizes.latent_words().max(sizes.action))
    }

    /// Numbers of a decision: action, mean, mean score and policy share of the elites, bad scores.
    pub fn decision(&self, actions: usize) -> usize {
        actions + self.horizon * actions + 3
    }

    pub fn inputs(&self, observation: usize, actions: usize) -> Inputs {
        let (e, h) = (self.environments, self.horizon);
        let mut end = 0;
        let mut next = |count: usize| {
            end += count;
            end - count
        };
        Inputs {
            observations: next(e * observation),
            warm: next(e * h * actions),
            of_rewards: next(h),
            of_values: next(h),
            settings: next(4),
            seeds: next(2 * e),
            noise: next(self.segments(actions).iter().map(|s| e * s[1] as usize).sum()),
            end: next(0),
        }
    }

    /// Where the noise of each purpose begins, how much of it an environment has, and its kind.
    fn segments(&self, actions: usize) -> Vec<[i32; 3]> {
        let row = self.horizon * actions;
        let samples = std::iter::repeat_n((self.sampled * row, NORMAL), self.iterations);
        let tails = std::iter::repeat_n((self.sampled * actions, POLICY_NOISE), self.iterations);
        let others = [
            (self.proposed * row, POLICY_NOISE),
            (self.proposed * actions, POLICY_NOISE),
            (self.elites, GUMBEL),
            (actions, NORMAL),
        ];
        let mut from = 0;
        let mut place = |(count, kind): (usize, i32)| {
            let at = from;
            from += self.environments * count;
            [at as i32, count as i32, kind]
        };
        samples.chain(tails).chain(others).map(&mut place).collect()
    }

    /// `kind` in `kernels/refit.cu`.
    fn refit(&self) -> i32 {
        match self.kind {
            PlannerKind::Mppi2 => 1,
            PlannerKind::Cem => 2,
            _ => 0,
        }
    }
}

/// `Plan` in `kernels/plan.cu`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Plan {
    weights: u64,
    vectors: u64,
    observations: u64,
    warm: u64,
    of_rewards: u64,
    of_values: u64,
    settings: u64,
    samples: u64,
    tails: u64,
    policy_steps: u64,
    policy_tails: u64,
    gumbel: u64,
    exploration: u64,
    z0: u64,
    mean: u64,
    std: u64,
    actions: u64,
    latents: u64,
    rewards: u64,
    values: u64,
    scores: u64,
    ranks: u64,
    weightings: u64,
    out: u64,
    sizes: [i32; 6],
}

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
        let (a, o, latent) = (sizes.action, sizes.observation, sizes.latent);
        let (e, h, c) = (shape.environments, shape.horizon, shape.candidates());
        let inputs = shape.inputs(o, a);
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
        let mut work = 0;
        let mut room = |count: usize| {
            work += count.next_multiple_of(4);
            work - count.next_multiple_of(4)
        };
        let places = [
            room(e * latent),
            room(e * h * a),
            room(e * h * a),
            room(e * c * h * a),
            room(e * c * h * sizes.latent_words()),
            room(e * c * h),
            room(e * c * h),
            room(e * c),
            room(e * c),
            room(e * shape.elites),
            room(e * shape.decision(a)),
        ];
        let work = stream.alloc_zeros::<u32>(work)?;
        let base = |buffer: &CudaSlice<u32>| buffer.device_ptr(&stream).0;
        let (from, to) = (base(&device_input), base(&work));
        let at = |number: usize| from + 4 * number as u64;
        let noise = |segment: usize| at(inputs.noise + segments[segment][0] as usize);
        let [z0, mean, std, actions, latents, rewards, values, scores, ranks, weightings, out] =
            places.map(|place| to + 4 * place as u64);
        let [weights, vectors] = program.addresses();
        let i = shape.iterations;
        let plan = Plan {
            weights,
            vectors,
            observations: at(inputs.observations),
            warm: at(inputs.warm),
            of_rewards: at(inputs.of_rewards),
            of_values: at(inputs.of_values),
            settings: at(inputs.settings),
            samples: noise(0),
            tails: noise(i),
            policy_steps: noise(2 * i),
            policy_tails: noise(2 * i + 1),
            gumbel: noise(2 * i + 2),
            exploration: noise(2 * i + 3),
            z0,
            mean,
            std,
            actions,
            latents,
            rewards,
            values,
            scores,
            ranks,
            weightings,
            out,
            sizes: [e, shape.sampled, shape.proposed, h, shape.elites, shape.depths].map(|n| n as i32),
        };
        let kernels = Kernels::new(program, &shape)?;
        // asking for these waits for the stream, which it may not while it captures
        let (table_at, source, target) = (base(&table), host_mut(&mut input)?, host_mut(&mut output)?);
        stream.synchronize()?;
        stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)?;
        let launched = (|| {
            // SAFETY: both ends live as long as the graph, which is replayed only while nothing else uses them.
            unsafe { memcpy_htod_async(from, &*source, stream.cu_stream())? };
            if let Some(bits) = shape.policy_std {
                let longest = segments.iter().map(|s| s[1] as usize).max().unwrap_or(1);
                let seeds = at(inputs.seeds);
                let (std, first) = (f32::from_bits(bits), at(inputs.noise));
                let blocks = longest.div_ceil(4 * 256).clamp(1, 1024);
                let config = grid((blocks, segments.len(), e), 256, 0);
                let mut launch = stream.launch_builder(&kernels.draw);
                launch.arg(&seeds).arg(&table_at).arg(&std).arg(&first);
                // SAFETY: the arguments that `draw` declares; segments lie inside the input.
                unsafe { launch.launch(config)? };
            }
            kernels.launch(program, &shape, &plan)?;
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

    /// Where a plan's input is written: its parts up to the noise, and the noise if it is drawn on the host.
    pub fn input(&mut self) -> Result<&mut [f32], CudaError> {
        host_mut(&mut self.input)
    }

    /// Plans: `[E, decision]`.
    pub fn run(&mut self, program: &Program) -> Result<&[f32], CudaError> {
        self.graph.launch()?;
        program.stream.synchronize()?;
        host(&self.output)
    }
}

/// The kernels of a plan, with tiles as its numbers of rows want them.
struct Kernels {
    draw: CudaFunction,
    propose: CudaFunction,
    refit: CudaFunction,
    /// Of the first iteration, which scores the policy's sequences as well, and of the others.
    imagine: [(CudaFunction, usize); 2],
    judge: [(CudaFunction, usize); 2],
}

impl Kernels {
    fn new(program: &mut Program, shape: &Shape) -> Result<Self, CudaError> {
        let mut of_rows = |name: &'static str, rows: usize| {
            let tiles = program.tiles(rows);
            Ok::<_, CudaError>((program.function(name, tiles)?, tiles))
        };
        let rows = [shape.environments * shape.candidates(), shape.environments * shape.sampled];
        let judged = rows.map(|rows| rows * (shape.horizon + shape.depths));
        Ok(Self {
            imagine: [of_rows("imagine", rows[0])?, of_rows("imagine", rows[1])?],
            judge: [of_rows("judge", judged[0])?, of_rows("judge", judged[1])?],
            draw: program.function("draw", 1)?,
            propose: program.function("propose", 1)?,
            refit: program.function("refit", 1)?,
        })
    }

    fn launch(&self, program: &Program, shape: &Shape, plan: &Plan) -> Result<(), CudaError> {
        let (stream, sizes) = (&program.stream, program.sizes);
        let threads = 32 * sizes.warps;
        let e = shape.environments;
        let propose = grid(((e * shape.proposed.max(1)).div_ceil(16), 1, 1), threads, sizes.shared_bytes(1));
        // SAFETY, here and below: the arguments that the kernel declares, and buffers of the sizes that it goes over.
        unsafe { stream.launch_builder(&self.propose).arg(plan).launch(propose)? };
        for i in 0..shape.iterations {
            let later = usize::from(i > 0);
            let rows = e * if i == 0 { shape.candidates() } else { shape.sampled };
            let iteration = i as i32;
            let (imagine, tiles) = &self.imagine[later];
            let blocks = grid((rows.div_ceil(16 * tiles), 1, 1), threads, sizes.shared_bytes(*tiles));
            unsafe { stream.launch_builder(imagine).arg(plan).arg(&iteration).launch(blocks)? };
            let (judge, tiles) = &self.judge[later];
            let [rewards, values] = [shape.horizon, shape.depths].map(|n| (rows * n).div_ceil(16 * tiles));
            let blocks = grid((rewards + values, 1, 1), threads, sizes.shared_bytes(*tiles));
            let reward_blocks = rewards as i32;
            unsafe {
                stream.launch_builder(judge).arg(plan).arg(&iteration).arg(&reward_blocks).launch(blocks)?
            };
            let shared = 8 * shape.elites.next_power_of_two() + 4 * super::REFIT_THREADS;
            let (kind, last, explores) =
                (shape.refit(), i32::from(i + 1 == shape.iterations), i32::from(shape.explores));
            let mut refit = stream.launch_builder(&self.refit);
            refit.arg(plan).arg(&iteration).arg(&kind).arg(&last).arg(&explores);
            unsafe { refit.launch(grid((e, 1, 1), super::REFIT_THREADS, shared))? };
        }
        Ok(())
    }
}
