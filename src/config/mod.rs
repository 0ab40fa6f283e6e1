//! The configuration of a run: typed, complete, validated, saved with the run.

mod annotated;
mod env;
mod layers;
mod model;
mod planner;
mod preset;

pub use env::EnvConfig;
pub(crate) use layers::Merged;
pub use layers::{Layer, leaves, resolve};
pub(crate) use model::validate_networks;
pub use preset::Preset;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use td_koopman_agents::config::{
    AgentConfig, Continuation, LearnerConfig, ModelConfig, PlannerConfig, Recipe, ReplayConfig,
};
use td_koopman_envs::Spec;
use thiserror::Error;

/// The defaults: every key there is.
pub(crate) const DEFAULT: &str = include_str!("../../configs/default.toml");

/// Longest plan, in decisions.
const MAX_HORIZON: usize = 10_000;

/// A configuration that cannot be used; the message names the key, its value and where it was set.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Everything that defines a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Which agent.
    pub agent: Recipe,
    /// The environment.
    pub env: EnvConfig,
    /// Seed of everything random.
    pub seed: u64,
    /// Environment steps to train for.
    pub steps: u64,
    /// Device name.
    pub device: String,
    /// CPU threads; 0 for one per core.
    pub threads: usize,
    /// The training loop.
    pub train: TrainConfig,
    /// Evaluations during training.
    pub evaluation: EvaluationConfig,
    /// Networks and latent dynamics.
    pub model: ModelConfig,
    /// Losses and optimisation.
    pub learner: LearnerConfig,
    /// Prioritised replay.
    pub replay: ReplayConfig,
    /// Planning.
    pub planner: PlannerConfig,
}

/// The training loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Environment steps per decision; 0 for the task's published one.
    pub action_repeat: usize,
    /// Environments E that act at the same time, with one batched plan.
    pub num_envs: usize,
    /// Decisions with uniformly random actions before the first update.
    pub seed_decisions: u64,
    /// The same as episodes of full length, where that is more.
    pub seed_episodes: u64,
    /// Updates per decision.
    pub updates_per_decision: f64,
    /// When updates happen.
    pub update_cadence: Cadence,
    /// Wall-clock seconds between checkpoints.
    pub checkpoint_seconds: f64,
}

/// When updates happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cadence {
    /// All updates of an episode after it (TD-MPC v1).
    Episode,
    /// After each decision (TD-MPC2).
    Decision,
}

/// Evaluations during training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Environment steps between evaluations.
    pub every: u64,
    /// Episodes per evaluation.
    pub episodes: u64,
    /// Planning horizons at which every evaluation is repeated, beside that of the schedule.
    #[serde(default)] // older runs did not have it
    pub horizons: Vec<usize>,
    /// Evaluations per video of an episode; 0 for none.
    #[serde(default)]
    pub video_every: u64,
}

impl RunConfig {
    /// The part that defines the agent, with what a task decides: its discount, how often plans are refined, and whether
    /// terminations are predicted.
    pub fn agent_for(&self, task: &Spec) -> AgentConfig {
        let mut agent = self.agent();
        agent.learner.discount = agent.learner.discount_over(task.decisions());
        agent.planner.iterations = agent.planner.iterations_for(task.action_dim());
        agent.model.continuation = match (agent.model.continuation, task.terminates) {
            (Continuation::Auto, true) => Continuation::On,
            (Continuation::Auto, false) => Continuation::Off,
            (chosen, _) => chosen,
        };
        agent
    }

    /// Decisions with uniformly random actions before the first update, in `task`.
    pub fn seed_decisions(&self, task: &Spec) -> u64 {
        let whole_episodes = self.train.seed_episodes.saturating_mul(task.decisions() as u64);
        self.train.seed_decisions.max(whole_episodes)
    }

    /// The part that defines the agent.
    pub fn agent(&self) -> AgentConfig {
        AgentConfig {
            model: self.model.clone(),
            learner: self.learner.clone(),
            replay: self.replay.clone(),
            planner: self.planner.clone(),
        }
    }

    /// As TOML, for saving.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a configuration is plain numbers, strings and tables")
    }

    /// All keys, `a.b.c`, with their values.
    pub fn entries(&self) -> BTreeMap<String, toml::Value> {
        let table =
            toml::Table::try_from(self).expect("a configuration is plain numbers, strings and tables");
        leaves(&table).into_iter().collect()
    }

    /// Reads a saved configuration, complete when it was saved.
    pub fn from_toml(text: &str, source: &str) -> Result<Self, ConfigError> {
        // before there was this key nothing predicted terminations
        let older = Layer::key(source, "model.continuation", "off");
        resolve(&[older, Layer::parse(source, text)?])
    }

    /// Values that are of the right type but make no sense.
    fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("steps", self.steps),
            ("train.num_envs", self.train.num_envs as u64),
            ("evaluation.every", self.evaluation.every),
            ("evaluation.episodes", self.evaluation.episodes),
            ("learner.batch_size", self.learner.batch_size as u64),
            ("learner.horizon", self.learner.horizon as u64),
            ("learner.horizon_ramp.start", self.learner.horizon_ramp.start as u64),
            ("learner.target_every", self.learner.target_every),
            ("replay.capacity", self.replay.capacity as u64),
            ("planner.num_samples", self.planner.num_samples as u64),
            ("planner.num_elites", self.planner.num_elites as u64),
            ("planner.iterations", self.planner.iterations as u64),
            ("planner.grad.steps", self.planner.grad.steps as u64),
        ];
        for (key, value) in positive {
            require(value > 0, key, value, "must be at least 1")?;
        }
        // each is a share of the memory and of a processor
        for (key, value, most) in [
            ("threads", self.threads, 1024),
            ("planner.iterations", self.planner.iterations, 10_000),
            ("planner.extra_iterations", self.planner.extra_iterations, 10_000),
        ] {
            require(value <= most, key, value, &format!("must not exceed {most}"))?;
        }
        for (i, horizon) in self.evaluation.horizons.iter().enumerate() {
            let (key, before) = ("evaluation.horizons", &self.evaluation.horizons[..i]);
            require((1..=MAX_HORIZON).contains(horizon), key, horizon, "must lie between 1 and 10000")?;
            // each is a column of model.csv
            require(!before.contains(horizon), key, horizon, "is there twice")?;
        }
        let not_negative = [
            ("train.updates_per_decision", self.train.updates_per_decision),
            ("train.checkpoint_seconds", self.train.checkpoint_seconds),
            ("learner.learning_rate", self.learner.learning_rate),
            ("learner.policy_learning_rate", self.learner.policy_learning_rate),
            ("learner.consistency_coef", self.learner.consistency_coef),
            ("learner.reward_coef", self.learner.reward_coef),
            ("learner.value_coef", self.learner.value_coef),
            ("learner.continuation_coef", self.learner.continuation_coef),
            ("learner.encoder_rate_scale", self.learner.encoder_rate_scale),
            ("learner.episode_discount.divisor", self.learner.episode_discount.divisor),
            ("learner.v2.entropy_coef", self.learner.v2.entropy_coef),
            ("learner.policy_std", self.learner.policy_std),
            ("planner.policy_fraction", self.planner.policy_fraction),
            ("planner.temperature", self.planner.temperature),
            ("planner.min_std.start", self.planner.min_std.start),
            ("planner.min_std.end", self.planner.min_std.end),
            ("learner.imitation_coef", self.learner.imitation_coef),
            ("planner.icem.noise_beta", self.planner.icem.noise_beta),
            ("planner.grad.step_size", self.planner.grad.step_size),
        ];
        for (key, value) in not_negative {
            require(value >= 0.0 && value.is_finite(), key, value, "must be a number of at least 0")?;
        }
        let fraction = self.planner.policy_fraction;
        require(fraction <= 1000.0, "planner.policy_fraction", fraction, "must not exceed 1000")?;
        let shares = [
            ("learner.discount", self.learner.discount),
            ("learner.rho", self.learner.rho),
            ("learner.target_rate", self.learner.target_rate),
            ("learner.v2.scale_rate", self.learner.v2.scale_rate),
            ("replay.importance_exponent", self.replay.importance_exponent),
            ("planner.momentum", self.planner.momentum),
            ("planner.icem.keep_fraction", self.planner.icem.keep_fraction),
        ];
        for (key, value) in shares {
            require((0.0..=1.0).contains(&value), key, value, "must lie between 0 and 1")?;
        }
        for (key, epsilon) in [
            ("learner.adam_epsilon", self.learner.adam_epsilon),
            ("learner.policy_adam_epsilon", self.learner.policy_adam_epsilon),
        ] {
            // a parameter whose gradients were all 0 moves by 0/ε
            let holds = epsilon as f32 > 0.0 && epsilon.is_finite();
            require(holds, key, epsilon, "must be a positive number, also in single precision")?;
        }
        // priorities reach from 1e-6 to 1e4: their powers are added up
        require(
            (0.0..=10.0).contains(&self.replay.priority_exponent),
            "replay.priority_exponent",
            self.replay.priority_exponent,
            "must lie between 0 and 10",
        )?;
        require(
            self.learner.max_gradient_norm > 0.0,
            "learner.max_gradient_norm",
            self.learner.max_gradient_norm,
            "must be positive",
        )?;
        require(self.planner.init_std > 0.0, "planner.init_std", self.planner.init_std, "must be positive")?;
        for (key, h) in [
            ("planner.horizon.start", &self.planner.horizon.start),
            ("planner.horizon.end", &self.planner.horizon.end),
        ] {
            require((1.0..=MAX_HORIZON as f64).contains(h), key, h, "must lie between 1 and 10000")?;
        }
        let ramp = self.learner.horizon_ramp;
        require(
            ramp.updates == 0 || ramp.start <= self.learner.horizon,
            "learner.horizon_ramp.start",
            ramp.start,
            &format!("must not exceed learner.horizon = {}", self.learner.horizon),
        )?;
        let [low, high] = self.learner.episode_discount.range;
        require(
            0.0 <= low && low <= high && high <= 1.0,
            "learner.episode_discount.range",
            format!("{:?}", self.learner.episode_discount.range),
            "must be two ascending numbers between 0 and 1",
        )?;
        self.env.validate()?;
        self.validate_model()?;
        self.validate_population()
    }

    /// A short name of the variant, for folders and legends.
    pub fn variant(&self) -> &'static str {
        self.model.dynamics.name()
    }
}

pub(crate) fn require(
    holds: bool,
    key: &str,
    value: impl std::fmt::Display,
    rule: &str,
) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError(format!("`{key} = {value}` {rule}"))) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use td_koopman_agents::planner::Budget;

    /// The defaults with some keys set.
    pub(crate) fn with(settings: &[&str]) -> Result<RunConfig, ConfigError> {
        let set = settings.iter().map(|s| Layer::setting(s)).collect::<Result<Vec<_>, _>>()?;
        resolve(&[Preset::Small.layers(), set].concat())
    }

    #[test]
    fn every_preset_resolves_and_survives_saving() {
        use clap::ValueEnum;
        assert_eq!(Preset::ALL, Preset::value_variants());
        for preset in Preset::ALL {
            assert_eq!(Preset::from_str(preset.name(), false), Ok(preset));
            let config = resolve(&preset.layers()).unwrap();
            assert_eq!(config.model.recipe, config.agent);
            assert_eq!(RunConfig::from_toml(&config.to_toml(), "saved").unwrap(), config);
        }
    }

    #[test]
    fn a_run_saved_before_there_were_videos_still_loads() {
        let config = with(&[]).unwrap();
        let mut saved: toml::Table = config.to_toml().parse().unwrap();
        assert!(saved["evaluation"].as_table_mut().unwrap().remove("video_every").is_some());
        assert_eq!(RunConfig::from_toml(&saved.to_string(), "saved").unwrap(), config);
    }

    /// The key tables of single planners came later than the first runs.
    #[test]
    fn a_run_saved_before_there_were_other_planners_still_loads() {
        let config = with(&[]).unwrap();
        let mut saved: toml::Table = config.to_toml().parse().unwrap();
        let planner = saved["planner"].as_table_mut().unwrap();
        assert!(planner.remove("icem").is_some() && planner.remove("grad").is_some());
        assert_eq!(RunConfig::from_toml(&saved.to_string(), "saved").unwrap(), config);
    }

    #[test]
    fn the_light_preset_is_the_small_one_but_for_the_width_of_its_heads_and_the_share_of_the_policy() {
        let [small, mut light] = [Preset::Small, Preset::Light].map(|p| resolve(&p.layers()).unwrap());
        assert_eq!((small.model.hidden_dim, light.model.hidden_dim), (256, 64));
        assert_eq!((small.planner.policy_fraction, light.planner.policy_fraction), (0.05, 0.5));
        light.model.hidden_dim = 256;
        light.planner.policy_fraction = 0.05;
        assert_eq!(small, light);
    }

    #[test]
    fn the_paper_preset_is_tdmpc_v1() {
        let paper = resolve(&Preset::Paper.layers()).unwrap();
        let (l, p) = (&paper.learner, &paper.planner);
        assert_eq!((l.batch_size, l.horizon, l.rho, l.consistency_coef), (512, 5, 0.5, 2.0));
        assert_eq!((p.num_samples, p.num_elites, p.iterations, p.temperature), (512, 64, 6, 0.5));
        assert_eq!((paper.model.latent_dim, paper.model.hidden_dim), (50, 512));
        assert_eq!(
            (paper.train.seed_decisions, paper.train.seed_episodes, p.horizon.decisions),
            (5000, 0, 25_000)
        );
    }

    /// Columns 2 and 3 of the side-by-side comparison in TD-MPC2's code.
    #[test]
    fn the_tdmpc2_presets_are_tdmpc2() {
        let [dmc, gym] = [Preset::Tdmpc2, Preset::Tdmpc2Gym].map(|p| resolve(&p.layers()).unwrap());
        let (l, p, m) = (&dmc.learner, &dmc.planner, &dmc.model);
        assert_eq!(
            (l.consistency_coef, l.reward_coef, l.value_coef, l.continuation_coef),
            (20.0, 0.1, 0.1, 1.0)
        );
        assert_eq!((l.batch_size, l.horizon, l.max_gradient_norm, l.target_every), (256, 3, 20.0, 1));
        assert_eq!((l.learning_rate, l.encoder_rate_scale, l.policy_learning_rate), (3e-4, 0.3, 3e-4));
        assert_eq!((l.adam_epsilon, l.policy_adam_epsilon, l.target_rate), (1e-8, 1e-5, 0.01));
        assert_eq!((p.num_samples, p.num_elites, p.iterations, p.temperature), (512, 64, 6, 0.5));
        assert_eq!((Budget::new(p).proposed, Budget::new(p).candidates()), (24, 512));
        assert_eq!((p.horizon.horizon_at(0), p.horizon.horizon_at(u64::MAX), p.min_std.at(0)), (3, 3, 0.05));
        assert_eq!((m.latent_dim, m.hidden_dim, m.v2.critics, m.v2.bins), (512, 512, 5, 101));
        assert_eq!((dmc.replay.priority_exponent, dmc.replay.capacity), (0.0, 1_000_000));
        let task = |name: &str| crate::task::Task::open(&name.into(), 0).unwrap().spec().clone();
        let halved = Spec { action_repeat: 2, ..task("cheetah-run") };
        assert!((dmc.agent_for(&halved).learner.discount - 0.99).abs() < 1e-12);
        assert_eq!((gym.learner.rho, gym.train.action_repeat), (0.7, 1));
        assert_eq!((gym.seed_decisions(&task("halfcheetah")), dmc.seed_decisions(&halved)), (5000, 2500));
        assert_eq!(gym.agent_for(&task("halfcheetah")).learner.discount, 0.99);
        assert_eq!(gym.agent_for(&task("halfcheetah")).model.continuation, Continuation::Off);
        let iterations = |name: &str| dmc.agent_for(&task(name)).planner.iterations;
        assert_eq!((iterations("cheetah-run"), iterations("dog-run")), (6, 8));
        assert_eq!(gym.agent_for(&task("hopper")).model.continuation, Continuation::On);
    }

    /// The product overflowed.
    #[test]
    fn no_number_of_random_episodes_is_too_many() {
        let config = with(&["train.seed_episodes=9000000000000000000"]).unwrap();
        assert_eq!(config.seed_decisions(&Spec::new("long", 1, &[(-1.0, 1.0)], 1000)), u64::MAX);
    }

    /// The second recipe came later than the first runs.
    #[test]
    fn a_run_saved_before_there_were_two_recipes_still_loads() {
        let config = with(&["model.continuation=off"]).unwrap();
        let mut saved: toml::Table = config.to_toml().parse().unwrap();
        assert!(saved.remove("agent").is_some());
        for (section, keys) in [
            ("model", &["continuation", "v2"][..]),
            (
                "learner",
                &["discount_rule", "episode_discount", "v2", "encoder_rate_scale", "policy_adam_epsilon"],
            ),
        ] {
            let table = saved[section].as_table_mut().unwrap();
            keys.iter().for_each(|key| assert!(table.remove(*key).is_some(), "{key}"));
        }
        assert_eq!(RunConfig::from_toml(&saved.to_string(), "saved").unwrap(), config);
    }

    #[test]
    fn senseless_values_are_refused_by_key_and_value() {
        for (setting, rule) in [
            ("model.latent_dim=51", "must be even"),
            ("learner.horizon_ramp={start=0,updates=9}", "at least 1"),
            ("learner.horizon_ramp={start=9,updates=9}", "must not exceed"),
            ("learner.discount=1.5", "between 0 and 1"),
            ("planner.iterations=0", "at least 1"),
            ("model.encoder_hidden=[0]", "width 0"),
            ("learner.learning_rate=nan", "number"),
            ("learner.consistency_coef=nan", "at least 0"),
            ("learner.reward_coef=-1", "at least 0"),
            ("learner.value_coef=inf", "at least 0"),
            ("learner.adam_epsilon=0", "positive"),
            ("learner.policy_adam_epsilon=1e-50", "positive"),
            ("replay.capacity=0", "at least 1"),
            ("replay.priority_exponent=80", "between 0 and 10"),
            ("replay.importance_exponent=1.5", "between 0 and 1"),
            ("evaluation.horizons=[0]", "between 1 and 10000"),
            ("evaluation.horizons=[5, 100000]", "between 1 and 10000"),
            ("evaluation.horizons=[3, 5, 3]", "is there twice"),
            ("model.koopman.eigenvalues.mu_init=nan", "between -700 and 700"),
            ("model.koopman.eigenvalues.mu_bounds=[-inf, 0]", "finite"),
            ("model.koopman.eigenvalues.dt_range=[1e-2, 1e-3]", "ascending"),
            ("model.koopman.control.conditioning=nominal", "plan_conditioning"),
            ("planner.icem.noise_beta=-1", "at least 0"),
            ("planner.icem.keep_fraction=1.5", "between 0 and 1"),
            ("planner.grad.steps=0", "at least 1"),
            ("agent=v3", "expected `v1` or `v2`"),
            ("model.v2.critics=1", "at least 2"),
            ("model.v2.bins=1", "at least 2"),
            ("model.v2.bin_range=[3, 3]", "ascend"),
            ("model.v2.critic_dropout=1", "below 1"),
            ("model.v2.critic_dropout=1e-17", "at least 1e-6"),
            ("learner.episode_discount.range=[0.9, 1.5]", "between 0 and 1"),
            ("planner.grad.step_size=inf", "number"),
        ] {
            let error = with(&[setting]).unwrap_err().to_string();
            let key = setting.split('=').next().unwrap();
            assert!(error.contains(key) && error.contains(rule), "{setting}: {error}");
        }
        assert!(with(&["model.latent_dim=51", "model.dynamics=mlp"]).is_ok());
    }
}
