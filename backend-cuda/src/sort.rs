//! Sorting along one dimension (`kernels/sort.cu`).

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::THREADS;
use crate::memory::Storage;
use crate::params::{TensorRef, Walk, params};
use minitorch_core::backend::{SortOps, View};
use minitorch_core::{DType, Layout};

params! {
    /// The parameters of the kernels of sort.cu.
    SortParams in "sort.cu" {
        rows: Walk,
        x: TensorRef,
        out: TensorRef,
        step: u64,
        out_step: u64,
        n: u64,
        k: u64,
        from: Address,
        to: Address,
        run: u64,
        tiles: u64,
        log_places: u32,
        log_rows: u32,
        across: u32,
        descending: u32,
    }
}

/// Elements that a block sorts in shared memory.
const TILE: usize = 2048;

impl SortOps for Cuda {
    fn argsort(&self, x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
        let order = argsort(self, x.view(), dim, descending, k);
        Tensor::from_storage(self, order, DType::I32, x.shape().with(dim, k))
    }
}

/// The first k indices of the sorted order along `dim`, as I32 of the view's shape with size k along `dim`. One launch for rows
/// of up to [`TILE`] elements, and one more per doubling of that length.
pub(crate) fn argsort(device: &Cuda, view: View<'_, Storage>, dim: usize, descending: bool, k: usize) -> Storage {
    let (dtype, n) = (view.dtype, view.layout.shape()[dim]);
    let sorted = view.layout.shape().with(dim, k);
    let out = device.alloc("argsort", DType::I32, sorted.numel());
    let out_layout = Layout::contiguous(sorted);
    // The layouts of the rows' first elements.
    let [x_rows, out_rows] = Layout::merge([view.layout.remove(dim), out_layout.remove(dim)]);
    let rows = x_rows.numel();
    if sorted.numel() == 0 {
        return out;
    }
    view.storage.check(dtype, view.layout);
    let step = view.layout.strides()[dim];
    let mut params = SortParams {
        rows: Walk::new(x_rows.shape()),
        x: view.storage.tensor_ref(dtype, &x_rows),
        out: out.tensor_ref(DType::I32, &out_rows),
        step: step as u64,
        out_step: out_layout.strides()[dim] as u64,
        n: n as u64,
        k: k as u64,
        from: 0,
        to: 0,
        run: 0,
        tiles: n.div_ceil(TILE) as u64,
        log_places: n.next_power_of_two().trailing_zeros(),
        log_rows: 0,
        across: x_rows.strides().last().is_some_and(|&stride| stride < step) as u32,
        descending: descending as u32,
    };
    let block = [THREADS, 1, 1];
    if n <= TILE {
        // As many rows per block as a tile holds, but at least one block per multiprocessor.
        let share = rows.div_ceil(device.0.multiprocessors()).next_power_of_two();
        let rows_per_block = share.min(TILE >> params.log_places);
        params.log_rows = rows_per_block.trailing_zeros();
        device.0.launch(name!("sort_rows_{}", suffix(dtype)), [rows.div_ceil(rows_per_block), 1, 1], block, &params);
        return out;
    }
    let bytes = if dtype == DType::F64 { 16 } else { 8 };
    let [mut from, mut to] = [(); 2].map(|_| device.alloc("argsort", DType::F64, rows * n * bytes / 8));
    let grid = [rows * params.tiles as usize, 1, 1];
    params.to = from.address();
    device.0.launch(name!("sort_tiles_{}", suffix(dtype)), grid, block, &params);
    let mut run = TILE;
    while run < n {
        (params.run, params.from, params.to) = (run as u64, from.address(), to.address());
        let kernel = if 2 * run < n { "merge" } else { "final_merge" };
        device.0.launch(name!("sort_{kernel}_{bytes}"), grid, block, &params);
        std::mem::swap(&mut from, &mut to);
        run *= 2;
    }
    out
}
