//! The settings of an offline study: `configs/offline.toml`.

use crate::config::{ConfigError, DEFAULT, Layer, Merged, leaves, require, validate_networks};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use td_koopman_agents::config::{DynamicsKind, ModelConfig};
use td_koopman_agents::offline::TrainingConfig;
use toml::{Table, Value};

const OFFLINE: &str = include_str!("../../configs/offline.toml");

/// Everything that defines a model that is fitted to a recording, but for the recording and the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfflineConfig {
    /// Device name.
    pub device: String,
    /// CPU threads; 0 for one per core.
    pub threads: usize,
    /// What is learned from and what is tested.
    pub data: DataConfig,
    /// How models are fitted.
    pub train: TrainingConfig,
    /// How they are tested.
    pub test: TestConfig,
    /// Latent, its dynamics and the networks around them.
    pub model: ModelConfig,
}

/// What is learned from and what is tested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Share of the episodes that are tested.
    pub test_share: f64,
    /// Seed of the split and of the test windows.
    pub seed: u64,
}

/// How models are tested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestConfig {
    /// Steps predicted.
    pub horizon: usize,
    /// Windows.
    pub windows: usize,
}

/// All keys with their defaults: those of `configs/offline.toml`, over those of a run's networks.
fn defaults() -> Table {
    let run = Layer::built_in("configs/default.toml", DEFAULT);
    let offline = [Layer::built_in("configs/offline.toml", OFFLINE)];
    let mut all = offline[0].table().clone();
    all.insert("model".into(), run.table()["model"].clone());
    Merged::new(&all, &offline).expect("the keys of [model] are a run's, see the tests").into_table()
}

impl OfflineConfig {
    /// Lays `layers` over the defaults.
    ///
    /// # Errors
    /// See [`resolve`](crate::config::resolve).
    pub fn resolve(layers: &[Layer]) -> Result<Self, ConfigError> {
        let merged = Merged::new(&defaults(), layers)?;
        let mut config: Self = merged.read()?;
        let longest = config.test.horizon.max(config.train.horizon).max(config.train.mlp_horizon);
        let positions = &mut config.model.transformer.max_horizon;
        *positions = longest.max(*positions);
        config.validate().map_err(|error| merged.locate(error))?;
        Ok(config)
    }

    /// Steps that are predicted in training.
    pub fn horizon(&self) -> usize {
        match self.model.dynamics {
            DynamicsKind::Mlp => self.train.mlp_horizon,
            _ => self.train.horizon,
        }
    }

    /// All keys, `a.b.c`, with their values.
    pub fn entries(&self) -> BTreeMap<String, Value> {
        let table = Table::try_from(self).expect("a configuration is plain numbers, strings and tables");
        leaves(&table).into_iter().collect()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        for (key, value) in [
            ("train.updates", self.train.updates),
            ("train.horizon", self.train.horizon as u64),
            ("train.mlp_horizon", self.train.mlp_horizon as u64),
            ("train.steps_per_update", self.train.steps_per_update as u64),
            ("test.horizon", self.test.horizon as u64),
            ("test.windows", self.test.windows as u64),
        ] {
            require(value > 0, key, value, "must be at least 1")?;
        }
        for (key, value) in [
            ("train.horizon", self.train.horizon),
            ("train.mlp_horizon", self.train.mlp_horizon),
            ("test.horizon", self.test.horizon),
        ] {
            require(value <= 10_000, key, value, "must not exceed 10000")?;
        }
        // each is a share of the memory
        for (key, value) in
            [("test.windows", self.test.windows), ("train.steps_per_update", self.train.steps_per_update)]
        {
            require(value <= 1_000_000, key, value, "must not exceed 1000000")?;
        }
        require(self.threads <= 1024, "threads", self.threads, "must not exceed 1024")?;
        for (key, value) in [
            ("train.learning_rate", self.train.learning_rate),
            ("train.consistency_coef", self.train.consistency_coef),
            ("train.reward_coef", self.train.reward_coef),
        ] {
            require(value >= 0.0 && value.is_finite(), key, value, "must be a number of at least 0")?;
        }
        for (key, value) in [
            ("train.adam_epsilon", self.train.adam_epsilon),
            ("train.max_gradient_norm", self.train.max_gradient_norm),
        ] {
            let holds = value as f32 > 0.0 && value.is_finite();
            require(holds, key, value, "must be a positive number, also in single precision")?;
        }
        let share = self.data.test_share;
        require(0.0 < share && share < 1.0, "data.test_share", share, "must be above 0 and below 1")?;
        validate_networks(&self.model)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The defaults with some keys set.
    pub fn with(settings: &[&str]) -> Result<OfflineConfig, ConfigError> {
        OfflineConfig::resolve(&settings.iter().map(|s| Layer::setting(s)).collect::<Result<Vec<_>, _>>()?)
    }

    #[test]
    fn defaults_are_the_papers_where_it_says_something() {
        let config = with(&[]).unwrap();
        assert_eq!((config.train.horizon, config.train.mlp_horizon, config.test.horizon), (100, 10, 100));
        assert_eq!((config.data.test_share, config.model.koopman.eigenvalues.mu_init), (0.2, -0.2));
        assert_eq!(config.horizon(), 100);
        assert_eq!(with(&["model.dynamics=mlp"]).unwrap().horizon(), 10);
        assert_eq!(with(&["test.horizon=300"]).unwrap().model.transformer.max_horizon, 300);
    }

    #[test]
    fn mistakes_name_key_value_and_place() {
        for (setting, complaint) in [
            ("train.horizn=3", "the nearest is `train.horizon`"),
            ("train.updates=many", "is an integer"),
            ("test.windows=0", "`test.windows = 0` must be at least 1 (set in --set"),
            ("data.test_share=1.0", "above 0 and below 1"),
            ("test.windows=1000000000", "must not exceed 1000000"),
            ("model.latent_dim=7", "must be even"),
            ("model.dynamics=koopmann", "`koopman`, `mlp`, `gru`"),
            ("env.name=hopper", "unknown key `env.name`"),
            ("train.learning_rate=-1.0", "at least 0"),
        ] {
            let error = with(&[setting]).unwrap_err().to_string();
            assert!(error.contains(complaint), "{setting}: {error}");
        }
    }
}
