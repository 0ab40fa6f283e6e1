//! Planning on a CPU: the networks with packed weights, and candidates scored block by block.
//!
//! [`World`] does the same with plain tensors on any device, and is what these kernels are tested against. What has no
//! packed form plans there on a CPU as well: dynamics with a memory, the second recipe, and models that predict
//! terminations.

mod lanes;
mod layer;
mod motion;
mod network;
mod tile;

pub(crate) use layer::Layer;
pub(crate) use motion::{KoopmanMotion, Motion};
pub(crate) use network::Network;

use crate::config::Conditioning;
use crate::device::is_plain_flex;
use crate::model::{Tail, World};
use crate::ops::contiguous_flex;
use burn::prelude::*;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::sync::OnceLock;
use tile::{Sequences, Tile};

/// Fewest and most sequences of a block.
const BLOCK: [usize; 2] = [24, 96];

/// Networks that planning needs, packed.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// D
    pub latent: usize,
    /// A
    pub actions: usize,
    pub motion: Motion,
    pub reward: Network,
    pub critics: [Network; 2],
    /// Ends with tanh.
    pub policy: Network,
}

/// The networks to act with: never changed, so that nothing packed outlives the weights it was packed from. An update
/// makes a new one.
#[derive(Clone, Debug)]
pub struct Snapshot {
    world: World,
    /// Once somebody planned on a CPU; `None` inside for networks without a packed form.
    packed: OnceLock<Option<Packed>>,
}

impl Snapshot {
    /// Of networks without gradients.
    pub fn new(world: World) -> Self {
        Self { world, packed: OnceLock::new() }
    }

    /// The networks.
    pub fn world(&self) -> &World {
        &self.world
    }

    fn packed(&self, on: &Device) -> Option<&Packed> {
        if !is_plain_flex(on) {
            return None;
        }
        self.packed.get_or_init(|| self.world.packed()).as_ref()
    }

    /// See [`Dynamics::gates`](crate::model::dynamics::Dynamics::gates).
    pub fn gates(&self, conditioning: Conditioning, z0: Tensor<2>, nominal: Tensor<3>) -> Option<Tensor<3>> {
        let device = z0.device();
        let Some(packed) = self.packed(&device) else {
            return self.world.dynamics.gates(conditioning, z0, nominal);
        };
        if conditioning == Conditioning::Along {
            return None;
        }
        let [environments, horizon, action_dim] = nominal.dims();
        let (z0, nominal) = (contiguous_flex(z0), contiguous_flex(nominal));
        let mut tile = Tile::default();
        let of_environment = |e| {
            let (z0, nominal) = (of(&z0, e, packed.latent), of(&nominal, e, horizon * action_dim));
            packed.gates_along(conditioning, z0, nominal, &mut tile)
        };
        let gates: Vec<f32> = (0..environments).flat_map(of_environment).collect();
        let width = gates.len() / (environments * horizon);
        let tensor =
            |gates| Tensor::from_data(TensorData::new(gates, [environments, horizon, width]), &device);
        (width > 0).then(|| tensor(gates))
    }

    /// See [`World::propose`].
    pub fn propose(&self, z0: Tensor<2>, noise: Tensor<4>) -> Tensor<4> {
        let device = z0.device();
        let Some(packed) = self.packed(&device) else { return self.world.propose(z0, noise) };
        let sizes @ [_, count, horizon, action_dim] = noise.dims();
        let (z0, noise) = (contiguous_flex(z0), contiguous_flex(noise));
        let row = count * horizon * action_dim;
        let mut actions = vec![0.0; sizes.iter().product()];
        actions.par_chunks_mut(row).enumerate().for_each_init(Tile::default, |tile, (e, actions)| {
            packed.propose_tile(of(&z0, e, packed.latent), of(&noise, e, row), horizon, actions, tile);
        });
        Tensor::from_data(TensorData::new(actions, sizes), &device)
    }

    /// See [`World::score`]; here memory is bounded by the block.
    pub fn score(
        &self,
        z0: Tensor<2>,
        actions: Tensor<4>,
        tail: Tail,
        gates: Option<Tensor<3>>,
        discount: f64,
    ) -> Tensor<2> {
        let device = z0.device();
        let Some(packed) = self.packed(&device) else {
            return self.world.score(z0, actions, tail, gates, discount);
        };
        let [environments, count, horizon, action_dim] = actions.dims();
        let sequence = horizon * action_dim;
        let discounts: Vec<f32> = (0..=horizon).map(|t| discount.powi(t as i32) as f32).collect();
        let [z0, actions, tails] =
            [contiguous_flex(z0), contiguous_flex(actions), contiguous_flex(tail.noise)];
        let gates = gates.map(contiguous_flex);
        // results do not depend on the size of the blocks
        let block = block(environments, count);
        let mut scores = vec![0.0; environments * count];
        scores.par_chunks_mut(count).enumerate().for_each(|(e, scores)| {
            let z0 = of(&z0, e, packed.latent);
            let gates = gates.as_ref().map(|g| of(g, e, g.layout().num_elements() / environments));
            scores.par_chunks_mut(block).enumerate().for_each_init(Tile::default, |tile, (i, scores)| {
                let first = i * block;
                let actions =
                    &of(&actions, e, count * sequence)[first * sequence..][..scores.len() * sequence];
                let tails = &of(&tails, e, count * action_dim)[first * action_dim..];
                let sequences = Sequences { actions, tails, gates, discounts: &discounts };
                packed.score_tile(z0, sequences, scores, tile);
            });
        });
        Tensor::from_data(TensorData::new(scores, [environments, count]), &device)
    }
}

/// Sequences of a block, when `count` of each of some environments are to be scored: threads get equal shares.
fn block(environments: usize, count: usize) -> usize {
    let [fewest, most] = BLOCK;
    let threads = rayon::current_num_threads().div_ceil(environments);
    let blocks = count.div_ceil(most).next_multiple_of(threads);
    count.div_ceil(blocks).max(fewest)
}

/// The part of a row-major tensor that belongs to environment `e`, `size` numbers.
fn of(t: &FlexTensor, e: usize, size: usize) -> &[f32] {
    &t.storage()[e * size..][..size]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::tiny;
    use crate::config::{Continuation, ControlForm, DynamicsKind, RemainderConfig, tests::tiny_of_both};
    use crate::model::Pick;
    use crate::rng::Stream;
    use crate::test_support::{max_difference, normal};

    const CONDITIONINGS: [Conditioning; 3] =
        [Conditioning::Along, Conditioning::Start, Conditioning::Nominal];

    fn tail(noise: Tensor<3>) -> Tail {
        Tail { noise, picks: vec![Pick::SMALLER] }
    }

    fn snapshots() -> impl Iterator<Item = (String, Snapshot)> {
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
        let build = |(name, dynamics, form, every, remainder): (&str, _, _, _, &RemainderConfig)| {
            let mut config = tiny(dynamics).model;
            (config.koopman.control.form, config.koopman.control.recondition_every) = (form, every);
            config.koopman.remainder = remainder.clone();
            // widths that do not fill registers
            (config.hidden_dim, config.koopman.control.encoded_dim) = (35, 9);
            let stream = &mut Stream::new(1, "init");
            let mut world = World::new(&config, 4, 3, stream, &crate::device::cpu());
            world.open(stream);
            (name.to_owned(), Snapshot::new(world))
        };
        kinds.map(build).into_iter()
    }

    /// The full-latent path of plain tensors is the reference, for every conditioning, several environments and
    /// sequences that do not fill blocks.
    #[test]
    fn blocks_of_sequences_score_as_the_tensors_do() {
        for (name, snapshot) in snapshots() {
            for conditioning in CONDITIONINGS {
                for (e, n, h) in [(1, 1, 1), (2, 37, 5), (1, 130, 20)] {
                    let (z0, a) = (normal::<2>([e, 16], 3), normal::<4>([e, n, h, 3], 4).clamp(-1.0, 1.0));
                    let tails = tail(normal::<3>([e, n, 3], 5) * 0.1);
                    let nominal = normal::<3>([e, h, 3], 6) * 0.3;
                    let gates = snapshot.gates(conditioning, z0.clone(), nominal);
                    let packed = snapshot.score(z0.clone(), a.clone(), tails.clone(), gates.clone(), 0.9);
                    let reference = snapshot.world().score(z0, a, tails, gates, 0.9);
                    let scale = reference.clone().abs().max().into_scalar::<f32>();
                    let difference = max_difference(packed, reference);
                    assert!(
                        difference < 1e-4 * scale,
                        "{name} {conditioning:?} {h}: {difference} of {scale}"
                    );
                }
            }
        }
    }

    #[test]
    fn blocks_are_equal_shares_within_bounds() {
        let of = |threads, environments, count| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| block(environments, count))
        };
        // 96, 96, 96, 96, 96, 32 would leave the second of two threads with less
        assert_eq!([of(1, 1, 512), of(2, 1, 512), of(4, 1, 512)], [86, 86, 64]);
        assert_eq!([of(1, 1, 128), of(2, 8, 512), of(16, 1, 128), of(2, 1, 1)], [64, 86, 24, 24]);
    }

    #[test]
    fn gates_equal_those_of_the_tensors() {
        let mut shared = 0;
        for (name, snapshot) in snapshots() {
            for conditioning in CONDITIONINGS {
                for h in [1, 4] {
                    let (z0, nominal) = (normal::<2>([2, 16], 3), normal::<3>([2, h, 3], 4));
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
        assert_eq!(shared, 16);
    }

    /// To the bit: there is nothing else to plan with.
    #[test]
    fn what_has_no_packed_form_plans_with_the_tensors() {
        let sequences = [DynamicsKind::Gru, DynamicsKind::Transformer, DynamicsKind::Dssm];
        let mut configs: Vec<_> = sequences.map(|dynamics| tiny(dynamics).model).to_vec();
        let [mut ending, second] = tiny_of_both(DynamicsKind::Mlp).map(|config| config.model);
        ending.continuation = Continuation::On;
        configs.extend([ending, second]);
        for config in configs {
            let stream = &mut Stream::new(1, "init");
            let mut world = World::new(&config, 4, 3, stream, &crate::device::cpu());
            world.open(stream);
            assert!(world.packed().is_none());
            let snapshot = Snapshot::new(world);
            let (z0, a) = (normal::<2>([2, 16], 3), normal::<4>([2, 37, 5, 3], 4));
            let tails = tail(normal::<3>([2, 37, 3], 5) * 0.1);
            let gates = snapshot.gates(Conditioning::Nominal, z0.clone(), normal::<3>([2, 5, 3], 6));
            assert!(gates.is_none());
            let score = snapshot.score(z0.clone(), a.clone(), tails.clone(), None, 0.9);
            let reference = snapshot.world().score(z0.clone(), a.clone(), tails, None, 0.9);
            assert_eq!(score.into_data(), reference.into_data(), "{config:?}");
            let (proposed, reference) =
                (snapshot.propose(z0.clone(), a.clone()), snapshot.world().propose(z0, a));
            assert_eq!(proposed.into_data(), reference.into_data(), "{config:?}");
        }
    }

    #[test]
    fn proposals_equal_those_of_the_tensors() {
        for (name, snapshot) in snapshots() {
            let (z0, noise) = (normal::<2>([2, 16], 3), normal::<4>([2, 5, 4, 3], 4) * 0.1);
            let packed = snapshot.propose(z0.clone(), noise.clone());
            assert!(max_difference(packed, snapshot.world().propose(z0, noise)) < 1e-5, "{name}");
        }
    }

    /// To the bit: neither the threads, nor the environments planned together, nor their candidates change a score.
    #[test]
    fn scores_depend_on_nothing_but_the_sequence() {
        for (name, snapshot) in snapshots() {
            let (z0, a) = (normal::<2>([3, 16], 3), normal::<4>([3, 101, 4, 3], 4));
            let tails = normal::<3>([3, 101, 3], 5);
            let score = |e: usize, count: usize, n: usize, m: usize| {
                let part = |t: Tensor<4>| t.narrow(0, e, count).narrow(1, n, m);
                let tails = part(tails.clone().unsqueeze_dim(3)).reshape([count, m, 3]);
                let z0 = z0.clone().narrow(0, e, count);
                snapshot.score(z0, part(a.clone()), tail(tails), None, 0.9).into_data()
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

    /// A NaN weight must make the score a NaN, which the planner counts, not a plausible number.
    #[test]
    fn a_broken_critic_is_seen_in_the_score() {
        let (_, snapshot) = snapshots().next().expect("there are some");
        let mut world = snapshot.world().clone();
        world.break_critic(1);
        let score = |snapshot: &Snapshot| {
            let (z0, a) = (normal::<2>([1, 16], 3), normal::<4>([1, 4, 2, 3], 4));
            snapshot.score(z0, a, tail(normal::<3>([1, 4, 3], 5)), None, 0.9)
        };
        assert!(score(&snapshot).is_finite().all().into_scalar::<bool>());
        assert!(score(&Snapshot::new(world)).is_nan().all().into_scalar::<bool>());
    }
}
