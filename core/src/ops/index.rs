//! Reading and adding at indices held by another tensor.

use crate::autodiff::{parents, record};
use crate::backend::Backend;
use crate::dtype::DType;
use crate::error::must;
use crate::index::wrap_dim;
use crate::layout::Layout;
use crate::tensor::Tensor;

impl<B: Backend> Tensor<B> {
    /// `out[i.., k, j..] = self[i.., index[i.., k, j..], j..]`, k at `dim`. The index (I32) has this tensor's shape but for
    /// `dim`. An index out of range reads 0 and is an error at the next read; negative ones are out of range.
    /// PyTorch: `gather`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not fit.
    #[track_caller]
    pub fn gather(&self, dim: isize, index: &Self) -> Self {
        let d = self.check_index("gather", dim, index);
        let storage = self.device().gather(self.view(), d, index.view());
        let out = Tensor::from_storage(self.device(), storage, self.dtype(), *index.shape());
        let Some(parents) = parents([self]) else { return out };
        let (shape, index) = (*self.shape(), index.detach());
        record(out, parents, move |g, _| [Some(scatter_add(g.zeros_of(shape), d, &index, g))])
    }

    /// This tensor with `x` added at an index: `out[i.., index[i.., k, j..], j..] += x[i.., k, j..]`, k at `dim`. The index
    /// (I32) and x have one shape, this tensor's but for `dim`. An index out of range is skipped and is an error at the
    /// next read. PyTorch: `scatter_add`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not fit.
    #[track_caller]
    pub fn scatter_add(&self, dim: isize, index: &Self, x: &Self) -> Self {
        let d = self.check_index("scatter_add", dim, index);
        self.check_same("scatter_add", x);
        assert!(
            index.shape() == x.shape(),
            "scatter_add: the index is {:?}, what is added {:?}",
            index.shape(),
            x.shape()
        );
        assert!(self.dtype() != DType::Bool, "scatter_add: bool cannot be added; cast the tensors first");
        scatter_add(self.clone(), d, index, x)
    }

    /// Entries of one dimension in the order of a vector of indices (I32), repeats welcome. An index out of range gives
    /// zeros and is an error at the next read. PyTorch: `index_select`; of rows, `embedding`.
    ///
    /// # Panics
    /// If the index is not a vector of I32 or the dimension is outside the rank.
    #[track_caller]
    pub fn index_select(&self, dim: isize, index: &Self) -> Self {
        assert!(index.rank() == 1, "index_select: wants a vector of indices, not {:?}", index.shape());
        let d = must(wrap_dim("index_select", dim, self.rank()));
        let shape = self.shape().with(d, index.numel());
        let mut column = crate::Shape::new(&[1; crate::MAX_RANK][..self.rank()]);
        column = column.with(d, index.numel());
        self.gather(dim, &index.reshape(column).expand(shape))
    }

    #[track_caller]
    fn check_index(&self, op: &str, dim: isize, index: &Self) -> usize {
        let d = must(wrap_dim(op, dim, self.rank()));
        assert!(index.dtype() == DType::I32, "{op}: wants I32 indices, not {}", index.dtype());
        self.check_device(op, index);
        assert!(
            index.rank() == self.rank() && index.shape().with(d, self.shape()[d]) == *self.shape(),
            "{op}: the tensor {:?} and the index {:?} differ in more than dimension {d}",
            self.shape(),
            index.shape()
        );
        d
    }
}

/// The checked addition; `base` is overwritten if nobody else holds it.
fn scatter_add<B: Backend>(base: Tensor<B>, d: usize, index: &Tensor<B>, x: &Tensor<B>) -> Tensor<B> {
    let parents = parents([&base, x]);
    let mut out = base.detach();
    drop(base);
    let layout = Layout::contiguous(*out.shape());
    let (device, storage) = out.storage_mut();
    device.scatter_add(storage, &layout, d, index.view(), x.view());
    let Some(parents) = parents else { return out };
    let index = index.detach();
    record(out, parents, move |g, wants| [wants[0].then(|| g.clone()), wants[1].then(|| g.gather(d as isize, &index))])
}
