//! What the sizes and settings of the dynamics have to satisfy.

use super::{ConfigError, RunConfig, require, resolve};
use td_koopman_agents::config::{
    Conditioning, DynamicsKind, EigenvalueConfig, LatentNorm, ModelConfig, StateDecoder,
};

/// The widest layer.
const MAX_WIDTH: usize = 1_000_000;

impl RunConfig {
    pub(super) fn validate_model(&self) -> Result<(), ConfigError> {
        let m = &self.model;
        let positive = [
            ("model.latent_dim", m.latent_dim),
            ("model.hidden_dim", m.hidden_dim),
            ("model.koopman.control.encoded_dim", m.koopman.control.encoded_dim),
            ("model.koopman.control.recondition_every", m.koopman.control.recondition_every),
            ("model.gru.hidden_dim", m.gru.hidden_dim),
            ("model.gru.layers", m.gru.layers),
            ("model.transformer.width", m.transformer.width),
            ("model.transformer.layers", m.transformer.layers),
            ("model.transformer.heads", m.transformer.heads),
            ("model.transformer.feed_forward", m.transformer.feed_forward),
            ("model.transformer.max_horizon", m.transformer.max_horizon),
            ("model.dssm.width", m.dssm.width),
            ("model.dssm.modes", m.dssm.modes),
            ("model.dssm.layers", m.dssm.layers),
        ];
        for (key, value) in positive {
            require(value > 0, key, value, "must be at least 1")?;
        }
        let may_be_none = [
            ("model.mlp.hidden_dim", m.mlp.hidden_dim),
            ("model.koopman.control.gate_hidden", m.koopman.control.gate_hidden),
            ("model.koopman.remainder.correction_hidden", m.koopman.remainder.correction_hidden),
        ];
        for (key, value) in positive.into_iter().chain(may_be_none) {
            // what this machine has room for is asked later; the numbers there are counted in 64 bits
            let most = if key.ends_with("layers") || key.ends_with("heads") { 1000 } else { MAX_WIDTH };
            require(value <= most, key, value, &format!("must not exceed {most}"))?;
        }
        let widths = [
            ("model.encoder_hidden", &m.encoder_hidden),
            ("model.koopman.control.action_hidden", &m.koopman.control.action_hidden),
        ];
        for (key, widths) in widths {
            require(!widths.contains(&0), key, format!("{widths:?}"), "must not contain a layer of width 0")?;
            let fit = widths.len() <= 1000 && widths.iter().all(|&width| width <= MAX_WIDTH);
            require(fit, key, format!("{widths:?}"), "must not exceed 1000 layers of width 1000000")?;
        }
        require(
            m.transformer.width.is_multiple_of(m.transformer.heads),
            "model.transformer.width",
            m.transformer.width,
            &format!("must be a multiple of model.transformer.heads = {}", m.transformer.heads),
        )?;
        self.validate_v2()?;
        let auxiliary = &self.learner.auxiliary;
        for (key, value) in [
            ("learner.auxiliary.state_coef", auxiliary.state_coef),
            ("learner.auxiliary.variance_coef", auxiliary.variance_coef),
            ("learner.auxiliary.covariance_coef", auxiliary.covariance_coef),
        ] {
            require(value >= 0.0 && value.is_finite(), key, value, "must be a number of at least 0")?;
        }
        require(
            (auxiliary.state_coef > 0.0) == (m.state_decoder != StateDecoder::None),
            "learner.auxiliary.state_coef",
            auxiliary.state_coef,
            "must be positive with a model.state_decoder, and 0 without one",
        )?;
        match m.dynamics {
            DynamicsKind::Koopman => self.validate_koopman(),
            DynamicsKind::Dssm => validate_eigenvalues("model.dssm.eigenvalues", &m.dssm.eigenvalues),
            DynamicsKind::Transformer => self.validate_horizons(),
            DynamicsKind::Mlp | DynamicsKind::Gru => Ok(()),
        }
    }

    /// What the second recipe needs.
    fn validate_v2(&self) -> Result<(), ConfigError> {
        let v2 = &self.model.v2;
        for (key, value) in [("model.v2.critics", v2.critics), ("model.v2.bins", v2.bins)] {
            require(value > 1, key, value, "must be at least 2")?;
        }
        for (key, [low, high]) in
            [("model.v2.bin_range", v2.bin_range), ("model.v2.log_std_range", v2.log_std_range)]
        {
            require(
                low < high && low.is_finite() && high.is_finite(),
                key,
                format!("[{low:?}, {high:?}]"),
                "must ascend",
            )?;
        }
        require(
            // 1 − rate, whose logarithm tells how far the zeros lie apart, has to differ from 1
            v2.critic_dropout == 0.0 || (1e-6..1.0).contains(&v2.critic_dropout),
            "model.v2.critic_dropout",
            v2.critic_dropout,
            "must be 0, or at least 1e-6 and below 1",
        )?;
        require(
            v2.init_std >= 0.0 && v2.init_std.is_finite(),
            "model.v2.init_std",
            v2.init_std,
            "must be a number of at least 0",
        )?;
        let group = v2.simnorm_group;
        require(group > 0, "model.v2.simnorm_group", group, "must be at least 1")?;
        require(
            self.model.latent_norm() != LatentNorm::Simnorm || self.model.latent_dim.is_multiple_of(group),
            "model.latent_dim",
            self.model.latent_dim,
            &format!("must be a multiple of model.v2.simnorm_group = {group}, or choose another latent_norm"),
        )
    }

    /// Refuses horizons for which a transformer has no learned positions.
    pub(crate) fn validate_horizons(&self) -> Result<(), ConfigError> {
        if self.model.dynamics != DynamicsKind::Transformer {
            return Ok(());
        }
        let longest = self.model.transformer.max_horizon;
        let rule = format!(
            "exceeds model.transformer.max_horizon = {longest}, the positions it learns: lower it or raise that key"
        );
        let evaluated = self.evaluation.horizons.iter().map(|&h| ("evaluation.horizons", h as f64));
        let horizons = [
            ("learner.horizon", self.learner.horizon as f64),
            ("planner.horizon.start", self.planner.horizon.start),
            ("planner.horizon.end", self.planner.horizon.end),
        ];
        for (key, horizon) in horizons.into_iter().chain(evaluated) {
            require(horizon <= longest as f64, key, horizon, &rule)?;
        }
        Ok(())
    }

    fn validate_koopman(&self) -> Result<(), ConfigError> {
        require(
            self.model.koopman.control.conditioning != Conditioning::Nominal,
            "model.koopman.control.conditioning",
            "nominal",
            "must be start or along: only a planner has a nominal plan, see plan_conditioning",
        )?;
        let modulation = self.model.koopman.remainder.modulation;
        require(
            (0.0..=1.0).contains(&modulation),
            "model.koopman.remainder.modulation",
            modulation,
            "must lie between 0 and 1",
        )?;
        require(
            self.model.latent_dim.is_multiple_of(2),
            "model.latent_dim",
            self.model.latent_dim,
            "must be even: a complex mode takes two real numbers",
        )?;
        validate_eigenvalues("model.koopman.eigenvalues", &self.model.koopman.eigenvalues)
    }
}

/// Refuses sizes and settings of networks that make no sense, outside a run.
pub(crate) fn validate_networks(model: &ModelConfig) -> Result<(), ConfigError> {
    let run = resolve(&[])?;
    RunConfig { model: model.clone(), ..run }.validate_model()
}

fn validate_eigenvalues(section: &str, e: &EigenvalueConfig) -> Result<(), ConfigError> {
    let [low, high] = e.mu_bounds;
    require(
        low < high && low.is_finite() && high.is_finite(),
        &format!("{section}.mu_bounds"),
        format!("{:?}", e.mu_bounds),
        "must be two ascending finite numbers",
    )?;
    // e^700 is about the largest number there is
    require(
        (-700.0..=700.0).contains(&e.mu_init),
        &format!("{section}.mu_init"),
        e.mu_init,
        "must lie between -700 and 700",
    )?;
    let [first, last] = e.dt_range;
    require(
        0.0 < first && first <= last && last.is_finite(),
        &format!("{section}.dt_range"),
        format!("{:?}", e.dt_range),
        "must be two ascending positive numbers",
    )?;
    let [inner, outer] = e.ring;
    require(
        0.0 <= inner && inner <= outer && outer < 1.0,
        &format!("{section}.ring"),
        format!("{:?}", e.ring),
        "must be two ascending numbers from 0 to below 1",
    )?;
    require(
        (0.0..=std::f64::consts::PI).contains(&e.ring_phase),
        &format!("{section}.ring_phase"),
        e.ring_phase,
        "must lie between 0 and π",
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use td_koopman_agents::config::DynamicsKind;

    #[test]
    fn every_dynamics_is_chosen_by_its_name_and_matched_by_another_ones() {
        for kind in DynamicsKind::ALL {
            let chosen = format!("model.dynamics={}", kind.name());
            let config = with(&[&chosen]).unwrap();
            assert_eq!((config.model.dynamics, config.variant()), (kind, kind.name()));
            let config = with(&[&format!("model.match_params={}", kind.name())]).unwrap();
            assert_eq!(config.model.match_params.dynamics(), Some(kind));
        }
    }

    /// Counted in 64 bits their parameters came to few, and the networks were made.
    #[test]
    fn sizes_that_no_machine_has_room_for_are_refused_by_key() {
        for setting in [
            "model.koopman.control.encoded_dim=9223372036854775807",
            "model.koopman.control.gate_hidden=9223372036854775807",
            "model.encoder_hidden=[9223372036854775807]",
            "model.gru.layers=9223372036854775807",
            "planner.extra_iterations=9223372036854775807",
            "planner.policy_fraction=1e300",
        ] {
            let error = with(&[setting]).unwrap_err().to_string();
            let key = setting.split('=').next().unwrap();
            assert!(error.contains(key) && error.contains("must not exceed"), "{error}");
        }
    }

    #[test]
    fn a_horizon_beyond_the_positions_of_a_transformer_is_refused() {
        for (key, value) in
            [("learner.horizon", "51"), ("planner.horizon.start", "60"), ("planner.horizon.end", "60")]
        {
            let setting = format!("{key}={value}");
            let error = with(&["model.dynamics=transformer", &setting]).unwrap_err().to_string();
            assert!(
                error.contains(&format!("`{key} = {value}` exceeds")) && error.contains("--set"),
                "{error}"
            );
            assert!(with(&["model.dynamics=gru", &setting]).is_ok());
            with(&["model.dynamics=transformer", "model.transformer.max_horizon=60", &setting]).unwrap();
        }
    }

    /// Training went on to its first evaluation, panicked there, and did so again whenever it was resumed.
    #[test]
    fn a_horizon_of_evaluations_beyond_the_positions_of_a_transformer_is_refused() {
        let error =
            with(&["model.dynamics=transformer", "evaluation.horizons=[5, 60]"]).unwrap_err().to_string();
        assert!(error.contains("`evaluation.horizons = 60` exceeds") && error.contains("--set"), "{error}");
        assert!(with(&["model.dynamics=transformer", "evaluation.horizons=[5, 50]"]).is_ok());
    }

    #[test]
    fn senseless_sizes_are_refused_by_key_and_value() {
        for (dynamics, setting, rule) in [
            ("transformer", "model.transformer.width=30", "multiple of model.transformer.heads"),
            ("gru", "model.gru.layers=0", "at least 1"),
            ("mlp", "model.v2.simnorm_group=0", "at least 1"),
            ("dssm", "model.dssm.modes=0", "at least 1"),
            ("mlp", "learner.auxiliary.state_coef=0.1", "with a model.state_decoder"),
            ("mlp", "learner.auxiliary.variance_coef=-1.0", "at least 0"),
            ("koopman", "model.koopman.remainder.modulation=1.5", "between 0 and 1"),
            ("koopman", "model.koopman.control.recondition_every=0", "at least 1"),
            ("dssm", "model.dssm.eigenvalues.dt_range=[1e-2, 1e-3]", "ascending"),
            ("koopman", "model.koopman.eigenvalues.ring=[0.5, 1.0]", "below 1"),
            ("koopman", "model.koopman.eigenvalues.ring_phase=4.0", "between 0 and π"),
        ] {
            let error = with(&[&format!("model.dynamics={dynamics}"), setting]).unwrap_err().to_string();
            let key = setting.split('=').next().unwrap();
            assert!(error.contains(key) && error.contains(rule), "{setting}: {error}");
        }
    }

    #[test]
    fn a_latent_that_does_not_divide_into_simplices_is_refused() {
        let with_latent = |norm: &str| {
            let norm = format!("model.v2.latent_norm={norm}");
            with(&["agent=v2", "model.dynamics=mlp", "model.latent_dim=50", &norm])
        };
        let error = with_latent("simnorm").unwrap_err().to_string();
        assert!(error.contains("`model.latent_dim = 50` must be a multiple of"), "{error}");
        assert!(with_latent("rms").is_ok() && with(&["model.latent_dim=50"]).is_ok());
    }
}
