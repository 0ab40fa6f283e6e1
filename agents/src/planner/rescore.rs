//! A second look: candidates ranked by a cheap score, the best of which are scored exactly.

use super::refit::WORST;
use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;

/// Scores `[E, N]` in which the `count` best by `scores` have their exact one and all others are ranked last; what is not a
/// number stays so.
///
/// # Shapes
/// - `actions`: `[E, N, H, A]`, `tails` (the policy's noise at their ends): `[E, N, A]`, `scores`: `[E, N]`; `exact` maps
///   `[E, K, H, A]` and `[E, K, A]` to `[E, K]`.
pub fn rescore(
    actions: Tensor<4>,
    tails: Tensor<3>,
    scores: Tensor<2>,
    count: usize,
    exact: impl FnOnce(Tensor<4>, Tensor<3>) -> Tensor<2>,
) -> Tensor<2> {
    let [environments, all, horizon, action_dim] = actions.dims();
    let count = count.min(all);
    let known = scores.clone().is_finite();
    let ranks = scores.clone().mask_fill(known.clone().bool_not(), WORST);
    let (_, indices) = ranks.topk_with_indices(count, 1);
    let rows = |width: usize| indices.clone().unsqueeze_dim::<3>(2).expand([environments, count, width]);
    let row = horizon * action_dim;
    let best = actions.reshape([environments, all, row]).gather(1, rows(row));
    let exact =
        exact(best.reshape([environments, count, horizon, action_dim]), tails.gather(1, rows(action_dim)));
    let at_best = |values: Tensor<2>| {
        Tensor::zeros([environments, all], &values.device()).scatter(
            1,
            indices.clone(),
            values,
            IndexingUpdateOp::Add,
        )
    };
    let looked_at = at_best(exact.ones_like()).greater_elem(0.5);
    scores.mask_fill(known, WORST).mask_where(looked_at, at_best(exact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;
    use crate::test_support::{normal, values};

    /// The cheap score knows the first action only; the exact one wants small actions, and their noise.
    #[test]
    fn the_best_are_scored_exactly_and_the_others_come_last() {
        let (actions, tails) = (normal::<4>([2, 5, 3, 2], 1), normal::<3>([2, 5, 2], 2));
        let cheap = Tensor::<2>::from_floats(
            [[1.0, f32::NAN, 3.0, 2.0, 0.0], [f32::INFINITY, 1.0, 0.0, -1.0, -2.0]],
            &cpu(),
        );
        let exactly = |actions: Tensor<4>, tails: Tensor<3>| {
            let [e, n, h, a] = actions.dims();
            let size = actions.square().reshape([e, n, h * a]).sum_dim(2) + tails.sum_dim(2);
            -size.squeeze_dim::<2>(2)
        };
        let found = values(rescore(actions.clone(), tails.clone(), cheap, 2, exactly));
        let exact = values(exactly(actions, tails));
        for (i, (found, exact)) in found.into_iter().zip(exact).enumerate() {
            match i {
                1 | 5 => assert!(!found.is_finite(), "what cannot be ranked is still counted"),
                2 | 3 | 6 | 7 => assert!((found - exact).abs() < 1e-6, "candidate {i}: {found}, {exact}"),
                _ => assert_eq!(found, WORST),
            }
        }
    }

    /// An exact score that is not a number must not look like one.
    #[test]
    fn a_second_look_may_find_that_a_score_is_no_number() {
        let cheap = Tensor::<2>::from_floats([[1.0, 2.0, 3.0]], &cpu());
        let broken = |actions: Tensor<4>, _| Tensor::full([1, actions.dims()[1]], f32::NAN, &cpu());
        let found = values(rescore(normal([1, 3, 2, 1], 1), normal([1, 3, 1], 2), cheap, 9, broken));
        assert!(found.into_iter().all(f32::is_nan));
    }
}
