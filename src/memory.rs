//! Refuses sizes that this machine's memory cannot hold, before any work starts.

use crate::config::{ConfigError, RunConfig};
use td_koopman_agents::arithmetic::{model_bytes, plan_bytes, update_bytes};

const GIB: f64 = (1u64 << 30) as f64;

/// What the memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Networks and plans: evaluation.
    Plan,
    /// Updates and replay as well.
    Train,
}

/// Refuses `config` if what it surely keeps in memory at once exceeds what the machine has.
pub fn require(
    work: Work,
    config: &RunConfig,
    observations: usize,
    actions: usize,
    environments: usize,
) -> Result<(), ConfigError> {
    match installed_bytes() {
        Some(installed) => require_within(installed, work, config, observations, actions, environments),
        None => Ok(()),
    }
}

fn require_within(
    installed: f64,
    work: Work,
    config: &RunConfig,
    observations: usize,
    actions: usize,
    environments: usize,
) -> Result<(), ConfigError> {
    let agent = config.agent();
    let mut evaluated = agent.planner.clone();
    evaluated.horizon.start = config.evaluation.horizons.iter().copied().max().unwrap_or(0) as f64;
    evaluated.horizon.end = evaluated.horizon.start;
    let needs = [
        (
            model_bytes(&agent.model, observations, actions),
            "the networks",
            "`model.hidden_dim` or `model.latent_dim`",
        ),
        (
            plan_bytes(&agent.planner, actions, environments),
            "planning",
            "`planner.num_samples`, `planner.grad.candidates`, `planner.horizon`, `planner.iterations` or `train.num_envs`",
        ),
        (plan_bytes(&evaluated, actions, 1), "planning in evaluations", "`evaluation.horizons`"),
        (
            update_bytes(&agent, observations, actions),
            "an update",
            "`learner.batch_size` or `learner.horizon`",
        ),
        // the sum tree over priorities; the transitions come as they are lived
        (16.0 * agent.replay.capacity as f64, "the replay", "`replay.capacity`"),
    ];
    let needs = match work {
        Work::Plan => &needs[..3],
        Work::Train => &needs[..],
    };
    for &(bytes, what, keys) in needs {
        if bytes > installed {
            return Err(ConfigError(format!(
                "{what} would take at least {:.1} GiB and this machine has {:.1}: lower {keys}",
                bytes / GIB,
                installed / GIB
            )));
        }
    }
    Ok(())
}

/// Bytes of memory in this machine, where the system tells.
fn installed_bytes() -> Option<f64> {
    #[cfg(target_os = "linux")]
    {
        let info = rustix::system::sysinfo();
        Some(info.totalram as f64 * f64::from(info.mem_unit))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    #[test]
    fn sizes_beyond_the_memory_are_refused_with_the_keys_to_lower() {
        for (setting, key) in [
            ("planner.num_samples=1000000000", "planner.num_samples"),
            ("learner.batch_size=1000000000", "learner.batch_size"),
            ("replay.capacity=100000000000", "replay.capacity"),
            ("model.hidden_dim=1000000", "model.hidden_dim"),
        ] {
            let error =
                require_within(64.0 * GIB, Work::Train, &with(&[setting]).unwrap(), 17, 6, 1).unwrap_err();
            assert!(error.0.contains(key) && error.0.contains("has 64.0"), "{error}");
        }
    }

    #[test]
    fn large_plans_that_fit_are_allowed() {
        let config = with(&["planner.num_samples=65536", "planner.horizon.end=20"]).unwrap();
        require_within(2.0 * GIB, Work::Train, &config, 78, 12, 1).unwrap();
        assert!(require_within(2.0 * GIB, Work::Train, &config, 78, 12, 64).is_err(), "64 environments");
    }

    #[test]
    fn the_longest_horizon_of_evaluations_counts() {
        let needed = |horizons: &str| {
            let config = with(&["planner.num_samples=65536", horizons]).unwrap();
            require_within(2.0 * GIB, Work::Plan, &config, 78, 12, 1)
        };
        needed("evaluation.horizons=[3, 20]").unwrap();
        let error = needed("evaluation.horizons=[3, 9999, 20]").unwrap_err();
        assert!(error.0.contains("lower `evaluation.horizons`"), "{error}");
    }

    /// What a planner does not draw does not count.
    #[test]
    fn a_planner_is_held_to_the_candidates_it_has() {
        let allowed = |settings: &[&str]| {
            require_within(2.0 * GIB, Work::Plan, &with(settings).unwrap(), 17, 6, 1).is_ok()
        };
        let many = "planner.num_samples=100000000";
        assert!(!allowed(&[many, "planner.kind=random"]) && !allowed(&[many, "planner.kind=icem"]));
        assert!(allowed(&[many, "planner.kind=policy"]) && allowed(&[many, "planner.kind=grad"]));
        assert!(!allowed(&["planner.grad.candidates=100000000", "planner.kind=grad"]));
    }

    /// A run that was trained on a larger machine can be evaluated on a smaller one.
    #[test]
    fn evaluation_needs_no_memory_for_updates_and_replay() {
        let config = with(&["learner.batch_size=1000000000", "replay.capacity=100000000000"]).unwrap();
        require_within(GIB, Work::Plan, &config, 17, 6, 1).unwrap();
        assert!(require_within(GIB, Work::Train, &config, 17, 6, 1).is_err());
    }
}
