//! Where the kernels find the numbers of the networks, and the header that tells them.

use super::parts::{CriticParts, KoopmanParts, Linear, MotionParts, Parts};
use super::sizes::Sizes;
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
        let mut sizes = Sizes {
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
            beside: 0,
            head: 0,
        };
        sizes.beside = parts.beside(sizes).unwrap_or(0);
        sizes.motion_widest = sizes.motion_widest.max(2 * sizes.beside);
        sizes.widest = sizes.widest.max(sizes.motion_widest);
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
        let Sizes { observation, action, warps, widest, motion_widest, states, gates, beside, .. } =
            self.sizes;
        let bf16 = u8::from(precision == Precision::Bf16);
        let koopman = u8::from(modes > 0);
        let mut text = format!(
            "struct Layer {{ int weight, bias, pairs, tiles; }};\nstruct Last {{ int weight, bias; }};\n\
             struct Norm {{ int gamma, beta; }};\nstruct Critic {{ Layer input; Norm norm; Layer hidden; Last last; }};\n#define BF16 {bf16}\n#define WARPS {warps}\n\
             #define REFIT_THREADS {}\n#define SCORE_THREADS {}\n#define KOOPMAN {koopman}\n#define GATED {}\n#define BESIDE {beside}\n\
             constexpr int O = {observation}, A = {action}, D = {latent}, WIDEST = {widest}, MOTION_WIDEST = {motion_widest}, STATES = {states}, \
             GATES = {gates}, CRITIC_WIDTH = {width};\nconstexpr float NORM_EPSILON = {LAYER_NORM_EPSILON:e}f;\n",
            super::REFIT_THREADS,
            super::SCORE_THREADS,
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
        let reward_at = self.packed_len;
        add(self.network("REWARD", hidden, Input::LatentAction, modes, 0));
        self.sizes.head = self.packed_len - reward_at;
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

    /// Columns for the hidden layer of a gate that the action encoder's can lie beside: both have one, none of their layers has more
    /// tiles than a block has warps, and what they give no more than half of that.
    fn beside(&self, sizes: Sizes) -> Option<usize> {
        let MotionParts::Koopman(koopman) = &self.motion else { return None };
        let (gate, control) = (&koopman.gate.as_ref()?.0, &koopman.action_encoder);
        let tiles = |(w, _): &Linear| w.dims()[1].div_ceil(8);
        let narrow = gate.iter().chain(control).all(|layer| tiles(layer) <= sizes.warps);
        let hidden = gate[0].0.dims()[1].max(control[0].0.dims()[1]);
        let fits = gate.len() == 2
            && control.len() == 2
            && narrow
            && sizes.warps.is_multiple_of(2)
            && 2 * tiles(&control[1]) <= sizes.warps;
        fits.then(|| hidden.next_multiple_of(16 * sizes.per_word))
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
}
