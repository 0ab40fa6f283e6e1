//! What a sweep leaves to be committed: its cells as a table, heat maps, the price of returns, and a page about them.

use super::Sweep;
use super::cell::{Cell, Measured};
use super::file::{Settings, Subject, words};
use crate::provenance::COMMIT;
use crate::record::say;
use crate::report::{Dot, HeatMap, Scatter, write_atomically, write_heatmap, write_scatter};
use crate::study::pareto;
use crate::study::statistics::mean;
use crate::study::text::{cell as one_line, number, this_command};
use anyhow::Result;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

type Known = [Option<(Measured, String)>];

impl Subject {
    /// The column of the cost, and what it is in words.
    fn cost(&self) -> [&'static str; 2] {
        match self {
            Subject::Plan { .. } => ["ms_per_plan", "CPU ms per plan"],
            Subject::Train { .. } => ["cpu_seconds", "CPU seconds of training"],
        }
    }
}

/// Writes `cells.csv`: a row for each cell that is finished.
pub fn write_cells(sweep: &Sweep, known: &Known) -> Result<()> {
    let keys = sweep.file.keys();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["cell", "id"].into_iter().chain(keys.iter().map(String::as_str));
    let [cost, _] = sweep.file.subject.cost();
    writer.write_record(header.chain([
        "return_mean",
        "return_sd",
        "return_best",
        "episodes",
        cost,
        "commit",
    ]))?;
    for (cell, known) in sweep.cells.iter().zip(known) {
        let Some((m, commit)) = known else { continue };
        let values = keys.iter().map(|key| value(&cell.settings, key));
        let numbers = [m.return_mean, m.return_sd, m.return_best].map(|x| x.to_string());
        let tail = [m.episodes.to_string(), m.cost.to_string(), commit.clone()];
        writer.write_record(
            [cell.number.to_string(), cell.id()].into_iter().chain(values).chain(numbers).chain(tail),
        )?;
    }
    write_atomically(&sweep.out.join("cells.csv"), &writer.into_inner()?)
}

/// Writes everything into the sweep's folder.
pub fn write(sweep: &Sweep, known: &Known, failures: &[Option<String>]) -> Result<()> {
    write_cells(sweep, known)?;
    write_atomically(&sweep.out.join("sweep.toml"), sweep.text.as_bytes())?;
    let groups = groups(sweep, known);
    let subtitle = format!("{}; commit {COMMIT}", what(sweep));
    let mut pictures: Vec<(String, &str)> = Vec::new();
    // the page is worth more than its pictures
    let mut draw = |title: &str, name, write: &dyn Fn(&Path) -> Result<()>| match write(&sweep.out.join(name))
    {
        Ok(()) => pictures.push((title.to_owned(), name)),
        Err(error) => say(format_args!("warning: a picture was not drawn: {error:#}")),
    };
    if let Some(keys) = heatmap_keys(sweep)
        && !groups.is_empty()
    {
        let [_, cost] = sweep.file.subject.cost();
        for (name, title, of) in [
            ("heatmap-return.svg", "return", (|g: &Group| g.value) as fn(&Group) -> f64),
            ("heatmap-cost.svg", cost, |g: &Group| g.cost),
        ] {
            let map = heatmap(title, &subtitle, &keys, sweep, &groups, of);
            draw(title, name, &|path| write_heatmap(path, &map));
        }
    }
    let front = pareto::front(&groups.iter().map(|g| (g.cost, g.value)).collect::<Vec<_>>());
    if !groups.is_empty() {
        let scatter = scatter(sweep, &subtitle, &groups, &front);
        draw("return against cost, the Pareto front marked", "pareto.svg", &|path| {
            write_scatter(path, &scatter)
        });
    }
    let page = page(sweep, known, failures, &groups, &front, &pictures);
    write_atomically(&sweep.out.join("README.md"), page.as_bytes())
}

/// Cells that differ in their seed only, as one.
struct Group {
    settings: Settings,
    label: String,
    value: f64,
    /// Standard deviation over seeds; of one seed, over its episodes.
    spread: f64,
    cost: f64,
}

fn groups(sweep: &Sweep, known: &Known) -> Vec<Group> {
    let without_seed = |cell: &Cell| {
        let mut cell = cell.clone();
        cell.settings.remove("seed");
        cell
    };
    let mut members: Vec<(Cell, Vec<Measured>)> = Vec::new();
    for (cell, known) in sweep.cells.iter().zip(known) {
        let Some((measured, _)) = known else { continue };
        let cell = without_seed(cell);
        match members.iter_mut().find(|(first, _)| first.settings == cell.settings) {
            Some((_, all)) => all.push(*measured),
            None => members.push((cell, vec![*measured])),
        }
    }
    let group = |(cell, all): (Cell, Vec<Measured>)| {
        let value = mean(&all.iter().map(|m| m.return_mean).collect::<Vec<_>>());
        let spread = match &all[..] {
            [one] => one.return_sd,
            _ => mean(&all.iter().map(|m| (m.return_mean - value).powi(2)).collect::<Vec<_>>()).sqrt(),
        };
        let cost = mean(&all.iter().map(|m| m.cost).collect::<Vec<_>>());
        Group { label: cell.label(), settings: cell.settings, value, spread, cost }
    };
    members.into_iter().map(group).collect()
}

/// The keys asked for, or the two there are.
fn heatmap_keys(sweep: &Sweep) -> Option<[String; 2]> {
    let swept = || sweep.file.keys().into_iter().filter(|key| key != "seed");
    sweep.file.heatmap.clone().or_else(|| <[String; 2]>::try_from(swept().collect::<Vec<_>>()).ok())
}

fn value(settings: &Settings, key: &str) -> String {
    settings.get(key).map_or(String::new(), |value| value.to_string().replace('"', ""))
}

/// Cells that other keys tell apart are averaged in their square.
fn heatmap(
    title: &str,
    subtitle: &str,
    [column, row]: &[String; 2],
    sweep: &Sweep,
    groups: &[Group],
    of: fn(&Group) -> f64,
) -> HeatMap {
    let values = |key: &str| {
        let mut values: Vec<String> = Vec::new();
        for cell in &sweep.cells {
            let value = value(&cell.settings, key);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    };
    let (columns, rows) = (values(column), values(row));
    let square = |r: &String, c: &String| {
        let here = |g: &&Group| value(&g.settings, row) == *r && value(&g.settings, column) == *c;
        mean(&groups.iter().filter(here).map(of).collect::<Vec<_>>())
    };
    let values = rows.iter().map(|r| columns.iter().map(|c| square(r, c)).collect()).collect();
    HeatMap {
        title: title.into(),
        subtitle: subtitle.into(),
        columns: (column.clone(), columns),
        rows: (row.clone(), rows),
        values,
    }
}

fn scatter(sweep: &Sweep, subtitle: &str, groups: &[Group], front: &[usize]) -> Scatter {
    let dot = |g: &Group| {
        let label = format!("{}, {} at {}", g.label, number(g.value), number(g.cost));
        Dot { cost: g.cost, value: g.value, spread: g.spread, label }
    };
    let [_, cost] = sweep.file.subject.cost();
    Scatter {
        title: format!("return against {cost}"),
        subtitle: subtitle.into(),
        cost_label: cost.into(),
        dots: groups.iter().map(dot).collect(),
        front: front.to_vec(),
    }
}

fn what(sweep: &Sweep) -> String {
    match &sweep.file.subject {
        Subject::Plan { run, episodes, .. } => {
            let env = sweep.cells.first().map_or("", |cell| cell.config.env.name.as_str());
            format!("{env}, {episodes} episodes a cell with the agent of {}", run.display())
        }
        Subject::Train { preset } => format!("training, preset {}", preset.name()),
    }
}

fn page(
    sweep: &Sweep,
    known: &Known,
    failures: &[Option<String>],
    groups: &[Group],
    front: &[usize],
    pictures: &[(String, &str)],
) -> String {
    let name = sweep.out.file_name().unwrap_or_default().to_string_lossy();
    let commits: BTreeSet<&str> = known.iter().flatten().map(|(_, commit)| commit.as_str()).collect();
    let commits: Vec<&str> = commits.into_iter().collect();
    let (finished, all) = (known.iter().flatten().count(), known.len());
    let mut page = format!(
        "# {name}\n\nMade by `{}` from the file `sweep.toml` beside this page: {}.\n\n- cells: {finished} of {all} finished\n- \
         commits: measured at {}, reported at {COMMIT}\n",
        this_command(),
        what(sweep),
        commits.join(", "),
    );
    if let Some(cell) = sweep.cells.first() {
        let _ = writeln!(page, "- device: {}, {} thread(s) a cell", cell.config.device, cell.config.threads);
    }
    if !sweep.file.common.is_empty() {
        let _ = writeln!(page, "- settings of all cells: `{}`", words(&sweep.file.common));
    }
    let [_, cost] = sweep.file.subject.cost();
    page += match sweep.file.subject {
        Subject::Plan { .. } => {
            "\nReturns are means ± standard deviations over episodes, the same seeded ones in every cell, without exploration \
             noise. CPU ms per plan are process CPU time of all decisions.\n"
        }
        Subject::Train { .. } => {
            "\nReturns are those of the last evaluation, ± the standard deviation over its episodes. CPU seconds are of training, \
             evaluations not counted.\n"
        }
    };
    if sweep.file.keys().iter().any(|key| *key == "seed") {
        page += "Pictures and the Pareto front are of means over seeds.\n";
    }
    let on_front: Vec<&Settings> = front.iter().map(|&i| &groups[i].settings).collect();
    let keys = sweep.file.keys();
    let header = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" | ");
    let _ = write!(
        page,
        "\n| cell | {header} | return | best | {cost} | |\n|---:|{}---|---:|---:|---|\n",
        "---:|".repeat(keys.len())
    );
    for ((cell, known), failure) in sweep.cells.iter().zip(known).zip(failures) {
        let values: Vec<String> = keys.iter().map(|key| one_line(&value(&cell.settings, key))).collect();
        let mut settings = cell.settings.clone();
        settings.remove("seed");
        let numbers = known.as_ref().map_or(["–".into(), "–".into(), "–".into()], |(m, _)| {
            [
                format!("{} ± {}", number(m.return_mean), number(m.return_sd)),
                number(m.return_best),
                number(m.cost),
            ]
        });
        let note = match failure {
            Some(why) => format!("failed: {}", one_line(why)),
            None if known.is_some() && on_front.contains(&&settings) => "on the Pareto front".into(),
            None => String::new(),
        };
        let _ =
            writeln!(page, "| {} | {} | {} | {note} |", cell.number, values.join(" | "), numbers.join(" | "));
    }
    for (title, file) in pictures {
        let _ = write!(page, "\n![{title}]({file})\n");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell without a cost has no place in the picture of costs, which cost the page as well.
    #[test]
    fn a_picture_that_cannot_be_drawn_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("s.toml"), folder.path().join("out"));
        let text =
            "kind = \"train\"\nset.env = \"pendulum\"\n[grid]\n\"learner.rho\" = [0.5]\nsteps = [1000]";
        std::fs::write(&file, text).unwrap();
        let sweep = Sweep::load(&file, Some(&out)).unwrap();
        let measured =
            Measured { return_mean: 1.0, return_sd: 0.0, return_best: 1.0, episodes: 1, cost: 0.0 };
        write(&sweep, &[Some((measured, "c".into()))], &[None]).unwrap();
        let page = std::fs::read_to_string(out.join("README.md")).unwrap();
        assert!(page.contains("1 of 1 finished") && page.contains("heatmap-return.svg"), "{page}");
        assert!(!page.contains("pareto.svg") && !out.join("pareto.svg").exists(), "{page}");
    }
}
