//! What is compared, as the command line says it: lists, seeds, variants.

use crate::config::ConfigError;
use serde::Deserialize;
use std::collections::BTreeSet;
use td_koopman_agents::config::DynamicsKind;

/// A named set of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// What legends and folders call it.
    pub label: String,
    /// The dynamics that the label names, if it does.
    pub dynamics: Option<String>,
    /// Settings, `key=value`.
    pub settings: Vec<String>,
}

impl Variant {
    /// From `koopman` or `label:key=value;key=value`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (label, settings) = match text.split_once(':') {
            Some((label, settings)) => (label.trim(), list(settings, ';')?),
            None => (text.trim(), Vec::new()),
        };
        let is_label = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
        if !label.chars().all(is_label) || !label.contains(char::is_alphanumeric) {
            return Err(ConfigError(format!(
                "`{label}` in --variants cannot be a label: it names a folder, so use letters, digits, - _ . +"
            )));
        }
        let named = toml::Value::String(label.into());
        let names_dynamics = DynamicsKind::deserialize(named).is_ok();
        // a lone name that is no dynamics is passed on as one: the configuration then says which there are
        let dynamics = (names_dynamics || settings.is_empty()).then(|| label.to_owned());
        Ok(Self { label: label.into(), dynamics, settings })
    }
}

/// The parts of `text` between `separator`s that stand outside brackets and quotes.
///
/// # Errors
/// An empty part.
pub fn list(text: &str, separator: char) -> Result<Vec<String>, ConfigError> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        if c == separator && depth == 0 && !quoted {
            parts.push(String::new());
        } else {
            parts.last_mut().expect("there is always a part").push(c);
        }
    }
    if parts.iter().any(|part| part.trim().is_empty()) {
        return Err(ConfigError(format!("`{text}` has an empty place between its `{separator}`s")));
    }
    Ok(parts.iter().map(|part| part.trim().to_owned()).collect())
}

/// Seeds from `1..5` (both ends included) and single numbers, comma-separated.
pub fn seeds(text: &str) -> Result<Vec<u64>, ConfigError> {
    let number = |part: &str| {
        let digits = part.trim();
        digits.parse::<u64>().map_err(|_| {
            ConfigError(format!("`{digits}` in --seeds {text} is not a seed; give 1..5 or 1,2,7"))
        })
    };
    let mut seeds = Vec::new();
    for part in list(text, ',')? {
        let Some((first, last)) = part.split_once("..") else {
            seeds.push(number(&part)?);
            continue;
        };
        let (first, last) = (number(first)?, number(last.strip_prefix('=').unwrap_or(last))?);
        if first > last {
            return Err(ConfigError(format!(
                "--seeds {first}..{last} is empty; did you mean {last}..{first}?"
            )));
        }
        if last - first >= 1000 {
            return Err(ConfigError(format!("--seeds {first}..{last} are more than 1000 seeds")));
        }
        seeds.extend(first..=last);
    }
    distinct("--seeds", &seeds)?;
    Ok(seeds)
}

/// Refuses a list in which something stands twice.
pub fn distinct<T: Ord + std::fmt::Display>(flag: &str, values: &[T]) -> Result<(), ConfigError> {
    let mut seen = BTreeSet::new();
    match values.iter().find(|value| !seen.insert(*value)) {
        Some(twice) => Err(ConfigError(format!("{flag} names `{twice}` twice; once is enough"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_ranges_with_both_ends_and_numbers() {
        assert_eq!(seeds("1..5").unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(seeds("7, 2..=3").unwrap(), [7, 2, 3]);
        for (text, complaint) in [
            ("3..1", "did you mean 1..3?"),
            ("1,x", "`x` in --seeds"),
            ("1,1", "names `1` twice"),
            ("1..3,2", "names `2` twice"),
            ("1,,2", "empty place"),
            ("", "empty place"),
            ("-1", "is not a seed"),
            ("0..18446744073709551615", "more than 1000"),
        ] {
            let error = seeds(text).unwrap_err().to_string();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }

    #[test]
    fn a_variant_is_a_dynamics_or_a_label_with_settings() {
        let variant = |text| Variant::parse(text).unwrap();
        assert_eq!(variant("mlp").dynamics.as_deref(), Some("mlp"));
        let zoh = variant("zoh:model.koopman.eigenvalues.form=zoh; planner.num_samples=64");
        assert_eq!((zoh.label.as_str(), &zoh.dynamics), ("zoh", &None));
        assert_eq!(zoh.settings, ["model.koopman.eigenvalues.form=zoh", "planner.num_samples=64"]);
        assert_eq!(variant("mlp:planner.num_samples=64").dynamics.as_deref(), Some("mlp"));
        for text in ["", ":a=1", "a/b", "..", "a b"] {
            assert!(Variant::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn separators_inside_brackets_and_quotes_do_not_separate() {
        let parts = list("a:model.encoder_hidden=[16,16];env=\"x,y\",mlp", ',').unwrap();
        assert_eq!(parts, ["a:model.encoder_hidden=[16,16];env=\"x,y\"", "mlp"]);
    }
}
