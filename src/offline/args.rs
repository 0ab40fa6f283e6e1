//! Flags of the offline study.

use clap::Args;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

/// Flags of the offline study.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  td-koopman offline --data runs/hopper-koopman-seed1                      the whole replay of a run, all dynamics, three seeds
  td-koopman offline --data hopper=hopper-expert.hdf5 --jobs 2             a file in the layout of D4RL or Minari
  td-koopman offline --data cheetah=runs/kernels/cheetah-run --variants koopman,gru --seeds 1..5
  td-koopman offline --data a=runs/a --data b=runs/b,more.hdf5 --updates 20000 --out results/mine
  td-koopman offline --data medium.hdf5 --test expert=expert.hdf5          how do they do where another policy goes?
  td-koopman offline --data runs/a --variants 'koopman,slow:model.dynamics=koopman;model.koopman.eigenvalues.mu_init=-0.02'
  td-koopman eval RUN --episodes 100 --record expert.hdf5                  record episodes of a trained agent

States and rewards 1 to 100 steps ahead, from a state and the actions that were taken: models are fitted to four fifths of the
episodes and tested on windows of the others. configs/offline.toml has all keys. Run it again to go on: finished cells are not
repeated, interrupted ones continue. Runs live in runs/NAME/, the page, pictures and small files in --out results/NAME.")]
pub struct OfflineArgs {
    /// What was recorded: a run's folder (its replay), a folder with runs below it, or an HDF5 file in the layout of D4RL or Minari;
    /// several paths are joined. May be repeated, a data set each
    #[arg(long, required = true, value_name = "[NAME=]PATH[,PATH...]")]
    pub data: Vec<String>,
    /// Another recording that models are tested on, too, and of which nothing is learned: of another policy, say, or of a changed body;
    /// by the models of all data sets of such observations and actions. May be repeated
    #[arg(long, value_name = "[NAME=]PATH[,PATH...]")]
    pub test: Vec<String>,
    /// Variants, comma-separated: a dynamics (koopman, mlp, gru, transformer, dssm), or a label with settings, LABEL:KEY=VALUE;KEY=VALUE
    #[arg(long, value_name = "VARIANT[,...]", default_value = "koopman,mlp,gru,transformer,dssm")]
    pub variants: String,
    /// Seeds of networks and batches: 1..3 (1 to 3, both included) or 1,2,7
    #[arg(long, default_value = "1..3")]
    pub seeds: String,
    /// Updates of each model [default: that of configs/offline.toml]
    #[arg(long, value_name = "N")]
    pub updates: Option<NonZeroU64>,
    /// flex (CPU), ndarray (CPU), cuda or cuda:INDEX
    #[arg(long)]
    pub device: Option<String>,
    /// TOML file with changed keys, for all cells; may be repeated
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Change one key of all cells, e.g. train.horizon=50 (all keys: configs/offline.toml); may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Cells at a time
    #[arg(long, default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Folder of the page [default: results/offline-NAMES]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print one independent command for each unfinished cell instead; afterwards the command without --list makes the page
    #[arg(long)]
    pub list: bool,
    /// Do only the cell with this number, counted from 1
    #[arg(long, value_name = "N", conflicts_with_all = ["list", "jobs"])]
    pub cell: Option<NonZeroUsize>,
}
