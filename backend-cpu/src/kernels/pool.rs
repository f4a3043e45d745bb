//! Two-dimensional pooling and its gradients, on planes: `planes` = images x channels, each `h x w`, contiguous.
//!
//! ```text
//! max   y[i][j] = max over (a, b) of x[i sy + a dy - py][j sx + b dx - px]   index[i][j] = where: row * w + column
//! avg   y[i][j] = sum over (a, b) of the same / count
//! ```
//! A maximum ignores padding; ties go to the first element, and the first NaN is the maximum, as in PyTorch. An average divides
//! by the number of window positions (`count_include_pad`) or of those within the image. Planes are independent
//! tasks; each is computed in order.
//!
//! Cost: `kh kw` comparisons or additions per output.

mod average;
mod max;

#[cfg(test)]
mod tests;

pub use average::{avg_pool2d, avg_pool2d_grad};
pub use max::{max_pool2d, max_pool2d_grad};

use super::PARALLEL_ELEMENTS;
use crate::launch::{self, Launch};

/// The sizes of a pooling. `oh` and `ow` are the output's; each window lies within the padded image and touches at least one real
/// element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    pub planes: usize,
    pub h: usize,
    pub w: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub oh: usize,
    pub ow: usize,
}

impl Pool2d {
    fn check<T, U>(&self, x: &[T], y: &[U]) {
        assert!(self.kernel.iter().chain(&self.stride).chain(&self.dilation).all(|&size| size > 0), "{self:?}");
        assert!(self.kernel.iter().zip(self.padding).all(|(kernel, padding)| padding <= kernel / 2), "{self:?}");
        assert_eq!(x.len(), self.planes * self.h * self.w, "input of {self:?}");
        assert_eq!(y.len(), self.planes * self.oh * self.ow, "output of {self:?}");
    }

    /// 2 x 2 windows with stride 2 and no padding, which need no bounds.
    fn is_halving(&self) -> bool {
        self.kernel == [2, 2] && self.stride == [2, 2] && self.padding == [0, 0] && self.dilation == [1, 1]
    }

    fn is_parallel(&self) -> bool {
        self.planes * (self.h * self.w).max(self.oh * self.ow) >= PARALLEL_ELEMENTS
    }

    /// The report of a kernel over all planes.
    fn launch<T>(&self, kernel: &str, path: &'static str) -> Launch {
        let chunks = if self.is_parallel() { self.planes.div_ceil(self.grain()) } else { 1 };
        launch::on::<T>(kernel, chunks).path(path)
    }

    /// Planes per task.
    fn grain(&self) -> usize {
        PARALLEL_ELEMENTS / 4 / (self.h * self.w).max(1) + 1
    }

    /// The windows along one axis, computed once for all planes: the divisions cost more than the sum of a window.
    fn spans(&self, axis: usize) -> Vec<Span> {
        let (size, outputs) = ([self.h, self.w][axis], [self.oh, self.ow][axis]);
        let (kernel, dilation, padding) = (self.kernel[axis], self.dilation[axis], self.padding[axis]);
        let span = |index: usize| {
            let first = index * self.stride[axis];
            // Taps before the image, and before its end.
            let outside = padding.saturating_sub(first).div_ceil(dilation);
            let before_end = (size + padding).saturating_sub(first).div_ceil(dilation).min(kernel);
            let at = (first + outside * dilation).saturating_sub(padding);
            Span { first: at, step: dilation, inside: before_end.saturating_sub(outside) }
        };
        (0..outputs).map(span).collect()
    }
}

/// One window along one axis.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The first element within the image.
    first: usize,
    /// The distance to the next.
    step: usize,
    /// Elements within the image.
    inside: usize,
}

impl Span {
    /// The coordinates of the elements within the image.
    #[inline(always)]
    fn coordinates(self) -> impl Iterator<Item = usize> {
        (0..self.inside).map(move |tap| self.first + tap * self.step)
    }
}
