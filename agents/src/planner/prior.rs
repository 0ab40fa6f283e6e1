//! A preference for what the policy would do.
//!
//! A sampling planner picks the best of hundreds of noisy scores. Where actions hardly matter, or where the model errs, the
//! winner is far from the policy for no good reason. The prior asks for a gain: a first action a_0 is worth
//! w·s·‖a_0 − π(z_0)‖² less, s being the standard deviation of the scores of the first iteration's samples, i.e. how much
//! actions matter at all there. It is the logarithm of a Gaussian around the policy, as in planning as inference
//! (Piché et al. 2019); measuring it in s is ours.

use super::refit::{Scored, WORST};
use burn::prelude::*;

/// See above.
#[derive(Clone)]
pub(super) struct Prior {
    /// Mean first action of the policy's sequences: `[E, 1, A]`
    centre: Tensor<3>,
    /// w·s: `[E, 1]`
    price: Tensor<2>,
}

/// Standard deviation of the finite scores of each environment: `[E, N]` → `[E, 1]`.
fn spread(candidates: &Scored) -> Tensor<2> {
    let ranks = candidates.ranks();
    let known = ranks.clone().greater_elem(WORST);
    let count = known.clone().float().sum_dim(1).clamp_min(1.0);
    let scores = ranks.mask_fill(known.clone().bool_not(), 0.0);
    let mean = scores.clone().sum_dim(1) / count.clone();
    let deviation = (scores - mean).mask_fill(known.bool_not(), 0.0);
    (deviation.square().sum_dim(1) / count).sqrt()
}

impl Prior {
    /// From the policy's sequences and the first iteration's candidates; `None` without a weight or a policy.
    pub fn new(weight: f64, proposals: Option<&Scored>, candidates: &Scored) -> Option<Self> {
        let proposals = proposals.filter(|_| weight > 0.0)?;
        let [e, _, _, a] = proposals.actions.dims();
        let centre = proposals.actions.clone().narrow(2, 0, 1).mean_dim(1).reshape([e, 1, a]);
        Some(Self { centre, price: spread(candidates) * weight })
    }

    /// Scores less the price of leaving the policy.
    pub fn weigh(&self, candidates: Scored) -> Scored {
        let [e, n, _, a] = candidates.actions.dims();
        let first = candidates.actions.clone().narrow(2, 0, 1).reshape([e, n, a]);
        let distance = (first - self.centre.clone()).square().sum_dim(2).squeeze_dim::<2>(2);
        Scored { scores: candidates.scores - distance * self.price.clone(), ..candidates }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::test_support::values;

    fn scored(actions: [[f32; 3]; 2], scores: [[f32; 3]; 2]) -> Scored {
        let actions = Tensor::<2>::from_floats(actions, &cpu()).reshape([2, 3, 1, 1]);
        Scored { actions, scores: Tensor::from_floats(scores, &cpu()) }
    }

    /// Environment 0: scores 1, 2, 3 have a standard deviation of √(2/3). Environment 1: what is not finite does not count.
    #[test]
    fn leaving_the_policy_costs_in_proportion_to_the_spread_of_scores() {
        let policy = scored([[0.4, 0.5, 0.6], [0.0; 3]], [[0.0; 3]; 2]);
        let first = scored([[0.5, 1.0, 0.0], [1.0, 0.5, 0.0]], [[1.0, 2.0, 3.0], [4.0, f32::NAN, 2.0]]);
        let prior = Prior::new(0.3, Some(&policy), &first).unwrap();
        let price = 0.3 * (2f32 / 3.0).sqrt();
        let found = values(prior.weigh(first.clone()).scores);
        let expected = [1.0, 2.0 - price / 4.0, 3.0 - price / 4.0, 4.0 - 0.3, f32::NAN, 2.0];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5 || found.is_nan() && expected.is_nan(), "{found}");
        }
        assert!(Prior::new(0.0, Some(&policy), &first).is_none() && Prior::new(0.3, None, &first).is_none());
    }

    /// Nothing finite at all: no price, and no NaN that was not there.
    #[test]
    fn hopeless_scores_have_no_spread() {
        let hopeless = scored([[0.0; 3]; 2], [[f32::NAN; 3], [f32::INFINITY; 3]]);
        assert_eq!(values(spread(&hopeless)), [0.0, 0.0]);
    }
}
