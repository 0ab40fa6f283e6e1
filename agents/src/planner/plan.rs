//! The warm start handed from one decision to the next.

use serde::{Deserialize, Serialize};

/// Mean action sequence of the last decision of one environment. It belongs to whoever runs the environment: cold
/// at every reset, saved with checkpoints, nothing of it hides in an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `[H, A]` row-major; empty when cold.
    mean: Vec<f32>,
}

impl Plan {
    /// No knowledge: the first plan of an episode.
    pub fn cold() -> Self {
        Self::default()
    }

    /// From a mean `[H, A]`, row-major.
    pub fn new(mean: Vec<f32>) -> Self {
        Self { mean }
    }

    /// The mean one decision later, cut or filled with zeros to `horizon` steps: `[H, A]`.
    pub fn shifted(&self, horizon: usize, action_dim: usize) -> Vec<f32> {
        let mut next: Vec<f32> = self.mean.iter().skip(action_dim).copied().collect();
        next.resize(horizon * action_dim, 0.0);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_shifts_by_one_decision_and_follows_a_changing_horizon() {
        let plan = Plan::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(plan.shifted(3, 2), [3.0, 4.0, 5.0, 6.0, 0.0, 0.0]);
        assert_eq!(plan.shifted(1, 2), [3.0, 4.0]);
        assert_eq!(plan.shifted(4, 2), [3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(Plan::cold().shifted(2, 2), [0.0; 4]);
    }
}
