//! How many sequences a plan draws, scores and differentiates: what its noise, memory and arithmetic follow from.

use crate::config::{PlannerConfig, PlannerKind};

/// Numbers of sequences per environment of one plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Sampled in each iteration.
    pub sampled: Vec<usize>,
    /// Scored in each iteration: the sampled ones and those a planner adds.
    pub scored: Vec<usize>,
    /// Offered by the policy.
    pub proposed: usize,
    /// Of those, scored; a gradient scores as well, and planners that take one do not ask twice.
    pub proposed_scored: usize,
    /// Gradients taken, in all.
    pub gradients: usize,
}

impl Budget {
    /// Of one plan by `config`.
    pub fn new(config: &PlannerConfig) -> Self {
        let (n, iterations) = (config.num_samples, config.iterations);
        let policy = (config.policy_fraction * n as f64) as usize;
        let sampling = |sampled: Vec<usize>, scored, proposed| Self {
            sampled,
            scored,
            proposed,
            proposed_scored: proposed,
            gradients: 0,
        };
        match config.kind {
            PlannerKind::Mppi | PlannerKind::Cem => {
                sampling(vec![n; iterations], vec![n; iterations], policy)
            }
            PlannerKind::Mppi2 => {
                let sampled = vec![n.saturating_sub(policy); iterations];
                sampling(sampled.clone(), sampled, policy)
            }
            PlannerKind::Icem => {
                let kept = config.kept_elites();
                let population: Vec<usize> = (0..iterations).map(|i| population(config, i)).collect();
                let mut scored: Vec<usize> = population.iter().map(|n| n + kept).collect();
                let mut sampled = population;
                // those that stand in for the elites of a last decision, where there was none
                sampled.iter_mut().take(1).for_each(|n| *n += kept);
                // the mean
                scored.iter_mut().last().into_iter().for_each(|n| *n += 1);
                sampling(sampled, scored, policy)
            }
            PlannerKind::Random => sampling(vec![n], vec![n], 0),
            PlannerKind::Policy => sampling(Vec::new(), Vec::new(), 1),
            PlannerKind::Grad => {
                let refined = config.grad.candidates + 1;
                Self {
                    sampled: Vec::new(),
                    scored: vec![refined],
                    proposed: config.grad.candidates,
                    proposed_scored: 0,
                    gradients: refined * config.grad.steps,
                }
            }
        }
    }

    /// Sequences scored, gradients aside.
    pub fn scores(&self) -> usize {
        self.scored.iter().sum::<usize>() + self.proposed_scored
    }

    /// Fewest sequences that elites are selected from.
    pub fn candidates(&self) -> usize {
        self.scored.iter().min().copied().unwrap_or(0) + self.proposed_scored
    }
}

/// max(N·γ^{−i}, 2K), and no more than N (arXiv 2008.06389, section 3.4).
fn population(config: &PlannerConfig, iteration: usize) -> usize {
    let decayed = config.num_samples as f64 * config.icem.decay.powi(-(iteration as i32));
    (decayed as usize).max(2 * config.num_elites).min(config.num_samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DynamicsKind, tests::tiny};

    #[test]
    fn budgets_follow_the_papers() {
        let budget = |kind| {
            let mut config = tiny(DynamicsKind::Mlp).planner;
            (config.kind, config.num_samples, config.iterations, config.num_elites) = (kind, 100, 4, 20);
            (config.icem.decay, config.icem.keep_fraction) = (2.0, 0.25);
            Budget::new(&config)
        };
        let mppi = budget(PlannerKind::Mppi);
        assert_eq!((mppi.sampled.clone(), mppi.proposed, mppi.scores()), (vec![100; 4], 5, 405));
        assert_eq!(budget(PlannerKind::Cem), mppi);
        // TD-MPC2 counts the policy's sequences among the N
        let mppi2 = budget(PlannerKind::Mppi2);
        assert_eq!((mppi2.candidates(), mppi2.sampled), (100, vec![95; 4]));
        // 100, 50, then no fewer than twice the elites; five elites kept, the mean in the end
        let icem = budget(PlannerKind::Icem);
        assert_eq!((icem.sampled, icem.scored), (vec![105, 50, 40, 40], vec![105, 55, 45, 46]));
        assert_eq!(budget(PlannerKind::Random).scores(), 100);
        assert_eq!(budget(PlannerKind::Policy).scores(), 1);
        let grad = budget(PlannerKind::Grad);
        assert_eq!(
            (grad.gradients, grad.scores()),
            (3 * 2, 3),
            "the tiny agent's two candidates and two steps"
        );
    }
}
