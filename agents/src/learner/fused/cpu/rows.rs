//! What works on rows and single numbers: `kernels/rows.cu`.

use super::memory::{Listed, Memory};
use super::told::{Cells, ColumnSums, Norm, NormBack};
use crate::model::ACTION_BOUND;
use crate::ops::LAYER_NORM_EPSILON;
use crate::ops::simd::{multiversion, sum_of, sum_of_two, tanh};
use std::ops::Range;

multiversion! {
    pub(super) fn norm_tanh(m: Memory, o: &Norm, rows: Range<usize>) {
        let n = o.columns as usize;
        let (gamma, beta) = (m.read(o.gamma, n), m.read(o.beta, n));
        for row in rows {
            let at = (row * n) as i32;
            let (x, y) = (m.write(o.x + at, n), m.write(o.y + at, n));
            let mean = sum_of(x, |x| x) / n as f32;
            let variance = sum_of(x, |x| (x - mean) * (x - mean)) / n as f32;
            let scale = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
            for (((x, y), gamma), beta) in x.iter_mut().zip(y).zip(gamma).zip(beta) {
                *x = (*x - mean) * scale;
                *y = tanh(gamma * *x + beta);
            }
            m.write(o.scale + row as i32, 1)[0] = scale;
        }
    }
}

multiversion! {
    pub(super) fn norm_tanh_back(m: Memory, o: &NormBack, rows: Range<usize>) {
        let n = o.columns as usize;
        let gamma = m.read(o.gamma, n);
        let listed = Listed::new(m, o.among);
        for row in listed.within(rows) {
            let of = listed.of(row as i32);
            let (at, of_at) = ((row * n) as i32, of * o.columns);
            let (x, y) = (m.read(o.x + of_at, n), m.read(o.y + of_at, n));
            let (dy, dx) = (m.write(o.dy + at, n), m.write(o.dx + at, n));
            for (((dy, dx), y), gamma) in dy.iter_mut().zip(&mut *dx).zip(y).zip(gamma) {
                *dy *= 1.0 - y * y;
                *dx = *dy * gamma;
            }
            let mean = sum_of(dx, |d| d) / n as f32;
            let projection = sum_of_two(dx, x, |d, x| d * x) / n as f32;
            let scale = m.read(o.scale + of, 1)[0];
            dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = scale * (*dx - mean - x * projection));
        }
    }
}

multiversion! {
    /// All of it, whatever the range.
    pub(super) fn column_sums(m: Memory, o: &ColumnSums, _all: Range<usize>) {
        let n = o.columns as usize;
        let out = m.write(o.out, n);
        out.fill(0.0);
        for row in 0..o.rows {
            let x = m.read(o.x + row * o.columns, n);
            if o.by < 0 {
                out.iter_mut().zip(x).for_each(|(out, x)| *out += x);
            } else {
                let by = m.read(o.by + row * o.columns, n);
                out.iter_mut().zip(x).zip(by).for_each(|((out, x), by)| *out += x * by);
            }
        }
    }
}

multiversion! {
    pub(super) fn cells(m: Memory, o: &Cells, rows: Range<usize>) {
        let n = o.columns as usize;
        for row in rows {
            let row = row as i32;
            let to = m.write(o.to + row * o.to_stride, n);
            let a = m.read(o.a + row * o.a_stride, n);
            let b = m.read(o.b + row * o.b_stride, n);
            let c = m.read(o.c + row * o.c_stride, n);
            match o.what {
                0 => to.copy_from_slice(a),
                // the policy's tanh and its noise
                1 => for (to, (a, b)) in to.iter_mut().zip(a.iter().zip(b)) {
                    *to = (a + b).clamp(-ACTION_BOUND, ACTION_BOUND);
                },
                // the clamp lets gradients pass: those of both critics, then the slope of tanh
                2 => for (to, ((a, b), c)) in to.iter_mut().zip(a.iter().zip(b).zip(c)) {
                    *to = (a + b) * (1.0 - c * c);
                },
                _ => for (to, ((a, b), c)) in to.iter_mut().zip(a.iter().zip(b).zip(c)) {
                    *to += a + b + c;
                },
            }
        }
    }
}
