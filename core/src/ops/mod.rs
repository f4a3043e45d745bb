//! The operations, one file per family: what the user calls, its documentation, its gradient right below, and for fused
//! methods the composed default. A file here has a namesake in every backend, in `conformance/` and in
//! `benches/`; one without a kernel of its own (`tests/tidy.rs` lists them) in `conformance/` only.

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

/// The default implementations of the fused methods, as tensor operations: what an override is tested against, and may call for a case
/// that it does not cover.
pub mod composed {
    pub use super::conv::{
        composed_conv2d as conv2d, composed_conv2d_grad as conv2d_grad, composed_grad_input as conv2d_grad_input,
        composed_grad_weight as conv2d_grad_weight,
    };
    pub use super::loss::{composed_cross_entropy as cross_entropy, composed_cross_entropy_grad as cross_entropy_grad};
    pub use super::matmul::{composed_linear as linear, composed_linear_grad as linear_grad};
    pub use super::norm::{
        composed_normalize as normalize, composed_normalize_by as normalize_by,
        composed_normalize_grad as normalize_grad, composed_running_statistics as running_statistics,
    };
    pub use super::optim::composed_step as optimizer_step;
    pub use super::pool::{
        composed_avg_pool2d as avg_pool2d, composed_avg_pool2d_grad as avg_pool2d_grad,
        composed_max_pool2d as max_pool2d, composed_max_pool2d_grad as max_pool2d_grad,
    };
    pub use super::random::composed_dropout as dropout;
    pub use super::scan::composed_cumsum as cumsum;
    pub use super::softmax::{
        composed_log_softmax as log_softmax, composed_log_softmax_grad as log_softmax_grad,
        composed_softmax as softmax, composed_softmax_grad as softmax_grad,
    };
    pub use super::sort::composed_argsort as argsort;
    pub use super::unary::composed as unary_grad;
}
