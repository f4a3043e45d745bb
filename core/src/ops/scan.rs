//! Running sums along a dimension.

use crate::autodiff::{parents, record};
use crate::backend::{Backend, Device};
use crate::dtype::DType;
use crate::error::must;
use crate::index::wrap_dim;
use crate::tensor::Tensor;

/// Cumulative sums. See the [contract](crate::backend).
pub trait ScanOps: Device {
    /// The sums of the elements up to each along `dim`, or from each to the end. Floats and I32, which wraps.
    fn cumsum(&self, x: &Tensor<Self>, dim: usize, reverse: bool) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed_cumsum(x, dim, reverse)
    }
}

impl<B: Backend> Tensor<B> {
    /// `out[i] = x[0] + .. + x[i]` along `dim`. I32 wraps. PyTorch: `cumsum`.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device());
    /// assert_eq!(x.cumsum(-1).to_vec::<f32>()?, [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dimension is outside the rank, or the tensor is bool.
    #[track_caller]
    pub fn cumsum(&self, dim: isize) -> Self {
        if let Some(line) = self.as_line(dim) {
            return line.cumsum(dim).squeeze(0);
        }
        let d = must(wrap_dim("cumsum", dim, self.rank()));
        assert!(self.dtype() != DType::Bool, "cumsum: not defined for bool; cast the tensor first");
        cumsum(self, d, false)
    }
}

/// The sums from the start and those from the end are each other's gradient.
fn cumsum<B: Backend>(x: &Tensor<B>, dim: usize, reverse: bool) -> Tensor<B> {
    if x.is_half() {
        return cumsum(&x.widened(), dim, reverse).cast(DType::F16);
    }
    let out = x.device().cumsum(&x.detach(), dim, reverse);
    let Some(parents) = parents([x]) else { return out };
    record("cumsum", out, parents, move |g, _| [Some(cumsum(g, dim, !reverse))])
}

/// [`ScanOps::cumsum`] as tensor operations: sums of 2, 4, 8, .. neighbours, each from two of the step before. Hillis and
/// Steele, "Data parallel algorithms", 1986.
pub fn composed_cumsum<B: Backend>(x: &Tensor<B>, dim: usize, reverse: bool) -> Tensor<B> {
    let (d, n) = (dim as isize, x.shape()[dim]);
    let mut sums = x.contiguous();
    let mut reach = 1;
    while reach < n {
        let [first, rest] = if reverse { [n - reach, 0] } else { [0, reach] };
        let (whole, open) = (sums.narrow(d, first, reach), sums.narrow(d, rest, n - reach));
        let open = open + sums.narrow(d, reach - rest, n - reach);
        sums = Tensor::cat(&if reverse { [open, whole] } else { [whole, open] }, d);
        reach *= 2;
    }
    sums
}
