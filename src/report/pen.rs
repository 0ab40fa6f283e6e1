//! Colours, strokes, fonts and pixels of a chart.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

/// plotters places everything on whole pixels, which makes curves staircases. The picture is drawn this many times
/// larger and shown at its size.
pub(super) const SCALE: u32 = 10;

/// The palette of Okabe and Ito, made to be told apart by colour-blind eyes, without its yellow, which does not show on
/// white.
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
];
/// Titles, labels of curves and axes.
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
/// Subtitle, axes and ticks.
pub(super) const FAINT_INK: RGBColor = RGBColor(102, 102, 102);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(228, 228, 228);

/// The colour of the curve with this index; after the last of the palette they begin anew.
pub(super) fn color(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()]
}

/// Whether the palette has been used up before this curve.
pub(super) fn is_used_up(index: usize) -> bool {
    index >= PALETTE.len()
}

/// The stroke of the curve with this index.
pub(super) fn line_style(index: usize) -> ShapeStyle {
    color(index).stroke_width(2 * SCALE)
}

/// A dashed line, for curves that are not told apart by colour, and for published ones.
pub(super) fn dashes<P: Clone>(
    points: Vec<P>,
    index: usize,
) -> DashedPathElement<std::vec::IntoIter<P>, u32> {
    DashedPathElement::new(points, 7 * SCALE, 5 * SCALE, line_style(index))
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
