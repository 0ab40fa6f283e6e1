//! What all dynamics have in common.

use super::*;
use crate::config::tests::tiny;
use crate::learner::read_parameters;
use crate::test_support::{max_difference, normal};
use burn::module::{ModuleVisitor, Param};
use burn::tensor::Gradients;

const ACTIONS: usize = 3;
const HORIZON: usize = 7;

/// Without parts that start at zero.
fn build(kind: DynamicsKind, seed: u64, device: &Device) -> Dynamics {
    let config = tiny(kind).model;
    let mut dynamics = Dynamics::new(&config, ACTIONS, &mut Stream::new(seed, "init"), device);
    if let Dynamics::Koopman(koopman) = &mut dynamics {
        koopman.open_gate(&mut Stream::new(seed, "gate"));
    }
    dynamics
}

fn all() -> impl Iterator<Item = (DynamicsKind, Dynamics)> {
    DynamicsKind::ALL.into_iter().map(|kind| (kind, build(kind, 1, &crate::device::cpu())))
}

fn at<const D: usize>(x: &Tensor<3>, t: usize, shape: [usize; D]) -> Tensor<D> {
    x.clone().narrow(1, t, 1).reshape(shape)
}

#[test]
fn a_rollout_is_the_repeated_advance() {
    for (kind, d) in all() {
        let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, HORIZON, ACTIONS], 4));
        let whole = d.rollout(z0.clone(), a.clone());
        let mut state = d.begin(z0.clone());
        for t in 0..HORIZON {
            let (z, next) = d.advance(state, at(&a, t, [5, ACTIONS]));
            let difference = max_difference(z, at(&whole, t, [5, 16]));
            assert!(difference < 1e-5, "{kind:?} step {t}: {difference}");
            state = next;
        }
        let first = d.step(z0, at(&a, 0, [5, ACTIONS]));
        assert!(max_difference(first, at(&whole, 0, [5, 16])) < 1e-5, "{kind:?}");
    }
}

/// a_t moves z_{t+1} and what follows, and to the bit nothing before.
#[test]
fn no_latent_depends_on_later_actions() {
    for (kind, d) in all() {
        let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, HORIZON, ACTIONS], 4));
        let before = d.rollout(z0.clone(), a.clone());
        for t in 0..HORIZON {
            let mut parts = vec![a.clone().narrow(1, t, HORIZON - t) + 0.5];
            if t > 0 {
                parts.insert(0, a.clone().narrow(1, 0, t));
            }
            let after = d.rollout(z0.clone(), Tensor::cat(parts, 1));
            for k in 0..HORIZON {
                let moved = max_difference(at(&after, k, [5, 16]), at(&before, k, [5, 16]));
                assert!(
                    if k < t { moved == 0.0 } else { moved > 1e-4 },
                    "{kind:?} a_{t} z_{}: {moved}",
                    k + 1
                );
            }
        }
    }
}

/// z_0 is not forgotten over a horizon.
#[test]
fn every_latent_depends_on_the_start() {
    for (kind, d) in all() {
        let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, HORIZON, ACTIONS], 4));
        let moved = d.rollout(z0.clone() + 1.0, a.clone()) - d.rollout(z0, a);
        let least = moved.abs().max_dim(2).min().into_scalar::<f32>();
        assert!(least > 1e-4, "{kind:?}: {least}");
    }
}

#[test]
fn gradients_reach_every_parameter() {
    struct Reached<'a>(&'a Gradients, Vec<String>, Vec<String>);
    impl ModuleVisitor for Reached<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.1.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.1.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let size = param.val().grad(self.0).map(|g| g.abs().max().into_scalar::<f32>());
            if !size.is_some_and(|size| size > 0.0 && size.is_finite()) {
                self.2.push(self.1.join("."));
            }
        }
    }
    for kind in DynamicsKind::ALL {
        let d = build(kind, 1, &crate::device::cpu().autodiff());
        let (z0, a) = (normal::<2>([5, 16], 3), normal::<3>([5, HORIZON, ACTIONS], 4));
        let z = d.rollout(Tensor::from_inner(z0), Tensor::from_inner(a));
        let weights = Tensor::from_inner(normal::<3>([5, HORIZON, 16], 5));
        let gradients = (z * weights).sum().backward();
        let mut reached = Reached(&gradients, Vec::new(), Vec::new());
        d.visit(&mut reached);
        assert!(reached.2.is_empty(), "{kind:?}: {:?} got no gradient", reached.2);
    }
}

#[test]
fn a_seed_says_everything_about_the_initial_weights() {
    let device = crate::device::cpu();
    for kind in DynamicsKind::ALL {
        let [a, b, c] = [1, 1, 2].map(|seed| read_parameters(&build(kind, seed, &device)));
        assert!(a == b && a != c, "{kind:?}");
    }
}

#[test]
#[should_panic(expected = "another kind of dynamics")]
fn states_do_not_cross_dynamics() {
    let device = crate::device::cpu();
    let state = build(DynamicsKind::Mlp, 1, &device).begin(normal::<2>([1, 16], 1));
    build(DynamicsKind::Gru, 1, &device).advance(state, normal::<2>([1, ACTIONS], 2));
}
