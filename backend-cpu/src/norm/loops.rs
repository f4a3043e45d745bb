//! The loops over one row or plane, at every instruction set.

use super::moments::Statistics;
use crate::element::Real;
use crate::lanes;
use crate::simd::{Isa, Kernel, LANES};

/// `out[i] = f(a[i], b[i], c[i])`. An operand that `f` ignores is not read.
pub(super) struct MapSlices<'a, T, F> {
    pub(super) out: &'a mut [T],
    pub(super) a: &'a [T],
    pub(super) b: &'a [T],
    pub(super) c: &'a [T],
    pub(super) f: F,
}

impl<T: Real, F: Fn(T, T, T) -> T> Kernel for MapSlices<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let MapSlices { out, a, b, c, f } = self;
        for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
            *out = f(a, b, c);
        }
    }
}

/// `out = (x - mean - rest) root w + b`, for a row.
pub(super) struct NormalizeRow<'a, T> {
    pub(super) out: &'a mut [T],
    pub(super) x: &'a [T],
    pub(super) w: &'a [T],
    pub(super) b: &'a [T],
    pub(super) of: Statistics<T>,
}

impl<T: Real> Kernel for NormalizeRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let NormalizeRow { out, x, w, b, of } = self;
        let (mean, root, offset) = (of.mean, of.root, -of.rest * of.root);
        for (((out, &x), &w), &b) in out.iter_mut().zip(x).zip(w).zip(b) {
            *out = (x - mean).multiply_add::<I>(root, offset).multiply_add::<I>(w, b);
        }
    }
}

/// `out = (x - means) factors + terms`, for a row of one element per channel.
pub(super) struct NormalizeChannels<'a, T> {
    pub(super) out: &'a mut [T],
    pub(super) x: &'a [T],
    pub(super) means: &'a [T],
    pub(super) factors: &'a [T],
    pub(super) terms: &'a [T],
}

impl<T: Real> Kernel for NormalizeChannels<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let NormalizeChannels { out, x, means, factors, terms } = self;
        for ((((out, &x), &mean), &factor), &term) in out.iter_mut().zip(x).zip(means).zip(factors).zip(terms) {
            *out = (x - mean).multiply_add::<I>(factor, term);
        }
    }
}

/// The sums of the two terms `f(a[i], b[i], c[i])`, accumulated in f64. Pairs of terms are added in the element type first: this
/// halves the conversions, and adds one rounding error of the size of those in the terms themselves.
pub(super) struct TwoSums<'a, T, F> {
    pub(super) a: &'a [T],
    pub(super) b: &'a [T],
    pub(super) c: &'a [T],
    pub(super) f: F,
}

impl<T: Real, F: Fn(T, T, T) -> [T; 2]> Kernel for TwoSums<'_, T, F> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> [f64; 2] {
        let TwoSums { a, b, c, f } = self;
        const PAIR: usize = 2 * LANES;
        let ((a, a_rest), (b, b_rest), (c, c_rest)) =
            (a.as_chunks::<PAIR>(), b.as_chunks::<PAIR>(), c.as_chunks::<PAIR>());
        let mut lanes = [[0.0; LANES]; 2];
        for ((a, b), c) in a.iter().zip(b).zip(c) {
            let mut terms = [[T::ZERO; LANES]; 2];
            for i in 0..LANES {
                let ([p, q], [r, s]) = (f(a[i], b[i], c[i]), f(a[LANES + i], b[LANES + i], c[LANES + i]));
                [terms[0][i], terms[1][i]] = [p + r, q + s];
            }
            for (lanes, terms) in lanes.iter_mut().zip(&terms) {
                T::add_wide(isa, lanes, terms);
            }
        }
        for (i, ((&a, &b), &c)) in a_rest.iter().zip(b_rest).zip(c_rest).enumerate() {
            let [x, y] = f(a, b, c);
            lanes[0][i % LANES] += x.to_f64();
            lanes[1][i % LANES] += y.to_f64();
        }
        lanes.map(lanes::sum)
    }
}

/// `gh += g h`, `sum_g += g`, for a row, with `h = (x - mean - rest) root`.
pub(super) struct AddAffineGrad<'a, T> {
    pub(super) gh: &'a mut [f64],
    pub(super) sum_g: &'a mut [f64],
    pub(super) g: &'a [T],
    pub(super) x: &'a [T],
    pub(super) of: Statistics<T>,
}

impl<T: Real> Kernel for AddAffineGrad<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let AddAffineGrad { gh, sum_g, g, x, of } = self;
        let (mean, root, offset) = (of.mean, of.root, -of.rest * of.root);
        for (((gh, sum_g), &g), &x) in gh.iter_mut().zip(sum_g).zip(g).zip(x) {
            *gh += (g * (x - mean).multiply_add::<I>(root, offset)).to_f64();
            *sum_g += g.to_f64();
        }
    }
}
