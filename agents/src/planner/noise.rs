//! All random numbers of one plan, drawn on the host before the loop and uploaded once.

use super::colored::ColoredNoise;
use super::plan::upload;
use super::{Budget, Mode};
use crate::config::{PlannerConfig, PlannerKind};
use crate::rng::{PolicyNoise, Stream};
use burn::prelude::*;

/// Noise of E environments; environment i's numbers come from its own stream only, so that its plan does not
/// depend on who else is planned in the same batch.
#[derive(Clone, Debug)]
pub struct Noise {
    sizes: Sizes,
    /// `[E, N, H·A]` of every iteration
    samples: Iterations,
    /// `[E, N, A]` of every iteration
    tails: Iterations,
    /// `[E, P, H·A]` and `[E, P, A]`
    policy: Option<(Tensor<3>, Tensor<3>)>,
    /// `[E, K]`
    gumbel: Option<Tensor<2>>,
    exploration: Option<Tensor<2>>,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    environments: usize,
    policy: usize,
    horizon: usize,
    actions: usize,
}

impl Noise {
    /// Draws the noise of one plan for `streams.len()` environments, as much as the planner needs: the same in both
    /// modes, so that evaluation does not shift anybody's stream. `kind` is the policy's.
    pub fn draw(
        config: &PlannerConfig,
        kind: PolicyNoise,
        horizon: usize,
        actions: usize,
        mode: Mode,
        streams: &mut [Stream],
        device: &Device,
    ) -> Self {
        let (budget, e) = (Budget::new(config), streams.len());
        let (row, p) = (horizon * actions, budget.proposed);
        let distribution = Distribution::new(config, horizon);
        let drawn_elites = match config.kind {
            // the cross-entropy method draws them for nothing, so that it sees the noise that MPPI would
            PlannerKind::Mppi | PlannerKind::Mppi2 | PlannerKind::Cem => config.num_elites,
            PlannerKind::Icem | PlannerKind::Random | PlannerKind::Policy | PlannerKind::Grad => 0,
        };
        let mut samples = vec![Vec::new(); budget.sampled.len()];
        let mut tails = vec![Vec::new(); budget.scored.len()];
        let (mut policy, mut policy_tails) = (Vec::new(), Vec::new());
        let (mut gumbel, mut exploration) = (Vec::new(), Vec::new());
        for stream in streams.iter_mut() {
            for iteration in 0..budget.scored.len() {
                if let Some(sampled) = budget.sampled.get(iteration) {
                    samples[iteration].extend(distribution.draw(stream, *sampled, row));
                }
                tails[iteration].extend(stream.policy_noise(budget.scored[iteration] * actions, kind));
            }
            policy.extend(stream.policy_noise(p * row, kind));
            policy_tails.extend(stream.policy_noise(p * actions, kind));
            let uniform = stream.uniform(drawn_elites, f32::MIN_POSITIVE, 1.0);
            gumbel.extend(uniform.into_iter().map(|u| -(-u.max(f32::MIN_POSITIVE).ln()).ln()));
            if config.kind != PlannerKind::Policy {
                exploration.extend(stream.noise(actions));
            }
        }
        if (config.kind, mode) == (PlannerKind::Policy, Mode::Exploit) {
            policy.fill(0.0);
        }
        let explores = mode == Mode::Explore && !exploration.is_empty();
        Self {
            samples: Iterations::new(samples, device),
            tails: Iterations::new(tails, device),
            policy: (p > 0).then(|| {
                (upload(policy, [e, p, row], device), upload(policy_tails, [e, p, actions], device))
            }),
            gumbel: (drawn_elites > 0).then(|| upload(gumbel, [e, drawn_elites], device)),
            exploration: explores.then(|| upload(exploration, [e, actions], device)),
            sizes: Sizes { environments: e, policy: p, horizon, actions },
        }
    }

    /// All numbers as they were drawn on a CPU: samples and tails of all iterations, the policy's and those of its tails, Gumbel and
    /// exploration noise.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn numbers(&self) -> Vec<f32> {
        fn flat<const D: usize>(t: &Tensor<D>) -> Tensor<1> {
            t.clone().reshape([t.shape().num_elements()])
        }
        let policy = self.policy.as_ref().map(|(steps, tails)| [flat(steps), flat(tails)]);
        let [steps, tails] = policy.map_or([None, None], |both| both.map(Some));
        let (gumbel, exploration) = (self.gumbel.as_ref().map(flat), self.exploration.as_ref().map(flat));
        let all =
            [self.samples.numbers.clone(), self.tails.numbers.clone(), steps, tails, gumbel, exploration];
        all.into_iter().flatten().flat_map(crate::inference::numbers).collect()
    }

    /// Planning horizon H.
    pub fn horizon(&self) -> usize {
        self.sizes.horizon
    }

    /// Numbers of one iteration, of the planner's distribution: `[E, N, H, A]`.
    ///
    /// # Panics
    /// If the planner samples nothing in it.
    pub fn samples(&self, iteration: usize) -> Tensor<4> {
        let Sizes { environments, horizon, actions, .. } = self.sizes;
        let (numbers, count) = self.samples.of(iteration, environments * horizon * actions);
        numbers.reshape([environments, count, horizon, actions])
    }

    /// Policy noise at the last latent of every candidate: `[E, N, A]`.
    ///
    /// # Panics
    /// If the planner scores nothing in that iteration.
    pub fn tails(&self, iteration: usize) -> Tensor<3> {
        let Sizes { environments, actions, .. } = self.sizes;
        let (numbers, count) = self.tails.of(iteration, environments * actions);
        numbers.reshape([environments, count, actions])
    }

    /// Noise of the policy's sequences, `[E, P, H, A]`, and of their last step, `[E, P, A]`.
    pub fn policy(&self) -> Option<(Tensor<4>, Tensor<3>)> {
        let Sizes { environments, policy, horizon, actions } = self.sizes;
        let (steps, tail) = self.policy.clone()?;
        Some((steps.reshape([environments, policy, horizon, actions]), tail))
    }

    /// Gumbel noise that draws one elite: `[E, K]`.
    ///
    /// # Panics
    /// If the planner draws none.
    pub fn gumbel(&self) -> Tensor<2> {
        self.gumbel.clone().expect("drawn for planners that draw an elite")
    }

    /// Standard normal exploration noise `[E, A]`; `None` when exploiting.
    pub fn exploration(&self) -> Option<Tensor<2>> {
        self.exploration.clone()
    }
}

/// What samples are made from.
enum Distribution {
    /// Standard normal.
    Normal,
    /// In ±1.
    Uniform,
    /// Normal, correlated in time.
    Colored(ColoredNoise),
}

impl Distribution {
    fn new(config: &PlannerConfig, horizon: usize) -> Self {
        match config.kind {
            PlannerKind::Icem => Self::Colored(ColoredNoise::new(config.icem.noise_beta, horizon)),
            PlannerKind::Random => Self::Uniform,
            PlannerKind::Mppi
            | PlannerKind::Mppi2
            | PlannerKind::Cem
            | PlannerKind::Policy
            | PlannerKind::Grad => Self::Normal,
        }
    }

    /// `sequences` of `row` = H·A numbers.
    fn draw(&self, stream: &mut Stream, sequences: usize, row: usize) -> Vec<f32> {
        match self {
            Self::Normal => stream.noise(sequences * row),
            Self::Uniform => stream.uniform(sequences * row, -1.0, 1.0),
            Self::Colored(noise) => noise.draw(stream, sequences, row / noise.horizon()),
        }
    }
}

/// Numbers of all iterations, which need not be equally many, in one upload.
#[derive(Clone, Debug)]
struct Iterations {
    /// `None` where no iteration has any.
    numbers: Option<Tensor<1>>,
    lengths: Vec<usize>,
}

impl Iterations {
    fn new(iterations: Vec<Vec<f32>>, device: &Device) -> Self {
        let numbers = iterations.concat();
        let lengths = iterations.iter().map(Vec::len).collect();
        let length = numbers.len();
        Self { numbers: (length > 0).then(|| upload(numbers, [length], device)), lengths }
    }

    /// Those of one iteration, and how often `size` goes into them.
    fn of(&self, iteration: usize, size: usize) -> (Tensor<1>, usize) {
        let numbers = self.numbers.clone().expect("numbers were drawn for this planner");
        let start = self.lengths[..iteration].iter().sum();
        let length = self.lengths[iteration];
        (numbers.narrow(0, start, length), length / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, tests::tiny};
    use crate::device::cpu;
    use crate::test_support::values;

    fn config(kind: PlannerKind) -> PlannerConfig {
        let mut config = tiny(DynamicsKind::Mlp).planner;
        (config.kind, config.num_samples, config.policy_fraction) = (kind, 8, 0.25);
        (config.num_elites, config.iterations) = (3, 2);
        config
    }

    fn draw(kind: PlannerKind, mode: Mode) -> (Noise, [u64; 2]) {
        let mut streams = [Stream::new(1, "noise"), Stream::new(2, "noise")];
        let noise =
            Noise::draw(&config(kind), PolicyNoise::Clipped { std: 0.05 }, 3, 2, mode, &mut streams, &cpu());
        (noise, streams.map(|mut stream| stream.seed()))
    }

    /// Recorded: as long as this holds, runs of other versions repeat bit by bit where nothing else has changed.
    #[test]
    fn mppi_and_cem_draw_what_they_drew_before() {
        fn ends<const D: usize>(t: Tensor<D>) -> [f32; 3] {
            let numbers = values(t);
            [numbers[0], numbers[numbers.len() - 1], numbers.iter().map(|&x| x as f64).sum::<f64>() as f32]
        }
        for kind in [PlannerKind::Mppi, PlannerKind::Cem] {
            let (noise, next) = draw(kind, Mode::Explore);
            assert_eq!(ends(noise.samples(0)), [0.20984158, -2.5742834, 5.2292347]);
            assert_eq!(ends(noise.samples(1)), [0.3268811, -0.13997029, 21.608328]);
            assert_eq!(ends(noise.tails(0)), [-0.0072362646, -0.037273414, -0.16864158]);
            assert_eq!(ends(noise.tails(1)), [-0.021949574, -0.01785066, -0.5063847]);
            let (steps, tails) = noise.policy().unwrap();
            assert_eq!(ends(steps), [-0.0687011, 0.017460644, -0.27034727]);
            assert_eq!(ends(tails), [0.046029832, -0.0018760854, -0.12321973]);
            assert_eq!(ends(noise.gumbel()), [0.03855991, 0.45466968, 0.38520703]);
            assert_eq!(ends(noise.exploration().unwrap()), [-1.8493418, -1.3202531, -2.7194228]);
            assert_eq!(next, [9883774943200202363, 10549175876881832303]);
        }
    }

    #[test]
    fn every_planner_draws_what_its_budget_says_whatever_the_mode() {
        for kind in PlannerKind::ALL {
            let budget = Budget::new(&config(kind));
            let (noise, next) = draw(kind, Mode::Explore);
            for (i, &count) in budget.sampled.iter().enumerate() {
                assert_eq!(noise.samples(i).dims(), [2, count, 3, 2], "{kind:?}");
            }
            for (i, &count) in budget.scored.iter().enumerate() {
                assert_eq!(noise.tails(i).dims(), [2, count, 2], "{kind:?}");
            }
            assert_eq!(noise.policy().map_or(0, |(steps, _)| steps.dims()[1]), budget.proposed, "{kind:?}");
            let (exploiting, same) = draw(kind, Mode::Exploit);
            assert_eq!(next, same, "{kind:?}");
            assert!(exploiting.exploration().is_none());
        }
    }

    #[test]
    fn the_noise_of_the_policy_alone_is_there_to_explore() {
        let steps = |mode| values(draw(PlannerKind::Policy, mode).0.policy().unwrap().0);
        assert!(steps(Mode::Explore).iter().all(|x| *x != 0.0));
        assert!(steps(Mode::Exploit).iter().all(|x| *x == 0.0));
    }
}
