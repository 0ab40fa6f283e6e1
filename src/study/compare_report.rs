//! What a comparison leaves to be committed: tables, pictures, the small files of its runs, and a page about them.

use super::compare::{Comparison, Tried};
use super::curves::{CurvePoint, TaskRuns, final_and_best, of_task, of_tasks};
use super::files::{commits, evaluations as evaluations_in, keep_small_files};
use super::horizons;
use super::lessons;
use super::published;
use super::statistics::{Estimate, Summary, summarise};
use super::text::{cell, counted, number, this_command};
use crate::provenance::COMMIT;
use crate::record::say;
use crate::report::{Axes, Curve, Evaluated, write_atomically, write_svg_over};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use td_koopman_envs::Source;
use toml::Value;

/// The highest return of an episode of any DMControl task: 1000 steps with rewards from 0 to 1.
const DMCONTROL_RETURN: f64 = 1000.0;
/// More curves than this are no picture.
const MOST_CURVES: usize = 10;

/// Writes everything into the comparison's folder.
pub fn write(comparison: &Comparison, tried: &[Tried]) -> Result<()> {
    let out = &comparison.out;
    let mut csv = Table::new("env");
    let mut pictures = Vec::new();
    for env in &comparison.environments {
        let (mut over_steps, mut over_seconds) = (Vec::new(), Vec::new());
        for variant in &comparison.variants {
            let runs = evaluations(tried, &env.name, variant);
            let curve = of_task(&runs);
            csv.add(&env.name, variant, &curve)?;
            let label = format!("{variant} ({})", counted(runs.len(), "seed"));
            over_steps.push(Curve::of_runs(&label, curve.iter().map(|p| p.at(p.env_step)).collect()));
            over_seconds.push(Curve::of_runs(&label, curve.iter().map(|p| p.at(p.cpu_seconds)).collect()));
        }
        pictures.push((&env.name, over_steps, over_seconds));
    }
    csv.write(out, "curves.csv")?;
    let scores = dmcontrol_scores(comparison, tried);
    if !scores.is_empty() {
        let mut csv = Table::new("tasks");
        for (variant, curve) in &scores {
            csv.add("dmcontrol", variant, curve)?;
        }
        csv.write(out, "aggregate.csv")?;
    }
    for run in tried {
        let kept = comparison.kept(run.cell);
        let came = |rows: &[Evaluated]| rows.last().map_or(0.0, |row| row.env_step);
        // a failed run does not replace one that came as far
        let is_news =
            || came(&run.evaluations) > evaluations_in(&kept, u64::MAX).map_or(0.0, |rows| came(&rows));
        // without evaluations there is no run, or it is not this study's
        if !run.evaluations.is_empty() && (run.failure.is_none() || is_news()) {
            keep_small_files(&run.files, &kept)?;
        }
    }
    for (env, over_steps, over_seconds) in pictures {
        if let Err(error) = draw(out, env, over_steps, &over_seconds) {
            say(format_args!("warning: a picture was not drawn: {error:#}"));
            // the page would show an earlier one
            for old in ["", "-cpu"].map(|what| out.join(format!("{env}{what}.svg"))) {
                let _ = std::fs::remove_file(old);
            }
        }
    }
    write_atomically(&out.join("README.md"), page(comparison, tried, &scores).as_bytes())
}

/// Draws the curves of a task, if there are any, and not too many.
fn draw(out: &Path, env: &str, mut over_steps: Vec<Curve>, over_seconds: &[Curve]) -> Result<()> {
    let last = over_steps.iter().flat_map(|curve| &curve.points).map(|p| p.env_step).fold(0.0, f64::max);
    if last == 0.0 || over_steps.len() > MOST_CURVES {
        return Ok(());
    }
    let band = "mean over seeds, band: 95 % bootstrap interval of the mean";
    over_steps.extend(published::curves(env, last)?);
    let picture = |axis, name: &str, curves: &[Curve]| {
        write_svg_over(axis, &out.join(name), env, &format!("{band}; commit {COMMIT}"), curves)
    };
    picture(Axes::EnvSteps, &format!("{env}.svg"), &over_steps)?;
    picture(Axes::CpuSeconds, &format!("{env}-cpu.svg"), over_seconds)
}

/// The evaluations of the runs of a variant on a task; runs without any are left out.
fn evaluations(tried: &[Tried], env: &str, variant: &str) -> Vec<Vec<Evaluated>> {
    let of_it = tried.iter().filter(|run| run.cell.env == env && run.cell.variant == variant);
    of_it.map(|run| run.evaluations.clone()).filter(|rows| !rows.is_empty()).collect()
}

/// The DMControl tasks, if there are several.
fn dmcontrol_tasks(comparison: &Comparison) -> Vec<&str> {
    let of_it = comparison.environments.iter().filter(|env| env.source == Source::DmControl);
    let tasks: Vec<&str> = of_it.map(|env| env.name.as_str()).collect();
    if tasks.len() < 2 { Vec::new() } else { tasks }
}

/// The normalised curve of each variant over all DMControl tasks, as far as all were trained, if there are several.
fn dmcontrol_scores<'a>(comparison: &'a Comparison, tried: &[Tried]) -> Vec<(&'a str, Vec<CurvePoint>)> {
    let tasks = dmcontrol_tasks(comparison);
    if tasks.is_empty() {
        return Vec::new();
    }
    let curve = |variant: &'a String| {
        let of_it = || comparison.cells.iter().filter(|cell| cell.variant == *variant);
        let of_task = |env: &&str| {
            let end = of_it().find(|cell| cell.env == **env).map_or(1, |cell| cell.config.steps);
            TaskRuns { end, runs: evaluations(tried, env, variant) }
        };
        let runs: Vec<TaskRuns> = tasks.iter().map(of_task).collect();
        let every = of_it().next().map_or(1, |cell| cell.config.evaluation.every);
        (variant.as_str(), of_tasks(&runs, DMCONTROL_RETURN, every))
    };
    comparison.variants.iter().map(curve).collect()
}

/// A CSV of curves.
struct Table(csv::Writer<Vec<u8>>);

impl Table {
    fn new(first: &str) -> Self {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = [
            first,
            "variant",
            "env_step",
            "cpu_seconds",
            "runs",
            "mean",
            "mean_low",
            "mean_high",
            "iqm",
            "iqm_low",
            "iqm_high",
            "min",
            "max",
        ];
        writer.write_record(header).expect("memory takes every row");
        Self(writer)
    }

    fn add(&mut self, env: &str, variant: &str, curve: &[CurvePoint]) -> Result<()> {
        for point in curve {
            let (mean, iqm) = (point.summary.mean, point.summary.iqm);
            let numbers =
                [mean.value, mean.low, mean.high, iqm.value, iqm.low, iqm.high, point.min, point.max];
            let seconds = if point.cpu_seconds.is_finite() {
                format!("{:.1}", point.cpu_seconds)
            } else {
                String::new()
            };
            let start = [env.into(), variant.into(), point.env_step.to_string(), seconds];
            let runs = [point.summary.runs.to_string()];
            self.0.write_record(start.into_iter().chain(runs).chain(numbers.map(|x| format!("{x:.5}"))))?;
        }
        Ok(())
    }

    fn write(self, out: &Path, name: &str) -> Result<()> {
        write_atomically(&out.join(name), &self.0.into_inner()?)
    }
}

fn page(comparison: &Comparison, tried: &[Tried], scores: &[(&str, Vec<CurvePoint>)]) -> String {
    let mut page = String::new();
    let name = comparison.out.file_name().unwrap_or_default().to_string_lossy();
    let finished = tried.iter().filter(|run| run.failure.is_none()).count();
    let commits: BTreeSet<String> = tried.iter().flat_map(|run| commits(&run.files)).collect();
    let seeds: Vec<String> = comparison.seeds.iter().map(u64::to_string).collect();
    let _ = write!(
        page,
        "# {name}\n\nMade by `{}`.\n\n- runs: {} of {} finished; {} ({}) of each variant\n- commits: trained at {}, \
         reported at {COMMIT}\n- device: {}, {} thread(s) each\n",
        this_command(),
        finished,
        comparison.cells.len(),
        counted(seeds.len(), "seed"),
        seeds.join(", "),
        commits.into_iter().collect::<Vec<_>>().join(", "),
        tried.first().map_or("", |run| run.cell.config.device.as_str()),
        tried.first().map_or(1, |run| run.cell.config.threads),
    );
    page += "\nReturns are means over evaluation episodes without exploration noise. *mean* and *IQM* (interquartile mean over \
             runs, Agarwal et al. 2021) are over the finished runs, with 95 % percentile intervals of 2000 bootstrap resamples of \
             the seeds within each task. *best* is the mean of each run's best evaluation, which is optimistic.\n";
    if let Some(plan) = &comparison.plan {
        lessons::write(&mut page, comparison, tried, plan);
    }
    summary_table(&mut page, comparison, tried);
    score_table(&mut page, comparison, tried);
    horizons::write(&mut page, comparison, tried);
    page += "\n## Runs\n\n| env | variant | seed | final return | best return | env steps | CPU s | |\n|---|---|---:|---:|---:|---:|---:|---|\n";
    for run in tried {
        let (last, best) = final_and_best(&run.evaluations).unwrap_or((f64::NAN, f64::NAN));
        let (steps, seconds) =
            run.evaluations.last().map_or((0.0, 0.0), |row| (row.env_step, row.cpu_seconds));
        let state = run.failure.as_ref().map_or("finished".into(), |why| format!("failed: {}", cell(why)));
        let c = run.cell;
        let (env, variant, seed) = (&c.env, &c.variant, c.seed);
        let (last, best) = (number(last), number(best));
        let _ = writeln!(
            page,
            "| {env} | {variant} | {seed} | {last} | {best} | {steps:.0} | {seconds:.0} | {state} |"
        );
    }
    if comparison.plan.is_none() {
        settings_table(&mut page, comparison, tried);
    }
    page += "\n## Files\n\n`curves.csv`: every evaluation step with mean, IQM, intervals and range; ";
    if !scores.is_empty() {
        page += "`aggregate.csv`: the normalised scores; ";
    }
    page += "`runs/`: evaluations, configuration and provenance of each run.\n";
    for env in &comparison.environments {
        for (axis, end) in [("environment steps", ""), ("CPU seconds", "-cpu")] {
            let file = format!("{}{end}.svg", env.name);
            if comparison.out.join(&file).exists() {
                let _ = write!(page, "\n![{}, over {axis}]({file})\n", env.name);
            }
        }
    }
    page
}

fn with_interval(e: Estimate) -> String {
    format!("{} [{}, {}]", number(e.value), number(e.low), number(e.high))
}

fn summary_table(page: &mut String, comparison: &Comparison, tried: &[Tried]) {
    let mut is_complete = true;
    *page += "\n## Returns\n\n| env | variant | runs | final mean [95 %] | final IQM [95 %] | best mean [95 %] |\n|---|---|---:|---|---|---|\n";
    for env in &comparison.environments {
        for variant in &comparison.variants {
            let of_it =
                || tried.iter().filter(|run| run.cell.env == env.name && run.cell.variant == *variant);
            let ends: Vec<(f64, f64)> = of_it()
                .filter(|run| run.failure.is_none())
                .filter_map(|run| final_and_best(&run.evaluations))
                .collect();
            let finals = summarise(&[ends.iter().map(|end| end.0).collect()]);
            let bests = summarise(&[ends.iter().map(|end| end.1).collect()]);
            // of one run there is none
            let told = if ends.len() > 1 { with_interval } else { |e: Estimate| number(e.value) };
            let show = |e: Option<Estimate>| e.map_or("–".into(), told);
            let (mean, iqm) = (show(finals.map(|s| s.mean)), show(finals.map(|s| s.iqm)));
            let best = show(bests.map(|s| s.mean));
            let (runs, all) = (ends.len(), of_it().count());
            if all == 0 {
                continue; // its turn has not come
            }
            is_complete &= runs == all;
            let bold = if runs == all { "" } else { "**" };
            let _ = writeln!(
                page,
                "| {} | {variant} | {bold}{runs} of {all}{bold} | {mean} | {iqm} | {best} |",
                env.name
            );
        }
    }
    // a last decision may take a few steps too many
    let beyond = |run: &&Tried| {
        let (config, last) = (&run.cell.config, run.evaluations.last().map_or(0.0, |e| e.env_step));
        last - config.steps as f64 > (0.01 * config.steps as f64).max(16.0 * config.train.num_envs as f64)
    };
    let further = tried.iter().filter(beyond).count();
    if further > 0 {
        let _ = writeln!(
            page,
            "\n**Not alike**: {} trained for more steps than the study asks for without an evaluation there; the next one counts, see \
             `env steps` below.",
            counted(further, "run")
        );
    }
    if !is_complete {
        *page += "\n**Bold**: the other runs failed, as told below, and take no part in the row.\n";
    }
}

/// Tasks and runs count once each, whenever they were trained for: a run has the score of its last evaluation.
fn score_table(page: &mut String, comparison: &Comparison, tried: &[Tried]) {
    let tasks = dmcontrol_tasks(comparison);
    if tasks.is_empty() {
        *page += "\nThere is no score over tasks: only several DMControl tasks have returns on one scale.\n";
        return;
    }
    *page += "\n## Score over the DMControl tasks\n\nThe last returns of all runs that were evaluated, failed ones too, divided by 1000, the highest return of every DMControl task; \
              other tasks take no part.\n\n| variant | runs | mean [95 %] | IQM [95 %] |\n|---|---:|---|---|\n";
    for variant in &comparison.variants {
        let last = |runs: Vec<Vec<Evaluated>>| -> Vec<f64> {
            let ends = runs.iter().filter_map(|rows| final_and_best(rows));
            ends.map(|(last, _)| last / DMCONTROL_RETURN).collect()
        };
        let scores: Vec<_> = tasks.iter().map(|env| last(evaluations(tried, env, variant))).collect();
        let Some(Summary { mean, iqm, runs }) = summarise(&scores) else {
            let _ = writeln!(page, "| {variant} | not every task has a run | – | – |");
            continue;
        };
        let _ = writeln!(page, "| {variant} | {runs} | {} | {} |", with_interval(mean), with_interval(iqm));
    }
}

/// The keys in which the variants differ; options of the environment are there only where they are set.
fn settings_table(page: &mut String, comparison: &Comparison, tried: &[Tried]) {
    let of = |variant: &String| {
        let mut entries = tried.iter().find(|run| run.cell.variant == *variant)?.cell.config.entries();
        // as it is called beside options
        if let Some(name) = entries.remove("env") {
            entries.insert("env.name".into(), name);
        }
        Some(entries)
    };
    let (labels, entries): (Vec<_>, Vec<_>) =
        comparison.variants.iter().filter_map(|variant| Some((variant.as_str(), of(variant)?))).unzip();
    let Some(first) = entries.first() else { return };
    let keys: BTreeSet<&String> = entries.iter().flat_map(|e| e.keys()).collect();
    let differing: Vec<&String> =
        keys.into_iter().filter(|key| entries.iter().any(|e| e.get(*key) != first.get(*key))).collect();
    let _ = write!(page, "\n## Settings\n\nAll keys are in the `config.toml` of each run. ");
    if differing.is_empty() {
        *page += "The variants have the same settings.\n";
        return;
    }
    let labels = labels.join(" | ");
    let _ = write!(
        page,
        "The variants differ in:\n\n| key | {labels} |\n|---|{}\n",
        "---|".repeat(entries.len())
    );
    for key in differing {
        let value = |e: &BTreeMap<String, Value>| e.get(key).map_or("–".into(), |x| cell(&x.to_string()));
        let values: Vec<String> = entries.iter().map(value).collect();
        let _ = writeln!(page, "| `{key}` | {} |", values.join(" | "));
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::comparison;
    use super::*;
    use std::fs;

    /// The report of runs, each with these steps and returns, in a folder; the runs of `failed` seeds have failed.
    fn report(folder: &Path, line: &str, rows: &[(f64, f64)], failed: &[u64]) -> String {
        let mut comparison = comparison(line).unwrap();
        comparison.out = folder.join("x");
        let row = |&(env_step, return_mean): &(f64, f64)| Evaluated {
            env_step,
            return_mean,
            return_sd: 0.0,
            cpu_seconds: env_step,
        };
        let tried = comparison.cells.iter().map(|cell| Tried {
            cell,
            files: folder.join("run"),
            evaluations: rows.iter().map(row).collect(),
            failure: failed.contains(&cell.seed).then(|| "exit code 1".into()),
        });
        write(&comparison, &tried.collect::<Vec<_>>()).unwrap();
        fs::read_to_string(folder.join("x/README.md")).unwrap()
    }

    const ROWS: [(f64, f64); 2] = [(200.0, 1.0), (400.0, 2.0)];

    /// After all training the report panicked: without options an environment has no key `env.g`.
    #[test]
    fn variants_may_differ_in_options_of_their_environment() {
        let folder = tempfile::tempdir().unwrap();
        let line = "--env pendulum --variants koopman,g:env.g=3 --seeds 1";
        let page = report(folder.path(), line, &ROWS, &[]);
        assert!(page.contains("|---|---|---|\n| `env.g` | – | 3 |\n"), "{page}");
        assert!(
            !page.contains("`env.name`") && page.contains("![pendulum, over CPU seconds](pendulum-cpu.svg)")
        );
    }

    #[test]
    fn a_row_without_the_failed_seeds_is_marked() {
        let folder = tempfile::tempdir().unwrap();
        let line = "--env pendulum --variants koopman --seeds 1..2";
        let page = report(folder.path(), line, &ROWS, &[2]);
        assert!(page.contains("| **1 of 2** | 2.000 | 2.000 |") && page.contains("**Bold**: "), "{page}");
        let page = report(folder.path(), line, &ROWS, &[]);
        assert!(page.contains("| 2 of 2 | 2.000 [") && !page.contains("**"), "{page}");
    }

    /// Runs of a longer study once stood beside shorter ones without a word.
    #[test]
    fn evaluations_after_more_steps_than_asked_for_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let line = |steps: u64| format!("--env pendulum --variants koopman --seeds 1..2 --steps {steps}");
        let page = report(folder.path(), &line(300), &ROWS, &[]);
        assert!(page.contains("**Not alike**: 2 runs trained for more steps"), "{page}");
        let page = report(folder.path(), &line(399), &ROWS, &[]);
        assert!(!page.contains("Not alike"), "{page}");
    }

    /// Names too long for a legend cost the tables, the kept files and the page as well.
    #[test]
    fn a_picture_that_cannot_be_drawn_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let variants: Vec<String> =
            (0..10).map(|i| format!("{}{i}:learner.rho=0.{i}", "long".repeat(20))).collect();
        let line = format!("--env pendulum --variants {} --seeds 1", variants.join(","));
        let page = report(folder.path(), &line, &ROWS, &[]);
        assert!(page.contains("| 1 of 1 | 2.000 | 2.000 |") && !page.contains("!["), "{page}");
        assert!(folder.path().join("x/curves.csv").exists());
    }

    /// Asked for more steps without the run's folder, a finished run was trained anew, failed earlier, and was replaced.
    #[test]
    fn a_failed_run_replaces_none_that_came_as_far() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("x/runs/pendulum/koopman/seed1/eval.csv");
        let before = "env_step,return_mean,return_sd\n200,1,0\n400,2,0\n";
        write_atomically(&folder.path().join("run/eval.csv"), b"the run's").unwrap();
        let line = "--env pendulum --variants koopman --seeds 1";
        for (rows, failed, text) in [
            (&ROWS[..], &[1][..], before),
            (&[(200.0, 1.0), (500.0, 2.0)], &[1], "the run's"),
            (&ROWS, &[], "the run's"),
        ] {
            write_atomically(&kept, before.as_bytes()).unwrap();
            report(folder.path(), line, rows, failed);
            assert_eq!(fs::read_to_string(&kept).unwrap(), text);
        }
    }

    /// A variant that is evaluated twice as often had its evaluations at the first variant's steps.
    #[test]
    fn scores_are_at_the_steps_of_their_own_variant() {
        let folder = tempfile::tempdir().unwrap();
        let line = "--env cartpole-swingup,cheetah-run --variants koopman,often:evaluation.every=500 --seeds 1 \
                    --steps 1000 --set evaluation.every=1000";
        report(folder.path(), line, &[(504.0, 1.0), (1000.0, 2.0)], &[]);
        let scores = fs::read_to_string(folder.path().join("x/aggregate.csv")).unwrap();
        assert!(scores.contains("\ndmcontrol,often,500,"), "{scores}");
    }
}
