//! What a plan of one shape is: its input, its numbers, and its kernels one after the other.

use super::sizes::{Blocks, Judged, Machine, Sizes, Tiles};
use crate::config::PlannerKind;
#[cfg(feature = "cuda")]
use crate::cuda::Behind;

/// What makes two plans the same work on other numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub kind: PlannerKind,
    /// E
    pub environments: usize,
    /// N
    pub sampled: usize,
    /// P
    pub proposed: usize,
    /// H
    pub horizon: usize,
    /// K
    pub elites: usize,
    pub iterations: usize,
    /// Last latents of a sequence that are valued.
    pub depths: usize,
    pub explores: bool,
    /// The standard deviation of the policy's noise, as bits, if noise is drawn on the device.
    pub policy_std: Option<u32>,
}

/// Where the parts of the input lie, in numbers; the noise comes last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs {
    pub observations: usize,
    pub warm: usize,
    pub of_rewards: usize,
    pub of_values: usize,
    pub settings: usize,
    pub seeds: usize,
    pub noise: usize,
    pub end: usize,
}

/// See the kinds of a `Segment` in `kernels/noise.cu`.
const NORMAL: i32 = 0;
const POLICY_NOISE: i32 = 1;
const GUMBEL: i32 = 2;

impl Shape {
    pub fn candidates(&self) -> usize {
        self.sampled + self.proposed
    }

    /// Numbers of the largest buffer.
    pub fn largest(&self, sizes: Sizes) -> usize {
        let steps = self.environments * self.candidates() * self.horizon;
        let noise = self.inputs(sizes.observation, sizes.action).end;
        noise.max(steps * sizes.latent_words().max(sizes.action))
    }

    /// Numbers of a decision: action, mean, mean score and policy share of the elites, bad scores.
    pub fn decision(&self, actions: usize) -> usize {
        actions + self.horizon * actions + 3
    }

    pub fn inputs(&self, observation: usize, actions: usize) -> Inputs {
        let (e, h) = (self.environments, self.horizon);
        let mut end = 0;
        let mut next = |count: usize| {
            end += count;
            end - count
        };
        Inputs {
            observations: next(e * observation),
            warm: next(e * h * actions),
            of_rewards: next(h),
            of_values: next(h),
            settings: next(4),
            seeds: next(2 * e),
            noise: next(self.segments(actions).iter().map(|s| e * s[1] as usize).sum()),
            end: next(0),
        }
    }

    /// Where the noise of each purpose begins, how much of it an environment has, and its kind.
    pub fn segments(&self, actions: usize) -> Vec<[i32; 3]> {
        let row = self.horizon * actions;
        let samples = std::iter::repeat_n((self.sampled * row, NORMAL), self.iterations);
        let tails = std::iter::repeat_n((self.sampled * actions, POLICY_NOISE), self.iterations);
        let others = [
            (self.proposed * row, POLICY_NOISE),
            (self.proposed * actions, POLICY_NOISE),
            (self.elites, GUMBEL),
            (actions, NORMAL),
        ];
        let mut from = 0;
        let mut place = |(count, kind): (usize, i32)| {
            let at = from;
            from += self.environments * count;
            [at as i32, count as i32, kind]
        };
        samples.chain(tails).chain(others).map(&mut place).collect()
    }

    /// `kind` in `kernels/refit.cu`.
    fn refit(&self) -> i32 {
        match self.kind {
            PlannerKind::Mppi2 => 1,
            PlannerKind::Cem => 2,
            _ => 0,
        }
    }
}

/// `Plan` in `kernels/plan.cu`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Plan {
    weights: u64,
    vectors: u64,
    observations: u64,
    warm: u64,
    of_rewards: u64,
    of_values: u64,
    settings: u64,
    samples: u64,
    tails: u64,
    policy_steps: u64,
    policy_tails: u64,
    gumbel: u64,
    exploration: u64,
    z0: u64,
    mean: u64,
    std: u64,
    actions: u64,
    latents: u64,
    rewards: u64,
    values: u64,
    scores: u64,
    ranks: u64,
    weightings: u64,
    out: u64,
    sizes: [i32; 6],
}

/// Where what a plan uses begins: addresses.
#[derive(Clone, Copy)]
pub(super) struct Bases {
    pub weights: u64,
    pub vectors: u64,
    pub input: u64,
    pub work: u64,
}

/// A kernel's turn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turn {
    pub kernel: &'static str,
    pub tiles: Tiles,
    pub blocks: usize,
    pub threads: usize,
    /// Bytes of shared memory.
    pub shared: usize,
    /// What it is told behind the plan.
    pub arguments: Vec<i32>,
}

#[cfg(feature = "cuda")]
impl Turn {
    /// Those that follow a kernel of plans wait for it themselves.
    pub fn behind(&self) -> Behind {
        let first = matches!(self.kernel, "propose" | "propose_together");
        if first { Behind::Everything } else { Behind::Kernel }
    }
}

impl Shape {
    /// Places of z_0, means, deviations, actions, latents, rewards, values, scores, ranks, weightings and decisions, and how
    /// many numbers they are.
    fn work(&self, sizes: Sizes) -> ([usize; 11], usize) {
        let (a, e, h, c) = (sizes.action, self.environments, self.horizon, self.candidates());
        let mut end = 0;
        let mut room = |count: usize| {
            end += count.next_multiple_of(4);
            end - count.next_multiple_of(4)
        };
        let places = [
            room(e * sizes.latent),
            room(e * h * a),
            room(e * h * a),
            room(e * c * h * a),
            room(e * c * h * sizes.latent_words()),
            room(e * c * h),
            room(2 * e * c * h),
            room(e * c),
            room(e * c),
            room(e * self.elites),
            room(e * self.decision(a)),
        ];
        (places, end)
    }

    /// Numbers that a plan works on.
    pub fn work_len(&self, sizes: Sizes) -> usize {
        self.work(sizes).1
    }

    /// Address of the decisions.
    pub fn out(&self, sizes: Sizes, bases: Bases) -> u64 {
        bases.work + 4 * self.work(sizes).0[10] as u64
    }

    /// What the kernels are given.
    pub fn plan(&self, sizes: Sizes, bases: Bases) -> Plan {
        let inputs = self.inputs(sizes.observation, sizes.action);
        let segments = self.segments(sizes.action);
        let at = |number: usize| bases.input + 4 * number as u64;
        let noise = |segment: usize| at(inputs.noise + segments[segment][0] as usize);
        let [z0, mean, std, actions, latents, rewards, values, scores, ranks, weightings, out] =
            self.work(sizes).0.map(|place| bases.work + 4 * place as u64);
        let i = self.iterations;
        let (e, n, p) = (self.environments, self.sampled, self.proposed);
        Plan {
            weights: bases.weights,
            vectors: bases.vectors,
            observations: at(inputs.observations),
            warm: at(inputs.warm),
            of_rewards: at(inputs.of_rewards),
            of_values: at(inputs.of_values),
            settings: at(inputs.settings),
            samples: noise(0),
            tails: noise(i),
            policy_steps: noise(2 * i),
            policy_tails: noise(2 * i + 1),
            gumbel: noise(2 * i + 2),
            exploration: noise(2 * i + 3),
            z0,
            mean,
            std,
            actions,
            latents,
            rewards,
            values,
            scores,
            ranks,
            weightings,
            out,
            sizes: [e, n, p, self.horizon, self.elites, self.depths].map(|n| n as i32),
        }
    }

    /// The kernels behind the noise.
    pub fn turns(&self, sizes: Sizes, blocks: Blocks, machine: Machine) -> Vec<Turn> {
        let (e, threads) = (self.environments, 32 * sizes.warps);
        let turn = |kernel, tiles: Tiles, blocks, arguments| {
            let shared = match kernel {
                "imagine" => sizes.imagine_bytes(tiles.rows, machine.shared),
                "judge" => sizes.judge_bytes(tiles, machine.shared),
                "propose_together" => sizes.team_bytes(machine.shared),
                _ => sizes.shared_bytes(1),
            };
            Turn { kernel, tiles, blocks, threads, shared, arguments }
        };
        let groups = (e * self.proposed.max(1)).div_ceil(16);
        // clusters wait less, but many would wait for each other
        let first = match self.proposed > 0 && groups <= machine.clusters {
            true => turn("propose_together", Tiles::ONE, groups * machine.team, vec![]),
            false => turn("propose", Tiles::ONE, groups, vec![]),
        };
        let mut turns = vec![first];
        for i in 0..self.iterations {
            // the first iteration scores the policy's sequences as well
            let rows = e * if i == 0 { self.candidates() } else { self.sampled };
            let iteration = i as i32;
            let tiles = sizes.motion_tiles(blocks, rows, machine);
            turns.push(turn("imagine", tiles, rows.div_ceil(16 * tiles.rows), vec![iteration]));
            let [rewards, values] = [self.horizon, self.depths].map(|n| rows * n);
            let tiles = sizes.judge_tiles(blocks, rewards, values, machine);
            let Judged { rewards, values, apart } = Judged::new(tiles, rewards, values, machine);
            let arguments = vec![iteration, values as i32, i32::from(apart)];
            turns.push(turn("judge", tiles, values + rewards, arguments));
            // many are scored by many blocks, few by the one that selects among them
            let scored = self.candidates() > 16 * machine.multiprocessors;
            if scored {
                let blocks = (rows / e).div_ceil(super::SCORE_THREADS);
                let (kernel, tiles, threads) = ("score", Tiles::ONE, super::SCORE_THREADS);
                let arguments = vec![iteration, blocks as i32];
                turns.push(Turn { kernel, tiles, blocks: e * blocks, threads, shared: 0, arguments });
            }
            let (last, explores) = (i32::from(i + 1 == self.iterations), i32::from(self.explores));
            turns.push(Turn {
                kernel: "refit",
                tiles: Tiles::ONE,
                blocks: e,
                threads: super::REFIT_THREADS,
                shared: 8 * self.elites.next_power_of_two() + 4 * super::REFIT_THREADS,
                arguments: vec![iteration, self.refit(), last, explores, i32::from(scored)],
            });
        }
        turns
    }
}
