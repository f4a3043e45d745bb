//! The error function and its complement in f64.
//!
//! Rational approximations on three intervals, with the coefficients of W. J. Cody, "Rational Chebyshev approximations
//! for the error function", Mathematics of Computation 23 (1969), 631-637:
//!
//! ```text
//! |x| <= 0.46875        erf(x)  = x R(x²)
//! 0.46875 < |x| <= 4    erfc(x) = e^(-x²) R(x)
//! |x| > 4               erfc(x) = e^(-x²) / x (1 / sqrt(pi) + R(1 / x²) / x²)
//! ```
//! `e^(-x²)` is computed as `e^(-s²) e^(-(x - s)(x + s))` with s = x truncated to 4 fractional bits, so that s² is exact.
//!
//! Where the result is normal, the relative error of `erf` is below 4e-16 and that of `erfc` below 2e-15. `approx` has those of f32.

#![allow(clippy::excessive_precision, reason = "the coefficients as the paper prints them")]

use std::f64::consts::FRAC_2_SQRT_PI;

/// The coefficients of numerator and denominator, highest power first.
type Quotient<const N: usize> = [(f64, f64); N];

const SMALL: Quotient<5> = [
    (1.857_777_061_846_031_53e-1, 1.0),
    (3.161_123_743_870_565_6, 2.360_129_095_234_412_09e1),
    (1.138_641_541_510_501_56e2, 2.440_246_379_344_441_73e2),
    (3.774_852_376_853_020_21e2, 1.282_616_526_077_372_28e3),
    (3.209_377_589_138_469_47e3, 2.844_236_833_439_170_62e3),
];

const MIDDLE: Quotient<9> = [
    (2.153_115_354_744_038_46e-8, 1.0),
    (5.641_884_969_886_700_89e-1, 1.574_492_611_070_983_47e1),
    (8.883_149_794_388_375_94, 1.176_939_508_913_124_99e2),
    (6.611_919_063_714_162_95e1, 5.371_811_018_620_098_58e2),
    (2.986_351_381_974_001_31e2, 1.621_389_574_566_690_19e3),
    (8.819_522_212_417_690_9e2, 3.290_799_235_733_459_63e3),
    (1.712_047_612_634_070_58e3, 4.362_619_090_143_247_16e3),
    (2.051_078_377_826_071_47e3, 3.439_367_674_143_721_64e3),
    (1.230_339_354_797_997_25e3, 1.230_339_354_803_749_42e3),
];

const LARGE: Quotient<6> = [
    (1.631_538_713_730_209_78e-2, 1.0),
    (3.053_266_349_612_323_44e-1, 2.568_520_192_289_822_42),
    (3.603_448_999_498_044_39e-1, 1.872_952_849_923_460_47),
    (1.257_817_261_112_292_46e-1, 5.279_051_029_514_284_12e-1),
    (1.608_378_514_874_227_66e-2, 6.051_834_131_244_131_91e-2),
    (6.587_491_615_298_378_03e-4, 2.335_204_976_268_691_85e-3),
];

fn quotient<const N: usize>(terms: &Quotient<N>, x: f64) -> f64 {
    let (above, below) = terms.iter().fold((0.0, 0.0), |(a, b), &(p, q)| (a * x + p, b * x + q));
    above / below
}

/// `erfc(x)` for x > 0.46875.
fn erfc_tail(x: f64) -> f64 {
    if x > 27.3 {
        return 0.0; // underflow
    }
    let factor = if x <= 4.0 {
        quotient(&MIDDLE, x)
    } else {
        let inverse = 1.0 / (x * x);
        (0.5 * FRAC_2_SQRT_PI - inverse * quotient(&LARGE, inverse)) / x
    };
    let cut = (x * 16.0).trunc() / 16.0;
    (-cut * cut).exp() * (-(x - cut) * (x + cut)).exp() * factor
}

/// `2 / sqrt(pi)` times the integral of `e^(-t²)` from 0 to x.
pub(crate) fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size <= 0.468_75 {
        x * quotient(&SMALL, x * x)
    } else if size > 6.0 {
        1.0f64.copysign(x)
    } else {
        (1.0 - erfc_tail(size)).copysign(x) // NaN fails every comparison above
    }
}

/// `1 - erf(x)`, without cancellation.
pub(crate) fn erfc(x: f64) -> f64 {
    if x.abs() <= 0.468_75 {
        1.0 - x * quotient(&SMALL, x * x)
    } else if x < 0.0 {
        2.0 - erfc_tail(-x)
    } else {
        erfc_tail(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x, erf(x) and erfc(x): 40 digits of mpmath, rounded.
    #[rustfmt::skip]
    const EXPECTED: [(f64, f64, f64); 31] = [
        (1e-300, 1.1283791670955126e-300, 1.0),
        (1e-10, 1.1283791670955126e-10, 0.999999999887162),
        (0.001, 0.0011283787909692365, 0.9988716212090307),
        (0.1, 0.1124629160182849, 0.887537083981715),
        (0.25, 0.27632639016823696, 0.7236736098317631),
        (0.46875, 0.49261347321793797, 0.507386526782062),
        (0.46876, 0.4926225311068465, 0.5073774688931535),
        (0.5, 0.5204998778130465, 0.4795001221869535),
        (0.75, 0.7111556336535151, 0.28884436634648486),
        (1.0, 0.8427007929497149, 0.15729920705028513),
        (1.3, 0.9340079449406524, 0.06599205505934755),
        (1.5, 0.9661051464753108, 0.033894853524689274),
        (1.75, 0.9866716712191824, 0.013328328780817557),
        (2.0, 0.9953222650189527, 0.004677734981047266),
        (2.3, 0.9988568234026434, 0.0011431765973566525),
        (2.5, 0.999593047982555, 0.0004069520174449589),
        (3.0, 0.9999779095030014, 2.209049699858544e-05),
        (3.5, 0.9999992569016276, 7.430983723414128e-07),
        (3.9, 0.9999999652077514, 3.4792248597231765e-08),
        (4.0, 0.9999999845827421, 1.541725790028002e-08),
        (4.1, 0.9999999932999724, 6.700027654084918e-09),
        (4.5, 0.9999999998033839, 1.9661604415428876e-10),
        (5.0, 0.9999999999984626, 1.537459794428035e-12),
        (5.5, 0.9999999999999927, 7.357847917974398e-15),
        (5.9, 0.9999999999999999, 7.190409783550478e-17),
        (6.5, 1.0, 3.8421483271206475e-20),
        (8.0, 1.0, 1.1224297172982926e-29),
        (10.0, 1.0, 2.088487583762545e-45),
        (15.0, 1.0, 7.212994172451207e-100),
        (20.0, 1.0, 5.395865611607901e-176),
        (26.0, 1.0, 5.663192408856143e-296),
    ];

    #[test]
    fn within_the_bounds() {
        for (x, want, complement) in EXPECTED {
            for (x, want, complement) in [(x, want, complement), (-x, -want, 2.0 - complement)] {
                let (got, error) = (erf(x), (erf(x) - want).abs());
                assert!(error <= 4e-16 * want.abs(), "erf({x}) is {got}, not {want}");
                let (got, error) = (erfc(x), (erfc(x) - complement).abs());
                assert!(error <= 2e-15 * complement, "erfc({x}) is {got}, not {complement}");
            }
        }
    }

    #[test]
    fn edges() {
        assert_eq!((erf(0.0), erfc(0.0)), (0.0, 1.0));
        assert_eq!((erf(f64::INFINITY), erf(f64::NEG_INFINITY)), (1.0, -1.0));
        assert_eq!((erfc(f64::INFINITY), erfc(f64::NEG_INFINITY)), (0.0, 2.0));
        assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
        assert_eq!((erf(1e3), erfc(1e3)), (1.0, 0.0));
    }

    #[test]
    fn continuous_between_intervals() {
        for bound in [0.468_75f64, 4.0, 6.0] {
            let (below, above) = (erf(bound), erf(bound.next_up()));
            assert!((above - below).abs() <= 4e-16, "erf jumps by {} at {bound}", above - below);
        }
    }
}
