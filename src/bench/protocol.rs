//! The paper's training-speed protocol (arXiv 2306.11941, section 5): iterations of forward, mean squared error and
//! backward at batch 256 over T steps, for models of equal size.

use super::{Meter, Row};
use td_koopman_agents::arithmetic::iteration_flops;
use td_koopman_agents::config::{ControlForm, DynamicsKind, MatchParams, ModelConfig, Recipe};
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
    /// A GRU with as many.
    Gru,
    /// A causal transformer with as many.
    Transformer,
    /// A stack of diagonal state space layers with as many.
    Dssm,
}

pub(super) const MODELS: [Model; 6] =
    [Model::Koopman, Model::KoopmanLight, Model::Mlp, Model::Gru, Model::Transformer, Model::Dssm];

impl Model {
    fn name(self) -> &'static str {
        match self {
            Model::Koopman => "koopman",
            Model::KoopmanLight => "koopman light",
            Model::Mlp => "mlp",
            Model::Gru => "gru",
            Model::Transformer => "transformer",
            Model::Dssm => "dssm",
        }
    }

    /// The model for `length` steps; what the protocol leaves open is taken from `base`.
    fn config(self, base: &ModelConfig, length: usize) -> ModelConfig {
        let mut config = ModelConfig { recipe: Recipe::V1, ..base.clone() };
        let dynamics = match self {
            Model::Koopman | Model::KoopmanLight => DynamicsKind::Koopman,
            Model::Mlp => DynamicsKind::Mlp,
            Model::Gru => DynamicsKind::Gru,
            Model::Transformer => DynamicsKind::Transformer,
            Model::Dssm => DynamicsKind::Dssm,
        };
        // the protocol's own sizes: those that work on the state itself follow the MLP's
        let encoded = if matches!(self, Model::KoopmanLight) { 64 } else { 450 };
        let control = &mut config.koopman.control;
        (control.form, control.action_hidden, control.encoded_dim) =
            (ControlForm::Additive, vec![encoded], encoded);
        (config.latent_dim, config.match_params) = match dynamics {
            DynamicsKind::Koopman => (512, MatchParams::None),
            _ => (STATES, MatchParams::Mlp),
        };
        (config.dynamics, config.mlp.hidden_dim, config.hidden_dim) = (dynamics, 640, 0);
        config.transformer.max_horizon = config.transformer.max_horizon.max(length);
        config
    }
}

/// Times one iteration over `length` steps.
pub(super) fn iteration(base: &ModelConfig, model: Model, length: usize, meter: &Meter) -> Row {
    let config = model.config(base, length);
    let sizes = [BATCH, length, STATES, ACTIONS];
    let trial = Trial::new(&config, sizes, &mut Stream::new(1, "bench"), &meter.device);
    let flops = iteration_flops(&config, sizes);
    meter.row("training", model.name(), format!("B {BATCH} T {length}"), flops, || {
        trial.iterate();
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;
    use td_koopman_agents::model::Parameters;

    #[test]
    fn models_are_of_equal_size_but_the_light_one() {
        let base = with(&[]).unwrap().model;
        for model in MODELS {
            let count = Parameters::of(&model.config(&base, 100), STATES, ACTIONS).dynamics as f64;
            let (low, high) =
                if matches!(model, Model::KoopmanLight) { (30e3, 60e3) } else { (430e3, 500e3) };
            assert!((low..high).contains(&count), "{}: {count}", model.name());
        }
    }
}
