//! The operations, one file per family. Each file reads from the contract to the default: the op's type and options; the trait
//! that a backend implements; the [`Tensor`](crate::Tensor) methods with their documentation; the forward call with its gradient;
//! and `composed`, the default implementation of the trait's fused methods.
//!
//! A family has the same name in every backend, in `conformance/` and in `benches/`. Those without a kernel (listed in
//! `tests/tidy.rs`) consist of other families' operations.

/// The enum of a family's ops from a table of variants and names. [`UnaryOp`](unary::UnaryOp), whose ops carry numbers, has a table
/// of its own.
macro_rules! op_table {
    ($(#[$doc:meta])* $Op:ident { $($(#[$variant_doc:meta])* $Variant:ident $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $Op {
            $($(#[$variant_doc])* $Variant,)*
        }

        impl $Op {
            /// All ops in the order of their discriminants: a backend that selects a kernel by number takes `op as u32`.
            pub const ALL: [$Op; [$($name),*].len()] = [$($Op::$Variant),*];

            /// The method's name.
            pub fn name(self) -> &'static str {
                match self { $($Op::$Variant => $name,)* }
            }
        }

        $crate::ops::display_by_name!($Op);
    };
}

/// `Display` of an op: its name.
macro_rules! display_by_name {
    ($Op:ty) => {
        impl std::fmt::Display for $Op {
            /// The method's name.
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
use {display_by_name, op_table};

pub mod arrange;
pub mod binary;
pub mod compare;
pub mod conv;
pub mod copy;
pub mod einsum;
pub mod index;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optim;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod resize;
pub mod scan;
pub mod softmax;
pub mod sort;
pub mod unary;
pub mod view;

/// The default implementations of the fused methods, as tensor operations: what an override is tested against, and may call for a
/// case that it does not cover.
pub mod composed {
    pub use super::conv::composed::*;
    pub use super::loss::composed::*;
    pub use super::matmul::composed::*;
    pub use super::norm::composed::*;
    pub use super::optim::composed::*;
    pub use super::pool::composed::*;
    pub use super::random::composed::*;
    pub use super::scan::composed::*;
    pub use super::softmax::composed::*;
    pub use super::sort::composed::*;
    pub use super::unary::composed::*;
}
