//! All random numbers of one plan, drawn on the host before the loop and uploaded once.

use super::Mode;
use crate::config::PlannerConfig;
use crate::rng::Stream;
use burn::prelude::*;

/// Noise of E environments; environment i's numbers come from its own stream only, so that its plan does not
/// depend on who else is planned in the same batch.
#[derive(Clone, Debug)]
pub struct Noise {
    sizes: Sizes,
    /// `[I, E, N, H·A]`
    samples: Tensor<4>,
    /// `[I, E, N, A]`
    tails: Tensor<4>,
    /// `[E, P, H·A]` and `[E, P, A]`
    policy: Option<(Tensor<3>, Tensor<3>)>,
    gumbel: Tensor<2>,
    exploration: Option<Tensor<2>>,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    environments: usize,
    samples: usize,
    policy: usize,
    horizon: usize,
    actions: usize,
}

impl Noise {
    /// Draws the noise of one plan for `streams.len()` environments. `policy_std` scales the policy's noise.
    pub fn draw(
        config: &PlannerConfig,
        policy_std: f64,
        horizon: usize,
        actions: usize,
        mode: Mode,
        streams: &mut [Stream],
        device: &Device,
    ) -> Self {
        let (n, p, i, e) = (config.num_samples, config.policy_sequences(), config.iterations, streams.len());
        let row = horizon * actions;
        let mut samples = vec![0.0; i * e * n * row];
        let mut tails = vec![0.0; i * e * n * actions];
        let (mut policy, mut policy_tails) = (Vec::new(), Vec::new());
        let (mut gumbel, mut exploration) = (Vec::new(), Vec::new());
        for (env, stream) in streams.iter_mut().enumerate() {
            for iteration in 0..i {
                let at = iteration * e + env;
                samples[at * n * row..][..n * row].copy_from_slice(&stream.normal(n * row));
                tails[at * n * actions..][..n * actions]
                    .copy_from_slice(&stream.clipped_normal(n * actions, policy_std));
            }
            policy.extend(stream.clipped_normal(p * row, policy_std));
            policy_tails.extend(stream.clipped_normal(p * actions, policy_std));
            let uniform = stream.uniform(config.num_elites, f32::MIN_POSITIVE, 1.0);
            gumbel.extend(uniform.into_iter().map(|u| -(-u.max(f32::MIN_POSITIVE).ln()).ln()));
            // drawn in both modes, so that evaluation does not shift anybody's stream
            exploration.extend(stream.normal(actions));
        }
        let sizes = Sizes { environments: e, samples: n, policy: p, horizon, actions };
        Self {
            samples: upload(samples, [i, e, n, row], device),
            tails: upload(tails, [i, e, n, actions], device),
            policy: (p > 0).then(|| {
                (upload(policy, [e, p, row], device), upload(policy_tails, [e, p, actions], device))
            }),
            gumbel: upload(gumbel, [e, config.num_elites], device),
            exploration: (mode == Mode::Explore).then(|| upload(exploration, [e, actions], device)),
            sizes,
        }
    }

    /// Planning horizon H.
    pub fn horizon(&self) -> usize {
        self.sizes.horizon
    }

    /// Standard normal numbers of one iteration: `[E, N, H, A]`.
    pub fn samples(&self, iteration: usize) -> Tensor<4> {
        let Sizes { environments, samples, horizon, actions, .. } = self.sizes;
        self.samples.clone().narrow(0, iteration, 1).reshape([environments, samples, horizon, actions])
    }

    /// Scaled policy noise at the last latent of every candidate: `[E, N, A]`.
    pub fn tails(&self, iteration: usize) -> Tensor<3> {
        let Sizes { environments, samples, actions, .. } = self.sizes;
        self.tails.clone().narrow(0, iteration, 1).reshape([environments, samples, actions])
    }

    /// Scaled noise of the policy's sequences, `[E, P, H, A]`, and of their last step, `[E, P, A]`.
    pub fn policy(&self) -> Option<(Tensor<4>, Tensor<3>)> {
        let Sizes { environments, policy, horizon, actions, .. } = self.sizes;
        let (steps, tail) = self.policy.clone()?;
        Some((steps.reshape([environments, policy, horizon, actions]), tail))
    }

    /// Gumbel noise that draws one elite: `[E, K]`.
    pub fn gumbel(&self) -> Tensor<2> {
        self.gumbel.clone()
    }

    /// Standard normal exploration noise `[E, A]`; `None` when exploiting.
    pub fn exploration(&self) -> Option<Tensor<2>> {
        self.exploration.clone()
    }
}

fn upload<const D: usize>(data: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(data, shape), device)
}
