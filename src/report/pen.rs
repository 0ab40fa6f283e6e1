//! Colours, strokes, fonts and pixels of a chart.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// plotters places everything on whole pixels, which makes curves staircases. The picture is drawn this many times
/// larger and shown at its size.
pub(super) const SCALE: u32 = 10;

/// The palette of Okabe and Ito, made to be told apart by colour-blind eyes, without its yellow, which does not show on
/// white, and its black: greys are for what others published.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const GREYS: [RGBColor; 3] = [RGBColor(60, 60, 60), RGBColor(120, 120, 120), RGBColor(170, 170, 170)];
/// Titles, labels of curves and axes.
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
/// Subtitle, axes and ticks.
pub(super) const FAINT_INK: RGBColor = RGBColor(102, 102, 102);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);

/// The stroke of a curve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pen {
    pub color: RGBColor,
    pub dashed: bool,
}

impl Pen {
    /// Of our curve with this index: when no colour is left they begin anew, dashed.
    pub fn ours(index: usize) -> Self {
        Self { color: PALETTE[index % PALETTE.len()], dashed: index / PALETTE.len() % 2 == 1 }
    }

    /// Of the published curve with this index.
    pub fn published(index: usize) -> Self {
        Self { color: GREYS[index % GREYS.len()], dashed: true }
    }

    pub fn style(self) -> ShapeStyle {
        self.color.stroke_width(2 * SCALE)
    }

    /// A dashed line through these points.
    pub fn dashes<P: Clone>(self, points: Vec<P>) -> DashedPathElement<std::vec::IntoIter<P>, u32> {
        DashedPathElement::new(points, 7 * SCALE, 5 * SCALE, self.style())
    }
}

/// A font whose letters have this size in pixels of the picture as it is shown.
pub(super) fn font(size: f64, color: RGBColor) -> TextStyle<'static> {
    // plotters-svg writes a font size that is smaller by this factor than the one it was given
    ("sans-serif", size * 1.24 * f64::from(SCALE)).into_font().color(&color)
}

/// A place in the picture as it is shown.
pub(super) fn at((x, y): (i32, i32)) -> (i32, i32) {
    (pixels(x), pixels(y))
}

/// A length in the picture as it is shown.
pub(super) fn pixels(length: i32) -> i32 {
    length * SCALE as i32
}
