//! Laying changes over the defaults, remembering where each value came from.

use super::{ConfigError, DEFAULT, RunConfig, env};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

/// Changes to some keys, from one place.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where, as error messages say it.
    source: String,
    table: Table,
}

impl Layer {
    /// From TOML text.
    pub fn parse(source: &str, text: &str) -> Result<Self, ConfigError> {
        let table = text.parse().map_err(|e| ConfigError(format!("{source} is not valid TOML: {e}")))?;
        Ok(Self::new(source, table))
    }

    /// From a file that is part of this program.
    pub(crate) fn built_in(source: &str, text: &str) -> Self {
        Self::parse(source, text).expect("the configurations in the program are valid, see the tests")
    }

    /// From a TOML file.
    pub fn file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError(format!("cannot read the configuration {}: {e}", path.display())))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// From `key=value` on the command line; a value that is no TOML is a string, so that no quotes are needed.
    pub fn setting(text: &str) -> Result<Self, ConfigError> {
        let source = format!("--set {text}");
        let (key, value) = text
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or_else(|| ConfigError(format!("`{source}` is not of the form --set key=value")))?;
        let parsed = format!("x = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("x"));
        let value = parsed.unwrap_or_else(|| Value::String(value.trim().into()));
        Ok(Self::key(&source, key.trim(), value))
    }

    /// One key, `a.b.c`, set by `source`.
    pub fn key(source: &str, key: &str, value: impl Into<Value>) -> Self {
        let wrap = |value, part: &str| Value::Table(Table::from_iter([(part.to_owned(), value)]));
        let Value::Table(table) = key.rsplit('.').fold(value.into(), wrap) else {
            unreachable!("a key has at least one part")
        };
        Self::new(source, table)
    }

    /// Its keys.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    fn new(source: &str, mut table: Table) -> Self {
        env::spread(&mut table);
        Self { source: source.into(), table }
    }
}

/// Lays `layers` over the defaults, later ones over earlier ones.
///
/// # Errors
/// Unknown keys (with the nearest known one), values of the wrong type, values that make no sense: the message names
/// key, value and source.
pub fn resolve(layers: &[Layer]) -> Result<RunConfig, ConfigError> {
    let default = Layer::built_in("configs/default.toml", DEFAULT);
    let merged = Merged::new(&default.table, layers)?;
    let mut config: RunConfig = merged.read()?;
    config.model.recipe = config.agent;
    config.validate().map_err(|error| merged.locate(error))?;
    Ok(config)
}

/// Layers laid over defaults, and where each value came from.
pub(crate) struct Merged<'a> {
    table: Table,
    origin: BTreeMap<String, (&'a str, Value)>,
}

impl<'a> Merged<'a> {
    /// Lays `layers` over `default`, which has every key there is.
    pub fn new(default: &Table, layers: &'a [Layer]) -> Result<Self, ConfigError> {
        let mut merged = Self { table: default.clone(), origin: BTreeMap::new() };
        for layer in layers {
            for (key, value) in leaves(&layer.table) {
                set(&mut merged.table, default, &key, value.clone(), &layer.source)?;
                merged.origin.insert(key, (layer.source.as_str(), value));
            }
        }
        Ok(merged)
    }

    /// All keys.
    pub fn into_table(self) -> Table {
        self.table
    }

    /// As typed settings.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        serde_path_to_error::deserialize(Value::Table(self.table.clone())).map_err(|error| {
            let key = error.path().to_string();
            // the lines after the first repeat the key, less precisely
            let message = error.inner().to_string().lines().next().unwrap_or_default().to_owned();
            match self.origin.get(&key) {
                Some((source, value)) => {
                    ConfigError(format!("`{key} = {value}` in {source} cannot be used: {}", message))
                }
                None => ConfigError(format!("`{key}` cannot be used: {}", message)),
            }
        })
    }

    /// A complaint about a value, with the place where it was set.
    pub fn locate(&self, ConfigError(message): ConfigError) -> ConfigError {
        let at = self.origin.iter().find(|(key, _)| message.starts_with(&format!("`{key} =")));
        ConfigError(at.map_or(message.clone(), |(_, (source, _))| format!("{message} (set in {source})")))
    }
}

/// All `(a.b.c, value)` of a table; arrays are values.
pub fn leaves(table: &Table) -> Vec<(String, Value)> {
    let below = |(key, value): (&String, &Value)| match value {
        Value::Table(table) if !table.is_empty() => {
            leaves(table).into_iter().map(|(rest, v)| (format!("{key}.{rest}"), v)).collect()
        }
        value => vec![(key.clone(), value.clone())],
    };
    table.iter().flat_map(below).collect()
}

fn set(to: &mut Table, known: &Table, key: &str, value: Value, source: &str) -> Result<(), ConfigError> {
    // the environment says later whether it has such an option
    let like_itself = (env::is_option(key) && known.contains_key("env")).then(|| value.clone());
    let Some(default) = lookup(known, key).or(like_itself.as_ref()) else {
        let nearest =
            nearest_key(known, key).map_or(String::new(), |near| format!("; the nearest is `{near}`"));
        return Err(ConfigError(format!("unknown key `{key}` (= {value}) in {source}{nearest}")));
    };
    // a section with all its lines commented out
    if lookup(known, key).is_some_and(Value::is_table) && value.as_table().is_some_and(Table::is_empty) {
        return Ok(());
    }
    let value = match (default, value) {
        // people write 1 where 1.0 is meant
        (Value::Float(_), Value::Integer(i)) => Value::Float(i as f64),
        (_, value) => value,
    };
    if !default.same_type(&value) {
        return Err(ConfigError(format!(
            "`{key} = {value}` in {source} is {}, but `{key}` is {}, such as {default}",
            with_article(&value),
            with_article(default)
        )));
    }
    let (path, leaf) = key.rsplit_once('.').map_or((None, key), |(path, leaf)| (Some(path), leaf));
    let table = path.into_iter().flat_map(|p| p.split('.')).fold(to, |table, part| {
        table.get_mut(part).and_then(Value::as_table_mut).expect("the path exists among the defaults")
    });
    table.insert(leaf.into(), value);
    Ok(())
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => lookup(table.get(first)?.as_table()?, rest),
    }
}

/// `None` if none looks like it.
fn nearest_key(known: &Table, key: &str) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    // someone who forgot the path still means the name: the better of both comparisons counts
    let likeness = |candidate: &str| {
        strsim::jaro_winkler(candidate, key).max(strsim::jaro_winkler(&last(candidate), &last(key)))
    };
    let keys = leaves(known).into_iter().map(|(key, _)| (likeness(&key), key));
    keys.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness > 0.8).map(|(_, key)| key)
}

fn with_article(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use super::*;

    fn error(setting: &str) -> String {
        with(&[setting]).unwrap_err().to_string()
    }

    #[test]
    fn later_layers_win_and_numbers_may_lack_their_point() {
        let config =
            with(&["planner.num_samples=70", "planner.num_samples=90", "learner.rho=1", "env=linear"]);
        let config = config.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            (config.planner.num_samples, config.learner.rho, config.env.name.as_str()),
            (90, 1.0, "linear")
        );
        assert_eq!(config.learner.batch_size, 256, "untouched keys keep the preset's value");
    }

    /// It took the place of the section: "missing field `kind`", and a panic with a setting below it.
    #[test]
    fn a_section_without_lines_changes_nothing() {
        let empty =
            Layer::parse("my.toml", "[planner]\n# kind = \"cem\"\n[model.koopman.control]\n[env]").unwrap();
        let setting = Layer::setting("planner.num_samples=70").unwrap();
        let config = |layers: &[Layer]| resolve(layers).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config(std::slice::from_ref(&empty)), config(&[]));
        assert_eq!(config(&[empty, setting.clone()]), config(&[setting]));
        let absent = Layer::parse("my.toml", "[planer]").unwrap();
        assert!(resolve(&[absent]).unwrap_err().to_string().contains("unknown key `planer`"));
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_key() {
        let e = error("planner.num_sample=7");
        assert_eq!(
            e,
            "unknown key `planner.num_sample` (= 7) in --set planner.num_sample=7; the nearest is `planner.num_samples`"
        );
        assert!(error("horizn=3").contains("`learner.horizon`"), "{}", error("horizn=3"));
        assert_eq!(error("foo=3"), "unknown key `foo` (= 3) in --set foo=3", "nothing is near");
        assert!(error("model.dynamics.kind=mlp").contains("unknown key"));
    }

    #[test]
    fn a_wrong_type_names_key_value_place_and_what_is_expected() {
        let e = error("planner.num_samples=many");
        assert!(e.contains("`planner.num_samples = \"many\"` in --set"), "{e}");
        assert!(e.contains("is a string, but `planner.num_samples` is an integer"), "{e}");
        assert!(error("planner.num_samples=1.5").contains("is a number, but"));
        assert!(error("planner=1").contains("is an integer, but `planner` is a table"));
        assert!(
            error("planner.num_samples=-3").contains("cannot be used"),
            "{}",
            error("planner.num_samples=-3")
        );
    }

    #[test]
    fn a_wrong_choice_lists_the_right_ones() {
        let e = error("model.dynamics=koopmann");
        assert!(
            e.contains("`model.dynamics = \"koopmann\"`") && e.contains("`koopman`, `mlp`, `gru`"),
            "{e}"
        );
    }

    #[test]
    fn files_are_named_in_errors() {
        let layer = Layer::parse("my.toml", "[learner]\nbatchsize = 3").unwrap();
        let e = resolve(&[layer]).unwrap_err().to_string();
        assert_eq!(
            e,
            "unknown key `learner.batchsize` (= 3) in my.toml; the nearest is `learner.batch_size`"
        );
        assert!(
            Layer::parse("my.toml", "[learner")
                .unwrap_err()
                .to_string()
                .contains("my.toml is not valid TOML")
        );
        assert!(Layer::file(Path::new("absent.toml")).unwrap_err().to_string().contains("absent.toml"));
        assert!(Layer::setting("steps").unwrap_err().to_string().contains("key=value"));
    }
}
