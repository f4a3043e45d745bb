//! Cumulative sums along one dimension (`kernels/scan.cu`): one launch, or two where a few long rows or columns are split into
//! chunks.

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::{THREADS, WARP};
use crate::memory::tensor_ref;
use crate::params::{PACKED, params};
use crate::state::COUNTERS;
use minitorch_core::DType;
use minitorch_core::backend::ScanOps;

params! {
    ScanParams in "scan.cu" {
        x: Address,
        out: Address,
        before: Address,
        counters: Address,
        outer: u64,
        n: u64,
        inner: u64,
        chunk: u64,
        reverse: u32,
        packed: u32,
    }
}

/// The longest row that is given to a warp.
const WARP_ROW: usize = 1024;
/// The minimum length of a chunk of a row and of a column.
const ROW_CHUNK: usize = 4096;
const COLUMN_CHUNK: usize = 64;

impl ScanOps for Cuda {
    fn cumsum(&self, x: &Tensor, dim: usize, reverse: bool) -> Tensor {
        let (dtype, shape) = (x.dtype(), *x.shape());
        let out = self.alloc("cumsum", dtype, shape.numel());
        if shape.numel() == 0 {
            return Tensor::from_storage(self, out, dtype, shape);
        }
        let x = x.contiguous();
        let x_ref = tensor_ref(&x);
        let (outer, n): (usize, usize) = (shape[..dim].iter().product(), shape[dim]);
        let inner: usize = shape[dim + 1..].iter().product();
        let (kind, blocks, min_chunk, per_multiprocessor) = match inner {
            1 if n <= WARP_ROW => ("rows", (outer * WARP).div_ceil(THREADS), n, 1),
            1 => ("long", outer, ROW_CHUNK, 2),
            _ => ("columns", (outer * inner).div_ceil(THREADS), COLUMN_CHUNK, 8),
        };
        let wanted =
            if blocks <= COUNTERS { (per_multiprocessor * self.0.multiprocessors()).div_ceil(blocks) } else { 1 };
        let chunk = n.div_ceil((n / min_chunk).clamp(1, wanted)).next_multiple_of(4);
        let chunks = n.div_ceil(chunk);
        let before = self.alloc("cumsum", DType::F64, if chunks > 1 { outer * inner * chunks } else { 0 });
        let params = ScanParams {
            x: x_ref.data,
            out: out.address(),
            before: before.address(),
            counters: self.0.counters(),
            outer: outer as u64,
            n: n as u64,
            inner: inner as u64,
            chunk: chunk as u64,
            reverse: reverse as u32,
            packed: (n.is_multiple_of(4) && x_ref.order == PACKED) as u32,
        };
        let grid = [blocks, chunks, 1];
        if chunks > 1 {
            self.0.launch(name!("scan_sums_{}", suffix(dtype)), grid, [THREADS, 1, 1], &params);
        }
        self.0.launch(name!("scan_{kind}_{}", suffix(dtype)), grid, [THREADS, 1, 1], &params);
        Tensor::from_storage(self, out, dtype, shape)
    }
}
