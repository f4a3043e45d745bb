//! The step of a table of which few rows have a gradient: those rows of the value and of its states are read out, take the step as
//! tensors of their own, and are written back. A row that was read more than once is there as often, each time with the same
//! numbers.

use crate::module::Param;
use minitorch_core::backend::ScatterOp;
use minitorch_core::{Backend, Layout, Tensor, no_grad};

/// The rows that take part in a step.
pub(super) struct Rows<B: Backend> {
    /// Which, `[n]`.
    index: Tensor<B>,
    /// `[n, ..]`
    pub(super) param: Tensor<B>,
    /// `[n, ..]` each
    pub(super) state: Vec<Tensor<B>>,
}

impl<B: Backend> Rows<B> {
    pub(super) fn read(index: &Tensor<B>, param: &Tensor<B>, state: &[Tensor<B>]) -> Self {
        let rows = |whole: &Tensor<B>| no_grad(|| whole.index_select(0, index));
        Rows { index: index.clone(), param: rows(param), state: state.iter().map(rows).collect() }
    }

    pub(super) fn write(self, param: &mut Param<B>, state: &mut [Tensor<B>]) {
        let shape = *param.shape();
        let column = (1..shape.len()).fold(self.index, |index, at| index.unsqueeze(at as isize));
        let place = column.expand(*self.param.shape());
        let set = |device: &B, whole: &mut B::Storage, rows: &Tensor<B>| {
            device.scatter(ScatterOp::Set, whole, &Layout::contiguous(shape), 0, place.view(), rows.view());
        };
        let (device, storage) = param.storage_mut();
        set(&device, storage, &self.param);
        for (whole, rows) in state.iter_mut().zip(&self.state) {
            set(&device, whole.storage_mut().1, rows);
        }
    }
}
