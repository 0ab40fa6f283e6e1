//! The Koopman latent: z' = λ̄ ⊙ z + c(z, a), diagonal and complex (arXiv 2306.11941, section 3).
//!
//! A latent of D = 2m reals holds m complex modes as `[Re | Im]`. With an additive control the whole horizon is
//! one convolution; a gate along the rollout makes it step by step (see `configs/default.toml`).

use super::control::Control;
use super::eigenvalues::{Complex, Discrete, Eigenvalues};
use crate::config::{Conditioning, ModelConfig};
use crate::inference::{KoopmanMotion, Layer};
use crate::ops::{self, LinearRollout, Unroll};
use crate::rng::Stream;
use burn::prelude::*;

/// Diagonal complex linear dynamics.
#[derive(Module, Debug)]
pub struct Koopman {
    eigenvalues: Eigenvalues,
    control: Control,
    #[module(skip)]
    conditioning: Conditioning,
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
            conditioning: koopman.control.conditioning,
            unroll: koopman.unroll,
        }
    }

    /// Number of parameters.
    pub(crate) fn count(config: &ModelConfig, actions: usize) -> usize {
        Eigenvalues::count(&config.koopman.eigenvalues, config.latent_dim / 2)
            + Control::count(&config.koopman.control, config.latent_dim, actions)
    }

    /// λ̄ of all modes.
    pub fn lambda(&self) -> Complex {
        self.eigenvalues.discretise().lambda
    }

    /// Smallest, median and largest |λ̄|.
    pub fn diagnostics(&self) -> Vec<(&'static str, f64)> {
        let lambda = self.lambda();
        let radius = (lambda.re.square() + lambda.im.square()).sqrt();
        let mut radius: Vec<f32> = radius.try_into_vec_as().expect("eigenvalues are f32");
        radius.sort_by(f32::total_cmp);
        let at = |i: usize| f64::from(radius[i]);
        vec![
            ("lambda_min", at(0)),
            ("lambda_median", at(radius.len() / 2)),
            ("lambda_max", at(radius.len() - 1)),
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
        let system = self.system();
        let u = self.control.encode(a);
        let u = match self.control.gate(z.clone()) {
            Some(gate) => u * gate,
            None => u,
        };
        system.advance(z, u)
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
        let fed_back = self.conditioning != Conditioning::Start && self.control.is_gated();
        if fed_back || self.unroll == Unroll::Fft {
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

    /// The same with the gate at every predicted latent: sequential in the horizon, unless there is no gate.
    pub fn rollout_along(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        if !self.control.is_gated() {
            return self.rollout_shared(z0, actions, None);
        }
        let [batch, horizon, _] = actions.dims();
        let system = self.system();
        let u = self.encode(actions);
        let encoded = u.dims()[2];
        let mut z = z0;
        let steps = (0..horizon).map(|k| {
            let u = u.clone().narrow(1, k, 1).reshape([batch, encoded]);
            let gate = self.control.gate(z.clone()).expect("checked above");
            z = system.advance(z.clone(), u * gate);
            z.clone()
        });
        Tensor::stack(steps.collect(), 1)
    }

    /// The same with given `gates`, `[B, H, l]` or with ones to broadcast: linear in z_0 and the encoded actions, the
    /// whole horizon in one operation.
    pub fn rollout_shared(&self, z0: Tensor<2>, actions: Tensor<3>, gates: Option<Tensor<3>>) -> Tensor<3> {
        let LinearRollout { lambda, input, u } = self.driven(actions, gates);
        let ([batch, horizon, encoded], width) = (u.dims(), z0.dims()[1]);
        let c = u.reshape([batch * horizon, encoded]).matmul(input).reshape([batch, horizon, width]);
        ops::diagonal_recurrence(lambda, z0, c, self.unroll)
    }

    /// The same with one gate for all, the mean of those at `z0`: a linear time-invariant system.
    pub fn rollout_mean_gate(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        let gate = self.control.gate(z0.clone()).map(|gate| gate.mean_dim(0).unsqueeze_dim(1));
        self.rollout_shared(z0, actions, gate)
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
                let later = self.rollout_along(z0.clone(), nominal.narrow(1, 0, horizon - 1));
                Tensor::cat(vec![z0.unsqueeze_dim(1), later], 1)
            }
        };
        let width = latents.dims()[2];
        let gates = self.control.gate(latents.reshape([environments * horizon, width]))?;
        Some(gates.reshape([environments as i32, horizon as i32, -1]))
    }

    /// Packed for planning.
    pub(crate) fn packed(&self) -> KoopmanMotion {
        let System { lambda, input } = self.system();
        KoopmanMotion {
            lambda: ops::contiguous_flex(lambda.clone()).storage()[..lambda.dims()[0]].to_vec(),
            input: Layer::new(input, None),
            action_encoder: self.control.packed_encoder(),
            gate: self.control.packed_gate(),
        }
    }
}

#[cfg(test)]
impl Koopman {
    /// Gives the gate's last layer weights, which start at zero.
    pub(crate) fn open_gate(&mut self, stream: &mut Stream) {
        self.control.open_gate(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::tiny;
    use crate::config::{ControlForm, DynamicsKind, EigenvalueForm};
    use crate::test_support::{max_difference, normal};

    fn build(edit: impl Fn(&mut ModelConfig)) -> Koopman {
        let mut config = tiny(DynamicsKind::Koopman).model;
        edit(&mut config);
        let mut k = Koopman::new(&config, 3, &mut Stream::new(1, "init"), &crate::device::cpu());
        // a gate that starts at zero would hide the difference between conditionings
        if let Some(gate) = k.control.gate(normal::<2>([1, 16], 1)) {
            assert!(max_difference(gate.clone(), gate.ones_like()) == 0.0);
            k.open_gate(&mut Stream::new(2, "gate"));
        }
        k
    }

    #[test]
    fn rollout_is_the_repeated_step_for_every_form_but_start() {
        for (form, eigenvalues) in [
            (ControlForm::Additive, EigenvalueForm::Zoh),
            (ControlForm::Additive, EigenvalueForm::Decay),
            (ControlForm::Gated, EigenvalueForm::Zoh),
            (ControlForm::Gated, EigenvalueForm::Decay),
        ] {
            let k = build(|c| {
                c.koopman.control.form = form;
                c.koopman.eigenvalues.form = eigenvalues;
            });
            let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, 7, 3], 4));
            let all = k.rollout(z0.clone(), a.clone());
            let mut z = z0;
            for t in 0..7 {
                z = k.step(z, a.clone().narrow(1, t, 1).reshape([5, 3]));
                let predicted = all.clone().narrow(1, t, 1).reshape([5, 16]);
                assert!(max_difference(predicted, z.clone()) < 1e-5, "{form:?} {eigenvalues:?} step {t}");
            }
        }
    }

    /// Both gates see z_0 on the first step, and different latents afterwards.
    #[test]
    fn start_conditioning_agrees_with_along_on_the_first_step_only() {
        let along = build(|_| {});
        let start = build(|c| c.koopman.control.conditioning = Conditioning::Start);
        let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, 4, 3], 4));
        let (x, y) = (along.rollout(z0.clone(), a.clone()), start.rollout(z0, a));
        assert!(max_difference(x.clone().narrow(1, 0, 1), y.clone().narrow(1, 0, 1)) < 1e-5);
        assert!(max_difference(x.narrow(1, 3, 1), y.narrow(1, 3, 1)) > 1e-3);
    }

    /// Along its own nominal plan a candidate sees its own latents; elsewhere it does not.
    #[test]
    fn nominal_gates_are_exact_on_the_nominal_plan_only() {
        let k = build(|_| {});
        let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, 4, 3], 4));
        let exact = k.rollout_along(z0.clone(), a.clone());
        let nominal = k.gates(Conditioning::Nominal, z0.clone(), a.clone());
        assert!(
            max_difference(k.rollout_shared(z0.clone(), a.clone(), nominal.clone()), exact.clone()) < 1e-5
        );
        let start = k.gates(Conditioning::Start, z0.clone(), a.clone());
        assert!(max_difference(k.rollout_shared(z0.clone(), a.clone(), start), exact) > 1e-3);
        let other = a * -0.5;
        let exact = k.rollout_along(z0.clone(), other.clone());
        assert!(max_difference(k.rollout_shared(z0, other, nominal), exact) > 1e-3);
    }

    /// With shared gates the state after H steps is affine in z_0 and the encoded actions: superposition.
    #[test]
    fn shared_gates_make_a_linear_time_varying_system() {
        let k = build(|_| {});
        let (z, w, a) = (normal::<2>([4, 16], 1), normal::<2>([4, 16], 2), normal::<3>([4, 6, 3], 3));
        let gates = k.gates(Conditioning::Nominal, z.clone(), a.clone());
        let roll = |z: Tensor<2>| k.rollout_shared(z, a.clone(), gates.clone());
        let rest = roll(Tensor::zeros([4, 16], &a.device()));
        let free = |z| roll(z) - rest.clone();
        assert!(max_difference(free(z.clone() + w.clone()), free(z) + free(w)) < 1e-5);
    }

    #[test]
    fn a_rollout_is_linear_unless_the_gate_sees_predicted_latents() {
        let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, 7, 3], 4));
        let along = build(|_| {});
        let start = build(|c| c.koopman.control.conditioning = Conditioning::Start);
        let additive = build(|c| c.koopman.control.form = ControlForm::Additive);
        let fft = build(|c| {
            c.koopman.control.form = ControlForm::Additive;
            c.koopman.unroll = Unroll::Fft;
        });
        assert!(along.linear(&z0, a.clone()).is_none() && fft.linear(&z0, a.clone()).is_none());
        for k in [start, additive] {
            let LinearRollout { lambda, input, u } = k.linear(&z0, a.clone()).unwrap();
            let c = u.matmul(input.unsqueeze());
            let z = ops::diagonal_recurrence_reference(lambda, z0.clone(), c);
            assert!(max_difference(z, k.rollout(z0.clone(), a.clone())) < 1e-5);
        }
    }

    /// The paper's model is linear: superposition holds exactly for the latent part.
    #[test]
    fn additive_dynamics_obey_superposition() {
        let k = build(|c| c.koopman.control.form = ControlForm::Additive);
        let (z, w, a) = (normal::<2>([4, 16], 1), normal::<2>([4, 16], 2), normal::<3>([4, 6, 3], 3));
        let free = |z: Tensor<2>| {
            k.rollout(z, a.clone()) - k.rollout(Tensor::zeros([4, 16], &a.device()), a.clone())
        };
        assert!(max_difference(free(z.clone() + w.clone()), free(z) + free(w)) < 1e-5);
    }
}
