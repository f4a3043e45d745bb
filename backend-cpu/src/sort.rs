//! Sorting along a dimension, stable.
//!
//! ```text
//! pack each element as (order-preserving bits << 32 | index); sort the integers; keep the index
//! ```
//! A comparison is then one integer instruction, and equal elements keep their order although the sort is not stable. For the k
//! smallest, a selection precedes the sort.

use crate::element::Element;
use crate::launch::{self, report};
use crate::view::elements;
use crate::{Cpu, Tensor, parallel};
use minitorch_core::DType;
use minitorch_core::backend::SortOps;

impl SortOps for Cpu {
    fn argsort(&self, x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
        let sorted = x.shape().with(dim, k);
        let (n, inner) = (x.shape()[dim], x.shape()[dim + 1..].iter().product::<usize>());
        let x = x.contiguous();
        let mut out = self.output::<i32>(sorted.numel(), &[x.view().storage]);
        if let Some(out) = &mut out {
            match x.dtype() {
                DType::F32 => argsort(elements::<f32>(&x), [n, k, inner], descending, out),
                DType::F64 => argsort(elements::<f64>(&x), [n, k, inner], descending, out),
                DType::I32 => argsort(elements::<i32>(&x), [n, k, inner], descending, out),
                DType::F16 | DType::Bool => unreachable!("core does not admit {}", x.dtype()),
            }
        }
        Tensor::from_storage(self, i32::wrap(out), DType::I32, sorted)
    }
}

/// Elements with a total order.
trait Key: Element {
    /// The element's order-preserving bits above its index.
    type Packed: Ord + Copy;
    fn pack(self, index: u32, descending: bool) -> Self::Packed;
    fn index(packed: Self::Packed) -> u32;
}

macro_rules! keys {
    ($($type:ty as $bits:ty => $packed:ty: $bits_of:expr;)*) => { $(impl Key for $type {
        type Packed = $packed;

        #[inline(always)]
        fn pack(self, index: u32, descending: bool) -> $packed {
            let bits_of: fn($type) -> $bits = $bits_of;
            let bits = bits_of(self);
            let key = if descending { !bits } else { bits };
            (key as $packed) << 32 | index as $packed
        }

        #[inline(always)]
        fn index(packed: $packed) -> u32 {
            packed as u32
        }
    })* };
}
keys! {
    // A float's bits have the order of its value if negative ones are inverted and the sign bit of the others is set. Adding 0 makes -0
    // equal to 0; NaN of either sign is the largest.
    f32 as u32 => u64: |x| if x.is_nan() { u32::MAX } else { ordered((x + 0.0).to_bits() as i32 as i64, 31) as u32 };
    f64 as u64 => u128: |x| if x.is_nan() { u64::MAX } else { ordered((x + 0.0).to_bits() as i64, 63) as u64 };
    i32 as u32 => u64: |x| x as u32 ^ 1 << 31;
}

/// The sign-extended bits of a float, whose sign is bit `sign`, as an integer with the float's order.
#[inline(always)]
fn ordered(bits: i64, sign: u32) -> i64 {
    if bits < 0 { !bits } else { bits | (1i64 << sign) }
}

/// x is `[outer, n, inner]`, `out` `[outer, k, inner]`.
fn argsort<T: Key>(x: &[T], [n, k, inner]: [usize; 3], descending: bool, out: &mut [i32]) {
    let work = 8 * (n.checked_ilog2().unwrap_or(0) as usize + 1) * n / k.max(1);
    report(|| {
        let launch = launch::split::<T>("argsort", out.len(), k * inner, work);
        launch.path(if k < n { "select, then sort packed keys" } else { "sort packed keys" })
    });
    parallel::split(out, k * inner, work, |first, out| {
        let mut packed: Vec<T::Packed> = Vec::with_capacity(n);
        for (outer, out) in (first / (k * inner)..).zip(out.chunks_exact_mut(k * inner)) {
            let x = &x[outer * n * inner..][..n * inner];
            for column in 0..inner {
                packed.clear();
                packed.extend((0..n).map(|i| x[i * inner + column].pack(i as u32, descending)));
                if k < n {
                    packed.select_nth_unstable(k);
                }
                packed[..k].sort_unstable();
                for (i, &key) in packed[..k].iter().enumerate() {
                    out[i * inner + column] = T::index(key) as i32;
                }
            }
        }
    });
}
