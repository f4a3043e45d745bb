//! The contract between tensors and a backend. This file is longer than most because a trait cannot be split over files.
//!
//! A backend's value *is* a device: a cheap handle that a tensor keeps. The trait has two floors:
//!
//! * **Families** are required (two in-place twins excepted). They speak [`View`]: borrowed storage seen through a
//!   layout. One enum, one signature and one law each.
//! * **Fused methods** speak [`Tensor`], off the tape both ways. Each has a default of a few lines in [`composed`], so a
//!   new backend works after the families, and an override is tested against its default.
//!
//! # Laws
//!
//! * **Checked arguments.** Core has checked shapes, dtypes, devices and ranges before it calls. What a backend does not
//!   support it refuses in [`Backend::supports`]; core then panics with the operation, the dtype and the backend.
//! * **Layouts.** Any layout may arrive: rank 0 to [`MAX_RANK`](crate::MAX_RANK), sizes 0 and 1, strides of 0, overlapping
//!   windows, any offset (an empty view's may lie past the end). Operands of one element-wise call (copies, casts
//!   and writes too) have one shape, merged to the smallest rank. Results are whole
//!   and row-major in the order of the shape that the method states.
//! * **Sizes.** A [`Shape`](crate::Shape) promises that no product of its sizes overflows, nor 8 bytes times it; a method's result
//!   has a shape, which core has checked. What core passes lies within its storage: [`Layout::end`] is at most the number of
//!   elements, so that no sum of strides overflows. No product takes more than [`MOST_WORK`] multiply-adds, and nothing reduces
//!   or scatters more elements. A backend that reads or writes without a check of each access (by pointers, or on a device) makes
//!   sure of it once at the entry of a method, for the trait is safe to call with any view.
//! * **Aliasing.** A method writes only to what it takes by `&mut`, and nothing else can see that storage during the call.
//!   The layout written through shows no element twice.
//! * **F16** is a way to store: an operation computes as for F32 and rounds each result once, to nearest. Families take it;
//!   of what follows them only [`unary_grad`](Backend::unary_grad) and [`optimizer_step`](Backend::optimizer_step) do, as
//!   core converts around the others and draws no random F16.
//! * **Errors.** `Result` is for what correct programs meet: devices, memory, transfers. A failure inside any other
//!   method is kept by the device and comes back, once, from the next [`synchronize`](Backend::synchronize) or
//!   [`download`](Backend::download). An index outside its dimension skips the access (the element read is 0, the element
//!   written stays) and is kept likewise, as [`Error::IndexOutOfRange`].
//! * **Order.** Operations take effect in the order of the calls of one thread; a result may be handed to another thread.
//! * **Randomness** depends on the [`Draw`] alone: the same bits on every backend.
//! * **NaN** matters by definition in maximum, minimum, relu, arg-reduce, compare and isnan; elsewhere it propagates
//!   where the device's arithmetic does.

use crate::dtype::{DType, HostData, HostSlice};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::ops::composed;
use crate::ops::conv::Conv2dOptions;
use crate::ops::norm::NormOptions;
use crate::ops::pool::Pool2dOptions;
use crate::random::{DeviceRng, Draw};
use crate::tensor::Tensor;
use std::fmt;

pub use crate::ops::binary::BinaryOp;
pub use crate::ops::compare::CompareOp;
pub use crate::ops::conv::Conv2dGrad;
pub use crate::ops::index::ScatterOp;
pub use crate::ops::matmul::{Activation, LinearGrad};
pub use crate::ops::optim::{AdagradConfig, AdamConfig, RmsPropConfig, SgdConfig, StepRule, StepSlot};
pub use crate::ops::random::RandomOp;
pub use crate::ops::reduce::{ArgReduceOp, ReduceOp};
pub use crate::ops::unary::UnaryOp;

/// Borrowed storage seen through a layout.
pub struct View<'a, S> {
    /// All of the buffer.
    pub storage: &'a S,
    /// Which elements, in which order.
    pub layout: &'a Layout,
    /// Their type.
    pub dtype: DType,
}

// By hand: derive would ask for `S: Copy`.
impl<S> Clone for View<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for View<'_, S> {}

/// A [`View`] of a backend's storage.
pub type ViewOf<'a, B> = View<'a, <B as Backend>::Storage>;

/// The most multiply-adds of a product, and elements of a reduction or of what is scattered: weeks of work for a processor. Only
/// views that repeat elements have more, and what they ask for would never end.
pub const MOST_WORK: usize = 1 << 56;

/// Bytes that a device holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MemoryStats {
    /// Bytes held by tensors now.
    pub live: u64,
    /// Bytes held by tensors and by the device's cache of freed buffers.
    pub reserved: u64,
    /// The largest `live` since the start or since [`Backend::reset_peak_memory`].
    pub peak: u64,
}

/// A device, and how to compute on it. See the [module documentation](self) for the laws.
pub trait Backend: Clone + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// A buffer of elements of one dtype.
    type Storage: Send + Sync + 'static;

    // ---- the device ----

    /// Whether tensors of this dtype can live here.
    fn supports(&self, dtype: DType) -> bool;

    /// The device's random state. Core draws from it; a backend only keeps it.
    fn rng(&self) -> &DeviceRng;

    /// Bytes in use.
    fn memory(&self) -> MemoryStats;

    /// Sets the peak of [`memory`](Backend::memory) to what is live now.
    fn reset_peak_memory(&self);

    /// Waits for all work, then reports the first failure since the last report.
    fn synchronize(&self) -> Result<()>;

    /// Keeps a failure for the next report, as it keeps its own: printing a tensor gives back what it met.
    fn keep(&self, failure: Error);

    // ---- making and moving data ----

    /// A buffer of `len` elements, all `value` (converted as by [`cast`](Backend::cast)).
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Self::Storage>;

    /// A buffer with the host's data.
    fn upload(&self, data: HostSlice<'_>) -> Result<Self::Storage>;

    /// The view's elements, in the order of its shape; reports failures as [`synchronize`](Backend::synchronize) does.
    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData>;

    /// The view's elements in a buffer of their own.
    fn copy(&self, x: ViewOf<'_, Self>) -> Self::Storage;

    /// Writes `x` into the part of `to` that `at` shows; one dtype, one shape.
    fn write(&self, to: &mut Self::Storage, at: &Layout, x: ViewOf<'_, Self>);

    /// Sets the part of `to` that `at` shows to `value`.
    fn fill(&self, to: &mut Self::Storage, at: &Layout, dtype: DType, value: f64);

    /// Converts. Float to float rounds to nearest; float to integer truncates towards zero and saturates, NaN becomes 0;
    /// to bool is "not equal to 0" (NaN is true); bool becomes 0 or 1.
    fn cast(&self, x: ViewOf<'_, Self>, to: DType) -> Self::Storage;

    // ---- element by element ----

    /// `op(x)`, of x's dtype.
    fn unary(&self, op: UnaryOp, x: ViewOf<'_, Self>) -> Self::Storage;

    /// `op(a, b)`, of their dtype.
    fn binary(&self, op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Self::Storage;

    /// `op(a, b)` as bool.
    fn compare(&self, op: CompareOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Self::Storage;

    /// `op(a, b)` as bool, against a number: converted to a's dtype if that is a float, else compared exactly.
    fn compare_scalar(&self, op: CompareOp, a: ViewOf<'_, Self>, b: f64) -> Self::Storage;

    /// `condition ? a : b`; the condition is bool, a and b have one dtype.
    fn where_cond(&self, condition: ViewOf<'_, Self>, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Self::Storage;

    /// `x = op(x)` in place; `x` is whole and row-major of the layout's shape.
    fn unary_mut(&self, op: UnaryOp, x: &mut Self::Storage, layout: &Layout, dtype: DType) {
        *x = self.unary(op, View { storage: x, layout, dtype });
    }

    /// `a = op(a, b)` in place; `a` is whole and row-major of the layout's shape, `b` has that shape.
    fn binary_mut(&self, op: BinaryOp, a: &mut Self::Storage, layout: &Layout, b: ViewOf<'_, Self>) {
        *a = self.binary(op, View { storage: a, layout, dtype: b.dtype }, b);
    }

    // ---- over dimensions ----

    /// Reduces over `dims` (sorted, no repeats, maybe none), keeping them as size 1. Over nothing: 0 for a sum, 1 for a
    /// product, NaN for a mean; core refuses the maximum and minimum of nothing.
    fn reduce(&self, op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Self::Storage;

    /// The index (I32) of the first extreme element along `dim`, keeping it as size 1; the first NaN wins over all.
    fn arg_reduce(&self, op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Self::Storage;

    /// `[.., m, k] x [.., k, n] -> [.., m, n]`; equal rank of at least 2, batch dimensions equal (stride 0 where they
    /// broadcast).
    fn matmul(&self, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Self::Storage;

    /// `out[i.., k, j..] = x[i.., index[i.., k, j..], j..]` with k at `dim`; the result has the index's shape, which
    /// equals x's but for `dim`.
    fn gather(&self, x: ViewOf<'_, Self>, dim: usize, index: ViewOf<'_, Self>) -> Self::Storage;

    /// Adds or sets `to[i.., index[i.., k, j..], j..]` by `x[i.., k, j..]`, see [`ScatterOp`]; `to` is whole and row-major of
    /// the layout's shape; x and the index have one shape, which equals `to`'s but for `dim`.
    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Self::Storage,
        layout: &Layout,
        dim: usize,
        index: ViewOf<'_, Self>,
        x: ViewOf<'_, Self>,
    );

    /// `len` random elements of one draw; element i takes word `i % 4` of Philox block `i / 4`.
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Self::Storage;

    // ---- fused: off the tape both ways, each with a default ----

    /// The gradient of `op`, given its output's: `g * op'`. `saved` is the input or the output, as
    /// [`UnaryOp::saves`] says.
    fn unary_grad(&self, op: UnaryOp, saved: &Tensor<Self>, g: &Tensor<Self>) -> Tensor<Self> {
        composed::unary_grad(op, saved, g)
    }

    /// `f(x wᵀ + b)`: x `[.., k]`, w `[n, k]`, b `[n]`; without an activation f, `x wᵀ + b`.
    fn linear(
        &self,
        x: &Tensor<Self>,
        w: &Tensor<Self>,
        bias: Option<&Tensor<Self>>,
        activation: Option<Activation>,
    ) -> Tensor<Self> {
        composed::linear(x, w, bias, activation)
    }

    /// The gradients of [`linear`](Backend::linear) in x, w and b, those that are wanted.
    fn linear_grad(&self, g: &LinearGrad<'_, Self>) -> [Option<Tensor<Self>>; 3] {
        composed::linear_grad(g)
    }

    /// Cross-correlation, and an activation if there is one: x `[n, ci, h, w]`, w `[co, ci / groups, kh, kw]`, b `[co]` ->
    /// `[n, co, oh, ow]`. Here and in the gradient in w padding is multiplied like other zeros: by NaN or infinity it gives NaN.
    fn conv2d(
        &self,
        x: &Tensor<Self>,
        w: &Tensor<Self>,
        bias: Option<&Tensor<Self>>,
        options: &Conv2dOptions,
        activation: Option<Activation>,
    ) -> Tensor<Self> {
        composed::conv2d(x, w, bias, options, activation)
    }

    /// The gradients of [`conv2d`](Backend::conv2d) in x, w and b, those that are wanted.
    fn conv2d_grad(&self, g: &Conv2dGrad<'_, Self>) -> [Option<Tensor<Self>>; 3] {
        composed::conv2d_grad(g)
    }

    /// The gradient of [`conv2d`](Backend::conv2d) in x, whose height and width are `size`. Of a w with NaN or infinity it may be
    /// NaN also where no window reads.
    fn conv2d_grad_input(
        &self,
        g: &Tensor<Self>,
        w: &Tensor<Self>,
        size: [usize; 2],
        options: &Conv2dOptions,
    ) -> Tensor<Self> {
        composed::conv2d_grad_input(g, w, size, options)
    }

    /// The gradient of [`conv2d`](Backend::conv2d) in w, whose height and width are `kernel`.
    fn conv2d_grad_weight(
        &self,
        x: &Tensor<Self>,
        g: &Tensor<Self>,
        kernel: [usize; 2],
        options: &Conv2dOptions,
    ) -> Tensor<Self> {
        composed::conv2d_grad_weight(x, g, kernel, options)
    }

    /// The maximum of each window, `[n, c, oh, ow]`, and where it lies (I32, flat in the h x w plane; the first on ties).
    fn max_pool2d(&self, x: &Tensor<Self>, options: &Pool2dOptions) -> (Tensor<Self>, Tensor<Self>) {
        composed::max_pool2d(x, options)
    }

    /// The gradient of [`max_pool2d`](Backend::max_pool2d): g summed at its indices, in planes of `size`.
    fn max_pool2d_grad(
        &self,
        g: &Tensor<Self>,
        indices: &Tensor<Self>,
        size: [usize; 2],
        options: &Pool2dOptions,
    ) -> Tensor<Self> {
        let _ = options;
        composed::max_pool2d_grad(g, indices, size)
    }

    /// The mean of each window, `[n, c, oh, ow]`.
    fn avg_pool2d(&self, x: &Tensor<Self>, options: &Pool2dOptions) -> Tensor<Self> {
        composed::avg_pool2d(x, options)
    }

    /// The gradient of [`avg_pool2d`](Backend::avg_pool2d), in planes of `size`.
    fn avg_pool2d_grad(&self, g: &Tensor<Self>, size: [usize; 2], options: &Pool2dOptions) -> Tensor<Self> {
        composed::avg_pool2d_grad(g, size, options)
    }

    /// `exp(x) / sum(exp(x))` along `dim`, safe from overflow.
    fn softmax(&self, x: &Tensor<Self>, dim: usize) -> Tensor<Self> {
        composed::softmax(x, dim)
    }

    /// The gradient of [`softmax`](Backend::softmax) from its output y: `y (g - sum(g y))`.
    fn softmax_grad(&self, y: &Tensor<Self>, g: &Tensor<Self>, dim: usize) -> Tensor<Self> {
        composed::softmax_grad(y, g, dim)
    }

    /// `(x - max) - log(sum(exp(x - max)))` along `dim`. The logarithm is `log1p` of the sum without one largest element, whose
    /// exponential is 1: it keeps its digits where the others are small.
    fn log_softmax(&self, x: &Tensor<Self>, dim: usize) -> Tensor<Self> {
        composed::log_softmax(x, dim)
    }

    /// The gradient of [`log_softmax`](Backend::log_softmax) from its output y: `g - exp(y) sum(g)`.
    fn log_softmax_grad(&self, y: &Tensor<Self>, g: &Tensor<Self>, dim: usize) -> Tensor<Self> {
        composed::log_softmax_grad(y, g, dim)
    }

    /// `(x - mean) / sqrt(var + eps)`, times w plus b, with mean and (biased) variance over `options.dims`. Returns y and the
    /// statistics, `[m, 4]` for the m means in the order of the other dimensions:
    ///
    /// * the mean as a sum of two numbers, the mean in the dtype and what its rounding left: around a mean far from 0 its last digit
    ///   may be as large as the differences from it;
    /// * the variance, and `1 / sqrt(var + eps)`, which is right where the variance is too large or too small for the dtype.
    ///
    /// w and b have x's rank, with x's sizes or 1; no b without a w. Core asks for `[n, c, size]` over 0 and 2 with w `[1, c, 1]`
    /// (batch norm), `[rows, d]` over 1 with w `[1, d]` (layer norm) and `[n, g, c / g, size]` over 2 and 3 with w
    /// `[1, g, c / g, 1]` (group norm).
    fn normalize(
        &self,
        x: &Tensor<Self>,
        w: Option<&Tensor<Self>>,
        b: Option<&Tensor<Self>>,
        options: &NormOptions,
    ) -> [Tensor<Self>; 2] {
        composed::normalize(x, w, b, options)
    }

    /// [`normalize`](Backend::normalize)'s y by these statistics, whose variance is not read. Core asks for `[n, c, size]` over 0
    /// and 2 with w `[1, c, 1]` (batch norm in evaluation).
    fn normalize_by(
        &self,
        x: &Tensor<Self>,
        w: Option<&Tensor<Self>>,
        b: Option<&Tensor<Self>>,
        statistics: &Tensor<Self>,
        options: &NormOptions,
    ) -> Tensor<Self> {
        composed::normalize_by(x, w, b, statistics, options)
    }

    /// The gradients of [`normalize`](Backend::normalize)'s y in x and, if there is a w, in w and b; `statistics` are those that it
    /// returned.
    fn normalize_grad(
        &self,
        g: &Tensor<Self>,
        x: &Tensor<Self>,
        w: Option<&Tensor<Self>>,
        statistics: &Tensor<Self>,
        options: &NormOptions,
    ) -> (Tensor<Self>, Option<[Tensor<Self>; 2]>) {
        composed::normalize_grad(g, x, w, statistics, options)
    }

    /// The running mean and variance (`[c]` each) of batch norm, moved towards the batch's by `momentum`:
    /// `old (1 - momentum) + batch momentum`. The batch's are columns 0 and 2 of [`normalize`](Backend::normalize)'s statistics
    /// `[c, 4]`, the variance times `unbiased`.
    fn running_statistics(
        &self,
        running: [&Tensor<Self>; 2],
        statistics: &Tensor<Self>,
        momentum: f64,
        unbiased: f64,
    ) -> [Tensor<Self>; 2] {
        composed::running_statistics(running, statistics, momentum, unbiased)
    }

    /// The sums of the elements up to each along `dim`, or from each to the end. Floats and I32, which wraps.
    fn cumsum(&self, x: &Tensor<Self>, dim: usize, reverse: bool) -> Tensor<Self> {
        composed::cumsum(x, dim, reverse)
    }

    /// The indices (I32) of the first k elements along `dim` in ascending or descending order; equal ones keep theirs, NaN
    /// is above all numbers. Floats and I32.
    fn argsort(&self, x: &Tensor<Self>, dim: usize, descending: bool, k: usize) -> Tensor<Self> {
        composed::argsort(x, dim, descending, k)
    }

    /// The mean over n rows of `log1p(rest) + (max - logits[target])`, and the statistics `[n, 2]` that the gradient needs:
    /// each row's maximum and its rest, the sum of `exp(logits - max)` over all classes but one of the largest. (A
    /// logsumexp would round the maximum and the logarithm into one number.) The rest of a row with an infinite maximum is NaN.
    /// Logits `[n, c]`, target `[n]` of I32. A target outside `0..c` is an index error, and its row counts as 0.
    fn cross_entropy(&self, logits: &Tensor<Self>, target: &Tensor<Self>) -> (Tensor<Self>, Tensor<Self>) {
        composed::cross_entropy(logits, target)
    }

    /// The gradient of [`cross_entropy`](Backend::cross_entropy): `(softmax(logits) - onehot(target)) g / n`, and 0 in the
    /// row of a target outside `0..c`. Softmax is `exp(logits - max) / (1 + rest)`, and less 1 at the maximum
    /// `-rest / (1 + rest)`.
    fn cross_entropy_grad(
        &self,
        g: &Tensor<Self>,
        logits: &Tensor<Self>,
        target: &Tensor<Self>,
        statistics: &Tensor<Self>,
    ) -> Tensor<Self> {
        composed::cross_entropy_grad(g, logits, target, statistics)
    }

    /// `x / (1 - p)` where the draw's 32 bits are at least `p 2^32`, else 0; the same call on a gradient is its gradient.
    fn dropout(&self, x: &Tensor<Self>, p: f64, draw: Draw) -> Tensor<Self> {
        composed::dropout(x, p, draw)
    }

    /// One step of an optimizer over many parameters, at least one, by the formula at the rule's config. `scalars` is
    /// `[lr, t]` of F64 if the parameters are, else of F32: t counts finished steps, and the call leaves it one larger.
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Self>], scalars: &mut Self::Storage) {
        composed::optimizer_step(self, rule, slots, scalars)
    }
}
