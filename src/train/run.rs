//! One training run: its parts, and what can be done with them.

use super::film;
use super::meters::Meters;
use super::state::TrainState;
use crate::checkpoint::Checkpoint;
use crate::config::{Cadence, Preset, RunConfig};
use crate::diagnose;
use crate::memory;
use crate::provenance;
use crate::record::{
    self, Clock, ConsoleRecorder, CsvRecorder, Diagnosis, Evaluation, Multi, Progress, Recorder, Start,
    TensorBoardRecorder, timed,
};
use crate::report::{Curve, read_eval_csv, write_svg};
use crate::task::{Task, Transition};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
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
        let open = |_| Task::open(&config.env, config.train.action_repeat);
        let tasks = (0..environments).map(open).collect::<Result<Vec<_>>>()?;
        let spec = tasks[0].spec().clone();
        let (observations, actions) = (spec.observation_dim, spec.action_dim());
        memory::require(memory::Work::Train, config, observations, actions, environments)?;
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
        let parameters = Parameters::of(&agent_config.model, observations, actions);
        provenance::append(folder, &config.device, parameters, run.state.env_step)?;
        let matched = config.model.match_params.dynamics().map(|like| like.name());
        run.recorder.start(&Start { dynamics: config.variant(), matched, parameters });
        run.show_progress("start");
        Ok(run)
    }

    fn begin(&mut self) -> Result<()> {
        if let Some(advice) = Preset::advice(&self.config, self.tasks[0].spec()) {
            eprintln!("note: {advice}");
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
        tracing::info!(env_step = self.state.env_step, "going on from a checkpoint");
        self.agent.import(&checkpoint.learner()?)?;
        self.replay.import(checkpoint.replay()?)?;
        let [cpu, wall] = self.state.seconds;
        self.clock = Clock::resume(cpu, wall);
        let recorded = self.state.recorded;
        self.recorder.0.push(Box::new(CsvRecorder::resume(&self.folder, recorded)?));
        self.recorder.0.push(Box::new(TensorBoardRecorder::resume(&self.folder, self.state.env_step)?));
        self.write_config()?;
        let mut lives = self.state.lives.iter().zip(&mut self.tasks);
        lives
            .try_for_each(|(life, task)| life.relive(task))
            .with_context(|| self.folder.display().to_string())
    }

    fn write_config(&self) -> Result<()> {
        let path = self.folder.join("config.toml");
        fs::write(&path, self.config.to_toml()).with_context(|| format!("cannot write {}", path.display()))
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
        self.saved_at.elapsed() >= Duration::from_secs_f64(self.config.train.checkpoint_seconds)
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

    /// TD-MPC v1 orders the first `seed_decisions` updates after the first planned episode, then one episode's worth
    /// after each; `finished` are the decisions of all episodes that have just ended.
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
        if !losses.total.is_finite() || !losses.gradient_norm.is_finite() {
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

    fn record_episode(&mut self, total: f64, length: u64, ending: Ending) -> Result<()> {
        let meters = std::mem::take(&mut self.state.meters);
        let state = &self.state;
        let schedule = self.schedule();
        let row = record::Episode {
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
        };
        self.recorder.episode(&row)?;
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

fn lock(folder: &Path) -> Result<File> {
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

/// A folder is continued only by the run that began it; more steps, other clocks or another device are welcome.
pub fn refuse_another_run(there: &RunConfig, here: &RunConfig, folder: &Path) -> Result<()> {
    let comparable = |c: &RunConfig| {
        let mut c = c.clone();
        (c.steps, c.threads, c.device) = (0, 0, String::new());
        c.train.checkpoint_seconds = 0.0;
        c.evaluation.video_every = 0;
        c.to_toml()
    };
    let mut there = there.clone();
    // runs from before there was a continuation head say "off"; where nothing can terminate "auto" is the same
    if there.env == here.env && there.model.continuation != here.model.continuation {
        let task = Task::open(&here.env, 0)?;
        if there.agent_for(task.spec()).model.continuation == here.agent_for(task.spec()).model.continuation {
            there.model.continuation = here.model.continuation;
        }
    }
    let (there, here) = (comparable(&there), comparable(here));
    let pairs = there.lines().zip(here.lines());
    let differing: Vec<_> =
        pairs.filter(|(a, b)| a != b).map(|(a, b)| format!("{a} there, {b} here")).collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(crate::config::ConfigError(format!(
        "{} holds a run with other settings ({}): give this one another folder with --out",
        folder.display(),
        differing.join("; ")
    ))
    .into())
}
