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

/// Σ f(x_i) in a fixed order of `LANES` partial sums (a plain float sum is not vectorised: it may not be reordered).
///
/// Over slices and not indices: checks of their bounds kept it from being vectorised, at three times the cost.
#[inline(always)]
pub(crate) fn sum_of(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum_of_two(x, x, |x, _| f(x))
}

/// Σ f(x_i, y_i) in the same order, over the length of x.
#[inline(always)]
pub(crate) fn sum_of_two(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut partial = [0f32; LANES];
    let (x, y) = (x.chunks_exact(LANES), y[..x.len()].chunks_exact(LANES));
    let tail: f32 = x.remainder().iter().zip(y.remainder()).map(|(x, y)| f(*x, *y)).sum();
    for (x, y) in x.zip(y) {
        for ((p, x), y) in partial.iter_mut().zip(x).zip(y) {
            *p += f(*x, *y);
        }
    }
    partial.iter().sum::<f32>() + tail
}

/// e^x, branch-free so that it vectorises; relative error about 1e-7, arguments clamped to ±87; NaN stays NaN.
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

/// Where mish(x) has become x, to the last bit of an f32; e^2x is still far from overflowing.
const MISH_LINEAR: f32 = 20.0;

/// Mish (Misra 2020, arXiv 1908.08681): x·tanh(ln(1 + e^x)), with e = e^x and n = e(e + 2) equal to x·n/(n + 2), where
/// all terms are positive and nothing cancels.
#[inline(always)]
pub(crate) fn mish(x: f32) -> f32 {
    let e = exp(x.min(MISH_LINEAR));
    let n = e * (e + 2.0);
    x * (n / (n + 2.0))
}

/// d mish(x)/dx = n/(n + 2) + 4x·e(e + 1)/(n + 2)², with e and n as above.
#[inline(always)]
pub(crate) fn mish_slope(x: f32) -> f32 {
    // x itself is bounded: a huge one would lift the second term, which is zero there. In this order NaN stays NaN.
    let x = if x > MISH_LINEAR { MISH_LINEAR } else { x };
    let e = exp(x);
    let n = e * (e + 2.0);
    let r = 1.0 / (n + 2.0);
    r * (n + 4.0 * x * e * (e + 1.0) * r)
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
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && elu(f32::NAN).is_nan());
        assert_eq!(tanh(1e30), 1.0);
        assert_eq!(elu(-1e30), -1.0);
    }

    #[test]
    fn mish_and_its_slope_agree_with_the_standard_library() {
        for x in grid() {
            let v = x as f64;
            let squashed = v.exp().ln_1p().tanh();
            let (a, b) = (mish(x) as f64, v * squashed);
            assert!((a - b).abs() <= 6e-7 * b.abs(), "mish({x}) = {a}, expected {b}");
            let (a, b) =
                (mish_slope(x) as f64, squashed + v * (1.0 - squashed * squashed) / (1.0 + (-v).exp()));
            assert!((a - b).abs() < 6e-7, "slope of mish at {x} is {a}, expected {b}");
        }
        for x in [1e2, 1e4, 1e30] {
            assert_eq!((mish(x), mish_slope(x)), (x, 1.0));
            assert!(mish(-x).abs() < 1e-7 && mish_slope(-x).abs() < 1e-7, "{x}");
        }
        assert!(mish(f32::NAN).is_nan() && mish_slope(f32::NAN).is_nan());
    }

    #[test]
    fn lane_sums_cover_every_element() {
        for n in [0, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(sum_of(&x, |x| x), (0..n).sum::<usize>() as f32);
            assert_eq!(sum_of_two(&x, &x, |x, y| x * y), (0..n).map(|i| i * i).sum::<usize>() as f32);
        }
    }
}
