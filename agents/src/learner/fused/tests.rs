//! The kernels' own text on a CPU, against plain tensors.

use super::super::tests::{batches, batches_of, learner, learner_of};
use super::orders::Kernel;
use super::*;
use crate::config::draw::{Draw, cases};
use crate::config::tests::tiny;
use crate::cuda::host::{function, on_host};
use crate::learner::{Learner, LearnerState};
use crate::rng::Stream;
use std::ffi::{c_int, c_void};
use std::fmt::Write;
use std::sync::LazyLock;
use std::sync::{Mutex, PoisonError};

/// Runs some blocks of the kernel of a number, on an array and orders.
type Run = unsafe extern "C" fn(c_int, u32, u32, *mut f32, *const i32);

/// The kernels, compiled for this processor, one user at a time.
static KERNELS_HERE: LazyLock<Mutex<Run>> = LazyLock::new(|| {
    let mut text = on_host(&header(), KERNELS);
    text += "extern \"C\" void run(int kernel, unsigned blocks, unsigned threads, float *memory, const int *orders) {\n";
    for (i, kernel) in Kernel::ALL.into_iter().enumerate() {
        let name = kernel.entry().0;
        writeln!(
            text,
            "host::room = {};\nif (kernel == {i}) host::launch([=] {{ {name}(memory, orders); }}, {{blocks, 1, 1}}, threads);",
            kernel.shared()
        )
        .unwrap();
    }
    text += "}\n";
    // SAFETY: the function above has this type.
    let run = unsafe { std::mem::transmute::<*mut c_void, Run>(function(&text, c"run")) };
    Mutex::new(run)
});

/// A program's array on this machine.
struct Host {
    program: Program,
    numbers: Vec<f32>,
    input: usize,
    output: Matrix,
}

impl Runner for Host {
    type Error = std::convert::Infallible;
    type Place = ();

    fn new((): &(), program: &Program, input: usize, output: Matrix) -> Result<Self, Self::Error> {
        Ok(Self { program: program.clone(), numbers: vec![0.0; program.numbers], input, output })
    }

    fn write(&mut self, at: usize, numbers: &[f32]) -> Result<(), Self::Error> {
        self.numbers[at..at + numbers.len()].copy_from_slice(numbers);
        Ok(())
    }

    fn read(&self, at: usize, count: usize) -> Result<Vec<f32>, Self::Error> {
        Ok(self.numbers[at..at + count].to_vec())
    }

    fn run(&mut self, fill: impl FnOnce(&mut [f32])) -> Result<Vec<f32>, Self::Error> {
        fill(&mut self.numbers[..self.input]);
        let run = KERNELS_HERE.lock().unwrap_or_else(PoisonError::into_inner);
        for launch in &self.program.launches {
            let (kernel, (_, threads)) = (launch.kernel as i32, launch.kernel.entry());
            let orders = &self.program.orders[launch.orders..];
            // SAFETY: orders stay inside the array, which is what this tests; nobody else uses it.
            unsafe { run(kernel, launch.blocks, threads, self.numbers.as_mut_ptr(), orders.as_ptr()) };
        }
        self.read(self.output.at, self.output.numbers())
    }
}

fn near(what: &str, found: &[f32], known: &[f32], tolerance: f32) {
    assert_eq!(found.len(), known.len(), "{what}");
    let scale = known.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
    let worst = found.iter().zip(known).fold(0.0f32, |m, (x, y)| m.max((x - y).abs()));
    assert!(worst <= tolerance * scale, "{what}: differs by {worst}, numbers are up to {scale}");
}

/// A state whose heads and gates are not at zero.
fn open(learner: &Learner) -> LearnerState {
    let (mut state, mut stream) = (learner.export(), Stream::new(9, "open"));
    for p in state.parameters.values_mut().filter(|p| p.values.iter().all(|x| *x == 0.0)) {
        p.values = stream.uniform(p.values.len(), -0.2, 0.2);
    }
    state
}

/// The same with plain tensors.
fn plain(config: &AgentConfig) -> AgentConfig {
    let mut config = config.clone();
    config.learner.kernels = UpdateKernels::None;
    config
}

/// Kernels' own text, and what is written for processors.
fn agree(config: &AgentConfig) {
    agree_on::<Host>(config);
    agree_on::<cpu::Cpu>(config);
}

fn agree_on<R: Runner<Place = ()>>(config: &AgentConfig) {
    agree_in::<R>(config, [4, 2], 2e-4);
}

/// For observations and actions of these sizes, parameters to this tolerance (losses to half of it).
fn agree_in<R: Runner<Place = ()>>(config: &AgentConfig, sizes: [usize; 2], tolerance: f32) {
    assert!(has_kernels(config));
    let mut known = learner_of(&plain(config), sizes);
    let state = open(&known);
    known.import(&state).unwrap();
    let (b, h, a) = (config.learner.batch_size, config.learner.horizon, sizes[1]);
    let start = starting::<R>(config, sizes, ());
    let mut fused = start(&state, [b, h]).expect("these networks");
    let (mut stream, mut same) = (Stream::new(4, "noise"), Stream::new(4, "noise"));
    for (i, mut batch) in batches_of(config, sizes, 3).into_iter().enumerate() {
        // ends, padding and uneven importance
        batch.terminated[h - 1] = 1.0;
        if b > 1 && h > 1 {
            batch.mask[b * h - 1] = 0.0;
        }
        batch.weights[b - 1] = 0.5;
        let update = known.update(&batch, &mut stream);
        let draw = |rows: usize, stream: &mut Stream| stream.policy_noise(rows * a, config.policy_noise());
        let (targets, policy) = (draw(b * h, &mut same), draw(b * (h + 1), &mut same));
        let due = (i as u64 + 1).is_multiple_of(config.learner.target_every);
        let rate = if due { config.learner.target_rate } else { 0.0 };
        let outcome = fused.update(&batch, [&targets, &policy], rate);
        near("priorities", &outcome.update.priorities, &update.priorities, tolerance / 2.0);
        let losses = |l: &Losses| [l.terms().to_vec(), vec![l.gradient_norm]].concat();
        for (found, known) in losses(&outcome.update.losses).iter().zip(losses(&update.losses)) {
            assert!(
                (found - known).abs() < f64::from(tolerance) / 2.0 * known.abs().max(1e-3),
                "{:?}",
                (outcome.update.losses, update.losses)
            );
        }
        let (steps, found) = fused.export();
        let known = known.export();
        assert_eq!(steps, known.optimizer_steps);
        for (name, p) in &known.parameters {
            match found.get(name) {
                Some(q) => {
                    assert_eq!(q.shape, p.shape, "{name}");
                    // a second moment is a gradient squared
                    let tolerance = if name.contains("adam.") { 10.0 * tolerance } else { tolerance };
                    near(&format!("update {i}: {name}"), &q.values, &p.values, tolerance);
                }
                None => assert!(name.starts_with("trust."), "{name} is missing"),
            }
        }
    }
}

fn sequences(config: &mut AgentConfig) {
    (config.learner.batch_size, config.learner.horizon) = (5, 3);
    config.learner.target_every = 2;
}

#[test]
fn updates_of_mlp_dynamics_are_those_of_plain_tensors() {
    let mut config = tiny(DynamicsKind::Mlp);
    sequences(&mut config);
    // products larger than a block's square, networks that are not as deep
    (config.learner.batch_size, config.model.hidden_dim) = (22, 70);
    config.model.encoder_hidden = vec![32, 20];
    agree(&config);
}

/// A latent whose row in [z | a] is as long as the kernel's of a processor, padded: written as a whole it once took the action's place.
#[test]
fn latents_that_nearly_fill_their_rows_leave_the_actions_alone() {
    let mut config = tiny(DynamicsKind::Mlp);
    sequences(&mut config);
    (config.model.latent_dim, config.model.hidden_dim) = (14, 32);
    agree_on::<cpu::Cpu>(&config);
}

#[test]
fn updates_of_gated_koopman_dynamics_are_those_of_plain_tensors() {
    let mut config = tiny(DynamicsKind::Koopman);
    sequences(&mut config);
    config.model.koopman.control.form = ControlForm::Gated;
    agree(&config);
}

/// Single layers; nothing of the eigenvalues but ω learns, and the encoder more slowly than the rest.
#[test]
fn updates_of_additive_koopman_dynamics_are_those_of_plain_tensors() {
    let mut config = tiny(DynamicsKind::Koopman);
    sequences(&mut config);
    config.model.koopman.control.form = ControlForm::Additive;
    (config.model.koopman.control.action_hidden, config.model.encoder_hidden) = (vec![], vec![]);
    (config.model.koopman.eigenvalues.mu, config.model.koopman.eigenvalues.dt_training) =
        (Mu::Fixed, Training::Fixed);
    (config.learner.encoder_rate_scale, config.learner.max_gradient_norm) = (0.3, 0.01);
    agree(&config);
}

/// A learner that is away acts with the networks that are there, and is saved, restored and copied as if it were not; with
/// longer sequences it goes on where it was.
#[test]
fn a_learner_away_is_a_learner() {
    let mut config = tiny(DynamicsKind::Koopman);
    sequences(&mut config);
    // a gate of one layer, three of the action encoder
    config.model.koopman.control.gate_hidden = 0;
    config.model.koopman.control.action_hidden = vec![24, 16];
    let longer =
        AgentConfig { learner: LearnerConfig { horizon: 4, ..config.learner.clone() }, ..config.clone() };
    let mut batches: Vec<Batch> = batches(&config, 2);
    batches.extend(super::super::tests::batches(&longer, 2));
    let mut home = learner(&plain(&config));
    let state = open(&home);
    home.import(&state).unwrap();
    let mut away = home.clone();
    away.away.set(starting::<Host>(&config, [4, 2], ()));
    let (mut noise, mut same) = (Stream::new(4, "noise"), Stream::new(4, "noise"));
    for (i, batch) in batches.iter().enumerate() {
        if i == 1 {
            let state = away.export();
            let mut restored = away.clone();
            restored.update(batch, &mut Stream::new(5, "noise"));
            restored.import(&state).unwrap();
            assert_eq!(restored.export(), away.export());
            away = restored.clone();
        }
        let (known, found) = (home.update(batch, &mut noise), away.update(batch, &mut same));
        near("priorities", &found.priorities, &known.priorities, 1e-4);
        let [known, found] = [&home, &away].map(|l| crate::learner::read_parameters(l.online().world()));
        for (name, p) in &known {
            near(&format!("update {i}: {name}"), &found[name].values, &p.values, 3e-4);
        }
        assert_eq!(home.updates(), away.updates());
        let [known, found] = [&home, &away].map(|l| l.reward_trust());
        assert!(known.iter().zip(&found).all(|(x, y)| (x - y).abs() < 1e-4), "{known:?} {found:?}");
    }
}

/// Networks and batches of any sizes: a few, and more with `KERNEL_CASES=from..to` in the environment.
#[test]
fn updates_of_any_sizes_are_those_of_plain_tensors() {
    for case in cases(4) {
        let mut draw = Draw::new(case);
        let mut config = draw.agent();
        (config.learner.batch_size, config.learner.horizon) = (draw.size(1, 90), draw.size(1, 6));
        let control = &mut config.model.koopman.control;
        control.recondition_every = 1;
        if control.form == ControlForm::Bilinear {
            control.form = ControlForm::Gated;
        }
        let sizes = [draw.size(1, 80), draw.size(1, 20)];
        println!("case {case}: {sizes:?} {:?} {:?}", config.model, config.learner);
        agree_in::<cpu::Cpu>(&config, sizes, 1e-3);
        agree_in::<Host>(&config, sizes, 1e-3);
    }
}

/// Batches that are too large learn with plain tensors.
#[test]
fn kernels_count_no_further_than_they_can() {
    let config = tiny(DynamicsKind::Mlp);
    let state = learner(&config).export();
    let start = starting::<Host>(&config, [4, 2], ());
    assert!(start(&state, [1 << 16, 1 << 10]).is_none());
}
