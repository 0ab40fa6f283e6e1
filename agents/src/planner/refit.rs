//! From scored candidates to the next sampling distribution.

use crate::config::{PlannerConfig, PlannerKind};
use burn::prelude::*;
use burn::tensor::activation::softmax;

/// Score given to candidates whose score is infinite or not a number, and bound of all scores: far below any return,
/// and finite, so that softmax(score − max) stays a number even if every candidate is bad.
const WORST: f32 = -1e30;

/// Where `scores` are infinite or not a number.
pub(super) fn not_finite(scores: Tensor<2>) -> Tensor<2, Bool> {
    scores.is_finite().bool_not()
}

/// The K best candidates of one iteration and their weights.
pub(super) struct Elites {
    /// `[E, K, H, A]`
    actions: Tensor<4>,
    /// `[E, K]`
    scores: Tensor<2>,
    /// `[E, K]`, summing to 1
    weights: Tensor<2>,
    /// `[E, K]`, positions among the candidates
    indices: Tensor<2, Int>,
}

impl Elites {
    /// The `config.num_elites` best of `candidates [E, M, H, A]` by `scores [E, M]`.
    pub fn select(config: &PlannerConfig, candidates: Tensor<4>, scores: Tensor<2>) -> Self {
        let [environments, count, horizon, action_dim] = candidates.dims();
        let (k, row) = (config.num_elites, horizon * action_dim);
        // a NaN replaced by 0, as published code does, is the *best* candidate when returns are negative
        let scores = scores.clone().mask_fill(not_finite(scores), WORST).clamp(WORST, -WORST);
        let (scores, indices) = scores.topk_with_indices(k, 1);
        let gather = indices.clone().unsqueeze_dim::<3>(2).expand([environments, k, row]);
        let actions = candidates.reshape([environments, count, row]).gather(1, gather);
        let weights = match config.kind {
            PlannerKind::Cem => {
                // equal, but for those without a finite score, unless there is no other
                let finite = scores.clone().greater_elem(WORST).float();
                let count = finite.clone().sum_dim(1);
                let none = count.clone().equal_elem(0.0).float();
                (finite + none.clone()) / (count + none * k as f64)
            }
            PlannerKind::Mppi => {
                let best = scores.clone().max_dim(1);
                softmax((scores.clone() - best) * config.temperature, 1)
            }
        };
        let actions = actions.reshape([environments, k, horizon, action_dim]);
        Self { actions, scores, weights, indices }
    }

    /// Weighted mean and standard deviation: two `[E, H, A]`.
    pub fn moments(&self) -> (Tensor<3>, Tensor<3>) {
        let [e, k, h, a] = self.actions.dims();
        let weights = self.weights.clone().reshape([e, k, 1, 1]);
        let mean = (self.actions.clone() * weights.clone()).sum_dim(1);
        let deviation = (self.actions.clone() - mean.clone()).square();
        let std = (deviation * weights).sum_dim(1).sqrt();
        (mean.reshape([e, h, a]), std.reshape([e, h, a]))
    }

    /// The action to execute, `[E, A]`: MPPI draws an elite by its weight (Gumbel-max), CEM takes the mean.
    pub fn choose(
        &self,
        config: &PlannerConfig,
        gumbel: Tensor<2>,
        mean: impl Fn() -> Tensor<2>,
    ) -> Tensor<2> {
        if config.kind == PlannerKind::Cem {
            return mean();
        }
        let [e, k, _, a] = self.actions.dims();
        // weights of hopeless elites underflow to 0; log would be −∞, which argmax handles
        let drawn = (self.weights.clone().log() + gumbel).argmax(1);
        let first = self.actions.clone().narrow(2, 0, 1).reshape([e, k, a]);
        first.gather(1, drawn.unsqueeze_dim::<3>(2).expand([e, 1, a])).reshape([e, a])
    }

    /// Mean score of the elites: `[E]`.
    pub fn mean_score(&self) -> Tensor<1> {
        self.scores.clone().mean_dim(1).squeeze_dim(1)
    }

    /// Share of elites whose position among the candidates is at least `from`: `[E]`.
    pub fn share_from(&self, from: usize) -> Tensor<1> {
        self.indices.clone().greater_equal_elem(from as i64).float().mean_dim(1).squeeze_dim(1)
    }
}
