//! The Koopman latent: z' = λ̄ ⊙ z + c(z, a), diagonal and complex (arXiv 2306.11941, section 3).
//!
//! A latent of D = 2m reals holds m complex modes as `[Re | Im]`. With an additive control the whole horizon is
//! one convolution; a gate along the rollout makes it step by step (see `configs/default.toml`).

use super::control::Control;
use super::eigenvalues::{Complex, Discrete, Eigenvalues};
use crate::config::{Conditioning, ModelConfig};
use crate::ops::{self, GatedSystem, Unroll};
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

    /// z_1 … z_H from `z0 [B, D]` and `actions [B, H, A]`: `[B, H, D]`.
    pub fn rollout(&self, z0: Tensor<2>, actions: Tensor<3>) -> Tensor<3> {
        let [batch, horizon, action_dim] = actions.dims();
        let system = self.system();
        // the action encoder never sees the latent: all steps in one call
        let u = self.control.encode(actions.reshape([batch * horizon, action_dim]));
        let encoded = u.dims()[1];
        let u = u.reshape([batch, horizon, encoded]);
        if let (Conditioning::Along, Some([hidden, gate])) = (self.conditioning, self.control.gate_weights())
        {
            // the gate sees every predicted latent: sequential in the horizon
            let System { lambda, input } = system;
            return ops::gated_rollout(&GatedSystem { lambda, input, hidden, gate }, z0, u);
        }
        let u = match self.control.gate(z0.clone()) {
            Some(gate) => u * gate.unsqueeze_dim::<3>(1),
            None => u,
        };
        let width = z0.dims()[1];
        let c = u.reshape([batch * horizon, encoded]).matmul(system.input).reshape([batch, horizon, width]);
        ops::diagonal_recurrence(system.lambda, z0, c, self.unroll)
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
            k.control.open_gate(&mut Stream::new(2, "gate"));
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
