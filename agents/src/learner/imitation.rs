//! The policy kept near what the planner did.
//!
//! TD targets bootstrap from what the policy would do, while the replay holds what the planner did. Where the two part, critics
//! are asked about actions that nobody took, and errors in the policy's favour stay: values rise above what any episode
//! returns. A penalty on the distance between them is the cure of TD3+BC (Fujimoto & Gu 2021, arXiv 2106.06860) and, for
//! planners, of TD-M(PC)² (Lin et al. 2025, arXiv 2502.03550).

use burn::prelude::*;

/// What was done along a batch of sequences.
pub(super) struct Taken {
    /// a_0 … a_{H−1}: `[B, H, A]`
    pub actions: Tensor<3>,
    /// 0 for padding: `[B, H]`
    pub mask: Tensor<2>,
}

impl Taken {
    /// How far the policy's `actions` at ẑ_0 … ẑ_H, `[B·(H + 1), A]`, are from those taken there, squared and averaged over
    /// A; 0 where none was taken, at ẑ_H and behind an end: `[B, H + 1]`.
    pub fn distance(self, actions: Tensor<2>) -> Tensor<2> {
        let [b, h, a] = self.actions.dims();
        let actions = actions.reshape([b, h + 1, a]).narrow(1, 0, h);
        let apart = (actions - Tensor::from_inner(self.actions)).square().mean_dim(2).reshape([b, h]);
        let apart = apart * Tensor::from_inner(self.mask);
        let last = Tensor::zeros([b, 1], &apart.device());
        Tensor::cat(vec![apart, last], 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{batches, learner};
    use super::*;
    use crate::config::DynamicsKind;
    use crate::config::tests::tiny_of_both;
    use crate::rng::Stream;
    use crate::test_support::values;

    #[test]
    fn only_steps_with_an_action_count() {
        let device = crate::device::cpu();
        let actions = Tensor::from_data([[[1.0, 0.0], [0.0, 0.0]], [[0.5, 0.5], [0.0, 0.0]]], &device);
        let mask = Tensor::from_data([[1.0, 1.0], [1.0, 0.0]], &device);
        let policy: Tensor<2> = Tensor::from_inner(Tensor::full([6, 2], 0.5, &device));
        let distance = Taken { actions, mask }.distance(policy).inner();
        assert_eq!(values(distance), [0.25, 0.25, 0.0, 0.0, 0.0, 0.0]);
    }

    /// With a large weight the policy does what was done, whatever the critics say of it.
    #[test]
    fn the_policy_follows_what_was_done() {
        for mut config in [DynamicsKind::Koopman, DynamicsKind::Mlp].into_iter().flat_map(tiny_of_both) {
            let apart = [0.0, 1000.0].map(|coefficient| {
                config.learner.imitation_coef = coefficient;
                let (mut learner, mut noise) = (learner(&config), Stream::new(4, "noise"));
                let mut batches = batches(&config, 300);
                for batch in &mut batches {
                    batch.actions.fill(0.7);
                    learner.update(batch, &mut noise);
                }
                let batch = &batches[0];
                let observations =
                    TensorData::new(batch.observations.clone(), [batch.observations.len() / 4, 4]);
                let z = learner.world.encode(Tensor::from_data(observations, &learner.device));
                let rows = z.dims()[0];
                let action = learner.world.act(z, Tensor::zeros([rows, 2], &learner.device));
                (action - 0.7).abs().max().into_scalar::<f32>()
            });
            assert!(apart[1] < 0.1 && apart[0] > 0.2, "{:?}: {apart:?}", config.model.recipe);
        }
    }
}
