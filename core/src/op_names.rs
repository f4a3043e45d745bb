//! The names of operations, as messages and the tape's graph show them: those of the methods.

use crate::ops::binary::BinaryOp;
use crate::ops::index::ScatterOp;
use crate::ops::matmul::Activation;
use crate::ops::reduce::ReduceOp;
use crate::ops::unary::UnaryOp;
use std::fmt;

impl UnaryOp {
    /// The method's name; `rsub` and `rdiv` are a number minus or divided by the tensor.
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
}

impl BinaryOp {
    /// The method's name.
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
