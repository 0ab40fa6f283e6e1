//! From scored candidates to the next sampling distribution, or to the best of them.

use burn::prelude::*;
use burn::tensor::activation::softmax;

/// Score given to candidates whose score is infinite or not a number, and bound of all scores: far below any return,
/// and finite, so that softmax(score − max) stays a number even if every candidate is bad.
pub(super) const WORST: f32 = -1e30;

/// Where `scores` are infinite or not a number.
fn not_finite(scores: Tensor<2>) -> Tensor<2, Bool> {
    scores.is_finite().bool_not()
}

/// Sequences `[E, N, H, A]` and what they score, `[E, N]`.
#[derive(Clone)]
pub(super) struct Scored {
    pub actions: Tensor<4>,
    pub scores: Tensor<2>,
}

impl Scored {
    /// How many scores are infinite or not a number: `[E]`.
    pub fn bad(&self) -> Tensor<1> {
        not_finite(self.scores.clone()).float().sum_dim(1).squeeze_dim(1)
    }

    /// Scores to compare by: what is not a number comes last.
    pub fn ranks(&self) -> Tensor<2> {
        // a NaN replaced by 0, as published code does, is the *best* candidate when returns are negative
        self.scores.clone().mask_fill(not_finite(self.scores.clone()), WORST).clamp(WORST, -WORST)
    }

    /// These, and `more` behind them.
    pub fn followed_by(self, more: Option<&Scored>) -> Self {
        let Some(more) = more else { return self };
        Self {
            actions: Tensor::cat(vec![self.actions, more.actions.clone()], 1),
            scores: Tensor::cat(vec![self.scores, more.scores.clone()], 1),
        }
    }

    /// The best sequence of each environment.
    pub fn best(&self) -> Best {
        let [e, _, h, a] = self.actions.dims();
        let ranks = self.ranks();
        let index = ranks.clone().argmax(1);
        let gather = index.clone().reshape([e, 1, 1, 1]).expand([e, 1, h, a]);
        Best {
            actions: self.actions.clone().gather(1, gather).reshape([e, h, a]),
            score: ranks.gather(1, index.clone()).squeeze_dim(1),
            index: index.squeeze_dim(1),
        }
    }
}

/// The best sequence of each environment.
pub(super) struct Best {
    /// `[E, H, A]`
    pub actions: Tensor<3>,
    /// `[E]`
    pub score: Tensor<1>,
    /// `[E]`, its position
    pub index: Tensor<1, Int>,
}

/// How elites are weighted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Weighting {
    /// All the same: the cross-entropy method.
    Equal,
    /// softmax(temperature·score): path integral control.
    Softmax {
        /// Inverse temperature.
        temperature: f64,
    },
}

impl Weighting {
    /// Of ranked scores `[E, K]`: `[E, K]`, summing to 1.
    fn weights(self, scores: &Tensor<2>) -> Tensor<2> {
        match self {
            Self::Equal => {
                // but for those without a finite score, unless there is no other
                let finite = scores.clone().greater_elem(WORST).float();
                let count = finite.clone().sum_dim(1);
                let none = count.clone().equal_elem(0.0).float();
                (finite + none.clone()) / (count + none * scores.dims()[1] as f64)
            }
            Self::Softmax { temperature } => {
                let best = scores.clone().max_dim(1);
                softmax((scores.clone() - best) * temperature, 1)
            }
        }
    }
}

/// The K best candidates of one iteration and their weights.
pub(super) struct Elites {
    /// `[E, K, H, A]`, best first
    actions: Tensor<4>,
    /// `[E, K]`
    scores: Tensor<2>,
    /// `[E, K]`, summing to 1
    weights: Tensor<2>,
    /// `[E, K]`, positions among the candidates
    indices: Tensor<2, Int>,
}

impl Elites {
    /// The `count` best of `candidates`.
    pub fn select(count: usize, weighting: Weighting, candidates: Scored) -> Self {
        let [environments, all, horizon, action_dim] = candidates.actions.dims();
        let row = horizon * action_dim;
        let (scores, indices) = candidates.ranks().topk_with_indices(count, 1);
        let gather = indices.clone().unsqueeze_dim::<3>(2).expand([environments, count, row]);
        let actions = candidates.actions.reshape([environments, all, row]).gather(1, gather);
        let actions = actions.reshape([environments, count, horizon, action_dim]);
        Self { actions, weights: weighting.weights(&scores), scores, indices }
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

    /// The first action of one elite drawn by its weight, with `gumbel` noise `[E, K]` (Gumbel-max): `[E, A]`.
    pub fn draw(&self, gumbel: Tensor<2>) -> Tensor<2> {
        let [e, k, _, a] = self.actions.dims();
        // weights of hopeless elites underflow to 0; log would be −∞, which argmax handles
        let drawn = (self.weights.clone().log() + gumbel).argmax(1);
        let first = self.actions.clone().narrow(2, 0, 1).reshape([e, k, a]);
        first.gather(1, drawn.unsqueeze_dim::<3>(2).expand([e, 1, a])).reshape([e, a])
    }

    /// The `count` best of them: `[E, count, H, A]`; `None` of none.
    pub fn top(&self, count: usize) -> Option<Tensor<4>> {
        (count > 0).then(|| self.actions.clone().narrow(1, 0, count))
    }

    /// The best one's sequence: `[E, H, A]`.
    pub fn best(&self) -> Tensor<3> {
        self.actions.clone().narrow(1, 0, 1).squeeze_dim(1)
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
