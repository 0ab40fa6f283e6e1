//! The `envs` command: what there is to train on, and what can be chosen about it.

use anyhow::Result;
use std::io::Write;
use std::time::{Duration, Instant};
use td_koopman_envs::wrappers::ScaledActions;
use td_koopman_envs::{Env, EnvOption, Error, OptionValue, Source, check, registry};

/// How long the speed is measured.
const MEASURED: Duration = Duration::from_millis(300);

/// Writes a table of all environments, by origin.
pub fn list(out: &mut impl Write) -> Result<()> {
    for source in [Source::Gymnasium, Source::DmControl, Source::Classic] {
        let entries = registry::table().iter().filter(|entry| entry.source == source);
        writeln!(out, "{}\n", heading(source))?;
        row(out, ["name", "official name", "observation", "action", "steps", "repeat"])?;
        for entry in entries {
            let sizes =
                [entry.observation_dim, entry.action_dim, entry.max_episode_steps, entry.action_repeat];
            let [observation, action, steps, repeat] = sizes.map(|size| size.to_string());
            row(out, [entry.name, entry.official, &observation, &action, &steps, &repeat])?;
        }
        writeln!(out)?;
    }
    let registered = registry::all_names().split_off(registry::table().len());
    if !registered.is_empty() {
        writeln!(out, "{}\n\n  {}\n", heading(Source::Custom), registered.join(", "))?;
    }
    writeln!(
        out,
        "observation, action: numbers. steps: simulator steps of an episode. repeat: simulator steps per decision.\n\
         `td-koopman envs NAME` lists the options of an environment, for --set env.OPTION=VALUE."
    )?;
    Ok(())
}

/// Writes what one environment is and which options it has.
///
/// # Errors
/// An unknown name; or MuJoCo cannot be used.
pub fn describe(name: &str, out: &mut impl Write) -> Result<()> {
    let env = registry::make(name)?;
    let spec = env.spec();
    writeln!(out, "{}, {} of {}\n", spec.name, spec.official, heading(spec.source))?;
    let range = range(&spec.action_low, &spec.action_high);
    writeln!(out, "  observation    {} numbers", spec.observation_dim)?;
    writeln!(out, "  action         {} numbers in {range}, which agents see as [-1, 1]", spec.action_dim())?;
    writeln!(out, "  episode        {} simulator steps", spec.max_episode_steps)?;
    writeln!(out, "  action repeat  {} simulator steps per decision\n", spec.action_repeat)?;
    let Ok(entry) = registry::find(name) else { return Ok(()) };
    writeln!(out, "options, by their defaults:\n")?;
    let options = entry.options();
    let width = options.iter().map(|option| option.name.len()).max().unwrap_or_default();
    for EnvOption { name, default, help, .. } in &options {
        writeln!(out, "  {name:<width$}  {:<12}  {help}", shown(*default))?;
    }
    let EnvOption { name: option, default, .. } = options.last().expect("there is the length of an episode");
    let other = match *default {
        OptionValue::Flag(flag) => OptionValue::Flag(!flag),
        OptionValue::Count(count) => OptionValue::Count(2 * count),
        OptionValue::Number(x) => OptionValue::Number(if x == 0.0 { 0.1 } else { 2.0 * x }),
        range => range,
    };
    writeln!(out, "\nfor example: td-koopman --env {} --set env.{option}={}", spec.name, shown(other))?;
    Ok(())
}

/// Tests an environment, writes a table of what came out, and says whether it passed.
///
/// # Errors
/// It cannot be made.
pub fn check(name: &str, out: &mut impl Write) -> Result<bool> {
    let spec = registry::make(name)?.spec().clone();
    writeln!(out, "{} ({}, {})", spec.name, spec.official, spec.source)?;
    let report = check::run(|| registry::make(name))?;
    writeln!(out, "{:<8} {:<26} {:.0} steps a second", "measured", "speed", speed(name)?)?;
    writeln!(out, "{report}")?;
    Ok(report.passed())
}

/// Environment steps in a second of wall clock, resets included, with actions in the middle of their range.
fn speed(name: &str) -> Result<f64, Error> {
    let mut env = ScaledActions::new(registry::make(name)?);
    let (mut observation, action) =
        (vec![0.0; env.spec().observation_dim], vec![0.0; env.spec().action_dim()]);
    env.reset(0, &mut observation);
    let (start, mut steps) = (Instant::now(), 0);
    while start.elapsed() < MEASURED {
        if env.step(&action, &mut observation).end.is_over() {
            env.failure().map_or(Ok(()), Err)?;
            env.reset(steps, &mut observation);
        }
        steps += 1;
    }
    Ok(steps as f64 / start.elapsed().as_secs_f64())
}

fn heading(source: Source) -> &'static str {
    match source {
        Source::Gymnasium => "Gymnasium 1.4, MuJoCo v5",
        Source::DmControl => "DeepMind Control Suite, dm_control 1.0.50",
        Source::Classic => "environments without a simulator",
        Source::Python => "a Python process",
        Source::Custom => "environments that this program registers",
    }
}

/// As it is written after `--set`; small weights as people write them.
fn shown(value: OptionValue) -> String {
    match value {
        OptionValue::Number(x) if x != 0.0 && x.abs() < 1e-3 => format!("{x:e}"),
        value => value.to_string(),
    }
}

fn row(out: &mut impl Write, cells: [&str; 6]) -> Result<()> {
    let [name, official, observation, action, steps, repeat] = cells;
    Ok(writeln!(out, "  {name:<25}{official:<29}{observation:>11}{action:>8}{steps:>7}{repeat:>8}")?)
}

/// The limits of all actuators in a few characters.
fn range(low: &[f64], high: &[f64]) -> String {
    let (first, last) = (low[0], high[0]);
    let same = low.iter().all(|x| *x == first) && high.iter().all(|x| *x == last);
    if same { format!("[{first}, {last}]") } else { "ranges that differ".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> String {
        let mut out = vec![];
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_environment_has_a_row_of_the_same_width() {
        let text = written(list);
        for entry in registry::table() {
            let row =
                text.lines().find(|line| line.trim_start().starts_with(&format!("{} ", entry.name))).unwrap();
            assert!(row.contains(entry.official) && row.chars().count() == 90, "{row}");
        }
    }

    #[test]
    fn an_environment_is_described_with_its_options() {
        let text = written(|out| describe("Ant-v5", out));
        for part in ["105 numbers", "contact_force_range", "[-1, 1]", "5e-4", "--env ant --set env."] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(describe("aunt", &mut vec![]).is_err());
    }
}
