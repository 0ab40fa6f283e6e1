//! Sizes of the networks, and of the blocks that ask them.

/// Sizes that shared memory and buffers follow from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sizes {
    pub observation: usize,
    pub action: usize,
    pub warps: usize,
    /// Numbers in a word.
    pub per_word: usize,
    /// Numbers of [z] of a row, a multiple of 8.
    pub latent: usize,
    /// Widest output that is kept.
    pub widest: usize,
    /// The same of the dynamics.
    pub motion_widest: usize,
    /// Where packed weights of the dynamics begin, and how many they are, in units of 16 bytes.
    pub motion: [usize; 2],
    pub states: usize,
    pub gates: usize,
    /// Columns of the gate's hidden layer, beside which that of the action encoder lies; 0 if one is asked after the other.
    pub beside: usize,
    /// Packed weights of the reward, about as many as those of a critic or of the policy, in units of 16 bytes.
    pub head: usize,
}

/// What a device offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    pub multiprocessors: usize,
    /// Bytes of shared memory that a block can have.
    pub shared: usize,
    /// Blocks of a cluster, 0 if it knows none.
    pub team: usize,
    /// Clusters that can ask the policy at once.
    pub clusters: usize,
}

/// Tiles of 16 rows that a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tiles {
    pub rows: usize,
    /// Of a block of `judge` that asks for values.
    pub values: usize,
}

impl Tiles {
    pub const ONE: Self = Self { rows: 1, values: 1 };
}

/// How large blocks are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blocks {
    /// So that a machine is done soonest.
    Suited,
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests"))]
    Of(Tiles),
}

/// How weights come to the tensor cores, from the second-level cache.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weights {
    /// To registers.
    Far,
    /// Through shared memory: `Streamed` in `kernels/layers.cu`.
    Streamed,
    /// From shared memory, where they stay.
    Near,
}

/// 16 bytes of weights that a thread has on their way through shared memory: `Streamed::SLOTS`.
const SLOTS: usize = 8;

impl Sizes {
    pub fn words(&self, numbers: usize) -> usize {
        numbers.div_ceil(self.per_word)
    }

    /// 32-bit words of a latent.
    pub fn latent_words(&self) -> usize {
        self.words(self.latent)
    }

    /// Shared memory of a block of 16·`tiles` rows that asks any network, in bytes.
    pub fn shared_bytes(&self, tiles: usize) -> usize {
        self.block_bytes(tiles, self.widest, self.motion_numbers())
    }

    /// The same of one that does not ask the dynamics.
    pub fn judge_bytes(&self, tiles: Tiles, limit: usize) -> usize {
        self.judge(tiles.rows, limit).0.max(self.judge(tiles.values, limit).0)
    }

    /// Of one that asks the dynamics alone.
    pub fn imagine_bytes(&self, tiles: usize, limit: usize) -> usize {
        self.imagine(tiles, limit).0
    }

    /// Of a block of a cluster, which has buffers of its own for the dynamics.
    pub fn team_bytes(&self, limit: usize) -> usize {
        self.team(limit).0
    }

    fn judge(&self, tiles: usize, limit: usize) -> (usize, Weights) {
        self.streamed(tiles, self.block_bytes(tiles, self.widest, 0), limit)
    }

    fn imagine(&self, tiles: usize, limit: usize) -> (usize, Weights) {
        let bytes = self.block_bytes(tiles, self.motion_widest, self.motion_numbers());
        match self.near(bytes, limit) {
            (_, Weights::Far) => self.streamed(tiles, bytes, limit),
            near => near,
        }
    }

    fn team(&self, limit: usize) -> (usize, Weights) {
        let bytes = self.block_bytes(1, self.motion_widest, self.motion_numbers());
        self.near(bytes + self.hidden_bytes(1, self.widest), limit)
    }

    /// Whether clusters can ask the policy: there are some, and room for one of their blocks.
    pub fn fit_in_teams(&self, machine: Machine) -> bool {
        machine.team > 0 && self.team_bytes(machine.shared) <= machine.shared
    }

    /// With the weights of the dynamics, if they fit.
    fn near(&self, bytes: usize, limit: usize) -> (usize, Weights) {
        let near = bytes + 16 * self.motion[1];
        if near <= limit { (near, Weights::Near) } else { (bytes, Weights::Far) }
    }

    /// With room for weights on their way, if blocks are so large that registers have little.
    fn streamed(&self, tiles: usize, bytes: usize, limit: usize) -> (usize, Weights) {
        let streamed = bytes + 16 * SLOTS * 32 * self.warps;
        if tiles > 1 && streamed <= limit { (streamed, Weights::Streamed) } else { (bytes, Weights::Far) }
    }

    /// Buffers of hidden activations.
    fn hidden_bytes(&self, tiles: usize, widest: usize) -> usize {
        let stride = self.words(widest.next_multiple_of(16 * self.per_word)).next_multiple_of(8) + 4;
        16 * tiles * 4 * stride * if self.in_place(tiles) { 1 } else { 2 }
    }

    /// Numbers of a row that only the dynamics need: a state and a gate.
    fn motion_numbers(&self) -> usize {
        self.states + self.gates
    }

    /// What `Block` in `kernels/networks.cu` takes.
    fn block_bytes(&self, tiles: usize, widest: usize, motion: usize) -> usize {
        let (z, a) = (self.latent_words(), self.words(self.action));
        let za = (z + a.next_multiple_of(16)).max((z + a).next_multiple_of(16)).next_multiple_of(8) + 4;
        let fixed = 16 * tiles * (8 * self.warps + 4 * (za + motion));
        fixed + self.hidden_bytes(tiles, widest)
    }

    /// What the compiler is told of the kernels of a machine, with blocks of so many tiles.
    pub fn forms(&self, tiles: Tiles, machine: Machine) -> String {
        let (limit, Tiles { rows, values }) = (machine.shared, tiles);
        let is = |(_, found): (usize, Weights), weights| u8::from(found == weights);
        format!(
            "#define TILES {rows}\n#define VALUE_TILES {values}\n#define NEAR {}\n#define MOTION_STREAMS {}\n\
             #define REWARDS_STREAM {}\n#define VALUES_STREAM {}\n#define TEAM {}\n#define TEAM_NEAR {}\n",
            is(self.imagine(rows, limit), Weights::Near),
            is(self.imagine(rows, limit), Weights::Streamed),
            is(self.judge(rows, limit), Weights::Streamed),
            is(self.judge(values, limit), Weights::Streamed),
            machine.team,
            is(self.team(limit), Weights::Near),
        )
    }

    /// Whether layers of such blocks write where they read: `IN_PLACE` in `kernels/layers.cu`.
    fn in_place(&self, tiles: usize) -> bool {
        tiles == 4 && self.per_word == 1
    }

    /// Whether such blocks are possible with so many bytes of shared memory.
    pub fn fit(&self, tiles: usize, shared: usize) -> bool {
        let one_turn = self.widest <= 32 * self.warps;
        let bytes = self.judge(tiles, shared).0.max(self.imagine_bytes(tiles, shared));
        bytes <= shared && (one_turn || !self.in_place(tiles))
    }

    /// Tiles of blocks that take `rows` through the dynamics: those that are done soonest.
    pub fn motion_tiles(&self, blocks: Blocks, rows: usize, machine: Machine) -> Tiles {
        if let Blocks::Of(tiles) = blocks {
            return tiles;
        }
        let cycles = |tiles: &usize| self.motion_cycles(*tiles, rows, machine);
        let all = self.possible(machine);
        let rows = all.min_by(|a, b| cycles(a).total_cmp(&cycles(b))).unwrap_or(1);
        Tiles { rows, values: 1 }
    }

    /// Tiles that blocks can have.
    fn possible(&self, machine: Machine) -> impl Iterator<Item = usize> + Clone {
        let sizes = *self;
        [4, 2, 1].into_iter().filter(move |tiles| *tiles == 1 || sizes.fit(*tiles, machine.shared))
    }

    /// How long a step takes: with weights in shared memory what was measured on an H200 with blocks of one and of four tiles
    /// (agents/benches/README.md), else as `judge_cycles` has it.
    fn motion_cycles(&self, tiles: usize, rows: usize, machine: Machine) -> f64 {
        let blocks = rows.div_ceil(16 * tiles);
        let at_once = blocks.min(machine.multiprocessors) as f64;
        let one = match self.imagine(tiles, machine.shared).1 {
            Weights::Near => 3500.0 + 4500.0 * tiles as f64,
            _ => {
                let bytes = 16.0 * self.motion[1] as f64;
                network_cycles(bytes, tiles).max(at_once * bytes / (23.0 * machine.multiprocessors as f64))
            }
        };
        blocks.div_ceil(machine.multiprocessors) as f64 * one
    }

    /// Tiles of blocks that judge so many rewards and values: those that are done soonest.
    pub fn judge_tiles(&self, blocks: Blocks, rewards: usize, values: usize, machine: Machine) -> Tiles {
        if let Blocks::Of(tiles) = blocks {
            return tiles;
        }
        let fit = self.possible(machine);
        let all = fit.clone().flat_map(|rows| fit.clone().map(move |values| Tiles { rows, values }));
        let cycles = |tiles: &Tiles| self.judge_cycles(*tiles, rewards, values, machine);
        all.min_by(|a, b| cycles(a).total_cmp(&cycles(b))).unwrap_or(Tiles::ONE)
    }

    /// How long that takes: what a multiprocessor needs for its networks, and what the second-level cache needs for the weights of all
    /// blocks, at the 23 bytes a cycle for each of an H200's multiprocessors that were measured (agents/benches/README.md).
    fn judge_cycles(&self, tiles: Tiles, rewards: usize, values: usize, machine: Machine) -> f64 {
        let bytes = 16.0 * self.head as f64;
        let judged = Judged::new(tiles, rewards, values, machine);
        let [reward_blocks, value_blocks] = [judged.rewards, judged.values].map(|blocks| blocks as f64);
        let asks = if judged.apart { 2.0 } else { 3.0 };
        let (reward, value) = (network_cycles(bytes, tiles.rows), asks * network_cycles(bytes, tiles.values));
        let all = machine.multiprocessors as f64;
        let busy = match reward_blocks + value_blocks <= all {
            true => 0.0,
            // the last of many blocks ends half of its time after the others
            false => (reward_blocks * reward + value_blocks * value) / all + reward / 2.0,
        };
        let cache = (reward_blocks + asks * value_blocks) * bytes / (23.0 * all);
        busy.max(reward).max(value).max(cache)
    }
}

/// What a block needs for a network of so many bytes: its weights at 64 bytes a cycle, or its tensor cores, and what comes between.
fn network_cycles(bytes: f64, tiles: usize) -> f64 {
    bytes / f64::min(64.0, 160.0 / tiles as f64) + 3000.0 + 800.0 * tiles as f64
}

/// Blocks of `judge`.
pub(super) struct Judged {
    pub rewards: usize,
    pub values: usize,
    /// Whether critics are asked apart, by twice as many blocks, which ask the policy twice: that is worth it where there is nothing else to do.
    pub apart: bool,
}

impl Judged {
    pub fn new(tiles: Tiles, rewards: usize, values: usize, machine: Machine) -> Self {
        let (rewards, values) = (rewards.div_ceil(16 * tiles.rows), values.div_ceil(16 * tiles.values));
        let apart = rewards + 2 * values <= machine.multiprocessors;
        Self { rewards, values: if apart { 2 * values } else { values }, apart }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H100: Machine = Machine { multiprocessors: 132, shared: 227 << 10, team: 8, clusters: 16 };

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
            beside: 64,
            head: 36 * 64 * 32 / per_word,
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

    /// The published sizes on an H100: few candidates in small blocks, so that all multiprocessors have some, many in large ones.
    #[test]
    fn blocks_suit_their_number() {
        let sizes = Sizes {
            observation: 17,
            action: 6,
            warps: 16,
            per_word: 1,
            latent: 56,
            widest: 512,
            motion_widest: 256,
            motion: [0, 190 * 32],
            states: 56,
            gates: 64,
            beside: 128,
            head: 36 * 64 * 32,
        };
        let motion = |rows| sizes.motion_tiles(Blocks::Suited, rows, H100).rows;
        assert_eq!([512, 8192, 65_536].map(motion), [1, 4, 4]);
        // not a second turn for a few more
        assert!(motion(8602) < 4);
        let judge = |rows: usize, horizon| sizes.judge_tiles(Blocks::Suited, rows * horizon, rows, H100);
        assert_eq!(judge(512, 5), Tiles { rows: 4, values: 2 });
        assert_eq!(judge(8192, 20), Tiles { rows: 4, values: 4 });
    }
}
