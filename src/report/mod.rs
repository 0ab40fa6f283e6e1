//! Pictures and summaries of finished and running runs, made from the CSV files they write.

mod aggregate;
mod axis;
mod chart;
mod curve;
mod file;
mod heatmap;
mod pen;
mod plot;
mod scatter;
mod spectrum;

pub use aggregate::{Aggregate, aggregate, common_grid};
pub use chart::{Axes, write_svg, write_svg_over};
pub use curve::{Curve, Evaluated, Origin, Point, read_eval_csv, read_evaluations};
pub use file::{require_svg, write_atomically};
pub use heatmap::{HeatMap, write_heatmap};
pub use plot::plot;
pub use scatter::{Dot, Scatter, write_scatter};
pub use spectrum::{Disc, Eigenvalue, write_spectrum};
