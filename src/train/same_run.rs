//! Whether a folder holds the run that is to go on there.

use crate::config::{ConfigError, RunConfig};
use crate::task::Task;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use toml::Value;

/// Differences that are listed before the others are only counted.
const LISTED: usize = 10;

/// A folder is continued only by the run that began it; more steps, other clocks or another device are welcome.
pub fn refuse_another_run(there: &RunConfig, here: &RunConfig, folder: &Path) -> Result<()> {
    let mut there = there.clone();
    // runs from before there was a continuation head say "off"; where nothing can terminate "auto" is the same
    if there.env == here.env && there.model.continuation != here.model.continuation {
        let task = Task::open(&here.env, 0)?;
        if there.agent_for(task.spec()).model.continuation == here.agent_for(task.spec()).model.continuation {
            there.model.continuation = here.model.continuation;
        }
    }
    refuse_differences(&comparable(&there), &comparable(here), folder)
}

/// Refuses a folder whose settings, by key, are not these.
pub(crate) fn refuse_differences(
    there: &BTreeMap<String, Value>,
    here: &BTreeMap<String, Value>,
    folder: &Path,
) -> Result<()> {
    let differing = differences(there, here);
    if differing.is_empty() {
        return Ok(());
    }
    let more = match differing.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Err(ConfigError(format!(
        "{} holds a run with other settings (there → here: {}{more}): give this one another folder with --out",
        folder.display(),
        differing[..differing.len().min(LISTED)].join("; ")
    ))
    .into())
}

/// What has to be the same, by key.
fn comparable(config: &RunConfig) -> BTreeMap<String, Value> {
    let mut config = config.clone();
    (config.steps, config.threads, config.device) = (0, 0, String::new());
    config.train.checkpoint_seconds = 0.0;
    config.evaluation.video_every = 0;
    let mut entries = config.entries();
    // an environment without options is written as its name alone
    if let Some(name) = entries.remove("env") {
        entries.insert("env.name".into(), name);
    }
    entries
}

/// `key = there → here` of every key whose values differ.
fn differences(there: &BTreeMap<String, Value>, here: &BTreeMap<String, Value>) -> Vec<String> {
    let said = |value: Option<&Value>| value.map_or("unset".into(), Value::to_string);
    let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    let values = keys.into_iter().map(|key| (key, there.get(key), here.get(key)));
    let differing = values.filter(|(_, there, here)| there != here);
    differing.map(|(key, there, here)| format!("{key} = {} → {}", said(there), said(here))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    fn refusal(there: &[&str], here: &[&str]) -> String {
        let [there, here] = [there, here].map(|settings| with(settings).unwrap());
        refuse_another_run(&there, &here, Path::new("runs/x")).unwrap_err().to_string()
    }

    /// A list with one number more, or a table for a name, moved all lines behind it: they were paired with others, and
    /// the sentence had 8 kB.
    #[test]
    fn only_what_differs_is_named_by_its_whole_key() {
        let said = refusal(&["env=hopper"], &["env=hopper", "model.encoder_hidden=[16, 16]", "seed=2"]);
        assert!(
            said.contains("(there → here: model.encoder_hidden = [256] → [16, 16]; seed = 1 → 2):"),
            "{said}"
        );
        let said = refusal(&["env=hopper"], &["env=hopper", "env.frame_skip=2"]);
        assert!(said.contains("(there → here: env.frame_skip = unset → 2):"), "{said}");
        refuse_another_run(&with(&["steps=9"]).unwrap(), &with(&["threads=3"]).unwrap(), Path::new(""))
            .unwrap();
    }

    #[test]
    fn many_differences_are_counted() {
        let said = refusal(
            &[],
            &[
                "model.dynamics=mlp",
                "seed=2",
                "learner={rho=0.1, horizon=2, batch_size=8, discount=0.5, value_coef=1, reward_coef=1}",
                "learner={policy_std=1, target_rate=0.5, target_every=9, adam_epsilon=1}",
            ],
        );
        assert_eq!(said.matches(" = ").count(), LISTED, "{said}");
        assert!(said.contains("; and 2 more): give"), "{said}");
    }
}
