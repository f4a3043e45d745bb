//! Comparisons, with bool results. Cost: the reads, and one byte written per element.

use crate::Cpu;
use crate::element::{Element, source, with_element};
use crate::map::{Source, map1, map2};
use crate::memory::Storage;
use minitorch_core::DType;
use minitorch_core::backend::{CompareOp, View};

/// `op(a, b)`.
pub(crate) fn compare(device: &Cpu, op: CompareOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    let mut out = device.alloc::<u8>("compare", a.layout.numel());
    with_element!(a.dtype, T => {
        let (a, b, out) = (source::<T>(a), source::<T>(b), &mut out[..]);
        match op {
            CompareOp::Eq => map2(1, out, a, b, |a, b| (a == b) as u8),
            CompareOp::Ne => map2(1, out, a, b, |a, b| (a != b) as u8),
            CompareOp::Lt => map2(1, out, a, b, |a, b| (a < b) as u8),
            CompareOp::Le => map2(1, out, a, b, |a, b| (a <= b) as u8),
            CompareOp::Gt => map2(1, out, a, b, |a, b| (a > b) as u8),
            CompareOp::Ge => map2(1, out, a, b, |a, b| (a >= b) as u8),
        }
    });
    Storage::Bool(out)
}

/// `op(a, b)` against a number, which takes a float's type; against integers and bool it stays what it is, so that
/// `x < 2.5` and `x == 2^40` mean what they say.
pub(crate) fn compare_scalar(device: &Cpu, op: CompareOp, a: View<'_, Storage>, b: f64) -> Storage {
    let mut out = device.alloc::<u8>("compare_scalar", a.layout.numel());
    match a.dtype {
        DType::F16 => unreachable!("core asks `supports` first"),
        DType::F32 => scalar(op, &mut out, source::<f32>(a), b as f32, |x| x),
        DType::F64 => scalar(op, &mut out, source::<f64>(a), b, |x| x),
        DType::I32 => scalar(op, &mut out, source::<i32>(a), b, i32::to_f64),
        DType::Bool => scalar(op, &mut out, source::<u8>(a), b, u8::to_f64),
    }
    Storage::Bool(out)
}

fn scalar<T: Element, C: Element>(
    op: CompareOp,
    out: &mut [u8],
    a: Source<T>,
    b: C,
    convert: impl Fn(T) -> C + Copy + Sync,
) {
    match op {
        CompareOp::Eq => map1(1, out, a, move |a| (convert(a) == b) as u8),
        CompareOp::Ne => map1(1, out, a, move |a| (convert(a) != b) as u8),
        CompareOp::Lt => map1(1, out, a, move |a| (convert(a) < b) as u8),
        CompareOp::Le => map1(1, out, a, move |a| (convert(a) <= b) as u8),
        CompareOp::Gt => map1(1, out, a, move |a| (convert(a) > b) as u8),
        CompareOp::Ge => map1(1, out, a, move |a| (convert(a) >= b) as u8),
    }
}
