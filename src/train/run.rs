//! One training run: its parts, and what can be done with them.

use super::film;
use super::meters::Meters;
use super::same_run::refuse_another_run;
use super::state::TrainState;
use crate::checkpoint::Checkpoint;
use crate::config::{Cadence, ConfigError, Preset, RunConfig};
use crate::diagnose;
use crate::memory;
use crate::provenance;
use crate::record::{
    self, Clock, ConsoleRecorder, CsvRecorder, Diagnosis, Evaluation, Multi, Progress, Recorder, Start,
    TensorBoardRecorder, say, timed,
};
use crate::report::write_atomically;
use crate::report::{Curve, read_eval_csv, write_svg};
use crate::task::{Task, Transition};
use anyhow::{Context, Result, anyhow, bail, ensure};
use rayon::prelude::*;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::device::{self, Products};
use td_koopman_agents::model::Parameters;
use td_koopman_agents::planner::{Mode, Plan};
use td_koopman_agents::replay::{Batch, Ending, Replay};
use td_koopman_agents::rng::Stream;
use td_koopman_envs::{End, Spec};

/// A run in progress.
pub struct Run {
    config: RunConfig,
    folder: PathBuf,
    /// Held while the run is open, so that no second process writes into its folder.
    _lock: File,
    agent: Agent,
    /// One for every environment, in the order of the lives.
    tasks: Vec<Task>,
    replay: Replay,
    batch: Batch,
    state: TrainState,
    recorder: Multi,
    clock: Clock,
    checkpoint: Option<Checkpoint>,
    saved_at: Instant,
}

impl Run {
    /// Begins a run, or goes on with the one in `folder`.
    pub fn open(config: &RunConfig, folder: &Path) -> Result<Self> {
        let products =
            [Products::Plans(config.planner.precision), Products::Updates(config.learner.precision)];
        let device = device::open_for(&config.device, &products)?;
        let environments = config.train.num_envs;
        let open = || Task::open(&config.env, config.train.action_repeat);
        let first = open()?;
        let spec = first.spec().clone();
        let (observations, actions) = (spec.observation_dim, spec.action_dim());
        memory::require(memory::Work::Train, config, observations, actions, environments)?;
        let others = (1..environments).map(|_| open());
        let tasks = [Ok(first)].into_iter().chain(others).collect::<Result<Vec<_>>>()?;
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the run folder {}", folder.display()))?;
        let lock = lock(folder)?;
        let checkpoint = Checkpoint::newest(folder)?;
        let agent_config = config.agent_for(&spec);
        let mut init = Stream::new(config.seed, "init");
        let mut run = Self {
            agent: Agent::new(&agent_config, observations, actions, &mut init, &device),
            replay: Replay::new(&config.replay, config.learner.horizon, observations, actions),
            batch: Batch::default(),
            state: TrainState::new(config.seed, environments),
            recorder: Multi(vec![Box::new(ConsoleRecorder::stderr())]),
            clock: Clock::start(),
            saved_at: Instant::now(),
            config: config.clone(),
            folder: folder.to_owned(),
            _lock: lock,
            tasks,
            checkpoint,
        };
        match run.checkpoint.clone() {
            Some(checkpoint) => run.restore(&checkpoint)?,
            None => run.begin()?,
        }
        run.state.environment = Some(run.tasks[0].own_spec().into());
        if !run.is_finished() {
            remove_curve(folder)?;
        }
        let parameters = Parameters::of(&agent_config.model, observations, actions);
        provenance::append(folder, &config.device, parameters, run.state.env_step)?;
        let matched = config.model.match_params.dynamics().map(|like| like.name());
        run.recorder.start(&Start { dynamics: config.variant(), matched, parameters });
        run.show_progress("start");
        Ok(run)
    }

    fn begin(&mut self) -> Result<()> {
        refuse_to_forget(&self.folder)?;
        if let Some(advice) = Preset::advice(&self.config, self.tasks[0].spec()) {
            say(format_args!("note: {advice}"));
        }
        self.recorder.0.push(Box::new(CsvRecorder::create(&self.folder)?));
        self.recorder.0.push(Box::new(TensorBoardRecorder::create(&self.folder)?));
        self.write_config()?;
        self.state.lives.iter_mut().zip(&mut self.tasks).for_each(|(life, task)| life.begin(task, 0));
        Ok(())
    }

    fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        refuse_another_run(&checkpoint.config()?, &self.config, &self.folder)?;
        self.state = TrainState::load(checkpoint)?;
        let damaged = |why| anyhow!("{} is damaged: {why}", self.folder.display());
        ensure!(
            self.state.lives.len() == self.tasks.len(),
            damaged("its environments are not those of its configuration")
        );
        // the last decision may have gone beyond the end
        let overshoot = (self.tasks.len() * self.spec().action_repeat) as u64;
        if self.state.env_step >= self.config.steps.saturating_add(overshoot) {
            return Err(ConfigError(format!(
                "{} has taken {} environment steps already, more than the {} asked for: give `--steps` more to go on, or `td-koopman eval {}` to look at it",
                self.folder.display(),
                self.state.env_step,
                self.config.steps,
                self.folder.display()
            ))
            .into());
        }
        tracing::info!(env_step = self.state.env_step, "going on from a checkpoint");
        self.agent.import(&checkpoint.learner()?)?;
        self.replay.import(checkpoint.replay()?)?;
        let [cpu, wall] = self.state.seconds;
        self.clock = Clock::resume(cpu, wall);
        let recorded = self.state.recorded;
        let rows = CsvRecorder::resume(&self.folder, recorded)?;
        rows.require_columns(&self.episode_row(0.0, 0, Ending::Truncated))?;
        self.recorder.0.push(Box::new(rows));
        self.recorder.0.push(Box::new(TensorBoardRecorder::resume(&self.folder, self.state.env_step)?));
        self.write_config()?;
        let mut lives = self.state.lives.iter().zip(&mut self.tasks);
        lives
            .try_for_each(|(life, task)| life.relive(task))
            .with_context(|| self.folder.display().to_string())
    }

    fn write_config(&self) -> Result<()> {
        write_atomically(&self.folder.join("config.toml"), self.config.to_toml().as_bytes())
    }

    /// Whether all steps are taken and nothing is owed.
    pub fn is_finished(&self) -> bool {
        self.state.env_step >= self.config.steps && !self.owes_updates() && !self.owes_evaluation()
    }

    /// Whether updates are due.
    pub fn owes_updates(&self) -> bool {
        self.state.updates_owed >= 1.0
    }

    /// Whether an evaluation is due: at every multiple of `evaluation.every`, and at the end.
    pub fn owes_evaluation(&self) -> bool {
        let every = self.config.evaluation.every;
        let (now, last) = (self.state.env_step, self.state.evaluated_at);
        now / every > last / every || (now >= self.config.steps && now > last)
    }

    /// Whether the checkpoint clock has run out.
    pub fn checkpoint_is_due(&self) -> bool {
        self.saved_at.elapsed().as_secs_f64() >= self.config.train.checkpoint_seconds
    }

    fn spec(&self) -> &Spec {
        self.tasks[0].spec()
    }

    fn action_dim(&self) -> usize {
        self.spec().action_dim()
    }

    fn schedule(&self) -> Schedule {
        self.agent.schedule(self.state.episode_start())
    }

    /// Takes one decision in every environment.
    pub fn decide(&mut self) -> Result<()> {
        let actions = self.choose_actions();
        let each = actions.par_chunks_exact(self.action_dim());
        let (transitions, seconds) =
            timed(|| self.tasks.par_iter_mut().zip(each).map(|(task, action)| task.step(action)).collect());
        let transitions: Vec<Transition> = transitions;
        self.state.meters.env_seconds += seconds;
        let count = self.tasks.len() as u64;
        self.state.decision += count;
        self.state.env_step += count * self.spec().action_repeat as u64;
        if self.state.learning && self.config.train.update_cadence == Cadence::Decision {
            self.state.updates_owed += count as f64 * self.config.train.updates_per_decision;
        }
        let mut finished = 0;
        for (index, transition) in transitions.into_iter().enumerate() {
            let action = &actions[index * self.action_dim()..][..self.action_dim()];
            finished += self.live_on(index, action, transition)?;
        }
        if finished > 0 {
            self.order_updates(finished);
        }
        self.show_progress(if self.state.learning { "train" } else { "explore" });
        Ok(())
    }

    /// Notes what a decision led to in one environment; returns the length of the episode that it finished, or 0.
    fn live_on(&mut self, index: usize, action: &[f32], transition: Transition) -> Result<u64> {
        let task = &self.tasks[index];
        task.require_alive()?;
        ensure!(
            transition.reward.is_finite() && task.observation().iter().all(|x| x.is_finite()),
            "the simulator returned a number that is not finite before environment step {}: its state has exploded",
            self.state.env_step
        );
        self.state.lives[index].episode.push(action, transition.reward as f32, task.observation());
        match transition.end {
            End::Running => Ok(0),
            End::Terminated => self.finish_episode(index, Ending::Terminated),
            End::Truncated => self.finish_episode(index, Ending::Truncated),
        }
    }

    /// Uniform at first, then one plan for all environments: `[E, A]`.
    fn choose_actions(&mut self) -> Vec<f32> {
        let seed_decisions = self.seed_decisions();
        let (state, count) = (&mut self.state, self.tasks.len() * self.tasks[0].spec().action_dim());
        if state.decision < seed_decisions {
            return state.streams.exploration.uniform(count, -1.0, 1.0);
        }
        let schedule = self.agent.schedule(state.episode_start());
        let observations: Vec<f32> = self.tasks.iter().flat_map(|task| task.observation()).copied().collect();
        let plans: Vec<Plan> = state.lives.iter().map(|life| life.plan.clone()).collect();
        let mut noise: Vec<Stream> = state.lives.iter().map(|life| life.noise.clone()).collect();
        let (decisions, seconds) =
            timed(|| self.agent.act(&observations, &plans, schedule, Mode::Explore, &mut noise));
        state.meters.plan_seconds += seconds;
        let mut actions = Vec::with_capacity(count);
        for ((life, decision), noise) in state.lives.iter_mut().zip(decisions).zip(noise) {
            state.meters.planned(&decision);
            (life.plan, life.noise) = (decision.plan, noise);
            actions.extend(decision.action);
        }
        actions
    }

    fn finish_episode(&mut self, index: usize, ending: Ending) -> Result<u64> {
        let life = &self.state.lives[index];
        let (total, length) = (life.episode.total_reward(), life.episode.len() as u64);
        self.replay.add(&life.episode, ending)?;
        self.state.episode += 1;
        self.state.last_return = Some(total);
        self.record_episode(total, length, ending)?;
        self.state.lives[index].begin(&mut self.tasks[index], self.state.decision);
        Ok(length)
    }

    fn seed_decisions(&self) -> u64 {
        self.config.seed_decisions(self.tasks[0].spec())
    }

    /// Orders the first `seed_decisions` updates when an episode ends with so many decisions taken, with v1 one episode's worth
    /// after each later one; `finished` are the decisions of all episodes that have just ended.
    ///
    /// Where the length of episodes divides `seed_decisions` that is the last random episode. TD-MPC v1's code collects one
    /// more before, with the untrained planner.
    fn order_updates(&mut self, finished: u64) {
        let (train, seed_decisions) = (&self.config.train, self.seed_decisions());
        let decisions = if !self.state.learning && self.state.decision >= seed_decisions {
            self.state.learning = true;
            seed_decisions.max(finished)
        } else if self.state.learning && train.update_cadence == Cadence::Episode {
            finished
        } else {
            0
        };
        self.state.updates_owed += decisions as f64 * train.updates_per_decision;
    }

    /// Makes one update.
    pub fn update(&mut self) -> Result<()> {
        let (losses, seconds) = timed(|| {
            let streams = &mut self.state.streams;
            let (size, horizon) = (self.config.learner.batch_size, self.agent.training_horizon());
            self.replay.sample(size, horizon, &mut streams.replay, &mut self.batch);
            let update = self.agent.update(&self.batch, &mut streams.learning);
            self.replay.set_priorities(&self.batch.starts, &update.priorities);
            update.losses
        });
        // the policy's is no part of the total, and a checkpoint cannot hold it either: JSON has no NaN
        if ![losses.total, losses.policy, losses.gradient_norm].into_iter().all(f64::is_finite) {
            bail!(
                "the loss is no longer a number after {} updates (environment step {}): training has diverged; lower \
                 `learner.learning_rate` or `learner.max_gradient_norm` and begin anew. The last checkpoint is untouched",
                self.agent.updates(),
                self.state.env_step
            );
        }
        self.state.meters.updated(&losses);
        self.state.meters.update_seconds += seconds;
        self.state.updates_owed -= 1.0;
        self.show_progress("train");
        Ok(())
    }

    /// Evaluates; if it is stopped meanwhile, the evaluation stays due.
    pub fn evaluate(&mut self, stop: &AtomicBool) -> Result<()> {
        self.show_progress("evaluate");
        if self.checkpoint.is_none() {
            // rows of eval.csv always have a checkpoint to go on from, see `refuse_to_forget`
            self.save()?;
        }
        let (episodes, schedule) = (self.config.evaluation.episodes, self.schedule());
        let (agent, config) = (&self.agent, &self.config);
        let film = film::file(config, &self.folder, self.state.env_step);
        let scores =
            self.clock.uncounted(|| film::evaluation(agent, schedule, config, film.as_deref(), stop))?;
        let Some(scores) = scores else { return Ok(()) };
        if !self.replay.is_empty() {
            let Some(mut diagnosis) = self.diagnose(schedule, stop)? else { return Ok(()) };
            diagnosis.values.extend(scores.expectation().map(|(name, value)| (name.into(), value)));
            self.recorder.diagnosis(&diagnosis)?;
        }
        let evaluation = Evaluation {
            env_step: self.state.env_step,
            return_mean: scores.mean(),
            return_sd: scores.sd(),
            episodes,
            cpu_seconds: self.clock.cpu_seconds(),
            wall_seconds: self.clock.wall_seconds(),
        };
        self.recorder.evaluation(&evaluation)?;
        self.state.evaluated_at = self.state.env_step;
        self.state.recorded.evaluation = Some(self.state.env_step);
        self.state.last_evaluation = Some(scores.mean());
        self.show_progress("evaluate");
        Ok(())
    }

    /// Judges the model on the replay, and plays at further horizons; `None` if `stop` was raised meanwhile.
    fn diagnose(&mut self, schedule: Schedule, stop: &AtomicBool) -> Result<Option<Diagnosis>> {
        let (agent, config, env_step) = (&self.agent, &self.config, self.state.env_step);
        self.clock.uncounted(|| {
            let (seed, evaluation) = (config.seed, &config.evaluation);
            let mut values = diagnose::model(agent, &self.replay, seed, env_step);
            let mut task = Task::open(&config.env, config.train.action_repeat)?;
            let (horizons, episodes) = (&evaluation.horizons, evaluation.episodes);
            let returns = diagnose::returns(agent, &mut task, schedule, horizons, episodes, seed, stop);
            task.require_alive()?;
            Ok(returns.map(|returns| {
                values.extend(returns);
                Diagnosis { env_step, values }
            }))
        })
    }

    /// The row of an episode that has just ended.
    fn episode_row(&self, total: f64, length: u64, ending: Ending) -> record::Episode {
        let (state, meters, schedule) = (&self.state, &self.state.meters, self.schedule());
        record::Episode {
            env_step: state.env_step,
            decision: state.decision,
            episode: state.episode,
            episode_return: total,
            length: length * self.spec().action_repeat as u64,
            end: match ending {
                Ending::Terminated => "terminated",
                Ending::Truncated => "truncated",
            },
            updates: self.agent.updates(),
            losses: meters.losses(),
            horizon: schedule.horizon,
            exploration_std: schedule.min_std,
            bad_scores: meters.bad_scores,
            plan_seconds: meters.plan_seconds,
            update_seconds: meters.update_seconds,
            env_seconds: meters.env_seconds,
            cpu_seconds: self.clock.cpu_seconds(),
            wall_seconds: self.clock.wall_seconds(),
            extras: (meters.plan_diagnostics().into_iter())
                .chain(self.agent.predicts_terminations().then(|| meters.continuation()))
                .chain(self.agent.diagnostics())
                .collect(),
        }
    }

    fn record_episode(&mut self, total: f64, length: u64, ending: Ending) -> Result<()> {
        self.recorder.episode(&self.episode_row(total, length, ending))?;
        self.state.recorded.episode = Some(self.state.env_step);
        self.state.meters = Meters::default();
        Ok(())
    }

    fn show_progress(&mut self, phase: &'static str) {
        let state = &self.state;
        self.recorder.progress(&Progress {
            env_step: state.env_step,
            total_env_steps: self.config.steps,
            last_return: state.last_return,
            last_evaluation: state.last_evaluation,
            losses: state.meters.losses(),
            phase,
        });
    }

    /// Writes a checkpoint.
    pub fn save(&mut self) -> Result<()> {
        self.recorder.flush()?;
        self.state.seconds = [self.clock.cpu_seconds(), self.clock.wall_seconds()];
        let (learner, replay) = (self.agent.export(), self.replay.export());
        let previous = self.checkpoint.as_ref();
        let new = Checkpoint::write(&self.folder, previous, &self.config, &self.state, &learner, &replay)?;
        tracing::info!(env_step = self.state.env_step, "checkpoint written");
        self.checkpoint = Some(new);
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Ends a finished run: last checkpoint, learning curve, tidy terminal.
    pub fn finish(&mut self) -> Result<()> {
        self.save()?;
        self.recorder.finish()?;
        let points = read_eval_csv(&self.folder.join("eval.csv"))?;
        let label = format!("{}, seed {}", self.config.variant(), self.config.seed);
        let subtitle = format!(
            "mean ± standard deviation over {} evaluation episodes; commit {}",
            self.config.evaluation.episodes,
            provenance::COMMIT
        );
        let title = &self.spec().official;
        write_svg(&self.folder.join("curve.svg"), title, &subtitle, &[Curve::of_runs(label, points)])
    }
}

/// Refuses to begin where there are evaluations, which would be lost, but no checkpoint to go on from; or a configuration that
/// somebody else wrote, perhaps the one that the run was given.
fn refuse_to_forget(folder: &Path) -> Result<()> {
    let [config, rows] = ["config.toml", "eval.csv"].map(|file| folder.join(file));
    // a run has its tables before its configuration
    if config.exists() && !rows.exists() {
        return Err(ConfigError(format!(
            "{} would be overwritten, and was not written by a run: give the run another folder with --out",
            config.display()
        ))
        .into());
    }
    let lines = fs::read(folder.join("eval.csv")).unwrap_or_default();
    if lines.iter().filter(|byte| **byte == b'\n').count() < 2 {
        return Ok(());
    }
    Err(ConfigError(format!(
        "{} holds evaluations of a run but no checkpoint to go on from: give this one another folder with --out, or remove \
         eval.csv there to begin anew",
        folder.display()
    ))
    .into())
}

/// A curve says that a run is finished; one that is given more steps is not.
fn remove_curve(folder: &Path) -> Result<()> {
    let path = folder.join("curve.svg");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

pub(crate) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "another process is training in {}: wait for it, stop it, or choose another --out folder",
            folder.display()
        ),
        // some network file systems cannot lock; a run there is as safe as its user is careful
        Err(fs::TryLockError::Error(_)) => Ok(file),
    }
}
