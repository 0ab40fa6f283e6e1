//! The `compare` command: environments × variants × seeds, trained, aggregated, reported.

use super::Outcome;
use super::args::CompareArgs;
use super::choices::{Variant, distinct, list, seeds};
use super::compare_report;
use super::files::{self, runs_folder};
use super::plan::StudyPlan;
use super::pool::{self, Ending, Job};
use super::text::{command_line, slug, this_program};
use crate::cli::TrainArgs;
use crate::config::{ConfigError, RunConfig};
use crate::record::say;
use crate::report::Evaluated;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use td_koopman_envs::{Source, registry};

/// A task of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    /// Its short name.
    pub name: String,
    /// Where it was defined first.
    pub source: Source,
}

/// A run of a comparison.
pub struct Cell {
    /// Its task's short name.
    pub env: String,
    /// Its variant's label.
    pub variant: String,
    /// Its seed.
    pub seed: u64,
    /// Its configuration.
    pub config: RunConfig,
    /// Its run folder.
    pub folder: PathBuf,
    /// The arguments that train it.
    arguments: Vec<String>,
}

impl Cell {
    fn name(&self) -> String {
        format!("{} {} seed {}", self.env, self.variant, self.seed)
    }

    /// The run's place below `runs/NAME/` and below `results/NAME/runs/`.
    pub fn place(&self) -> PathBuf {
        PathBuf::from(&self.env).join(&self.variant).join(format!("seed{}", self.seed))
    }
}

/// Where a run that has finished or failed left its files, and why it failed, if it did.
struct Ended {
    files: PathBuf,
    failure: Option<String>,
}

/// A run of a comparison that has finished or failed.
pub struct Tried<'a> {
    /// The run.
    pub cell: &'a Cell,
    /// Where its files are: in its folder, or among the results of an earlier report.
    pub files: PathBuf,
    /// Its evaluations.
    pub evaluations: Vec<Evaluated>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// A comparison.
pub struct Comparison {
    /// Its tasks.
    pub environments: Vec<Environment>,
    /// Its variants' labels.
    pub variants: Vec<String>,
    /// Its runs, by task, variant and seed.
    pub cells: Vec<Cell>,
    /// Its seeds.
    pub seeds: Vec<u64>,
    /// Where its results go.
    pub out: PathBuf,
    /// The file it was read from.
    pub(super) plan: Option<StudyPlan>,
}

impl Comparison {
    /// The comparison that the flags ask for, checked as a whole before anything runs.
    pub fn new(args: &CompareArgs) -> Result<Self> {
        let environment = |name: &String| -> Result<Environment> {
            let env = registry::make(name)?;
            Ok(Environment { name: env.spec().name.clone(), source: env.spec().source })
        };
        let plan = args.study.as_ref().map(|path| StudyPlan::load(args, path)).transpose()?;
        let args = plan.as_ref().map_or(args, |plan| &plan.args);
        let names = list(args.env.as_deref().unwrap_or_default(), ',')?;
        let environments = names.iter().map(environment).collect::<Result<Vec<_>>>()?;
        distinct("--env", &environments.iter().map(|env| &env.name).collect::<Vec<_>>())?;
        let parse = |text: &String| Variant::parse(text);
        let variants = match &plan {
            Some(plan) => plan.variants.clone(),
            None => list(&args.variants, ',')?.iter().map(parse).collect::<Result<_, _>>()?,
        };
        let labels: Vec<String> = variants.iter().map(|variant| variant.label.clone()).collect();
        distinct("--variants", &labels)?;
        let seeds = seeds(&args.seeds)?;
        let out = args.out.clone().unwrap_or_else(|| {
            let envs: Vec<&str> = environments.iter().map(|env| env.name.as_str()).collect();
            PathBuf::from("results").join(slug(&format!("{}-{}", envs.join("-"), labels.join("-"))))
        });
        if out.file_name().is_none() {
            return Err(ConfigError(format!(
                "--out {} has no name: the runs live in runs/NAME, so give a folder such as results/NAME",
                out.display()
            ))
            .into());
        }
        let mut cells = Vec::new();
        for (env, name) in environments.iter().zip(&names) {
            let own_steps = plan.as_ref().and_then(|plan| plan.task_steps.get(name).copied());
            let args = &CompareArgs { steps: own_steps.or(args.steps), ..args.clone() };
            for variant in &variants {
                for &seed in &seeds {
                    cells.push(
                        cell(args, env, variant, seed, &out)
                            .with_context(|| format!("variant `{}` of {}", variant.label, env.name))?,
                    );
                }
            }
        }
        if plan.is_some() {
            // a long list is read while it grows: one variant is completed before the next begins
            cells.sort_by_key(|cell| labels.iter().position(|label| *label == cell.variant));
        }
        Ok(Self { environments, variants: labels, cells, seeds, out, plan })
    }

    /// One independent command for each run that is not finished.
    pub fn commands(&self) -> Vec<String> {
        let command = |cell: &Cell| command_line(&this_program(), &cell.arguments);
        self.cells
            .iter()
            .zip(self.ended())
            .filter(|(_, ended)| ended.is_none())
            .map(|(c, _)| command(c))
            .collect()
    }

    /// Where an earlier report left the small files of a run.
    pub fn kept(&self, cell: &Cell) -> PathBuf {
        self.out.join("runs").join(cell.place())
    }

    /// Where a finished run has its files: in its folder, or where an earlier report left all that a report needs, as a study
    /// goes on in a clone of the repository, where nothing but results is.
    ///
    /// # Errors
    /// A run with other settings is in one of the two: the report would replace what is kept.
    fn finished(&self, cell: &Cell) -> Result<Option<PathBuf>> {
        let kept = self.kept(cell);
        files::refuse_foreign(&cell.config, &kept)
            .context("what is kept is not replaced, remove it to train this run")?;
        if files::is_finished(&cell.config, &cell.folder)? {
            return Ok(Some(cell.folder.clone()));
        }
        Ok(files::is_kept(&cell.config, &kept)?.then_some(kept))
    }

    /// The runs that have ended so far, here or elsewhere, by the order of the cells.
    fn ended(&self) -> Vec<Option<Ended>> {
        let mut elsewhere = 0;
        let ended = self.cells.iter().map(|cell| match self.finished(cell) {
            Ok(files) => {
                let files = files?;
                elsewhere += usize::from(files != cell.folder);
                Some(Ended { files, failure: None })
            }
            Err(error) => {
                say(format_args!("failed: {} ({error:#})", cell.name()));
                Some(Ended { files: cell.folder.clone(), failure: Some(format!("{error:#}")) })
            }
        });
        let ended: Vec<_> = ended.collect();
        let missing = ended.iter().filter(|ended| ended.is_none()).count();
        say(format_args!("{} runs, {missing} to do", ended.len()));
        if elsewhere > 0 {
            say(format_args!(
                "{elsewhere} were finished elsewhere: their evaluations are in {} (remove them there to train them here)",
                self.out.join("runs").display()
            ));
        }
        ended
    }

    /// Trains what is missing, `parallel` runs at a time, then writes the report; if it is stopped, of what is finished.
    pub fn run(&self, parallel: usize, stop: &AtomicBool) -> Result<Outcome> {
        // before hours of training, not after them
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot create {}", self.out.display()))?;
        let mut ended = self.ended();
        let missing: Vec<usize> = (0..ended.len()).filter(|&index| ended[index].is_none()).collect();
        let jobs: Vec<Job> = missing.iter().map(|&index| job(&self.cells[index])).collect();
        let endings = pool::run(&jobs, parallel, stop, |_, _| Ok(()))?;
        let stopped = endings.contains(&Ending::Stopped);
        for (index, ending) in missing.into_iter().zip(endings) {
            let files = self.cells[index].folder.clone();
            ended[index] = match ending {
                Ending::Finished => Some(Ended { files, failure: None }),
                // another process trains it, perhaps of the same study, or has by now
                Ending::Failed(_)
                    if matches!(files::is_finished(&self.cells[index].config, &files), Ok(true)) =>
                {
                    Some(Ended { files, failure: None })
                }
                Ending::Failed(_) if files::is_locked(&files) => None,
                Ending::Failed(why) => Some(Ended { files, failure: Some(why) }),
                Ending::Stopped => None,
            };
        }
        let unfinished = ended.iter().filter(|ended| ended.is_none()).count();
        let failed = self.write(ended)?;
        Ok(match (failed, unfinished) {
            _ if stopped => Outcome::Interrupted,
            (0, 0) => Outcome::Finished,
            (0, locked) => Outcome::Locked(locked),
            (failed, _) => Outcome::Failed(failed),
        })
    }

    /// Writes the report of what has ended so far; trains nothing.
    pub fn report(&self) -> Result<Outcome> {
        let ended = self.ended();
        let nothing = ended.iter().all(Option::is_none);
        Ok(match self.write(ended)? {
            0 if nothing => {
                let none = "none of its runs has ended, so there is nothing to report";
                return Err(ConfigError(none.into()).into());
            }
            0 => Outcome::Finished,
            failed => Outcome::Failed(failed),
        })
    }

    /// Writes the report of the runs that have ended, unless nothing has been evaluated; returns how many failed.
    fn write(&self, ended: Vec<Option<Ended>>) -> Result<usize> {
        let tried = self.cells.iter().zip(ended).filter_map(|(cell, ended)| {
            let Ended { files, failure } = ended?;
            // beside another run's files this one has nothing to say
            let own = [&files, &self.kept(cell)]
                .into_iter()
                .try_for_each(|folder| files::refuse_foreign(&cell.config, folder));
            let evaluations = own.and_then(|()| files::evaluations(&files, cell.config.steps));
            let (evaluations, failure) = match evaluations {
                Ok(rows) => (rows, failure),
                Err(error) => (Vec::new(), failure.or(Some(format!("{error:#}")))),
            };
            Some(Tried { cell, files, evaluations, failure })
        });
        let tried: Vec<Tried> = tried.collect();
        if tried.iter().any(|run| !run.evaluations.is_empty()) {
            compare_report::write(self, &tried)?;
        } else {
            say(format_args!("nothing has been evaluated: {} stays as it is", self.out.display()));
        }
        Ok(tried.iter().filter(|run| run.failure.is_some()).count())
    }
}

fn cell(
    args: &CompareArgs,
    env: &Environment,
    variant: &Variant,
    seed: u64,
    out: &std::path::Path,
) -> Result<Cell> {
    let folder = runs_folder(out).join(&env.name).join(&variant.label).join(format!("seed{seed}"));
    let one_thread = "threads=1".to_owned();
    let decided = [
        ("env", true),
        ("seed", true),
        ("steps", args.steps.is_some()),
        ("model.dynamics", variant.dynamics.is_some()),
    ];
    let keys = || variant.settings.iter().filter_map(|setting| Some(setting.split_once('=')?.0.trim()));
    if let Some((key, _)) =
        decided.into_iter().find(|(key, is_decided)| *is_decided && keys().any(|k| k == *key))
    {
        return Err(ConfigError(format!(
            "`{key}` has no say in a variant: {}",
            if key == "model.dynamics" {
                "its label names a dynamics; choose another label"
            } else {
                "it is the comparison's, the same for all"
            }
        ))
        .into());
    }
    let train = TrainArgs {
        env: Some(env.name.clone()),
        dynamics: variant.dynamics.clone(),
        match_params: args.match_params.clone(),
        planner: None,
        preset: args.preset,
        eval_horizons: None,
        num_envs: None,
        steps: args.steps,
        seed: Some(seed),
        device: None,
        out: Some(folder.clone()),
        video_every: None,
        config: args.config.clone(),
        set: [vec![one_thread], args.set.clone(), variant.settings.clone()].concat(),
    };
    let config = train.resolve()?;
    Ok(Cell {
        env: env.name.clone(),
        variant: variant.label.clone(),
        seed,
        config,
        folder,
        arguments: train.arguments(),
    })
}

fn job(cell: &Cell) -> Job {
    let folder = cell.folder.clone();
    Job {
        name: cell.name(),
        arguments: cell.arguments.clone(),
        folder: cell.folder.clone(),
        work: cell.config.steps,
        done: Box::new(move || files::env_step(&folder)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    /// What a command line asks for.
    pub fn comparison(line: &str) -> Result<Comparison> {
        let cli = Cli::try_parse_from(["td-koopman", "compare"].into_iter().chain(line.split_whitespace()))?;
        let Some(Command::Compare(args)) = cli.command else { panic!("not compare") };
        Comparison::new(&args)
    }

    /// `short:steps=300` trained as long as all others, and the page called it another variant.
    #[test]
    fn settings_that_a_comparison_decides_are_refused_in_variants() {
        for (variant, key) in [
            ("short:steps=300", "`steps`"),
            ("other:env=hopper", "`env`"),
            ("other:seed=3", "`seed`"),
            ("mlp:model.dynamics=koopman", "`model.dynamics`"),
        ] {
            let line = format!("--env pendulum --variants {variant} --seeds 1 --steps 500 --out results/x");
            let error = format!("{:#}", comparison(&line).err().unwrap());
            assert!(error.contains(key) && error.contains("has no say"), "{error}");
        }
    }

    #[test]
    fn cells_are_training_commands_that_give_their_configuration() {
        let line = "--env pendulum,linear --variants few:planner.num_samples=32;planner.num_elites=8,mlp --seeds 1..2 \
                    --preset light --steps 500 --set learner.rho=0.7 --out results/x";
        let comparison = comparison(line).unwrap();
        assert_eq!(comparison.cells.len(), 8);
        for cell in &comparison.cells {
            let words = ["td-koopman".to_owned()].into_iter().chain(cell.arguments.iter().cloned());
            let Some(Command::Train(args)) = Cli::try_parse_from(words).unwrap().command else { panic!() };
            assert_eq!(args.resolve().unwrap(), cell.config);
            assert_eq!(args.folder(&cell.config), cell.folder);
            assert_eq!((cell.config.threads, cell.config.steps, cell.config.learner.rho), (1, 500, 0.7));
        }
        let first = &comparison.cells[0];
        assert_eq!(first.folder, PathBuf::from("runs/x/pendulum/few/seed1"));
        assert_eq!((first.config.planner.num_samples, first.config.variant()), (32, "koopman"));
        assert_eq!(comparison.cells[2].config.variant(), "mlp");
        let command = &comparison.commands()[0];
        assert!(command.contains("train --env pendulum --preset light --steps 500 --seed 1"), "{command}");
    }

    #[test]
    fn a_task_of_a_study_may_be_trained_for_longer() {
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path().join("longer.toml");
        let text = "about = \"\"\nenv = [\"pendulum\", \"linear\"]\nseeds = [1]\nsteps = 500\nbaseline = \"mlp\"\n\
                    task_steps = { linear = 900 }\n[[variants]]\nlabel = \"mlp\"\nidea = \"\"\n";
        std::fs::write(&study, text).unwrap();
        let comparison = comparison(&format!("--study {}", study.display())).unwrap();
        let steps: Vec<_> = comparison.cells.iter().map(|c| (c.env.as_str(), c.config.steps)).collect();
        assert_eq!(steps, [("pendulum", 500), ("linear", 900)]);
        assert!(comparison.commands()[1].contains("--steps 900"), "{}", comparison.commands()[1]);
    }

    #[test]
    fn mistakes_are_named_before_anything_runs() {
        for (line, complaint) in [
            ("--env pendulun", "the nearest names are pendulum"),
            ("--env pendulum,Pendulum-v1", "--env names `pendulum` twice"),
            ("--env pendulum --variants mlp,mlp", "--variants names `mlp` twice"),
            ("--env pendulum --variants koopmann", "expected one of `koopman`, `mlp`"),
            ("--env pendulum --variants a:planer.num_samples=3", "unknown key `planer.num_samples`"),
            ("--env pendulum --seeds 3..1", "did you mean 1..3?"),
            ("--env pendulum --jobs 0", "--jobs"),
            ("--env pendulum --out ..", "--out .. has no name"),
        ] {
            let error = format!("{:#}", comparison(line).err().unwrap());
            assert!(error.contains(complaint), "{line}: {error}");
        }
    }
}
