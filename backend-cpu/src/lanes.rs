//! Reduction of independent accumulators to one value.
//!
//! A loop that folds into `N` lanes has no dependency from one iteration to the next, so it vectorises and hides the latency of an
//! addition. [`combine`] then folds the lanes as a binary tree, in an order that depends on `N` alone:
//!
//! ```text
//! for half in [N/2, N/4, .., 1]:  lanes[i] = f(lanes[i], lanes[i + half])  for i < half
//! ```

/// Combines `N` lanes, a power of two, to one.
#[inline(always)]
pub(crate) fn combine<T: Copy, const N: usize>(mut lanes: [T; N], f: impl Fn(T, T) -> T) -> T {
    combine_slice(&mut lanes, f)
}

/// [`combine`] of a slice, which it overwrites.
#[inline(always)]
pub(crate) fn combine_slice<T: Copy>(lanes: &mut [T], f: impl Fn(T, T) -> T) -> T {
    let mut half = lanes.len() / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = f(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// The sum of the lanes.
#[inline(always)]
pub(crate) fn sum<const N: usize>(lanes: [f64; N]) -> f64 {
    combine(lanes, |a, b| a + b)
}
