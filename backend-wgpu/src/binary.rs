//! Element-wise functions of two tensors: entries of `shaders/binary.wgsl`.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::shader::{Form, Shader};
use minitorch_core::backend::{BinaryOp, View};
use minitorch_core::{DType, Layout};

/// The number of an op in binary.wgsl.
fn code(op: BinaryOp) -> u32 {
    match op {
        BinaryOp::Add => 0,
        BinaryOp::Sub => 1,
        BinaryOp::Mul => 2,
        BinaryOp::Div => 3,
        BinaryOp::Pow => 4,
        BinaryOp::Remainder => 5,
        BinaryOp::Maximum => 6,
        BinaryOp::Minimum => 7,
    }
}

fn shader(op: BinaryOp, entries: [&'static str; 3], dtype: DType) -> Shader {
    let entry = match dtype {
        DType::F16 | DType::F32 => entries[0],
        DType::I32 => entries[1],
        _ => entries[2],
    };
    Shader::new("binary", entry).op(code(op)).form(Form::of(dtype, dtype))
}

/// `op(a, b)` in a buffer of its own.
pub(crate) fn binary(device: &Wgpu, op: BinaryOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("binary", a.dtype, whole.numel());
    device.map(shader(op, ["binary_f32", "binary_i32", "binary_bool"], a.dtype), &out, &whole, [a, b], [0; 2]);
    out
}

/// `a = op(a, b)`
pub(crate) fn binary_mut(device: &Wgpu, op: BinaryOp, a: &mut Storage, layout: &Layout, b: View<'_, Storage>) {
    let entries = ["binary_mut_f32", "binary_mut_i32", "binary_mut_bool"];
    device.map(shader(op, entries, b.dtype), a, layout, [b], [0; 2]);
}
