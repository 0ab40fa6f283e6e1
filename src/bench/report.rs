//! What was timed, for people and for programs.

use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;
use td_koopman_agents::model::Parameters;

/// One timing.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `plan` (by MPPI), `plan cem` and so on, `update`, `training` or `env step`.
    pub what: String,
    /// Which dynamics or environment.
    pub of: String,
    /// E, N (of planners that sample) and H of plans; batch and H of updates.
    pub size: String,
    /// Median CPU milliseconds of the process.
    pub cpu_ms: f64,
    /// Smallest and largest.
    pub cpu_ms_range: [f64; 2],
    /// Median wall-clock milliseconds.
    pub wall_ms: f64,
    /// Matrix products, in GFLOP; none for environment steps.
    pub gflop: Option<f64>,
    /// Share of the time that these products would take at the rate of a large square product: of CPU time on a CPU, of
    /// wall-clock time on a GPU.
    pub floor_share: Option<f64>,
}

/// How large the networks of an agent are.
#[derive(Clone, Debug, Serialize)]
pub struct Networks {
    /// Which dynamics.
    pub of: String,
    /// Numbers of parameters.
    pub parameters: Parameters,
}

/// All timings and where they were taken.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Program version and commit.
    pub program: String,
    /// Device name.
    pub device: String,
    /// CPU threads.
    pub threads: usize,
    /// Rate of a product of two square matrices, GFLOP per second of CPU time on a CPU (1024 wide), of wall-clock time on a GPU
    /// (4096 wide).
    pub gflops: f64,
    /// The agents that were timed.
    pub networks: Vec<Networks>,
    /// The timings.
    pub rows: Vec<Row>,
}

impl Report {
    /// The table for people.
    pub fn table(&self) -> String {
        let mut lines = vec![format!(
            "{}; device {}, {} thread(s); a large product runs at {:.0} GFLOP/s",
            self.program, self.device, self.threads, self.gflops
        )];
        if self.device.starts_with("cuda") {
            lines.push(
                "floor: at the rate of that product, which is burn's; our own kernels can be faster".into(),
            );
        }
        lines.extend(self.networks.iter().map(|n| {
            let Parameters { dynamics, total } = n.parameters;
            format!("{}: {dynamics} parameters in the dynamics, {total} in all networks", n.of)
        }));
        lines.push(format!(
            "{:<11} {:<16} {:<20} {:>10} {:>18} {:>10} {:>8} {:>6}",
            "what", "of", "size", "CPU ms", "(min–max)", "wall ms", "GFLOP", "floor"
        ));
        lines.extend(self.rows.iter().map(|r| {
            let [low, high] = r.cpu_ms_range;
            let optional = |x: Option<String>| x.unwrap_or_default();
            format!(
                "{:<11} {:<16} {:<20} {:>10.3} {:>18} {:>10.3} {:>8} {:>6}",
                r.what,
                r.of,
                r.size,
                r.cpu_ms,
                format!("({low:.3}–{high:.3})"),
                r.wall_ms,
                optional(r.gflop.map(|g| format!("{g:.2}"))),
                optional(r.floor_share.map(|s| format!("{:.0} %", 100.0 * s)))
            )
        }));
        lines.join("\n")
    }

    /// Writes the report as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}
