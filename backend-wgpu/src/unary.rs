//! Element-wise functions of one tensor and their gradients (`shaders/unary.wgsl`).

use crate::Tensor;
use crate::device::Wgpu;
use crate::map::bits;
use crate::memory::Storage;
use crate::shader::{Form, Shader};
use minitorch_core::backend::{UnaryOp, UnaryOps, View, ViewOf};
use minitorch_core::{DType, Layout};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The `OP` of each kernel: its position in [`UnaryOp::KERNELS`].
static KERNELS: LazyLock<HashMap<&str, u32>> = LazyLock::new(|| UnaryOp::KERNELS.iter().copied().zip(0..).collect());

fn shader(entry: &'static str, kernel: &str, dtype: DType) -> Shader {
    Shader::new("unary", entry).op(KERNELS[kernel]).form(Form::of(dtype, dtype))
}

impl UnaryOps for Wgpu {
    fn unary(&self, op: UnaryOp, x: ViewOf<'_, Self>) -> Storage {
        let (kernel, numbers) = op.kernel();
        let entry = if x.dtype.is_float() { "unary_f32" } else { "unary_i32" };
        let numbers = numbers.map(|number| bits(x.dtype, number));
        self.map_new(("unary", x.dtype), shader(entry, kernel, x.dtype), [x], numbers)
    }

    fn unary_mut(&self, op: UnaryOp, x: &mut Storage, layout: &Layout, dtype: DType) {
        let (kernel, numbers) = op.kernel();
        let entry = if dtype.is_float() { "unary_mut_f32" } else { "unary_mut_i32" };
        self.map(shader(entry, kernel, dtype), x, layout, [], numbers.map(|number| bits(dtype, number)));
    }

    fn unary_grad(&self, op: UnaryOp, saved: &Tensor, g: &Tensor) -> Tensor {
        let dtype = g.dtype();
        let (kernel, numbers) = match op {
            // The gradient of a power, also where division computes the power itself.
            UnaryOp::Pow(-1.0) => (op.name(), op.numbers()),
            op => op.kernel(),
        };
        let [layout_s, layout_g] = Layout::merge([*saved.layout(), *g.layout()]);
        let operands = [View { layout: &layout_s, ..saved.view() }, View { layout: &layout_g, ..g.view() }];
        let numbers = numbers.map(|number| bits(dtype, number));
        let out = self.map_new(("unary_grad", dtype), shader("unary_grad", kernel, dtype), operands, numbers);
        Tensor::from_storage(self, out, dtype, *g.shape())
    }
}
