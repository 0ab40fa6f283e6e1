//! Targets, losses and steps: `kernels/learning.cu`, which says what they are.

use super::memory::Memory;
use super::told::{Adam, Climb, Follow, Sequences, Spectrum, SpectrumBack, Squares, Summary, Targets};
use crate::ops::simd::{multiversion, sum_of, sum_of_two};
use crate::ops::{AdamStep, adam_slice};
use std::ops::Range;

pub(super) fn td_targets(m: Memory, o: &Targets, rows: Range<usize>) {
    let [low, high] = *m.read(o.range, 2) else { unreachable!("two bounds") };
    let of = |at: i32| m.read(at + rows.start as i32, rows.len());
    let out = m.write(o.out + rows.start as i32, rows.len());
    let (q1, q2, rewards, terminated) = (of(o.q1), of(o.q2), of(o.rewards), of(o.terminated));
    for (i, out) in out.iter_mut().enumerate() {
        // in this order a NaN of either stays
        let value = if q1[i] < q2[i] || q1[i].is_nan() { q1[i] } else { q2[i] };
        let value = if value < low {
            low
        } else if value > high {
            high
        } else {
            value
        };
        *out = rewards[i] + value * (1.0 - terminated[i]) * o.discount;
    }
}

multiversion! {
    /// Losses of some sequences, and the gradients of their weighted mean over the batch and the steps.
    pub(super) fn sequences(m: Memory, o: &Sequences, of: Range<usize>) {
        let (width, batch) = (o.latent as usize, o.batch);
        let one = |at: i32, i: i32| m.read(at + i, 1)[0];
        for b in of {
            let b = b as i32;
            let latents = |t: i32| {
                let i = t * batch + b;
                (m.read(o.latents + (i + batch) * o.stride, width), m.read(o.targets + i * o.latent, width))
            };
            let errors = |i: i32| {
                let value = one(o.values, i);
                [one(o.predicted, i) - one(o.rewards, i), one(o.q1, i) - value, one(o.q2, i) - value]
            };
            let (mut consistency, mut reward, mut value, mut priority, mut rho) = (0.0, 0.0, 0.0, 0.0, 1.0);
            for t in 0..o.horizon {
                let i = t * batch + b;
                let w = rho * one(o.mask, i);
                let ((z, known), [r, e1, e2]) = (latents(t), errors(i));
                consistency += w * (sum_of_two(z, known, |z, known| (z - known) * (z - known)) / width as f32);
                reward += w * (r * r);
                value += w * (e1 * e1 + e2 * e2);
                priority += w * (e1.abs() + e2.abs());
                rho *= o.rho;
            }
            // a loss at its cap has no gradient
            let scale = one(o.importance, b) / (batch * o.horizon) as f32;
            let below = |loss: f32, weight: f32| if loss < o.cap { scale * weight } else { 0.0 };
            let (of_latents, of_reward, of_value) =
                (below(consistency, o.consistency), below(reward, o.reward), below(value, o.value));
            m.write(o.d_latents + b * o.latent, width).fill(0.0);
            rho = 1.0;
            for t in 0..o.horizon {
                let i = t * batch + b;
                let w = 2.0 * rho * one(o.mask, i);
                let ((z, known), [r, e1, e2]) = (latents(t), errors(i));
                let to = m.write(o.d_latents + (i + batch) * o.latent, width);
                for ((to, z), known) in to.iter_mut().zip(z).zip(known) {
                    *to = of_latents * w / width as f32 * (z - known);
                }
                m.write(o.d_rewards + i, 1)[0] = of_reward * w * r;
                m.write(o.d_q1 + i, 1)[0] = of_value * w * e1;
                m.write(o.d_q2 + i, 1)[0] = of_value * w * e2;
                rho *= o.rho;
            }
            for (k, loss) in [consistency, reward, value].into_iter().enumerate() {
                m.write(o.out + b + k as i32 * batch, 1)[0] = if loss > o.cap { o.cap } else { loss };
            }
            m.write(o.priorities + b, 1)[0] = priority;
        }
    }
}

/// The policy climbs the smaller critic at ẑ_0 … ẑ_H: each has a list of the rows where that is it, and their gradients. All of it,
/// whatever the range.
pub(super) fn climb(m: Memory, o: &Climb, _all: Range<usize>) {
    let one = |at: i32, i: i32| m.read(at + i, 1)[0];
    let room = |at: i32| bytemuck::cast_slice_mut::<f32, i32>(m.write(at, o.rows as usize + 1));
    let mut lists = [o.list_1, o.list_2].map(room);
    lists.iter_mut().for_each(|list| list[0] = 0);
    for i in 0..o.rows {
        let t = i / o.batch;
        let mut w = (0..t).fold(1.0 / o.batch as f32, |w, _| w * o.rho);
        // nothing is learned of what comes behind an end
        if t > 0 {
            w *= one(o.mask, i - o.batch) * (1.0 - one(o.terminated, i - o.batch));
        }
        let (q1, q2) = (one(o.q1, i), one(o.q2, i));
        let (smaller, q, to) = if q1 < q2 { (0, q1, o.d_q1) } else { (1, q2, o.d_q2) };
        m.write(o.out + i, 1)[0] = -w * q;
        if w != 0.0 {
            let (count, rows) = lists[smaller].split_at_mut(1);
            rows[count[0] as usize] = i;
            m.write(to + count[0], 1)[0] = -w;
            count[0] += 1;
        }
    }
}

/// λ = e^μ·e^{iωΔt}, μ = −softplus(raw).
pub(super) fn spectrum(m: Memory, o: &Spectrum, modes: Range<usize>) {
    let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
    for i in modes {
        let one = |at: i32| m.read(at + i as i32, 1)[0];
        let (radius, phase) = ((-softplus(one(o.raw_mu))).exp(), one(o.omega) * one(o.log_dt).exp());
        m.write(o.lambda + i as i32, 1)[0] = radius * phase.cos();
        m.write(o.lambda + o.modes + i as i32, 1)[0] = radius * phase.sin();
    }
}

multiversion! {
    /// Gradients of the eigenvalues' parameters, from z and the gradients of λ ⊙ z; all of them, whatever the range.
    pub(super) fn spectrum_back(m: Memory, o: &SpectrumBack, _all: Range<usize>) {
        let n = o.modes as usize;
        let (mut d_re, mut d_im) = (vec![0f32; n], vec![0f32; n]);
        for row in 0..o.rows {
            let (zr, zi) = m.read(o.z + row * o.z_stride, 2 * n).split_at(n);
            let (gr, gi) = m.read(o.dz + row * 2 * o.modes, 2 * n).split_at(n);
            for j in 0..n {
                d_re[j] += gr[j] * zr[j] + gi[j] * zi[j];
                d_im[j] += gi[j] * zr[j] - gr[j] * zi[j];
            }
        }
        let (re, im) = m.read(o.lambda, 2 * n).split_at(n);
        for j in 0..n {
            let one = |at: i32| m.read(at + j as i32, 1)[0];
            let (dt, raw, phase) = (one(o.log_dt).exp(), one(o.raw_mu), im[j] * -d_re[j] + re[j] * d_im[j]);
            let to = |at: i32, gradient: f32| {
                if at >= 0 {
                    m.write(at + j as i32, 1)[0] = gradient;
                }
            };
            to(o.d_mu, -(re[j] * d_re[j] + im[j] * d_im[j]) / (1.0 + (-raw).exp()));
            to(o.d_omega, phase * dt);
            to(o.d_log_dt, phase * one(o.omega) * dt);
        }
    }
}

multiversion! {
    /// Some of the sums of squares, each of neighbouring numbers.
    pub(super) fn squares(m: Memory, o: &Squares, sums: Range<usize>) {
        let (count, blocks) = (o.count as usize, o.blocks as usize);
        let each = count.div_ceil(blocks);
        for i in sums {
            let from = (i * each).min(count);
            let x = m.read(o.x + from as i32, each.min(count - from));
            m.write(o.out + i as i32, 1)[0] = sum_of(x, |x| x * x);
        }
    }
}

/// Adam with the gradient scaled to a norm.
pub(super) fn adam(m: Memory, o: &Adam, numbers: Range<usize>) {
    let norm = m.read(o.squares, o.squared as usize).iter().sum::<f32>().sqrt();
    let ratio = o.max_norm / norm;
    let scale = if ratio > 1.0 { 1.0 } else { ratio };
    let [correction1, correction2] = *m.read(o.corrections, 2) else { unreachable!("two corrections") };
    let (learning_rate, beta1, beta2, epsilon) = (o.rate, o.beta1, o.beta2, o.epsilon);
    let step = AdamStep { learning_rate, beta1, beta2, epsilon, correction1, correction2 };
    let (from, count) = (numbers.start as i32, numbers.len());
    let [x, first, second] = [o.x, o.first_moment, o.second_moment].map(|at| m.write(at + from, count));
    adam_slice(x, m.read(o.gradient + from, count), first, second, scale, step);
}

/// The norm that [`adam`] scales, said once.
pub(super) fn gradient_norm(m: Memory, o: &Adam) {
    m.write(o.norm, 1)[0] = m.read(o.squares, o.squared as usize).iter().sum::<f32>().sqrt();
}

multiversion! {
    /// slow ← (1 − rate)·slow + rate·x.
    pub(super) fn follow(m: Memory, o: &Follow, numbers: Range<usize>) {
        let rate = m.read(o.rate, 1)[0];
        if rate == 0.0 {
            return;
        }
        let (from, count) = (numbers.start as i32, numbers.len());
        let slow = m.write(o.slow + from, count);
        slow.iter_mut().zip(m.read(o.x + from, count)).for_each(|(slow, x)| *slow = *slow * (1.0 - rate) + x * rate);
    }
}

/// Means of the losses of [`sequences`], and what `Trust` observes; all of it, whatever the range.
pub(super) fn summary(m: Memory, o: &Summary, _all: Range<usize>) {
    let batch = o.batch as usize;
    let of = |at: i32| m.read(at, batch);
    let [consistency, reward, value] = [0, 1, 2].map(|k| of(o.sequences + k * o.batch));
    let mut total = 0.0;
    for (b, importance) in of(o.importance).iter().enumerate() {
        total += importance * (o.consistency * consistency[b] + o.reward * reward[b] + o.value * value[b]);
    }
    let mean = |x: &[f32]| sum_of(x, |x| x) / batch as f32;
    let policy = sum_of(m.read(o.policy, o.policy_rows as usize), |x| x);
    let losses = [total / batch as f32, mean(consistency), mean(reward), mean(value), policy];
    m.write(o.out, 5).copy_from_slice(&losses);
    for t in 0..o.horizon {
        let [mask, rewards, predicted] = [o.mask, o.rewards, o.predicted].map(|at| of(at + t * o.batch));
        let mut sums = [0f32; 4];
        for ((m, r), predicted) in mask.iter().zip(rewards).zip(predicted) {
            let error = predicted - r;
            for (sum, x) in sums.iter_mut().zip([*m, m * r, m * (r * r), m * (error * error)]) {
                *sum += x;
            }
        }
        m.write(o.foresight + 4 * t, 4).copy_from_slice(&sums);
    }
}
