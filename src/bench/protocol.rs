//! The paper's training-speed protocol (arXiv 2306.11941, section 5): iterations of forward, mean squared error and
//! backward at batch 256 over T steps, for models of equal size.

use super::{Meter, Row};
use td_koopman_agents::arithmetic::iteration_flops;
use td_koopman_agents::config::{ControlForm, DynamicsKind, MatchParams, ModelConfig};
use td_koopman_agents::predictor::Trial;
use td_koopman_agents::rng::Stream;

const BATCH: usize = 256;
/// Latent state of TD-MPC, and cheetah's actions: the paper's own sizes are not known.
const STATES: usize = 50;
const ACTIONS: usize = 6;

/// A model of the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) enum Model {
    /// m = 256 complex modes, action encoder 6 → 450 → 450, 489 k parameters.
    Koopman,
    /// The same with action encoder 6 → 64 → 64, 90 k parameters.
    KoopmanLight,
    /// [z, a] → 640 → 640 → z, 479 k parameters.
    Mlp,
}

pub(super) const MODELS: [Model; 3] = [Model::Koopman, Model::KoopmanLight, Model::Mlp];

impl Model {
    fn name(self) -> &'static str {
        match self {
            Model::Koopman => "koopman",
            Model::KoopmanLight => "koopman light",
            Model::Mlp => "mlp",
        }
    }

    /// The model; what the protocol leaves open is taken from `base`.
    fn config(self, base: &ModelConfig) -> ModelConfig {
        let mut config = base.clone();
        let control = &mut config.koopman.control;
        control.form = ControlForm::Additive;
        // the protocol's own sizes
        (config.match_params, config.mlp.hidden_dim) = (MatchParams::None, 0);
        (config.dynamics, config.latent_dim, config.hidden_dim) = (DynamicsKind::Koopman, 512, 0);
        match self {
            Model::Koopman => (control.action_hidden, control.encoded_dim) = (vec![450], 450),
            Model::KoopmanLight => (control.action_hidden, control.encoded_dim) = (vec![64], 64),
            Model::Mlp => {
                (config.dynamics, config.latent_dim, config.hidden_dim) = (DynamicsKind::Mlp, STATES, 640)
            }
        }
        config
    }
}

/// Times one iteration over `length` steps.
pub(super) fn iteration(base: &ModelConfig, model: Model, length: usize, meter: &Meter) -> Row {
    let config = model.config(base);
    let sizes = [BATCH, length, STATES, ACTIONS];
    let trial = Trial::new(&config, sizes, &mut Stream::new(1, "bench"), &meter.device);
    let flops = iteration_flops(&config, sizes);
    meter.row("training", model.name(), format!("B {BATCH} T {length}"), flops, || {
        trial.iterate();
    })
}
