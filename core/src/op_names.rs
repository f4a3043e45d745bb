//! The names of operations, as messages and the tape's graph show them: those of the methods.

use crate::ops::binary::BinaryOp;
use crate::ops::index::ScatterOp;
use crate::ops::matmul::Activation;
use crate::ops::reduce::ReduceOp;
use crate::ops::unary::UnaryOp;
use std::fmt;

impl UnaryOp {
    /// The method's name, and the kernel's; `rsub` and `rdiv` are a number minus or divided by the tensor.
    pub fn name(self) -> &'static str {
        use UnaryOp::*;
        match self {
            Add(_) => "add",
            Mul(_) => "mul",
            Rsub(_) => "rsub",
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Remainder(_) => "remainder",
            Clamp(..) => "clamp",
            Div(_) => "div",
            Rdiv(_) => "rdiv",
            Square => "square",
            Pow(_) => "powf",
            Sqrt => "sqrt",
            Rsqrt => "rsqrt",
            Exp => "exp",
            Expm1 => "expm1",
            Log => "log",
            Log1p => "log1p",
            Log2 => "log2",
            Sin => "sin",
            Cos => "cos",
            Tan => "tan",
            Atan => "atan",
            Sinh => "sinh",
            Cosh => "cosh",
            Tanh => "tanh",
            Erf => "erf",
            Sigmoid => "sigmoid",
            Relu => "relu",
            LeakyRelu(_) => "leaky_relu",
            Elu(_) => "elu",
            Gelu => "gelu",
            GeluTanh => "gelu_tanh",
            Silu => "silu",
            Hardswish => "hardswish",
            Softplus => "softplus",
            Floor => "floor",
            Ceil => "ceil",
            Round => "round",
            Trunc => "trunc",
            Not => "logical_not",
        }
    }

    /// The numbers that the op carries, in the order of the variant's fields; 0 where it has fewer than two.
    pub fn numbers(self) -> [f64; 2] {
        use UnaryOp::*;
        match self {
            Add(c) | Mul(c) | Rsub(c) | Remainder(c) | Div(c) | Rdiv(c) | Pow(c) | LeakyRelu(c) | Elu(c) => [c, 0.0],
            Clamp(low, high) => [low, high],
            _ => [0.0; 2],
        }
    }

    /// The kernel that computes the op, one of [`KERNELS`](Self::KERNELS), and its numbers. It has the op's name, but for powers that
    /// multiplication and division compute.
    pub fn kernel(self) -> (&'static str, [f64; 2]) {
        match self {
            UnaryOp::Pow(0.0) => ("one", [0.0; 2]),
            UnaryOp::Pow(1.0) => ("identity", [0.0; 2]),
            UnaryOp::Pow(2.0) => ("square", [0.0; 2]),
            UnaryOp::Pow(3.0) => ("cube", [0.0; 2]),
            UnaryOp::Pow(-1.0) => ("rdiv", [1.0, 0.0]),
            op => (op.name(), op.numbers()),
        }
    }

    /// The names of all kernels of [`kernel`](Self::kernel). A backend that selects a kernel by number takes the position in this list.
    pub const KERNELS: &[&str] = &[
        "add",
        "mul",
        "rsub",
        "neg",
        "abs",
        "sign",
        "remainder",
        "clamp",
        "div",
        "rdiv",
        "square",
        "one",
        "identity",
        "cube",
        "powf",
        "sqrt",
        "rsqrt",
        "exp",
        "expm1",
        "log",
        "log1p",
        "log2",
        "sin",
        "cos",
        "tan",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "erf",
        "sigmoid",
        "relu",
        "leaky_relu",
        "elu",
        "gelu",
        "gelu_tanh",
        "silu",
        "hardswish",
        "softplus",
        "floor",
        "ceil",
        "round",
        "trunc",
        "logical_not",
    ];
}

impl BinaryOp {
    /// All ops in the order of their discriminants: a backend that selects a kernel by number takes `op as u32`.
    pub const ALL: [BinaryOp; 8] = [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Pow,
        BinaryOp::Remainder,
        BinaryOp::Maximum,
        BinaryOp::Minimum,
    ];

    /// The method's name, and the kernel's.
    pub fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "add",
            BinaryOp::Sub => "sub",
            BinaryOp::Mul => "mul",
            BinaryOp::Div => "div",
            BinaryOp::Pow => "pow",
            BinaryOp::Remainder => "remainder",
            BinaryOp::Maximum => "maximum",
            BinaryOp::Minimum => "minimum",
        }
    }
}

impl ReduceOp {
    /// The method's name.
    pub fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Mean => "mean",
            ReduceOp::Prod => "prod",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
        }
    }
}

impl ScatterOp {
    /// The method's name.
    pub fn name(self) -> &'static str {
        match self {
            ScatterOp::Add => "scatter_add",
            ScatterOp::Set => "scatter",
        }
    }
}

impl Activation {
    /// What a linear map with this function behind it is called on the tape.
    pub(crate) fn linear_name(self) -> &'static str {
        match self {
            Activation::Relu => "linear + relu",
            Activation::Sigmoid => "linear + sigmoid",
            Activation::Tanh => "linear + tanh",
        }
    }

    /// What a convolution with this function behind it is called on the tape.
    pub(crate) fn conv2d_name(self) -> &'static str {
        match self {
            Activation::Relu => "conv2d + relu",
            Activation::Sigmoid => "conv2d + sigmoid",
            Activation::Tanh => "conv2d + tanh",
        }
    }
}

macro_rules! display {
    ($($op:ty),*) => { $(impl fmt::Display for $op {
        /// The method's name.
        fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str(self.name())
        }
    })* };
}
display!(UnaryOp, BinaryOp, ReduceOp, ScatterOp);
