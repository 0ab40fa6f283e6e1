use super::*;
use crate::config::tests::tiny;
use crate::config::{ControlForm, DynamicsKind, EigenvalueForm, Omega, RemainderConfig, StepSize};
use crate::test_support::{max_difference, normal};

fn build(edit: impl Fn(&mut ModelConfig)) -> Koopman {
    let mut config = tiny(DynamicsKind::Koopman).model;
    edit(&mut config);
    let mut k = Koopman::new(&config, 3, &mut Stream::new(1, "init"), &crate::device::cpu());
    // a gate that starts at zero would hide the difference between conditionings
    if let Some(gate) = k.control.gate(normal::<2>([1, 16], 1)) {
        assert!(max_difference(gate.clone(), gate.ones_like()) == 0.0);
    }
    k.open_gate(&mut Stream::new(2, "gate"));
    k
}

#[test]
fn rollout_is_the_repeated_step_for_every_form_but_start() {
    for (form, eigenvalues) in [
        (ControlForm::Additive, EigenvalueForm::Zoh),
        (ControlForm::Additive, EigenvalueForm::Decay),
        (ControlForm::Gated, EigenvalueForm::Zoh),
        (ControlForm::Gated, EigenvalueForm::Decay),
        (ControlForm::Gated, EigenvalueForm::Ring),
        (ControlForm::Bilinear, EigenvalueForm::Decay),
    ] {
        for remainder in
            [RemainderConfig::default(), RemainderConfig { correction_hidden: 5, modulation: 0.5 }]
        {
            let k = build(|c| {
                c.koopman.control.form = form;
                c.koopman.eigenvalues.form = eigenvalues;
                c.koopman.remainder = remainder.clone();
            });
            let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, 7, 3], 4));
            let all = k.rollout(z0.clone(), a.clone());
            let mut z = z0;
            for t in 0..7 {
                z = k.step(z, a.clone().narrow(1, t, 1).reshape([5, 3]));
                let predicted = all.clone().narrow(1, t, 1).reshape([5, 16]);
                assert!(
                    max_difference(predicted, z.clone()) < 1e-5,
                    "{form:?} {eigenvalues:?} {remainder:?} step {t}"
                );
            }
        }
    }
}

/// c(z, a) of the bilinear form is bilinear: affine in z for fixed a, and linear in f(a) for fixed z.
#[test]
fn bilinear_control_is_affine_in_the_latent() {
    let k = build(|c| c.koopman.control.form = ControlForm::Bilinear);
    let (z, w, a) = (normal::<2>([4, 16], 1) * 9.0, normal::<2>([4, 16], 2), normal::<2>([4, 3], 3));
    let at = |z: Tensor<2>| k.step(z, a.clone());
    let rest = at(z.zeros_like());
    let linear = |z: Tensor<2>| at(z) - rest.clone();
    assert!(max_difference(linear(z.clone() + w.clone()), linear(z) + linear(w)) < 1e-4);
}

/// Held for ever, a gate along the rollout is one at its start; held for two steps, it is renewed at every other.
#[test]
fn a_held_gate_is_renewed_when_its_time_is_over() {
    let held = |every: usize, conditioning| {
        build(|c| {
            (c.koopman.control.recondition_every, c.koopman.control.conditioning) = (every, conditioning)
        })
    };
    let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, 4, 3], 4));
    let roll = |k: &Koopman, z0: Tensor<2>, from: usize, steps: usize| {
        let z = k.rollout(z0, a.clone().narrow(1, from, steps));
        (z.clone(), z.narrow(1, steps - 1, 1).reshape([5, 16]))
    };
    let (start, for_ever) = (held(1, Conditioning::Start), held(99, Conditioning::Along));
    let (expected, _) = roll(&start, z0.clone(), 0, 4);
    assert!(max_difference(roll(&for_ever, z0.clone(), 0, 4).0, expected) < 1e-5);
    let two = held(2, Conditioning::Along);
    let (whole, _) = roll(&two, z0.clone(), 0, 4);
    let (first, middle) = roll(&start, z0.clone(), 0, 2);
    let (second, _) = roll(&start, middle, 2, 2);
    assert!(max_difference(whole.clone(), Tensor::cat(vec![first, second], 1)) < 1e-5);
    let nominal = two.gates(Conditioning::Nominal, z0.clone(), a.clone());
    assert!(max_difference(two.rollout_shared(z0, a.clone(), nominal), whole) < 1e-5);
}

/// What the linear share is taken against: λ̄ and gate of every step and row are the same.
#[test]
fn the_mean_gate_rollout_is_linear_and_time_invariant_also_with_a_remainder() {
    let k = build(|c| c.koopman.remainder = RemainderConfig { correction_hidden: 5, modulation: 0.5 });
    let (z0, a) = (normal::<2>([4, 16], 1), normal::<3>([4, 6, 3], 3));
    let mean = |x: Option<Tensor<2>>| x.unwrap().mean_dim(0);
    let (gate, decay) = (mean(k.control.gate(z0.clone())), mean(k.remainder.decay(z0.clone())));
    let system = k.system();
    let mut z = z0.clone();
    let steps = (0..6).map(|t| {
        let u = k.control.encode(a.clone().narrow(1, t, 1).reshape([4, 3])) * gate.clone();
        z = system.advance(z.clone() * decay.clone(), u);
        z.clone()
    });
    let expected = Tensor::stack(steps.collect(), 1);
    assert!(max_difference(k.rollout_mean_gate(z0.clone(), a.clone()), expected.clone()) < 1e-5);
    assert!(max_difference(k.rollout(z0.clone(), a.clone()), expected) > 1e-3);
    assert!(k.linear(&z0, a).is_none());
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
    assert!(max_difference(k.rollout_shared(z0.clone(), a.clone(), nominal.clone()), exact.clone()) < 1e-5);
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
    let free =
        |z: Tensor<2>| k.rollout(z, a.clone()) - k.rollout(Tensor::zeros([4, 16], &a.device()), a.clone());
    assert!(max_difference(free(z.clone() + w.clone()), free(z) + free(w)) < 1e-5);
}

/// With one decay and phases 0, Δtπ, 2Δtπ, … the summary of the spectrum is known: |λ̄| = e^μ, half-lives ln 2/−μ.
#[test]
fn the_spectrum_is_summed_up_as_it_is() {
    let k = build(|c| {
        let eigenvalues = &mut c.koopman.eigenvalues;
        (eigenvalues.form, eigenvalues.mu_init) = (EigenvalueForm::Decay, -0.2);
        (eigenvalues.omega, eigenvalues.dt) = (Omega::Linear, StepSize::Scalar);
        eigenvalues.dt_range = [0.01, 0.01];
    });
    let (radius, half_life) = ((-0.2f64).exp(), 2f64.ln() / 0.2);
    let phase = |mode: f64| mode * std::f64::consts::PI * 0.01;
    let known = [
        ("lambda_min", radius),
        ("lambda_median", radius),
        ("lambda_max", radius),
        ("half_life_median", half_life),
        ("half_life_max", half_life),
        ("phase_median", phase(4.0)),
        ("phase_max", phase(7.0)),
    ];
    for ((name, found), (known_name, known)) in k.diagnostics().into_iter().zip(known) {
        assert_eq!(name, known_name);
        assert!((found - known).abs() < 1e-5 * known, "{name}: {found} instead of {known}");
    }
}
