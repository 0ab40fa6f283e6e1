//! The kernels' own text on a CPU, against plans of packed networks with the same noise.

use super::*;
use crate::agent::{Agent, Schedule};
use crate::config::{tests::tiny, *};
use crate::cuda::host::{function, on_host};
use crate::learner::{Parameter, write_parameters};
use crate::model::World;
use crate::planner::Plan;
use layout::Layout;
use shape::Bases;
use sizes::{Blocks, Machine, Tiles};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{c_int, c_void};

#[path = "../../../tests/suite/forms.rs"]
mod forms;
use forms::FORMS;

mod any;
mod noise;
mod published;
mod suite;

/// What is planned.
#[derive(Clone, Copy, Debug)]
struct Task {
    observation: usize,
    action: usize,
    environments: usize,
    horizon: usize,
}

const TASK: Task = Task { observation: 4, action: 2, environments: 2, horizon: 3 };

/// Runs blocks of a kernel by its place in [`NAMES`]; behind them are `pack` and `draw`.
type Run = unsafe extern "C" fn(c_int, u32, u32, u32, *const *const c_void, *const i32);

const NAMES: [&str; 6] = ["propose", "imagine", "judge", "refit", "propose_together", "score"];

/// One function for all kernels.
const ENTRY: &str = "extern \"C\" void run(int kernel, unsigned blocks, unsigned threads, unsigned shared, const void *const *p, const int *a) {
    host::room = shared;
    const Plan *plan = (const Plan *)p[0];
    if (kernel == 0) host::launch([=] { propose(*plan); }, {blocks, 1, 1}, threads);
    if (kernel == 1) host::launch([=] { imagine(*plan, a[0]); }, {blocks, 1, 1}, threads);
    if (kernel == 2) host::launch([=] { judge(*plan, a[0], a[1], a[2]); }, {blocks, 1, 1}, threads);
    if (kernel == 3) host::launch([=] { refit(*plan, a[0], a[1], a[2], a[3], a[4]); }, {blocks, 1, 1}, threads);
#if TEAM
    if (kernel == 4) host::launch([=] { propose_together(*plan); }, {blocks, 1, 1}, threads, TEAM);
#endif
    if (kernel == 5) host::launch([=] { score(*plan, a[0], a[1]); }, {blocks, 1, 1}, threads);
    if (kernel == 7) host::launch([=] { draw((const u32 *)p[0], (const Segment *)p[1], *(const float *)p[2], (float *)p[3]); }, {blocks, (unsigned)a[0], (unsigned)a[1]}, threads);
    if (kernel == 6) host::launch([=] { pack((const Packing *)p[0], (const float *)p[1], (uint4 *)p[2]); }, {2, blocks, 1}, threads);
}
";

/// With clusters, and the weights of dynamics in shared memory.
const LARGE: Machine = Machine { multiprocessors: 1000, shared: 1 << 18, team: TEAM, clusters: 1000 };
/// The same weights stay where they are.
const LEAN: Machine = Machine { shared: 0, ..LARGE };
/// Room for the weights of MLP dynamics on their way, if not for all of them.
const NARROW: Machine = Machine { shared: 50_000, ..SMALL };
const SMALL: Machine = Machine { multiprocessors: 0, shared: 0, team: 0, clusters: 0 };

/// How a plan is cut into blocks: tiles of all, tiles of those that ask for values, and on what machine.
type Cut = (usize, usize, Machine);

/// What tensor cores take of the numbers of TF32.
#[derive(Clone, Copy, PartialEq)]
enum Factors {
    /// All of them, so that little is lost.
    Whole,
    /// Their first bits, as those of a GPU.
    Cut,
}

/// The kernels with their tiles, as a machine needs them.
fn compile(layout: &Layout, tiles: Tiles, machine: Machine, factors: Factors) -> Run {
    let forms = layout.sizes.forms(tiles, machine);
    assert!(machine.shared != NARROW.shared || forms.contains("MOTION_STREAMS 1"), "{forms}");
    let cut = if factors == Factors::Cut { "#define TF32_CUT 1\n" } else { "" };
    let header = layout.header.clone() + &forms + "#define EVERY_KERNEL\n" + cut;
    let text = on_host(&header, KERNELS) + ENTRY;
    // SAFETY: the function above has this type.
    unsafe { std::mem::transmute::<*mut c_void, Run>(function(&text, c"run")) }
}

/// A plan as a GPU makes it, with blocks of so many tiles.
fn plan_in(
    parts: &Parts,
    precision: Precision,
    (tiles, values, machine): Cut,
    question: Question,
) -> Vec<Answer> {
    let layout = Layout::new(parts, precision).expect("narrow networks");
    // layers that are too wide to be written where they are read have smaller blocks
    let [rows, values] = [tiles, values].map(|n| if layout.sizes.fit(n, usize::MAX) { n } else { 2 });
    let tiles = Tiles { rows, values };
    // compilers take most of the time: one text has all kernels
    let run = compile(&layout, tiles, machine, Factors::Whole);
    plan_on_host(&layout, Blocks::Of(tiles), machine, question, |_| run)
}

/// A plan by kernels that `of` compiles.
fn plan_on_host(
    layout: &Layout,
    blocks: Blocks,
    machine: Machine,
    question: Question,
    mut of: impl FnMut(Tiles) -> Run,
) -> Vec<Answer> {
    let sizes = layout.sizes;
    let call = |run: Run,
                kernel: usize,
                [blocks, threads, shared]: [usize; 3],
                pointers: &[*const c_void],
                arguments: &[i32]| {
        let [blocks, threads, shared] = [blocks, threads, shared].map(|n| n as u32);
        // SAFETY: what the kernel declares, of the sizes that it goes over.
        unsafe { run(kernel as c_int, blocks, threads, shared, pointers.as_ptr(), arguments.as_ptr()) }
    };
    let (raw, vectors) = layout.read();
    let packings: Vec<i32> = layout.packings.iter().flat_map(|p| p.numbers()).collect();
    let mut weights = vec![0u32; 4 * layout.packed_len];
    let pointers = [packings.as_ptr().cast(), raw.as_ptr().cast(), weights.as_mut_ptr().cast_const().cast()];
    call(of(Tiles::ONE), NAMES.len(), [layout.packings.len(), 64, 0], &pointers, &[]);
    let shape = question.shape();
    assert!(shape.largest(sizes) < 1 << 24, "{shape:?}");
    let mut input = vec![0f32; shape.inputs(sizes.observation, sizes.action).end];
    question.fill(&shape, sizes, &mut input);
    let mut work = vec![0u32; shape.work_len(sizes)];
    let bases = Bases {
        weights: weights.as_ptr() as u64,
        vectors: vectors.as_ptr() as u64,
        input: input.as_ptr() as u64,
        work: work.as_mut_ptr() as u64,
    };
    let plan = shape.plan(sizes, bases);
    // with one tile a block, critics are asked apart
    let turns = shape.turns(sizes, blocks, machine);
    assert_eq!(turns[0].kernel == "propose_together", machine.clusters > 0 && shape.proposed > 0);
    for turn in turns {
        let kernel = NAMES.iter().position(|name| *name == turn.kernel).expect("a kernel of plans");
        let sizes = [turn.blocks, turn.threads, turn.shared];
        call(of(turn.tiles), kernel, sizes, &[(&raw const plan).cast()], &turn.arguments);
    }
    let from = ((shape.out(sizes, bases) - bases.work) / 4) as usize;
    let decisions = work[from..from + shape.environments * shape.decision(sizes.action)].iter();
    read(&shape, sizes, &decisions.map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>())
}

/// The decisions of both: (on the host's kernels, known).
fn decide(config: &AgentConfig, precision: Precision, cut: Cut) -> Vec<(Answer, crate::agent::Decision)> {
    decide_by(Heads::Random, TASK, &observations(TASK), config, precision, cut)
}

fn observations(task: Task) -> Vec<f32> {
    Stream::new(5, "data").normal(task.environments * task.observation)
}

/// What rewards and critics end with.
#[derive(PartialEq)]
enum Heads {
    Random,
    /// Everything is worth nothing.
    Zeros,
}

/// An agent, and the parts of its networks.
fn networks(heads: Heads, task: Task, config: &AgentConfig) -> (Agent, Parts) {
    let cpu = crate::device::cpu();
    let Task { observation, action, .. } = task;
    let mut agent = Agent::new(config, observation, action, &mut Stream::new(1, "init"), &cpu);
    let (mut state, mut stream) = (agent.export(), Stream::new(2, "init"));
    for p in state.parameters.values_mut().filter(|p| p.values.iter().all(|x| *x == 0.0)) {
        if heads == Heads::Random {
            p.values = stream.uniform(p.values.len(), -0.3, 0.3);
        }
    }
    agent.import(&state).expect("it is its own state");
    let strip = |(name, p): (&String, &Parameter)| Some((name.strip_prefix("world.")?.to_owned(), p.clone()));
    let world: BTreeMap<String, Parameter> = state.parameters.iter().filter_map(strip).collect();
    let networks = World::new(&config.model, observation, action, &mut Stream::new(1, "init"), &cpu);
    let networks = write_parameters(networks, &world).expect("the same networks");
    let parts = networks.parts(Conditioning::Along).expect("networks of TD-MPC");
    (agent, parts)
}

fn decide_by(
    heads: Heads,
    task: Task,
    observations: &[f32],
    config: &AgentConfig,
    precision: Precision,
    cut: Cut,
) -> Vec<(Answer, crate::agent::Decision)> {
    let plan = |parts: &Parts, question: Question<'_>| plan_in(parts, precision, cut, question);
    decide_as(heads, task, observations, config, plan)
}

/// The decisions of `plan`, and those of packed networks.
fn decide_as(
    heads: Heads,
    task: Task,
    observations: &[f32],
    config: &AgentConfig,
    plan: impl FnOnce(&Parts, Question<'_>) -> Vec<Answer>,
) -> Vec<(Answer, crate::agent::Decision)> {
    let Task { action, environments, horizon, .. } = task;
    let (agent, parts) = networks(heads, task, config);
    let min_std = 0.1;
    // the first environment has just been reset
    let warm = |e| if e == 0 { Plan::cold() } else { Plan::new(vec![0.1; horizon * action]) };
    let plans: Vec<Plan> = (0..environments).map(warm).collect();
    let streams = || -> Vec<Stream> { (0..environments as u64).map(|i| Stream::new(i, "noise")).collect() };
    let known = agent.act(observations, &plans, Schedule { horizon, min_std }, Mode::Explore, &mut streams());
    let returns = Returns::lambda(config.learner.discount, config.planner.depth_lambda);
    let question = Question {
        planner: &config.planner,
        returns: &returns,
        horizon,
        min_std,
        mode: Mode::Explore,
        policy_noise: config.policy_noise(),
        observations,
        warm: plans.iter().flat_map(|plan| plan.shifted(horizon, action)).collect(),
        streams: &mut streams(),
    };
    plan(&parts, question).into_iter().zip(known).collect()
}

fn config(dynamics: DynamicsKind) -> AgentConfig {
    let mut config = tiny(dynamics);
    config.planner.noise = NoiseSource::Host;
    (config.planner.num_samples, config.planner.num_elites, config.planner.iterations) = (40, 7, 2);
    config.planner.policy_fraction = 0.1;
    config
}

fn agree(name: &str, config: &AgentConfig, cut: Cut) {
    agree_on(name, decide(config, Precision::F32, cut));
}

fn agree_on(name: &str, decisions: Vec<(Answer, crate::agent::Decision)>) {
    for (found, known) in decisions {
        assert_eq!((found.bad_scores, known.bad_scores), (0.0, 0));
        let numbers = |action: &[f32], mean: &[f32], rest: [f32; 2]| [action, mean, &rest].concat();
        let (row, a) = (found.mean.len(), known.action.len());
        let mean = known.plan.shifted(row / a, a);
        // a plan is stored before it is shifted by a decision: its later steps come first
        let known = numbers(&known.action, &mean[..row - a], [known.elite_score, known.policy_elites]);
        let found = numbers(&found.action, &found.mean[a..], [found.elite_score, found.policy_elites]);
        for (x, y) in found.iter().zip(&known) {
            assert!((x - y).abs() < 1e-4 * y.abs().max(1.0), "{name}: {found:?} instead of {known:?}");
        }
    }
}

/// Of all forms that the suite of devices goes through, the policy's sequences among the elites. With an action encoder of one tile those
/// read other warps' sums where its output went.
#[test]
fn plans_of_all_forms_are_those_of_packed_networks() {
    for (i, (name, edit)) in FORMS.into_iter().enumerate() {
        let mut config = config(DynamicsKind::Koopman);
        (config.model.hidden_dim, config.planner.num_elites) = (48, 40);
        edit(&mut config);
        let whole = [(1, 1, LARGE), (2, 2, SMALL), (4, 4, SMALL), (1, 1, LEAN)][i % 4];
        let half = [(4, 2, SMALL), (1, 1, LARGE), (2, 1, LEAN)][i % 3];
        // compilers take most of the time
        std::thread::scope(|scope| {
            scope.spawn(|| agree(name, &config, whole));
            scope.spawn(|| nearly_agree(name, 0.2, decide(&config, Precision::Bf16, half)));
        });
    }
}

#[test]
fn plans_are_those_of_packed_networks_with_few_elites_and_streamed_weights() {
    agree("gated", &config(DynamicsKind::Koopman), (1, 1, LARGE));
    let mut mlp = config(DynamicsKind::Mlp);
    (mlp.model.latent_dim, mlp.model.hidden_dim) = (15, 64);
    agree("mlp, weights through shared memory", &mlp, (4, 4, NARROW));
}

/// Of candidates that are worth the same the first are elites.
#[test]
fn equal_scores_have_an_order() {
    let config = config(DynamicsKind::Mlp);
    agree_on(
        "equal",
        decide_by(Heads::Zeros, TASK, &observations(TASK), &config, Precision::F32, (1, 1, LARGE)),
    );
}

/// An environment whose observation is not a number does not touch those whose rows lie in the same blocks.
#[test]
fn what_is_broken_breaks_nothing_else() {
    let mut config = config(DynamicsKind::Koopman);
    // shared sums of broken rows would lie behind the last column of others
    config.model.hidden_dim = 56;
    let mut broken = observations(TASK);
    broken[..TASK.observation].fill(f32::NAN);
    for cut in [(1, 1, LARGE), (4, 2, SMALL)] {
        let [whole, broken] = [observations(TASK), broken.clone()].map(|observations| {
            let decisions = decide_by(Heads::Random, TASK, &observations, &config, Precision::F32, cut);
            decisions.into_iter().map(|(found, _)| found).collect::<Vec<_>>()
        });
        let bits = |a: &Answer| {
            [&a.action[..], &a.mean, &[a.elite_score]]
                .concat()
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>()
        };
        assert!(broken[0].bad_scores > 0.0 && broken[1].bad_scores == 0.0, "{cut:?}");
        assert_eq!(bits(&whole[1]), bits(&broken[1]), "{cut:?}");
    }
}

/// What is summed with what does not depend on how many rows a block has, or on where the weights are.
#[test]
fn a_plan_is_the_same_in_blocks_of_any_size() {
    for dynamics in [DynamicsKind::Koopman, DynamicsKind::Mlp] {
        let mut config = config(dynamics);
        // nearly all count, so that those of the policy do
        (config.model.hidden_dim, config.planner.num_elites) = (40, 40);
        let bits = |tiles| {
            let found = decide(&config, Precision::F32, tiles).into_iter();
            let numbers = found.flat_map(|(found, _)| [found.action, found.mean, vec![found.elite_score]]);
            numbers.flatten().map(f32::to_bits).collect::<Vec<u32>>()
        };
        let alone = bits((1, 1, LARGE));
        for cut in [(1, 1, LEAN), (1, 1, SMALL), (2, 2, LARGE), (2, 1, SMALL), (4, 4, LARGE), (4, 2, SMALL)] {
            assert!(bits(cut) == alone, "{dynamics:?}, {cut:?}");
        }
    }
}

/// Eight bits of every factor: scores are near, as if none were below `least`; sequences that are nearly as good may take each other's
/// places.
fn nearly_agree(name: &str, least: f32, decisions: Vec<(Answer, crate::agent::Decision)>) {
    for (found, known) in decisions {
        assert_eq!(found.bad_scores, 0.0, "{name}");
        assert!(
            (found.elite_score - known.elite_score).abs() < 0.05 * known.elite_score.abs().max(least),
            "{name}: {} instead of {}",
            found.elite_score,
            known.elite_score
        );
    }
}

/// Widths that do not fill fragments: what lies behind them has to be numbers (sums that warps had shared, read as pairs of bfloat16, were
/// not).
#[test]
fn plans_in_bfloat16_have_nearly_the_scores_of_others() {
    for (dynamics, cut) in [
        (DynamicsKind::Koopman, (1, 1, LARGE)),
        (DynamicsKind::Koopman, (4, 2, SMALL)),
        (DynamicsKind::Mlp, (2, 1, SMALL)),
    ] {
        let mut config = config(dynamics);
        config.model.hidden_dim = 40;
        config.model.koopman.control.gate_hidden = 24;
        nearly_agree("widths between", 0.2, decide(&config, Precision::Bf16, cut));
    }
}
