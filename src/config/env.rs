//! The environment of a run: a name, and options where they differ from the defaults.

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use td_koopman_envs::{Env, Error, OptionValue, registry};
use toml::{Table, Value};

/// `env = "hopper"`, or with options `env = { name = "hopper", healthy_reward = 2.0 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct EnvConfig {
    /// Its short or official name.
    pub name: String,
    /// Options, by name; `td-koopman envs NAME` lists them.
    pub options: BTreeMap<String, Value>,
}

/// How it is written: runs without options look as they did before there were any.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Table {
        name: String,
        #[serde(flatten)]
        options: BTreeMap<String, Value>,
    },
}

impl From<Written> for EnvConfig {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(name) => Self { name, options: BTreeMap::new() },
            Written::Table { name, options } => Self { name, options },
        }
    }
}

impl From<EnvConfig> for Written {
    fn from(EnvConfig { name, options }: EnvConfig) -> Self {
        if options.is_empty() { Self::Name(name) } else { Self::Table { name, options } }
    }
}

impl From<&str> for EnvConfig {
    fn from(name: &str) -> Self {
        Self { name: name.into(), options: BTreeMap::new() }
    }
}

impl EnvConfig {
    /// Makes the environment.
    ///
    /// # Errors
    /// See [`registry::make_with`].
    pub fn make(&self) -> anyhow::Result<Box<dyn Env>> {
        Ok(registry::make_with(&self.name, &self.given()?)?)
    }

    /// Refuses options that the environment does not have, by key. An unknown name is left to [`EnvConfig::make`].
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match registry::check(&self.name, &self.given()?) {
            Err(error @ Error::UnknownOption { .. }) | Err(error @ Error::OptionValue { .. }) => {
                let key = match &error {
                    Error::UnknownOption { name, .. } => name.as_str(),
                    Error::OptionValue { name, .. } => name,
                    _ => unreachable!("the arm takes these two only"),
                };
                Err(ConfigError(format!("`env.{key} = {}` cannot be used: {error}", self.options[key])))
            }
            _ => Ok(()),
        }
    }

    fn given(&self) -> Result<Vec<(String, OptionValue)>, ConfigError> {
        let option = |(name, value): (&String, &Value)| match option_value(value) {
            Some(value) => Ok((name.clone(), value)),
            None => Err(ConfigError(format!(
                "`env.{name} = {value}` cannot be used: an option of an environment is a number, true or false, or a \
                 range [low, high]"
            ))),
        };
        self.options.iter().map(option).collect()
    }
}

fn option_value(value: &Value) -> Option<OptionValue> {
    let number = |value: &Value| match value {
        Value::Integer(i) => Some(*i as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    };
    match value {
        Value::Boolean(flag) => Some(OptionValue::Flag(*flag)),
        Value::Array(ends) => match ends.as_slice() {
            [low, high] => Some(OptionValue::Range(number(low)?, number(high)?)),
            _ => None,
        },
        value => number(value).map(OptionValue::Number),
    }
}

/// Lets a layer say `env = "name"` for `env.name = "name"`, so that names and options can come from different layers.
pub(super) fn spread(table: &mut Table) {
    if let Some(Value::String(name)) = table.get("env") {
        let name = Value::String(name.clone());
        table.insert("env".into(), Value::Table(Table::from_iter([("name".to_owned(), name)])));
    }
}

/// Whether `key` may be an option of the environment, which only the environment knows.
pub(super) fn is_option(key: &str) -> bool {
    key.strip_prefix("env.").is_some_and(|option| option != "name" && !option.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use super::super::{Layer, RunConfig, resolve};

    fn error(settings: &[&str]) -> String {
        with(settings).unwrap_err().to_string()
    }

    #[test]
    fn options_are_set_like_other_keys_and_reach_the_environment() {
        let config = with(&[
            "env.terminate_when_unhealthy=false",
            "env=hopper",
            "env.healthy_z_range=[0.5, inf]",
            "env.exclude_current_positions_from_observation=false",
        ]);
        let config = config.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((config.env.name.as_str(), config.env.options.len()), ("hopper", 3));
        assert_eq!(config.env.make().unwrap().spec().observation_dim, 12);
    }

    #[test]
    fn both_ways_of_writing_it_survive_saving() {
        for settings in [&["env=hopper"][..], &["env=hopper", "env.frame_skip=2", "env.healthy_reward=0.5"]] {
            let config = with(settings).unwrap();
            let saved = config.to_toml();
            assert_eq!(saved.contains("env = \"hopper\""), settings.len() == 1, "{saved}");
            assert_eq!(RunConfig::from_toml(&saved, "saved").unwrap(), config);
        }
    }

    #[test]
    fn a_file_may_hold_a_table() {
        let layer = Layer::parse("my.toml", "[env]\nname = \"pendulum\"\ng = 3").unwrap();
        let config = resolve(&[layer]).unwrap();
        assert_eq!((config.env.name.as_str(), config.env.options["g"].as_integer()), ("pendulum", Some(3)));
    }

    #[test]
    fn a_wrong_option_names_its_place_and_the_options_of_the_environment() {
        let e = error(&["env=hopper", "env.ctrl_cost=0.1"]);
        assert!(
            e.starts_with("`env.ctrl_cost = 0.1` cannot be used: the environment `hopper` has no option"),
            "{e}"
        );
        assert!(
            e.contains("ctrl_cost_weight, healthy_reward") && e.contains("--set env.ctrl_cost=0.1"),
            "{e}"
        );
        let e = error(&["env=hopper", "env.frame_skip=0.5"]);
        assert!(
            e.contains("a whole number of at least 1, 4 by default") && e.contains("--set env.frame"),
            "{e}"
        );
        let e = error(&["env.ctrl_cost_weight=much"]);
        assert!(
            e.contains("`env.ctrl_cost_weight = \"much\"`") && e.contains("a number, true or false"),
            "{e}"
        );
        assert!(error(&["env.name=3"]).contains("`env.name` is a string"));
    }
}
