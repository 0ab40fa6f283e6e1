//! A configuration as a file to read and change: every key, what it means, and its value here.

use super::{DEFAULT, RunConfig};
use toml_edit::{DocumentMut, Item, TableLike, Value};

const HEAD: &str = "# Every setting of a run. `td-koopman --config FILE` trains with it; lines that are left out keep their default.\n\n";

impl RunConfig {
    /// As TOML, with the comments of `configs/default.toml`.
    pub fn annotated(&self) -> String {
        let parse =
            |text: &str| text.parse::<DocumentMut>().expect("configurations are valid TOML, see the tests");
        let mut text = parse(DEFAULT);
        let values = toml::to_string(self).expect("a configuration is plain numbers, strings and tables");
        fill(text.as_table_mut(), parse(&values).as_table());
        if let Some(mut first) = text.key_mut("agent") {
            first.leaf_decor_mut().set_prefix(HEAD);
        }
        text.to_string()
    }
}

/// Puts `values` in the places of those in `text`, whose comments stay.
fn fill(text: &mut dyn TableLike, values: &dyn TableLike) {
    for (key, value) in values.iter() {
        let place = text.entry(key).or_insert(Item::None);
        match (place.as_table_like_mut(), value.as_table_like()) {
            (Some(place), Some(value)) => fill(place, value),
            _ => {
                let value = value.clone().into_value().expect("a key of a configuration has a value");
                *place = Item::Value(match place.as_value() {
                    Some(before) => in_place_of(before, value),
                    None => value,
                });
            }
        }
    }
}

/// With the comment of the one before, in the same column if there is room.
fn in_place_of(before: &Value, value: Value) -> Value {
    let width = |value: &Value| value.clone().decorated("", "").to_string().chars().count();
    let behind = before.decor().suffix().and_then(|text| text.as_str()).unwrap_or_default();
    let comment = behind.trim_start();
    if comment.is_empty() {
        return value.decorated(" ", behind);
    }
    let column = width(before) + behind.len() - comment.len();
    let room = column.saturating_sub(width(&value)).max(1);
    value.decorated(" ", format!("{:room$}{comment}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layer, Preset, resolve};
    use clap::ValueEnum;

    #[test]
    fn what_is_printed_is_read_as_the_same_run_and_explains_it() {
        let options = ["env=hopper", "env.healthy_z_range=[0.5, 2]", "evaluation.horizons=[1, 3]"]
            .map(|setting| Layer::setting(setting).unwrap());
        for preset in Preset::value_variants() {
            let mut layers = preset.layers();
            layers.extend(options.clone());
            let config = resolve(&layers).unwrap();
            let text = config.annotated();
            assert_eq!(RunConfig::from_toml(&text, "the text").unwrap(), config, "{text}");
            assert!(text.starts_with(HEAD) && !text.contains("Hansen et al. 2022, arXiv"), "{text}");
            for line in [
                "seed = 1                  # of everything random",
                "horizons = [1, 3]         # e.g. [1, 3, 5, 10]: ",
            ] {
                assert!(text.contains(line), "`{line}` is not in {text}");
            }
            // nothing was put anywhere else; the head of the defaults is a line longer
            assert_eq!(text.lines().count() + 1, DEFAULT.lines().count());
        }
    }
}
