//! Element-wise functions of two tensors. Cost: two reads and one write per element.
//!
//! ```text
//! binary   out = f(a, b)        binary_mut   a = f(a, b)
//! ```
//! The number before each closure is its work per element in the unit of `parallel`.

use crate::Cpu;
use crate::element::{Element, Real, Remainder as _, with_element};
use crate::elementwise::{map2, update1};
use crate::memory::{AnyBits, Storage};
use crate::simd::Wide;
use crate::view::{Source, source};
use minitorch_core::Layout;
use minitorch_core::backend::{BinaryOp, BinaryOps, View};

impl BinaryOps for Cpu {
    fn binary(&self, op: BinaryOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        with_element!(a.dtype, T => {
            let mut out = self.output::<T>(a.layout.numel(), &[a.storage, b.storage]);
            if let Some(out) = &mut out {
                Apply::apply(op, OutOfPlace { out, a: source::<T>(a), b: source::<T>(b) });
            }
            T::wrap(out)
        })
    }

    // In place for F32 only: each further type is one more copy of every loop to compile.
    fn binary_mut(&self, op: BinaryOp, a: &mut Storage, layout: &Layout, b: View<'_, Storage>) {
        match (a, b.storage) {
            (Storage::F32(a), Storage::F32(_)) => {
                Apply::apply(op, InPlace { a: &mut a[..layout.numel()], b: source(b) })
            }
            (storage, _) => *storage = self.binary(op, View { storage, layout, dtype: b.dtype }, b),
        }
    }
}

/// The operands, and the place of the result.
trait Target {
    type Elem: AnyBits;
    fn run(self, work: usize, f: impl Fn(Self::Elem, Self::Elem) -> Self::Elem + Copy + Sync);
}

struct OutOfPlace<'a, T> {
    out: &'a mut [T],
    a: Source<'a, T>,
    b: Source<'a, T>,
}

impl<T: AnyBits + Wide> Target for OutOfPlace<'_, T> {
    type Elem = T;
    fn run(self, work: usize, f: impl Fn(T, T) -> T + Copy + Sync) {
        map2(work, self.out, self.a, self.b, f);
    }
}

struct InPlace<'a, T> {
    a: &'a mut [T],
    b: Source<'a, T>,
}

impl<T: AnyBits + Wide> Target for InPlace<'_, T> {
    type Elem = T;
    fn run(self, work: usize, f: impl Fn(T, T) -> T + Copy + Sync) {
        update1(work, self.a, self.b, f);
    }
}

/// The functions of one element type.
trait Apply: AnyBits {
    fn apply(op: BinaryOp, to: impl Target<Elem = Self>);
}

impl<T: Real> Apply for T {
    fn apply(op: BinaryOp, to: impl Target<Elem = T>) {
        real(op, to);
    }
}

fn real<T: Real>(op: BinaryOp, to: impl Target<Elem = T>) {
    match op {
        BinaryOp::Add => to.run(1, |a, b| a + b),
        BinaryOp::Sub => to.run(1, |a, b| a - b),
        BinaryOp::Mul => to.run(1, |a, b| a * b),
        BinaryOp::Div => to.run(2, |a, b| a / b),
        BinaryOp::Pow => to.run(24, |a, b| a.powf(b)),
        BinaryOp::Remainder => to.run(24, |a, b| a.remainder(b)),
        BinaryOp::Maximum => to.run(1, maximum),
        BinaryOp::Minimum => to.run(1, minimum),
    }
}

/// The larger; NaN if either is NaN.
#[inline(always)]
#[allow(clippy::eq_op, reason = "x != x tests for NaN in one comparison, which vectorises")]
pub(crate) fn maximum<T: PartialOrd + Copy>(a: T, b: T) -> T {
    if a > b || a != a { a } else { b }
}

/// The smaller; NaN if either is NaN.
#[inline(always)]
#[allow(clippy::eq_op, reason = "x != x tests for NaN in one comparison, which vectorises")]
pub(crate) fn minimum<T: PartialOrd + Copy>(a: T, b: T) -> T {
    if a < b || a != a { a } else { b }
}

impl Apply for i32 {
    fn apply(op: BinaryOp, to: impl Target<Elem = i32>) {
        match op {
            BinaryOp::Add => to.run(1, i32::wrapping_add),
            BinaryOp::Sub => to.run(1, i32::wrapping_sub),
            BinaryOp::Mul => to.run(1, i32::wrapping_mul),
            BinaryOp::Remainder => to.run(8, |a, b| a.remainder(b)),
            BinaryOp::Maximum => to.run(1, |a, b| a.max(b)),
            BinaryOp::Minimum => to.run(1, |a, b| a.min(b)),
            other => unreachable!("core does not admit {other} on int32"),
        }
    }
}

impl Apply for u8 {
    fn apply(op: BinaryOp, to: impl Target<Elem = u8>) {
        match op {
            BinaryOp::Maximum => to.run(1, |a, b| a | b),
            BinaryOp::Minimum => to.run(1, |a, b| a & b),
            other => unreachable!("core does not admit {other} on bool"),
        }
    }
}
