//! A linear system with a quadratic cost: what a linear model should find exactly.
use crate::{
    End, Env, Error, Spec, State, StateDims, Step,
    entry::Entry,
    env::{check_state, fill},
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
/// uniformly in [-1, 1)⁴ and has no noise.
pub(crate) struct Linear {
    spec: Spec,
    x: [f64; STATES],
}

impl Linear {
    /// The system, called as `entry` says.
    pub(crate) fn new(entry: &Entry) -> Self {
        let spec = entry.spec(
            STATES,
            (vec![-1.0; ACTIONS], vec![1.0; ACTIONS]),
            Some(StateDims { qpos: STATES, qvel: 0, extra: 0 }),
        );
        Self { spec, x: [0.0; STATES] }
    }
}

impl Env for Linear {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        let mut random = Random::from_seed(seed);
        self.x = std::array::from_fn(|_| random.uniform(-1.0, 1.0));
        fill(observation, self.x);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let &[first, second] = action else { panic!("the system has two inputs, not {}", action.len()) };
        let u = [first.clamp(-1.0, 1.0), second.clamp(-1.0, 1.0)];
        let x = self.x;
        let cost = STATE_COST * dot(&x, &x) + ACTION_COST * dot(&u, &u);
        self.x = std::array::from_fn(|row| dot(&A[row], &x) + dot(&B[row], &u));
        fill(observation, self.x);
        Step { reward: -cost, end: End::Running }
    }

    /// All of x is in `qpos`.
    fn state(&self) -> Option<State> {
        Some(State { qpos: self.x.to_vec(), ..State::default() })
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, state)?;
        self.x.copy_from_slice(&state.qpos);
        fill(observation, self.x);
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
