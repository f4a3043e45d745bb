//! The contract between tensors and a backend.
//!
//! A backend is a type whose values are device handles: cheap to clone, and held by every tensor. [`Device`] is the trait of
//! the handle. Each **family** of operations is a trait of its own, declared in `core/src/ops/<family>.rs` beside the
//! [`Tensor`](crate::Tensor) methods, the default implementations and the gradients. [`Backend`] combines them all, and is the
//! only bound that a program writes.
//!
//! | trait | methods | has defaults |
//! |---|---|---|
//! | [`Device`] | the dtypes, the random state, memory, errors | no |
//! | [`CopyOps`] | `full`, `upload`, `download`, `copy`, `write`, `fill`, `cast` | no |
//! | [`UnaryOps`] | `unary`; `unary_mut`, `unary_grad` | the last two |
//! | [`BinaryOps`] | `binary`; `binary_mut` | the last |
//! | [`CompareOps`] | `compare`, `compare_scalar`, `where_cond` | no |
//! | [`ReduceOps`] | `reduce`, `arg_reduce` | no |
//! | [`MatmulOps`] | `matmul`; `linear`, `linear_grad` | the last two |
//! | [`IndexOps`] | `gather`, `scatter` | no |
//! | [`RandomOps`] | `random`; `dropout` | the last |
//! | [`ConvOps`] | `conv2d`, `conv2d_grad`, `conv2d_grad_input`, `conv2d_grad_weight` | yes |
//! | [`PoolOps`] | `max_pool2d`, `avg_pool2d` and their gradients | yes |
//! | [`SoftmaxOps`] | `softmax`, `log_softmax` and their gradients | yes |
//! | [`NormOps`] | `normalize`, `normalize_by`, `normalize_grad`, `running_statistics` | yes |
//! | [`ScanOps`] | `cumsum` | yes |
//! | [`SortOps`] | `argsort` | yes |
//! | [`LossOps`] | `cross_entropy` and its gradient | yes |
//! | [`OptimOps`] | `optimizer_step` | yes |
//!
//! Methods without a default take [`View`]s: borrowed storage and a layout. **Fused methods** take tensors that are not on the
//! tape and have a default in [`composed`](crate::ops::composed), a few tensor operations; a new backend works once it has the
//! methods without a default, and an override is tested against the default. A default calls other families, so fused methods
//! have the bound `where Self: Backend`; an implementation need not repeat it.
//!
//! # Invariants
//!
//! * **Checked arguments.** Core has checked shapes, dtypes, devices and ranges before it calls. A backend declares its dtypes
//!   in [`Device::supports`]; for any other, core panics with the operation, the dtype and the backend.
//! * **Layouts.** Any layout may arrive: rank 0 to [`MAX_RANK`](crate::MAX_RANK), sizes 0 and 1, strides of 0, overlapping
//!   windows, any offset (the offset of an empty view may lie past the end). The operands of one element-wise call, copies, casts
//!   and writes included, have one shape, with dimensions merged as far as the strides allow. Results are contiguous and
//!   row-major in the shape that the method states.
//! * **Sizes.** No product of a [`Shape`](crate::Shape)'s sizes overflows, nor 8 bytes times it; the shape of a method's result
//!   has been checked. A view that core passes lies within its storage: [`Layout::end`] is at most the number of elements, so no
//!   sum of strides overflows either. No matrix product takes more than [`MAX_WORK`] multiply-adds, and nothing reduces or
//!   scatters more elements. The trait is safe to call with any view, so a backend that does not check each access (pointers,
//!   device code) checks the view once, where a method begins.
//! * **Aliasing.** A method writes only to what it takes by `&mut`, and nothing else reads or writes that storage during the
//!   call. No two indices of the layout that is written refer to the same element.
//! * **F16** is a storage format: an operation computes as for F32 and rounds each result once, to nearest. Methods without a
//!   default take it; of the fused methods only [`unary_grad`](UnaryOps::unary_grad) and
//!   [`optimizer_step`](OptimOps::optimizer_step) do, since core converts around the others and draws no random F16.
//! * **Errors.** `Result` is for recoverable errors: devices, memory, transfers. An error inside a method that returns no
//!   `Result` is queued unless one is queued already; from then on each [`synchronize`](Device::synchronize) and each
//!   [`download`](CopyOps::download) of the device, on every thread, returns that error, until
//!   [`take_error`](Device::take_error) returns and clears it. A [`QueuedError`] holds it. The results of the failed method, and
//!   what is computed from them, are unspecified.
//! * **Indices.** An access with an index outside its dimension is skipped: a read gives 0, a write does nothing. A method that
//!   has computed its result when it returns returns the first such index in row-major order, as [`OutOfRange`], and core
//!   panics at the user's line. A method that only enqueues a kernel passes [`Caller::id`] to it, and queues
//!   [`Caller::error_of`] the id that a kernel recorded.
//! * **Out of memory.** [`full`](CopyOps::full), [`upload`](CopyOps::upload) and [`download`](CopyOps::download) return the
//!   error. Of their callers in core, `try_full`, `try_from_slice`, `to`, `to_vec` and `item` return it; all others (`full`,
//!   `zeros`, `from_slice`, .. and the zeros, constants and index tables inside composed operations) panic with it. Any other
//!   method without memory for its result queues [`Error::OutOfMemory`] and returns a *missing* storage. A method with a missing
//!   operand returns a missing storage, and each download of one is an error, also after `take_error`. While a missing storage is held, the CUDA backend
//!   launches no kernel, and all results are missing, those of `full` and `upload` included. The CPU's kernels panic if there is
//!   no memory for their scratch buffers.
//! * **Order.** Operations take effect in the order of the calls of one thread; a result may be passed to another thread.
//! * **Random numbers** depend on the [`Draw`](crate::random::Draw) alone: the same bits on every backend.
//! * **NaN.** Maximum, minimum, relu, arg-reductions, comparisons and isnan state what they do with NaN; elsewhere it propagates
//!   as the device's arithmetic does.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::random::DeviceRng;
use std::fmt;

pub use crate::caller::Caller;
pub use crate::error::{OutOfRange, QueuedError};
pub use crate::ops::binary::{BinaryOp, BinaryOps};
pub use crate::ops::compare::{CompareOp, CompareOps};
pub use crate::ops::conv::{Conv2dGrad, ConvOps};
pub use crate::ops::copy::CopyOps;
pub use crate::ops::index::{AtIndex, AtIndexOf, IndexOps, ScatterOp};
pub use crate::ops::loss::LossOps;
pub use crate::ops::matmul::{Activation, LinearGrad, MatmulOps};
pub use crate::ops::norm::{NormOps, NormOptions};
pub use crate::ops::optim::{AdagradConfig, AdamConfig, OptimOps, RmsPropConfig, SgdConfig, StepRule, StepSlot};
pub use crate::ops::pool::PoolOps;
pub use crate::ops::random::{RandomOp, RandomOps};
pub use crate::ops::reduce::{ArgReduceOp, ReduceOp, ReduceOps};
pub use crate::ops::scan::ScanOps;
pub use crate::ops::softmax::SoftmaxOps;
pub use crate::ops::sort::SortOps;
pub use crate::ops::unary::{UnaryOp, UnaryOps};

/// Borrowed storage seen through a layout.
pub struct View<'a, S> {
    /// The whole buffer.
    pub storage: &'a S,
    /// Which elements, in which order.
    pub layout: &'a Layout,
    /// Their type.
    pub dtype: DType,
}

// Not derived, as that would require `S: Copy`.
impl<S> Clone for View<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for View<'_, S> {}

/// A [`View`] of a backend's storage.
pub type ViewOf<'a, B> = View<'a, <B as Device>::Storage>;

/// The most multiply-adds of one matrix product, and the most elements that one call reduces or scatters. Core panics above it:
/// only views that repeat elements can exceed it, and such a call would run for weeks.
pub const MAX_WORK: usize = 1 << 56;

/// Bytes that a device holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MemoryStats {
    /// Bytes held by tensors now.
    pub live: u64,
    /// Bytes held by tensors and by the device's cache of freed buffers.
    pub reserved: u64,
    /// The largest `live` since the start or since [`Device::reset_peak_memory`].
    pub peak: u64,
}

/// The device part of a [`Backend`]: a cheap handle, equal to the handles of the same device.
pub trait Device: Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// A buffer of elements of one dtype.
    type Storage: Send + Sync + 'static;

    /// Whether the device has tensors of this dtype.
    fn supports(&self, dtype: DType) -> bool;

    /// The device's random state. Core draws from it; a backend only stores it.
    fn rng(&self) -> &DeviceRng;

    /// Bytes in use.
    fn memory(&self) -> MemoryStats;

    /// Sets the peak of [`memory`](Device::memory) to the bytes that are live now.
    fn reset_peak_memory(&self);

    /// Waits for all work.
    ///
    /// # Errors
    /// The queued error, if there is one: the first that occurred in an operation since the last
    /// [`take_error`](Device::take_error), or, if the device failed, that it did. It stays queued.
    fn synchronize(&self) -> Result<()>;

    /// Waits for all work, then returns the queued error, if there is one, and clears it. Until then each read and each
    /// [`synchronize`](Device::synchronize) of the device, on every thread, returns it, so that no number computed from a failed
    /// operation is taken for a right one.
    ///
    /// Tensors that were computed by a failed operation, or from its results, hold unspecified elements. A device that is lost
    /// fails again at the next read.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::new();
    /// let x = Tensor::zeros([1, 1], &device).expand([1 << 25, 1 << 25]);
    /// let sum = (x + 1.0).sum(..); // no memory for 2^50 elements
    /// assert!(sum.item().is_err() && device.synchronize().is_err());
    /// assert!(matches!(device.take_error(), Some(Error::OutOfMemory { .. })));
    /// assert!(device.synchronize().is_ok());
    /// ```
    fn take_error(&self) -> Option<Error>;
}

/// A device and all families of operations on it; see the [module documentation](self). A type that implements all of
/// them implements this too.
pub trait Backend:
    Device
    + CopyOps
    + UnaryOps
    + BinaryOps
    + CompareOps
    + ReduceOps
    + MatmulOps
    + IndexOps
    + RandomOps
    + ConvOps
    + PoolOps
    + SoftmaxOps
    + NormOps
    + ScanOps
    + SortOps
    + LossOps
    + OptimOps
{
}

impl<T> Backend for T where
    T: Device
        + CopyOps
        + UnaryOps
        + BinaryOps
        + CompareOps
        + ReduceOps
        + MatmulOps
        + IndexOps
        + RandomOps
        + ConvOps
        + PoolOps
        + SoftmaxOps
        + NormOps
        + ScanOps
        + SortOps
        + LossOps
        + OptimOps
{
}
