//! The Koopman latent: z' = λ̄ ⊙ z + c(z, a), diagonal and complex (arXiv 2306.11941, section 3).
//!
//! A latent of D = 2m reals holds m complex modes as `[Re | Im]`. With an additive control the whole horizon is
//! one convolution; a gate along the rollout makes it step by step (see `configs/default.toml`).

use super::control::Control;
use super::eigenvalues::{Complex, Discrete, Eigenvalues};
use super::remainder::Remainder;
use crate::config::{Conditioning, ModelConfig, Precision};
#[cfg(any(test, feature = "cuda"))]
use crate::inference::cuda::{KoopmanParts, MotionParts};
use crate::inference::{KoopmanMotion, Layer, numbers};
use crate::model::mlp::Mlp;
use crate::ops::{self, LinearRollout, Unroll};
use crate::rng::Stream;
use burn::prelude::*;

/// Diagonal complex linear dynamics.
#[derive(Module, Debug)]
pub struct Koopman {
    eigenvalues: Eigenvalues,
    control: Control,
    remainder: Remainder,
    #[module(skip)]
    conditioning: Conditioning,
    #[module(skip)]
    recondition_every: usize,
    #[module(skip)]
    unroll: Unroll,
}

/// The discretised system of one update or plan: computed once, used for every step.
struct System {
    /// λ̄ `[2m]` as `[Re | Im]`
    lambda: Tensor<1>,
    /// L̄ `[l, 2m]`
    input: Tensor<2>,
}

impl System {
    /// λ̄ ⊙ z + L̄ u: `z [R, 2m]`, `u [R, l]` → `[R, 2m]`.
    fn advance(&self, z: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
        let c = u.matmul(self.input.clone()).unsqueeze_dim(1);
        ops::diagonal_recurrence(self.lambda.clone(), z, c, Unroll::Recurrence).squeeze_dim(1)
    }
}

impl Koopman {
    /// For `config.latent_dim` = 2m reals and `actions` action dimensions.
    pub fn new(config: &ModelConfig, actions: usize, stream: &mut Stream, device: &Device) -> Self {
        let koopman = &config.koopman;
        Self {
            eigenvalues: Eigenvalues::new(&koopman.eigenvalues, config.latent_dim / 2, stream, device),
            control: Control::new(&koopman.control, config.latent_dim, actions, stream, device),
            remainder: Remainder::new(&koopman.remainder, config.latent_dim, stream, device),
            conditioning: koopman.control.conditioning,
            recondition_every: koopman.control.recondition_every,
            unroll: koopman.unroll,
        }
    }

    /// Number of parameters.
    pub(crate) fn count(config: &ModelConfig, actions: usize) -> usize {
        Eigenvalues::count(&config.koopman.eigenvalues, config.latent_dim / 2)
            + Control::count(&config.koopman.control, config.latent_dim, actions)
            + Remainder::count(&config.koopman.remainder, config.latent_dim)
    }

    pub(super) fn networks_mut(&mut self) -> Vec<&mut Mlp> {
        self.control.networks_mut().chain(self.remainder.networks_mut()).collect()
    }

    /// λ̄ of all modes.
    pub fn lambda(&self) -> Complex {
        self.eigenvalues.discretise().lambda
    }

    /// Smallest, median and largest |λ̄|; the half-lives that the last two mean, in decisions; median and largest phase, in
    /// radians a decision.
    pub fn diagnostics(&self) -> Vec<(&'static str, f64)> {
        let Complex { re, im } = self.lambda();
        let [re, im] = [re, im].map(|x| x.try_into_vec_as::<f32>().expect("eigenvalues are f32"));
        let ascending = |of: fn(f64, f64) -> f64| {
            let mut values: Vec<f64> =
                re.iter().zip(&im).map(|(&re, &im)| of(re.into(), im.into())).collect();
            values.sort_by(f64::total_cmp);
            [values[0], values[values.len() / 2], values[values.len() - 1]]
        };
        let [smallest, median, largest] = ascending(f64::hypot);
        let [_, phase_median, phase_max] = ascending(|re, im| im.atan2(re).abs());
        let half_life = |radius: f64| -1.0 / radius.log2();
        vec![
            ("lambda_min", smallest),
            ("lambda_median", median),
            ("lambda_max", largest),
            ("half_life_median", half_life(median)),
            ("half_life_max", half_life(largest)),
            ("phase_median", phase_median),
            ("phase_max", phase_max),
        ]
    }

    fn system(&self) -> System {
        let Discrete { lambda, gain } = self.eigenvalues.discretise();
        System {
            input: self.control.input_matrix(gain.as_ref()),
            lambda: Tensor::cat(vec![lambda.re, lambda.im], 0),
        }
    }

    /// One step: `z [R, D]`, `a [R, A]` → `[R, D]`.
    pub fn step(&self, z: Tensor<2>, a: Tensor<2>) -> Tensor<2> {
        let u = self.control.encode(a);
        let u = match self.control.gate(z.clone()) {
            Some(gate) => u * gate,
            None => u,
        };
        self.advance(&self.system(), z, u)
    }

    /// λ̄ ⊙ s(z) ⊙ z + L̄ u + r(z): `z [R, 2m]`, `u [R, l]` → `[R, 2m]`.
    fn advance(&self, system: &System, z: Tensor<2>, u: Tensor<2>) -> Tensor<2> {
        let free = match self.remainder.decay(z.clone()) {
            Some(decay) => z.clone() * decay,
            None => z.clone(),
        };
        let next = system.advance(free, u);
        match self.remainder.correction(z) {
            Some(correction) => next + correction,
            None => next,
        }
    }

    /// z_1 … z_H from `z0 [B, D]` and `actions [B, H, A]`, as trained: `[B, H, D]`.
    pub fn rollout(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        match self.conditioning {
            Conditioning::Start => {
                let gates = self.gates_at_start(z0.clone());
                self.rollout_shared(z0, actions, gates)
            }
            _ => self.rollout_along(z0, actions),
        }
    }

    /// The same rollout as a linear system with all its inputs; `None` if a gate sees the predicted latents, or the
    /// configuration asks for the FFT.
    pub fn linear(&self, z0: &Tensor<2>, actions: Tensor<3>) -> Option<LinearRollout> {
        let gate_fed_back = self.conditioning != Conditioning::Start && self.control.is_gated();
        if gate_fed_back || !self.remainder.is_nothing() || self.unroll == Unroll::Fft {
            return None;
        }
        Some(self.driven(actions, self.gates_at_start(z0.clone())))
    }

    /// The gate at `z0 [B, D]`, `[B, 1, l]`; `None` without one.
    fn gates_at_start(&self, z0: Tensor<2>) -> Option<Tensor<3>> {
        self.control.gate(z0).map(|gate| gate.unsqueeze_dim(1))
    }

    /// The linear system with its inputs f(a) ⊙ gate; `gates` are `[B, H, l]`, or with ones to broadcast.
    fn driven(&self, actions: Tensor<3>, gates: Option<Tensor<3>>) -> LinearRollout {
        let u = self.encode(actions);
        let u = match gates {
            Some(gates) => u * gates,
            None => u,
        };
        let System { lambda, input } = self.system();
        LinearRollout { lambda, input, u }
    }

    /// The same with the gate at the predicted latents: sequential in the horizon, unless there is no gate.
    pub fn rollout_along(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        if !self.control.is_gated() {
            return self.rollout_shared(z0, actions, None);
        }
        let mut gate = None;
        self.rollout_steps(z0, self.encode(actions), |k, z, u| {
            if k.is_multiple_of(self.recondition_every) {
                gate = self.control.gate(z.clone());
            }
            u * gate.clone().expect("step 0 opens it")
        })
    }

    /// The same with given `gates`, `[B, H, l]` or with ones to broadcast: linear in z_0 and the encoded actions, the
    /// whole horizon in one operation; step by step if there is a remainder.
    pub fn rollout_shared(&self, z0: Tensor<2>, actions: Tensor<3>, gates: Option<Tensor<3>>) -> Tensor<3> {
        let driven = self.driven(actions, gates);
        match self.remainder.is_nothing() {
            true => self.unrolled(driven, z0),
            false => self.rollout_steps(z0, driven.u, |_, _, u| u),
        }
    }

    /// Step by step with the inputs `push(k, z_k, u_k)`.
    fn rollout_steps(
        &self,
        z0: Tensor<2>,
        u: Tensor<3>,
        mut push: impl FnMut(usize, &Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<3> {
        let [batch, horizon, encoded] = u.dims();
        let system = self.system();
        let mut z = z0;
        let steps = (0..horizon).map(|k| {
            let u = push(k, &z, u.clone().narrow(1, k, 1).reshape([batch, encoded]));
            z = self.advance(&system, z.clone(), u);
            z.clone()
        });
        Tensor::stack(steps.collect(), 1)
    }

    fn unrolled(&self, LinearRollout { lambda, input, u }: LinearRollout, z0: Tensor<2>) -> Tensor<3> {
        let ([batch, horizon, encoded], width) = (u.dims(), z0.dims()[1]);
        let c = u.reshape([batch * horizon, encoded]).matmul(input).reshape([batch, horizon, width]);
        ops::diagonal_recurrence(lambda, z0, c, self.unroll)
    }

    /// The same with one gate and one decay for all, the means of those at `z0`, and no correction: a linear
    /// time-invariant system.
    pub fn rollout_mean_gate(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        let gate = self.control.gate(z0.clone()).map(|gate| gate.mean_dim(0).unsqueeze_dim(1));
        let mut driven = self.driven(actions, gate);
        if let Some(decay) = self.remainder.decay(z0.clone()) {
            driven.lambda = driven.lambda * decay.mean_dim(0).squeeze_dim(0);
        }
        self.unrolled(driven, z0)
    }

    /// f(a): `[B, H, A]` → `[B, H, l]`. It never sees the latent: all steps in one call.
    fn encode(&self, actions: Tensor<3>) -> Tensor<3> {
        let [batch, horizon, action_dim] = actions.dims();
        let u = self.control.encode(actions.reshape([batch * horizon, action_dim]));
        u.reshape([batch as i32, horizon as i32, -1])
    }

    /// Gates that all candidates of a plan share, `[E, H, l]`, from `z0 [E, D]` and the nominal plan `[E, H, A]`; `None`
    /// when each has its own, or there are none.
    pub fn gates(&self, at: Conditioning, z0: Tensor<2>, nominal: Tensor<3>) -> Option<Tensor<3>> {
        let [environments, horizon, _] = nominal.dims();
        let latents = match at {
            Conditioning::Along => return None,
            Conditioning::Start => z0.unsqueeze_dim::<3>(1).repeat_dim(1, horizon),
            Conditioning::Nominal if horizon == 1 => z0.unsqueeze_dim(1),
            Conditioning::Nominal => {
                let later = self.rollout_along(z0.clone(), nominal.clone().narrow(1, 0, horizon - 1));
                Tensor::cat(vec![z0.unsqueeze_dim(1), later], 1)
            }
        };
        let width = latents.dims()[2];
        let every = self.recondition_every;
        let latents = match every {
            1 => latents,
            _ => {
                let held: Vec<i32> = (0..horizon).map(|k| (k / every * every) as i32).collect();
                latents.select(1, Tensor::from_data(TensorData::new(held, [horizon]), &nominal.device()))
            }
        };
        let gates = self.control.gate(latents.reshape([environments * horizon, width]))?;
        Some(gates.reshape([environments as i32, horizon as i32, -1]))
    }

    /// What plans on a GPU need; `None` with a remainder, or where all candidates share gates.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn parts(&self, conditioning: Conditioning) -> Option<MotionParts> {
        let shared = self.control.is_gated() && conditioning != Conditioning::Along;
        if shared || !self.remainder.is_nothing() {
            return None;
        }
        let System { lambda, input } = self.system();
        let (action_encoder, gate) = self.control.linears()?;
        Some(MotionParts::Koopman(Box::new(KoopmanParts {
            lambda,
            input,
            action_encoder,
            gate,
            recondition_every: self.recondition_every,
        })))
    }

    /// Packed for planning.
    pub(crate) fn packed(&self, precision: Precision) -> KoopmanMotion {
        let System { lambda, input } = self.system();
        KoopmanMotion {
            lambda: numbers(lambda),
            input: Layer::new(input, None, precision),
            action_encoder: self.control.packed_encoder(precision),
            gate: self.control.packed_gate(precision),
            recondition_every: self.recondition_every,
            modulation: self.remainder.packed_modulation(precision),
            correction: self.remainder.packed_correction(precision),
        }
    }
}

#[cfg(test)]
impl Koopman {
    /// Gives the last layers of gate and remainder weights, which start at zero.
    pub(crate) fn open_gate(&mut self, stream: &mut Stream) {
        self.control.open_gate(stream);
        self.remainder.open(stream);
    }
}

#[cfg(test)]
mod tests;
