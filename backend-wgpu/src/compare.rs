//! Comparisons: entries of `shaders/compare.wgsl`.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::shader::{Form, Shader};
use minitorch_core::backend::{CompareOp, View};
use minitorch_core::{DType, Layout, f16};

/// The number of an op in compare.wgsl.
fn code(op: CompareOp) -> u32 {
    match op {
        CompareOp::Eq => 0,
        CompareOp::Ne => 1,
        CompareOp::Lt => 2,
        CompareOp::Le => 3,
        CompareOp::Gt => 4,
        CompareOp::Ge => 5,
    }
}

fn shader(op: CompareOp, entries: [&'static str; 2], dtype: DType) -> Shader {
    let entry = if dtype.is_float() { entries[0] } else { entries[1] };
    Shader::new("compare", entry).op(code(op)).form(Form::of(dtype, DType::Bool))
}

pub(crate) fn compare(device: &Wgpu, op: CompareOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("compare", DType::Bool, whole.numel());
    device.map(shader(op, ["compare_f32", "compare_i32"], a.dtype), &out, &whole, [a, b], [0; 2]);
    out
}

/// `op(a, b)` against a number.
pub(crate) fn compare_scalar(device: &Wgpu, op: CompareOp, a: View<'_, Storage>, b: f64) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("compare_scalar", DType::Bool, whole.numel());
    let (op, bits) = match a.dtype {
        DType::F16 => (op, f16::from_f64(b).to_f32().to_bits()),
        DType::F32 => (op, (b as f32).to_bits()),
        _ => whole_number(op, b),
    };
    device.map(shader(op, ["compare_scalar_f32", "compare_scalar_i32"], a.dtype), &out, &whole, [a], [bits, 0]);
    out
}

/// A comparison with a whole number of 32 bits that says the same as one with b: `x < 2.5` is `x < 3`.
fn whole_number(op: CompareOp, b: f64) -> (CompareOp, u32) {
    use CompareOp::*;
    let whole = |op, b: i32| (op, b as u32);
    let (always, never) = (whole(Ge, i32::MIN), whole(Lt, i32::MIN));
    let truth = |truth: bool| if truth { always } else { never };
    if b.is_nan() {
        return truth(op == Ne);
    }
    if b > i32::MAX as f64 {
        return truth(matches!(op, Ne | Lt | Le));
    }
    if b < i32::MIN as f64 {
        return truth(matches!(op, Ne | Gt | Ge));
    }
    match op {
        Eq | Ne if b.fract() != 0.0 => truth(op == Ne),
        // Rounding up may leave the range only above its largest number, where b is whole.
        Lt | Ge => whole(op, b.ceil() as i32),
        _ => whole(op, b.floor() as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stand_for_fractions() {
        for b in [-3e9, -2147483648.0, -2.5, -2.0, -0.5, 0.0, 0.5, 1.0, 2.5, 2147483646.5, 2147483647.0, 3e9, f64::NAN]
        {
            for x in [i32::MIN, -3, -2, -1, 0, 1, 2, 3, i32::MAX] {
                let all = [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge];
                for op in all {
                    let holds = |op, x: f64, b: f64| match op {
                        CompareOp::Eq => x == b,
                        CompareOp::Ne => x != b,
                        CompareOp::Lt => x < b,
                        CompareOp::Le => x <= b,
                        CompareOp::Gt => x > b,
                        CompareOp::Ge => x >= b,
                    };
                    let (stand_in, whole) = whole_number(op, b);
                    assert_eq!(holds(stand_in, x as f64, whole as i32 as f64), holds(op, x as f64, b), "{x} {op} {b}");
                }
            }
        }
    }
}
