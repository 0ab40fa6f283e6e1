//! Learning curves as an SVG picture.

use super::axis::{error_tick, step_range, tick, value_range};
use super::curve::{Curve, Origin, Point};
use super::file::write_atomically;
use super::pen::{FAINT_INK, GRID, INK, Pen, SCALE, at, font, pixels};
use anyhow::{Context, Result, ensure};
use plotters::coord::{Shift, types::RangedCoordf64};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 540;

/// With more points than this, markers would hide the line.
const MOST_MARKERS: usize = 60;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What the curves are drawn against, and what they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// Returns over environment steps trained for.
    EnvSteps,
    /// Returns over CPU seconds of training.
    CpuSeconds,
    /// Errors, on a logarithmic scale, over the steps that were predicted ahead.
    ErrorByDepth,
}

impl Axes {
    fn x(self) -> &'static str {
        match self {
            Axes::EnvSteps => "environment steps",
            Axes::CpuSeconds => "CPU seconds of training",
            Axes::ErrorByDepth => "steps ahead",
        }
    }

    fn y(self) -> &'static str {
        match self {
            Axes::EnvSteps | Axes::CpuSeconds => "return",
            Axes::ErrorByDepth => "mean squared error",
        }
    }

    /// Where a value stands on the y axis.
    fn place(self, value: f64) -> f64 {
        match self {
            Axes::EnvSteps | Axes::CpuSeconds => value,
            Axes::ErrorByDepth => value.log10(),
        }
    }

    /// What stands at a place of the y axis.
    fn tick(self, place: f64) -> String {
        match self {
            Axes::EnvSteps | Axes::CpuSeconds => tick(place),
            Axes::ErrorByDepth => error_tick(10f64.powf(place)),
        }
    }

    fn placed(self, curve: &Curve) -> Curve {
        let place = |p: &Point| Point {
            mean: self.place(p.mean),
            low: self.place(p.low),
            high: self.place(p.high),
            ..*p
        };
        Curve { points: curve.points.iter().map(place).collect(), ..curve.clone() }
    }
}

/// Draws learning curves against environment steps; see [`write_svg_over`].
pub fn write_svg(path: &Path, title: &str, subtitle: &str, curves: &[Curve]) -> Result<()> {
    write_svg_over(Axes::EnvSteps, path, title, subtitle, curves)
}

/// Draws learning curves, each a line with its band, to an SVG file of 900 × 540 on white.
///
/// `subtitle` is one line of at most 120 characters or so that says what is shown: the task, what the band is, how many
/// seeds. A value that is not finite leaves a gap; a curve without any value is named in the legend as such.
///
/// # Errors
///
/// When no curve has a point, or the file cannot be written.
pub fn write_svg_over(axes: Axes, path: &Path, title: &str, subtitle: &str, curves: &[Curve]) -> Result<()> {
    let svg = draw_over(axes, title, subtitle, curves)
        .with_context(|| format!("cannot draw {}", path.display()))?;
    write_atomically(path, svg.as_bytes())
}

fn draw_over(axes: Axes, title: &str, subtitle: &str, curves: &[Curve]) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH * SCALE, HEIGHT * SCALE)).into_drawing_area();
        draw_on(&root, axes, title, subtitle, curves)?;
        root.present()?;
    }
    let drawn = format!(r#"width="{}" height="{}" viewBox"#, WIDTH * SCALE, HEIGHT * SCALE);
    let shown = format!(r#"width="{WIDTH}" height="{HEIGHT}" stroke-linejoin="round" viewBox"#);
    Ok(svg.replacen(&drawn, &shown, 1))
}

fn draw_on(root: &Canvas, axes: Axes, title: &str, subtitle: &str, curves: &[Curve]) -> Result<()> {
    let placed: Vec<Curve> = curves.iter().map(|curve| axes.placed(curve)).collect();
    let curves = &placed[..];
    let shown: Vec<Vec<&[Point]>> = curves.iter().map(|curve| segments(&curve.points)).collect();
    let points = || shown.iter().flatten().copied().flatten();
    ensure!(
        points().next().is_some(),
        "no curve has a point; wait for the first evaluation, or look into the eval.csv files"
    );
    let (first, last) = extent(points().map(|point| point.env_step));
    let (low, high) = extent(points().flat_map(|point| [point.mean, band(point).0, band(point).1]));

    root.fill(&WHITE)?;
    write_text(root, title, (24, 34), 19.0, INK)?;
    write_text(root, subtitle, (24, 56), 13.0, FAINT_INK)?;
    let legend_start = if subtitle.is_empty() { 64 } else { 84 };
    let entries: Vec<String> = curves
        .iter()
        .zip(&shown)
        .map(|(curve, segments)| {
            curve.label.clone() + if segments.is_empty() { " (no evaluation)" } else { "" }
        })
        .collect();
    let pens = pens(curves);
    let legend_end = draw_legend(root, &entries, &pens, legend_start)?;

    ensure!(
        legend_end < HEIGHT as i32 / 2,
        "the names of {} curves leave no room for the curves; draw fewer, or give them shorter names",
        curves.len()
    );

    let (_, below) = root.split_vertically(pixels(legend_end + 6));
    let mut plot = ChartBuilder::on(&below)
        .margin_left(pixels(14))
        .margin_right(pixels(24))
        .margin_bottom(pixels(10))
        .x_label_area_size(pixels(46))
        .y_label_area_size(pixels(64))
        .build_cartesian_2d(step_range(first, last), value_range(low, high))?;
    plot.configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID.stroke_width(SCALE))
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT_INK.stroke_width(SCALE))
        .set_all_tick_mark_size(pixels(4))
        .x_labels(8)
        .y_labels(7)
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|place| axes.tick(*place))
        .label_style(font(12.0, FAINT_INK))
        .axis_desc_style(font(13.0, INK))
        .x_desc(axes.x())
        .y_desc(axes.y())
        .draw()?;
    // all bands first, so that none hides a line
    for (segments, pen) in shown.iter().zip(&pens) {
        segments.iter().try_for_each(|segment| draw_band(&mut plot, segment, pen.color))?;
    }
    for (segments, &pen) in shown.iter().zip(&pens) {
        segments.iter().try_for_each(|segment| draw_line(&mut plot, segment, pen))?;
        let count: usize = segments.iter().map(|segment| segment.len()).sum();
        if count <= MOST_MARKERS {
            draw_markers(&mut plot, segments, pen.color)?;
        }
    }
    Ok(())
}

/// Of each curve: ours and published ones are counted apart.
fn pens(curves: &[Curve]) -> Vec<Pen> {
    let (mut ours, mut published) = (0.., 0..);
    let pen = |curve: &Curve| match curve.origin {
        Origin::Published => published.next().map(Pen::published),
        Origin::Runs => ours.next().map(Pen::ours),
    };
    curves.iter().filter_map(pen).collect()
}

/// Draws the legend in rows that begin at `y`, and returns where the last one ends.
///
/// It stands above the plot, where no curve can run under it.
fn draw_legend(root: &Canvas, entries: &[String], pens: &[Pen], mut y: i32) -> Result<i32> {
    let mut x = 24;
    for (entry, pen) in entries.iter().zip(pens) {
        // An estimate is all there is: an SVG does not know the fonts it will meet.
        let width = 30 + (entry.chars().count() as f64 * 7.2) as i32;
        if x > 24 && x + width > WIDTH as i32 - 24 {
            (x, y) = (24, y + 20);
        }
        let swatch = vec![at((x, y)), at((x + 22, y))];
        if pen.dashed {
            root.draw(&pen.dashes(swatch))?;
        } else {
            root.draw(&PathElement::new(swatch, pen.style()))?;
        }
        write_text(root, entry, (x + 30, y + 8), 13.0, INK)?;
        x += width + 22;
    }
    Ok(y + 8)
}

fn draw_band(plot: &mut Plot, segment: &[Point], color: RGBColor) -> Result<()> {
    let upper = segment.iter().map(|point| (point.env_step, band(point).1));
    let lower = segment.iter().rev().map(|point| (point.env_step, band(point).0));
    let outline: Vec<_> = upper.chain(lower).collect();
    if let [above, below] = outline[..] {
        plot.draw_series([PathElement::new([above, below], color.mix(0.5).stroke_width(2 * SCALE))])?;
    } else {
        plot.draw_series([Polygon::new(outline, color.mix(0.16).filled())])?;
    }
    Ok(())
}

fn draw_line(plot: &mut Plot, segment: &[Point], pen: Pen) -> Result<()> {
    let line: Vec<_> = segment.iter().map(|point| (point.env_step, point.mean)).collect();
    if pen.dashed {
        plot.draw_series([pen.dashes(line)])?;
    } else {
        plot.draw_series([PathElement::new(line, pen.style())])?;
    }
    Ok(())
}

fn draw_markers(plot: &mut Plot, segments: &[&[Point]], color: RGBColor) -> Result<()> {
    let centres = segments.iter().copied().flatten().map(|point| (point.env_step, point.mean));
    plot.draw_series(centres.map(|centre| Circle::new(centre, 3 * SCALE, color.filled())))?;
    Ok(())
}

fn write_text(root: &Canvas, text: &str, (x, y): (i32, i32), size: f64, color: RGBColor) -> Result<()> {
    let style = font(size, color).pos(Pos::new(HPos::Left, VPos::Bottom));
    Ok(root.draw(&Text::new(text, at((x, y)), style))?)
}

/// Whether a value has a place in the picture: NaN and infinity have none, nor has what makes the range infinite.
fn is_drawable(value: f64) -> bool {
    value.abs() < 1e100
}

/// The runs of points that have a place in the picture.
fn segments(points: &[Point]) -> Vec<&[Point]> {
    points
        .split(|point| !is_drawable(point.env_step) || !is_drawable(point.mean))
        .filter(|segment| !segment.is_empty())
        .collect()
}

/// The edges of the band at a point; the mean where there is none.
fn band(point: &Point) -> (f64, f64) {
    let or_mean = |edge: f64| if is_drawable(edge) { edge } else { point.mean };
    (or_mean(point.low), or_mean(point.high))
}

fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(label: &str, values: &[(f64, f64)]) -> Curve {
        let points = values.iter().map(|&(env_step, mean)| Point::with_sd(env_step, mean, 1.0)).collect();
        Curve::of_runs(label, points)
    }

    fn draw(title: &str, subtitle: &str, curves: &[Curve]) -> Result<String> {
        draw_over(Axes::EnvSteps, title, subtitle, curves)
    }

    /// plotters looked for the ticks of an infinite range for ever.
    #[test]
    fn a_diverged_run_is_drawn_in_finite_time() {
        let svg = draw("", "", &[curve("koopman", &[(0.0, 1.0), (1.0, 2.0), (2.0, 1e308), (3.0, -1e308)])])
            .unwrap();
        assert_eq!(polylines(&svg).len(), 2);
        draw("", "", &[curve("koopman", &[(0.0, 1e99), (1.0, -1e99)])]).unwrap();
    }

    /// The points of each polyline that has the colour of the first curve; the legend's swatch comes first.
    fn polylines(svg: &str) -> Vec<Vec<(i32, i32)>> {
        let of_first = |line: &&str| line.starts_with("<polyline") && line.contains("stroke=\"#0072B2\"");
        let pair = |text: &str| {
            let (x, y) = text.split_once(',').unwrap();
            (x.parse().unwrap(), y.parse().unwrap())
        };
        let points = |line: &str| {
            let (_, rest) = line.split_once("points=\"").unwrap();
            rest.split_once('"').unwrap().0.split_whitespace().map(pair).collect()
        };
        svg.lines().filter(of_first).map(points).collect()
    }

    #[test]
    fn a_curve_is_a_line_a_band_and_a_legend_entry() {
        let svg = draw(
            "pendulum",
            "seed 1",
            &[curve("koopman <1> & co", &[(0.0, 0.0), (50e3, 5.0), (100e3, 10.0)])],
        );
        let svg = svg.unwrap();
        assert!(svg.starts_with(r#"<svg width="900" height="540" "#), "{}", &svg[..100]);
        for text in
            ["pendulum", "seed 1", "koopman &lt;1&gt; &amp; co", "environment steps", "return", "20k", "100k"]
        {
            assert!(svg.lines().any(|line| line == text), "{text} is not in the picture");
        }
        assert_eq!(svg.matches("<polygon").count(), 1);

        let [_, line] = &polylines(&svg)[..] else { panic!("{:?}", polylines(&svg)) };
        let [(x0, y0), (x1, y1), (x2, y2)] = line[..] else { panic!("{line:?}") };
        assert!(x0 < x1 && x1 < x2 && y0 > y1 && y1 > y2, "steps go right and returns go up: {line:?}");
        assert!(
            (x2 - 2 * x1 + x0).abs() <= 1 && (y2 - 2 * y1 + y0).abs() <= 1,
            "even points lie evenly: {line:?}"
        );
    }

    #[test]
    fn published_curves_are_dashed_and_the_axis_says_what_it_is() {
        let mut curves = [curve("ours", &[(0.0, 0.0), (9.0, 1.0)])];
        let solid = draw_over(Axes::CpuSeconds, "", "", &curves).unwrap();
        assert!(solid.contains("CPU seconds of training") && !solid.contains("environment steps"));
        curves[0].origin = Origin::Published;
        let dashed = draw("", "", &curves).unwrap();
        assert!(dashed.matches("<polyline").count() > solid.matches("<polyline").count() + 5);
    }

    #[test]
    fn errors_stand_on_a_logarithmic_scale() {
        let points = |values: [f64; 3]| {
            let point = |(i, &y): (usize, &f64)| Point { env_step: i as f64, mean: y, low: y, high: y };
            Curve::of_runs("koopman", values.iter().enumerate().map(point).collect())
        };
        let svg = draw_over(Axes::ErrorByDepth, "", "", &[points([0.01, 0.1, 1.0])]).unwrap();
        assert!(svg.contains("steps ahead") && svg.contains("mean squared error") && !svg.contains("return"));
        assert!(svg.lines().any(|line| line == "0.1"), "a tick at 0.1");
        let [_, line] = &polylines(&svg)[..] else { panic!("{:?}", polylines(&svg)) };
        let [(_, y0), (_, y1), (_, y2)] = line[..] else { panic!("{line:?}") };
        assert!(y0 > y1 && (y0 - 2 * y1 + y2).abs() <= 1, "even factors lie evenly: {line:?}");
        // no logarithm: a gap
        let svg = draw_over(Axes::ErrorByDepth, "", "", &[points([0.0, 0.1, 1.0])]).unwrap();
        assert_eq!(polylines(&svg)[1].len(), 2);
    }

    #[test]
    fn what_is_not_finite_is_a_gap() {
        let values = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 4.0), (4.0, 3.0), (5.0, f64::INFINITY)];
        let mut gap = curve("koopman", &values);
        gap.points[0].high = f64::NAN;
        let svg = draw("", "", &[gap]).unwrap();
        let lengths: Vec<usize> = polylines(&svg).iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 2, 2], "swatch and two pieces");
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn a_single_point_is_a_marker_with_its_band_as_a_bar() {
        let svg = draw("", "", &[curve("koopman", &[(5_000.0, -1_200.0)])]).unwrap();
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(
            polylines(&svg).iter().any(|line| line.len() == 2 && line[0].0 == line[1].0),
            "no vertical bar"
        );
    }

    #[test]
    fn the_eighth_curve_differs_from_the_second_by_its_dashes() {
        let eight: Vec<Curve> =
            (0..8).map(|i| curve(&format!("number {i}"), &[(0.0, i as f64), (9.0, 0.0)])).collect();
        let count = |curves: &[Curve]| draw("", "", curves).unwrap().matches("stroke=\"#D55E00\"").count();
        assert!(count(&eight) > count(&eight[..7]) + 10);
    }

    /// Behind five of ours the third published curve had the colour of the first, which is dashed when colours are used up.
    #[test]
    fn published_curves_have_colours_of_their_own() {
        let mut curves: Vec<Curve> =
            (0..8).map(|i| curve(&format!("number {i}"), &[(0.0, i as f64), (9.0, 0.0)])).collect();
        curves[5..].iter_mut().for_each(|curve| curve.origin = Origin::Published);
        let mut colors: Vec<_> = pens(&curves).into_iter().map(|pen| (pen.color.rgb(), pen.dashed)).collect();
        assert_eq!(colors.iter().filter(|(_, dashed)| *dashed).count(), 3);
        colors.sort();
        colors.dedup_by_key(|(rgb, _)| *rgb);
        assert_eq!(colors.len(), 8);
    }

    #[test]
    fn a_run_without_evaluations_is_named_and_a_picture_without_any_is_refused() {
        let empty = curve("not begun", &[]);
        let svg = draw("", "", &[curve("koopman", &[(0.0, 0.0), (1.0, 1.0)]), empty.clone()]).unwrap();
        assert!(svg.contains("not begun (no evaluation)"));
        for curves in [vec![], vec![empty], vec![curve("spoilt", &[(0.0, f64::NAN)])]] {
            let error = draw("", "", &curves).unwrap_err().to_string();
            assert!(error.contains("no curve has a point"), "{error}");
        }
    }

    #[test]
    fn more_curves_than_have_room_are_refused() {
        let label = "a name as long as the ones that a sweep gives";
        let error = draw("", "", &vec![curve(label, &[(0.0, 0.0)]); 40]).unwrap_err().to_string();
        assert!(error.contains("40 curves"), "{error}");
    }

    #[test]
    fn the_file_is_written_or_the_error_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let curves = [curve("koopman", &[(0.0, 0.0), (1.0, 1.0)])];
        write_svg(&folder.path().join("eval.svg"), "t", "s", &curves).unwrap();
        assert!(std::fs::read_to_string(folder.path().join("eval.svg")).unwrap().ends_with("</svg>\n"));
        let error = write_svg(&folder.path().join("eval.svg/eval.svg"), "t", "s", &curves).unwrap_err();
        assert!(error.to_string().contains("eval.svg/eval.svg"), "{error}");
    }
}
