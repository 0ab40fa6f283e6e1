//! From scored candidates to the next sampling distribution, or to the best of them.

use super::passes;
use crate::device::is_plain_flex;
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
        if is_plain_flex(&self.scores.device()) { passes::bad(&self.scores) } else { self.bad_tensors() }
    }

    pub(super) fn bad_tensors(&self) -> Tensor<1> {
        not_finite(self.scores.clone()).float().sum_dim(1).squeeze_dim(1)
    }

    /// Scores to compare by: what is not a number comes last.
    pub fn ranks(&self) -> Tensor<2> {
        // a NaN replaced by 0, as published code does, is the *best* candidate when returns are negative
        self.scores.clone().mask_fill(not_finite(self.scores.clone()), WORST).clamp(WORST, -WORST)
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

/// Some of the candidates of one iteration, best first.
#[derive(Clone)]
pub(super) struct Chosen {
    /// `[E, K, H, A]`
    pub actions: Tensor<4>,
    /// What they are compared by: `[E, K]`
    pub scores: Tensor<2>,
    /// Positions among the candidates: `[E, K]`
    pub indices: Tensor<2, Int>,
}

impl Chosen {
    /// The `count` best of all `candidates`, which are counted one part after the other.
    fn of(candidates: &[Scored], count: usize) -> Self {
        if is_plain_flex(&candidates[0].scores.device()) {
            passes::choose(candidates, count)
        } else {
            Self::of_tensors(candidates, count)
        }
    }

    pub(super) fn of_tensors(candidates: &[Scored], count: usize) -> Self {
        let actions = Tensor::cat(candidates.iter().map(|part| part.actions.clone()).collect(), 1);
        let scores = Tensor::cat(candidates.iter().map(|part| part.scores.clone()).collect(), 1);
        let [environments, all, horizon, action_dim] = actions.dims();
        let row = horizon * action_dim;
        let (scores, indices) =
            Scored { actions: actions.clone(), scores }.ranks().topk_with_indices(count, 1);
        let gather = indices.clone().unsqueeze_dim::<3>(2).expand([environments, count, row]);
        let actions = actions.reshape([environments, all, row]).gather(1, gather);
        Self { actions: actions.reshape([environments, count, horizon, action_dim]), scores, indices }
    }
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
    chosen: Chosen,
    /// `[E, K]`, summing to 1
    weights: Tensor<2>,
}

impl Elites {
    /// The `count` best of `candidates`.
    pub fn select(count: usize, weighting: Weighting, candidates: &[Scored]) -> Self {
        Self::new(weighting, Chosen::of(candidates, count))
    }

    pub(super) fn new(weighting: Weighting, chosen: Chosen) -> Self {
        Self { weights: weighting.weights(&chosen.scores), chosen }
    }

    /// Weighted mean and standard deviation: two `[E, H, A]`.
    pub fn moments(&self) -> (Tensor<3>, Tensor<3>) {
        if is_plain_flex(&self.weights.device()) {
            passes::moments(&self.chosen.actions, &self.weights)
        } else {
            self.moments_tensors()
        }
    }

    pub(super) fn moments_tensors(&self) -> (Tensor<3>, Tensor<3>) {
        let [e, k, h, a] = self.chosen.actions.dims();
        let weights = self.weights.clone().reshape([e, k, 1, 1]);
        let mean = (self.chosen.actions.clone() * weights.clone()).sum_dim(1);
        let deviation = (self.chosen.actions.clone() - mean.clone()).square();
        let std = (deviation * weights).sum_dim(1).sqrt();
        (mean.reshape([e, h, a]), std.reshape([e, h, a]))
    }

    /// The first action of one elite drawn by its weight, with `gumbel` noise `[E, K]` (Gumbel-max): `[E, A]`.
    pub fn draw(&self, gumbel: Tensor<2>) -> Tensor<2> {
        let [e, k, _, a] = self.chosen.actions.dims();
        // weights of hopeless elites underflow to 0; log would be −∞, which argmax handles
        let drawn = (self.weights.clone().log() + gumbel).argmax(1);
        let first = self.chosen.actions.clone().narrow(2, 0, 1).reshape([e, k, a]);
        first.gather(1, drawn.unsqueeze_dim::<3>(2).expand([e, 1, a])).reshape([e, a])
    }

    /// The `count` best of them: `[E, count, H, A]`; `None` of none.
    pub fn top(&self, count: usize) -> Option<Tensor<4>> {
        (count > 0).then(|| self.chosen.actions.clone().narrow(1, 0, count))
    }

    /// The best one's sequence: `[E, H, A]`.
    pub fn best(&self) -> Tensor<3> {
        self.chosen.actions.clone().narrow(1, 0, 1).squeeze_dim(1)
    }

    /// Mean score of the elites: `[E]`.
    pub fn mean_score(&self) -> Tensor<1> {
        self.chosen.scores.clone().mean_dim(1).squeeze_dim(1)
    }

    /// Share of elites whose position among the candidates is at least `from`: `[E]`.
    pub fn share_from(&self, from: usize) -> Tensor<1> {
        self.chosen.indices.clone().greater_equal_elem(from as i64).float().mean_dim(1).squeeze_dim(1)
    }
}
