//! Where the kernels find the numbers of the networks, and the header that tells them.

use super::parts::{CriticParts, KoopmanParts, Linear, MotionParts, Parts};
use super::shape::Machine;
use crate::config::Precision;
use crate::ops::{Activation, LAYER_NORM_EPSILON};
use burn::prelude::*;
use burn::tensor::Transaction;
use std::fmt::Write;

/// Numbers of the weights, and the tables that put them in their places.
pub(super) struct Layout {
    /// Sizes and layers, for the compiler.
    pub header: String,
    /// How weights are packed.
    pub packings: Vec<Packing>,
    /// What is copied as it is.
    vectors: Vec<Vector>,
    /// All parameters, one after the other, where the networks are.
    raw: Vec<Tensor<1>>,
    /// Numbers of `raw`, of the vectors, and of 16 bytes each of packed weights.
    pub raw_len: usize,
    pub vectors_len: usize,
    pub packed_len: usize,
    pub sizes: Sizes,
}

/// Sizes that shared memory and buffers follow from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    pub observation: usize,
    pub action: usize,
    pub warps: usize,
    /// Numbers in a word.
    per_word: usize,
    /// Numbers of [z] of a row, a multiple of 8.
    pub latent: usize,
    /// Widest output that is kept.
    widest: usize,
    /// The same of the dynamics.
    motion_widest: usize,
    /// Where packed weights of the dynamics begin, and how many they are, in units of 16 bytes.
    motion: [usize; 2],
    states: usize,
    gates: usize,
}

/// See `Packing` in `kernels/pack.cu`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    from: i32,
    inputs: i32,
    outputs: i32,
    to: i32,
    pairs: i32,
    tiles: i32,
    row_modes: i32,
    column_modes: i32,
    action_row: i32,
}

impl Packing {
    /// As the kernel reads them.
    pub fn numbers(&self) -> [i32; 9] {
        let Self { from, inputs, outputs, to, pairs, tiles, row_modes, column_modes, action_row } = *self;
        [from, inputs, outputs, to, pairs, tiles, row_modes, column_modes, action_row]
    }
}

/// `count` numbers from `from` on go to `to`; those of a complex vector as pairs.
struct Vector {
    from: usize,
    count: usize,
    to: usize,
    modes: usize,
}

/// What the rows of a layer are: plain numbers, a latent, or a latent and an action.
#[derive(Clone, Copy, PartialEq)]
enum Input {
    Plain,
    Latent,
    LatentAction,
}

impl Sizes {
    fn words(&self, numbers: usize) -> usize {
        numbers.div_ceil(self.per_word)
    }

    /// 32-bit words of a latent.
    pub fn latent_words(&self) -> usize {
        self.words(self.latent)
    }

    /// Shared memory of a block of 16·`tiles` rows that asks any network, in bytes.
    pub fn shared_bytes(&self, tiles: usize) -> usize {
        self.block_bytes(tiles, self.widest)
    }

    /// Shared memory of one that asks the dynamics, and whether it has their weights there: it does if they fit.
    pub fn motion_bytes(&self, tiles: usize, limit: usize) -> (usize, bool) {
        self.with_motion(self.block_bytes(tiles, self.motion_widest), limit)
    }

    /// The same of a block of a cluster, which has buffers of its own for the dynamics.
    pub fn team_bytes(&self, limit: usize) -> (usize, bool) {
        self.with_motion(self.block_bytes(1, self.motion_widest) + self.hidden_bytes(1, self.widest), limit)
    }

    /// Whether clusters can ask the policy: there are some, and room for one of their blocks.
    pub fn fit_in_teams(&self, machine: Machine) -> bool {
        machine.team > 0 && self.team_bytes(machine.shared).0 <= machine.shared
    }

    fn with_motion(&self, bytes: usize, limit: usize) -> (usize, bool) {
        let near = bytes + 16 * self.motion[1];
        if near <= limit { (near, true) } else { (bytes, false) }
    }

    /// Buffers of hidden activations.
    fn hidden_bytes(&self, tiles: usize, widest: usize) -> usize {
        let stride = self.words(widest.next_multiple_of(16 * self.per_word)).next_multiple_of(8) + 4;
        16 * tiles * 4 * stride * if self.in_place(tiles) { 1 } else { 2 }
    }

    /// What `Block` in `kernels/networks.cu` takes.
    fn block_bytes(&self, tiles: usize, widest: usize) -> usize {
        let (z, a) = (self.latent_words(), self.words(self.action));
        let za = (z + a.next_multiple_of(16)).max((z + a).next_multiple_of(16)).next_multiple_of(8) + 4;
        let fixed = 16 * tiles * (8 * self.warps + 4 * (za + self.states + self.gates));
        fixed + self.hidden_bytes(tiles, widest)
    }

    /// What the compiler is told of the kernels of a machine, with blocks of so many tiles.
    pub fn forms(&self, tiles: usize, machine: Machine) -> String {
        let [near, team_near] = [self.motion_bytes(tiles, machine.shared), self.team_bytes(machine.shared)];
        let [near, team_near] = [near.1, team_near.1].map(u8::from);
        let team = machine.team;
        format!(
            "#define TILES {tiles}\n#define NEAR {near}\n#define TEAM {team}\n#define TEAM_NEAR {team_near}\n"
        )
    }

    /// Whether layers of such blocks write where they read: `IN_PLACE` in `kernels/networks.cu`.
    fn in_place(&self, tiles: usize) -> bool {
        tiles == 4 && self.per_word == 1
    }

    /// Whether such blocks are possible with so many bytes of shared memory.
    pub fn fit(&self, tiles: usize, shared: usize) -> bool {
        let one_turn = self.widest <= 32 * self.warps;
        self.shared_bytes(tiles) <= shared && (one_turn || !self.in_place(tiles))
    }
}

impl Layout {
    /// Of networks whose critics are at most 512 wide, which a block holds at once; `None` of others.
    pub fn new(parts: &Parts, precision: Precision) -> Option<Self> {
        let outputs = |layers: &[Linear]| layers.last().map_or(0, |(w, _)| w.dims()[1]);
        let width = outputs(&parts.critics[0].layers[..1]);
        let latent = outputs(&parts.encoder);
        let action = outputs(&parts.policy);
        let per_word = match precision {
            Precision::F32 => 1,
            Precision::Bf16 => 2,
        };
        let (modes, gated) = match &parts.motion {
            MotionParts::Mlp(_) => (0, None),
            MotionParts::Koopman(koopman) => (latent / 2, koopman.gate.as_ref()),
        };
        let sizes = Sizes {
            observation: parts.encoder[0].0.dims()[0],
            action,
            warps: width.div_ceil(32).max(4),
            per_word,
            latent: latent.next_multiple_of(8),
            widest: parts.widest(),
            motion_widest: parts.motion_widest(),
            motion: [0; 2],
            states: if modes > 0 { latent.next_multiple_of(8) } else { 0 },
            gates: gated.map_or(0, |(s, _)| outputs(s).next_multiple_of(8)),
        };
        if sizes.warps > 16 || parts.reward.len() != 3 {
            return None;
        }
        let mut layout = Self {
            header: String::new(),
            packings: Vec::new(),
            vectors: Vec::new(),
            raw: Vec::new(),
            raw_len: 0,
            vectors_len: 0,
            packed_len: 0,
            sizes,
        };
        layout.write(parts, precision, latent, modes, width);
        Some(layout)
    }

    fn write(&mut self, parts: &Parts, precision: Precision, latent: usize, modes: usize, width: usize) {
        let Sizes { observation, action, warps, widest, motion_widest, states, gates, .. } = self.sizes;
        let bf16 = u8::from(precision == Precision::Bf16);
        let koopman = u8::from(modes > 0);
        let mut text = format!(
            "struct Layer {{ int weight, bias, pairs, tiles; }};\nstruct Last {{ int weight, bias; }};\n\
             struct Norm {{ int gamma, beta; }};\nstruct Critic {{ Layer input; Norm norm; Layer hidden; Last last; }};\n#define BF16 {bf16}\n#define WARPS {warps}\n\
             #define REFIT_THREADS {}\n#define KOOPMAN {koopman}\n#define GATED {}\n\
             constexpr int O = {observation}, A = {action}, D = {latent}, WIDEST = {widest}, MOTION_WIDEST = {motion_widest}, STATES = {states}, \
             GATES = {gates}, CRITIC_WIDTH = {width};\nconstexpr float NORM_EPSILON = {LAYER_NORM_EPSILON:e}f;\n",
            super::REFIT_THREADS,
            u8::from(gates > 0),
        );
        let mut add = |line: String| writeln!(text, "{line}").expect("a string takes everything");
        add(self.network("ENCODER", &parts.encoder, Input::Plain, 0, modes));
        let motion_at = self.packed_len;
        match &parts.motion {
            MotionParts::Mlp(net) => add(self.network("DYNAMICS", net, Input::LatentAction, 0, 0)),
            MotionParts::Koopman(koopman) => {
                let KoopmanParts { lambda, input, action_encoder, gate, recondition_every } = &**koopman;
                if let Some((s, bound)) = gate {
                    add(self.network("GATE", s, Input::Latent, modes, 0));
                    add(match bound {
                        Activation::Tanh => "#define GATE_BOUND tanh_of".into(),
                        _ => "#define GATE_BOUND".into(),
                    });
                }
                add(self.network("ACTION_ENCODER", action_encoder, Input::Plain, 0, 0));
                let none = Tensor::zeros([latent], &input.device());
                let layer = self.layer(&(input.clone(), none), Input::Plain, 0, modes);
                add(format!("__device__ constexpr Layer INPUT = {layer};"));
                let lambda = self.vector(lambda.clone(), modes);
                add(format!("constexpr int LAMBDA = {lambda}, RECONDITION_EVERY = {recondition_every};"));
            }
        }
        let motion_count = self.packed_len - motion_at;
        self.sizes.motion = [motion_at, motion_count];
        add(format!("constexpr int MOTION_AT = {motion_at}, MOTION_COUNT = {motion_count};"));
        if modes == 0 {
            add("constexpr int RECONDITION_EVERY = 1;".into());
        }
        let [hidden @ .., last] = &parts.reward[..] else { unreachable!("three layers") };
        add(self.network("REWARD", hidden, Input::LatentAction, modes, 0));
        let last = self.last(last);
        add(format!("__device__ constexpr Last REWARD_LAST = {last};"));
        add(self.network("POLICY", &parts.policy, Input::Latent, modes, 0));
        let critics = parts.critics.iter().map(|CriticParts { layers, gamma, beta }| {
            let [input, hidden, last] = &layers[..] else { unreachable!("three layers") };
            let input = self.layer(input, Input::LatentAction, modes, 0);
            let (gamma, beta) = (self.vector(gamma.clone(), 0), self.vector(beta.clone(), 0));
            let hidden = self.layer(hidden, Input::Plain, 0, 0);
            format!("{{{input}, {{{gamma}, {beta}}}, {hidden}, {}}}", self.last(last))
        });
        let critics: Vec<String> = critics.collect();
        add(format!("__device__ constexpr Critic CRITICS[] = {{{}}};", critics.join(", ")));
        self.header = text;
    }

    /// Reserves room for a tensor's numbers: where they will be.
    fn take<const N: usize>(&mut self, t: Tensor<N>) -> usize {
        let (at, count) = (self.raw_len, t.shape().num_elements());
        self.raw.push(t.reshape([count]));
        self.raw_len += count;
        at
    }

    /// A vector, padded with zeros to a multiple of 8.
    fn vector(&mut self, t: Tensor<1>, modes: usize) -> usize {
        let (count, to) = (t.dims()[0], self.vectors_len);
        let from = self.take(t);
        self.vectors.push(Vector { from, count, to, modes });
        self.vectors_len += count.next_multiple_of(8);
        to
    }

    fn layer(&mut self, (w, b): &Linear, input: Input, row_modes: usize, column_modes: usize) -> String {
        let ([inputs, outputs], Sizes { latent, action, .. }) = (w.dims(), self.sizes);
        let numbers = if input == Input::LatentAction { latent + action } else { inputs };
        let (pairs, tiles) = (self.sizes.words(numbers).div_ceil(16), outputs.div_ceil(8));
        let action_row = if input == Input::LatentAction { latent as i32 } else { -1 };
        let (from, to) = (self.take(w.clone()), self.packed_len);
        self.packed_len += tiles * pairs * 32;
        let bias = self.vector(b.clone(), column_modes);
        let [from, inputs, outputs, to_, pairs_, tiles_, row_modes, column_modes] =
            [from, inputs, outputs, to, pairs, tiles, row_modes, column_modes].map(|n| n as i32);
        self.packings.push(Packing {
            from,
            inputs,
            outputs,
            to: to_,
            pairs: pairs_,
            tiles: tiles_,
            row_modes,
            column_modes,
            action_row,
        });
        format!("{{{to}, {bias}, {pairs}, {tiles}}}")
    }

    /// Layers of which the first sees `input` and the last ends with complex numbers if there are `column_modes`.
    fn network(
        &mut self,
        name: &str,
        layers: &[Linear],
        input: Input,
        row_modes: usize,
        column_modes: usize,
    ) -> String {
        let last = layers.len() - 1;
        let layers = layers.iter().enumerate().map(|(i, layer)| {
            let (input, row_modes) = if i == 0 { (input, row_modes) } else { (Input::Plain, 0) };
            self.layer(layer, input, row_modes, if i == last { column_modes } else { 0 })
        });
        format!("__device__ constexpr Layer {name}[] = {{{}}};", layers.collect::<Vec<_>>().join(", "))
    }

    /// A layer of one output.
    fn last(&mut self, (w, b): &Linear) -> String {
        let inputs = w.dims()[0];
        let (weight, bias) = (self.vector(w.clone().reshape([inputs]), 0), self.vector(b.clone(), 0));
        format!("{{{weight}, {bias}}}")
    }

    /// All parameters, read from their device at once, and the vectors made of them.
    pub fn read(&self) -> (Vec<f32>, Vec<f32>) {
        let all = self.raw.iter().cloned().fold(Transaction::default(), |all, t| all.register(t));
        let numbers =
            all.execute().into_iter().map(|data| data.try_to_vec::<f32>().expect("parameters are f32"));
        let raw: Vec<f32> = numbers.flatten().collect();
        let mut vectors = vec![0.0; self.vectors_len];
        for v in &self.vectors {
            for i in 0..v.count {
                vectors[v.to + i] = raw[v.from + if i < 2 * v.modes { i % 2 * v.modes + i / 2 } else { i }];
            }
        }
        (raw, vectors)
    }
}

impl Parts {
    /// Most numbers of a row that a buffer of hidden activations holds: what observations, hidden layers and encoded
    /// actions have.
    fn widest(&self) -> usize {
        let outputs = |layers: &[Linear]| layers.iter().map(|(w, _)| w.dims()[1]).max().unwrap_or(0);
        let mut widest = self.encoder[0].0.dims()[0].max(outputs(&self.encoder));
        widest = widest.max(outputs(&self.reward)).max(outputs(&self.policy));
        widest.max(outputs(&self.critics[0].layers)).max(self.motion_widest())
    }

    /// The same of the dynamics.
    fn motion_widest(&self) -> usize {
        let outputs = |layers: &[Linear]| layers.iter().map(|(w, _)| w.dims()[1]).max().unwrap_or(0);
        match &self.motion {
            MotionParts::Mlp(net) => outputs(net),
            MotionParts::Koopman(koopman) => {
                let KoopmanParts { action_encoder, gate, .. } = &**koopman;
                outputs(action_encoder).max(gate.as_ref().map_or(0, |(s, _)| outputs(s)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Conditioning, DynamicsKind, tests::tiny};
    use crate::model::World;
    use crate::rng::Stream;

    /// Packed layers fill their buffer without gaps, and complex vectors become pairs.
    #[test]
    fn every_number_has_its_place() {
        for (dynamics, precision) in [DynamicsKind::Koopman, DynamicsKind::Mlp]
            .into_iter()
            .flat_map(|d| [(d, Precision::F32), (d, Precision::Bf16)])
        {
            let model = tiny(dynamics).model;
            let world = World::new(&model, 4, 2, &mut Stream::new(1, "init"), &crate::device::cpu());
            let parts = world.parts(Conditioning::Along).expect("networks of TD-MPC");
            let layout = Layout::new(&parts, precision).expect("narrow networks");
            let mut end = 0;
            for p in &layout.packings {
                assert_eq!(p.to, end);
                end += p.tiles * p.pairs * 32;
                assert!(
                    8 * p.tiles >= p.outputs
                        && 16 * p.pairs >= p.inputs.div_euclid(layout.sizes.per_word as i32)
                );
            }
            assert_eq!(end as usize, layout.packed_len);
            let (raw, vectors) = layout.read();
            assert_eq!((raw.len(), vectors.len()), (layout.raw_len, layout.vectors_len));
            let MotionParts::Koopman(koopman) = &parts.motion else { continue };
            let lambda = crate::test_support::values(koopman.lambda.clone());
            let modes = lambda.len() / 2;
            let pairs: Vec<f32> = (0..modes).flat_map(|j| [lambda[j], lambda[modes + j]]).collect();
            assert!(vectors.windows(2 * modes).any(|w| w == pairs));
        }
    }

    /// The published sizes fit a block of an H100: 64 rows, in TF32 if layers work in place.
    #[test]
    fn blocks_fit_shared_memory() {
        let sizes = |per_word| Sizes {
            observation: 17,
            action: 6,
            warps: 16,
            per_word,
            latent: 56,
            widest: 512,
            motion_widest: 128,
            motion: [0, 200 * 32 / per_word],
            states: 56,
            gates: 64,
        };
        let limit = 227 << 10;
        assert!(sizes(2).fit(4, limit) && sizes(1).fit(4, limit));
        // blocks of a cluster have two pairs of buffers
        let machine = |team| Machine { multiprocessors: 132, shared: limit, team, clusters: 0 };
        let wide = Sizes { widest: 1024, motion_widest: 1024, ..sizes(1) };
        assert!(sizes(1).fit_in_teams(machine(8)) && !sizes(1).fit_in_teams(machine(0)));
        assert!(wide.fit(1, limit) && !wide.fit_in_teams(machine(8)));
        // a reward wider than the critics takes more turns than one
        let wide = Sizes { widest: 520, ..sizes(1) };
        assert!(wide.fit(2, limit) && !wide.fit(4, limit) && Sizes { widest: 520, ..sizes(2) }.fit(4, limit));
    }
}
