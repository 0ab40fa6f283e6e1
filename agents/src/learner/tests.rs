//! The learner as a whole.

use super::*;
use crate::config::tests::tiny_of_both;
use crate::config::{
    AgentConfig, Conditioning, Continuation, DynamicsKind, LatentNorm, PlannerKind, Precision, Recipe,
    UpdateKernels, ValueBounds,
};
use crate::model::{Pick, Returns, Tail};
use crate::replay::{Batch, Ending, Episode, Replay};
use crate::rng::Stream;
use crate::test_support::{max_difference, normal};
use std::collections::BTreeMap;

pub(super) const OBSERVATION: usize = 4;
const ACTION: usize = 2;

pub(super) fn learner(config: &AgentConfig) -> Learner {
    learner_of(config, [OBSERVATION, ACTION])
}

/// For observations and actions of these sizes.
pub(super) fn learner_of(config: &AgentConfig, [observation, action]: [usize; 2]) -> Learner {
    Learner::new(config, observation, action, &mut Stream::new(1, "init"), &crate::device::cpu())
}

/// Episodes of a smooth made-up system with a reward that depends on state and action.
fn replay(config: &AgentConfig, [o, a]: [usize; 2]) -> Replay {
    let mut stream = Stream::new(2, "data");
    let mut replay = Replay::new(&config.replay, config.learner.horizon, o, a);
    for _ in 0..10 {
        let mut x = stream.normal(o);
        let mut episode = Episode::start(&x);
        for _ in 0..30 {
            let action = stream.uniform(a, -1.0, 1.0);
            let reward = action[0] * x[0].tanh() + 0.5;
            x = (0..o).map(|i| 0.9 * x[i] + 0.2 * x[(i + 1) % o].sin() + 0.1 * action[i % a]).collect();
            episode.push(&action, reward, &x);
        }
        replay.add(&episode, Ending::Truncated).unwrap();
    }
    replay
}

pub(super) fn batches(config: &AgentConfig, n: usize) -> Vec<Batch> {
    batches_of(config, [OBSERVATION, ACTION], n)
}

pub(super) fn batches_of(config: &AgentConfig, sizes: [usize; 2], n: usize) -> Vec<Batch> {
    let (replay, mut stream) = (replay(config, sizes), Stream::new(3, "replay"));
    let draw = |_| {
        let mut batch = Batch::default();
        replay.sample(config.learner.batch_size, config.learner.horizon, &mut stream, &mut batch);
        batch
    };
    (0..n).map(draw).collect()
}

#[test]
fn losses_fall_for_all_dynamics() {
    for config in DynamicsKind::ALL.into_iter().flat_map(tiny_of_both) {
        let (mut learner, mut noise) = (learner(&config), Stream::new(4, "noise"));
        let losses: Vec<Losses> =
            batches(&config, 300).iter().map(|b| learner.update(b, &mut noise).losses).collect();
        let mean = |part: &[Losses]| part.iter().map(|l| l.reward).sum::<f64>() / part.len() as f64;
        let fallen = mean(&losses[280..]) / mean(&losses[..5]);
        // a cross-entropy has a floor: that of the two bins that a reward lies between
        let least = if config.model.recipe == Recipe::V1 { 0.2 } else { 0.5 };
        assert!(fallen < least, "{:?} {:?}: {fallen}", config.model.recipe, config.model.dynamics);
        assert!(losses.iter().all(|l| l.terms().iter().all(|x| x.is_finite())));
        assert_eq!(learner.updates(), 300);
    }
}

/// Every network multiplies them: losses are others, and as good. On a processor that has no such products nothing changes.
#[test]
fn rounded_products_learn_as_well() {
    for mut config in [DynamicsKind::Koopman, DynamicsKind::Mlp].into_iter().flat_map(tiny_of_both) {
        let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|precision| {
            // rounded products are plain tensors'
            (config.learner.precision, config.learner.kernels) = (precision, UpdateKernels::None);
            let (mut learner, mut noise) = (learner(&config), Stream::new(4, "noise"));
            let update = |b: &Batch| learner.update(b, &mut noise).losses.reward;
            batches(&config, 300).iter().map(update).collect::<Vec<_>>()
        });
        let mean = |losses: &[f64]| losses[280..].iter().sum::<f64>() / 20.0;
        let ratio = mean(&rounded) / mean(&exact);
        assert!(
            (0.8..1.25).contains(&ratio),
            "{:?} {:?}: {ratio}",
            config.model.recipe,
            config.model.dynamics
        );
        let other = rounded != exact;
        let could = crate::device::multiplies_bf16();
        assert_eq!(other, could, "products are rounded");
    }
}

/// tdmpc2#28 (replay and optimiser not restored) and newt (optimisers saved and dropped): a restored learner must
/// continue bit by bit.
#[test]
fn a_restored_learner_continues_bit_by_bit() {
    for mut config in DynamicsKind::ALL.into_iter().flat_map(tiny_of_both) {
        config.model.continuation = Continuation::On;
        let (mut a, mut noise) = (learner(&config), Stream::new(4, "noise"));
        let batches = batches(&config, 9);
        batches[..5].iter().for_each(|b| drop(a.update(b, &mut noise)));
        let mut b =
            Learner::new(&config, OBSERVATION, ACTION, &mut Stream::new(77, "init"), &crate::device::cpu());
        b.import(&a.export()).unwrap();
        let mut noise_b = noise.clone();
        for batch in &batches[5..] {
            let (x, y) = (a.update(batch, &mut noise), b.update(batch, &mut noise_b));
            assert_eq!((x.losses, x.priorities), (y.losses, y.priorities));
        }
        assert_eq!(a.export(), b.export());
    }
}

#[test]
fn foresight_is_measured_while_learning() {
    for config in tiny_of_both(DynamicsKind::Koopman) {
        let (mut learner, mut noise) = (learner(&config), Stream::new(4, "noise"));
        assert_eq!(learner.reward_trust(), [1.0]);
        batches(&config, 20).iter().for_each(|b| drop(learner.update(b, &mut noise)));
        let trust = learner.reward_trust();
        assert_eq!((trust.len(), trust[0]), (config.learner.horizon, 1.0));
        assert!(trust.windows(2).all(|w| w[1] <= w[0] && w[1] >= 0.0), "{trust:?}");
        let sums = &learner.export().parameters["trust.reward_sums"];
        assert!(sums.values.chunks(4).all(|s| s[0] > 0.0 && s[2] > 0.0 && s[3] > 0.0), "{sums:?}");
    }
}

fn changed(before: &LearnerState, after: &LearnerState) -> Vec<String> {
    let world = |(name, p): (&String, &Parameter)| {
        (name.starts_with("world.") && before.parameters[name] != *p).then(|| name.clone())
    };
    after.parameters.iter().filter_map(world).collect()
}

/// The policy loss passes through the critics and must not move them; the model loss must not move the policy.
#[test]
fn policy_and_model_are_trained_apart() {
    tiny_of_both(DynamicsKind::Koopman).into_iter().for_each(trained_apart);
}

fn trained_apart(mut config: AgentConfig) {
    let (batches, mut noise) = (batches(&config, 6), Stream::new(4, "noise"));
    // critics start at zero, where the policy has no gradient
    let mut begun = learner(&config);
    batches[..3].iter().for_each(|b| drop(begun.update(b, &mut noise)));
    let before = begun.export();
    for (model, policy) in [(1e-3, 0.0), (0.0, 1e-3)] {
        (config.learner.learning_rate, config.learner.policy_learning_rate) = (model, policy);
        let mut learner = learner(&config);
        learner.import(&before).unwrap();
        batches[3..].iter().for_each(|b| drop(learner.update(b, &mut noise)));
        let changed = changed(&before, &learner.export());
        assert!(!changed.is_empty());
        for name in changed {
            assert_eq!(name.starts_with("world.policy"), policy > 0.0, "{name} moved");
        }
    }
}

/// rsl_rl, burn-rl, rlevo treat truncation as termination. One-step episodes that always pay 1: worth 1 if they
/// terminate, and more and more (up to 1/(1 − γ)) if they were only cut off.
#[test]
fn values_bootstrap_through_a_time_limit_and_not_through_a_termination() {
    tiny_of_both(DynamicsKind::Mlp).into_iter().for_each(bootstraps);
}

fn bootstraps(mut config: AgentConfig) {
    config.learner.discount = 0.8;
    let value_after = |ending| {
        let mut replay = Replay::new(&config.replay, config.learner.horizon, OBSERVATION, ACTION);
        for _ in 0..50 {
            let mut episode = Episode::start(&[0.5; OBSERVATION]);
            episode.push(&[0.1; ACTION], 1.0, &[0.5; OBSERVATION]);
            replay.add(&episode, ending).unwrap();
        }
        let (mut learner, mut stream, mut batch) = (learner(&config), Stream::new(5, "s"), Batch::default());
        for _ in 0..1500 {
            replay.sample(32, config.learner.horizon, &mut stream, &mut batch);
            learner.update(&batch, &mut stream);
        }
        let z = learner.online().world().encode(tensor(&[0.5; OBSERVATION]));
        let za = burn::Tensor::cat(vec![z, tensor(&[0.1; ACTION])], 1);
        learner.online().world().value(za, Pick::SMALLER).into_scalar::<f32>()
    };
    let (terminated, truncated) = (value_after(Ending::Terminated), value_after(Ending::Truncated));
    assert!((terminated - 1.0).abs() < 0.1, "a terminated step is worth its reward, not {terminated}");
    assert!(truncated > 3.0, "a truncated step goes on paying: {truncated}");
}

fn tensor(x: &[f32]) -> burn::Tensor<2> {
    burn::Tensor::<1>::from_floats(x, &crate::device::cpu()).unsqueeze()
}

/// The policy was once trained behind a termination, where no critic is.
#[test]
fn the_policy_has_to_act_in_all_real_latents_but_those_behind_an_end() {
    let rows = |values: [[f32; 3]; 3]| burn::Tensor::<2>::from_floats(values, &crate::device::cpu());
    let mask = rows([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]);
    let terminated = rows([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]);
    let found = crate::test_support::values(super::update::to_act_in(mask, terminated));
    assert_eq!(found, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for mut config in tiny_of_both(DynamicsKind::Koopman) {
        for precision in [Precision::F32, Precision::Bf16] {
            config.learner.precision = precision;
            same_on_any_number_of_threads(config.clone());
        }
    }
}

fn same_on_any_number_of_threads(config: AgentConfig) {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut config = config.clone();
            // large enough to be split among threads
            (config.model.hidden_dim, config.learner.batch_size) = (192, 200);
            let (mut learner, mut noise) = (learner(&config), Stream::new(4, "noise"));
            batches(&config, 3).iter().for_each(|b| drop(learner.update(b, &mut noise)));
            learner.export()
        })
    };
    let (one, four) = (run(1), run(4));
    let differing: BTreeMap<_, _> =
        one.parameters.iter().filter(|(name, p)| four.parameters[*name] != **p).collect();
    assert!(differing.is_empty(), "{:?} differ", differing.keys());
}

/// What a planner climbs: against differences of the score it is measured by, for every way a gate can look.
#[test]
fn gradients_of_returns_are_those_of_the_score() {
    let kinds = [
        (DynamicsKind::Koopman, Conditioning::Along),
        (DynamicsKind::Koopman, Conditioning::Start),
        (DynamicsKind::Koopman, Conditioning::Nominal),
        (DynamicsKind::Mlp, Conditioning::Along),
    ];
    let both = kinds.into_iter().flat_map(|(d, c)| tiny_of_both(d).map(|config| (config, d, c)));
    for (mut config, dynamics, conditioning) in both {
        // gradients need tensors
        config.planner.kind = PlannerKind::Grad;
        let (mut learner, mut noise) = (learner(&config), Stream::new(4, "noise"));
        // heads and gates start at zero
        batches(&config, 100).iter().for_each(|b| drop(learner.update(b, &mut noise)));
        let before = learner.export();
        let world = learner.online().world();
        let z0 = world.encode(normal::<2>([2, OBSERVATION], 5));
        let actions = normal::<4>([2, 3, 4, ACTION], 6) * 0.4;
        let tail = Tail { noise: normal::<3>([2, 3, ACTION], 7) * 0.05, picks: vec![Pick::SMALLER] };
        let gates = world.dynamics.gates(conditioning, z0.clone(), normal::<3>([2, 4, ACTION], 8) * 0.3);
        let returns = &Returns::lambda(0.99, 0.8);
        let score = |actions| world.score(z0.clone(), actions, tail.clone(), gates.clone(), returns);
        let (scores, gradient) =
            learner.score_gradient(z0.clone(), actions.clone(), tail.clone(), gates.clone(), returns);
        assert!(max_difference(scores, score(actions.clone())) < 1e-5, "{dynamics:?} {conditioning:?}");
        // along one direction for all sequences at once, each of which sees only its own actions
        let direction = normal::<4>([2, 3, 4, ACTION], 9);
        let step = 1e-2;
        let [up, down] = [step, -step].map(|s| score(actions.clone() + direction.clone() * s));
        let slope = (gradient * direction).sum_dim(3).sum_dim(2).reshape([2, 3]);
        let scale = slope.clone().abs().max().into_scalar::<f32>();
        let difference = max_difference((up - down) / (2.0 * step), slope);
        assert!(
            scale > 1e-2 && difference < 0.02 * scale,
            "{dynamics:?} {conditioning:?}: {difference} of {scale}"
        );
        assert_eq!(learner.export(), before, "the networks stay");
    }
}

/// A reward and a termination that the observation foretells: x_0 grows by 0.1 a step, and where it exceeds 1 it is over.
fn ending_replay(config: &AgentConfig) -> Replay {
    let mut stream = Stream::new(2, "data");
    let mut replay = Replay::new(&config.replay, config.learner.horizon, OBSERVATION, ACTION);
    for _ in 0..60 {
        let mut x = stream.uniform(OBSERVATION, -1.0, 0.5);
        let mut episode = Episode::start(&x);
        while x[0] <= 1.0 {
            let a = stream.uniform(ACTION, -1.0, 1.0);
            x[0] += 0.1 + 0.1 * a[0];
            episode.push(&a, 1.0, &x);
        }
        replay.add(&episode, Ending::Terminated).unwrap();
    }
    replay
}

/// Terminations are learned, and sequences that lead there are worth less than those that do not.
#[test]
fn a_model_that_predicts_terminations_avoids_them() {
    let [first, _] = tiny_of_both(DynamicsKind::Mlp);
    let [_, second] = tiny_of_both(DynamicsKind::Koopman);
    for mut config in [first, second] {
        config.model.continuation = Continuation::On;
        config.learner.learning_rate = 3e-3;
        let replay = ending_replay(&config);
        let (mut learner, mut stream, mut batch) = (learner(&config), Stream::new(5, "s"), Batch::default());
        for _ in 0..1500 {
            replay.sample(config.learner.batch_size, config.learner.horizon, &mut stream, &mut batch);
            learner.update(&batch, &mut stream);
        }
        let loss = learner.update(&batch, &mut stream).losses.continuation;
        assert!(loss < 0.5 * std::f64::consts::LN_2, "no better than a coin: {loss}");
        let world = learner.online().world();
        let z = world.encode(tensor(&[0.7, 0.0, 0.0, 0.0]));
        // a = (1, ·) adds 0.2 a step, a = (−1, ·) nothing
        let actions = [1.0, -1.0].map(|a| burn::Tensor::<4>::full([1, 1, 4, ACTION], a, &z.device()));
        let tail = Tail { noise: normal::<3>([1, 2, ACTION], 7) * 0.0, picks: vec![Pick::SMALLER] };
        let actions = burn::Tensor::cat(actions.to_vec(), 1);
        let scores =
            crate::test_support::values(world.score(z, actions, tail, None, &Returns::to_the_end(0.9)));
        let recipe = config.model.recipe;
        assert!(scores[0] < 3.0, "two steps and it is over, or three: {scores:?} {recipe:?}");
        assert!(scores[1] > scores[0] + 1.0, "it need not be: {scores:?} {recipe:?}");
    }
}

/// Values of the size of thousands do not drown the entropy: the policy climbs in units of their spread.
#[test]
fn the_scale_of_values_follows_their_spread() {
    let [_, config] = tiny_of_both(DynamicsKind::Mlp);
    let mut replay = Replay::new(&config.replay, config.learner.horizon, OBSERVATION, ACTION);
    for i in 0..20 {
        let x = [i as f32 / 10.0 - 1.0, 0.0, 0.0, 0.0];
        let mut episode = Episode::start(&x);
        episode.push(&[0.1; ACTION], 40.0 * x[0], &x);
        replay.add(&episode, Ending::Terminated).unwrap();
    }
    let (mut learner, mut stream, mut batch) = (learner(&config), Stream::new(5, "s"), Batch::default());
    let scale = |learner: &Learner| learner.export().parameters["target.value_scale"].values[0];
    assert_eq!(scale(&learner), 1.0);
    for _ in 0..1200 {
        replay.sample(32, config.learner.horizon, &mut stream, &mut batch);
        learner.update(&batch, &mut stream);
    }
    // rewards are even in ±40, of which 90 % are 72; values lag behind
    assert!((20.0..85.0).contains(&scale(&learner)), "{}", scale(&learner));
}

/// Targets of TD-MPC2 copy only critics, and those follow.
#[test]
fn only_critics_are_followed_by_the_second_recipe() {
    let [first, second] = tiny_of_both(DynamicsKind::Mlp).map(|config| learner(&config).export());
    let followed = |state: &LearnerState, part: &str| {
        state.parameters.keys().any(|name| name.starts_with("target.") && name.contains(part))
    };
    assert!(followed(&first, "encoder") && followed(&first, "critics") && !followed(&second, "encoder"));
    let critics =
        second.parameters.keys().filter(|name| name.starts_with("target.") && name.ends_with("gamma"));
    assert_eq!(critics.count(), 3 * 2, "two LayerNorms in each of three");
}

/// Every way to bound a latent learns, with every dynamics.
#[test]
fn every_latent_norm_learns() {
    for latent_norm in [LatentNorm::None, LatentNorm::Simnorm, LatentNorm::Rms] {
        for dynamics in DynamicsKind::ALL {
            let [_, mut config] = tiny_of_both(dynamics);
            config.model.v2.latent_norm = latent_norm;
            let (mut learner, mut noise) = (learner(&config), Stream::new(4, "noise"));
            let rewards: Vec<f64> =
                batches(&config, 100).iter().map(|b| learner.update(b, &mut noise).losses.reward).collect();
            assert!(rewards[99] < 0.8 * rewards[0], "{latent_norm:?} {dynamics:?}: {rewards:?}");
        }
    }
}

/// Rewards of 0 allow values of 0 only: what the slow critics say no longer matters.
#[test]
fn bounds_of_values_reach_the_targets_of_both_recipes() {
    for mut config in tiny_of_both(DynamicsKind::Koopman) {
        let batch = Batch { reward_range: [0.0; 2], ..batches(&config, 1).remove(0) };
        let mut value_losses = |bounds| {
            config.learner.value_bounds = bounds;
            [1.0, 3.0].map(|factor| {
                let mut learner = learner(&config);
                let mut state = learner.export();
                let mut stream = Stream::new(5, "critics");
                // heads start at zero, where the cross-entropy is the same for every target
                let online =
                    state.parameters.iter_mut().filter(|(name, _)| name.starts_with("world.critics"));
                online.for_each(|(_, p)| p.values = stream.uniform(p.values.len(), -0.1, 0.1));
                // the second recipe has no other slow networks
                let of = |name: &str| match config.model.recipe {
                    Recipe::V1 => name.starts_with("target.critics"),
                    Recipe::V2 => name.starts_with("target.") && !name.ends_with("value_scale"),
                };
                let critics = state.parameters.iter_mut().filter(|(name, _)| of(name));
                critics.for_each(|(_, p)| {
                    p.values = stream.normal(p.values.len()).iter().map(|x| factor * x).collect();
                });
                learner.import(&state).unwrap();
                learner.update(&batch, &mut Stream::new(4, "noise")).losses.value
            })
        };
        let [one, other] = value_losses(ValueBounds::Rewards);
        assert_eq!(one, other, "{:?}", config.model.recipe);
        let [one, other] = value_losses(ValueBounds::None);
        assert_ne!(one, other, "{:?}", config.model.recipe);
    }
}
