//! Sixteen numbers handled together: one AVX-512 register, two of AVX2, or an array; and sixteen sums of products of pairs.

use super::bf16::unpaired;
#[cfg(target_arch = "x86_64")]
use std::{arch::x86_64::*, mem::transmute};

/// Width of [`Lanes`].
pub(crate) const WIDTH: usize = 16;

/// Sixteen `f32`, or sums of them whose factors are pairs of bfloat16 in the bits of an `f32`.
///
/// # Safety
/// Every method needs the instruction set of its type to be there; pointers must be valid for sixteen numbers.
pub(crate) trait Lanes: Copy {
    /// Registers of this kind that fit beside each other in a block of six rows without spilling.
    const ABREAST: usize;
    /// Terms summed before the next row block: that part of the panel, 24 kB of 32 of the first-level cache with AVX-512, 16 with AVX2, stays
    /// there beside rows of the other two factors.
    const DEPTH: usize;
    /// Terms between two jumps of the loop over them. On a core that runs another program on its second thread, instructions are what is
    /// scarce, and a fifth of AVX2's were the loop's.
    const UNROLL: usize = 1;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn splat(x: f32) -> Self;
    /// self + x·w, of pairs self + x₀·w₀ + x₁·w₁
    unsafe fn add_product(self, x: Self, w: Self) -> Self;
}

impl Lanes for [f32; WIDTH] {
    const ABREAST: usize = 1;
    const DEPTH: usize = 256;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's pointer is valid for sixteen numbers.
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's pointer is valid for sixteen numbers.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        [x; WIDTH]
    }
    #[inline(always)]
    unsafe fn add_product(mut self, x: Self, w: Self) -> Self {
        for i in 0..WIDTH {
            self[i] += x[i] * w[i];
        }
        self
    }
}

/// Two AVX2 registers.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

#[cfg(target_arch = "x86_64")]
impl Lanes for Avx2 {
    const ABREAST: usize = 1;
    const DEPTH: usize = 256;
    const UNROLL: usize = 4;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has AVX2 and a pointer valid for sixteen numbers.
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has AVX2.
        unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        // SAFETY: the caller has AVX2 and FMA.
        unsafe { Self(_mm256_fmadd_ps(x.0, w.0, self.0), _mm256_fmadd_ps(x.1, w.1, self.1)) }
    }
}

/// One AVX-512 register.
#[cfg(target_arch = "x86_64")]
impl Lanes for __m512 {
    const ABREAST: usize = 4;
    const DEPTH: usize = 96;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has AVX-512 and a pointer valid for sixteen numbers.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_fmadd_ps(x, w, self) }
    }
}

/// Pairs on any processor; a reference more than something to plan with.
#[derive(Clone, Copy)]
pub(crate) struct Pairs([f32; WIDTH]);

impl Lanes for Pairs {
    const ABREAST: usize = 1;
    const DEPTH: usize = 256;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's pointer is valid for sixteen numbers.
        unsafe { Self(<[f32; WIDTH]>::load(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's pointer is valid for sixteen numbers.
        unsafe { self.0.store(to) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; WIDTH])
    }
    #[inline(always)]
    unsafe fn add_product(mut self, x: Self, w: Self) -> Self {
        for i in 0..WIDTH {
            let ([x0, x1], [w0, w1]) = (unpaired(x.0[i]), unpaired(w.0[i]));
            self.0[i] = x0.mul_add(w0, x1.mul_add(w1, self.0[i]));
        }
        self
    }
}

/// One AVX-512 register of pairs, or of their sums.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx512Pairs(__m512);

#[cfg(target_arch = "x86_64")]
impl Lanes for Avx512Pairs {
    const ABREAST: usize = 4;
    const DEPTH: usize = 96;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has AVX-512 and a pointer valid for sixteen numbers.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has AVX-512.
        unsafe { Self(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn add_product(self, x: Self, w: Self) -> Self {
        // SAFETY: the caller has AVX-512 BF16; the bits of the factors are pairs, as the type says.
        unsafe {
            let (x, w) = (transmute::<__m512, __m512bh>(x.0), transmute::<__m512, __m512bh>(w.0));
            Self(_mm512_dpbf16_ps(self.0, x, w))
        }
    }
}
