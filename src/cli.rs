//! The command line.

use crate::bench::args::BenchArgs;
use crate::config::{ConfigError, Layer, Preset, RunConfig, resolve};
use crate::offline::args::OfflineArgs;
use crate::study::args::{CompareArgs, SweepArgs};
use crate::video;
use anyhow::Result;
use clap::{Args, Parser, Subcommand, value_parser};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  td-koopman --env halfcheetah                       train the default Koopman agent; run it again to go on
  td-koopman --env cheetah-run --dynamics mlp        the same with TD-MPC's MLP dynamics
  td-koopman --env cheetah-run --preset paper        TD-MPC v1's published sizes
  td-koopman --env cheetah-run --preset light2       TD-MPC2's recipe at sizes for one CPU core
  td-koopman --env hopper --preset terminating       for tasks that end when the agent falls
  td-koopman --env walker-walk --set planner.num_samples=256 --set learner.rho=0.7
  td-koopman --env hopper --set env.terminate_when_unhealthy=false --set env.ctrl_cost_weight=0.01
  td-koopman --env py:gymnasium:Pendulum-v1          any Gymnasium environment with Box spaces, in Python
  td-koopman eval runs/halfcheetah-koopman-seed1     seeded episodes of a trained agent
  td-koopman act runs/halfcheetah-koopman-seed1      its decisions for another program, observations in, actions out
  td-koopman envs                                    what there is to train on";

/// Model-based planning agents with a Koopman latent, on real MuJoCo.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do; training if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of training.
    #[command(flatten)]
    pub train: TrainArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an agent (the default command)
    #[command(after_help = EXAMPLES)]
    Train(TrainArgs),
    /// Play seeded episodes with a trained agent, without exploration noise
    Eval(EvalArgs),
    /// Let a trained agent drive another program: observations come in, actions go out
    Act(ActArgs),
    /// Judge the model of trained agents on their own replay, and their returns by planning horizon
    Diagnose(DiagnoseArgs),
    /// Time plans, updates and environment steps on this machine
    Bench(BenchArgs),
    /// Train environments × variants × seeds and report them with intervals
    Compare(CompareArgs),
    /// Try settings of a trained agent's planner, or of training, in a grid
    Sweep(SweepArgs),
    /// Fit models to recorded episodes and judge how far ahead they predict: the Koopman paper's offline study
    Offline(OfflineArgs),
    /// Draw learning curves of several runs into one picture
    Plot(PlotArgs),
    /// List the environments, or the options of one, or test one
    Envs(EnvsArgs),
    /// Print every setting of a run and what it means, as a file for --config
    #[command(after_help = "\
Examples:
  td-koopman config                                     of the default preset
  td-koopman config --preset paper --env hopper > my.toml
  td-koopman --config my.toml                           train with what you made of it")]
    Config(TrainArgs),
}

/// Flags of training.
#[derive(Args, Debug, Default)]
pub struct TrainArgs {
    /// Environment, by its short or official name (see `td-koopman envs`), or py:MODULE:ID for one of Gymnasium's
    #[arg(long)]
    pub env: Option<String>,
    /// Latent dynamics: koopman, mlp, gru, transformer or dssm
    #[arg(long)]
    pub dynamics: Option<String>,
    /// Dynamics to whose number of parameters the chosen ones are widened or narrowed, or none
    #[arg(long, value_name = "DYNAMICS")]
    pub match_params: Option<String>,
    /// Planner: mppi, mppi2, cem, icem, grad, random or policy (see `td-koopman config`)
    #[arg(long)]
    pub planner: Option<String>,
    /// Recipe, sizes and schedules
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Planning horizons at which every evaluation is repeated, e.g. 1,3,5,10 (returns in model.csv)
    #[arg(long, value_delimiter = ',', value_name = "H[,H...]")]
    pub eval_horizons: Option<Vec<usize>>,
    /// Environment steps to train for
    #[arg(long)]
    pub steps: Option<u64>,
    /// Environments that act at once, with one batched plan
    #[arg(long, value_name = "E")]
    pub num_envs: Option<usize>,
    /// Seed of everything random
    #[arg(long)]
    pub seed: Option<u64>,
    /// flex (CPU), ndarray (CPU), cuda or cuda:INDEX
    #[arg(long)]
    pub device: Option<String>,
    /// Record an episode of every N-th evaluation, and of the last one, as RUN/videos/STEP.gif
    #[arg(long, value_name = "N")]
    pub video_every: Option<u64>,
    /// Run folder [default: runs/ENV-DYNAMICS-seedSEED]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// TOML file with changed keys; may be repeated
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Change one key, e.g. planner.num_samples=256 (all keys: `td-koopman config`) or an option of the environment,
    /// e.g. env.frame_skip=2 (`td-koopman envs NAME`); may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Flags of the list of environments.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  td-koopman envs                                       all environments
  td-koopman envs hopper                                its sizes and its options
  td-koopman envs hopper --check                        does it keep what environments promise?
  td-koopman envs --check py:gymnasium:Pendulum-v1      any Gymnasium environment with Box spaces")]
pub struct EnvsArgs {
    /// Environment, by its short or official name, or py:MODULE:ID
    #[arg(required_if_eq("check", "true"))]
    pub name: Option<String>,
    /// Test it: spaces, seeds, finite numbers, time limit, resets, states, pictures; the exit status tells if it passed
    #[arg(long)]
    pub check: bool,
}

/// Flags of evaluation.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  td-koopman eval runs/cheetah-run-koopman-seed1                         ten seeded episodes
  td-koopman eval runs/cheetah-run-koopman-seed1 --episodes 1 --video run.mp4
  td-koopman eval runs/quadruped-walk-koopman-seed1 --video q.gif --video-camera x --video-size 480x360
  td-koopman eval runs/halfcheetah-koopman-seed1 --trace t.csv           for scripts/replay_trace.py
  td-koopman eval runs/hopper-koopman-seed1 --episodes 100 --record hopper-expert.hdf5   for `td-koopman offline`")]
pub struct EvalArgs {
    /// Folder of the run whose newest checkpoint is played
    pub run: PathBuf,
    /// Number of episodes
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..))]
    pub episodes: u64,
    /// Seed of the episodes
    #[arg(long, default_value_t = 1000)]
    pub seed: u64,
    /// Write every environment step to this CSV file, for replay elsewhere (scripts/replay_trace.py)
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Record the episodes as an HDF5 file in D4RL's layout, a row a decision with actions in ±1, for `td-koopman offline`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Pictures of an episode
    #[command(flatten)]
    pub video: VideoArgs,
    /// flex (CPU), ndarray (CPU), cuda or cuda:INDEX
    #[arg(long)]
    pub device: Option<String>,
    /// Change one key, e.g. planner.num_samples=512; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Flags of acting for another program.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  td-koopman act runs/pendulum-koopman-seed1              speaks with whoever started it; examples/controller.py is one
  td-koopman act runs/pendulum-koopman-seed1 --set planner.num_samples=64 --set threads=1      a quicker decision
  echo '[1.0, 0.0, 0.5]' | td-koopman act runs/pendulum-koopman-seed1

A line of JSON is read from standard input, and one is answered on standard output:
  at the start           {\"env\":…,\"env_steps\":…,\"observation_dim\":…,\"action_low\":[…],\"action_high\":[…],\"action_repeat\":…,\"timestep\":…}
  [0.1, -0.7, 0.3]       {\"action\":[…],\"expected_return\":…,\"ms\":…}     a decision: action in the environment's own units,
                                                                      and the γ-discounted return that its plan promises
  {\"reset\": 7}           {\"reset\":7}                                    an episode begins; 7 is the seed of its plans
  anything else          {\"error\":\"…\"}                                 and it goes on
An action is meant for `action_repeat` steps of `timestep` seconds each. It ends with its input.")]
pub struct ActArgs {
    /// Folder of the run whose newest checkpoint acts
    pub run: PathBuf,
    /// flex (CPU), ndarray (CPU), cuda or cuda:INDEX
    #[arg(long)]
    pub device: Option<String>,
    /// Change one key, e.g. planner.num_samples=64; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Flags of diagnosing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  td-koopman diagnose runs/cheetah-run-koopman-seed1 runs/cheetah-run-mlp-seed1
  td-koopman diagnose runs/cheetah-run-koopman-seed1 --eval-horizons 1,3,5,10,20 --episodes 3
  td-koopman diagnose runs/cheetah-run-koopman-seed1 --spectrum s.svg    eigenvalues, and which modes do what they claim

On 256 windows of the run's replay, k decisions ahead (agents/KOOPMAN.md, \"How to see whether it works\"):
  latent_error_k      squared error of the predicted latent over the latent's variance; 1 is no better than the mean
  persistence_k       the same for \"nothing changes\"
  reward_r2_k         share of the rewards' variance that is foreseen
  effective_rank, latent_norm    how many directions the latent uses, (tr C)² / tr C², and how large it is
  linear_share        share of the prediction's variance, five decisions ahead, that one linear system for all states explains
  value_at_start, discounted_return    what critics expect where episodes begin, and what came of it
  return_hH           return of plans H decisions ahead (--eval-horizons)
The same numbers are in model.csv of every run, a row an evaluation.")]
pub struct DiagnoseArgs {
    /// Folders of the runs whose newest checkpoints are judged
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Also play seeded episodes at these planning horizons
    #[arg(long, value_delimiter = ',', value_name = "H[,H...]")]
    pub eval_horizons: Vec<usize>,
    /// Number of episodes of each
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u64).range(1..))]
    pub episodes: u64,
    /// Seed of windows and episodes
    #[arg(long, default_value_t = 1000)]
    pub seed: u64,
    /// Draw the eigenvalues of the runs with Koopman dynamics, a disc a run: areas are shares of the latent's variance, shades how far
    /// a mode misses the latents that came, over its variance
    #[arg(long, value_name = "FILE.svg")]
    pub spectrum: Option<PathBuf>,
    /// Change one key of all runs, e.g. threads=1; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Flags of recording.
#[derive(Args, Debug)]
pub struct VideoArgs {
    /// Record an episode, as .mp4 or as animated .gif, in the task's own time
    #[arg(long, value_name = "FILE")]
    pub video: Option<PathBuf>,
    /// Size of the picture, without the caption
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "320x240", requires = "video")]
    pub video_size: video::Size,
    /// Camera of the model, by name or number [default: one that shows the whole task]
    #[arg(long, value_name = "CAMERA", requires = "video")]
    pub video_camera: Option<String>,
    /// A frame every N decisions [default: at most 25 frames a second]
    #[arg(long, value_name = "N", requires = "video")]
    pub video_every: Option<NonZeroUsize>,
    /// The episode to record
    #[arg(long, value_name = "NUMBER", default_value = "1", requires = "video")]
    pub video_episode: NonZeroU64,
    /// Stop recording after so many seconds of the task [default: the whole episode]
    #[arg(long, value_name = "SECONDS", requires = "video", value_parser = positive_seconds)]
    pub video_seconds: Option<f64>,
}

impl VideoArgs {
    /// What to record.
    pub fn options(&self) -> video::Options {
        video::Options {
            size: self.video_size,
            camera: self.video_camera.clone(),
            every: self.video_every.map(NonZeroUsize::get),
            episode: self.video_episode.get() - 1,
            seconds: self.video_seconds,
        }
    }
}

/// Flags of plotting.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  td-koopman plot --out cheetah.svg --title cheetah-run \\
    koopman=runs/cheetah-run-koopman-seed1,runs/cheetah-run-koopman-seed2 mlp=runs/cheetah-run-mlp-seed1")]
pub struct PlotArgs {
    /// Curves: a name and the run folders of its seeds
    #[arg(required = true, value_name = "NAME=RUN[,RUN...]")]
    pub curves: Vec<String>,
    /// SVG file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Title of the picture
    #[arg(long, default_value = "learning curves")]
    pub title: String,
}

impl TrainArgs {
    /// The configuration: defaults ← preset ← files ← --set ← flags.
    pub fn resolve(&self) -> Result<RunConfig> {
        let mut layers = self.preset.unwrap_or_default().layers();
        for file in &self.config {
            layers.push(Layer::file(file)?);
        }
        layers.extend(settings(&self.set)?);
        let mut flag = |name: &str, key: &str, value: Option<toml::Value>| {
            layers.extend(value.map(|value| Layer::key(&format!("--{name}"), key, value)));
        };
        flag("env", "env", self.env.clone().map(Into::into));
        flag("dynamics", "model.dynamics", self.dynamics.clone().map(Into::into));
        flag("match-params", "model.match_params", self.match_params.clone().map(Into::into));
        flag("planner", "planner.kind", self.planner.clone().map(Into::into));
        flag("device", "device", self.device.clone().map(Into::into));
        if let Some(all) = &self.eval_horizons {
            let all = whole_numbers("eval-horizons", all.iter().map(|&h| h as u64))?;
            flag("eval-horizons", "evaluation.horizons", Some(all.into()));
        }
        for (name, key, value) in [
            ("steps", "steps", self.steps),
            ("num-envs", "train.num_envs", self.num_envs.map(|n| n as u64)),
            ("seed", "seed", self.seed),
            ("video-every", "evaluation.video_every", self.video_every),
        ] {
            for value in whole_numbers(name, value)? {
                flag(name, key, Some(value.into()));
            }
        }
        Ok(resolve(&layers)?)
    }

    /// The arguments, after the program's name, that say the same.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["train".to_owned()];
        let mut flag = |name: &str, value: Option<String>| {
            arguments.extend(value.map(|value| [format!("--{name}"), value]).into_iter().flatten());
        };
        flag("env", self.env.clone());
        flag("dynamics", self.dynamics.clone());
        flag("match-params", self.match_params.clone());
        flag("planner", self.planner.clone());
        flag("preset", self.preset.map(|preset| preset.name().into()));
        let horizons = self.eval_horizons.as_ref();
        let horizons = horizons.map(|all| all.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
        flag("eval-horizons", horizons);
        flag("steps", self.steps.map(|n| n.to_string()));
        flag("num-envs", self.num_envs.map(|n| n.to_string()));
        flag("seed", self.seed.map(|n| n.to_string()));
        flag("device", self.device.clone());
        flag("video-every", self.video_every.map(|n| n.to_string()));
        self.config.iter().for_each(|file| flag("config", Some(file.display().to_string())));
        self.set.iter().for_each(|setting| flag("set", Some(setting.clone())));
        flag("out", self.out.as_ref().map(|folder| folder.display().to_string()));
        arguments
    }

    /// Where the run lives.
    pub fn folder(&self, config: &RunConfig) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let env = config.env.name.to_lowercase().replace(['/', ':'], "-");
            PathBuf::from("runs").join(format!("{env}-{}-seed{}", config.variant(), config.seed))
        })
    }
}

fn positive_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 => Ok(seconds),
        _ => Err("give a number of seconds above 0".into()),
    }
}

/// The values of a flag as configurations hold them.
pub fn whole_numbers(flag: &str, values: impl IntoIterator<Item = u64>) -> Result<Vec<i64>, ConfigError> {
    let too_large =
        |n: u64| ConfigError(format!("--{flag} {n} is too large: the largest number is {}", i64::MAX));
    values.into_iter().map(|n| i64::try_from(n).map_err(|_| too_large(n))).collect()
}

/// The layers of repeated `--set key=value`.
pub fn settings(set: &[String]) -> Result<Vec<Layer>> {
    Ok(set.iter().map(|s| Layer::setting(s)).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn train(line: &str) -> Result<(RunConfig, PathBuf)> {
        let cli = Cli::try_parse_from(["td-koopman"].into_iter().chain(line.split_whitespace()))?;
        let config = cli.train.resolve()?;
        let folder = cli.train.folder(&config);
        Ok((config, folder))
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win_over_settings_and_the_folder_tells_the_run() {
        let (config, folder) =
            train("--env dmc/cheetah-run --dynamics mlp --seed 3 --set seed=7 --steps 9").unwrap();
        assert_eq!((config.seed, config.steps, config.learner.batch_size), (3, 9, 256));
        assert_eq!(folder, PathBuf::from("runs/dmc-cheetah-run-mlp-seed3"));
        assert_eq!(train("--env x --preset paper").unwrap().0.learner.batch_size, 512);
        assert_eq!(train("--env x --out here").unwrap().1, PathBuf::from("here"));
    }

    #[test]
    fn a_wrong_flag_value_names_the_flag() {
        let error = train("--env x --dynamics koopmann").unwrap_err().to_string();
        assert!(error.contains("`model.dynamics = \"koopmann\"` in --dynamics"), "{error}");
        let error = train("--env x --match-params koopmann").unwrap_err().to_string();
        assert!(error.contains("`model.match_params = \"koopmann\"` in --match-params"), "{error}");
    }
}
