//! A cart-pole of our own: swing the pole up by pushing the cart, on a rail with ends.
use std::f64::consts::PI;

use super::noise::{self, Noise};
use crate::{
    End, Env, EnvOption, Error,
    OptionValue::Number,
    Spec, State, StateDims, Step,
    entry::Entry,
    env::{check_state, fill},
    options::{Limit, Options, option},
    random::Random,
};

/// Seconds per step.
const TIMESTEP: f64 = 0.02;
/// Half-length of the rail, in metres.
const RAIL: f64 = 2.4;
/// Half-width of the uniform start noise around hanging at rest.
const RESET_NOISE: f64 = 0.05;

/// With x to the right, θ from the vertical to the right, a cart of mass M and a uniform pole of mass m and
/// half-length l, Lagrange's equations under a force F on the cart are
///
/// (M + m) ẍ + m l cos θ θ̈ − m l sin θ θ̇² = F  and  ẍ cos θ + 4/3 l θ̈ = g sin θ,
///
/// without friction, integrated with one Runge-Kutta step of fourth order per 0.02 s. The cart stops dead at the
/// ends of the rail. Observes (x, cos θ, sin θ, ẋ, θ̇); takes actions in [-1, 1], a share of the greatest force;
/// pays ½ (1 + cos θ) (1 − (x / 2.4)²) of the state after the step, between 0 and 1.
pub(crate) struct CartPole {
    spec: Spec,
    plant: Plant,
    noise: Noise,
    /// x, θ, ẋ, θ̇.
    state: [f64; 4],
}

/// The numbers of the equations, in SI units.
struct Plant {
    gravity: f64,
    cart: f64,
    pole: f64,
    half_length: f64,
    force: f64,
}

impl Plant {
    /// The time derivative of the state.
    fn flow(&self, [_, angle, velocity, spin]: [f64; 4], force: f64) -> [f64; 4] {
        let (sine, cosine) = angle.sin_cos();
        let mass = self.cart + self.pole;
        let lever = self.pole * self.half_length;
        let push = (force + lever * spin.powi(2) * sine) / mass;
        let inertia = self.half_length * (4.0 / 3.0 - self.pole * cosine.powi(2) / mass);
        let angular = (self.gravity * sine - cosine * push) / inertia;
        [velocity, spin, push - lever * angular * cosine / mass, angular]
    }

    fn step(&self, state: [f64; 4], force: f64) -> [f64; 4] {
        let after = |slope: [f64; 4], time: f64| std::array::from_fn(|i| state[i] + time * slope[i]);
        let first = self.flow(state, force);
        let second = self.flow(after(first, TIMESTEP / 2.0), force);
        let third = self.flow(after(second, TIMESTEP / 2.0), force);
        let fourth = self.flow(after(third, TIMESTEP), force);
        let slope = std::array::from_fn(|i| (first[i] + 2.0 * second[i] + 2.0 * third[i] + fourth[i]) / 6.0);
        after(slope, TIMESTEP)
    }
}

impl CartPole {
    pub(crate) const OPTIONS: &'static [EnvOption] = &[
        option("gravity", Number(9.81), "in m/s²"),
        option("cart_mass", Number(1.0), "in kg").limited(Limit::Positive),
        option("pole_mass", Number(0.1), "in kg").limited(Limit::Positive),
        option("half_length", Number(0.5), "half the length of the pole, in m").limited(Limit::Positive),
        option("force", Number(10.0), "of action 1, in N"),
        noise::PROCESS,
        noise::OBSERVATION,
    ];

    /// The cart-pole, called as `entry` says.
    pub(crate) fn new(entry: &Entry, options: &Options) -> Self {
        let noise = Noise::new(options);
        let dims = noise.dims(StateDims { qpos: 2, qvel: 2, extra: 0 });
        Self {
            spec: Spec { timestep: Some(TIMESTEP), ..entry.spec(5, (vec![-1.0], vec![1.0]), dims) },
            plant: Plant {
                gravity: options.number("gravity"),
                cart: options.number("cart_mass"),
                pole: options.number("pole_mass"),
                half_length: options.number("half_length"),
                force: options.number("force"),
            },
            noise,
            state: [0.0; 4],
        }
    }

    fn observe(&mut self, observation: &mut [f64]) {
        let [x, angle, velocity, spin] = self.state;
        fill(observation, [x, angle.cos(), angle.sin(), velocity, spin]);
        self.noise.on_observation(observation);
    }
}

impl Env for CartPole {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Hanging at rest in the middle, nearly.
    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        let mut random = Random::from_seed(seed);
        self.state = [0.0, PI, 0.0, 0.0].map(|x| x + random.uniform(-RESET_NOISE, RESET_NOISE));
        self.noise.follow(random);
        self.observe(observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        let &[share] = action else { panic!("the cart has one motor, not {}", action.len()) };
        self.state = self.plant.step(self.state, self.plant.force * share.clamp(-1.0, 1.0));
        self.noise.on_state(&mut self.state);
        let [x, angle, velocity, _] = &mut self.state;
        if x.abs() > RAIL {
            (*x, *velocity) = (RAIL.copysign(*x), 0.0);
        }
        let reward = 0.5 * (1.0 + angle.cos()) * (1.0 - (*x / RAIL).powi(2));
        self.observe(observation);
        Step { reward, end: End::Running }
    }

    fn state(&self) -> Option<State> {
        let (positions, velocities) = self.state.split_at(2);
        self.noise.state(State { qpos: positions.to_vec(), qvel: velocities.to_vec(), extra: vec![] })
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        check_state(&self.spec, state)?;
        self.state = [state.qpos[0], state.qpos[1], state.qvel[0], state.qvel[1]];
        self.observe(observation);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    const PLANT: Plant = Plant { gravity: 9.81, cart: 1.0, pole: 0.1, half_length: 0.5, force: 10.0 };

    fn energy([_, angle, velocity, spin]: [f64; 4]) -> f64 {
        let (m, l) = (PLANT.pole, PLANT.half_length);
        0.5 * (PLANT.cart + m) * velocity.powi(2)
            + m * l * velocity * spin * angle.cos()
            + 2.0 / 3.0 * m * l * l * spin.powi(2)
            + m * PLANT.gravity * l * angle.cos()
    }

    /// Without a force nothing adds to energy and momentum; the integrator loses less than a millionth.
    #[test]
    fn energy_and_momentum_are_kept() {
        let start = [0.1, 1.0, 0.3, -0.5];
        let momentum = |s: [f64; 4]| 1.1 * s[2] + 0.05 * s[3] * s[1].cos();
        let mut state = start;
        for _ in 0..500 {
            state = PLANT.step(state, 0.0);
            assert!((energy(state) - energy(start)).abs() < 1e-5, "{}", energy(state) - energy(start));
            assert!((momentum(state) - momentum(start)).abs() < 1e-6);
        }
        assert!((state[1] - start[1]).abs() > 0.1, "it moved");
    }

    /// The work of the force is the gain in energy.
    #[test]
    fn a_force_does_its_work() {
        let (mut state, force) = ([0.0, PI, 0.0, 0.0], 3.0);
        let before = energy(state);
        for _ in 0..50 {
            state = PLANT.step(state, force);
        }
        assert!((energy(state) - before - force * state[0]).abs() < 1e-5, "{state:?}");
    }

    /// Small swings of a hanging pole have ω² = g / (l (4/3 − m / (M + m))).
    #[test]
    fn it_swings_at_its_frequency() {
        let omega = f64::sqrt(9.81 / (0.5 * (4.0 / 3.0 - 0.1 / 1.1)));
        let mut state = [0.0, PI + 0.001, 0.0, 0.0];
        for step in 1..=100 {
            state = PLANT.step(state, 0.0);
            let expected = 0.001 * (omega * TIMESTEP * f64::from(step)).cos();
            assert!((state[1] - PI - expected).abs() < 1e-7, "step {step}: {}", state[1] - PI);
        }
    }

    #[test]
    fn the_rail_ends_and_upright_in_the_middle_pays_one() {
        let mut env = registry::make("cart-pole").unwrap();
        let mut observation = [0.0; 5];
        env.reset(1, &mut observation);
        for _ in 0..400 {
            let step = env.step(&[1.0], &mut observation);
            assert!((0.0..=1.0).contains(&step.reward));
        }
        assert_eq!((observation[0], env.step(&[1.0], &mut observation).reward), (RAIL, 0.0));
        let upright = State { qpos: vec![0.0, 0.0], qvel: vec![0.0, 0.0], extra: vec![] };
        env.set_state(&upright, &mut observation).unwrap();
        assert_eq!(env.step(&[0.0], &mut observation).reward, 1.0);
    }
}
