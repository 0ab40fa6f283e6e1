//! Flags of `td-koopman bench`.

use super::{Grid, Kind, Subjects};
use crate::cli::settings;
use crate::config::{ConfigError, Layer, Preset, resolve};
use anyhow::Result;
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Flags of timing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  td-koopman bench                                              the default preset, Koopman and MLP
  td-koopman bench --training-lengths 10,20,50,100              with the training-speed protocol of the paper
  td-koopman bench --dynamics koopman,gru,transformer,dssm --match-params koopman
  td-koopman bench --preset light,light2 --horizons 5,20        two recipes side by side
  td-koopman bench --preset paper --planners mppi,icem,grad --samples 512,2048 --json bench.json
  td-koopman bench --preset paper --device cuda --rows plans --samples 512,8192 --horizons 5,20,50")]
pub struct BenchArgs {
    /// Environment that gives the dimensions
    #[arg(long, default_value = "cheetah-run")]
    pub env: String,
    /// Recipes and sizes, comma-separated
    #[arg(long, value_enum, value_delimiter = ',', default_value = "light")]
    pub preset: Vec<Preset>,
    /// Dynamics, comma-separated: koopman, mlp, gru, transformer, dssm
    #[arg(long, value_delimiter = ',', default_value = "koopman,mlp")]
    pub dynamics: Vec<String>,
    /// Dynamics to whose number of parameters all are widened or narrowed, or none
    #[arg(long, value_name = "DYNAMICS")]
    pub match_params: Option<String>,
    /// Planners, comma-separated: mppi, mppi2, cem, icem, grad, random, policy
    #[arg(long, value_delimiter = ',', default_value = "mppi")]
    pub planners: Vec<String>,
    /// Candidates N, comma-separated [default: the preset's]
    #[arg(long, value_delimiter = ',')]
    pub samples: Vec<usize>,
    /// Horizons H of plans and updates, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "5")]
    pub horizons: Vec<usize>,
    /// Environments E planned for at once, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub environments: Vec<usize>,
    /// Also time the paper's training-speed protocol at these lengths T, comma-separated
    #[arg(long, value_delimiter = ',')]
    pub training_lengths: Vec<usize>,
    /// Rows to time, comma-separated
    #[arg(long, value_enum, value_delimiter = ',', default_value = "steps,updates,plans")]
    pub rows: Vec<Kind>,
    /// Repetitions of each row
    #[arg(long, default_value = "20")]
    pub repeats: NonZeroUsize,
    /// flex (CPU), ndarray (CPU), cuda or cuda:INDEX
    #[arg(long)]
    pub device: Option<String>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Change one key, e.g. threads=1; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl BenchArgs {
    /// The grid to time.
    pub fn grid(&self) -> Result<Grid> {
        let subject = |preset: &Preset, dynamics: &String| -> Result<Subjects> {
            let configs = self.planners.iter().map(|planner| {
                let mut layers = preset.layers();
                layers.extend(settings(&self.set)?);
                layers.push(Layer::key("--env", "env", self.env.as_str()));
                layers.push(Layer::key("--dynamics", "model.dynamics", dynamics.as_str()));
                layers.push(Layer::key("--planners", "planner.kind", planner.as_str()));
                let like = self.match_params.as_deref();
                layers.extend(like.map(|like| Layer::key("--match-params", "model.match_params", like)));
                layers.extend(self.device.as_deref().map(|name| Layer::key("--device", "device", name)));
                Ok(resolve(&layers)?)
            });
            let name = match &self.preset[..] {
                [_] => dynamics.clone(),
                _ => format!("{dynamics} {}", preset.name()),
            };
            Ok(Subjects { name, planners: configs.collect::<Result<_>>()? })
        };
        let pairs = self.preset.iter().flat_map(|p| self.dynamics.iter().map(move |d| (p, d)));
        let subjects = pairs.map(|(p, d)| subject(p, d)).collect::<Result<Vec<_>>>()?;
        for (flag, values, most) in [
            ("samples", &self.samples, usize::MAX), // held to the memory
            ("horizons", &self.horizons, 10_000),
            ("environments", &self.environments, 10_000),
            ("training-lengths", &self.training_lengths, 10_000),
        ] {
            if values.contains(&0) {
                return Err(ConfigError(format!("--{flag} must all be at least 1")).into());
            }
            if values.iter().any(|&value| value > most) {
                return Err(ConfigError(format!("--{flag} must not exceed {most}")).into());
            }
        }
        Ok(Grid {
            subjects,
            samples: self.samples.clone(),
            horizons: self.horizons.clone(),
            environments: self.environments.clone(),
            lengths: self.training_lengths.clone(),
            kinds: self.rows.clone(),
            repeats: self.repeats.get(),
        })
    }
}
