//! The step of a parameter with a row-sparse gradient: gather the rows of the value and of the states, step them as a
//! tensor of their own, scatter them back.
//!
//! A row that the batch has read several times occurs as often in the gathered tensors. All its copies have the same
//! values and the same total gradient, so it does not matter which one the scatter writes last.

use crate::module::Param;
use minitorch_core::backend::{AtIndex, Caller, ScatterOp};
use minitorch_core::{Backend, Layout, Tensor, no_grad};

/// The gathered rows.
pub(super) struct Rows<B: Backend> {
    /// Their indices, `[n]`.
    index: Tensor<B>,
    /// `[n, ..]`
    pub(super) param: Tensor<B>,
    /// `[n, ..]` each
    pub(super) state: Vec<Tensor<B>>,
}

impl<B: Backend> Rows<B> {
    pub(super) fn read(index: &Tensor<B>, param: &Tensor<B>, state: &[Tensor<B>]) -> Self {
        let rows = |table: &Tensor<B>| no_grad(|| table.index_select(0, index));
        Rows { index: index.clone(), param: rows(param), state: state.iter().map(rows).collect() }
    }

    pub(super) fn write(self, param: &mut Param<B>, state: &mut [Tensor<B>]) {
        let shape = *param.shape();
        let column = (1..shape.len()).fold(self.index, |index, at| index.unsqueeze(at as isize));
        let index = column.expand(*self.param.shape());
        let at = AtIndex { dim: 0, index: index.view(), caller: Caller::of("step") };
        let set = |device: &B, table: &mut B::Storage, rows: &Tensor<B>| {
            let written = device.scatter(ScatterOp::Set, table, &Layout::contiguous(shape), at, rows.view());
            assert!(written.is_ok(), "step: a row was read and cannot be written: {written:?}");
        };
        let (device, storage) = param.storage_mut();
        set(&device, storage, &self.param);
        for (table, rows) in state.iter_mut().zip(&self.state) {
            set(&device, table.storage_mut().1, rows);
        }
    }
}
