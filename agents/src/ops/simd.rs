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

/// ln 2 in two parts, of which multiples by an exponent are exact in the first.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// Added to a number below 2²², this rounds it to an integer, which is then in the low bits: 1.5·2²³, and the bias of an exponent. The
/// float-to-integer cast of the language saturates and was five times slower here.
const ROUND: f32 = 12_582_912.0 + 127.0;

/// ((e^r − 1)/r − 1)/r of |r| ≤ ½ ln 2: fitted by weighted least squares (Lawson's iteration) so that the largest error is smallest, 3e-9 of
/// e^r, a twentieth of what rounding makes.
#[inline(always)]
fn exp_polynomial(r: f32) -> f32 {
    let mut p = 1.381_46e-3f32;
    p = p.mul_add(r, 8.368_717e-3);
    p = p.mul_add(r, 4.166_839e-2);
    p = p.mul_add(r, 1.666_652_1e-1);
    p.mul_add(r, 0.499_999_94)
}

/// e^x, branch-free so that it vectorises; relative error about 1e-7, arguments clamped to ±87; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 87.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let e = (exp_polynomial(r) * r).mul_add(r, r + 1.0);
    f32::from_bits(shifted.to_bits() << 23) * e
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

/// ELU with α = 1: x for x > 0, e^x − 1 otherwise, absolute error about 1e-7.
///
/// 2ⁿ(e^r − 1) + (2ⁿ − 1), which loses nothing where x is small; with ln 2 in one part, since n is only large where 2ⁿ is nothing.
#[inline(always)]
pub(crate) fn elu(x: f32) -> f32 {
    let negative = x.clamp(-87.0, 0.0);
    let shifted = negative.mul_add(std::f32::consts::LOG2_E, ROUND);
    let r = (shifted - ROUND).mul_add(-std::f32::consts::LN_2, negative);
    let scale = f32::from_bits(shifted.to_bits() << 23);
    let negative = (exp_polynomial(r) * r).mul_add(r, r).mul_add(scale, scale - 1.0);
    // Where x is positive, `negative` is zero; where x is NaN, that is. A choice between them would be stored under a mask wherever x is
    // replaced, which takes AMD's processors twelve cycles with AVX2.
    negative + if x > 0.0 { x } else { 0.0 }
}

/// ln(x) of a positive, normal x; relative error about 1e-7. Cephes `logf`: exponent, and a polynomial for a mantissa between √½ and √2.
#[inline(always)]
fn ln(x: f32) -> f32 {
    let exponent = (x.to_bits() as i32 - std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32) >> 23;
    let r = f32::from_bits((x.to_bits() as i32 - (exponent << 23)) as u32) - 1.0;
    let mut p = 7.037_683_6e-2f32;
    p = p.mul_add(r, -1.151_461e-1);
    p = p.mul_add(r, 1.167_699_9e-1);
    p = p.mul_add(r, -1.242_014_1e-1);
    p = p.mul_add(r, 1.424_932_3e-1);
    p = p.mul_add(r, -1.666_805_8e-1);
    p = p.mul_add(r, 2.000_071_4e-1);
    p = p.mul_add(r, -2.499_999_4e-1);
    p = p.mul_add(r, 3.333_333e-1);
    let (square, exponent) = (r * r, exponent as f32);
    let y = (p * r).mul_add(square, exponent.mul_add(LN2_LOW, -0.5 * square));
    exponent.mul_add(LN2_HIGH, y + r)
}

/// cos and sin of the angle that `turn` is of a turn, in parts of 2³² less an eighth; its last six bits do not count. Cephes `cosf`
/// and `sinf` for an eighth of a turn to both sides of the middle of a quarter, which the two highest bits choose.
#[inline(always)]
fn cos_sin(turn: u32) -> [f32; 2] {
    const UNIT: f32 = 1.0 / (1 << 24) as f32;
    let quarter = ((turn & 0x3fff_ffff) >> 6) as i32 as f32;
    let x = quarter.mul_add(UNIT, 0.5 * UNIT - 0.5) * std::f32::consts::FRAC_PI_2;
    let z = x * x;
    let mut cos = 2.443_315_7e-5f32;
    cos = cos.mul_add(z, -1.388_731_6e-3);
    cos = cos.mul_add(z, 4.166_664_6e-2);
    let cos = (cos * z).mul_add(z, (-0.5f32).mul_add(z, 1.0));
    let mut sin = -1.951_529_6e-4f32;
    sin = sin.mul_add(z, 8.332_161e-3);
    sin = sin.mul_add(z, -1.666_665_5e-1);
    let sin = (sin * z).mul_add(x, x);
    // quarter by quarter (cos, sin), (−sin, cos), (−cos, −sin), (sin, −cos)
    let quarter = turn >> 30;
    let [first, second] = if quarter & 1 == 0 { [cos, sin] } else { [sin, cos] };
    let sign = |x: f32, negative: u32| f32::from_bits(x.to_bits() ^ (negative << 31));
    [sign(first, (quarter ^ (quarter >> 1)) & 1), sign(second, quarter >> 1)]
}

/// Two independent standard normal numbers from two random words (Box & Muller 1958), no further than 5.8 from zero.
#[inline(always)]
pub(crate) fn normal_pair(words: [u32; 2]) -> [f32; 2] {
    // in (0, 1]
    let uniform = ((words[0] >> 8) as i32 + 1) as f32 * (1.0 / (1 << 24) as f32);
    let radius = (-2.0 * ln(uniform)).sqrt();
    cos_sin(words[1]).map(|x| radius * x)
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
            assert!((elu(x) as f64 - b).abs() <= 1.2e-7 * b.abs().max(0.5), "elu({x})");
        }
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && elu(f32::NAN).is_nan());
        assert_eq!(tanh(1e30), 1.0);
        assert_eq!(elu(-1e30), -1.0);
        for x in [1e-3f32, 1e-6, 1e-20, 0.0] {
            let (a, b) = (f64::from(elu(-x)), f64::from(-x).exp_m1());
            assert!((a - b).abs() <= 1e-7 * b.abs(), "elu(-{x}) = {a}");
        }
    }

    #[test]
    fn logarithms_and_turns_agree_with_the_standard_library() {
        for i in (1..=1 << 24).step_by(997).chain([1 << 24, (1 << 24) - 1]) {
            let x = i as f32 / (1 << 24) as f32;
            let (a, b) = (ln(x) as f64, (x as f64).ln());
            assert!((a - b).abs() <= 2e-7 * b.abs(), "ln({x}) = {a}, expected {b}");
        }
        for turn in (0..=u32::MAX).step_by(858_993).chain([u32::MAX]) {
            // the middle of the 64 words that are one angle
            let angle = f64::from(turn & !63) + 32.0 - f64::from(1 << 29);
            let (sin, cos) = (angle / 2f64.powi(32) * std::f64::consts::TAU).sin_cos();
            let found = cos_sin(turn).map(f64::from);
            let near = (found[0] - cos).abs() < 2e-7 && (found[1] - sin).abs() < 2e-7;
            assert!(near, "at {turn}: {found:?} instead of {cos}, {sin}");
        }
    }

    #[test]
    fn pairs_of_normal_numbers_are_as_far_out_as_their_word_says() {
        assert_eq!(normal_pair([u32::MAX, 5]).map(f32::abs), [0.0; 2]);
        let [x, y] = normal_pair([0, 1 << 29]).map(f64::from);
        assert!((x - (48.0 * std::f64::consts::LN_2).sqrt()).abs() < 1e-5 && y.abs() < 1e-5, "{x} {y}");
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
