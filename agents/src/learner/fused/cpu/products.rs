//! Products, and what happens to them before they are stored: `kernels/products.cu`.
//!
//! The right factor is packed for the kernel of [`crate::ops::product`]; blocks of rows are multiplied, and go through what follows while they
//! are in the cache.

use super::memory::{Listed, Memory};
use super::told::Product;
use crate::config::Precision;
use crate::learner::fused::orders::flags::*;
use crate::ops::Aligned;
use crate::ops::product::{self, MOST, padded, panel};
use crate::ops::simd::{elu, multiversion, sum_of_two, tanh};
use std::cell::RefCell;
use std::ops::Range;

/// Numbers of a block of the result on their way: they stay in the second-level cache.
const BLOCK: usize = 1 << 15;

/// Multiply-adds of an item of work: some ten microseconds, twenty times what it costs to pass them on.
const ITEM: usize = 1 << 19;

/// Whether the right factor already lies as the kernel wants it: one panel, without gaps.
fn lies_packed(o: &Product) -> bool {
    let fits = o.columns as usize <= MOST && padded(o.columns as usize) == o.columns as usize;
    fits && o.flags & TRANSPOSED_B == 0 && o.b_stride == o.columns
}

/// How many numbers a packed right factor is, with a bias behind it; a single column needs none.
pub(super) fn packed_len(o: &Product) -> usize {
    match o.columns == 1 || lies_packed(o) {
        true => 0,
        false => padded(o.columns as usize) * (o.inner as usize + 1),
    }
}

/// Rows of an item of work: parts of equal size, in whole blocks of the kernel's six.
pub(super) fn rows_together(o: &Product) -> usize {
    let a_row = (o.columns.max(1) * o.inner.max(1)) as usize;
    // rows that share what is read of a large right factor, unless that leaves threads without work
    let shared = (rows(o) / if o.flags & TRANSPOSED_A == 0 { 8 } else { 2 }).clamp(48, 192);
    let most = (ITEM / a_row).max(shared);
    // of listed rows it is about half of all
    let most = if o.among < 0 { most } else { 2 * most };
    rows(o).div_ceil(rows(o).div_ceil(most).max(1)).next_multiple_of(6).max(6)
}

/// Multiply-adds of a product.
pub(super) fn cost(o: &Product) -> usize {
    o.rows as usize * o.columns as usize * (o.inner as usize).max(1)
}

/// Rows of the product itself: a line of ones makes one more.
pub(super) fn rows(o: &Product) -> usize {
    (o.rows - i32::from(o.flags & ONES != 0)) as usize
}

multiversion! {
    /// Panels of columns, `[inner, columns]` each, filled up to sixteens; then the bias. The place is this product's alone: what is
    /// not written, columns that do not exist and biases that there are none of, stays zero.
    pub(super) fn pack(m: Memory, o: &Product, to: &mut [f32]) {
        let (columns, inner) = (o.columns as usize, o.inner as usize);
        if to.is_empty() {
            return;
        }
        let (panels, bias) = to.split_at_mut(padded(columns) * inner);
        let most = panel(Precision::F32);
        for (i, panel) in panels.chunks_mut((most * inner).max(1)).enumerate() {
            let from = i * most;
            let real = (columns - from).min(most);
            let width = padded(real);
            if o.flags & TRANSPOSED_B == 0 {
                for (k, row) in panel.chunks_exact_mut(width).enumerate() {
                    row[..real].copy_from_slice(m.read(o.b + k as i32 * o.b_stride + from as i32, real));
                }
            } else {
                for column in 0..real {
                    let numbers = m.read(o.b + (from + column) as i32 * o.b_stride, inner);
                    panel[column..].iter_mut().step_by(width).zip(numbers).for_each(|(to, x)| *to = *x);
                }
            }
        }
        if o.bias >= 0 {
            bias[..columns].copy_from_slice(m.read(o.bias, columns));
        }
    }
}

/// Some rows of c, with a packed right factor.
pub(super) fn multiply(m: Memory, o: &Product, packed: &[f32], rows: Range<usize>) {
    thread_local! {
        static SPACE: RefCell<Aligned> = RefCell::default();
    }
    if after(o) == SCATTER {
        rows.clone().for_each(|row| m.write(o.c + row as i32 * o.c_stride, o.columns as usize).fill(0.0));
    }
    let rows = Listed::new(m, o.among).within(rows);
    if o.columns == 1 {
        return single(m, o, rows);
    }
    let (columns, inner) = (o.columns as usize, o.inner as usize);
    let stride = padded(columns);
    let (panel, (weight, bias)) = match lies_packed(o) {
        true if o.bias < 0 => (stride, (m.read(o.b, stride * inner), &NO_BIAS[..stride])),
        true => (stride, (m.read(o.b, stride * inner), m.read(o.bias, stride))),
        false => (panel(Precision::F32), packed.split_at(stride * inner)),
    };
    let multiply = |from: usize, count: usize, out: &mut [f32]| {
        assert!(out.len() == count * stride);
        let out = out.as_mut_ptr();
        let product = |x: &[f32], x_stride: [usize; 2]| {
            let last = if inner == 0 { 0 } else { (count - 1) * x_stride[0] + (inner - 1) * x_stride[1] + 1 };
            let (x, terms, part, rows) = (x[..last].as_ptr(), inner, [0, inner], count);
            let product = product::Product { weight, panel, bias, terms, part, x, x_stride, rows, out };
            // SAFETY: the slices that the pointers come from are as long as the kernel goes, and `out` is nobody else's.
            unsafe { product.run(Precision::F32) };
        };
        let a_stride = o.a_stride as usize;
        let spread = |lines: usize, of: usize| if inner == 0 { 0 } else { (lines - 1) * a_stride + of };
        if o.flags & TRANSPOSED_A == 0 {
            return product(m.read(o.a + (from * a_stride) as i32, spread(count, inner)), [a_stride, 1]);
        }
        product(m.read(o.a + from as i32, spread(inner, count)), [1, a_stride]);
    };
    let together = (BLOCK / stride / 6 * 6).clamp(6, 192);
    let parts = rows.clone().step_by(together).map(|from| (from, (rows.end - from).min(together)));
    if in_place(o, stride) {
        for (from, count) in parts {
            let out = m.write(o.c + from as i32 * o.c_stride, count * stride);
            multiply(from, count, out);
            activate(m, o, out, from);
        }
        return;
    }
    SPACE.with_borrow_mut(|space| {
        space.grow(together * stride);
        for (from, count) in parts {
            let block = &mut space[..count * stride];
            multiply(from, count, block);
            finish(m, o, block, stride, from);
        }
    });
}

/// Of what the kernel is not told.
static NO_BIAS: [f32; MOST] = [0.0; MOST];

/// Whether rows of c lie as the kernel makes them, and nothing else is made of them.
fn in_place(o: &Product, stride: usize) -> bool {
    let lies = |s: i32| s as usize == stride;
    lies(o.columns)
        && lies(o.c_stride)
        && match after(o) {
            0 | ELU | TANH => true,
            SLOPE_ELU => lies(o.y_stride) && o.among < 0,
            _ => false,
        }
}

multiversion! {
    /// What follows the products where they are, of rows from `first` on.
    fn activate(m: Memory, o: &Product, c: &mut [f32], first: usize) {
        match after(o) {
            ELU => c.iter_mut().for_each(|c| *c = elu(*c)),
            TANH => c.iter_mut().for_each(|c| *c = tanh(*c)),
            SLOPE_ELU => {
                let y = m.read(o.y + first as i32 * o.y_stride, c.len());
                c.iter_mut().zip(y).for_each(|(c, y)| *c *= 1.0 + y.min(0.0));
            }
            _ => {}
        }
    }
}

/// What follows the products.
fn after(o: &Product) -> i32 {
    o.flags & !(TRANSPOSED_A | TRANSPOSED_B | ONES)
}

multiversion! {
    /// Rows of one column: a sum each, or as many sums as a has columns.
    fn single(m: Memory, o: &Product, rows: Range<usize>) {
        let inner = o.inner as usize;
        let mut sums = vec![if o.bias >= 0 { m.read(o.bias, 1)[0] } else { 0.0 }; rows.len()];
        if o.flags & TRANSPOSED_A == 0 {
            // a row of b, or of its transpose, has one number
            let b_stride = if o.flags & TRANSPOSED_B == 0 { o.b_stride } else { 1 };
            let b: Vec<f32> = (0..inner as i32).map(|k| m.read(o.b + k * b_stride, 1)[0]).collect();
            for (sum, row) in sums.iter_mut().zip(rows.clone()) {
                *sum += sum_of_two(m.read(o.a + row as i32 * o.a_stride, inner), &b, |x, y| x * y);
            }
        } else {
            for k in 0..inner as i32 {
                let y = m.read(o.b + k * o.b_stride, 1)[0];
                let x = m.read(o.a + k * o.a_stride + rows.start as i32, rows.len());
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x * y);
            }
        }
        finish(m, o, &sums, 1, rows.start);
    }
}

multiversion! {
    /// The last row of c: sums of b's columns.
    pub(super) fn ones(m: Memory, o: &Product) {
        let columns = o.columns as usize;
        let sums = m.write(o.c + (o.rows - 1) * o.c_stride, columns);
        sums.fill(0.0);
        for k in 0..o.inner {
            sums.iter_mut().zip(m.read(o.b + k * o.b_stride, columns)).for_each(|(sum, x)| *sum += x);
        }
    }
}

multiversion! {
    /// What follows the products of rows from `first` on, and where they go. Rows of `block` are `stride` apart.
    fn finish(m: Memory, o: &Product, block: &[f32], stride: usize, first: usize) {
        let told = after(o);
        let width = o.columns as usize;
        // rows without gaps are one long row to what looks at single numbers
        let others = match told {
            SLOPE_ELU => [o.y_stride; 3],
            TANH_AND_GATE => [o.u_stride, o.u_stride, o.v_stride],
            GATE_BACK => [o.y_stride, o.u_stride, o.v_stride],
            _ => [o.columns; 3],
        };
        let listed = Listed::new(m, o.among);
        let alone = told & (ROTATE | ROTATE_BACK) == 0
            && o.among < 0
            && [stride as i32, o.c_stride].iter().chain(&others).all(|stride| *stride == o.columns);
        let (columns, stride) = if alone { (block.len(), block.len()) } else { (width, stride) };
        for (i, x) in block.chunks_exact(stride).enumerate() {
            let (row, x) = ((first + i) as i32, &x[..columns]);
            let of = listed.of(row);
            let to = if told == SCATTER { of } else { row };
            let c = m.write(o.c + to * o.c_stride, columns);
            match told {
                0 | SCATTER => c.copy_from_slice(x),
                ELU => c.iter_mut().zip(x).for_each(|(c, x)| *c = elu(*x)),
                TANH => c.iter_mut().zip(x).for_each(|(c, x)| *c = tanh(*x)),
                SLOPE_ELU => {
                    let y = m.read(o.y + of * o.y_stride, columns);
                    c.iter_mut().zip(x).zip(y).for_each(|((c, x), y)| *c = x * (1.0 + y.min(0.0)));
                }
                ADD => c.iter_mut().zip(x).for_each(|(c, x)| *c += x),
                ROTATE | ROTATE_AND_ADD => {
                    let n = o.modes as usize;
                    let (re, im) = m.read(o.lambda, 2 * n).split_at(n);
                    let (zr, zi) = m.read(o.z + row * o.z_stride, 2 * n).split_at(n);
                    let ((cr, ci), (xr, xi)) = (c.split_at_mut(n), x.split_at(n));
                    if told == ROTATE {
                        for j in 0..n {
                            cr[j] = xr[j] + re[j] * zr[j] - im[j] * zi[j];
                            ci[j] = xi[j] + re[j] * zi[j] + im[j] * zr[j];
                        }
                    } else {
                        // back: by the complex conjugate
                        for j in 0..n {
                            cr[j] += xr[j] + re[j] * zr[j] + im[j] * zi[j];
                            ci[j] += xi[j] + re[j] * zi[j] - im[j] * zr[j];
                        }
                    }
                }
                TANH_AND_GATE => {
                    let (u, v) = (m.read(o.u + row * o.u_stride, columns), m.write(o.v + row * o.v_stride, columns));
                    for (((c, x), u), v) in c.iter_mut().zip(x).zip(u).zip(v) {
                        *c = tanh(*x);
                        *v = u * (1.0 + *c);
                    }
                }
                GATE_BACK => {
                    let (s, u) = (m.read(o.y + row * o.y_stride, columns), m.read(o.u + row * o.u_stride, columns));
                    let v = m.write(o.v + row * o.v_stride, columns);
                    // x is the gradient of u·(1 + s)
                    for ((((c, x), s), u), v) in c.iter_mut().zip(x).zip(s).zip(u).zip(v) {
                        *v = x * (1.0 + s);
                        *c = x * u * (1.0 - s * s);
                    }
                }
                _ => unreachable!("nothing is told {told}"),
            }
        }
    }
}

const ROTATE_AND_ADD: i32 = ADD | ROTATE_BACK;
const TANH_AND_GATE: i32 = TANH | GATE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{normal, values};
    use bytemuck::Zeroable;

    /// Gradients of weights, xᵀ·∂y with the sums of ∂y behind it: lines of x that are read where they lie and ones that are copied, of
    /// layers that do and do not fill registers. Rows in parts, as several threads take them.
    #[test]
    fn products_with_a_transposed_left_factor_are_exact() {
        for [inputs, outputs, batch] in
            [[7, 5, 3], [256, 64, 20], [257, 50, 400], [255, 130, 200], [512, 130, 400], [3, 16, 0]]
        {
            let (x, dy) =
                (values(normal::<1>([batch * inputs], 1)), values(normal::<1>([batch * outputs], 2)));
            let mut numbers = [&x[..], &dy[..], &vec![f32::NAN; (inputs + 1) * outputs][..]].concat();
            let mut o = Product::zeroed();
            (o.b, o.c, o.bias, o.among) = (x.len() as i32, (x.len() + dy.len()) as i32, -1, -1);
            (o.a_stride, o.b_stride, o.c_stride) = (inputs as i32, outputs as i32, outputs as i32);
            (o.rows, o.columns, o.inner) = (inputs as i32 + 1, outputs as i32, batch as i32);
            o.flags = TRANSPOSED_A | ONES;
            let mut packed = vec![0.0; packed_len(&o)];
            let memory = Memory::new(&mut numbers);
            pack(memory, &o, &mut packed);
            for from in (0..inputs).step_by(101) {
                multiply(memory, &o, &packed, from..inputs.min(from + 101));
            }
            ones(memory, &o);
            for (i, found) in memory.read(o.c, (inputs + 1) * outputs).iter().enumerate() {
                let (row, column) = (i / outputs, i % outputs);
                let line = |k: usize| if row < inputs { f64::from(x[k * inputs + row]) } else { 1.0 };
                let known: f64 = (0..batch).map(|k| line(k) * f64::from(dy[k * outputs + column])).sum();
                assert!(
                    (f64::from(*found) - known).abs() < 1e-4,
                    "{inputs} {outputs}: {found} instead of {known}"
                );
            }
        }
    }
}
