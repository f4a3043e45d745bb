//! Comparisons and selection (`shaders/compare.wgsl`).

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::shader::{Form, Shader};
use minitorch_core::backend::{CompareOp, CompareOps, ViewOf};
use minitorch_core::{DType, f16};

fn shader(op: CompareOp, [f32, i32]: [&'static str; 2], dtype: DType) -> Shader {
    let entry = if dtype.is_float() { f32 } else { i32 };
    Shader::new("compare", entry).op(op as u32).form(Form::of(dtype, DType::Bool))
}

impl CompareOps for Wgpu {
    fn compare(&self, op: CompareOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        let shader = shader(op, ["compare_f32", "compare_i32"], a.dtype);
        self.map_new(("compare", DType::Bool), shader, [a, b], [0; 2])
    }

    fn compare_scalar(&self, op: CompareOp, a: ViewOf<'_, Self>, b: f64) -> Storage {
        let (op, bits) = match a.dtype {
            DType::F16 => (op, f16::from_f64(b).to_f32().to_bits()),
            DType::F32 => (op, (b as f32).to_bits()),
            _ => integer(op, b),
        };
        let shader = shader(op, ["compare_scalar_f32", "compare_scalar_i32"], a.dtype);
        self.map_new(("compare_scalar", DType::Bool), shader, [a], [bits, 0])
    }

    fn where_cond(&self, condition: ViewOf<'_, Self>, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        let shader = Shader::new("compare", "where_cond").form(Form::of(a.dtype, a.dtype));
        self.map_new(("where", a.dtype), shader, [condition, a, b], [0; 2])
    }
}

/// The comparison of an I32 with an I32 that equals its comparison with b: `x < 2.5` is `x < 3`.
fn integer(op: CompareOp, b: f64) -> (CompareOp, u32) {
    use CompareOp::*;
    let whole = |op, b: i32| (op, b as u32);
    let (always, never) = (whole(Ge, i32::MIN), whole(Lt, i32::MIN));
    let constant = |holds: bool| if holds { always } else { never };
    if b.is_nan() {
        return constant(op == Ne);
    }
    if b > i32::MAX as f64 {
        return constant(matches!(op, Ne | Lt | Le));
    }
    if b < i32::MIN as f64 {
        return constant(matches!(op, Ne | Gt | Ge));
    }
    match op {
        Eq | Ne if b.fract() != 0.0 => constant(op == Ne),
        // b.ceil() is at most i32::MAX, as that is whole.
        Lt | Ge => whole(op, b.ceil() as i32),
        _ => whole(op, b.floor() as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_replaces_any_number() {
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
                    let (other, whole) = integer(op, b);
                    assert_eq!(holds(other, x as f64, whole as i32 as f64), holds(op, x as f64, b), "{x} {op} {b}");
                }
            }
        }
    }
}
