//! Element-wise functions of one tensor and their gradients (`kernels/unary.cu`).

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use minitorch_core::backend::{UnaryOp, UnaryOps, View};
use minitorch_core::{DType, Layout};

/// The kernel's name for an op, and the op's numbers.
fn parts(op: UnaryOp) -> (&'static str, [f64; 2]) {
    use UnaryOp::*;
    match op {
        Add(c) => ("add", [c, 0.0]),
        Mul(c) => ("mul", [c, 0.0]),
        Rsub(c) => ("rsub", [c, 0.0]),
        Neg => ("neg", [0.0; 2]),
        Abs => ("abs", [0.0; 2]),
        Sign => ("sign", [0.0; 2]),
        Remainder(c) => ("remainder", [c, 0.0]),
        Clamp(low, high) => ("clamp", [low, high]),
        Div(c) => ("div", [c, 0.0]),
        Rdiv(c) => ("rdiv", [c, 0.0]),
        Square => ("square", [0.0; 2]),
        Pow(c) => power(c),
        Sqrt => ("sqrt", [0.0; 2]),
        Rsqrt => ("rsqrt", [0.0; 2]),
        Exp => ("exp", [0.0; 2]),
        Expm1 => ("expm1", [0.0; 2]),
        Log => ("log", [0.0; 2]),
        Log1p => ("log1p", [0.0; 2]),
        Log2 => ("log2", [0.0; 2]),
        Sin => ("sin", [0.0; 2]),
        Cos => ("cos", [0.0; 2]),
        Tan => ("tan", [0.0; 2]),
        Atan => ("atan", [0.0; 2]),
        Sinh => ("sinh", [0.0; 2]),
        Cosh => ("cosh", [0.0; 2]),
        Tanh => ("tanh", [0.0; 2]),
        Erf => ("erf", [0.0; 2]),
        Sigmoid => ("sigmoid", [0.0; 2]),
        Relu => ("relu", [0.0; 2]),
        LeakyRelu(slope) => ("leakyrelu", [slope, 0.0]),
        Elu(alpha) => ("elu", [alpha, 0.0]),
        Gelu => ("gelu", [0.0; 2]),
        GeluTanh => ("gelutanh", [0.0; 2]),
        Silu => ("silu", [0.0; 2]),
        Hardswish => ("hardswish", [0.0; 2]),
        Softplus => ("softplus", [0.0; 2]),
        Floor => ("floor", [0.0; 2]),
        Ceil => ("ceil", [0.0; 2]),
        Round => ("round", [0.0; 2]),
        Trunc => ("trunc", [0.0; 2]),
        Not => ("not", [0.0; 2]),
    }
}

/// Where multiplication gives what `pow` would.
fn power(c: f64) -> (&'static str, [f64; 2]) {
    match c {
        0.0 => ("one", [0.0; 2]),
        1.0 => ("identity", [0.0; 2]),
        2.0 => ("square", [0.0; 2]),
        3.0 => ("cube", [0.0; 2]),
        -1.0 => ("rdiv", [1.0, 0.0]),
        _ => ("pow", [c, 0.0]),
    }
}

impl UnaryOps for Cuda {
    fn unary(&self, op: UnaryOp, x: View<'_, Storage>) -> Storage {
        let ((kernel, numbers), layout) = (parts(op), Layout::contiguous(*x.layout.shape()));
        let out = self.alloc("unary", x.dtype, layout.numel());
        let to = (&out, x.dtype, &layout);
        self.elementwise(name!("unary_{kernel}_{}", suffix(x.dtype)), to, [x], numbers);
        out
    }

    fn unary_mut(&self, op: UnaryOp, x: &mut Storage, layout: &Layout, dtype: DType) {
        let (kernel, numbers) = parts(op);
        let (out, x) = ((&*x, dtype, layout), View { storage: &*x, layout, dtype });
        self.elementwise(name!("unary_{kernel}_{}", suffix(dtype)), out, [x], numbers);
    }

    fn unary_grad(&self, op: UnaryOp, saved: &Tensor, g: &Tensor) -> Tensor {
        let (dtype, shape) = (g.dtype(), *g.shape());
        let (kernel, numbers) = match op {
            UnaryOp::Pow(-1.0) => ("pow", [-1.0, 0.0]),
            op => parts(op),
        };
        let [layout_s, layout_g] = Layout::merge([*saved.layout(), *g.layout()]);
        let layout = Layout::contiguous(*layout_g.shape());
        let out = self.alloc("unary_grad", dtype, layout.numel());
        let inputs = [View { layout: &layout_s, ..saved.view() }, View { layout: &layout_g, ..g.view() }];
        let to = (&out, dtype, &layout);
        self.elementwise(name!("unary_grad_{kernel}_{}", suffix(dtype)), to, inputs, numbers);
        Tensor::from_storage(self, out, dtype, shape)
    }
}
