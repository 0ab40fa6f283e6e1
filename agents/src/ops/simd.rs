//! Run-time choice of vector width, so that a baseline x86-64 build still uses AVX-512 or AVX2.

/// Defines a function whose body is compiled three times (AVX-512, AVX2 + FMA, baseline) and chosen at run time.
///
/// The body must be plain element loops: the compiler vectorises them for each target. Burn's own unary kernels
/// are scalar libm calls on one thread, several times slower (see `agents/benches/README.md`).
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) { body($($arg),*) }

                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                {
                    // SAFETY: the features were detected on this processor just above.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the features were detected on this processor just above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use multiversion;

/// Lanes of the partial sums below: one AVX-512 register, and a fixed number so that the result does not
/// depend on the processor.
const LANES: usize = 16;

/// Sum in a fixed order of `LANES` partial sums (a plain float sum is not vectorised: it may not be reordered).
#[inline(always)]
pub(crate) fn sum_by(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut partial = [0f32; LANES];
    let whole = n - n % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, p) in partial.iter_mut().enumerate() {
            *p += f(start + lane);
        }
    }
    let tail: f32 = (whole..n).map(&f).sum();
    partial.iter().sum::<f32>() + tail
}

/// e^x, branch-free so that it vectorises; relative error about 1e-7, arguments clamped to ±87 (NaN becomes finite:
/// callers select it away).
///
/// Cody–Waite reduction and the degree-5 polynomial of Cephes `expf`. Rounding by adding 1.5·2^23 leaves the integer
/// in the low bits: the float-to-integer cast of the language saturates and was five times slower here.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 5.0e-1);
    let e = (p * r).mul_add(r, r + 1.0);
    // the low bits of `shifted` hold n plus those of ROUND, which have zeros where they matter
    let exponent = shifted.to_bits().wrapping_add(127) << 23;
    f32::from_bits(exponent) * e
}

/// tanh(x), branch-free; Cephes `tanhf`: a polynomial below 0.625, 1 − 2/(e^{2|x|} + 1) above.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3f32;
    p = p.mul_add(z, 2.063_909e-2);
    p = p.mul_add(z, -5.373_971_5e-2);
    p = p.mul_add(z, 1.333_144_2e-1);
    p = p.mul_add(z, -3.333_328e-1);
    let small = (p * z).mul_add(x, x);
    let large = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    // in this order NaN stays NaN
    if x.abs() >= 0.625 { large } else { small }
}

/// ELU with α = 1: x for x > 0, e^x − 1 otherwise.
#[inline(always)]
pub(crate) fn elu(x: f32) -> f32 {
    let negative = exp(x.min(0.0)) - 1.0;
    // in this order NaN stays NaN
    if x <= 0.0 { negative } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> impl Iterator<Item = f32> {
        (-4000..=4000).map(|i| i as f32 * 0.005)
    }

    #[test]
    fn transcendentals_agree_with_the_standard_library() {
        for x in grid() {
            let (a, b) = (exp(x) as f64, (x as f64).exp());
            assert!((a / b - 1.0).abs() < 3e-7, "exp({x}) = {a}, expected {b}");
            let (a, b) = (tanh(x) as f64, (x as f64).tanh());
            assert!((a - b).abs() <= 2e-7 * b.abs().max(1e-3), "tanh({x}) = {a}, expected {b}");
            let b = if x > 0.0 { x as f64 } else { (x as f64).exp_m1() };
            assert!((elu(x) as f64 - b).abs() < 2e-7, "elu({x})");
        }
        assert!(tanh(f32::NAN).is_nan() && elu(f32::NAN).is_nan());
        assert_eq!(tanh(1e30), 1.0);
        assert_eq!(elu(-1e30), -1.0);
    }

    #[test]
    fn lane_sums_cover_every_element() {
        for n in [0, 1, 15, 16, 17, 100] {
            assert_eq!(sum_by(n, |i| i as f32), (0..n).sum::<usize>() as f32);
        }
    }
}
