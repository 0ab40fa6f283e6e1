//! A table of numbers as coloured squares.

use super::axis::tick;
use super::file::write_atomically;
use super::pen::{FAINT_INK, INK, SCALE, at, font};
use anyhow::{Context, Result, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const CELL: (i32, i32) = (84, 44);
const LEFT: i32 = 130;
const TOP: i32 = 84;
const MARGIN: i32 = 24;

/// The lowest and the highest value's colours, on a ramp of blue that is as readable in grey.
const LOW: RGBColor = RGBColor(240, 246, 252);
const HIGH: RGBColor = RGBColor(8, 69, 130);
/// A cell without a value.
const ABSENT: RGBColor = RGBColor(232, 232, 232);

/// What a heat map shows.
#[derive(Debug, Clone)]
pub struct HeatMap {
    /// Above everything.
    pub title: String,
    /// One line below the title.
    pub subtitle: String,
    /// What differs from column to column, and its values.
    pub columns: (String, Vec<String>),
    /// What differs from row to row, and its values.
    pub rows: (String, Vec<String>),
    /// The value of each row and column; NaN where there is none.
    pub values: Vec<Vec<f64>>,
}

/// Draws a heat map to an SVG file; each square bears its number.
///
/// # Errors
///
/// When no value is finite, or the file cannot be written.
pub fn write_heatmap(path: &Path, map: &HeatMap) -> Result<()> {
    let svg = draw(map).with_context(|| format!("cannot draw {}", path.display()))?;
    write_atomically(path, svg.as_bytes())
}

fn draw(map: &HeatMap) -> Result<String> {
    let finite = || map.values.iter().flatten().copied().filter(|v| v.is_finite());
    ensure!(finite().next().is_some(), "no cell has a value");
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    // an estimate is all there is: an SVG does not know the fonts it will meet
    let text = 2 * MARGIN + (map.subtitle.chars().count() as f64 * 6.8) as i32;
    let width = (LEFT + CELL.0 * map.columns.1.len() as i32 + MARGIN).max(text) as u32;
    let height = (TOP + CELL.1 * map.rows.1.len() as i32 + 60) as u32;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width * SCALE, height * SCALE)).into_drawing_area();
        root.fill(&WHITE)?;
        let write = |text: &str, place, size, color, anchor| {
            root.draw(&Text::new(text.to_owned(), at(place), font(size, color).pos(anchor)))
        };
        let left = Pos::new(HPos::Left, VPos::Bottom);
        let centre = Pos::new(HPos::Center, VPos::Center);
        let right = Pos::new(HPos::Right, VPos::Center);
        write(&map.title, (MARGIN, 34), 19.0, INK, left)?;
        write(&map.subtitle, (MARGIN, 56), 13.0, FAINT_INK, left)?;
        write(&map.rows.0, (MARGIN, TOP - 6), 13.0, INK, left)?;
        let bottom = TOP + CELL.1 * map.rows.1.len() as i32;
        write(
            &map.columns.0,
            (LEFT + CELL.0 * map.columns.1.len() as i32 / 2, bottom + 42),
            13.0,
            INK,
            centre,
        )?;
        for (c, name) in map.columns.1.iter().enumerate() {
            write(name, (LEFT + CELL.0 * c as i32 + CELL.0 / 2, bottom + 16), 12.0, FAINT_INK, centre)?;
        }
        for (r, (name, values)) in map.rows.1.iter().zip(&map.values).enumerate() {
            let y = TOP + CELL.1 * r as i32;
            write(name, (LEFT - 10, y + CELL.1 / 2), 12.0, FAINT_INK, right)?;
            for (c, &value) in values.iter().enumerate() {
                let x = LEFT + CELL.0 * c as i32;
                let share = if high > low { (value - low) / (high - low) } else { 0.5 };
                let square = if value.is_finite() { blend(share) } else { ABSENT };
                let corners = [at((x + 1, y + 1)), at((x + CELL.0 - 1, y + CELL.1 - 1))];
                root.draw(&Rectangle::new(corners, square.filled()))?;
                let text = if value.is_finite() { tick(round(value)) } else { "–".into() };
                let ink = if value.is_finite() && share > 0.5 { WHITE } else { INK };
                write(&text, (x + CELL.0 / 2, y + CELL.1 / 2), 13.0, ink, centre)?;
            }
        }
        root.present()?;
    }
    let drawn = format!(r#"width="{}" height="{}" viewBox"#, width * SCALE, height * SCALE);
    Ok(svg.replacen(&drawn, &format!(r#"width="{width}" height="{height}" viewBox"#), 1))
}

/// Three digits say enough in a square.
fn round(value: f64) -> f64 {
    let digits = 2 - value.abs().max(1e-12).log10().floor() as i32;
    let unit = 10f64.powi(digits);
    if digits > 0 { (value * unit).round() / unit } else { value.round() }
}

fn blend(share: f64) -> RGBColor {
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    RGBColor(mix(LOW.0, HIGH.0), mix(LOW.1, HIGH.1), mix(LOW.2, HIGH.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: Vec<Vec<f64>>) -> HeatMap {
        HeatMap {
            title: "cheetah-run".into(),
            subtitle: "return".into(),
            columns: ("planner.num_samples".into(), vec!["64".into(), "256".into()]),
            rows: ("planner.horizon.end".into(), vec!["1".into(), "5".into()]),
            values,
        }
    }

    #[test]
    fn every_square_has_its_number_and_the_extremes_their_colours() {
        let svg = draw(&map(vec![vec![1.234, 20.0], vec![f64::NAN, 431.6]])).unwrap();
        for text in ["1.23", "20", "432", "–", "64", "256", "planner.num_samples", "planner.horizon.end"] {
            assert!(svg.lines().any(|line| line == text), "{text} is not in the picture");
        }
        for color in ["#F0F6FC", "#084582", "#E8E8E8"] {
            assert!(svg.contains(color), "{color}");
        }
    }

    #[test]
    fn equal_values_are_drawn_and_none_at_all_are_refused() {
        draw(&map(vec![vec![0.0; 2]; 2])).unwrap();
        assert!(draw(&map(vec![vec![f64::NAN; 2]; 2])).unwrap_err().to_string().contains("no cell"));
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (value, text) in [(0.012345, "0.0123"), (-12.3456, "-12.3"), (1234.56, "1235"), (0.0, "0")] {
            assert_eq!(tick(round(value)), text);
        }
    }
}
