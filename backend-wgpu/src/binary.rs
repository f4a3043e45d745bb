//! Element-wise functions of two tensors (`shaders/binary.wgsl`).

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::shader::{Form, Shader};
use minitorch_core::backend::{BinaryOp, BinaryOps, ViewOf};
use minitorch_core::{DType, Layout};

fn shader(op: BinaryOp, [f32, i32]: [&'static str; 2], dtype: DType) -> Shader {
    let entry = if dtype.is_float() { f32 } else { i32 };
    Shader::new("binary", entry).op(op as u32).form(Form::of(dtype, dtype))
}

impl BinaryOps for Wgpu {
    fn binary(&self, op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        let shader = shader(op, ["binary_f32", "binary_i32"], a.dtype);
        self.map_new(("binary", a.dtype), shader, [a, b], [0; 2])
    }

    fn binary_mut(&self, op: BinaryOp, a: &mut Storage, layout: &Layout, b: ViewOf<'_, Self>) {
        let shader = shader(op, ["binary_mut_f32", "binary_mut_i32"], b.dtype);
        self.map(shader, a, layout, [b], [0; 2]);
    }
}
