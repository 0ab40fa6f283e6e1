//! What a training run reports: plain numbers, already averaged and read back from the device.

use std::borrow::Cow;
use td_koopman_agents::learner::Losses;
use td_koopman_agents::model::Parameters;

/// What a process of a run begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Name of the dynamics.
    pub dynamics: &'static str,
    /// Name of the dynamics that they were sized to, if any.
    pub matched: Option<&'static str>,
    /// How large the networks are.
    pub parameters: Parameters,
}

/// One training episode: a row of `train.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// Environment steps taken by the run when the episode ended (action repeats counted).
    pub env_step: u64,
    /// Decisions taken by the run when the episode ended.
    pub decision: u64,
    /// Episodes finished by the run, this one included.
    pub episode: u64,
    /// Undiscounted sum of the episode's rewards.
    pub episode_return: f64,
    /// Length of the episode in environment steps.
    pub length: u64,
    /// How it ended: `terminated` or `truncated`.
    pub end: &'static str,
    /// Gradient updates made by the run so far.
    pub updates: u64,
    /// Means over the updates since the last row; `None`, an empty cell, when there were none.
    pub losses: Option<Losses>,
    /// Planning horizon in decisions.
    pub horizon: usize,
    /// Standard deviation of the exploration noise.
    pub exploration_std: f64,
    /// Candidates ranked last since the last row because their score was infinite or not a number.
    pub bad_scores: u64,
    /// CPU seconds spent planning since the last row.
    pub plan_seconds: f64,
    /// CPU seconds spent on gradient updates since the last row.
    pub update_seconds: f64,
    /// CPU seconds spent in the simulator since the last row.
    pub env_seconds: f64,
    /// CPU seconds of training so far, over all processes of the run; evaluations are not counted.
    pub cpu_seconds: f64,
    /// Wall-clock seconds of training so far, likewise.
    pub wall_seconds: f64,
    /// Diagnostics of the model, each a further column. The names are the same in every row of a run; a value
    /// that is not known yet is `NaN`.
    pub extras: Vec<(&'static str, f64)>,
}

/// One evaluation: a row of `eval.csv`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Environment steps the run had trained for.
    pub env_step: u64,
    /// Mean return over the evaluation episodes.
    pub return_mean: f64,
    /// Standard deviation of the return over the evaluation episodes.
    pub return_sd: f64,
    /// Number of evaluation episodes.
    pub episodes: u64,
    /// CPU seconds of training so far; evaluations are not counted.
    pub cpu_seconds: f64,
    /// Wall-clock seconds of training so far, likewise.
    pub wall_seconds: f64,
}

/// How good the model is: a row of `model.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// Environment steps the run had trained for.
    pub env_step: u64,
    /// The columns and what stands in them; the names are the same in every row of a run.
    pub values: Vec<(Cow<'static, str>, f64)>,
}

/// Where the run stands right now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Environment steps taken so far.
    pub env_step: u64,
    /// Environment steps the run is to take.
    pub total_env_steps: u64,
    /// Return of the last training episode.
    pub last_return: Option<f64>,
    /// Mean return of the last evaluation.
    pub last_evaluation: Option<f64>,
    /// The latest losses known.
    pub losses: Option<Losses>,
    /// What the run is doing: `start`, `explore`, `train`, `evaluate`.
    pub phase: &'static str,
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    /// Losses with a different value in each field, so that swapped columns show.
    pub fn losses() -> Losses {
        Losses {
            total: 1.5,
            consistency: 0.25,
            reward: 0.125,
            value: 0.5,
            policy: -0.75,
            gradient_norm: 10.0,
            continuation: 0.0,
        }
    }

    /// The `n`-th episode of 200 steps.
    pub fn episode(n: u64) -> Episode {
        Episode {
            env_step: 200 * n,
            decision: 100 * n,
            episode: n,
            episode_return: -12.5,
            length: 200,
            end: "truncated",
            updates: 50 * n,
            losses: Some(losses()),
            horizon: 5,
            exploration_std: 0.3,
            bad_scores: 7,
            plan_seconds: 1.25,
            update_seconds: 0.5,
            env_seconds: 0.0625,
            cpu_seconds: 4.0,
            wall_seconds: 2.0 * n as f64,
            extras: vec![("spectral_radius", 0.99), ("modes_alive", 32.0)],
        }
    }

    /// The diagnosis after `env_step` steps.
    pub fn diagnosis(env_step: u64) -> Diagnosis {
        Diagnosis { env_step, values: vec![("effective_rank".into(), 4.5), ("return_h3".into(), f64::NAN)] }
    }

    /// The evaluation after `env_step` steps.
    pub fn evaluation(env_step: u64) -> Evaluation {
        Evaluation {
            env_step,
            return_mean: 512.25,
            return_sd: 20.5,
            episodes: 10,
            cpu_seconds: 90.0,
            wall_seconds: 45.5,
        }
    }
}
