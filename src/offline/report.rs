//! What an offline study leaves to be committed: a page, its numbers, a picture a data set.

use super::cell::Cell;
use super::data::{Data, Other};
use super::measured::Measured;
use super::{Offline, modes_report};
use crate::provenance::COMMIT;
use crate::record::say;
use crate::report::{Axes, Curve, Point, write_atomically, write_svg_over};
use crate::study::files::commits;
use crate::study::statistics::{Estimate, mean, summarise};
use crate::study::text::{cell as one_line, counted, number, this_command};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fmt::Write;
use td_koopman_agents::offline::{Errors, count};

/// Depths that the tables show.
const DEPTHS: [usize; 6] = [1, 5, 10, 20, 50, 100];

pub type Known = [Option<Measured>];

/// Writes everything into the study's folder.
pub fn write(study: &Offline, measured: &Known, failures: &[Option<String>]) -> Result<()> {
    write_atomically(&study.out.join("errors.csv"), &table(study, measured)?)?;
    if study.data.iter().any(|of| !of.elsewhere.is_empty()) {
        write_atomically(&study.out.join("tests.csv"), &tests_table(study, measured)?)?;
    }
    let mut page = head(study, measured);
    for of in &study.data {
        section(&mut page, study, of, measured);
    }
    settings(&mut page, study)?;
    let failed: Vec<_> =
        study.cells.iter().zip(failures).filter_map(|(c, why)| Some((c, why.as_ref()?))).collect();
    if !failed.is_empty() {
        page += "\n## Failed\n\n";
        for (cell, why) in failed {
            let _ = writeln!(page, "- {}: {}", cell.name(), one_line(why));
        }
    }
    write_atomically(&study.out.join("README.md"), page.as_bytes())
}

/// The finished cells of a variant on a data set.
pub fn of_variant<'a>(
    study: &'a Offline,
    measured: &'a Known,
    data: &str,
    variant: &str,
) -> Vec<(&'a Cell, &'a Measured)> {
    let cells = study.cells.iter().zip(measured);
    let own = |(cell, _): &(&Cell, _)| cell.data == data && cell.variant == variant;
    cells.filter(own).filter_map(|(cell, measured)| Some((cell, measured.as_ref()?))).collect()
}

fn table(study: &Offline, measured: &Known) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["data", "variant", "seed", "steps_ahead", "state_mse", "reward_mse"])?;
    for (cell, measured) in study.cells.iter().zip(measured) {
        let Some(Measured { errors, .. }) = measured else { continue };
        let start = [cell.data.clone(), cell.variant.clone(), cell.seed.to_string()];
        by_depth(&mut writer, &start, errors)?;
    }
    Ok(writer.into_inner()?)
}

/// The same of recordings of which nothing is learned.
fn tests_table(study: &Offline, measured: &Known) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["data", "test", "variant", "seed", "steps_ahead", "state_mse", "reward_mse"])?;
    for (cell, measured) in study.cells.iter().zip(measured) {
        let Some(Measured { elsewhere, .. }) = measured else { continue };
        for (of, errors) in cell.elsewhere.iter().zip(elsewhere) {
            let start = [&cell.data, &of.name, &cell.variant, &cell.seed.to_string()].map(String::clone);
            by_depth(&mut writer, &start, errors)?;
        }
    }
    Ok(writer.into_inner()?)
}

fn by_depth(writer: &mut csv::Writer<Vec<u8>>, start: &[String], errors: &Errors) -> Result<()> {
    for (k, (state, reward)) in errors.state.iter().zip(&errors.reward).enumerate() {
        let numbers = [state, reward].map(|x| format!("{x:.6e}"));
        writer.write_record(start.iter().cloned().chain([(k + 1).to_string()]).chain(numbers))?;
    }
    Ok(())
}

fn head(study: &Offline, measured: &Known) -> String {
    let name = study.out.file_name().unwrap_or_default().to_string_lossy();
    let done = measured.iter().flatten().count();
    let commits: BTreeSet<String> = study.cells.iter().flat_map(|cell| commits(&study.kept(cell))).collect();
    let seeds: Vec<String> = study.seeds.iter().map(u64::to_string).collect();
    let first = &study.cells[0].config;
    let mut page = format!(
        "# {name}\n\nMade by `{}`.\n\n- cells: {done} of {} finished; {} ({}) of each variant\n- commits: fitted at {}, reported at \
         {COMMIT}\n- device: {}, {} thread(s) each\n",
        this_command(),
        study.cells.len(),
        counted(seeds.len(), "seed"),
        seeds.join(", "),
        commits.into_iter().collect::<Vec<_>>().join(", "),
        first.device,
        first.threads,
    );
    let _ = write!(
        page,
        "\nThe offline study of arXiv 2306.11941 (section 5): from a state and the actions that were taken, states and rewards of \
         the next {} steps are predicted. Errors are mean squared ones in units of the standard deviation of what was learned \
         from, so that 1 is about what the mean would miss by; over {} windows of episodes that were not learned from. *mean* is \
         over all {} depths, with the 95 % percentile interval of 2000 bootstrap resamples of the seeds. Other numbers are means \
         over seeds. *nothing changes* predicts that the state stays as it is, and the mean reward. CPU seconds are good to a \
         third where cells share a machine.\n",
        first.test.horizon, first.test.windows, first.test.horizon
    );
    page
}

fn section(page: &mut String, study: &Offline, of: &Data, measured: &Known) {
    let (name, [o, a]) = (&of.source.name, of.dims);
    let paths: Vec<String> = of.source.paths.iter().map(|path| format!("`{}`", path.display())).collect();
    let _ = write!(
        page,
        "\n## {name}\n\nFrom {}: {} transitions in {} episodes, {} of them to learn from; {o} numbers an observation, {a} an action. \
         Fingerprint {}.\n\n![errors of states by depth]({name}-state.svg)\n\n![errors of rewards by depth]({name}-reward.svg)\n",
        paths.join(", "),
        of.transitions,
        of.episodes,
        of.learned,
        of.fingerprint,
    );
    for part in [Part::State, Part::Reward] {
        errors(page, study, of, measured, part, None);
    }
    modes_report::write(page, study, name, measured);
    for (i, other) in of.elsewhere.iter().enumerate() {
        elsewhere(page, study, of, measured, i, other);
    }
}

/// How the same models do on a recording of which nothing was learned.
fn elsewhere(page: &mut String, study: &Offline, of: &Data, measured: &Known, i: usize, other: &Other) {
    let (name, test) = (&of.source.name, &other.source.name);
    let paths: Vec<String> = other.source.paths.iter().map(|path| format!("`{}`", path.display())).collect();
    let _ = write!(
        page,
        "\n### {name}, tested on {test}\n\nFrom {}: {} transitions in {} episodes, of which nothing was learned; units are those of \
         {name}. *times* is the mean over that on {name}'s own episodes. Fingerprint {}.\n\n\
         ![errors of states by depth]({name}-on-{test}-state.svg)\n\n![errors of rewards by depth]({name}-on-{test}-reward.svg)\n",
        paths.join(", "),
        other.transitions,
        other.episodes,
        other.fingerprint,
    );
    for part in [Part::State, Part::Reward] {
        errors(page, study, of, measured, part, Some(i));
    }
}

/// What is predicted.
#[derive(Clone, Copy)]
enum Part {
    State,
    Reward,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::State => "state",
            Part::Reward => "reward",
        }
    }

    fn of(self, errors: &Errors) -> &[f64] {
        match self {
            Part::State => &errors.state,
            Part::Reward => &errors.reward,
        }
    }
}

/// A table of the errors of all variants on the data set's own episodes or on another recording, and a picture.
fn errors(page: &mut String, study: &Offline, of: &Data, measured: &Known, part: Part, on: Option<usize>) {
    let (what, data) = (part.name(), &of.source.name);
    let other = on.map(|i| &of.elsewhere[i]);
    let nothing = part.of(other.map_or(&of.nothing, |other| &other.nothing));
    let depths: Vec<usize> = DEPTHS.into_iter().filter(|&k| k <= nothing.len()).collect();
    let columns: String = depths.iter().map(|k| format!(" {k} |")).collect();
    let _ = write!(
        page,
        "\nErrors of the {what}, so many steps ahead:\n\n| variant | parameters (dynamics) | trained on | seeds |{columns} mean |{} CPU s |\n\
         |---|---:|---:|---:|{}---:|---:|{}\n",
        if on.is_some() { " times |" } else { "" },
        "---:|".repeat(depths.len()),
        if on.is_some() { "---:|" } else { "" },
    );
    let mut curves = Vec::new();
    for variant in &study.variants {
        let cells = of_variant(study, measured, data, variant);
        let Some((cell, _)) = cells.first() else { continue };
        let found = cells.iter().map(|(_, of)| on.map_or(&of.errors, |i| &of.elsewhere[i]));
        let seeds: Vec<&[f64]> = found.map(|errors| part.of(errors)).collect();
        let at = |k: usize| seeds.iter().map(|errors| errors[k - 1]).collect::<Vec<_>>();
        let means: Vec<f64> = seeds.iter().map(|errors| mean(errors)).collect();
        let numbers: String = depths.iter().map(|&k| format!(" {} |", error(mean(&at(k))))).collect();
        let parameters = count(&cell.config.model, of.dims[0], of.dims[1]);
        let seconds: Vec<f64> = cells.iter().map(|(_, measured)| measured.cpu_seconds).collect();
        let own: Vec<f64> = cells.iter().map(|(_, measured)| mean(part.of(&measured.errors))).collect();
        let _ = writeln!(
            page,
            "| {} | {} ({}) | {} | {} |{numbers} {} |{} {} |",
            one_line(variant),
            parameters.total,
            parameters.dynamics,
            counted(cell.config.horizon(), "step"),
            cells.len(),
            interval(&means),
            if on.is_some() { format!(" {} |", number(mean(&means) / mean(&own))) } else { String::new() },
            number(mean(&seconds)),
        );
        let point = |k: usize| {
            let Estimate { value, low, high } = estimate(&at(k));
            Point { env_step: k as f64, mean: value, low, high }
        };
        let points = (1..=nothing.len()).map(point).collect();
        curves.push(Curve::of_runs(format!("{variant} ({})", counted(cells.len(), "seed")), points));
    }
    let numbers: String = depths.iter().map(|&k| format!(" {} |", error(nothing[k - 1]))).collect();
    let end = if on.is_some() { " | |" } else { " |" };
    let _ = writeln!(page, "| *nothing changes* | | | |{numbers} {} |{end}", error(mean(nothing)));
    let name = other.map_or(data.clone(), |other| format!("{data}-on-{}", other.source.name));
    draw(study, &name, what, &curves);
}

/// What makes the variants.
fn settings(page: &mut String, study: &Offline) -> Result<()> {
    *page += "\n## Settings that differ from configs/offline.toml\n\n";
    for variant in &study.variants {
        let Some(cell) = study.cells.iter().find(|cell| cell.variant == *variant) else { continue };
        let _ = writeln!(page, "- {}: {}", one_line(variant), differences(cell)?);
    }
    Ok(())
}

fn draw(study: &Offline, data: &str, what: &str, curves: &[Curve]) {
    let path = study.out.join(format!("{data}-{what}.svg"));
    let title = format!("{data}: {what}s ahead of time, offline");
    let subtitle = format!("mean over seeds, band: 95 % bootstrap interval of the mean; commit {COMMIT}");
    if let Err(error) = write_svg_over(Axes::ErrorByDepth, &path, &title, &subtitle, curves) {
        say(format_args!("warning: a picture was not drawn: {error:#}"));
        // the page would show an earlier one
        let _ = std::fs::remove_file(path);
    }
}

/// An error with three digits.
pub fn error(value: f64) -> String {
    if value.abs() < 0.01 { format!("{value:.2e}") } else { number(value) }
}

fn estimate(values: &[f64]) -> Estimate {
    let none = Estimate { value: f64::NAN, low: f64::NAN, high: f64::NAN };
    summarise(&[values.to_vec()]).map_or(none, |summary| summary.mean)
}

fn interval(values: &[f64]) -> String {
    let Estimate { value, low, high } = estimate(values);
    match values.len() {
        1 => error(value),
        _ => format!("{} [{}, {}]", error(value), error(low), error(high)),
    }
}

/// `key = value` where a cell's settings are not the defaults.
fn differences(cell: &Cell) -> Result<String> {
    let defaults = super::OfflineConfig::resolve(&[])?.entries();
    let own = cell.config.entries();
    let changed = own.iter().filter(|(key, value)| defaults.get(*key) != Some(value));
    let words: Vec<String> = changed.map(|(key, value)| format!("`{key} = {value}`")).collect();
    Ok(if words.is_empty() { "none".into() } else { words.join(", ") })
}
