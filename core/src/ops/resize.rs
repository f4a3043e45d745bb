//! Resizing of images: interpolation and adaptive pooling.
//!
//! ```text
//! nearest     y[i] = x[floor(i h / oh)]
//! bilinear    y[i] = (1 - s) x[p] + s x[p + 1],  p + s = (i + 1/2) h / oh - 1/2, or i (h - 1) / (oh - 1) with aligned corners
//! adaptive    y[i] = mean or max of x[floor(i h / oh) .. ceil((i + 1) h / oh)]
//! ```
//!
//! All maps are separable, so they work on one dimension at a time. The host computes the table of input rows with integers,
//! exactly; the pixels stay on the device.

use crate::backend::Backend;
use crate::create::on_host;
use crate::index::PerDim;
use crate::ops::pool::Pool2dOptions;
use crate::shape::Shape;
use crate::tensor::Tensor;

impl<B: Backend> Tensor<B> {
    /// `[n, c, h, w]` in another size, each pixel a copy of the nearest input pixel: row `floor(i h / oh)`, columns likewise; any
    /// dtype. Rows are computed with integers; in float32 PyTorch may select one row lower where `i h / oh` is whole. PyTorch:
    /// `interpolate(mode="nearest")`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[[[1, 2]]]], &device);
    /// assert_eq!(x.interpolate_nearest([1, 4]).to_vec::<i32>()?, [1, 1, 2, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the rank is not 4, or a size of the image, before or after, is 0.
    #[track_caller]
    pub fn interpolate_nearest(&self, size: impl PerDim<2>) -> Self {
        let out = size.per_dim();
        let [h, w] = self.check_resize("interpolate_nearest", out);
        let times = [out[0] / h, out[1] / w];
        if [h * times[0], w * times[1]] == out && times[0] > 1 && times[1] > 1 {
            let [n, c] = [self.shape()[0], self.shape()[1]]; // both dimensions in one copy
            let cells = self.reshape([n, c, h, 1, w, 1]).expand([n, c, h, times[0], w, times[1]]);
            return cells.reshape([n, c, out[0], out[1]]);
        }
        (2..4).zip(out).fold(self.clone(), |x, (d, size)| x.nearest(d, size))
    }

    #[track_caller]
    fn nearest(&self, d: isize, size: usize) -> Self {
        let from = self.shape()[d as usize];
        if from == size {
            self.clone()
        } else if size.is_multiple_of(from) {
            self.repeat_interleave(size / from, d)
        } else if from.is_multiple_of(size) {
            self.unfold(d, 1, from / size).squeeze(-1) // every n-th entry, a view
        } else {
            self.select_computed("interpolate_nearest", d as usize, (0..size).map(|i| i * from / size), size)
        }
    }

    /// `[n, c, h, w]` in another size, each pixel interpolated between the four pixels around its source position. That of row i
    /// is `(i + 1/2) h / oh - 1/2`, at least 0, or with `align_corners` `i (h - 1) / (oh - 1)`, so that the corner pixels stay in
    /// place; columns likewise. Where the position is that of a row exactly, the next row has no influence, even if it holds
    /// infinity or NaN. PyTorch: `interpolate(mode="bilinear")`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[[[0.0, 4.0]]]], &device);
    /// assert_eq!(x.interpolate_bilinear([1, 4], false).to_vec::<f32>()?, [0.0, 1.0, 3.0, 4.0]);
    /// assert_eq!(x.interpolate_bilinear([1, 3], true).to_vec::<f32>()?, [0.0, 2.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the rank is not 4, the dtype is not a float, or a size of the image, before or after, is 0.
    #[track_caller]
    pub fn interpolate_bilinear(&self, size: impl PerDim<2>, align_corners: bool) -> Self {
        let out = size.per_dim();
        self.check_resize("interpolate_bilinear", out);
        assert!(self.dtype().is_float(), "interpolate_bilinear: wants a float dtype, not {}", self.dtype());
        // The dimension that shrinks more goes first, which leaves less work for the other.
        let grows = |d: usize| out[d - 2] as f64 / self.shape()[d] as f64;
        let order = if grows(2) <= grows(3) { [2, 3] } else { [3, 2] };
        order.into_iter().fold(self.clone(), |x, d| x.linear_along(d, out[d - 2], align_corners))
    }

    #[track_caller]
    fn linear_along(&self, d: usize, size: usize, align_corners: bool) -> Self {
        const OP: &str = "interpolate_bilinear";
        let from = self.shape()[d];
        if from == size {
            return self.clone(); // every source position is the row itself
        }
        // Source positions as fractions, so that quotient and remainder are exact.
        let source = |i: usize| match align_corners {
            true if size == 1 => (0, 1),
            true => (i * (from - 1), size - 1),
            false => (((2 * i + 1) * from).saturating_sub(size), 2 * size),
        };
        let at = |i: usize| source(i).0 / source(i).1;
        let share = |i: usize| (source(i).0 % source(i).1) as f64 / source(i).1 as f64;
        let low = self.select_computed(OP, d, (0..size).map(at), size);
        let high = self.select_computed(OP, d, (0..size).map(|i| (at(i) + 1).min(from - 1)), size);
        let shares = on_host(OP, (0..size).map(share), size);
        let share = Tensor::from_f64(shares.iter().copied(), size, (self.device(), self.dtype()));
        let share = if d == 2 { share.unsqueeze(1) } else { share };
        let mixed = &low * (1.0 - &share) + high * &share;
        // 0 times infinity is NaN: a row with share 0 is copied.
        if shares.contains(&0.0) { Tensor::where_cond(&share.eq(0.0), &low, &mixed) } else { mixed }
    }

    /// The mean over a region for each pixel of `[n, c, oh, ow]`: rows `floor(i h / oh)..ceil((i + 1) h / oh)`, columns likewise.
    /// Regions overlap where the sizes do not divide. PyTorch: `adaptive_avg_pool2d`.
    ///
    /// # Panics
    /// If the rank is not 4, the dtype is not a float, or a size of the image, before or after, is 0.
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, size: impl PerDim<2>) -> Self {
        self.adaptive_avg("adaptive_avg_pool2d", size.per_dim())
    }

    #[track_caller]
    fn adaptive_avg(&self, op: &str, out: [usize; 2]) -> Self {
        let from = self.check_adaptive(op, out);
        if let Some(windows) = adjacent_windows(from, out) {
            return self.avg_pool(op, windows);
        }
        (2..4).zip(out).fold(self.clone(), |x, (d, size)| x.region_means(d, size))
    }

    /// [`adaptive_avg_pool2d`](Self::adaptive_avg_pool2d) over one dimension, `[n, c, t]`. PyTorch: `adaptive_avg_pool1d`.
    ///
    /// # Panics
    /// If the rank is not 3, the dtype is not a float, or `t` or `size` is 0.
    #[track_caller]
    pub fn adaptive_avg_pool1d(&self, size: impl PerDim<1>) -> Self {
        assert!(self.rank() == 3, "adaptive_avg_pool1d: wants a tensor of rank 3, not {:?}", self.shape());
        let [size] = size.per_dim();
        self.unsqueeze(2).adaptive_avg("adaptive_avg_pool1d", [1, size]).squeeze(2)
    }

    /// The largest element of a region for each pixel of `[n, c, oh, ow]`, NaN if it has one; regions as of
    /// [`adaptive_avg_pool2d`](Self::adaptive_avg_pool2d). On ties the first gets the gradient. PyTorch:
    /// `adaptive_max_pool2d`.
    ///
    /// # Panics
    /// If the rank is not 4, the dtype is not a float, or a size of the image, before or after, is 0.
    #[track_caller]
    pub fn adaptive_max_pool2d(&self, size: impl PerDim<2>) -> Self {
        self.adaptive_max("adaptive_max_pool2d", size.per_dim())
    }

    #[track_caller]
    fn adaptive_max(&self, op: &str, out: [usize; 2]) -> Self {
        let from = self.check_adaptive(op, out);
        if let Some(windows) = adjacent_windows(from, out) {
            return self.max_pool(op, windows).0;
        }
        // Columns first, so that on ties the first row is selected, and in it the first column.
        [(3, out[1]), (2, out[0])].into_iter().fold(self.clone(), |x, (d, size)| x.region_maxima(d, size))
    }

    /// [`adaptive_max_pool2d`](Self::adaptive_max_pool2d) over one dimension, `[n, c, t]`. PyTorch: `adaptive_max_pool1d`.
    ///
    /// # Panics
    /// If the rank is not 3, the dtype is not a float, or `t` or `size` is 0.
    #[track_caller]
    pub fn adaptive_max_pool1d(&self, size: impl PerDim<1>) -> Self {
        assert!(self.rank() == 3, "adaptive_max_pool1d: wants a tensor of rank 3, not {:?}", self.shape());
        let [size] = size.per_dim();
        self.unsqueeze(2).adaptive_max("adaptive_max_pool1d", [1, size]).squeeze(2)
    }

    #[track_caller]
    fn region_means(&self, d: usize, size: usize) -> Self {
        const OP: &str = "adaptive_avg_pool2d";
        let regions = Regions::new(OP, self.shape(), d, size);
        let cells = self.in_regions(OP, d, &regions);
        if regions.lens.iter().all(|&len| len as usize == regions.longest) {
            return cells.mean(d as isize + 1);
        }
        // Selected, not multiplied by 0, which would make NaN of an infinity outside the region.
        let lens = Tensor::from_slice(&regions.lens, [size, 1], self.device());
        let inside = lens.gt(Tensor::arange(0..regions.longest as i32, self.device()));
        let lens = lens.cast(self.dtype());
        let (inside, lens) = match d {
            2 => (inside.unsqueeze(-1), lens),
            _ => (inside, lens.squeeze(-1)),
        };
        Tensor::where_cond(&inside, &cells, &self.scalar_like(0.0)).sum(d as isize + 1) / lens
    }

    #[track_caller]
    fn region_maxima(&self, d: usize, size: usize) -> Self {
        const OP: &str = "adaptive_max_pool2d";
        let regions = Regions::new(OP, self.shape(), d, size);
        let within = self.detach().in_regions(OP, d, &regions).argmax(d as isize + 1);
        let starts = Tensor::from_slice(&regions.starts, [size], self.device());
        let at = within + if d == 2 { starts.unsqueeze(-1) } else { starts };
        self.gather(d as isize, &at)
    }

    /// Splits dimension `d` into regions and the entries of each. Short regions repeat their last entry, which cannot become the
    /// first maximum.
    #[track_caller]
    fn in_regions(&self, op: &str, d: usize, regions: &Regions) -> Self {
        let entries = regions
            .starts
            .iter()
            .zip(&regions.lens)
            .flat_map(|(&start, &len)| (0..regions.longest as i32).map(move |j| (start + j.min(len - 1)) as usize));
        let count = regions.starts.len();
        let cells = self.select_computed(op, d, entries, count * regions.longest);
        cells.reshape(self.shape().with(d, count).insert(d + 1, regions.longest))
    }

    #[track_caller]
    fn check_resize(&self, op: &str, out: [usize; 2]) -> [usize; 2] {
        assert!(self.rank() == 4, "{op}: wants a tensor of rank 4, not {:?}", self.shape());
        let from = [self.shape()[2], self.shape()[3]];
        assert!(!from.contains(&0) && !out.contains(&0), "{op}: an image of size 0: {:?} to {out:?}", self.shape());
        // Products of two sizes, and twice those, then fit a usize.
        assert!(
            from.iter().chain(&out).all(|&size| size <= i32::MAX as usize),
            "{op}: {:?} to {out:?}: an image is larger than an I32 index reaches",
            self.shape()
        );
        let [n, c] = [self.shape()[0], self.shape()[1]];
        assert!(
            Shape::try_new(&[n, c, out[0], out[1]]).is_some(),
            "{op}: {:?} to {out:?} has too many elements",
            self.shape()
        );
        from
    }

    #[track_caller]
    fn check_adaptive(&self, op: &str, out: [usize; 2]) -> [usize; 2] {
        assert!(self.dtype().is_float(), "{op}: wants a float dtype, not {}", self.dtype());
        self.check_resize(op, out)
    }
}

/// The pooling windows that equal the regions, if all regions have one size and do not overlap.
fn adjacent_windows(from: [usize; 2], out: [usize; 2]) -> Option<Pool2dOptions> {
    let divides = (0..2).all(|d| from[d].is_multiple_of(out[d]));
    divides.then(|| Pool2dOptions::new([from[0] / out[0], from[1] / out[1]]))
}

/// The input regions of the outputs along an adaptively pooled dimension.
struct Regions {
    starts: Vec<i32>,
    lens: Vec<i32>,
    longest: usize,
}

impl Regions {
    /// The regions of `size` outputs along dimension `d`.
    #[track_caller]
    fn new(op: &str, shape: &Shape, d: usize, size: usize) -> Self {
        let from = shape[d];
        let (start, end) = (|i: usize| i * from / size, |i: usize| ((i + 1) * from).div_ceil(size));
        let lens = on_host(op, (0..size).map(|i| (end(i) - start(i)) as i32), size);
        let starts = on_host(op, (0..size).map(|i| start(i) as i32), size);
        Regions { starts, longest: lens.iter().copied().max().unwrap_or(1) as usize, lens }
    }
}
