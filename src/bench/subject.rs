//! Plans and updates of one agent.

use super::{Meter, Networks, Row};
use crate::config::RunConfig;
use crate::task::Task;
use anyhow::Result;
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::arithmetic::{plan_flops, update_flops};
use td_koopman_agents::config::{AgentConfig, PlannerKind};
use td_koopman_agents::device::{Products, multiplies};
use td_koopman_agents::model::Parameters;
use td_koopman_agents::planner::{Mode, Plan};
use td_koopman_agents::replay::{Batch, Ending, Episode, Replay};
use td_koopman_agents::rng::Stream;

/// An agent without zeros among its parameters, which make degenerate numbers, and data to learn from.
pub(super) struct Subject<'a> {
    name: &'a str,
    config: AgentConfig,
    meter: &'a Meter,
    agent: Agent,
    episode: Episode,
    observations: usize,
    actions: usize,
}

impl<'a> Subject<'a> {
    pub fn new(name: &'a str, config: &RunConfig, meter: &'a Meter) -> Result<Self> {
        multiplies(Products::Plans(config.planner.precision), &meter.device)?;
        multiplies(Products::Updates(config.learner.precision), &meter.device)?;
        let task = Task::open(&config.env, config.train.action_repeat)?;
        let (observations, actions) = (task.spec().observation_dim, task.spec().action_dim());
        let mut stream = Stream::new(1, "bench");
        let config = config.agent_for(task.spec());
        let agent = Agent::new(&config, observations, actions, &mut stream, &meter.device);
        let mut episode = Episode::start(&stream.normal(observations));
        for _ in 0..1000.min(config.replay.capacity - 1) {
            let action = stream.uniform(actions, -1.0, 1.0);
            episode.push(&action, stream.unit() as f32, &stream.normal(observations));
        }
        let mut subject = Self { name, config, meter, agent, episode, observations, actions };
        let mut state = subject.agent.export();
        let zeros = state.parameters.iter_mut().filter(|(name, p)| {
            (name.starts_with("world.") || name.starts_with("target.")) && p.values.iter().all(|x| *x == 0.0)
        });
        for (_, parameter) in zeros {
            parameter.values = stream.uniform(parameter.values.len(), -0.1, 0.1);
        }
        subject.agent.import(&state)?;
        Ok(subject)
    }

    /// How large its networks are.
    pub fn networks(&self) -> Networks {
        let parameters = Parameters::of(&self.config.model, self.observations, self.actions);
        Networks { of: self.name.into(), parameters }
    }

    fn batch(&self, horizon: usize) -> Result<Batch> {
        let mut replay = Replay::new(&self.config.replay, horizon, self.observations, self.actions);
        replay.add(&self.episode, Ending::Truncated)?;
        let mut batch = Batch::default();
        replay.sample(self.config.learner.batch_size, horizon, &mut Stream::new(1, "batch"), &mut batch);
        Ok(batch)
    }

    /// One update over sequences of `horizon` steps.
    pub fn update(&self, horizon: usize) -> Result<Row> {
        let (mut agent, mut stream) = (self.agent.clone(), Stream::new(2, "bench"));
        let batch = self.batch(horizon)?;
        let mut config = self.config.clone();
        config.learner.horizon = horizon;
        let flops = update_flops(&config, self.observations, self.actions);
        let size = format!("B {} H {horizon}", batch.size);
        let work = || drop(agent.update(&batch, &mut stream));
        Ok(self.meter.row("update", self.name, size, flops, work))
    }

    /// One plan for `environments` at once with `samples` candidates each.
    pub fn plan(&self, samples: usize, horizon: usize, environments: usize) -> Row {
        let mut config = self.config.clone();
        config.planner.num_elites = (config.planner.num_elites * samples / config.planner.num_samples).max(1);
        config.planner.num_samples = samples;
        let init = &mut Stream::new(1, "bench");
        let mut agent = Agent::new(&config, self.observations, self.actions, init, &self.meter.device);
        agent.import(&self.agent.export()).expect("both have the same model");
        let mut noise: Vec<Stream> = (0..environments).map(|i| Stream::new(i as u64, "bench")).collect();
        let observations = noise[0].normal(environments * self.observations);
        let mut plans = vec![Plan::cold(); environments];
        let schedule = Schedule { horizon, min_std: config.planner.min_std.end };
        let flops = plan_flops(&config, self.observations, self.actions, horizon, environments);
        let kind = config.planner.kind;
        let size = if kind.samples() {
            format!("E {environments} N {samples} H {horizon}")
        } else {
            format!("E {environments} H {horizon}")
        };
        let what = match kind {
            PlannerKind::Mppi => "plan".to_owned(),
            other => format!("plan {}", other.name()),
        };
        self.meter.row(&what, self.name, size, flops, || {
            let decisions = agent.act(&observations, &plans, schedule, Mode::Explore, &mut noise);
            plans = decisions.into_iter().map(|d| d.plan).collect();
        })
    }
}
