//! Return against cost, with the choices marked that are worth their cost.

use super::axis::{error_tick, log_ticks, tick, value_range};
use super::file::write_atomically;
use super::pen::{FAINT_INK, GRID, INK, Pen, SCALE, at, font, pixels};
use anyhow::{Context, Result, ensure};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 540;
/// Room to the left and right of the dots, as a factor.
const MARGIN: f64 = 1.25;
/// Of a line below the plot.
const LINE: u32 = 18;

/// A choice: what it costs, what it returns, what it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Dot {
    /// Its place to the right, on a logarithmic axis.
    pub cost: f64,
    /// Its place upwards.
    pub value: f64,
    /// Half the length of the bar through it; 0 for none.
    pub spread: f64,
    /// Written below the plot if it is on the front.
    pub label: String,
}

/// What the picture shows.
#[derive(Debug, Clone)]
pub struct Scatter {
    /// Above everything.
    pub title: String,
    /// One line below the title.
    pub subtitle: String,
    /// What the cost is and its unit.
    pub cost_label: String,
    /// All choices.
    pub dots: Vec<Dot>,
    /// Indices of those on the Pareto front, in the order of their costs.
    pub front: Vec<usize>,
}

/// Draws a scatter plot to an SVG file of 900 × 540 and a line for each dot on the front.
///
/// # Errors
///
/// When no dot has a place, or the file cannot be written.
pub fn write_scatter(path: &Path, scatter: &Scatter) -> Result<()> {
    let svg = draw(scatter).with_context(|| format!("cannot draw {}", path.display()))?;
    write_atomically(path, svg.as_bytes())
}

fn draw(scatter: &Scatter) -> Result<String> {
    let is_drawable = |dot: &&Dot| {
        dot.cost > 0.0 && dot.cost.is_finite() && dot.value.is_finite() && dot.spread.is_finite()
    };
    let dots: Vec<&Dot> = scatter.dots.iter().filter(is_drawable).collect();
    ensure!(!dots.is_empty(), "no choice has a cost and a return");
    let extent = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let costs = extent(&mut dots.iter().map(|dot| dot.cost));
    let range = costs.0 / MARGIN..costs.1 * MARGIN;
    let values = extent(&mut dots.iter().flat_map(|dot| [dot.value - dot.spread, dot.value + dot.spread]));
    let front: Vec<&Dot> = scatter.front.iter().map(|&i| &scatter.dots[i]).collect();
    let height = HEIGHT + LINE * front.len() as u32;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH * SCALE, height * SCALE)).into_drawing_area();
        root.fill(&WHITE)?;
        let left = Pos::new(HPos::Left, VPos::Bottom);
        root.draw(&Text::new(scatter.title.as_str(), at((24, 34)), font(19.0, INK).pos(left)))?;
        root.draw(&Text::new(scatter.subtitle.as_str(), at((24, 56)), font(13.0, FAINT_INK).pos(left)))?;
        let (upper, _) = root.split_vertically(pixels(HEIGHT as i32));
        let (_, below) = upper.split_vertically(pixels(70));
        let mut plot = ChartBuilder::on(&below)
            .margin_left(pixels(14))
            .margin_right(pixels(24))
            .margin_bottom(pixels(10))
            .x_label_area_size(pixels(46))
            .y_label_area_size(pixels(64))
            .build_cartesian_2d(
                range.clone().log_scale().with_key_points(log_ticks(&range)),
                value_range(values.0, values.1),
            )?;
        plot.configure_mesh()
            .disable_x_mesh()
            .bold_line_style(GRID.stroke_width(SCALE))
            .light_line_style(TRANSPARENT)
            .axis_style(FAINT_INK.stroke_width(SCALE))
            .set_all_tick_mark_size(pixels(4))
            .x_label_formatter(&|value| error_tick(*value))
            .y_label_formatter(&|value| tick(*value))
            .label_style(font(12.0, FAINT_INK))
            .axis_desc_style(font(13.0, INK))
            .x_desc(scatter.cost_label.as_str())
            .y_desc("return")
            .draw()?;
        let bar = |dot: &&Dot| {
            let ends = [(dot.cost, dot.value - dot.spread), (dot.cost, dot.value + dot.spread)];
            PathElement::new(ends, FAINT_INK.mix(0.35).stroke_width(SCALE))
        };
        plot.draw_series(dots.iter().filter(|dot| dot.spread > 0.0).map(bar))?;
        plot.draw_series(
            dots.iter().map(|dot| Circle::new((dot.cost, dot.value), 4 * SCALE, FAINT_INK.filled())),
        )?;
        // what a budget buys stays the same until the next choice can be paid: a staircase
        let corner = |pair: &[&Dot]| [(pair[1].cost, pair[0].value), (pair[1].cost, pair[1].value)];
        let first = front.first().map(|dot| (dot.cost, dot.value));
        let stairs: Vec<_> = first.into_iter().chain(front.windows(2).flat_map(corner)).collect();
        plot.draw_series([PathElement::new(stairs, Pen::ours(0).style())])?;
        plot.draw_series(
            front
                .iter()
                .map(|dot| Circle::new((dot.cost, dot.value), 5 * SCALE, Pen::ours(0).color.filled())),
        )?;
        for (i, dot) in front.iter().enumerate() {
            let style = font(12.0, INK).pos(Pos::new(HPos::Right, VPos::Bottom));
            let number =
                EmptyElement::at((dot.cost, dot.value)) + Text::new((i + 1).to_string(), at((-6, -6)), style);
            plot.draw_series([number])?;
            let line = format!("{}: {}", i + 1, dot.label);
            let place = (24, (HEIGHT + LINE * i as u32 + LINE / 2) as i32);
            root.draw(&Text::new(line, at(place), font(12.0, INK).pos(left)))?;
        }
        root.present()?;
    }
    let drawn = format!(r#"width="{}" height="{}" viewBox"#, WIDTH * SCALE, height * SCALE);
    Ok(svg.replacen(&drawn, &format!(r#"width="{WIDTH}" height="{height}" viewBox"#), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scatter(dots: &[(f64, f64, &str)], front: &[usize]) -> Scatter {
        let dot =
            |&(cost, value, label): &(f64, f64, &str)| Dot { cost, value, spread: 1.0, label: label.into() };
        Scatter {
            title: "pendulum".into(),
            subtitle: "two episodes".into(),
            cost_label: "CPU ms per plan".into(),
            dots: dots.iter().map(dot).collect(),
            front: front.to_vec(),
        }
    }

    #[test]
    fn every_choice_is_a_dot_and_those_on_the_front_are_named() {
        let svg = draw(&scatter(&[(1.0, 5.0, "cheap"), (2.0, 4.0, "beaten"), (3.0, 9.0, "dear")], &[0, 2]))
            .unwrap();
        assert_eq!(svg.matches("<circle").count(), 3 + 2);
        for text in ["1: cheap", "2: dear", "CPU ms per plan", "pendulum"] {
            assert!(svg.lines().any(|line| line == text), "{text} is not in the picture");
        }
        assert!(!svg.contains("beaten"));
    }

    #[test]
    fn a_single_choice_is_drawn_and_none_is_refused() {
        draw(&scatter(&[(1.0, 5.0, "only")], &[0])).unwrap();
        assert!(draw(&scatter(&[(f64::NAN, 5.0, "")], &[])).is_err());
    }
}
