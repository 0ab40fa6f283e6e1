//! What planners need.

use super::{ConfigError, RunConfig, require};
use td_koopman_agents::config::{
    Conditioning, ControlForm, DepthWeights, DynamicsKind, PlannerKind, Precision,
};
use td_koopman_agents::planner::Budget;

impl RunConfig {
    /// Whether there is something to sample, and enough to select from.
    pub(super) fn validate_population(&self) -> Result<(), ConfigError> {
        let (planner, budget) = (&self.planner, Budget::new(&self.planner));
        require(
            planner.icem.decay >= 1.0 && planner.icem.decay.is_finite(),
            "planner.icem.decay",
            planner.icem.decay,
            "must be a number of at least 1: iterations sample that much less than the one before",
        )?;
        require(
            !budget.sampled.contains(&0),
            "planner.policy_fraction",
            planner.policy_fraction,
            "must leave something to sample: with `mppi2` the policy's sequences are among `num_samples`",
        )?;
        require(
            planner.rescored == 0 || planner.rescored >= planner.num_elites,
            "planner.rescored",
            planner.rescored,
            &format!("must be 0, or leave planner.num_elites = {} to choose", planner.num_elites),
        )?;
        require(
            planner.rescored == 0 || (planner.kind.refits() && self.plans_share_gates()),
            "planner.rescored",
            planner.rescored,
            "needs gates that all candidates share (Koopman dynamics with model.koopman.control.plan_conditioning = start or \
             nominal) and a planner that refits: mppi, mppi2, cem or icem",
        )?;
        require(
            planner.prior_weight >= 0.0 && planner.prior_weight.is_finite(),
            "planner.prior_weight",
            planner.prior_weight,
            "must be a number of at least 0",
        )?;
        require(
            planner.prior_weight == 0.0 || (planner.kind.refits() && budget.proposed > 0),
            "planner.prior_weight",
            planner.prior_weight,
            "needs the policy's sequences (planner.policy_fraction) and a planner that refits: mppi, mppi2, cem or icem",
        )?;
        require(
            planner.depth_lambda > 0.0 && planner.depth_lambda <= 1.0,
            "planner.depth_lambda",
            planner.depth_lambda,
            "must be above 0 and at most 1",
        )?;
        require(
            planner.depth_weights == DepthWeights::Lambda || planner.depth_lambda == 1.0,
            "planner.depth_lambda",
            planner.depth_lambda,
            "has no say with planner.depth_weights = \"measured\"; leave it at 1",
        )?;
        let packed = matches!(self.model.dynamics, DynamicsKind::Koopman | DynamicsKind::Mlp);
        require(
            planner.precision == Precision::F32 || (packed && planner.kind != PlannerKind::Grad),
            "planner.precision",
            "bf16",
            "needs the packed kernels of Koopman and MLP dynamics, and a planner without gradients",
        )?;
        let candidates = budget.candidates();
        require(
            !planner.kind.refits() || planner.num_elites <= candidates,
            "planner.num_elites",
            planner.num_elites,
            &format!("must not exceed the {candidates} candidates of an iteration"),
        )
    }

    /// Whether one gate serves all candidates of a plan.
    fn plans_share_gates(&self) -> bool {
        let control = &self.model.koopman.control;
        self.model.dynamics == DynamicsKind::Koopman
            && control.form != ControlForm::Additive
            && control.while_planning() != Conditioning::Along
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with;
    use super::PlannerKind;

    #[test]
    fn every_planner_is_chosen_by_its_name() {
        for kind in PlannerKind::ALL {
            let config = with(&[&format!("planner.kind={}", kind.name())]).unwrap();
            assert_eq!(config.planner.kind, kind);
        }
    }

    #[test]
    fn senseless_populations_are_refused_by_key_and_value() {
        for (setting, rule) in [
            ("planner.num_elites=500", "candidates"),
            ("planner.rescored=3", "to choose"),
            ("planner.depth_lambda=0", "above 0"),
            ("planner={depth_lambda=0.5, depth_weights=\"measured\"}", "has no say"),
            ("planner={kind=\"grad\", precision=\"bf16\"}", "without gradients"),
            ("planner.prior_weight=-1", "at least 0"),
            ("planner.icem.decay=0.5", "at least 1"),
        ] {
            let error = with(&[setting]).unwrap_err().to_string();
            let key = setting.split('=').next().unwrap();
            assert!(error.contains(key) && error.contains(rule), "{setting}: {error}");
        }
        let error = with(&["planner.kind=mppi2", "planner.policy_fraction=1"]).unwrap_err().to_string();
        assert!(error.contains("policy_fraction") && error.contains("something to sample"), "{error}");
        assert!(with(&["planner.kind=policy", "planner.num_elites=500"]).is_ok(), "it has no elites");
    }

    /// Without them the setting was taken and did nothing.
    #[test]
    fn only_shared_gates_are_looked_at_again() {
        let nominal = "model.koopman.control.plan_conditioning=nominal";
        for settings in [&[][..], &[nominal, "model.dynamics=mlp"], &[nominal, "planner.kind=grad"]] {
            let error = with(&[&["planner.rescored=64"], settings].concat()).unwrap_err().to_string();
            assert!(error.contains("`planner.rescored = 64` needs gates"), "{settings:?}: {error}");
        }
        with(&[nominal, "planner.rescored=64"]).unwrap();
    }
}
