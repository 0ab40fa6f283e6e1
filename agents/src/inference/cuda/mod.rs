//! Planning on an NVIDIA GPU: a whole plan as one graph of our own kernels, replayed for every decision.
//!
//! Burn's tensors would need some five hundred kernels for a plan, each waited for longer than it works. Here inputs go up
//! in one copy, three or four kernels an iteration do the rest, and one copy brings the decisions back. What has no kernels here
//! (the second recipe, predicted terminations, remainders, gates shared by all candidates, other planners) plans with plain
//! tensors, against which these kernels are tested.

mod layout;
mod parts;
#[cfg(feature = "cuda")]
mod program;
#[cfg(feature = "cuda")]
mod session;
mod shape;
mod sizes;
#[cfg(test)]
mod tests;

pub(crate) use parts::{CriticParts, Gate, KoopmanParts, Linear, MotionParts, Parts};

use crate::config::{NoiseSource, PlannerConfig};
#[cfg(feature = "cuda")]
use crate::config::{PlannerKind, Precision};
#[cfg(feature = "cuda")]
use crate::cuda::CudaError;
use crate::model::Returns;
use crate::planner::{Budget, Mode, Noise};
use crate::rng::{PolicyNoise, Stream};
use shape::Shape;
use sizes::Sizes;
#[cfg(feature = "cuda")]
use {
    layout::Layout,
    program::Program,
    std::sync::atomic::{AtomicU64, Ordering},
    std::sync::{Arc, Mutex, PoisonError},
};

const KERNELS: &str = concat!(
    include_str!("kernels/numbers.cu"),
    include_str!("kernels/layers.cu"),
    include_str!("kernels/networks.cu"),
    include_str!("kernels/pack.cu"),
    include_str!("kernels/noise.cu"),
    include_str!("kernels/plan.cu"),
    include_str!("kernels/refit.cu"),
);

/// Blocks of a cluster: as many as programs may count on, where there are so many multiprocessors.
#[cfg(any(test, feature = "cuda"))]
const TEAM: usize = 8;

/// Threads of the block that selects elites.
const REFIT_THREADS: usize = 1024;

/// Threads of a block that scores candidates.
const SCORE_THREADS: usize = 256;

/// Most elites that are sorted in shared memory.
#[cfg(feature = "cuda")]
const MOST_ELITES: usize = 8192;

/// Most environments: noise has a layer of blocks for each.
#[cfg(feature = "cuda")]
const MOST_ENVIRONMENTS: usize = 65_535;

/// Networks that can plan on a GPU.
#[cfg(feature = "cuda")]
pub(crate) struct Fused {
    layout: Layout,
    program: Arc<Mutex<Program>>,
    /// Tells their weights from those of all others.
    owner: u64,
}

#[cfg(feature = "cuda")]
impl std::fmt::Debug for Fused {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "networks {} on a GPU", self.owner)
    }
}

/// What a plan is asked.
pub(crate) struct Question<'a> {
    pub planner: &'a PlannerConfig,
    pub returns: &'a Returns,
    pub horizon: usize,
    pub min_std: f64,
    pub mode: Mode,
    pub policy_noise: PolicyNoise,
    /// `[E, O]`
    pub observations: &'a [f32],
    /// `[E, H, A]`
    pub warm: Vec<f32>,
    /// One of each environment.
    pub streams: &'a mut [Stream],
}

/// What it answers for an environment.
pub(crate) struct Answer {
    /// `[A]`
    pub action: Vec<f32>,
    /// `[H, A]`
    pub mean: Vec<f32>,
    pub elite_score: f32,
    pub policy_elites: f32,
    pub bad_scores: f32,
}

/// Whether such plans have kernels here.
#[cfg(feature = "cuda")]
pub(crate) fn plans(config: &PlannerConfig) -> bool {
    let refits = matches!(config.kind, PlannerKind::Mppi | PlannerKind::Mppi2 | PlannerKind::Cem);
    refits && config.prior_weight == 0.0 && config.num_elites <= MOST_ELITES
}

#[cfg(feature = "cuda")]
impl Fused {
    /// Of some networks; `None` without kernels for them.
    ///
    /// # Panics
    /// If the kernels do not compile or the device does not answer: both are faults of the installation or of ours.
    pub fn new(parts: &Parts, precision: Precision, device: usize) -> Option<Self> {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        let layout = Layout::new(parts, precision)?;
        let program = Program::of(device, &layout).unwrap_or_else(|error| panic!("{error}"))?;
        Some(Self { layout, program, owner: OWNERS.fetch_add(1, Ordering::Relaxed) })
    }

    /// Plans for E environments; `None` if it is too much for the kernels' 31-bit indices and their grids.
    ///
    /// # Panics
    /// If the device fails.
    pub fn plan(&self, question: Question) -> Option<Vec<Answer>> {
        self.answer(question).unwrap_or_else(|error| panic!("{error}"))
    }

    fn answer(&self, question: Question) -> Result<Option<Vec<Answer>>, CudaError> {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        program.load(self.owner, &self.layout)?;
        let shape = question.shape();
        if shape.largest(program.sizes) > i32::MAX as usize || shape.environments > MOST_ENVIRONMENTS {
            return Ok(None);
        }
        let mut session = program.take_session(shape.clone())?;
        let decisions = session.run(&program, |input| question.fill(&shape, program.sizes, input))?;
        let answers = read(&shape, program.sizes, decisions);
        program.put_session(shape, session);
        Ok(Some(answers))
    }
}

impl Question<'_> {
    fn policy_std(&self) -> f32 {
        match self.policy_noise {
            PolicyNoise::Clipped { std } => std as f32,
            PolicyNoise::Standard => 1.0,
        }
    }

    /// What makes it the same work as others.
    fn shape(&self) -> Shape {
        let (planner, budget) = (self.planner, Budget::new(self.planner));
        Shape {
            kind: planner.kind,
            environments: self.streams.len(),
            sampled: budget.sampled[0],
            proposed: budget.proposed,
            horizon: self.horizon,
            elites: planner.num_elites,
            iterations: planner.iterations,
            depths: self.returns.depths(self.horizon),
            explores: self.mode == Mode::Explore,
            policy_std: (planner.noise != NoiseSource::Host).then(|| self.policy_std().to_bits()),
        }
    }

    /// Writes a plan's input: its parts up to the noise, and the noise if it is drawn on the host.
    fn fill(self, shape: &Shape, sizes: Sizes, input: &mut [f32]) {
        let Self { planner, returns, horizon, min_std, mode, policy_noise, observations, warm, streams } =
            self;
        let at = shape.inputs(sizes.observation, sizes.action);
        let mut put = |at: usize, numbers: &[f32]| input[at..at + numbers.len()].copy_from_slice(numbers);
        put(at.observations, observations);
        put(at.warm, &warm);
        put(at.of_rewards, &returns.of_rewards(horizon));
        put(at.of_values, &returns.of_values(horizon));
        let max_std = planner.init_std.max(min_std);
        put(at.settings, &[min_std, max_std, planner.momentum, planner.temperature].map(|x| x as f32));
        if shape.policy_std.is_some() {
            for (i, stream) in streams.iter_mut().enumerate() {
                let seed = stream.seed();
                put(at.seeds + 2 * i, &[seed as u32, (seed >> 32) as u32].map(f32::from_bits));
            }
        } else {
            let cpu = crate::device::cpu();
            let noise = Noise::draw(planner, policy_noise, horizon, sizes.action, mode, streams, &cpu);
            put(at.noise, &noise.numbers());
        }
    }
}

/// The answers in decisions `[E, decision]`.
fn read(shape: &Shape, sizes: Sizes, decisions: &[f32]) -> Vec<Answer> {
    let a = sizes.action;
    let answer = |numbers: &[f32]| {
        let (action, rest) = numbers.split_at(a);
        let (mean, rest) = rest.split_at(shape.horizon * a);
        Answer {
            action: action.to_vec(),
            mean: mean.to_vec(),
            elite_score: rest[0],
            policy_elites: rest[1],
            bad_scores: rest[2],
        }
    };
    decisions.chunks_exact(shape.decision(a)).map(answer).collect()
}
