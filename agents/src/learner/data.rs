//! A batch of sequences on the device.

use crate::replay::Batch;
use burn::prelude::*;

/// What a [`Batch`] holds, as tensors without gradients.
pub(super) struct Data {
    /// o_0 … o_H: `[B, H + 1, O]`
    pub observations: Tensor<3>,
    /// `[B, H, A]`
    pub actions: Tensor<3>,
    /// `[B, H]`
    pub rewards: Tensor<2>,
    /// 1 where a transition terminated: `[B, H]`
    pub terminated: Tensor<2>,
    /// 0 for padding: `[B, H]`
    pub mask: Tensor<2>,
    /// `[B]`
    pub importance: Tensor<1>,
    /// Of the whole replay, around 0.
    pub reward_range: [f32; 2],
}

impl Data {
    pub fn upload(batch: &Batch, observation_dim: usize, action_dim: usize, device: &Device) -> Self {
        fn upload<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
            Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
        }
        let (b, h) = (batch.size, batch.horizon);
        let steps = |values: &[f32]| upload(values, [b, h], device);
        Self {
            observations: upload(&batch.observations, [b, h + 1, observation_dim], device),
            actions: upload(&batch.actions, [b, h, action_dim], device),
            rewards: steps(&batch.rewards),
            terminated: steps(&batch.terminated),
            mask: steps(&batch.mask),
            importance: upload(&batch.weights, [b], device),
            reward_range: batch.reward_range,
        }
    }
}
