//! One step of the latent dynamics for a block of rows.

use super::layer::Layer;
use super::network::{Network, Scratch};
use super::rows;
use crate::model::Bound;
use crate::ops::Aligned;
use crate::ops::product::Rounded;
use crate::ops::simd::multiversion;

/// z' = d(z, a) on packed weights.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // one a model
pub(crate) enum Motion {
    /// z' = λ̄ ⊙ s(z) ⊙ z + L̄ [f(a) ⊙ gate] + r(z).
    Koopman(KoopmanMotion),
    /// z' = MLP([z, a]), kept in bounds.
    Mlp(Network, Bound),
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
    /// The gate without its 1: D → l
    pub gate: Option<Network>,
    /// Steps that a row's own gate is held for.
    pub recondition_every: usize,
    /// tanh q: D → D/2, and β of s = 1 − β/2·(1 + tanh q)
    pub modulation: Option<(Network, f32)>,
    /// r: D → D
    pub correction: Option<Network>,
}

/// Where the gate of a step comes from.
#[derive(Clone, Copy)]
pub(super) enum Gate<'a> {
    /// Every row's own latent, at this step of the rollout.
    Own(usize),
    /// The gate for all rows: `[l]`.
    Shared(&'a [f32]),
}

/// Buffers of a step.
#[derive(Default)]
pub(super) struct Buffers {
    pub scratch: Scratch,
    gate: Scratch,
    /// A gate that is held, without its 1.
    held: Vec<f32>,
    remainder: Scratch,
    push: Aligned,
    rounded: Rounded,
}

impl Motion {
    /// Advances `rows` rows `[z | a]` of `za`, `stride` apart: replaces z and leaves a.
    pub(super) fn step(&self, za: &mut [f32], stride: usize, rows: usize, gate: Gate, buffers: &mut Buffers) {
        match self {
            Motion::Mlp(net, bound) => {
                let next = net.forward(za, stride, rows, &mut buffers.scratch);
                let d = net.outputs();
                rows::bound(*bound, next.numbers, next.stride, d);
                for (z, next) in za.chunks_mut(stride).zip(next.numbers.chunks_exact(next.stride)) {
                    z[..d].copy_from_slice(&next[..d]);
                }
            }
            Motion::Koopman(koopman) => koopman.step(za, stride, rows, gate, buffers),
        }
    }

    /// Appends the gate of step `k` of one rollout, `[l]`, at the latent `z` or held; nothing without a gate.
    pub(super) fn append_gate(&self, k: usize, z: &[f32], gates: &mut Vec<f32>, buffers: &mut Buffers) {
        let Motion::Koopman(KoopmanMotion { gate: Some(s), recondition_every, .. }) = self else { return };
        if k.is_multiple_of(*recondition_every) {
            let gate = s.forward(z, z.len(), 1, &mut buffers.scratch);
            gates.extend(gate.numbers[..s.outputs()].iter().map(|g| 1.0 + g));
        } else {
            gates.extend_from_within(gates.len() - s.outputs()..);
        }
    }
}

impl KoopmanMotion {
    fn step(&self, za: &mut [f32], stride: usize, rows: usize, gate: Gate, buffers: &mut Buffers) {
        let d = self.lambda.len();
        let u = self.action_encoder.forward(&za[d..], stride, rows, &mut buffers.scratch);
        match (gate, &self.gate) {
            (Gate::Shared(gate), _) => u.numbers.chunks_exact_mut(u.stride).for_each(|u| scale(u, gate)),
            (Gate::Own(_), Some(s)) if self.recondition_every == 1 => {
                open(u.numbers, s.forward(za, stride, rows, &mut buffers.gate).numbers);
            }
            (Gate::Own(k), Some(s)) => {
                if k.is_multiple_of(self.recondition_every) {
                    buffers.held.clear();
                    buffers.held.extend_from_slice(s.forward(za, stride, rows, &mut buffers.gate).numbers);
                }
                open(u.numbers, &buffers.held);
            }
            (Gate::Own(_), None) => {}
        }
        let push = &mut buffers.push;
        push.grow(rows * self.input.stride());
        self.input.apply(u.numbers, u.stride, rows, push, &mut buffers.rounded);
        if let Some(r) = &self.correction {
            let correction = r.forward(za, stride, rows, &mut buffers.remainder);
            let pushes = push.chunks_exact_mut(self.input.stride());
            pushes
                .zip(correction.numbers.chunks_exact(correction.stride))
                .for_each(|(c, r)| add(&mut c[..d], &r[..d]));
        }
        if let Some((q, depth)) = &self.modulation {
            let q = q.forward(za, stride, rows, &mut buffers.remainder);
            let rows = za.chunks_mut(stride).zip(q.numbers.chunks_exact(q.stride));
            rows.for_each(|(z, q)| decay(&mut z[..d], &q[..d / 2], *depth));
        }
        advance(za, stride, push, self.input.stride(), &self.lambda, rows);
    }
}

multiversion! {
    fn add(c: &mut [f32], r: &[f32]) {
        c.iter_mut().zip(r).for_each(|(c, r)| *c += r);
    }
}
multiversion! {
    /// z ← s ⊙ z over both parts of the modes.
    fn decay(z: &mut [f32], q: &[f32], depth: f32) {
        let (re, im) = z.split_at_mut(q.len());
        for ((re, im), q) in re.iter_mut().zip(im).zip(q) {
            let s = 1.0 - 0.5 * depth * (1.0 + q);
            (*re, *im) = (s * *re, s * *im);
        }
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
            let ((re, im), (cr, ci)) = (z[..2 * m].split_at_mut(m), c[..2 * m].split_at(m));
            if m < LANES {
                for j in 0..m {
                    (re[j], im[j]) = (lr[j] * re[j] - li[j] * im[j] + cr[j], lr[j] * im[j] + li[j] * re[j] + ci[j]);
                }
                continue;
            }
            // 25 modes are two registers that overlap, where a loop would take nine of them one by one: the last are turned
            // before any is overwritten
            let end = m - LANES;
            let last = turned(lanes(re, end), lanes(im, end), lanes(cr, end), lanes(ci, end), lanes(lr, end), lanes(li, end));
            let mut at = 0;
            while at <= end {
                let new = turned(lanes(re, at), lanes(im, at), lanes(cr, at), lanes(ci, at), lanes(lr, at), lanes(li, at));
                re[at..at + LANES].copy_from_slice(&new.0);
                im[at..at + LANES].copy_from_slice(&new.1);
                at += LANES;
            }
            re[end..].copy_from_slice(&last.0);
            im[end..].copy_from_slice(&last.1);
        }
    }
}

/// Modes turned at once: an AVX-512 register.
const LANES: usize = 16;
type Lanes = [f32; LANES];

#[inline(always)]
fn lanes(x: &[f32], at: usize) -> &Lanes {
    x[at..].first_chunk().expect("a register's numbers from there on")
}

/// λ̄ ⊙ z + c.
#[inline(always)]
fn turned(re: &Lanes, im: &Lanes, cr: &Lanes, ci: &Lanes, lr: &Lanes, li: &Lanes) -> (Lanes, Lanes) {
    let (mut new_re, mut new_im) = ([0.0; LANES], [0.0; LANES]);
    for j in 0..LANES {
        new_re[j] = lr[j] * re[j] - li[j] * im[j] + cr[j];
        new_im[j] = lr[j] * im[j] + li[j] * re[j] + ci[j];
    }
    (new_re, new_im)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{normal, values};

    /// Fewer modes than a register has, as many, and numbers that no register divides; rows with more behind the latent.
    #[test]
    fn latents_turn_by_complex_numbers() {
        for m in [1, 2, 15, 16, 17, 25, 31, 32, 33, 50] {
            let (rows, z_stride, c_stride) = (3, 2 * m + 3, 2 * m + 1);
            let lambda = values(normal::<1>([2 * m], 1));
            let (z, c) =
                (values(normal::<1>([rows * z_stride], 2)), values(normal::<1>([rows * c_stride], 3)));
            let mut next = z.clone();
            advance(&mut next, z_stride, &c, c_stride, &lambda, rows);
            for row in 0..rows {
                let [now, next] = [&z, &next].map(|z| &z[row * z_stride..][..z_stride]);
                let c = &c[row * c_stride..];
                for j in 0..m {
                    let (re, im) = (now[j], now[m + j]);
                    let real = lambda[j] * re - lambda[m + j] * im + c[j];
                    let imaginary = lambda[j] * im + lambda[m + j] * re + c[m + j];
                    assert_eq!([next[j], next[m + j]], [real, imaginary], "mode {j} of {m}");
                }
                assert_eq!(next[2 * m..], now[2 * m..], "what lies behind a latent stays");
            }
        }
    }
}
