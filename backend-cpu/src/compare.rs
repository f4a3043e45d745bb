//! Comparisons, and the selection by their results. Cost: the reads, and one write per element; a comparison writes one byte.

use crate::Cpu;
use crate::element::{Element, with_element};
use crate::elementwise::{map1, map2, map3};
use crate::memory::Storage;
use crate::view::{Source, source};
use minitorch_core::DType;
use minitorch_core::backend::{CompareOp, CompareOps, View};

impl CompareOps for Cpu {
    fn compare(&self, op: CompareOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        let mut out = self.output::<u8>(a.layout.numel(), &[a.storage, b.storage]);
        if let Some(out) = &mut out {
            with_element!(a.dtype, T => {
                let (a, b) = (source::<T>(a), source::<T>(b));
                match op {
                    CompareOp::Eq => map2(1, out, a, b, |a, b| (a == b) as u8),
                    CompareOp::Ne => map2(1, out, a, b, |a, b| (a != b) as u8),
                    CompareOp::Lt => map2(1, out, a, b, |a, b| (a < b) as u8),
                    CompareOp::Le => map2(1, out, a, b, |a, b| (a <= b) as u8),
                    CompareOp::Gt => map2(1, out, a, b, |a, b| (a > b) as u8),
                    CompareOp::Ge => map2(1, out, a, b, |a, b| (a >= b) as u8),
                }
            });
        }
        u8::wrap(out)
    }

    // The number is rounded to the type of a float tensor. Integers and bool are compared as f64: `x < 2.5` and `x == 2^40` are exact.
    fn compare_scalar(&self, op: CompareOp, a: View<'_, Storage>, b: f64) -> Storage {
        let mut out = self.output::<u8>(a.layout.numel(), &[a.storage]);
        if let Some(out) = &mut out {
            match a.dtype {
                DType::F16 => unreachable!("core checks `supports`"),
                DType::F32 => scalar(op, out, source::<f32>(a), b as f32, |x| x),
                DType::F64 => scalar(op, out, source::<f64>(a), b, |x| x),
                DType::I32 => scalar(op, out, source::<i32>(a), b, i32::to_f64),
                DType::Bool => scalar(op, out, source::<u8>(a), b, u8::to_f64),
            }
        }
        u8::wrap(out)
    }

    fn where_cond(&self, condition: View<'_, Storage>, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        with_element!(a.dtype, T => {
            let mut out = self.output::<T>(a.layout.numel(), &[condition.storage, a.storage, b.storage]);
            if let Some(out) = &mut out {
                let select = |c, a, b| if c != 0 { a } else { b };
                map3(1, out, source::<u8>(condition), [a, b].map(source::<T>), select);
            }
            T::wrap(out)
        })
    }
}

/// `out = op(convert(a), b)`
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
