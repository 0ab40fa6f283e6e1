//! Packed networks against the tensors.

use super::*;
use crate::config::{Continuation, ControlForm, DynamicsKind, LatentNorm, ModelConfig, RemainderConfig};
use crate::config::{Recipe, tests::tiny_of_both};
use crate::model::{Pick, Reduce, Returns};
use crate::rng::Stream;
use crate::test_support::{max_difference, normal, values};

const CONDITIONINGS: [Conditioning; 3] = [Conditioning::Along, Conditioning::Start, Conditioning::Nominal];

/// A tail whose critics are as the recipe asks them: the same for all, or drawn for each environment.
fn tail(snapshot: &Snapshot, noise: Tensor<3>) -> Tail {
    let drawn = |e| match e % 3 {
        0 => Pick { critics: [2, 0], reduce: Reduce::Mean },
        1 => Pick { critics: [0, 1], reduce: Reduce::Mean },
        _ => Pick { critics: [1, 2], reduce: Reduce::Min },
    };
    let picks = match snapshot.world().critics.len() {
        2 => vec![Pick::SMALLER],
        _ => (0..noise.dims()[0]).map(drawn).collect(),
    };
    Tail { noise, picks }
}

fn build(config: &ModelConfig) -> Snapshot {
    build_with(config, Precision::F32)
}

fn build_with(config: &ModelConfig, precision: Precision) -> Snapshot {
    let stream = &mut Stream::new(1, "init");
    let mut world = World::new(config, 4, 3, stream, &crate::device::cpu());
    world.open(stream);
    Snapshot::new(world, precision)
}

/// Every form of the dynamics with both recipes, without and with a continuation; and every bound of latents.
fn configs() -> Vec<(String, ModelConfig)> {
    use ControlForm::{Additive, Bilinear, Gated};
    let nothing = RemainderConfig::default();
    let remainder = RemainderConfig { correction_hidden: 7, modulation: 0.5 };
    let kinds = [
        ("gated", DynamicsKind::Koopman, Gated, 1, &nothing),
        ("additive", DynamicsKind::Koopman, Additive, 1, &nothing),
        ("bilinear", DynamicsKind::Koopman, Bilinear, 1, &nothing),
        ("held", DynamicsKind::Koopman, Gated, 3, &nothing),
        ("remainder", DynamicsKind::Koopman, Gated, 1, &remainder),
        ("mlp", DynamicsKind::Mlp, Additive, 1, &nothing),
    ];
    let mut configs = Vec::new();
    for (name, dynamics, form, every, remainder) in kinds {
        for mut config in tiny_of_both(dynamics).map(|config| config.model) {
            (config.koopman.control.form, config.koopman.control.recondition_every) = (form, every);
            config.koopman.remainder = remainder.clone();
            // widths that do not fill registers
            (config.hidden_dim, config.koopman.control.encoded_dim) = (35, 9);
            for continuation in [Continuation::Off, Continuation::On] {
                config.continuation = continuation;
                configs.push((format!("{:?} {name} {continuation:?}", config.recipe), config.clone()));
            }
        }
    }
    let (_, mlp) = configs.last().cloned().expect("there are some");
    assert_eq!((mlp.recipe, mlp.dynamics), (Recipe::V2, DynamicsKind::Mlp));
    for norm in [LatentNorm::None, LatentNorm::Rms] {
        let mut config = mlp.clone();
        config.v2.latent_norm = norm;
        configs.push((format!("{norm:?}"), config));
    }
    // groups and a latent that are no multiple of a register
    let mut odd = mlp;
    (odd.latent_dim, odd.v2.simnorm_group) = (20, 5);
    configs.push(("groups of five".into(), odd));
    configs
}

fn snapshots() -> impl Iterator<Item = (String, Snapshot)> {
    configs().into_iter().map(|(name, config)| (name, build(&config)))
}

/// The same, and those that plan with rounded numbers.
fn snapshots_of_both() -> impl Iterator<Item = (String, Snapshot)> {
    let rounded = |(name, config): (String, ModelConfig)| {
        (format!("{name}, rounded"), build_with(&config, Precision::Bf16))
    };
    snapshots().chain(configs().into_iter().map(rounded))
}

/// D of a snapshot.
fn latent(snapshot: &Snapshot) -> usize {
    snapshot.packed(&crate::device::cpu()).expect("it has a packed form").latent
}

/// The full-latent path of plain tensors is the reference, for every conditioning, several environments and
/// sequences that do not fill blocks.
#[test]
fn blocks_of_sequences_score_as_the_tensors_do() {
    for (name, snapshot) in snapshots() {
        for conditioning in CONDITIONINGS {
            for (e, n, h) in [(1, 1, 1), (2, 37, 5), (1, 130, 20)] {
                let (z0, a) =
                    (normal::<2>([e, latent(&snapshot)], 3), normal::<4>([e, n, h, 3], 4).clamp(-1.0, 1.0));
                let tails = tail(&snapshot, normal::<3>([e, n, 3], 5) * 0.1);
                let nominal = normal::<3>([e, h, 3], 6) * 0.3;
                // at all depths in some of them, at the end in the others
                let returns = &Returns::lambda(0.9, if n == 37 { 0.6 } else { 1.0 });
                let gates = snapshot.gates(conditioning, z0.clone(), nominal);
                let packed = snapshot.score(z0.clone(), a.clone(), tails.clone(), gates.clone(), returns);
                let reference = snapshot.world().score(z0, a, tails, gates, returns);
                let scale = reference.clone().abs().max().into_scalar::<f32>();
                let difference = max_difference(packed, reference);
                assert!(difference < 1e-4 * scale, "{name} {conditioning:?} {h}: {difference} of {scale}");
            }
        }
    }
}

/// Eight bits a factor are 0.2 % of it; errors of a product's terms cancel, those of steps add up.
#[test]
fn rounded_scores_and_proposals_stay_near() {
    // where an end is predicted a logit just above zero may come to lie just below
    for (name, config) in configs().into_iter().filter(|(_, c)| c.continuation == Continuation::Off) {
        let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|p| build_with(&config, p));
        let (z0, a) = (normal::<2>([2, latent(&exact)], 3), normal::<4>([2, 50, 5, 3], 4).clamp(-1.0, 1.0));
        let scores = |snapshot: &Snapshot| {
            let tail = tail(snapshot, normal::<3>([2, 50, 3], 5) * 0.1);
            snapshot.score(z0.clone(), a.clone(), tail, None, &Returns::to_the_end(0.9))
        };
        let scale = scores(&exact).abs().max().into_scalar::<f32>();
        let difference = max_difference(scores(&exact), scores(&rounded)) / scale;
        // not the same numbers, or nothing was rounded
        assert!(1e-5 < difference && difference < 0.03, "{name}: {difference}");
        let propose = |snapshot: &Snapshot| snapshot.propose(z0.clone(), a.clone() * 0.1);
        let difference = max_difference(propose(&exact), propose(&rounded));
        assert!(difference < 0.03, "{name}: {difference}");
    }
}

#[test]
fn blocks_are_equal_shares_within_bounds() {
    let of = |threads, environments, count| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| block(environments, count))
    };
    // 192, 192, 128 would leave the second of two threads with less
    assert_eq!([of(1, 1, 512), of(2, 1, 512), of(4, 1, 512)], [171, 128, 128]);
    assert_eq!([of(1, 1, 128), of(2, 8, 512), of(16, 1, 128), of(2, 1, 1)], [128, 171, 24, 24]);
}

#[test]
fn gates_equal_those_of_the_tensors() {
    let mut shared = 0;
    for (name, snapshot) in snapshots() {
        for conditioning in CONDITIONINGS {
            for h in [1, 4] {
                let (z0, nominal) = (normal::<2>([2, latent(&snapshot)], 3), normal::<3>([2, h, 3], 4));
                let packed = snapshot.gates(conditioning, z0.clone(), nominal.clone());
                match (packed, snapshot.world().dynamics.gates(conditioning, z0, nominal)) {
                    (Some(a), Some(b)) => {
                        shared += 1;
                        assert!(max_difference(a, b) < 1e-5, "{name} {conditioning:?} {h}");
                    }
                    (a, b) => assert!(a.is_none() && b.is_none(), "{name} {conditioning:?} {h}"),
                }
            }
        }
    }
    assert_eq!(shared, 64);
}

/// To the bit: there is nothing else to plan with.
#[test]
fn what_has_no_packed_form_plans_with_the_tensors() {
    let sequences = [DynamicsKind::Gru, DynamicsKind::Transformer, DynamicsKind::Dssm];
    for config in sequences.into_iter().flat_map(tiny_of_both).map(|config| config.model) {
        let snapshot = build(&config);
        assert!(snapshot.world().packed(Precision::F32).is_none());
        let (z0, a) = (normal::<2>([2, 16], 3), normal::<4>([2, 37, 5, 3], 4));
        let tails = tail(&snapshot, normal::<3>([2, 37, 3], 5) * 0.1);
        let gates = snapshot.gates(Conditioning::Nominal, z0.clone(), normal::<3>([2, 5, 3], 6));
        assert!(gates.is_none());
        let score = snapshot.score(z0.clone(), a.clone(), tails.clone(), None, &Returns::to_the_end(0.9));
        let reference = snapshot.world().score(z0.clone(), a.clone(), tails, None, &Returns::to_the_end(0.9));
        assert_eq!(score.into_data(), reference.into_data(), "{config:?}");
        let (proposed, reference) =
            (snapshot.propose(z0.clone(), a.clone()), snapshot.world().propose(z0, a));
        assert_eq!(proposed.into_data(), reference.into_data(), "{config:?}");
    }
}

#[test]
fn proposals_equal_those_of_the_tensors() {
    for (name, snapshot) in snapshots() {
        let (z0, noise) = (normal::<2>([2, latent(&snapshot)], 3), normal::<4>([2, 5, 4, 3], 4) * 0.1);
        let packed = snapshot.propose(z0.clone(), noise.clone());
        assert!(max_difference(packed, snapshot.world().propose(z0, noise)) < 1e-5, "{name}");
    }
}

/// To the bit, whatever the threads share.
#[test]
fn proposals_do_not_depend_on_threads() {
    for (name, snapshot) in snapshots() {
        let (z0, noise) = (normal::<2>([2, latent(&snapshot)], 3), normal::<4>([2, 61, 4, 3], 4) * 0.1);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| snapshot.propose(z0.clone(), noise.clone()).into_data())
        };
        let alone = on(1);
        for threads in [2, 5] {
            assert_eq!(on(threads), alone, "{name}, {threads} threads");
        }
    }
}

/// To the bit: neither the threads, nor the environments planned together, nor their candidates change a score.
#[test]
fn scores_depend_on_nothing_but_the_sequence() {
    for (name, snapshot) in snapshots_of_both() {
        let (z0, a) = (normal::<2>([3, latent(&snapshot)], 3), normal::<4>([3, 101, 4, 3], 4));
        let tails = normal::<3>([3, 101, 3], 5);
        let score = |e: usize, count: usize, n: usize, m: usize| {
            let part = |t: Tensor<4>| t.narrow(0, e, count).narrow(1, n, m);
            let tails = part(tails.clone().unsqueeze_dim(3)).reshape([count, m, 3]);
            let z0 = z0.clone().narrow(0, e, count);
            let mut tail = tail(&snapshot, normal::<3>([3, 1, 3], 0));
            tail.noise = tails;
            if let [_, _, _] = tail.picks[..] {
                tail.picks = tail.picks[e..e + count].to_vec();
            }
            snapshot.score(z0, part(a.clone()), tail, None, &Returns::to_the_end(0.9)).into_data()
        };
        let whole = score(0, 3, 0, 101);
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for threads in [1, 2, 5] {
            assert_eq!(pool(threads).install(|| score(0, 3, 0, 101)), whole, "{name}, {threads} threads");
        }
        let whole: Vec<f32> = whole.try_to_vec().unwrap();
        let part: Vec<f32> = score(1, 2, 40, 8).try_to_vec().unwrap();
        assert_eq!(part[..8], whole[101 + 40..][..8], "{name}");
        assert_eq!(part[8..], whole[202 + 40..][..8], "{name}");
    }
}

/// A NaN weight must make the score a NaN, which the planner counts, not a plausible number; also behind an end that the
/// model predicts.
#[test]
fn a_broken_critic_is_seen_in_the_score() {
    for (name, snapshot) in snapshots_of_both() {
        let mut world = snapshot.world().clone();
        (0..world.critics.len()).for_each(|i| world.break_critic(i));
        let score = |snapshot: &Snapshot| {
            let (z0, a) = (normal::<2>([1, latent(snapshot)], 3), normal::<4>([1, 50, 2, 3], 4));
            values(snapshot.score(
                z0,
                a,
                tail(snapshot, normal::<3>([1, 50, 3], 5)),
                None,
                &Returns::to_the_end(0.9),
            ))
        };
        assert!(score(&snapshot).iter().all(|x| x.is_finite()), "{name}");
        assert!(score(&Snapshot::new(world, snapshot.precision)).iter().all(|x| x.is_nan()), "{name}");
    }
}

/// A latent that is not a number has no plausible score either, whatever the heads make of it.
#[test]
fn a_broken_latent_is_seen_in_the_score() {
    for (name, snapshot) in snapshots_of_both() {
        let z0 = normal::<2>([1, latent(&snapshot)], 3) * f32::NAN;
        let tail = tail(&snapshot, normal::<3>([1, 7, 3], 5));
        let score = snapshot.score(z0, normal::<4>([1, 7, 3, 3], 4), tail, None, &Returns::to_the_end(0.9));
        assert!(values(score).iter().all(|x| x.is_nan()), "{name}");
    }
}

/// If the model expects the episode to end with the first step, that step's reward is all there is; if it never does, the
/// score is that of a model without a continuation.
#[test]
fn nothing_counts_behind_a_predicted_end() {
    for (name, config) in configs().into_iter().filter(|(_, c)| c.continuation == Continuation::On) {
        let always = |logit| {
            let mut world = build(&config).world().clone();
            world.set_continuation(logit);
            Snapshot::new(world, Precision::F32)
        };
        let [ending, going_on, endless] = [Some(-1.0), Some(1.0), None].map(always);
        let d = latent(&ending);
        let (z0, a) = (normal::<2>([2, d], 3), normal::<4>([2, 30, 4, 3], 4));
        let score = |snapshot: &Snapshot| {
            let noise = normal::<3>([2, 30, 3], 5);
            snapshot.score(z0.clone(), a.clone(), tail(snapshot, noise), None, &Returns::to_the_end(0.9))
        };
        let first = a.clone().narrow(2, 0, 1).reshape([60, 3]);
        let z = z0.clone().unsqueeze_dim::<3>(1).repeat_dim(1, 30).reshape([60, d]);
        let reward = ending.world().reward(Tensor::cat(vec![z, first], 1)).reshape([2, 30]);
        assert!(max_difference(score(&ending), reward.clone()) < 1e-5, "{name}");
        assert_eq!(score(&going_on).into_data(), score(&endless).into_data(), "{name}");
        assert!(max_difference(score(&going_on), reward) > 0.1, "{name}");
    }
}
