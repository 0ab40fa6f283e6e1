//! Sampled sequences, on the host.

/// B sequences of H transitions. Buffers are reused between samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// B.
    pub size: usize,
    /// H.
    pub horizon: usize,
    /// o_t … o_{t+H}: `[B, H + 1, O]`.
    pub observations: Vec<f32>,
    /// `[B, H, A]`.
    pub actions: Vec<f32>,
    /// `[B, H]`.
    pub rewards: Vec<f32>,
    /// 1 where the transition ended in termination, else 0: `[B, H]`.
    pub terminated: Vec<f32>,
    /// 1 for real transitions, 0 for padding after the end of an episode shorter than H: `[B, H]`.
    pub mask: Vec<f32>,
    /// Importance weights, divided by their largest: `[B]`.
    pub weights: Vec<f32>,
    /// Smallest and largest reward of the whole replay; the range includes 0.
    pub reward_range: [f32; 2],
    /// Where the sequences start, for `Replay::set_priorities`: `[B]`.
    pub starts: Vec<usize>,
}

impl Batch {
    /// Sizes all buffers, padding zeroed.
    pub(super) fn resize(&mut self, size: usize, horizon: usize, observation_dim: usize, action_dim: usize) {
        fn zeros(buffer: &mut Vec<f32>, len: usize) {
            buffer.clear();
            buffer.resize(len, 0.0);
        }
        (self.size, self.horizon) = (size, horizon);
        zeros(&mut self.observations, size * (horizon + 1) * observation_dim);
        zeros(&mut self.actions, size * horizon * action_dim);
        for buffer in [&mut self.rewards, &mut self.terminated, &mut self.mask] {
            zeros(buffer, size * horizon);
        }
        zeros(&mut self.weights, size);
        self.starts.clear();
        self.starts.resize(size, 0);
    }
}
