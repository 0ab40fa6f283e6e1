//! Flags of the two commands.

use crate::config::Preset;
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Flags of comparing.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  td-koopman compare --env cheetah-run,walker-walk --variants koopman,mlp --seeds 1..5 --preset light --jobs 2
  td-koopman compare --env pendulum --variants 'small-plan:planner.num_samples=64;planner.num_elites=8,koopman' --seeds 1,2
  td-koopman compare --env cheetah-run --variants koopman,mlp --seeds 1..5 --list | parallel -j 8
  td-koopman compare --study configs/sweep/recipe-screen.toml --jobs 2      a written-down study, with what it taught
  td-koopman compare --study configs/sweep/recipe-screen.toml --report      its page as it stands, while the runs go on

Run it again to go on: finished runs are not repeated, interrupted ones continue. Runs live in runs/NAME/, the report,
pictures and small files in --out results/NAME. Runs whose small files are there, in results/NAME/runs/, count as finished:
a clone of the repository goes on with a study, more seeds for instance, without training again what is committed.")]
pub struct CompareArgs {
    /// Environments, comma-separated (see `td-koopman envs`)
    #[arg(long, value_name = "ENV[,ENV...]", required_unless_present = "study")]
    pub env: Option<String>,
    /// TOML file with environments, seeds and variants, the idea behind each and what it taught
    /// (see configs/sweep/recipe-screen.toml)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["env", "variants", "seeds", "preset", "steps"])]
    pub study: Option<PathBuf>,
    /// Variants, comma-separated: a dynamics (koopman, mlp, gru, transformer, dssm), or a label with settings, LABEL:KEY=VALUE;KEY=VALUE. A label
    /// that is the name of a dynamics chooses it, too
    #[arg(long, value_name = "VARIANT[,...]", default_value = "koopman,mlp")]
    pub variants: String,
    /// Dynamics to whose number of parameters those of all variants are widened or narrowed, or none
    #[arg(long, value_name = "DYNAMICS")]
    pub match_params: Option<String>,
    /// Seeds: 1..5 (1 to 5, both included) or 1,2,7
    #[arg(long, default_value = "1..5")]
    pub seeds: String,
    /// Recipe, sizes and schedules
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// Environment steps to train each run for
    #[arg(long)]
    pub steps: Option<u64>,
    /// TOML file with changed keys, for all runs; may be repeated
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Change one key of all runs; may be repeated. Runs have one thread unless threads is set
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Runs at a time
    #[arg(long, default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Folder of the report [default: results/ENVS-VARIANTS, or results/NAME of the study's file]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print one independent command for each unfinished run instead; afterwards the command without --list makes the report
    #[arg(long)]
    pub list: bool,
    /// Train nothing: report the runs that have finished so far
    #[arg(long, conflicts_with_all = ["list", "jobs"])]
    pub report: bool,
}

/// Flags of sweeping.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  td-koopman sweep configs/sweep/planner.toml --jobs 2
  td-koopman sweep configs/sweep/planner.toml --list | parallel -j 8     then the same without --list: the report

Run it again to go on: finished cells are not repeated. configs/sweep/planner.toml explains the file.")]
pub struct SweepArgs {
    /// TOML file that says what to sweep
    pub file: PathBuf,
    /// Cells at a time
    #[arg(long, default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Folder of the report [default: results/NAME of the file]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Print one independent command for each unfinished cell instead
    #[arg(long)]
    pub list: bool,
    /// Do only the cell with this number, counted from 1
    #[arg(long, value_name = "N", conflicts_with_all = ["list", "jobs"])]
    pub cell: Option<NonZeroUsize>,
    /// Refuse the cell if it is not this one any more (the ids are in cells.csv), because the file or the agent was changed
    #[arg(long, requires = "cell")]
    pub id: Option<String>,
}
