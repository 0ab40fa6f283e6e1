//! A linear system with a quadratic cost, which a linear model should find exactly, and the same with an input that
//! turns with the state, which it cannot.
use super::noise::{self, Noise};
use crate::{
    End, Env, EnvOption, Error, OptionValue, Spec, State, StateDims, Step,
    entry::Entry,
    env::{check_state, fill},
    options::{Options, option},
    random::Random,
};

/// Entries of the state.
pub const STATES: usize = 4;
/// Entries of the action.
pub const ACTIONS: usize = 2;

/// x' = A x + B u. Stable: block triangular, with eigenvalues 0.95 ± 0.20i (modulus 0.971, a slow swing) and
/// 0.80 ± 0.50i (modulus 0.943, a faster one).
pub const A: [[f64; STATES]; STATES] = [
    [0.95, -0.20, 0.10, 0.00],
    [0.20, 0.95, 0.00, 0.10],
    [0.00, 0.00, 0.80, -0.50],
    [0.00, 0.00, 0.50, 0.80],
];

/// Each input drives one of the two swings.
pub const B: [[f64; ACTIONS]; STATES] = [[0.00, 0.00], [0.20, 0.00], [0.00, 0.00], [0.00, 0.20]];

/// The cost of the state is xᵀQx with Q = `STATE_COST` · I.
pub const STATE_COST: f64 = 1.0;

/// The cost of the action is uᵀRu with R = `ACTION_COST` · I.
pub const ACTION_COST: f64 = 0.1;

/// Observes the state; takes actions in [-1, 1]; pays -(xᵀQx + uᵀRu) of the state before the step. Starts
/// uniformly in [-1, 1)⁴.
///
/// `coupled` is x' = A x + B R(κ x₁) u instead, R(φ) a turn by φ: what an input does depends on the state, and the
/// coupling κ says how much. Whoever acts with u = R(-κ x₁) v finds the linear system in v again.
pub(crate) struct Linear {
    spec: Spec,
    coupling: f64,
    noise: Noise,
    x: [f64; STATES],
}

const COUPLING: EnvOption =
    option("coupling", OptionValue::Number(1.0), "turn of the input per unit of the first state, in rad");

impl Linear {
    pub(crate) const LINEAR: &'static [EnvOption] = &[noise::PROCESS, noise::OBSERVATION];
    pub(crate) const COUPLED: &'static [EnvOption] = &[COUPLING, noise::PROCESS, noise::OBSERVATION];

    /// The linear system, called as `entry` says.
    pub(crate) fn uncoupled(entry: &Entry, options: &Options) -> Self {
        Self::new(entry, options, 0.0)
    }

    /// The coupled system, called as `entry` says.
    pub(crate) fn coupled(entry: &Entry, options: &Options) -> Self {
        Self::new(entry, options, options.number(COUPLING.name))
    }

    fn new(entry: &Entry, options: &Options, coupling: f64) -> Self {
        let noise = Noise::new(options);
        let dims = noise.dims(StateDims { qpos: STATES, qvel: 0, extra: 0 });
        let spec = entry.spec(STATES, (vec![-1.0; ACTIONS], vec![1.0; ACTIONS]), dims);
        Self { spec, coupling, noise, x: [0.0; STATES] }
    }

    fn observe(&mut self, observation: &mut [f64]) {
        fill(observation, self.x);
        self.noise.on_observation(observation);
    }
}

impl Env for Linear {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        let mut random = Random::from_seed(seed);
        self.x = std::array::from_fn(|_| random.uniform(-1.0, 1.0));
        self.noise.follow(random);
        self.observe(observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let &[first, second] = action else { panic!("the system has two inputs, not {}", action.len()) };
        let u = [first.clamp(-1.0, 1.0), second.clamp(-1.0, 1.0)];
        let x = self.x;
        let cost = STATE_COST * dot(&x, &x) + ACTION_COST * dot(&u, &u);
        let (sine, cosine) = (self.coupling * x[0]).sin_cos();
        let turned = [cosine * u[0] - sine * u[1], sine * u[0] + cosine * u[1]];
        self.x = std::array::from_fn(|row| dot(&A[row], &x) + dot(&B[row], &turned));
        self.noise.on_state(&mut self.x);
        self.observe(observation);
        Step { reward: -cost, end: End::Running }
    }

    /// All of x is in `qpos`.
    fn state(&self) -> Option<State> {
        self.noise.state(State { qpos: self.x.to_vec(), ..State::default() })
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, state)?;
        self.x.copy_from_slice(&state.qpos);
        self.observe(observation);
        Ok(())
    }
}

fn dot<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear() -> Box<dyn Env> {
        crate::registry::make("linear").unwrap()
    }

    #[test]
    fn a_step_is_the_matrices() {
        let (mut env, mut x) = (linear(), [0.0; 4]);
        env.set_state(&State { qpos: vec![1.0, 2.0, 3.0, 4.0], ..State::default() }, &mut x).unwrap();
        let step = env.step(&[0.5, -1.0], &mut x);
        let expected = [0.95 - 0.4 + 0.3, 0.2 + 1.9 + 0.4 + 0.1, 2.4 - 2.0, 1.5 + 3.2 - 0.2];
        assert!(x.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{x:?}");
        assert!((step.reward + 30.0 + 0.1 * 1.25).abs() < 1e-12, "{}", step.reward);
    }

    /// The pair a ± bi has the polynomial λ² - 2aλ + a² + b²; by Cayley-Hamilton the product of both, of A,
    /// is 0.
    #[test]
    fn the_eigenvalues_are_the_documented_ones() {
        let times = |a: &[[f64; 4]; 4], b: &[[f64; 4]; 4]| -> [[f64; 4]; 4] {
            std::array::from_fn(|i| std::array::from_fn(|j| (0..4).map(|k| a[i][k] * b[k][j]).sum()))
        };
        let polynomial = |real: f64, imaginary: f64| -> [[f64; 4]; 4] {
            let square = times(&A, &A);
            let constant = real * real + imaginary * imaginary;
            std::array::from_fn(|i| {
                std::array::from_fn(|j| {
                    square[i][j] - 2.0 * real * A[i][j] + if i == j { constant } else { 0.0 }
                })
            })
        };
        let product = times(&polynomial(0.95, 0.20), &polynomial(0.80, 0.50));
        assert!(product.iter().flatten().all(|x| x.abs() < 1e-12), "{product:?}");
    }

    /// The inputs of the coupled system turned back are those of the linear one.
    #[test]
    fn turning_back_uncouples() {
        for coupling in [0.0, 0.7, 3.0] {
            let coupling = OptionValue::Number(coupling);
            let mut coupled =
                crate::registry::make_with("coupled", &[("coupling".into(), coupling)]).unwrap();
            let (mut x, mut y, mut linear) = ([0.0; 4], [0.0; 4], linear());
            coupled.reset(2, &mut x);
            linear.reset(2, &mut y);
            for step in 0..100 {
                let v = [0.7 * f64::from(step).sin(), 0.7 * f64::from(step).cos()];
                let OptionValue::Number(coupling) = coupling else { unreachable!("it was made a number") };
                let (sine, cosine) = (-coupling * x[0]).sin_cos();
                let u = [cosine * v[0] - sine * v[1], sine * v[0] + cosine * v[1]];
                let (a, b) = (coupled.step(&u, &mut x), linear.step(&v, &mut y));
                assert!(
                    (a.reward - b.reward).abs() < 1e-9 && x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-9)
                );
            }
        }
    }

    #[test]
    fn without_input_it_comes_to_rest() {
        let (mut env, mut x) = (linear(), [0.0; 4]);
        env.reset(1, &mut x);
        for _ in 0..200 {
            env.step(&[0.0, 0.0], &mut x);
        }
        assert!(x.iter().all(|x| x.abs() < 0.02), "{x:?}");
    }
}
