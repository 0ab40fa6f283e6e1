//! `td-koopman bench`: what a plan, an update and an environment step cost on this machine, and how far that is from
//! the floor of their matrix products.

pub mod args;
mod protocol;
mod report;
mod subject;

pub use report::{Networks, Report, Row};

use crate::config::RunConfig;
use crate::memory;
use crate::record::Clock;
use crate::task::Task;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use subject::Subject;
use td_koopman_agents::arithmetic::Product;
use td_koopman_agents::device::{self, Device};
use td_koopman_agents::rng::Stream;
use td_koopman_envs::End;

/// What is varied.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Agents.
    pub subjects: Vec<Subjects>,
    /// Candidates N; none for those of the configuration.
    pub samples: Vec<usize>,
    /// Horizons H of plans and updates.
    pub horizons: Vec<usize>,
    /// Environments E planned for at once.
    pub environments: Vec<usize>,
    /// Lengths T of the paper's training-speed protocol; none for leaving it out.
    pub lengths: Vec<usize>,
    /// Rows of these kinds only.
    pub kinds: Vec<Kind>,
    /// Timed repetitions of each row, after warming up.
    pub repeats: usize,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Environment steps.
    Steps,
    /// Updates.
    Updates,
    /// Plans.
    Plans,
}

/// One agent with several planners.
#[derive(Clone, Debug)]
pub struct Subjects {
    /// As it stands in the table.
    pub name: String,
    /// Configurations that differ in their planner only.
    pub planners: Vec<RunConfig>,
}

impl Subjects {
    /// Numbers of candidates to time one of them with.
    fn samples(config: &RunConfig, grid: &Grid) -> Vec<usize> {
        match (&grid.samples[..], config.planner.kind.samples()) {
            ([], _) | (_, false) => vec![config.planner.num_samples],
            (given, true) => given.to_vec(),
        }
    }

    /// Refuses a grid whose largest cell does not fit the memory, or whose longest horizon is too long for the dynamics.
    fn require_possible(&self, grid: &Grid) -> Result<()> {
        let largest = |sizes: &[usize]| sizes.iter().copied().max().unwrap_or(1);
        for config in &self.planners {
            let task = Task::open(&config.env, config.train.action_repeat)?;
            let mut config = config.clone();
            config.planner.num_samples = largest(&Self::samples(&config, grid));
            config.learner.horizon = largest(&grid.horizons);
            config.planner.horizon.end = config.learner.horizon as f64;
            config.validate_horizons()?;
            let (observations, actions) = (task.spec().observation_dim, task.spec().action_dim());
            let environments = largest(&grid.environments);
            memory::require(memory::Work::Train, &config, observations, actions, environments)?;
        }
        Ok(())
    }

    /// Rows of the table.
    fn cells(&self, grid: &Grid) -> usize {
        let plans: usize = self.planners.iter().map(|config| Self::samples(config, grid).len()).sum();
        let plans = if grid.has(Kind::Plans) { plans * grid.environments.len() } else { 0 };
        (plans + usize::from(grid.has(Kind::Updates))) * grid.horizons.len()
    }
}

impl Grid {
    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// Times everything in the grid.
pub fn bench(grid: &Grid) -> Result<Report> {
    let first = grid.subjects.first().and_then(|s| s.planners.first()).context("there is nothing to time")?;
    grid.subjects.iter().try_for_each(|subjects| subjects.require_possible(grid))?;
    let cells: usize = grid.subjects.iter().map(|subjects| subjects.cells(grid)).sum();
    let bar = ProgressBar::new((cells + grid.lengths.len() * protocol::MODELS.len() + 2) as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  ETA {eta}").expect("a constant"),
    );
    bar.set_message("matrix products");
    let meter = Meter::new(&first.device, grid.repeats)?;
    bar.inc(1);
    let (mut networks, mut rows) = (Vec::new(), Vec::new());
    let mut add = |row: Row| {
        bar.set_message(format!("{} {} {}", row.what, row.of, row.size));
        bar.inc(1);
        rows.push(row);
    };
    if grid.has(Kind::Steps) {
        add(env_step(first, &meter)?);
    }
    for subjects in &grid.subjects {
        for (i, config) in subjects.planners.iter().enumerate() {
            let subject = Subject::new(&subjects.name, config, &meter)?;
            if i == 0 {
                networks.push(subject.networks());
            }
            for &horizon in grid.horizons.iter().filter(|_| i == 0 && grid.has(Kind::Updates)) {
                add(subject.update(horizon)?);
            }
            for &samples in Subjects::samples(config, grid).iter().filter(|_| grid.has(Kind::Plans)) {
                for &environments in &grid.environments {
                    for &horizon in &grid.horizons {
                        add(subject.plan(samples, horizon, environments));
                    }
                }
            }
        }
    }
    for &length in &grid.lengths {
        for model in protocol::MODELS {
            add(protocol::iteration(&first.model, model, length, &meter));
        }
    }
    bar.finish_and_clear();
    Ok(Report {
        program: format!("td-koopman {} ({})", env!("CARGO_PKG_VERSION"), crate::provenance::COMMIT),
        device: first.device.clone(),
        threads: rayon::current_num_threads(),
        gflops: meter.gflops,
        networks,
        rows,
    })
}

/// What every row is measured with.
struct Meter {
    device: Device,
    name: String,
    repeats: usize,
    /// Rate of a large product.
    gflops: f64,
}

impl Meter {
    fn new(name: &str, repeats: usize) -> Result<Self> {
        let device = device::open(name)?;
        let product = Product::new(&device);
        let mut meter = Self { device, name: name.into(), repeats, gflops: f64::NAN };
        meter.gflops = product.flops() / 1e6 / meter.counted(&meter.time(|| product.run()));
        Ok(meter)
    }

    /// The time that is compared with the floor: other programs move a CPU's wall-clock times, and a GPU works while
    /// this process waits.
    fn counted(&self, times: &Times) -> f64 {
        if self.name.starts_with("cuda") { times.wall } else { times.cpu }
    }

    fn time(&self, mut work: impl FnMut()) -> Times {
        (0..3).for_each(|_| work());
        let mut times: Vec<(f64, f64)> = (0..self.repeats.max(1))
            .map(|_| {
                let clock = Clock::start();
                work();
                (1e3 * clock.cpu_seconds(), 1e3 * clock.wall_seconds())
            })
            .collect();
        let middle = times.len() / 2;
        times.sort_by(|a, b| a.1.total_cmp(&b.1));
        let wall = times[middle].1;
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        Times { cpu: times[middle].0, cpu_range: [times[0].0, times[times.len() - 1].0], wall }
    }

    /// Times `work`, whose matrix products cost `flops`.
    fn row(&self, what: &str, of: &str, size: String, flops: f64, work: impl FnMut()) -> Row {
        let times = self.time(work);
        let floor_share = Some(flops / 1e6 / self.gflops / self.counted(&times));
        let Times { cpu, cpu_range, wall } = times;
        let (cpu_ms, cpu_ms_range, wall_ms) = (cpu, cpu_range, wall);
        Row {
            what: what.into(),
            of: of.into(),
            size,
            cpu_ms,
            cpu_ms_range,
            wall_ms,
            gflop: Some(flops / 1e9),
            floor_share,
        }
    }
}

/// Milliseconds of repeated work.
struct Times {
    /// Median, smallest and largest CPU time.
    cpu: f64,
    cpu_range: [f64; 2],
    /// Median wall-clock time.
    wall: f64,
}

fn env_step(config: &RunConfig, meter: &Meter) -> Result<Row> {
    const STEPS: usize = 200;
    let mut task = Task::open(&config.env, config.train.action_repeat)?;
    let mut stream = Stream::new(1, "bench");
    let (actions, repeat) = (task.spec().action_dim(), task.spec().action_repeat);
    task.reset(1);
    let times = meter.time(|| {
        for seed in 0..STEPS as u64 {
            if task.step(&stream.uniform(actions, -1.0, 1.0)).end != End::Running {
                task.reset(seed);
            }
        }
    });
    let per_step = (STEPS * repeat) as f64;
    Ok(Row {
        what: "env step".into(),
        of: task.spec().official.clone(),
        size: "1 step".into(),
        cpu_ms: times.cpu / per_step,
        cpu_ms_range: times.cpu_range.map(|ms| ms / per_step),
        wall_ms: times.wall / per_step,
        gflop: None,
        floor_share: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    #[test]
    fn every_cell_of_the_grid_is_timed_once() {
        let subjects = |dynamics: &str| {
            let dynamics = format!("model.dynamics={dynamics}");
            let config = |planner: &str| {
                let settings = [
                    "env=pendulum",
                    "model.hidden_dim=16",
                    "learner.batch_size=8",
                    "threads=1",
                    &dynamics,
                    planner,
                ];
                with(&settings).unwrap()
            };
            let planners =
                ["mppi", "cem", "policy"].map(|kind| config(&format!("planner.kind={kind}"))).to_vec();
            Subjects { name: dynamics.clone(), planners }
        };
        let grid = Grid {
            subjects: vec![subjects("koopman"), subjects("mlp")],
            samples: vec![32, 64],
            horizons: vec![1, 3],
            environments: vec![1, 2],
            lengths: vec![2],
            kinds: vec![Kind::Steps, Kind::Updates, Kind::Plans],
            repeats: 2,
        };
        let report = bench(&grid).unwrap();
        // the policy alone has no candidates to vary
        assert_eq!(report.rows.len(), 1 + 2 * (2 + 2 * 8 + 4) + 6);
        let table = report.table();
        assert!(
            table.contains("plan cem")
                && table.contains("plan policy")
                && table.contains("E 2 N 64 H 3")
                && table.contains("koopman light")
                && table.contains("mlp: ")
                && table.contains("Pendulum-v1"),
            "{table}"
        );
        assert_eq!(report.networks.len(), 2);
        let folder = tempfile::tempdir().unwrap();
        report.write(&folder.path().join("bench.json")).unwrap();
        let text = std::fs::read_to_string(folder.path().join("bench.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["rows"].as_array().unwrap().len(), report.rows.len());
    }

    #[test]
    fn a_transformer_is_not_timed_beyond_its_positions() {
        let config = with(&["env=pendulum", "model.dynamics=transformer"]).unwrap();
        let grid = Grid {
            subjects: vec![Subjects { name: "transformer".into(), planners: vec![config] }],
            samples: vec![],
            horizons: vec![5, 100],
            environments: vec![1],
            lengths: vec![],
            kinds: vec![Kind::Plans],
            repeats: 1,
        };
        let error = bench(&grid).unwrap_err().to_string();
        assert!(error.contains("model.transformer.max_horizon = 50"), "{error}");
    }
}
