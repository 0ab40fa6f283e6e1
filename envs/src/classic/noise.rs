//! Noise on the state and on what is seen of it, as options of environments without a simulator.
use crate::{
    EnvOption,
    OptionValue::Number,
    State, StateDims,
    options::{Limit, Options, option},
    random::Random,
};

pub(super) const PROCESS: EnvOption =
    option("process_noise", Number(0.0), "standard deviation of normal noise on the state, every step")
        .limited(Limit::NotNegative);
pub(super) const OBSERVATION: EnvOption =
    option("observation_noise", Number(0.0), "standard deviation of normal noise on the observation")
        .limited(Limit::NotNegative);

/// Draws from the stream of the episode; a standard deviation of 0 draws nothing.
pub(super) struct Noise {
    process: f64,
    observation: f64,
    random: Random,
}

impl Noise {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            process: options.number(PROCESS.name),
            observation: options.number(OBSERVATION.name),
            random: Random::from_seed(0),
        }
    }

    /// Goes on with the stream from which the start was drawn.
    pub(super) fn follow(&mut self, random: Random) {
        self.random = random;
    }

    /// With noise there is more to a state than can be chosen.
    fn is_off(&self) -> bool {
        self.process == 0.0 && self.observation == 0.0
    }

    pub(super) fn dims(&self, without: StateDims) -> Option<StateDims> {
        self.is_off().then_some(without)
    }

    pub(super) fn state(&self, without: State) -> Option<State> {
        self.is_off().then_some(without)
    }

    pub(super) fn on_state(&mut self, state: &mut [f64]) {
        add(state, self.process, &mut self.random);
    }

    pub(super) fn on_observation(&mut self, observation: &mut [f64]) {
        add(observation, self.observation, &mut self.random);
    }
}

fn add(values: &mut [f64], deviation: f64, random: &mut Random) {
    if deviation > 0.0 {
        values.iter_mut().for_each(|value| *value += deviation * random.normal());
    }
}

#[cfg(test)]
mod tests {
    use crate::{OptionValue::Number, registry};

    /// Everything seen in an episode under no action.
    fn episode(option: &str, deviation: f64, seed: u64) -> Vec<[f64; 4]> {
        let mut env = registry::make_with("linear", &[(option.into(), Number(deviation))]).unwrap();
        let mut x = [0.0; 4];
        env.reset(seed, &mut x);
        let first = x;
        let rest = (0..199).map(|_| {
            env.step(&[0.0, 0.0], &mut x);
            x
        });
        [first].into_iter().chain(rest).collect()
    }

    #[test]
    fn noise_has_its_size_and_belongs_to_the_seed() {
        let clean = episode("process_noise", 0.0, 5);
        assert_eq!(clean, episode("observation_noise", 0.0, 5));
        let seen = episode("observation_noise", 0.1, 5);
        let variance =
            seen.iter().zip(&clean).flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| (a - b).powi(2));
        let deviation = (variance.sum::<f64>() / 800.0).sqrt();
        // a standard error of 0.0025
        assert!((deviation - 0.1).abs() < 0.01, "{deviation}");
        for option in ["process_noise", "observation_noise"] {
            assert_eq!(episode(option, 0.1, 5), episode(option, 0.1, 5), "{option}");
            assert_ne!(episode(option, 0.1, 5), episode(option, 0.1, 6), "{option}");
        }
    }

    /// A chosen state used to leave the noise where the last episode had left it.
    #[test]
    fn environments_keep_their_promises_with_noise() {
        for name in ["linear", "coupled", "cart-pole"] {
            for noise in [super::PROCESS.name, super::OBSERVATION.name] {
                let make = || registry::make_with(name, &[(noise.into(), Number(0.1))]);
                let report = crate::check::run(make).unwrap();
                assert!(report.passed(), "{noise}: {report}");
                assert!(make().unwrap().state().is_none());
            }
        }
    }

    /// x' = Ax + w ends up with the covariance P = APAᵀ + σ²I, which is summed here; noise on what is seen does not
    /// move the state.
    #[test]
    fn noise_on_the_state_stays_in_the_state() {
        let a = super::super::linear::A;
        let times =
            |x: [f64; 4]| -> [f64; 4] { std::array::from_fn(|i| (0..4).map(|k| a[i][k] * x[k]).sum()) };
        let mut expected = 0.0;
        for axis in 0..4 {
            let mut x: [f64; 4] = std::array::from_fn(|i| f64::from(u8::from(i == axis)));
            for _ in 0..500 {
                expected += 0.01 * x.iter().map(|x| x * x).sum::<f64>();
                x = times(x);
            }
        }
        let late = (0..200).flat_map(|seed| episode("process_noise", 0.1, seed).split_off(150));
        let squares: Vec<f64> = late.map(|x| x.iter().map(|x| x * x).sum()).collect();
        let mean = squares.iter().sum::<f64>() / squares.len() as f64;
        assert!((mean / expected - 1.0).abs() < 0.1, "{mean}, in theory {expected}");
    }
}
