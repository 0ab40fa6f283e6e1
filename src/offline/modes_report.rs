//! What an offline study says of the modes of Koopman dynamics.

use super::Offline;
use super::measured::{MODE_DEPTHS, Measured, ModeRow};
use super::report::{Known, error, of_variant};
use crate::provenance::COMMIT;
use crate::record::say;
use crate::report::{Disc, Eigenvalue, write_spectrum};
use crate::study::statistics::mean;
use crate::study::text::{cell as one_line, number};
use std::fmt::Write;

/// A mode that misses by less than this is called true.
const TRUE: f64 = 0.1;
/// The depth at which modes are called true, and which pictures show, unless windows are shorter.
const SHOWN: usize = 10;

/// A table of the modes of all variants with Koopman dynamics on a data set, and a picture.
pub fn write(page: &mut String, study: &Offline, data: &str, measured: &Known) {
    let of = |variant: &String| -> Vec<&Measured> {
        let cells = of_variant(study, measured, data, variant).into_iter();
        cells.map(|(_, measured)| measured).filter(|measured| !measured.modes.is_empty()).collect()
    };
    let variants: Vec<(&String, Vec<&Measured>)> = study
        .variants
        .iter()
        .map(|variant| (variant, of(variant)))
        .filter(|(_, of)| !of.is_empty())
        .collect();
    let Some((_, first)) = variants.first() else { return };
    let depths: Vec<usize> =
        MODE_DEPTHS.into_iter().filter(|&k| first[0].modes.iter().any(|row| row.steps_ahead == k)).collect();
    let shown = depths.iter().copied().filter(|&k| k <= SHOWN).max().unwrap_or(1);
    let columns = |what: &str| depths.iter().map(|k| format!(" {what} {k} |")).collect::<String>();
    let _ = write!(
        page,
        "\nModes: what each claims of later latents, against the encoder's latents of the states that came, over the mode's variance, \
         so that 1 is what its mean would miss by (`modes.csv` of each run). *missed* and *unchanged*, the claim that nothing changes, \
         are means over modes by their variance, so many steps ahead; *true* is the share of all variance in modes that miss by \
         less than {TRUE} after {shown}; *in half* is how many modes hold half of the variance.\n\n![eigenvalues]({data}-spectrum.svg)\n\n\
         | variant | \\|λ̄\\| least | median | greatest | in half | true |{}{}\n|---|---:|---:|---:|---:|---:|{}\n",
        columns("missed"),
        columns("unchanged"),
        "---:|".repeat(2 * depths.len()),
    );
    let mut discs = Vec::new();
    for (variant, cells) in &variants {
        let over_seeds = |of: &dyn Fn(&[ModeRow]) -> f64| {
            mean(&cells.iter().map(|cell| of(&cell.modes)).collect::<Vec<_>>())
        };
        let radius_at = |rank: fn(usize) -> usize| {
            let of_seed = |modes: &[ModeRow]| {
                let mut radii: Vec<f64> = at(modes, shown).map(radius).collect();
                radii.sort_by(f64::total_cmp);
                radii[rank(radii.len())]
            };
            number(over_seeds(&of_seed))
        };
        let by_depth = |what: fn(&ModeRow) -> f32| -> String {
            let at = |&k: &usize| {
                let values: Vec<f64> = cells.iter().map(|cell| weighed(&cell.modes, k, what)).collect();
                format!(" {} |", error(mean(&values)))
            };
            depths.iter().map(at).collect()
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |{}{}",
            one_line(variant),
            radius_at(|_| 0),
            radius_at(|n| n / 2),
            radius_at(|n| n - 1),
            format_args!("{:.1}", over_seeds(&|modes| in_half(modes, shown) as f64)),
            number(over_seeds(&|modes| share_of_true(modes, shown))),
            by_depth(|row| row.missed),
            by_depth(|row| row.changed),
        );
        let eigenvalue = |row: &ModeRow| {
            let [re, im, share, residual] = [row.re, row.im, row.share, row.missed].map(f64::from);
            Eigenvalue { re, im, share, residual }
        };
        let eigenvalues = at(&cells[0].modes, shown).map(eigenvalue).collect();
        discs.push(Disc { label: (*variant).clone(), eigenvalues });
    }
    let path = study.out.join(format!("{data}-spectrum.svg"));
    let title = format!("{data}: eigenvalues, and how true their modes are");
    let subtitle = format!("first seed; areas: shares of the latents' variance; commit {COMMIT}");
    let shade = format!("missed after {shown} steps, over the mode's variance");
    if let Err(error) = write_spectrum(&path, &title, &subtitle, &shade, &discs) {
        say(format_args!("warning: a picture was not drawn: {error:#}"));
        // the page would show an earlier one
        let _ = std::fs::remove_file(path);
    }
}

fn at(modes: &[ModeRow], k: usize) -> impl Iterator<Item = &ModeRow> {
    modes.iter().filter(move |row| row.steps_ahead == k)
}

fn radius(row: &ModeRow) -> f64 {
    f64::from(row.re).hypot(row.im.into())
}

/// A mean over modes by their variance; what does not vary misses by nothing that counts.
fn weighed(modes: &[ModeRow], k: usize, what: fn(&ModeRow) -> f32) -> f64 {
    let rows = at(modes, k).filter(|row| row.share > 0.0);
    rows.map(|row| f64::from(row.share) * f64::from(what(row))).sum()
}

fn share_of_true(modes: &[ModeRow], k: usize) -> f64 {
    at(modes, k).filter(|row| f64::from(row.missed) < TRUE).map(|row| f64::from(row.share)).sum()
}

/// How many modes hold half of the variance.
fn in_half(modes: &[ModeRow], k: usize) -> usize {
    let mut shares: Vec<f64> = at(modes, k).map(|row| f64::from(row.share)).collect();
    shares.sort_by(|a, b| b.total_cmp(a));
    let mut held = 0.0;
    let more = |share: &&f64| {
        let more = held < 0.5;
        held += **share;
        more
    };
    shares.iter().take_while(more).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mode: usize, share: f32, missed: f32) -> ModeRow {
        ModeRow { mode, re: 0.6, im: -0.8, share, steps_ahead: 10, missed, changed: 2.0 * missed }
    }

    #[test]
    fn hand_numbers() {
        let other_depth = ModeRow { steps_ahead: 1, ..row(0, 1.0, 0.5) };
        let modes = [
            row(0, 0.1, 0.05),
            row(1, 0.4, 0.5),
            row(2, 0.3, 0.01),
            row(3, 0.2, 0.1),
            row(4, 0.0, f32::NAN),
            other_depth,
        ];
        let near = |found: f64, known: f64| assert!((found - known).abs() < 1e-6, "{found}");
        near(weighed(&modes, 10, |row| row.missed), 0.005 + 0.2 + 0.003 + 0.02);
        near(weighed(&modes, 10, |row| row.changed), 2.0 * 0.228);
        // 0.1 is not less than 0.1 (in single precision it is a little more)
        near(share_of_true(&modes, 10), 0.4);
        assert_eq!(in_half(&modes, 10), 2, "0.4 and 0.3");
        near(radius(&modes[0]), 1.0);
    }
}
