//! Updates of TD-MPC as one program of our own kernels, with the gradients written out.
//!
//! Burn's tensors need about a thousand operations for an update. Here an update is a [program](orders::Program): some eighty launches
//! over one array that holds parameters, slow copies, moments, activations and gradients. On an NVIDIA GPU it is one graph: the batch goes
//! up in one copy, losses and priorities come back in one. On a CPU (the device `flex`) the launches run one after the other, on all
//! threads. What has no kernels here (see [`has_kernels`]) learns with plain tensors, against which these are tested: those of a GPU by
//! their own text, on a CPU.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod dynamics;
mod networks;
mod orders;
mod places;
mod update;

use super::adam::corrections;
use super::{LearnerState, Losses, Parameter, Update};
use crate::config::{
    AgentConfig, Conditioning, Consistency, Continuation, ControlForm, DynamicsKind, EigenvalueForm,
    KoopmanConfig, LearnerConfig, Mu, PlannerKind, Precision, Recipe, StateDecoder, StepSize, Training,
    UpdateKernels,
};
use crate::device::is_flex;
use crate::replay::Batch;
use burn::tensor::Device;
use orders::{Matrix, Program};
use places::Places;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use update::{Settings, Sizes, UpdateProgram};

/// By path.
type Parameters = BTreeMap<String, Parameter>;

/// The kernels, in order; [`header`] comes before them.
#[cfg(any(test, feature = "cuda"))]
const KERNELS: &str = concat!(
    include_str!("kernels/products.cu"),
    include_str!("kernels/rows.cu"),
    include_str!("kernels/learning.cu"),
);

/// What kernels are compiled with.
#[cfg(any(test, feature = "cuda"))]
fn header() -> String {
    let (epsilon, bytes) = (crate::ops::LAYER_NORM_EPSILON, orders::Kernel::Products.shared());
    format!(
        "#define BF16 0\nconstexpr float NORM_EPSILON = {epsilon:e}f;\nconstexpr int PRODUCT_BYTES = {bytes};\n"
    )
}

/// Whether updates of such agents have kernels: TD-MPC with MLP dynamics, or with Koopman dynamics whose gate sees every latent or
/// that have none.
fn has_kernels(config: &AgentConfig) -> bool {
    let (model, learner, auxiliary) = (&config.model, &config.learner, &config.learner.auxiliary);
    let losses = learner.consistency == Consistency::Absolute
        && learner.imitation_coef == 0.0
        && [auxiliary.state_coef, auxiliary.variance_coef, auxiliary.covariance_coef] == [0.0; 3];
    let networks = model.recipe == Recipe::V1
        && model.continuation != Continuation::On
        && model.state_decoder == StateDecoder::None;
    let dynamics = match model.dynamics {
        DynamicsKind::Mlp => true,
        DynamicsKind::Koopman => koopman_has_kernels(&model.koopman),
        _ => false,
    };
    // gradients with respect to actions need tensors
    let wanted = learner.kernels == UpdateKernels::Auto && config.planner.kind != PlannerKind::Grad;
    wanted && losses && networks && dynamics && learner.precision == Precision::F32
}

fn koopman_has_kernels(config: &KoopmanConfig) -> bool {
    let (eigenvalues, control, remainder) = (&config.eigenvalues, &config.control, &config.remainder);
    let spectrum = eigenvalues.form == EigenvalueForm::Decay
        && eigenvalues.mu != Mu::Bounded
        && eigenvalues.dt == StepSize::LogUniform;
    let gate = match control.form {
        ControlForm::Additive => true,
        ControlForm::Gated => control.conditioning == Conditioning::Along && control.recondition_every == 1,
        ControlForm::Bilinear => false,
    };
    spectrum && gate && remainder.correction_hidden == 0 && remainder.modulation == 0.0
}

/// Whether updates change the parameter of this name.
fn learns(name: &str, config: &KoopmanConfig) -> bool {
    let eigenvalues = &config.eigenvalues;
    match name.strip_prefix("dynamics.Koopman.eigenvalues.") {
        Some("raw_mu") => eigenvalues.mu != Mu::Fixed,
        Some("omega") => eigenvalues.omega_training == Training::Learned,
        Some("log_dt") => eigenvalues.dt_training == Training::Learned,
        _ => true,
    }
}

/// A learner whose numbers are where kernels update them.
pub(super) trait Elsewhere: Send + Sync {
    /// Whether it takes batches of this size.
    fn takes(&self, batch: &Batch) -> bool;
    /// Learns from a batch, with noise `[B·H, A]` of targets and `[B·(H + 1), A]` of the policy; `rate` is the step of the slow
    /// networks.
    fn update(&mut self, batch: &Batch, noise: [&[f32]; 2], rate: f64) -> Outcome;
    /// The networks' parameters.
    fn world(&self) -> Parameters;
    /// Everything of a [`LearnerState`] that is here: steps of the optimisers, networks, slow networks and moments.
    fn export(&self) -> ([u64; 2], Parameters);
    /// Another in the same state.
    fn copy(&self) -> Box<dyn Elsewhere>;
}

/// Takes a learner there, for batches of B sequences of H steps.
pub(super) type Start = Arc<dyn Fn(&LearnerState, [usize; 2]) -> Option<Box<dyn Elsewhere>> + Send + Sync>;

/// Where such agents learn with kernels, if they do.
///
/// # Panics
/// If the device does not answer.
pub(super) fn start(config: &AgentConfig, sizes: [usize; 2], device: &Device) -> Option<Start> {
    if !has_kernels(config) {
        return None;
    }
    if is_flex(device) {
        return Some(starting::<cpu::Cpu>(config, sizes, ()));
    }
    #[cfg(feature = "cuda")]
    if let Some(index) = crate::device::cuda_index(device) {
        let runs = cuda::runs(index).unwrap_or_else(|error| panic!("{error}"));
        return runs.then(|| starting::<cuda::Gpu>(config, sizes, index));
    }
    None
}

fn starting<R: Runner>(config: &AgentConfig, sizes: [usize; 2], place: R::Place) -> Start {
    let config = config.clone();
    Arc::new(move |state, batch| {
        let fused = Fused::<R>::new(&place, &config, state, sizes, batch)?;
        Some(Box::new(fused.unwrap_or_else(|error| panic!("{error}"))))
    })
}

/// What runs a program.
trait Runner: Sized + Send + Sync + 'static {
    /// Why it could not.
    type Error: Display;
    /// Where it runs.
    type Place: Clone + Send + Sync;

    /// With an array of zeros.
    fn new(place: &Self::Place, program: &Program, input: usize, output: Matrix)
    -> Result<Self, Self::Error>;
    /// Puts numbers into the array.
    fn write(&mut self, at: usize, numbers: &[f32]) -> Result<(), Self::Error>;
    /// Numbers of the array.
    fn read(&self, at: usize, count: usize) -> Result<Vec<f32>, Self::Error>;
    /// Runs all launches on the input that `fill` writes, and returns the output.
    fn run(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<Vec<f32>, Self::Error>;
}

/// A learner's numbers where they are updated.
struct Fused<R: Runner> {
    config: LearnerConfig,
    places: Places,
    update: UpdateProgram,
    place: R::Place,
    runner: R,
    /// Steps of both optimisers.
    steps: [u64; 2],
}

/// What an update says.
pub(super) struct Outcome {
    pub update: Update,
    /// What `Trust` observed.
    pub foresight: Vec<f32>,
}

/// Prefixes of the parameters of a [`LearnerState`].
const WORLD: &str = "world.";
const TARGET: &str = "target.";
const ADAM: &str = "adam.";
const POLICY_ADAM: &str = "policy_adam.";
/// The policy's parameters among the model's.
const POLICY: &str = "policy.";
/// Suffixes of Adam's moments.
const MOMENTS: [&str; 2] = [".first", ".second"];

impl<R: Runner> Fused<R> {
    /// Of a learner in this state, for batches of this size; `None` without kernels.
    fn new(
        place: &R::Place,
        config: &AgentConfig,
        state: &LearnerState,
        [observation, action]: [usize; 2],
        [batch, horizon]: [usize; 2],
    ) -> Option<Result<Self, R::Error>> {
        let world = strip(&state.parameters, WORLD);
        let places = Places::new(&world, |name| learns(name, &config.model.koopman));
        let sizes = Sizes { batch, horizon, observation, action, latent: config.model.latent_dim };
        let update = UpdateProgram::new(&config.learner, &places, sizes)?;
        Some(Self::start(place, config, state, world, places, update))
    }

    fn start(
        place: &R::Place,
        config: &AgentConfig,
        state: &LearnerState,
        world: Parameters,
        places: Places,
        update: UpdateProgram,
    ) -> Result<Self, R::Error> {
        let mut runner = R::new(place, &update.program, update.input.count(), update.output)?;
        let moments = MOMENTS.map(|moment| {
            let of = |prefix: &str, path: &str| {
                let named = strip(&state.parameters, prefix).into_iter();
                named
                    .filter_map(move |(name, p)| Some((format!("{path}{}", name.strip_suffix(moment)?), p)))
                    .collect::<Vec<_>>()
            };
            of(ADAM, "").into_iter().chain(of(POLICY_ADAM, POLICY)).collect()
        });
        let [first, second] = moments;
        let target = strip(&state.parameters, TARGET);
        let [at_first, at_second] = update.moments;
        let copies = [(update.online, world), (update.slow, target), (at_first, first), (at_second, second)];
        for (at, parameters) in copies {
            let mut numbers = vec![0.0; places.count()];
            places.write(&parameters, &mut numbers);
            runner.write(at, &numbers)?;
        }
        let (config, place, steps) = (config.learner.clone(), place.clone(), state.optimizer_steps);
        Ok(Self { config, places, update, place, runner, steps })
    }

    fn try_update(&mut self, batch: &Batch, noise: [&[f32]; 2], rate: f64) -> Result<Outcome, R::Error> {
        self.steps = self.steps.map(|steps| steps + 1);
        let corrections = self.steps.map(corrections);
        let value_range = self.config.value_range(batch.reward_range);
        let settings = Settings { corrections, value_range, rate: rate as f32 };
        let input = &self.update.input;
        let output = self.runner.run(|to| input.write(&settings, batch, noise, to))?;
        let (priorities, rest) = output.split_at(batch.size);
        let (scalars, foresight) = rest.split_at(6);
        // terminations are not predicted
        let losses = Losses::read(&[scalars, &[0.0]].concat());
        let update = Update { priorities: priorities.to_vec(), losses };
        Ok(Outcome { update, foresight: foresight.to_vec() })
    }

    fn try_copy(&self) -> Result<Self, R::Error> {
        let Self { config, places, update, place, steps, .. } = self;
        let mut runner = R::new(place, &update.program, update.input.count(), update.output)?;
        for at in [update.online, update.slow, update.moments[0], update.moments[1]] {
            runner.write(at, &self.runner.read(at, places.count())?)?;
        }
        let (config, places, update) = (config.clone(), places.clone(), update.clone());
        Ok(Self { config, places, update, place: place.clone(), runner, steps: *steps })
    }

    fn try_world(&self) -> Result<Parameters, R::Error> {
        let numbers = self.runner.read(self.update.online, self.places.count())?;
        Ok(self.places.read(&numbers, false, |_| true))
    }

    fn try_export(&self) -> Result<([u64; 2], Parameters), R::Error> {
        let count = self.places.count();
        let named = |prefix: &str, p: Parameters| -> Vec<_> {
            p.into_iter().map(|(name, p)| (format!("{prefix}{name}"), p)).collect()
        };
        let slow = self.places.read(&self.runner.read(self.update.slow, count)?, false, |_| true);
        let mut all = named(WORLD, self.try_world()?);
        all.extend(named(TARGET, slow));
        for (at, moment) in self.update.moments.into_iter().zip(MOMENTS) {
            let learned = |name: &str| self.places.learns(name);
            let moments = self.places.read(&self.runner.read(at, count)?, true, learned);
            all.extend(moments.into_iter().map(|(name, p)| match name.strip_prefix(POLICY) {
                Some(name) => (format!("{POLICY_ADAM}{name}{moment}"), p),
                None => (format!("{ADAM}{name}{moment}"), p),
            }));
        }
        Ok((self.steps, all.into_iter().collect()))
    }
}

impl<R: Runner> Elsewhere for Fused<R> {
    fn takes(&self, batch: &Batch) -> bool {
        [batch.size, batch.horizon] == [self.update.sizes.batch, self.update.sizes.horizon]
    }

    fn update(&mut self, batch: &Batch, noise: [&[f32]; 2], rate: f64) -> Outcome {
        self.try_update(batch, noise, rate).unwrap_or_else(|error| panic!("{error}"))
    }

    fn world(&self) -> Parameters {
        self.try_world().unwrap_or_else(|error| panic!("{error}"))
    }

    fn export(&self) -> ([u64; 2], Parameters) {
        self.try_export().unwrap_or_else(|error| panic!("{error}"))
    }

    fn copy(&self) -> Box<dyn Elsewhere> {
        Box::new(self.try_copy().unwrap_or_else(|error| panic!("{error}")))
    }
}

/// The parameters whose names begin so, without the beginning.
fn strip(parameters: &Parameters, prefix: &str) -> Parameters {
    let strip = |(name, p): (&String, &Parameter)| Some((name.strip_prefix(prefix)?.to_owned(), p.clone()));
    parameters.iter().filter_map(strip).collect()
}

#[cfg(test)]
mod tests;
