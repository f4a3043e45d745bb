//! Running sums along one dimension: geometry and names for `kernels/scan.cu`. One launch; two where a few long rows or columns
//! are cut into pieces.

use crate::Tensor;
use crate::device::{COUNTERS, THREADS, name, suffix};
use crate::driver::Address;
use crate::params::{Operand, params};
use minitorch_core::DType;

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

/// Elements of a row that a warp walks over.
const SHORT: usize = 1024;
const WARP: usize = 32;
/// Elements that a piece has at least, of a row and of a column.
const ROW_PIECE: usize = 4096;
const COLUMN_PIECE: usize = 64;

pub(crate) fn cumsum(x: &Tensor, dim: usize, reverse: bool) -> Tensor {
    let (device, dtype, shape) = (x.device(), x.dtype(), *x.shape());
    let out = device.alloc("cumsum", dtype, shape.numel());
    if shape.numel() == 0 {
        return Tensor::from_storage(device, out, dtype, shape);
    }
    // What has gaps is copied first.
    let x = x.contiguous();
    let at = Operand::of(x.view().storage, dtype, x.layout());
    let (outer, n): (usize, usize) = (shape[..dim].iter().product(), shape[dim]);
    let inner: usize = shape[dim + 1..].iter().product();
    // A block has a row of its own, or 256 columns.
    let (kind, blocks, piece, fill) = match inner {
        1 if n <= SHORT => ("rows", (outer * WARP).div_ceil(THREADS), n, 1),
        1 => ("long", outer, ROW_PIECE, 2),
        _ => ("columns", (outer * inner).div_ceil(THREADS), COLUMN_PIECE, 8),
    };
    let wanted = if blocks <= COUNTERS { (fill * device.0.multiprocessors()).div_ceil(blocks) } else { 1 };
    let chunk = n.div_ceil((n / piece).clamp(1, wanted)).next_multiple_of(4);
    let pieces = n.div_ceil(chunk);
    let before = device.alloc("cumsum", DType::F64, if pieces > 1 { outer * inner * pieces } else { 0 });
    let params = ScanParams {
        x: at.data,
        out: out.address(),
        before: before.address(),
        counters: device.0.counters(),
        outer: outer as u64,
        n: n as u64,
        inner: inner as u64,
        chunk: chunk as u64,
        reverse: reverse as u32,
        packed: (n.is_multiple_of(4) && at.order == 2) as u32,
    };
    let grid = [blocks, pieces, 1];
    if pieces > 1 {
        device.0.launch(name!("scan_sums_{}", suffix(dtype)), grid, [THREADS, 1, 1], 0, &params);
    }
    device.0.launch(name!("scan_{kind}_{}", suffix(dtype)), grid, [THREADS, 1, 1], 0, &params);
    Tensor::from_storage(device, out, dtype, shape)
}
