//! Pictures and summaries of finished and running runs, made from the CSV files they write.

mod aggregate;
mod axis;
mod chart;
mod curve;
mod pen;
mod plot;

pub use aggregate::{Aggregate, aggregate, common_grid};
pub use chart::write_svg;
pub use curve::{Curve, Point, read_eval_csv};
pub use plot::plot;
