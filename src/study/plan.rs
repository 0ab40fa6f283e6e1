//! The file of a written-down comparison: its variants, the idea behind each, and what it taught.

use super::args::CompareArgs;
use super::choices::{Variant, distinct};
use crate::config::{ConfigError, Preset, leaves};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::Table;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    about: String,
    env: Vec<String>,
    seeds: Vec<u64>,
    preset: Option<Preset>,
    steps: Option<u64>,
    #[serde(default)]
    task_steps: BTreeMap<String, u64>,
    baseline: String,
    #[serde(default)]
    set: Table,
    variants: Vec<RawVariant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVariant {
    label: String,
    dynamics: Option<String>,
    idea: String,
    #[serde(default)]
    taught: String,
    #[serde(default)]
    set: Table,
}

/// A comparison as a file has it.
pub struct StudyPlan {
    /// What is asked, for the head of the report.
    pub about: String,
    /// The variant that the others are held against.
    pub baseline: String,
    /// Why each variant is there, in the order of the variants.
    pub notes: Vec<Note>,
    /// The flags that say the same.
    pub args: CompareArgs,
    /// Environment steps of the tasks that are not trained for as long as the others.
    pub task_steps: BTreeMap<String, u64>,
    /// The variants.
    pub variants: Vec<Variant>,
}

/// The reasons for a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What was expected of it.
    pub idea: String,
    /// What it taught, written by hand after it ran.
    pub taught: String,
}

impl StudyPlan {
    /// Reads and checks the file that `args.study` names.
    pub fn load(args: &CompareArgs, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| ConfigError(format!("cannot read the study {}: {e}", path.display())))?;
        let plan =
            Self::parse(args, &text).map_err(|e| ConfigError(format!("{}: {}", path.display(), e.0)))?;
        let out = plan
            .args
            .out
            .clone()
            .unwrap_or_else(|| Path::new("results").join(path.file_stem().unwrap_or("study".as_ref())));
        Ok(Self { args: CompareArgs { out: Some(out), ..plan.args }, ..plan })
    }

    fn parse(args: &CompareArgs, text: &str) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|e| ConfigError(e.to_string().trim_end().into()))?;
        let variant = |raw: &RawVariant| -> Result<Variant, ConfigError> {
            let named = Variant::parse(&format!("{}:x=1", raw.label))?;
            let settings = settings(&raw.set);
            Ok(Variant { dynamics: raw.dynamics.clone().or(named.dynamics), settings, ..named })
        };
        let variants = raw.variants.iter().map(variant).collect::<Result<Vec<_>, _>>()?;
        let labels: Vec<&String> = variants.iter().map(|variant| &variant.label).collect();
        distinct("[[variants]]", &labels)?;
        if !labels.contains(&&raw.baseline) {
            return Err(ConfigError(format!(
                "`baseline = \"{}\"` is none of the [[variants]]",
                raw.baseline
            )));
        }
        if let Some(name) = raw.task_steps.keys().find(|&name| !raw.env.contains(name)) {
            return Err(ConfigError(format!("`task_steps` names `{name}`, which is not in `env`")));
        }
        let numbers: Vec<String> = raw.seeds.iter().map(u64::to_string).collect();
        let args = CompareArgs {
            env: Some(raw.env.join(",")),
            seeds: numbers.join(","),
            preset: raw.preset,
            steps: raw.steps,
            set: [settings(&raw.set), args.set.clone()].concat(),
            ..args.clone()
        };
        let notes = raw.variants.into_iter().map(|v| Note { idea: v.idea, taught: v.taught }).collect();
        let Raw { about, baseline, task_steps, .. } = raw;
        Ok(Self { about, baseline, notes, args, task_steps, variants })
    }
}

/// `key=value` of every key of a table.
fn settings(table: &Table) -> Vec<String> {
    leaves(table).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    const STUDY: &str = r#"
        about = "Is less enough?"
        env = ["pendulum", "linear"]
        seeds = [1, 2]
        preset = "light"
        steps = 500
        task_steps = { linear = 900 }
        baseline = "mlp"
        set = { "learner.rho" = 0.7 }
        [[variants]]
        label = "mlp"
        idea = "the baseline"
        [[variants]]
        label = "small"
        idea = "less is enough"
        taught = "it is"
        set = { "model.encoder_hidden" = [8, 8], "planner.kind" = "cem" }
    "#;

    fn parse(text: &str) -> Result<StudyPlan, ConfigError> {
        let cli = Cli::try_parse_from(["td-koopman", "compare", "--study", "x", "--set", "seed=9"]).unwrap();
        let Some(Command::Compare(args)) = cli.command else { panic!("not compare") };
        StudyPlan::parse(&args, text)
    }

    #[test]
    fn a_file_says_what_flags_would() {
        let plan = parse(STUDY).unwrap();
        assert_eq!((plan.args.env.as_deref(), plan.args.seeds.as_str()), (Some("pendulum,linear"), "1,2"));
        assert_eq!((plan.args.preset, plan.args.steps), (Some(Preset::Light), Some(500)));
        assert_eq!(plan.task_steps, BTreeMap::from([("linear".into(), 900)]));
        assert_eq!(plan.args.set, ["learner.rho=0.7", "seed=9"]);
        let [mlp, small] = &plan.variants[..] else { panic!("two variants") };
        assert_eq!((mlp.dynamics.as_deref(), &small.dynamics), (Some("mlp"), &None));
        assert_eq!(small.settings, ["model.encoder_hidden=[8, 8]", "planner.kind=\"cem\""]);
        assert_eq!(plan.notes[1], Note { idea: "less is enough".into(), taught: "it is".into() });
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, complaint) in [
            ("baseline = \"mlp\"", "baseline = \"mpl\"", "none of the [[variants]]"),
            ("label = \"small\"", "label = \"mlp\"", "names `mlp` twice"),
            ("label = \"small\"", "label = \"a/b\"", "cannot be a label"),
            ("{ linear = 900 }", "{ lineal = 900 }", "`task_steps` names `lineal`"),
            ("taught", "tought", "unknown field `tought`"),
        ] {
            let error = parse(&STUDY.replace(from, to)).err().unwrap().0;
            assert!(error.contains(complaint), "{error}");
        }
    }
}
