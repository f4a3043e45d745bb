//! Element-wise functions of one tensor and their gradients: numbers for `shaders/unary.wgsl`.

use crate::copy::bits;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::shader::{Form, Shader};
use minitorch_core::backend::{UnaryOp, View};
use minitorch_core::{DType, Layout, Tensor};

/// The number of an op in unary.wgsl, and the op's numbers.
fn code(op: UnaryOp) -> (u32, [f64; 2]) {
    use UnaryOp::*;
    let none = [0.0; 2];
    match op {
        Add(c) => (0, [c, 0.0]),
        Mul(c) => (1, [c, 0.0]),
        Rsub(c) => (2, [c, 0.0]),
        Neg => (3, none),
        Abs => (4, none),
        Sign => (5, none),
        Remainder(c) => (6, [c, 0.0]),
        Clamp(low, high) => (7, [low, high]),
        Div(c) => (8, [c, 0.0]),
        Rdiv(c) => (9, [c, 0.0]),
        Square => (10, none),
        Pow(c) => power(c),
        Sqrt => (15, none),
        Rsqrt => (16, none),
        Exp => (17, none),
        Expm1 => (18, none),
        Log => (19, none),
        Log1p => (20, none),
        Log2 => (21, none),
        Sin => (22, none),
        Cos => (23, none),
        Tan => (24, none),
        Atan => (25, none),
        Sinh => (26, none),
        Cosh => (27, none),
        Tanh => (28, none),
        Erf => (29, none),
        Sigmoid => (30, none),
        Relu => (31, none),
        LeakyRelu(slope) => (32, [slope, 0.0]),
        Elu(alpha) => (33, [alpha, 0.0]),
        Gelu => (34, none),
        GeluTanh => (35, none),
        Silu => (36, none),
        Hardswish => (37, none),
        Softplus => (38, none),
        Floor => (39, none),
        Ceil => (40, none),
        Round => (41, none),
        Trunc => (42, none),
        Not => (43, none),
    }
}

const ONE: u32 = 11;
const IDENTITY: u32 = 12;
const SQUARE: u32 = 10;
const CUBE: u32 = 13;
const RDIV: u32 = 9;
const POW: u32 = 14;

/// Where multiplication gives what `pow` would.
fn power(c: f64) -> (u32, [f64; 2]) {
    match c {
        0.0 => (ONE, [0.0; 2]),
        1.0 => (IDENTITY, [0.0; 2]),
        2.0 => (SQUARE, [0.0; 2]),
        3.0 => (CUBE, [0.0; 2]),
        -1.0 => (RDIV, [1.0, 0.0]),
        _ => (POW, [c, 0.0]),
    }
}

fn shader(op: u32, entries: [&'static str; 2], dtype: DType) -> Shader {
    let entry = if dtype.is_float() { entries[0] } else { entries[1] };
    Shader::new("unary", entry).op(op).form(Form::of(dtype, dtype))
}

/// `op(x)` in a buffer of its own.
pub(crate) fn unary(device: &Wgpu, op: UnaryOp, x: View<'_, Storage>) -> Storage {
    let ((op, numbers), whole) = (code(op), Layout::contiguous(*x.layout.shape()));
    let out = device.alloc("unary", x.dtype, whole.numel());
    let numbers = numbers.map(|number| bits(x.dtype, number));
    device.map(shader(op, ["unary_f32", "unary_i32"], x.dtype), &out, &whole, [x], numbers);
    out
}

/// `x = op(x)`
pub(crate) fn unary_mut(device: &Wgpu, op: UnaryOp, x: &mut Storage, layout: &Layout, dtype: DType) {
    let (op, numbers) = code(op);
    let numbers = numbers.map(|number| bits(dtype, number));
    device.map(shader(op, ["unary_mut_f32", "unary_mut_i32"], dtype), x, layout, [], numbers);
}

/// `g op'`
pub(crate) fn unary_grad(op: UnaryOp, saved: &Tensor<Wgpu>, g: &Tensor<Wgpu>) -> Tensor<Wgpu> {
    let (device, dtype, shape) = (g.device(), g.dtype(), *g.shape());
    let (op, numbers) = match op {
        UnaryOp::Pow(-1.0) => (POW, [-1.0, 0.0]),
        op => code(op),
    };
    let [layout_s, layout_g] = Layout::merge([*saved.layout(), *g.layout()]);
    let whole = Layout::contiguous(*layout_g.shape());
    let out = device.alloc("unary_grad", dtype, whole.numel());
    let operands = [View { layout: &layout_s, ..saved.view() }, View { layout: &layout_g, ..g.view() }];
    let shader = Shader::new("unary", "unary_grad").op(op).form(Form::of(dtype, dtype));
    device.map(shader, &out, &whole, operands, numbers.map(|number| bits(dtype, number)));
    Tensor::from_storage(device, out, dtype, shape)
}
