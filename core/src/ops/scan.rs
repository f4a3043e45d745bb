//! Cumulative sums along a dimension.
//!
//! ```text
//! y[i] = x[0] + .. + x[i]        gx[i] = g[i] + .. + g[n - 1]
//! ```

use crate::backend::{Backend, Device};
use crate::dtype::DType;
use crate::error::must;
use crate::index::{Int, wrap_dim};
use crate::tensor::Tensor;
use crate::tensor::fused::linear_map;

/// Cumulative sums. See the [contract](crate::backend).
pub trait ScanOps: Device {
    /// The sums of the elements up to each along `dim`, or from each to the end. Floats and I32, which wraps.
    fn cumsum(&self, x: &Tensor<Self>, dim: usize, reverse: bool) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::cumsum(x, dim, reverse)
    }
}

impl<B: Backend> Tensor<B> {
    /// `out[i] = x[0] + .. + x[i]` along `dim`. I32 wraps. PyTorch: `cumsum`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
    /// assert_eq!(x.cumsum(-1).to_vec::<f32>()?, [1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dimension is out of range, or the tensor is bool.
    #[track_caller]
    pub fn cumsum(&self, dim: impl Int) -> Self {
        if let Some(vector) = self.as_vector(dim) {
            return vector.cumsum(dim).squeeze(0);
        }
        let d = must(wrap_dim("cumsum", dim, self.rank()));
        assert!(self.dtype() != DType::Bool, "cumsum: not defined for bool; cast the tensor first");
        cumsum(self, d, false)
    }
}

/// The sums from the start and those from the end are each other's gradient.
fn cumsum<B: Backend>(x: &Tensor<B>, dim: usize, reverse: bool) -> Tensor<B> {
    linear_map("cumsum", x, |x| x.device().cumsum(x, dim, reverse), move |g| cumsum(g, dim, !reverse))
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`ScanOps::cumsum`] as tensor operations: sums of 2, 4, 8, .. neighbours, each from two of the previous step. Hillis and
    /// Steele, "Data parallel algorithms", 1986.
    pub fn cumsum<B: Backend>(x: &Tensor<B>, dim: usize, reverse: bool) -> Tensor<B> {
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
}
