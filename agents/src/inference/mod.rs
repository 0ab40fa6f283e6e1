//! Planning on a CPU: the networks with packed weights, and candidates scored block by block.
//!
//! `cuda` has whole plans on a GPU. [`World`] does the same with plain tensors on any device, and is what these kernels are
//! tested against. What has no packed form plans there on a CPU as well: dynamics with a memory.

#[cfg(any(test, feature = "cuda"))]
pub(crate) mod cuda;
mod head;
mod layer;
mod motion;
mod network;
mod policy;
mod rows;
mod tile;

pub(crate) use head::Head;
pub(crate) use layer::{Layer, numbers};
pub(crate) use motion::{KoopmanMotion, Motion};
pub(crate) use network::{After, Network};
pub(crate) use policy::Policy;
pub(crate) use rows::LayerNorm;

use crate::config::{Conditioning, Precision};
use crate::device::is_plain_flex;
use crate::model::{Returns, Tail, World};
use crate::ops::contiguous_flex;
use burn::prelude::*;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::cell::RefCell;
use std::sync::OnceLock;
use tile::{Sequences, Tile};

/// Fewest and most sequences of a block.
const BLOCK: [usize; 2] = [24, 192];

/// Networks that planning needs, packed.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// D
    pub latent: usize,
    pub motion: Motion,
    pub reward: Head,
    /// All of them: each plan asks two.
    pub critics: Vec<Head>,
    pub policy: Policy,
    /// The logit of going on from z, if the model predicts terminations.
    pub continuation: Option<Network>,
}

impl Packed {
    /// A
    fn actions(&self) -> usize {
        self.policy.actions()
    }
}

/// The networks to act with: never changed, so that nothing packed outlives the weights it was packed from. An update
/// makes a new one.
#[derive(Clone, Debug)]
pub struct Snapshot {
    world: World,
    precision: Precision,
    /// Once somebody planned on a CPU; `None` inside for networks without a packed form.
    packed: OnceLock<Option<Packed>>,
    /// Once somebody planned on a GPU; likewise.
    #[cfg(feature = "cuda")]
    fused: OnceLock<Option<std::sync::Arc<cuda::Fused>>>,
}

impl Snapshot {
    /// Of networks without gradients; what is packed multiplies with this precision.
    pub fn new(world: World, precision: Precision) -> Self {
        Self {
            world,
            precision,
            packed: OnceLock::new(),
            #[cfg(feature = "cuda")]
            fused: OnceLock::new(),
        }
    }

    /// The networks.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The networks with kernels for whole plans on `device`, if it is a GPU and they have some. `conditioning` must be the
    /// same in all calls.
    #[cfg(feature = "cuda")]
    pub(crate) fn fused(&self, device: &Device, conditioning: Conditioning) -> Option<&cuda::Fused> {
        let index = crate::device::cuda_index(device)?;
        let fused = self.fused.get_or_init(|| {
            let parts = self.world.parts(conditioning)?;
            cuda::Fused::new(&parts, self.precision, index).map(std::sync::Arc::new)
        });
        fused.as_deref()
    }

    fn packed(&self, on: &Device) -> Option<&Packed> {
        if !is_plain_flex(on) {
            return None;
        }
        self.packed.get_or_init(|| self.world.packed(self.precision)).as_ref()
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
        let sizes @ [environments, count, horizon, action_dim] = noise.dims();
        let (z0, noise) = (contiguous_flex(z0), contiguous_flex(noise));
        let (sequence, row) = (horizon * action_dim, count * horizon * action_dim);
        let block = block(environments, count) * sequence;
        let mut actions = vec![0.0; sizes.iter().product()];
        actions.par_chunks_mut(row).enumerate().for_each(|(e, actions)| {
            let (z0, noise) = (of(&z0, e, packed.latent), of(&noise, e, row));
            actions.par_chunks_mut(block).zip(noise.par_chunks(block)).for_each(|(actions, noise)| {
                with_tile(|tile| packed.propose_tile(z0, noise, horizon, actions, tile))
            });
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
        returns: &Returns,
    ) -> Tensor<2> {
        let device = z0.device();
        let Some(packed) = self.packed(&device) else {
            return self.world.score(z0, actions, tail, gates, returns);
        };
        let [environments, count, horizon, action_dim] = actions.dims();
        let sequence = horizon * action_dim;
        let (of_rewards, of_values) = (returns.of_rewards(horizon), returns.of_values(horizon));
        let (z0, actions) = (contiguous_flex(z0), contiguous_flex(actions));
        let (tails, picks) = (contiguous_flex(tail.noise), tail.picks);
        let gates = gates.map(contiguous_flex);
        // results do not depend on the size of the blocks
        let block = block(environments, count);
        let mut scores = vec![0.0; environments * count];
        scores.par_chunks_mut(count).enumerate().for_each(|(e, scores)| {
            let z0 = of(&z0, e, packed.latent);
            let gates = gates.as_ref().map(|g| of(g, e, g.layout().num_elements() / environments));
            let pick = if let [pick] = picks[..] { pick } else { picks[e] };
            scores.par_chunks_mut(block).enumerate().for_each(|(i, scores)| {
                let first = i * block;
                let actions =
                    &of(&actions, e, count * sequence)[first * sequence..][..scores.len() * sequence];
                let tails = &of(&tails, e, count * action_dim)[first * action_dim..];
                let (of_rewards, of_values) = (&of_rewards[..], &of_values[..]);
                let sequences = Sequences { actions, tails, gates, of_rewards, of_values, pick };
                with_tile(|tile| packed.score_tile(z0, sequences, scores, tile));
            });
        });
        Tensor::from_data(TensorData::new(scores, [environments, count]), &device)
    }
}

/// With this thread's buffers: new ones for every block would be a fiftieth of a small plan. What is in them does not matter.
fn with_tile(f: impl FnOnce(&mut Tile)) {
    thread_local! {
        static TILE: RefCell<Tile> = RefCell::default();
    }
    TILE.with_borrow_mut(f)
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
mod tests;
