//! Max and average pooling in one and two dimensions.
//!
//! ```text
//! max   y = max of the window, at = its position        gx = sum of g over the windows whose maximum is at x
//! avg   y = sum of the window / count                   gx = sum of g / count over the windows that contain x
//! ```

use crate::backend::{Backend, Device};
use crate::dtype::DType;
use crate::index::PerDim;
use crate::layout::output_size;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::tensor::fused::{Save, fused_with, linear_map, present};

/// How a pooling window moves over N spatial dimensions. `2` or `[2, 1]` mean adjacent windows.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::PoolOptions;
///
/// let options = PoolOptions::<2>::new(3).stride(2).padding(1);
/// assert_eq!(options.output_size([7, 8]), Some([4, 4]));
/// ```
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolOptions<const N: usize> {
    /// The window's sizes.
    pub kernel: [usize; N],
    /// Steps between neighbouring windows; at least 1.
    pub stride: [usize; N],
    /// Elements added on both sides of each dimension: never the maximum, and zeros in a mean. At most half the kernel.
    pub padding: [usize; N],
    /// Distance between neighbouring elements of a window; at least 1. Max pooling only.
    pub dilation: [usize; N],
    /// Whether a mean divides by the whole window, padding included. Average pooling only.
    pub count_include_pad: bool,
}

/// [`PoolOptions`] of `max_pool1d` and `avg_pool1d`.
pub type Pool1dOptions = PoolOptions<1>;
/// [`PoolOptions`] of `max_pool2d` and `avg_pool2d`.
pub type Pool2dOptions = PoolOptions<2>;

impl<const N: usize> PoolOptions<N> {
    /// Adjacent windows: the stride is the kernel.
    pub fn new(kernel: impl PerDim<N>) -> Self {
        let kernel = kernel.per_dim();
        PoolOptions { kernel, stride: kernel, padding: [0; N], dilation: [1; N], count_include_pad: true }
    }

    /// Sets the stride.
    pub fn stride(self, stride: impl PerDim<N>) -> Self {
        PoolOptions { stride: stride.per_dim(), ..self }
    }

    /// Sets the padding.
    pub fn padding(self, padding: impl PerDim<N>) -> Self {
        PoolOptions { padding: padding.per_dim(), ..self }
    }

    /// Sets the dilation.
    pub fn dilation(self, dilation: impl PerDim<N>) -> Self {
        PoolOptions { dilation: dilation.per_dim(), ..self }
    }

    /// Sets whether a mean counts the padding; it does by default.
    pub fn count_include_pad(self, count_include_pad: bool) -> Self {
        PoolOptions { count_include_pad, ..self }
    }

    /// `(size + 2 padding - dilation (kernel - 1) - 1) / stride + 1`; `None` when the window does not fit, is empty, or the
    /// stride is 0.
    pub fn output_size(&self, size: [usize; N]) -> Option<[usize; N]> {
        output_size(size, self.kernel, self.stride, self.padding, self.dilation)
    }

    #[track_caller]
    fn check(&self, op: &str, size: [usize; N]) {
        assert!(self.stride.iter().chain(&self.dilation).all(|&s| s > 0), "{op}: stride and dilation must not be 0");
        assert!(
            self.kernel.iter().zip(&self.padding).all(|(&k, &p)| p <= k / 2),
            "{op}: the padding {:?} is more than half the kernel {:?}",
            self.padding,
            self.kernel
        );
        assert!(
            self.output_size(size).is_some() && size.iter().all(|&s| s > 0),
            "{op}: a window {:?} (dilation {:?}) does not fit an input {size:?} padded by {:?}",
            self.kernel,
            self.dilation,
            self.padding
        );
        // A dilated window that starts in the padding may step over a small input. Its first tap beyond the padding must be in
        // the input, which is so wherever the dilation is at most the input's size.
        for d in (0..N).filter(|&d| self.dilation[d] > size[d]) {
            for before in (1..=self.padding[d]).filter(|p| (self.padding[d] - p).is_multiple_of(self.stride[d])) {
                let tap = before.div_ceil(self.dilation[d]);
                assert!(
                    tap < self.kernel[d] && tap * self.dilation[d] - before < size[d],
                    "{op}: a window {:?} (dilation {:?}) lies wholly in the padding {:?} of an input {size:?}",
                    self.kernel,
                    self.dilation,
                    self.padding
                );
            }
        }
    }

    /// [`output_size`](Self::output_size) for a window that was checked to fit.
    pub fn output(&self, size: [usize; N]) -> [usize; N] {
        match self.output_size(size) {
            Some(out) => out,
            None => unreachable!("pooling: the window was checked to fit"),
        }
    }
}

impl Pool1dOptions {
    /// The same over `[.., 1, t]`.
    fn flat(self) -> Pool2dOptions {
        PoolOptions {
            kernel: [1, self.kernel[0]],
            stride: [1, self.stride[0]],
            padding: [0, self.padding[0]],
            dilation: [1, self.dilation[0]],
            count_include_pad: self.count_include_pad,
        }
    }
}

impl<const N: usize> From<usize> for PoolOptions<N> {
    fn from(kernel: usize) -> Self {
        PoolOptions::new(kernel)
    }
}

impl<const N: usize> From<[usize; N]> for PoolOptions<N> {
    fn from(kernel: [usize; N]) -> Self {
        PoolOptions::new(kernel)
    }
}

/// Pooling and its gradients. See the [contract](crate::backend).
pub trait PoolOps: Device {
    /// The maximum of each window, `[n, c, oh, ow]`, and its position (I32, flat in the h x w plane; on ties the first).
    fn max_pool2d(&self, x: &Tensor<Self>, options: &Pool2dOptions) -> (Tensor<Self>, Tensor<Self>)
    where
        Self: Backend,
    {
        composed::max_pool2d(x, options)
    }

    /// The gradient of [`max_pool2d`](PoolOps::max_pool2d): g summed at its indices, in planes of `size`.
    fn max_pool2d_grad(
        &self,
        g: &Tensor<Self>,
        indices: &Tensor<Self>,
        size: [usize; 2],
        options: &Pool2dOptions,
    ) -> Tensor<Self>
    where
        Self: Backend,
    {
        let _ = options;
        composed::max_pool2d_grad(g, indices, size)
    }

    /// The mean of each window, `[n, c, oh, ow]`.
    fn avg_pool2d(&self, x: &Tensor<Self>, options: &Pool2dOptions) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::avg_pool2d(x, options)
    }

    /// The gradient of [`avg_pool2d`](PoolOps::avg_pool2d), in planes of `size`.
    fn avg_pool2d_grad(&self, g: &Tensor<Self>, size: [usize; 2], options: &Pool2dOptions) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::avg_pool2d_grad(g, size, options)
    }
}

impl<B: Backend> Tensor<B> {
    /// The largest element of each window of `[n, c, h, w]`; NaN if the window has one. On ties the first gets the
    /// gradient. `x.max_pool2d(2)`, `x.max_pool2d(PoolOptions::new(3).stride(2).padding(1))`. PyTorch: `max_pool2d`.
    ///
    /// # Panics
    /// If the rank is not 4, the dtype is not a float, or the window does not fit.
    #[track_caller]
    pub fn max_pool2d(&self, options: impl Into<Pool2dOptions>) -> Self {
        self.max_pool("max_pool2d", options.into()).0
    }

    /// [`max_pool2d`](Self::max_pool2d), and the position of each maximum: I32, flat in the h x w plane. PyTorch:
    /// `max_pool2d(return_indices=True)`.
    ///
    /// # Panics
    /// As [`max_pool2d`](Self::max_pool2d).
    #[track_caller]
    pub fn max_pool2d_with_indices(&self, options: impl Into<Pool2dOptions>) -> (Self, Self) {
        self.max_pool("max_pool2d_with_indices", options.into())
    }

    #[track_caller]
    pub(crate) fn max_pool(&self, op: &str, options: Pool2dOptions) -> (Self, Self) {
        let size = self.check_pool(op, &options);
        let forward = |inputs: [Option<&Self>; 1]| {
            let [x] = present(inputs);
            x.device().max_pool2d(x, &options)
        };
        fused_with("max_pool2d", [Some(self)], Save::NOTHING, forward, move |of| {
            [Some(if of.recording {
                composed::max_pool2d_grad(of.g, of.extra, size)
            } else {
                of.g.device().max_pool2d_grad(of.g, of.extra, size, &options)
            })]
        })
    }

    /// [`max_pool2d`](Self::max_pool2d) over one dimension, `[n, c, t]`. PyTorch: `max_pool1d`.
    ///
    /// # Panics
    /// If the rank is not 3, the dtype is not a float, or the window does not fit.
    #[track_caller]
    pub fn max_pool1d(&self, options: impl Into<Pool1dOptions>) -> Self {
        assert!(self.rank() == 3, "max_pool1d: wants a tensor of rank 3, not {:?}", self.shape());
        self.unsqueeze(2).max_pool("max_pool1d", options.into().flat()).0.squeeze(2)
    }

    /// The mean of each window of `[n, c, h, w]`. PyTorch: `avg_pool2d`.
    ///
    /// # Panics
    /// If the rank is not 4, the dtype is not a float, the window does not fit or has a dilation.
    #[track_caller]
    pub fn avg_pool2d(&self, options: impl Into<Pool2dOptions>) -> Self {
        self.avg_pool("avg_pool2d", options.into())
    }

    #[track_caller]
    pub(crate) fn avg_pool(&self, op: &str, options: Pool2dOptions) -> Self {
        self.check_pool(op, &options);
        assert!(options.dilation == [1, 1], "{op}: a mean has no dilation, {:?} was given", options.dilation);
        avg_pool2d(self, options)
    }

    /// [`avg_pool2d`](Self::avg_pool2d) over one dimension, `[n, c, t]`. PyTorch: `avg_pool1d`.
    ///
    /// # Panics
    /// If the rank is not 3, the dtype is not a float, the window does not fit or has a dilation.
    #[track_caller]
    pub fn avg_pool1d(&self, options: impl Into<Pool1dOptions>) -> Self {
        assert!(self.rank() == 3, "avg_pool1d: wants a tensor of rank 3, not {:?}", self.shape());
        self.unsqueeze(2).avg_pool("avg_pool1d", options.into().flat()).squeeze(2)
    }

    #[track_caller]
    fn check_pool(&self, op: &str, options: &Pool2dOptions) -> [usize; 2] {
        assert!(self.rank() == 4, "{op}: wants a tensor of rank 4, not {:?}", self.shape());
        assert!(self.dtype().is_float(), "{op}: wants a float dtype, not {}", self.dtype());
        let size = [self.shape()[2], self.shape()[3]];
        options.check(op, size);
        let [oh, ow] = options.output(size);
        assert!(
            Shape::try_new(&[self.shape()[0], self.shape()[1], oh, ow]).is_some(),
            "{op}: {:?} under a window {:?} has too many results",
            self.shape(),
            options.kernel
        );
        size
    }
}

/// Average pooling and its gradient are each other's derivative.
fn avg_pool2d<B: Backend>(x: &Tensor<B>, options: Pool2dOptions) -> Tensor<B> {
    let size = [x.shape()[2], x.shape()[3]];
    let forward = |x: &Tensor<B>| x.device().avg_pool2d(x, &options);
    linear_map("avg_pool2d", x, forward, move |g| avg_pool2d_grad(g, size, options))
}

fn avg_pool2d_grad<B: Backend>(g: &Tensor<B>, size: [usize; 2], options: Pool2dOptions) -> Tensor<B> {
    let forward = |g: &Tensor<B>| g.device().avg_pool2d_grad(g, size, &options);
    linear_map("avg_pool2d_grad", g, forward, move |gx| avg_pool2d(gx, options))
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// `[n, c, oh, ow, kh * kw]` of the padded input.
    fn windows<B: Backend>(x: &Tensor<B>, o: &Pool2dOptions, pad_with: f64) -> Tensor<B> {
        let [n, c, h, w] = x.dims();
        let [oh, ow] = o.output([h, w]);
        let padded = x.pad2d(o.padding, pad_with);
        padded.windows([oh, ow], o.kernel, o.stride, o.dilation).reshape([n, c, oh, ow, o.kernel[0] * o.kernel[1]])
    }

    /// [`PoolOps::max_pool2d`] as tensor operations.
    pub fn max_pool2d<B: Backend>(x: &Tensor<B>, o: &Pool2dOptions) -> (Tensor<B>, Tensor<B>) {
        let [_, _, h, w] = x.dims();
        let windows_of_x = windows(x, o, f64::NEG_INFINITY);
        // In a window of nothing but -inf the padding equals the maximum. The plane's positions, padded with -1, tell which cells
        // are real.
        let plane = Tensor::arange(0..(h * w) as i32, x.device()).reshape([1, 1, h, w]);
        let cells = windows(&plane, o, -1.0);
        let real = cells.ge(0.0).expand(*windows_of_x.shape());
        let best = windows_of_x.max_keepdim(-1);
        // The first real cell that holds the maximum (or a NaN).
        let is_best = windows_of_x.eq(&best).logical_or(&windows_of_x.isnan()).logical_and(&real);
        let at = is_best.cast(DType::I32).argmax(-1).unsqueeze(4);
        let indices = cells.expand(*windows_of_x.shape()).gather(4, &at).squeeze(4);
        (best.squeeze(4), indices)
    }

    /// [`PoolOps::max_pool2d_grad`] as tensor operations; differentiable.
    pub fn max_pool2d_grad<B: Backend>(g: &Tensor<B>, indices: &Tensor<B>, size: [usize; 2]) -> Tensor<B> {
        let [n, c, oh, ow] = g.dims();
        let planes = g.zeros_of([n, c, size[0] * size[1]].into());
        let flat = [n, c, oh * ow];
        planes.scatter_add(2, &indices.reshape(flat), &g.reshape(flat)).reshape([n, c, size[0], size[1]])
    }

    /// Elements that each window's mean divides by, `[1, 1, oh, ow]`.
    fn counts<B: Backend>(like: &Tensor<B>, size: [usize; 2], o: &Pool2dOptions) -> Tensor<B> {
        let ones = like.zeros_of([1, 1, size[0], size[1]].into()) + 1.0;
        windows(&ones, o, if o.count_include_pad { 1.0 } else { 0.0 }).sum(-1)
    }

    /// [`PoolOps::avg_pool2d`] as tensor operations.
    pub fn avg_pool2d<B: Backend>(x: &Tensor<B>, o: &Pool2dOptions) -> Tensor<B> {
        let [_, _, h, w] = x.dims();
        windows(x, o, 0.0).sum(-1) / counts(x, [h, w], o)
    }

    /// [`PoolOps::avg_pool2d_grad`] as tensor operations.
    pub fn avg_pool2d_grad<B: Backend>(g: &Tensor<B>, size: [usize; 2], o: &Pool2dOptions) -> Tensor<B> {
        let [n, c, oh, ow] = g.dims();
        let shares = g / counts(g, size, o);
        // Separable: a sum of kw terms along the rows, then one of kh terms down the columns.
        let ([kh, kw], [h, w], [sh, sw], [ph, pw]) = (o.kernel, size, o.stride, o.padding);
        let along =
            shares.reshape([n, c, 1, 1, oh, ow]).expand([n, c, 1, kw, oh, ow]).fold([oh, w], [1, sw], [0, pw], [1, 1]);
        along.reshape([n, c, 1, 1, oh, w]).expand([n, c, kh, 1, oh, w]).fold([h, w], [sh, 1], [ph, 0], [1, 1])
    }
}
