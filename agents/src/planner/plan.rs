//! The warm start handed from one decision to the next.

use crate::config::PlannerConfig;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// What the last decision of one environment leaves to the next: its mean action sequence and, from planners that keep
/// some, its best elites. It belongs to whoever runs the environment: cold at every reset, saved with checkpoints,
/// nothing of it hides in an agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `[H, A]` row-major; empty when cold.
    mean: Vec<f32>,
    /// `[S, H, A]` row-major, best first; empty when none are kept, and in files older than them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    elites: Vec<f32>,
}

impl Plan {
    /// No knowledge: the first plan of an episode.
    pub fn cold() -> Self {
        Self::default()
    }

    /// From a mean `[H, A]`, row-major.
    pub fn new(mean: Vec<f32>) -> Self {
        Self { mean, elites: Vec::new() }
    }

    /// With elites `[S, H, A]`, row-major.
    pub fn with_elites(self, elites: Vec<f32>) -> Self {
        Self { elites, ..self }
    }

    /// The mean one decision later, cut or filled with zeros to `horizon` steps: `[H, A]`.
    pub fn shifted(&self, horizon: usize, action_dim: usize) -> Vec<f32> {
        shift(&self.mean, horizon, action_dim)
    }

    /// The elites one decision later, likewise.
    pub fn shifted_elites(&self, horizon: usize, action_dim: usize) -> impl Iterator<Item = Vec<f32>> {
        let elites = self.elites.chunks_exact(self.mean.len().max(1));
        elites.map(move |elite| shift(elite, horizon, action_dim))
    }
}

fn shift(sequence: &[f32], horizon: usize, action_dim: usize) -> Vec<f32> {
    let mut next: Vec<f32> = sequence.iter().skip(action_dim).copied().collect();
    next.resize(horizon * action_dim, 0.0);
    next
}

/// The plans of E environments one decision later, where planning starts.
#[derive(Clone, Debug)]
pub struct Warm {
    /// `[E, H, A]`
    pub mean: Tensor<3>,
    /// `None` for planners that keep none.
    elites: Option<WarmElites>,
}

/// Elites of the last decision.
#[derive(Clone, Debug)]
struct WarmElites {
    /// `[E, S, H, A]`
    actions: Tensor<4>,
    /// 1 where there is one, 0 after a cold start: `[E, S, 1, 1]`.
    known: Tensor<4>,
}

impl Warm {
    /// For a planner with settings `config`.
    pub fn new(
        config: &PlannerConfig,
        plans: &[Plan],
        horizon: usize,
        action_dim: usize,
        device: &Device,
    ) -> Self {
        let mean: Vec<f32> = plans.iter().flat_map(|p| p.shifted(horizon, action_dim)).collect();
        let kept = config.kept_elites();
        let elites = (kept > 0).then(|| {
            let row = horizon * action_dim;
            let (mut actions, mut known) = (Vec::new(), Vec::new());
            for (environment, plan) in plans.iter().enumerate() {
                for elite in plan.shifted_elites(horizon, action_dim).take(kept) {
                    actions.extend(elite);
                    known.push(1.0);
                }
                known.resize((environment + 1) * kept, 0.0);
                actions.resize((environment + 1) * kept * row, 0.0);
            }
            WarmElites {
                actions: upload(actions, [plans.len(), kept, horizon, action_dim], device),
                known: upload(known, [plans.len(), kept, 1, 1], device),
            }
        });
        Self { mean: upload(mean, [plans.len(), horizon, action_dim], device), elites }
    }

    /// `samples [E, N, H, A]` with the elites of the last decision written over the last ones, where there are any.
    pub(super) fn write_elites(&self, samples: Tensor<4>) -> Tensor<4> {
        let Some(WarmElites { actions, known }) = &self.elites else { return samples };
        let kept = actions.dims()[1];
        let others = samples.dims()[1] - kept;
        let (others, fresh) = (samples.clone().narrow(1, 0, others), samples.narrow(1, others, kept));
        let known = known.clone().greater_elem(0.5).expand(actions.dims());
        Tensor::cat(vec![others, fresh.mask_where(known, actions.clone())], 1)
    }
}

/// Numbers from the host.
pub(super) fn upload<const D: usize>(data: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(data, shape), device)
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

    #[test]
    fn elites_shift_like_the_mean_and_a_cold_plan_has_none() {
        let plan = Plan::new(vec![1.0, 2.0]).with_elites(vec![1.0, 2.0, 3.0, 4.0]);
        let elites = |plan: &Plan, horizon| plan.shifted_elites(horizon, 1).collect::<Vec<_>>();
        assert_eq!(elites(&plan, 2), [[2.0, 0.0], [4.0, 0.0]]);
        assert_eq!(elites(&plan, 1), [[2.0], [4.0]]);
        assert!(elites(&Plan::cold(), 2).is_empty() && elites(&Plan::new(vec![1.0]), 2).is_empty());
    }
}
