//! How many parameters the networks of a configuration have, counted without building them, and dynamics sized to match.

use super::dynamics::{Dssm, Gru, Koopman, MlpDynamics, Transformer};
use super::init::Init;
use super::latent::Bound;
use super::mlp::{Critic, Hidden, Last, Mlp};
use super::world::Sizes;
use crate::config::{ControlForm, DynamicsKind, MatchParams, ModelConfig};
use serde::Serialize;

/// Most steps of width that are tried: wider networks fit no memory.
const STEPS: usize = 1 << 16;

/// Numbers of parameters; eigenvalues that are kept fixed count as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameters {
    /// Of the latent dynamics.
    pub dynamics: usize,
    /// Of all networks of the world model.
    pub total: usize,
}

impl Parameters {
    /// Of the world model for `observations` and `actions` dimensions.
    pub fn of(config: &ModelConfig, observations: usize, actions: usize) -> Self {
        let (sizes, hidden) = (Sizes::of(config, observations, actions), Hidden::of(config));
        let head = |sizes: &[usize]| Mlp::count_built(sizes, hidden, Last::Linear(Init::Zero));
        let dynamics = dynamics(&config.matched(actions), actions);
        let total = dynamics
            + Mlp::count_built(&sizes.encoder, hidden, Bound::of(config).last(hidden))
            + head(&sizes.reward)
            + config.critics() * Critic::count(sizes.critic, hidden)
            + head(&sizes.policy)
            + sizes.continuation.map_or(0, |sizes| head(&sizes))
            + sizes.decoder.map_or(0, |sizes| head(&sizes));
        Self { dynamics, total }
    }
}

/// Parameters of the dynamics at the sizes of the configuration.
fn dynamics(config: &ModelConfig, actions: usize) -> usize {
    match config.dynamics {
        DynamicsKind::Koopman => Koopman::count(config, actions),
        DynamicsKind::Mlp => MlpDynamics::count(config, actions),
        DynamicsKind::Gru => Gru::count(config, actions),
        DynamicsKind::Transformer => Transformer::count(config, actions),
        DynamicsKind::Dssm => Dssm::count(config, actions),
    }
}

impl ModelConfig {
    /// The same model with its dynamics widened or narrowed to the number of parameters of those named by `match_params`,
    /// as closely as whole widths allow.
    ///
    /// The width is the hidden one of MLP and GRU, that of the tokens and then of the feed-forward networks of the
    /// transformer, that between the layers of state spaces, and for Koopman dynamics that of the gate, or of the encoded
    /// action where the gate has no hidden layer. The number of layers, heads and modes stays.
    pub fn matched(&self, actions: usize) -> Self {
        let Some(kind) = self.match_params.dynamics() else { return self.clone() };
        let own = Self { match_params: MatchParams::None, ..self.clone() };
        let target = dynamics(&Self { dynamics: kind, ..own.clone() }, actions);
        match own.dynamics {
            kind_here if kind_here == kind => own,
            DynamicsKind::Koopman => own.closest(target, actions, 1, |c, width| {
                let control = &mut c.koopman.control;
                match (control.form, control.gate_hidden) {
                    (ControlForm::Gated, 1..) => control.gate_hidden = width,
                    _ => control.encoded_dim = width,
                }
            }),
            DynamicsKind::Mlp => own.closest(target, actions, 1, |c, width| c.mlp.hidden_dim = width),
            DynamicsKind::Gru => own.closest(target, actions, 1, |c, width| c.gru.hidden_dim = width),
            DynamicsKind::Transformer => {
                // widths go in steps of the number of heads: the feed-forward networks make up for the rest
                let coarse = own.closest(target, actions, own.transformer.heads, |c, width| {
                    c.transformer.feed_forward =
                        (own.transformer.feed_forward * width).div_ceil(own.transformer.width);
                    c.transformer.width = width;
                });
                coarse.closest(target, actions, 1, |c, width| c.transformer.feed_forward = width)
            }
            DynamicsKind::Dssm => own.closest(target, actions, 1, |c, width| c.dssm.width = width),
        }
    }

    /// Of this model with the widths `step`, 2·`step`, …, the one with nearest to `target` parameters in its dynamics.
    fn closest(&self, target: usize, actions: usize, step: usize, set: impl Fn(&mut Self, usize)) -> Self {
        let sized = |width| {
            let mut config = self.clone();
            set(&mut config, width);
            config
        };
        let count = |width| dynamics(&sized(width), actions);
        // counts grow with the width, but for one step down where a GRU is as wide as the latent
        let widths = (1..=STEPS).map(|i| i * step).take_while(|&width| count(width) <= 2 * target);
        sized(widths.min_by_key(|&width| count(width).abs_diff(target)).unwrap_or(step))
    }
}

#[cfg(test)]
mod tests {
    use super::super::World;
    use super::*;
    use crate::config::tests::{tiny, tiny_of_both};
    use crate::config::{Continuation, LatentNorm};
    use crate::rng::Stream;
    use burn::module::Module;

    fn assert_counted(config: &ModelConfig) -> Parameters {
        let counted = Parameters::of(config, 17, 6);
        let world = World::new(config, 17, 6, &mut Stream::new(1, "init"), &crate::device::cpu());
        let built = Parameters { dynamics: world.dynamics.num_params(), total: world.num_params() };
        assert_eq!(counted, built, "{:?}", config.dynamics);
        counted
    }

    /// The widths of `configs/default.toml`, the heads' narrower.
    fn realistic(dynamics: DynamicsKind) -> ModelConfig {
        let mut config = tiny(dynamics).model;
        (config.latent_dim, config.hidden_dim) = (50, 128);
        let control = &mut config.koopman.control;
        (control.action_hidden, control.encoded_dim, control.gate_hidden) = (vec![64], 64, 128);
        (config.gru.hidden_dim, config.gru.layers) = (128, 1);
        let t = &mut config.transformer;
        (t.width, t.heads, t.feed_forward, t.max_horizon) = (64, 4, 256, 50);
        (config.dssm.width, config.dssm.modes) = (64, 32);
        config
    }

    #[test]
    fn counts_are_those_of_the_networks() {
        for dynamics in DynamicsKind::ALL {
            assert_counted(&realistic(dynamics));
            for mut config in tiny_of_both(dynamics) {
                assert_counted(&config.model);
                config.model.continuation = Continuation::On;
                config.model.v2.latent_norm = LatentNorm::None;
                assert_counted(&config.model);
            }
        }
        let mut config = tiny(DynamicsKind::Gru).model;
        config.gru.hidden_dim = config.latent_dim;
        assert_counted(&config);
        let mut config = tiny(DynamicsKind::Koopman).model;
        config.koopman.control.form = ControlForm::Additive;
        config.koopman.eigenvalues.dt = crate::config::StepSize::Scalar;
        assert_counted(&config);
        let mut config = tiny(DynamicsKind::Mlp).model;
        config.mlp.hidden_dim = 7;
        assert_counted(&config);
    }

    /// 4.96 million for cheetah-run, as read off the published networks (the target's critics left out).
    #[test]
    fn tdmpc2_has_its_published_size() {
        let mut config = tiny_of_both(DynamicsKind::Mlp)[1].model.clone();
        (config.latent_dim, config.hidden_dim, config.encoder_hidden) = (512, 512, vec![256]);
        (config.v2.critics, config.v2.bins) = (5, 101);
        let total = assert_counted(&config).total as f64;
        assert!((total / 4.96e6 - 1.0).abs() < 1e-3, "{total}");
    }

    #[test]
    fn matched_dynamics_have_the_other_ones_count_within_two_percent() {
        let matches = [
            MatchParams::Koopman,
            MatchParams::Mlp,
            MatchParams::Gru,
            MatchParams::Transformer,
            MatchParams::Dssm,
        ];
        for dynamics in DynamicsKind::ALL {
            for like in matches {
                let kind = like.dynamics().unwrap();
                let target = Parameters::of(&realistic(kind), 17, 6).dynamics as f64;
                let config = ModelConfig { match_params: like, ..realistic(dynamics) };
                let got = Parameters::of(&config, 17, 6);
                assert!(
                    (got.dynamics as f64 / target - 1.0).abs() < 0.02,
                    "{dynamics:?} {like:?}: {got:?} {target}"
                );
                if dynamics == kind {
                    assert_eq!(got, Parameters::of(&realistic(kind), 17, 6));
                }
            }
            assert_counted(&ModelConfig { match_params: MatchParams::Koopman, ..realistic(dynamics) });
        }
    }
}
