//! Sorting along one dimension. An element and its index become one integer that orders as they do, so that comparing is
//! one instruction and equal elements keep their order without a stable sort.

use crate::conv::elements;
use crate::element::Element;
use crate::launch::{self, report};
use crate::memory::Storage;
use crate::{Tensor, parallel};
use minitorch_core::DType;

/// Elements that have an order.
trait Key: Element {
    /// Holds the element's rank above its index.
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
    // A float's bits order like its value once negative ones are turned over and the others put above them. A sum with 0
    // makes -0 equal to 0; NaN of either sign goes to the top.
    f32 as u32 => u64: |x| if x.is_nan() { u32::MAX } else { ordered((x + 0.0).to_bits() as i32 as i64, 31) as u32 };
    f64 as u64 => u128: |x| if x.is_nan() { u64::MAX } else { ordered((x + 0.0).to_bits() as i64, 63) as u64 };
    i32 as u32 => u64: |x| x as u32 ^ 1 << 31;
}

/// The bits of a float whose sign is bit `sign`, sign-extended, as a number that orders like the float.
#[inline(always)]
fn ordered(bits: i64, sign: u32) -> i64 {
    if bits < 0 { !bits } else { bits | (1i64 << sign) }
}

pub(crate) fn argsort(x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
    match x.dtype() {
        DType::F32 => run::<f32>(x, dim, descending, k),
        DType::F64 => run::<f64>(x, dim, descending, k),
        DType::I32 => run::<i32>(x, dim, descending, k),
        DType::F16 | DType::Bool => unreachable!("core does not admit {}", x.dtype()),
    }
}

/// x is `[outer, n, inner]`, the result `[outer, k, inner]`.
fn run<T: Key>(x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
    let (device, shape) = (x.device(), *x.shape());
    let (n, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
    let x = x.contiguous();
    let data = elements::<T>(&x);
    let sorted = shape.with(dim, k);
    let mut out = device.alloc::<i32>("argsort", sorted.numel());
    let work = 8 * (n.checked_ilog2().unwrap_or(0) as usize + 1) * n / k.max(1);
    report(|| {
        let launch = launch::pieces::<T>("argsort", sorted.numel(), k * inner, work);
        launch.path(if k < n { "select, then sort packed keys" } else { "sort packed keys" })
    });
    parallel::pieces(&mut out, k * inner, work, |first, out| {
        let mut line: Vec<T::Packed> = Vec::with_capacity(n);
        for (outer, out) in (first / (k * inner)..).zip(out.chunks_exact_mut(k * inner)) {
            let x = &data[outer * n * inner..][..n * inner];
            for column in 0..inner {
                line.clear();
                line.extend((0..n).map(|i| x[i * inner + column].pack(i as u32, descending)));
                if k < n {
                    line.select_nth_unstable(k);
                }
                line[..k].sort_unstable();
                for (i, &packed) in line[..k].iter().enumerate() {
                    out[i * inner + column] = T::index(packed) as i32;
                }
            }
        }
    });
    Tensor::from_storage(device, Storage::I32(out), DType::I32, sorted)
}
