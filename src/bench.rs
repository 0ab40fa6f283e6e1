//! `td-koopman bench`: what a plan, an update and an environment step cost on this machine, and how far that is from
//! the floor of their matrix products.

use crate::config::RunConfig;
use crate::record::Clock;
use crate::task::Task;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::Path;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::arithmetic::{Product, plan_flops, update_flops};
use td_koopman_agents::device::{self, Device};
use td_koopman_agents::planner::{Mode, Plan};
use td_koopman_agents::replay::{Batch, Ending, Episode, Replay};
use td_koopman_agents::rng::Stream;
use td_koopman_envs::End;

/// What is varied.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Configurations, one per dynamics.
    pub configs: Vec<RunConfig>,
    /// Candidates N.
    pub samples: Vec<usize>,
    /// Horizons H of plans and updates.
    pub horizons: Vec<usize>,
    /// Environments E planned for at once.
    pub environments: Vec<usize>,
    /// Timed repetitions of each row, after warming up.
    pub repeats: usize,
}

/// One timing.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `plan`, `update` or `env step`.
    pub what: &'static str,
    /// Which dynamics or environment.
    pub of: String,
    /// E, N and H of plans; batch and H of updates.
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

/// All timings and where they were taken.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Program version and commit.
    pub program: String,
    /// Device name.
    pub device: String,
    /// CPU threads.
    pub threads: usize,
    /// Rate of a 1024³ product, GFLOP per second of CPU time on a CPU, of wall-clock time on a GPU.
    pub gflops: f64,
    /// The timings.
    pub rows: Vec<Row>,
}

/// Times everything in the grid.
pub fn bench(grid: &Grid) -> Result<Report> {
    let first = grid.configs.first().context("there is nothing to time")?;
    let device = device::open(&first.device)?;
    let cells = (grid.samples.len() * grid.environments.len() + 1) * grid.horizons.len() * grid.configs.len();
    let bar = ProgressBar::new(cells as u64 + 2).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  ETA {eta}").expect("a constant"),
    );
    bar.set_message("matrix products");
    let gflops = product_rate(&first.device, &device, grid.repeats);
    bar.inc(1);
    bar.set_message("environment");
    let mut rows = vec![env_step(first, grid.repeats)?];
    bar.inc(1);
    for config in &grid.configs {
        let subject = Subject::new(config, &device)?;
        for &horizon in &grid.horizons {
            bar.set_message(format!("{} update H {horizon}", config.variant()));
            rows.push(subject.update(horizon, grid.repeats, gflops)?);
            bar.inc(1);
        }
        for &samples in &grid.samples {
            for &environments in &grid.environments {
                for &horizon in &grid.horizons {
                    bar.set_message(format!(
                        "{} plan E {environments} N {samples} H {horizon}",
                        config.variant()
                    ));
                    rows.push(subject.plan(samples, horizon, environments, grid.repeats, gflops));
                    bar.inc(1);
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(Report {
        program: format!("td-koopman {} ({})", env!("CARGO_PKG_VERSION"), crate::provenance::COMMIT),
        device: first.device.clone(),
        threads: rayon::current_num_threads(),
        gflops,
        rows,
    })
}

/// Milliseconds of repeated work.
struct Times {
    /// Median, smallest and largest CPU time.
    cpu: f64,
    cpu_range: [f64; 2],
    /// Median wall-clock time.
    wall: f64,
}

impl Times {
    /// The time that is compared with the floor: other programs move a CPU's wall-clock times, and a GPU works while
    /// this process waits.
    fn on(&self, device: &str) -> f64 {
        if device.starts_with("cuda") { self.wall } else { self.cpu }
    }
}

fn timed(repeats: usize, mut work: impl FnMut()) -> Times {
    (0..3).for_each(|_| work());
    let mut times: Vec<(f64, f64)> = (0..repeats.max(1))
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

/// GFLOP/s of a large product.
fn product_rate(name: &str, device: &Device, repeats: usize) -> f64 {
    let product = Product::new(device);
    Product::FLOPS / timed(repeats, || product.run()).on(name) / 1e6
}

fn env_step(config: &RunConfig, repeats: usize) -> Result<Row> {
    const STEPS: usize = 200;
    let mut task = Task::open(&config.env, config.train.action_repeat)?;
    let mut stream = Stream::new(1, "bench");
    let (actions, repeat) = (task.spec().action_dim(), task.spec().action_repeat);
    task.reset(1);
    let times = timed(repeats, || {
        for seed in 0..STEPS as u64 {
            if task.step(&stream.uniform(actions, -1.0, 1.0)).end != End::Running {
                task.reset(seed);
            }
        }
    });
    let per_step = (STEPS * repeat) as f64;
    Ok(Row {
        what: "env step",
        of: task.spec().official.clone(),
        size: "1 step".into(),
        cpu_ms: times.cpu / per_step,
        cpu_ms_range: times.cpu_range.map(|ms| ms / per_step),
        wall_ms: times.wall / per_step,
        gflop: None,
        floor_share: None,
    })
}

/// An agent with a few updates behind it (heads that start at zero make degenerate numbers) and data to learn from.
struct Subject {
    config: RunConfig,
    device: Device,
    agent: Agent,
    episode: Episode,
    observations: usize,
    actions: usize,
}

impl Subject {
    fn new(config: &RunConfig, device: &Device) -> Result<Self> {
        let task = Task::open(&config.env, config.train.action_repeat)?;
        let (observations, actions) = (task.spec().observation_dim, task.spec().action_dim());
        let mut stream = Stream::new(1, "bench");
        let agent = Agent::new(&config.agent(), observations, actions, &mut stream, device);
        let mut episode = Episode::start(&stream.normal(observations));
        for _ in 0..1000.min(config.replay.capacity - 1) {
            let action = stream.uniform(actions, -1.0, 1.0);
            episode.push(&action, stream.unit() as f32, &stream.normal(observations));
        }
        let (config, device) = (config.clone(), device.clone());
        let mut subject = Self { config, device, agent, episode, observations, actions };
        let batch = subject.batch(subject.config.learner.horizon)?;
        (0..5).for_each(|_| drop(subject.agent.update(&batch, &mut stream)));
        Ok(subject)
    }

    fn batch(&self, horizon: usize) -> Result<Batch> {
        let mut replay = Replay::new(&self.config.replay, horizon, self.observations, self.actions);
        replay.add(&self.episode, Ending::Truncated)?;
        let mut batch = Batch::default();
        replay.sample(self.config.learner.batch_size, &mut Stream::new(1, "batch"), &mut batch);
        Ok(batch)
    }

    fn update(&self, horizon: usize, repeats: usize, gflops: f64) -> Result<Row> {
        let (mut agent, mut stream) = (self.agent.clone(), Stream::new(2, "bench"));
        let batch = self.batch(horizon)?;
        let times = timed(repeats, || drop(agent.update(&batch, &mut stream)));
        let mut config = self.config.agent();
        config.learner.horizon = horizon;
        let flops = update_flops(&config, self.observations, self.actions);
        Ok(self.row("update", format!("B {} H {horizon}", batch.size), times, flops, gflops))
    }

    fn plan(&self, samples: usize, horizon: usize, environments: usize, repeats: usize, gflops: f64) -> Row {
        let mut config = self.config.agent();
        config.planner.num_elites = (config.planner.num_elites * samples / config.planner.num_samples).max(1);
        config.planner.num_samples = samples;
        let init = &mut Stream::new(1, "bench");
        let mut agent = Agent::new(&config, self.observations, self.actions, init, &self.device);
        agent.import(&self.agent.export()).expect("both have the same model");
        let mut noise: Vec<Stream> = (0..environments).map(|i| Stream::new(i as u64, "bench")).collect();
        let observations = noise[0].normal(environments * self.observations);
        let mut plans = vec![Plan::cold(); environments];
        let schedule = Schedule { horizon, min_std: config.planner.min_std.end };
        let times = timed(repeats, || {
            let decisions = agent.act(&observations, &plans, schedule, Mode::Explore, &mut noise);
            plans = decisions.into_iter().map(|d| d.plan).collect();
        });
        let flops = plan_flops(&config, self.observations, self.actions, horizon, environments);
        self.row("plan", format!("E {environments} N {samples} H {horizon}"), times, flops, gflops)
    }

    fn row(&self, what: &'static str, size: String, times: Times, flops: f64, gflops: f64) -> Row {
        Row {
            what,
            of: self.config.variant().into(),
            size,
            cpu_ms: times.cpu,
            cpu_ms_range: times.cpu_range,
            wall_ms: times.wall,
            gflop: Some(flops / 1e9),
            floor_share: Some(flops / 1e6 / gflops / times.on(&self.config.device)),
        }
    }
}

impl Report {
    /// The table for people.
    pub fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "{}; device {}, {} thread(s); a 1024³ product runs at {:.0} GFLOP/s",
                self.program, self.device, self.threads, self.gflops
            ),
            format!(
                "{:<9} {:<16} {:<20} {:>10} {:>18} {:>10} {:>8} {:>6}",
                "what", "of", "size", "CPU ms", "(min–max)", "wall ms", "GFLOP", "floor"
            ),
        ];
        lines.extend(self.rows.iter().map(|r| {
            let [low, high] = r.cpu_ms_range;
            let optional = |x: Option<String>| x.unwrap_or_default();
            format!(
                "{:<9} {:<16} {:<20} {:>10.3} {:>18} {:>10.3} {:>8} {:>6}",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    #[test]
    fn every_cell_of_the_grid_is_timed_once() {
        let config = |dynamics: &str| {
            let dynamics = format!("model.dynamics={dynamics}");
            with(&["env=pendulum", "model.hidden_dim=16", "learner.batch_size=8", "threads=1", &dynamics])
                .unwrap()
        };
        let grid = Grid {
            configs: vec![config("koopman"), config("mlp")],
            samples: vec![32, 64],
            horizons: vec![1, 3],
            environments: vec![1, 2],
            repeats: 2,
        };
        let report = bench(&grid).unwrap();
        assert_eq!(report.rows.len(), 1 + 2 * (2 + 8));
        let table = report.table();
        assert!(table.contains("E 2 N 64 H 3") && table.contains("Pendulum-v1"), "{table}");
        assert!(report.rows.iter().all(|r| r.cpu_ms_range[0] <= r.cpu_ms && r.cpu_ms <= r.cpu_ms_range[1]));
        let folder = tempfile::tempdir().unwrap();
        report.write(&folder.path().join("bench.json")).unwrap();
        let text = std::fs::read_to_string(folder.path().join("bench.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["rows"].as_array().unwrap().len(), report.rows.len());
    }
}
