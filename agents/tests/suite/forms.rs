//! Forms of the model and of the planner that have kernels for whole plans. Tests of the kernels' text on a CPU go through them as well.

use super::*;

/// A change of an agent of which only that is special.
pub type Edit = fn(&mut AgentConfig);

/// What each is called, and how it is made.
pub const FORMS: [(&str, Edit); 10] = [
    ("gated", |_| {}),
    ("additive, with shallow networks", |c| {
        c.model.koopman.control.form = ControlForm::Additive;
        (c.model.koopman.control.action_hidden, c.model.encoder_hidden) = (vec![], vec![]);
    }),
    ("bilinear, held for two steps", |c| {
        c.model.koopman.control.form = ControlForm::Bilinear;
        c.model.koopman.control.recondition_every = 2;
    }),
    ("a gate of one layer, three of the action encoder", |c| {
        c.model.koopman.control.gate_hidden = 0;
        c.model.koopman.control.action_hidden = vec![24, 16];
    }),
    ("mlp with an odd latent", |c| (c.model.dynamics, c.model.latent_dim) = (DynamicsKind::Mlp, 15)),
    ("wide heads", |c| c.model.hidden_dim = 512),
    ("values at all depths", |c| c.planner.depth_lambda = 0.6),
    ("mppi2", |c| c.planner.kind = PlannerKind::Mppi2),
    ("cem", |c| c.planner.kind = PlannerKind::Cem),
    ("no policy", |c| c.planner.policy_fraction = 0.0),
];
