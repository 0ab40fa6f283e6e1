//! Eigenvalues in the complex plane: how large, how fast, how true.

use super::file::write_atomically;
use super::pen::{FAINT_INK, GRID, INK, SCALE, at, font, pixels};
use anyhow::{Context, Result, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const COLUMNS: usize = 4;
/// Of a disc with the room around it.
const PANEL: (i32, i32) = (212, 236);
/// Of the unit circle, unless an eigenvalue lies outside.
const RADIUS: f64 = 92.0;
const MARGIN: i32 = 24;
const TOP: i32 = 104;

/// Residuals of this or less are drawn darkest, those of 1 or more palest.
const SMALLEST: f64 = 0.01;
const DARK: RGBColor = RGBColor(8, 69, 130);
const PALE: RGBColor = RGBColor(226, 234, 242);
/// Where there is no residual.
const ABSENT: RGBColor = RGBColor(232, 232, 232);

/// An eigenvalue of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eigenvalue {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
    /// Its mode's share of all variance: the area of its dot.
    pub share: f64,
    /// What its mode misses by over its variance: the shade of its dot.
    pub residual: f64,
}

/// The eigenvalues of a model.
#[derive(Debug, Clone)]
pub struct Disc {
    /// Below the disc.
    pub label: String,
    /// All of them.
    pub eigenvalues: Vec<Eigenvalue>,
}

/// Draws discs, four in a row, to an SVG file of 900 pixels' width; `shade` says what a residual is.
///
/// # Errors
///
/// When there is no eigenvalue, or the file cannot be written.
pub fn write_spectrum(path: &Path, title: &str, subtitle: &str, shade: &str, discs: &[Disc]) -> Result<()> {
    let svg =
        draw(title, subtitle, shade, discs).with_context(|| format!("cannot draw {}", path.display()))?;
    write_atomically(path, svg.as_bytes())
}

fn draw(title: &str, subtitle: &str, shade: &str, discs: &[Disc]) -> Result<String> {
    let all = || discs.iter().flat_map(|disc| &disc.eigenvalues);
    ensure!(all().next().is_some(), "there is no eigenvalue");
    // one scale for all discs, so that they can be compared
    let modulus = |e: &Eigenvalue| e.re.hypot(e.im);
    let largest = all().map(modulus).filter(|r| r.is_finite()).fold(1.0, f64::max);
    let unit = RADIUS / largest;
    let (width, rows) =
        (2 * MARGIN as u32 + COLUMNS as u32 * PANEL.0 as u32 + 4, discs.len().div_ceil(COLUMNS) as i32);
    let height = (TOP + rows * PANEL.1 + 14) as u32;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width * SCALE, height * SCALE)).into_drawing_area();
        root.fill(&WHITE)?;
        let write = |text: &str, place, size, color, anchor| {
            root.draw(&Text::new(text.to_owned(), at(place), font(size, color).pos(anchor)))
        };
        let left = Pos::new(HPos::Left, VPos::Bottom);
        write(title, (MARGIN, 34), 19.0, INK, left)?;
        write(subtitle, (MARGIN, 56), 13.0, FAINT_INK, left)?;
        let mut x = MARGIN + 8;
        for residual in [0.01, 0.03, 0.1, 0.3, 1.0] {
            dot(|element| root.draw(&element).map_err(Into::into), (x, 76), 6.0, residual)?;
            write(&residual.to_string(), (x + 12, 84), 13.0, INK, left)?;
            x += 60;
        }
        write(shade, (x, 84), 13.0, INK, left)?;
        for (i, disc) in discs.iter().enumerate() {
            let (column, row) = ((i % COLUMNS) as i32, (i / COLUMNS) as i32);
            let centre = (MARGIN + column * PANEL.0 + PANEL.0 / 2, TOP + row * PANEL.1 + RADIUS as i32 + 4);
            let (cx, cy) = centre;
            let r = RADIUS as i32;
            for axis in [[(cx - r, cy), (cx + r, cy)], [(cx, cy - r), (cx, cy + r)]] {
                root.draw(&PathElement::new(axis.map(at).to_vec(), GRID.stroke_width(SCALE)))?;
            }
            root.draw(&Circle::new(
                at(centre),
                (unit * f64::from(SCALE)) as i32,
                FAINT_INK.stroke_width(SCALE),
            ))?;
            let mut order: Vec<&Eigenvalue> =
                disc.eigenvalues.iter().filter(|e| modulus(e).is_finite()).collect();
            // the largest first, so that it hides none
            order.sort_by(|a, b| b.share.total_cmp(&a.share));
            for e in order {
                let place = (cx + (e.re * unit).round() as i32, cy - (e.im * unit).round() as i32);
                let size = 2.0 + 14.0 * e.share.max(0.0).sqrt();
                dot(|element| root.draw(&element).map_err(Into::into), place, size, e.residual)?;
            }
            let below = Pos::new(HPos::Center, VPos::Top);
            write(&disc.label, (cx, cy + r + 8), 13.0, INK, below)?;
        }
        root.present()?;
    }
    let drawn = format!(r#"width="{}" height="{}" viewBox"#, width * SCALE, height * SCALE);
    let shown = format!(r#"width="{width}" height="{height}" viewBox"#);
    Ok(svg.replacen(&drawn, &shown, 1))
}

/// A filled circle with a rim.
fn dot(
    draw: impl Fn(Circle<(i32, i32), i32>) -> Result<()>,
    place: (i32, i32),
    radius: f64,
    residual: f64,
) -> Result<()> {
    let radius = pixels(1) as f64 * radius;
    draw(Circle::new(at(place), radius as i32, shade(residual).filled()))?;
    draw(Circle::new(at(place), radius as i32, FAINT_INK.stroke_width(SCALE / 2)))
}

fn shade(residual: f64) -> RGBColor {
    if residual.is_nan() {
        return ABSENT;
    }
    let share = (residual.max(SMALLEST).log10() / SMALLEST.log10()).clamp(0.0, 1.0);
    let mix = |pale: u8, dark: u8| (f64::from(pale) + (f64::from(dark) - f64::from(pale)) * share) as u8;
    RGBColor(mix(PALE.0, DARK.0), mix(PALE.1, DARK.1), mix(PALE.2, DARK.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disc(label: &str, eigenvalues: &[(f64, f64, f64, f64)]) -> Disc {
        let of = |&(re, im, share, residual): &(f64, f64, f64, f64)| Eigenvalue { re, im, share, residual };
        Disc { label: label.into(), eigenvalues: eigenvalues.iter().map(of).collect() }
    }

    /// The circles of a picture behind those of the legend: centre and radius in shown pixels.
    fn circles(svg: &str) -> Vec<[f64; 3]> {
        let number = |line: &str, name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.parse::<f64>().unwrap() / f64::from(SCALE)
        };
        let lines = svg.lines().filter(|line| line.starts_with("<circle"));
        lines.map(|line| ["cx", "cy", "r"].map(|name| number(line, name))).skip(10).collect()
    }

    /// Real parts go right and imaginary ones up, by the unit circle's radius; areas are shares.
    #[test]
    fn eigenvalues_lie_where_they_should() {
        let svg =
            draw("t", "s", "residual", &[disc("koopman", &[(0.5, 0.0, 0.25, 0.1), (0.0, 1.0, 0.0, 0.1)])]);
        let svg = svg.unwrap();
        let [unit, half, _, i, _] = circles(&svg)[..] else { panic!("{:?}", circles(&svg)) };
        assert!((half[0] - unit[0] - unit[2] / 2.0).abs() <= 1.0 && half[1] == unit[1], "{unit:?} {half:?}");
        assert!((unit[1] - i[1] - unit[2]).abs() <= 1.0 && i[0] == unit[0], "{unit:?} {i:?}");
        assert_eq!((half[2], i[2]), (9.0, 2.0));
        assert!(svg.contains("koopman") && svg.starts_with(r#"<svg width="900" "#));
    }

    #[test]
    fn growing_modes_shrink_the_unit_circle_and_what_is_not_finite_is_left_out() {
        let inside = draw("", "", "", &[disc("a", &[(0.5, 0.0, 1.0, 1.0)])]).unwrap();
        let outside =
            draw("", "", "", &[disc("a", &[(2.0, 0.0, 1.0, f64::NAN), (f64::NAN, 0.0, 0.0, 1.0)])]).unwrap();
        assert!((circles(&outside)[0][2] - circles(&inside)[0][2] / 2.0).abs() < 0.2);
        assert_eq!(circles(&outside).len(), 3, "the unit circle, a dot and its rim");
        assert!(draw("", "", "", &[disc("a", &[])]).is_err());
    }

    #[test]
    fn the_truest_are_the_darkest() {
        assert_eq!((shade(0.01), shade(1e-9), shade(1.0), shade(40.0)), (DARK, DARK, PALE, PALE));
        assert!(shade(0.1).0 > DARK.0 && shade(0.1).0 < PALE.0);
        assert_eq!(shade(f64::NAN), ABSENT);
    }
}
