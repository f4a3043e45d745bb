//! Two-dimensional pooling and its gradients, on planes: `planes` = images x channels, each `h x w`, contiguous.
//!
//! ```text
//! max   y[i][j] = max over (a, b) of x[i sy + a dy - py][j sx + b dx - px]      index[i][j] = where, as row * w + column
//! avg   y[i][j] = sum over (a, b) of the same / count
//! ```
//! Only real elements take part in a maximum; the first of equals wins, and NaN wins over everything (the first NaN, as in
//! PyTorch). An average divides by the number of window positions within the padded image (`count_include_pad`) or
//! within the image. Planes are independent tasks; inside one, everything runs in order.
//!
//! Cost: one read of x and one write of y per window, `kh kw` comparisons per output.

mod average;
mod max;

#[cfg(test)]
mod tests;

pub use average::{avg_pool2d, avg_pool2d_grad};
pub use max::{max_pool2d, max_pool2d_grad};

use std::ops::Range;

use super::PARALLEL_ELEMENTS;

/// The sizes of a pooling. `oh` and `ow` are the output's; each window touches at least one real element.
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
        assert_eq!(x.len(), self.planes * self.h * self.w, "input of {self:?}");
        assert_eq!(y.len(), self.planes * self.oh * self.ow, "output of {self:?}");
    }

    /// Windows of 2 x 2 side by side: the common case, which needs no bounds.
    fn is_halving(&self) -> bool {
        let fits = 2 * self.oh <= self.h && 2 * self.ow <= self.w;
        self.kernel == [2, 2] && self.stride == [2, 2] && self.padding == [0, 0] && self.dilation == [1, 1] && fits
    }

    fn is_parallel(&self) -> bool {
        self.planes * (self.h * self.w).max(self.oh * self.ow) >= PARALLEL_ELEMENTS
    }

    /// Planes that are worth a task.
    fn grain(&self) -> usize {
        PARALLEL_ELEMENTS / 4 / (self.h * self.w).max(1) + 1
    }

    /// The coordinates along one axis that window `index` covers within the image.
    fn window(&self, axis: usize, index: usize) -> impl Iterator<Item = usize> + Clone {
        let size = [self.h, self.w][axis];
        let (first, padding) = (index * self.stride[axis], self.padding[axis]);
        let dilation = self.dilation[axis];
        let inside: Range<usize> = padding.saturating_sub(first).div_ceil(dilation)
            ..(size + padding).saturating_sub(first).div_ceil(dilation).min(self.kernel[axis]);
        inside.map(move |tap| first + tap * dilation - padding)
    }
}
