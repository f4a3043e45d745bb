//! Exponentials, logarithms and error functions of f32 in branch-free arithmetic, so that a loop over them vectorises; the functions
//! of the maths library do not.
//!
//! ```text
//! e^x    = 2^n e^r            x = n ln 2 + r, |r| <= ln(2) / 2;  e^r - 1 a polynomial
//! log(x) = e ln 2 + log(m)    x = m 2^e, m in [sqrt(1/2), sqrt(2));  log(m) a polynomial in m - 1
//! ```
//! Each function states its error bound in ulp (units in the last place); the tests check it on four million numbers spread over all of
//! f32. The polynomials are weighted minimax fits on Chebyshev points with an error below 1e-9: the rest is rounding. No function but
//! [`exp_below`] uses fused multiply-adds, so results are bit-identical for every instruction set.

use crate::kernels::Float;
use crate::simd::Isa;
use std::f32::consts::LOG2_E;

/// ln 2 as a sum. The first term has eight bits, so its product with any exponent is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// 1.5 * 2^23: adding it rounds to the nearest integer, which is then in the low bits.
const SHIFT: f32 = 12_582_912.0;

/// n and r of `x = n ln 2 + r` with n an integer and |r| at most ln(2) / 2. For |x| up to 2^22.
#[inline(always)]
fn reduce(x: f32) -> (i32, f32) {
    let shifted = x * LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let integer = (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32);
    (integer, x - n * LN2_HIGH - n * LN2_LOW)
}

/// `e^r - 1` for a reduced r: `r + r² q(r)`.
#[inline(always)]
fn expm1_reduced(r: f32) -> f32 {
    let mut q = 1.991_992_2e-4;
    for c in [1.394_721_2e-3, 8.333_261e-3, 4.166_625_4e-2, 1.666_666_7e-1, 0.5] {
        q = q * r + c;
    }
    r + r * r * q
}

/// 2^n for n in -126..=127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `min(max(x, low), high)`; NaN stays NaN.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `e^x`, within 1 ulp; a subnormal result within one unit of its spacing.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Outside of these bounds the result is 0 or infinite.
    let (n, r) = reduce(clamp(x, -104.0, 89.0));
    // Two factors: 2^n alone may overflow or underflow where the result does not.
    let half = n >> 1;
    (expm1_reduced(r) + 1.0) * power_of_two(half) * power_of_two(n - half)
}

/// `e^x` for x up to 60 and NaN, within 1 ulp; for arguments `x - max`. Faster than [`exp`]: with the result scaled by 2^40, every 2^n
/// is a normal number and needs no second factor; and it uses fused multiply-adds where the instruction set has them.
#[inline(always)]
pub(crate) fn exp_below<I: Isa>(x: f32) -> f32 {
    const SCALE: f32 = 40.0;
    // The low bits of the sum are n + SCALE + 127, the exponent field of 2^(n + SCALE).
    const WITH_BIAS: f32 = SHIFT + 127.0 + SCALE;
    let x = if x < -104.0 { -104.0 } else { x }; // NaN stays NaN
    let shifted = x.multiply_add::<I>(LOG2_E, WITH_BIAS);
    let power = f32::from_bits(shifted.to_bits() << 23);
    let n = shifted - WITH_BIAS;
    let r = n.multiply_add::<I>(-LN2_LOW, n.multiply_add::<I>(-LN2_HIGH, x));
    let mut q = 1.991_992_2e-4;
    for c in [1.394_721_2e-3, 8.333_261e-3, 4.166_625_4e-2, 1.666_666_7e-1, 0.5] {
        q = r.multiply_add::<I>(q, c);
    }
    let y = (r * r).multiply_add::<I>(q, r) + 1.0;
    y * power * (1.0 / (1u64 << SCALE as u32) as f32)
}

/// `e^x - 1`, within 2 ulp, also near 0.
#[inline(always)]
pub(crate) fn expm1(x: f32) -> f32 {
    let (n, r) = reduce(clamp(x, -20.0, 89.0));
    // 2^n (e^r - 1) + 2^n - 1, halved and doubled: 2^128 overflows.
    let half = power_of_two(n - 1);
    let y = (half * expm1_reduced(r) + (half - 0.5)) * 2.0;
    if x == 0.0 { x } else { y } // for the sign of 0
}

/// e, f = m - 1 and `log(m) - f + f² / 2` of `x = m 2^e` with m in [sqrt(1/2), sqrt(2)). For finite x above 0.
#[inline(always)]
fn log_parts(x: f32) -> (f32, f32, f32) {
    // Subnormal numbers are scaled to normal ones.
    let tiny = x < f32::MIN_POSITIVE;
    let (x, below) = if tiny { (x * 8_388_608.0, 23.0) } else { (x, 0.0) };
    let e = (x.to_bits() as i32).wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32) >> 23;
    let f = f32::from_bits((x.to_bits() as i32).wrapping_sub(e << 23) as u32) - 1.0;
    let mut q = 6.746_638_6e-2;
    for c in [
        -1.167_565_1e-1,
        1.188_816_3e-1,
        -1.240_558_9e-1,
        1.421_955_2e-1,
        -1.666_799_6e-1,
        2.000_211_9e-1,
        -2.500_001e-1,
        3.333_331_3e-1,
    ] {
        q = q * f + c;
    }
    let square = f * f;
    (e as f32 - below, f, f * square * q)
}

/// `y`, but the limits of a logarithm outside the domain of [`log_parts`]: -inf at 0, NaN below 0, inf at inf.
#[inline(always)]
fn log_or(x: f32, y: f32) -> f32 {
    let y = if x > 0.0 { y } else { f32::NAN };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x == f32::INFINITY { x } else { y }
}

/// The natural logarithm, within 1 ulp.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    let (e, f, rest) = log_parts(x);
    log_or(x, (rest + e * LN2_LOW - 0.5 * (f * f)) + f + e * LN2_HIGH)
}

/// The logarithm to base 2, within 2 ulp; exact at the powers of two.
#[inline(always)]
pub(crate) fn log2(x: f32) -> f32 {
    const OVER_ONE: f32 = std::f32::consts::LOG2_E - 1.0;
    let (e, f, rest) = log_parts(x);
    let low = rest - 0.5 * (f * f);
    log_or(x, low * OVER_ONE + f * OVER_ONE + low + f + e)
}

/// `log(1 + x)`, within 3 ulp, also near 0: with `u = 1 + x` rounded, `log(u) x / (u - 1)` corrects the rounding of u.
#[inline(always)]
pub(crate) fn log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    let y = log(u) * (x / (u - 1.0));
    let y = if u == 1.0 { x } else { y };
    if x == f32::INFINITY { x } else { y }
}

/// The hyperbolic tangent, within 3 ulp: `-m / (2 + m)` with `m = e^(-2 |x|) - 1`.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let m = expm1(-2.0 * x.abs());
    (-m / (2.0 + m)).copysign(x)
}

/// `erfc(t)` for t at least 0: `e^(-t²) p(u) / (1 + 2 t)` with a polynomial p in `u = (t - 2) / (t + 2)` (Shepherd and Laframboise,
/// "Chebyshev approximation of (1 + 2x) exp(x²) erfc x", 1981).
#[inline(always)]
fn erfc_positive(t: f32) -> f32 {
    let t = clamp(t, 0.0, 10.5); // the result is 0 beyond
    // t² = cut² + (t - cut)(t + cut), the first term exact: the exponential amplifies the relative error of t² by t².
    let cut = f32::from_bits(t.to_bits() & 0xffff_f000);
    let (n, r) = reduce(-(cut * cut));
    let r = r - (t - cut) * (t + cut);
    let half = n >> 1;
    let e = (expm1_reduced(r) + 1.0) * power_of_two(half) * power_of_two(n - half);
    let u = (t - 2.0) / (t + 2.0);
    let mut q = 1.677e-5;
    for c in [
        1.141_123_1e-4,
        1.670_520_6e-4,
        -4.428_312_8e-4,
        -1.433_232_3e-3,
        1.271_393_6e-3,
        8.716_307e-3,
        -8.034_569e-3,
        -5.421_921_6e-2,
        1.640_513_5e-1,
        -1.660_304_4e-1,
        -9.276_382_6e-2,
        1.276_978_4,
    ] {
        q = q * u + c;
    }
    e * (q / (1.0 + 2.0 * t))
}

/// `1 - erf(x)`, within 5 ulp, without cancellation.
#[inline(always)]
pub(crate) fn erfc(x: f32) -> f32 {
    let y = erfc_positive(x.abs());
    if x < 0.0 { 2.0 - y } else { y }
}

/// The error function, within 2 ulp: `x + x p(x²)` for |x| below 1, else `1 - erfc(x)`.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let square = clamp(x * x, 0.0, 1.0);
    let mut p = -9.641_518e-6;
    for c in
        [1.125_694_8e-4, -8.482_829e-4, 5.220_945_5e-3, -2.686_54e-2, 1.128_378_2e-1, -3.761_263_8e-1, 1.283_791_7e-1]
    {
        p = p * square + c;
    }
    let far = (1.0 - erfc_positive(x.abs())).copysign(x);
    if x.abs() < 1.0 { x + x * p } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Avx2, Baseline};

    /// Checks `f` against `exact` on every 1021st f32, which covers all exponents, both signs and subnormal numbers, and on edge cases.
    fn check(name: &str, bound: f64, f: fn(f32) -> f32, exact: fn(f64) -> f64) {
        let (mut worst, mut at) = (0.0, 0.0);
        let edges = [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE];
        let spread = (0..u32::MAX / 1021).map(|i| f32::from_bits(i * 1021));
        for x in edges.into_iter().chain(spread) {
            let (got, want) = (f(x), exact(x as f64));
            let rounded = want as f32;
            if got.is_nan() && rounded.is_nan() || got == rounded {
                continue;
            }
            // The ulp of the exact value, or of the largest number if the value rounds to infinity.
            let ulp = (rounded.abs().min(f32::MAX) as f64).log2().floor().max(-126.0);
            let error = (got as f64 - want).abs() / (ulp - 23.0).exp2();
            assert!(error.is_finite(), "{name}({x:e}) is {got:e}, not {want:e}");
            if error > worst {
                (worst, at) = (error, x);
            }
        }
        println!("{name}: {worst:.3} ulp at {at:e}");
        assert!(worst <= bound, "{name}({at:e}) is {:e}, not {:e}: {worst:.3} ulp", f(at), exact(at as f64));
    }

    #[test]
    fn within_their_bounds() {
        check("exp", 1.0, exp, f64::exp);
        // With fused multiply-adds and without.
        check("exp_below", 1.0, |x| if x > 60.0 { exp(x) } else { exp_below::<Avx2>(x) }, f64::exp);
        check("exp_below", 1.0, |x| if x > 60.0 { exp(x) } else { exp_below::<Baseline>(x) }, f64::exp);
        check("expm1", 2.0, expm1, f64::exp_m1);
        check("log", 1.0, log, f64::ln);
        check("log2", 2.0, log2, f64::log2);
        check("log1p", 3.0, log1p, f64::ln_1p);
        check("tanh", 3.0, tanh, f64::tanh);
        check("erf", 2.0, erf, crate::erf::erf);
        check("erfc", 5.0, erfc, crate::erf::erfc);
    }

    #[test]
    fn exact_where_it_matters() {
        assert_eq!((exp(0.0), log(1.0), tanh(0.0), expm1(0.0)), (1.0, 0.0, 0.0, 0.0));
        assert!((-126..=127).all(|n| log2(power_of_two(n)) == n as f32), "log2 of a power of two");
        assert!(expm1(-0.0).is_sign_negative() && tanh(-0.0).is_sign_negative());
        let ln2 = LN2_HIGH as f64 + LN2_LOW as f64;
        assert!((ln2 - std::f64::consts::LN_2).abs() < 1e-11, "the two parts of ln 2");
    }
}
