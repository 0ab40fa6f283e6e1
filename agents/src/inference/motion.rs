//! One step of the latent dynamics for a block of rows.

use super::layer::Layer;
use super::network::{Network, Scratch};
use crate::ops::simd::multiversion;

/// z' = d(z, a) on packed weights.
#[derive(Clone, Debug)]
pub(crate) enum Motion {
    /// z' = λ̄ ⊙ z + L̄ [f(a) ⊙ gate].
    Koopman(KoopmanMotion),
    /// z' = MLP([z, a]).
    Mlp(Network),
}

/// Parts of the Koopman dynamics.
#[derive(Clone, Debug)]
pub(crate) struct KoopmanMotion {
    /// λ̄ as `[Re | Im]`: `[D]`
    pub lambda: Vec<f32>,
    /// L̄: `[l, D]`, no bias
    pub input: Layer,
    /// f: A → l
    pub action_encoder: Network,
    /// tanh s: D → l
    pub gate: Option<Network>,
}

/// Where the gate of a step comes from.
#[derive(Clone, Copy)]
pub(super) enum Gate<'a> {
    /// Every row's own latent.
    Own,
    /// 1 + tanh s for all rows: `[l]`.
    Shared(&'a [f32]),
}

/// Buffers of a step.
#[derive(Default)]
pub(super) struct Buffers {
    pub scratch: Scratch,
    gate: Scratch,
    push: Vec<f32>,
}

impl Motion {
    /// Advances `rows` rows `[z | a]` of `za`, `stride` apart: replaces z and leaves a.
    pub(super) fn step(&self, za: &mut [f32], stride: usize, rows: usize, gate: Gate, buffers: &mut Buffers) {
        match self {
            Motion::Mlp(net) => {
                let next = net.forward(za, stride, rows, &mut buffers.scratch);
                let d = net.outputs();
                for (z, next) in za.chunks_mut(stride).zip(next.numbers.chunks_exact(next.stride)) {
                    z[..d].copy_from_slice(&next[..d]);
                }
            }
            Motion::Koopman(koopman) => koopman.step(za, stride, rows, gate, buffers),
        }
    }

    /// Appends 1 + tanh s(z) of one latent, `[l]`; nothing without a gate.
    pub(super) fn append_gate(&self, z: &[f32], gates: &mut Vec<f32>, buffers: &mut Buffers) {
        if let Motion::Koopman(KoopmanMotion { gate: Some(s), .. }) = self {
            let gate = s.forward(z, z.len(), 1, &mut buffers.scratch);
            gates.extend(gate.numbers[..s.outputs()].iter().map(|g| 1.0 + g));
        }
    }
}

impl KoopmanMotion {
    fn step(&self, za: &mut [f32], stride: usize, rows: usize, gate: Gate, buffers: &mut Buffers) {
        let d = self.lambda.len();
        let u = self.action_encoder.forward(&za[d..], stride, rows, &mut buffers.scratch);
        match (gate, &self.gate) {
            (Gate::Shared(gate), _) => u.numbers.chunks_exact_mut(u.stride).for_each(|u| scale(u, gate)),
            (Gate::Own, Some(s)) => {
                let gate = s.forward(za, stride, rows, &mut buffers.gate);
                open(u.numbers, gate.numbers);
            }
            (Gate::Own, None) => {}
        }
        let push = &mut buffers.push;
        push.resize((rows * self.input.stride()).max(push.len()), 0.0);
        self.input.apply(u.numbers, u.stride, rows, push);
        advance(za, stride, push, self.input.stride(), &self.lambda, rows);
    }
}

multiversion! {
    fn scale(u: &mut [f32], gate: &[f32]) {
        u.iter_mut().zip(gate).for_each(|(u, g)| *u *= g);
    }
}
multiversion! {
    fn open(u: &mut [f32], gate: &[f32]) {
        u.iter_mut().zip(gate).for_each(|(u, g)| *u *= 1.0 + g);
    }
}
multiversion! {
    /// z ← λ̄ ⊙ z + c over rows `[Re | Im]`.
    fn advance(z: &mut [f32], z_stride: usize, c: &[f32], c_stride: usize, lambda: &[f32], rows: usize) {
        let m = lambda.len() / 2;
        let (lr, li) = lambda.split_at(m);
        for (z, c) in z.chunks_mut(z_stride).zip(c.chunks_exact(c_stride)).take(rows) {
            let ((zr, zi), (cr, ci)) = (z[..2 * m].split_at_mut(m), c[..2 * m].split_at(m));
            for j in 0..m {
                let (re, im) = (zr[j], zi[j]);
                zr[j] = lr[j] * re - li[j] * im + cr[j];
                zi[j] = lr[j] * im + li[j] * re + ci[j];
            }
        }
    }
}
