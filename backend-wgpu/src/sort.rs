//! Sorting: geometry and entries for `shaders/sort.wgsl`.

use crate::Tensor;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use crate::work::THREADS;
use minitorch_core::DType;

params! {
    /// What sort.wgsl takes.
    SortParams in "sort" {
        rows: u32,
        n: u32,
        inner: u32,
        k: u32,
        offset: u32,
        descending: u32,
        segment: u32,
        segments: u32,
        row_segments: u32,
        run: u32,
    }
}

/// Elements that fit into a workgroup's memory: CAPACITY in sort.wgsl.
const CAPACITY: usize = 2048;

/// Elements that a workgroup takes if rows are short: one pair for each invocation.
const SHORT: usize = 2 * THREADS;

/// The order along `dim`, its first k. Rows that fit into workgroup memory take one dispatch, others one more for each time
/// that sorted runs double.
pub(crate) fn argsort(x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
    let (device, shape) = (x.device(), *x.shape());
    let out_shape = shape.with(dim, k);
    let out = device.alloc("argsort", DType::F32, out_shape.numel());
    if out_shape.numel() == 0 {
        return Tensor::from_storage(device, out, DType::I32, out_shape);
    }
    let x = x.contiguous();
    let n = shape[dim];
    let rows = shape.numel() / n;
    let segment = n.next_power_of_two().min(CAPACITY);
    let segments = (SHORT / segment).max(1);
    let row_segments = n.div_ceil(segment);
    let mut params = SortParams {
        rows: rows as u32,
        n: n as u32,
        inner: shape[dim + 1..].iter().product::<usize>() as u32,
        k: k as u32,
        offset: x.view().layout.offset() as u32,
        descending: descending as u32,
        segment: segment as u32,
        segments: segments as u32,
        row_segments: row_segments as u32,
        run: 0,
    };
    let shader = |entry| Shader::new("sort", entry);
    let groups = device.walk_over((rows * row_segments).div_ceil(segments) * THREADS);
    let source = Bind::Read(x.view().storage);
    let float = x.dtype() == DType::F32;
    // Steps of the sort in workgroup memory, of some operations per element.
    let steps = (segment.ilog2() * (segment.ilog2() + 1) / 2) as u64;
    let operations = 16 * (rows * row_segments * segment) as u64 * steps;
    if n <= CAPACITY {
        let entry = if float { "sort_rows_f32" } else { "sort_rows_i32" };
        device.dispatch_heavy(shader(entry), groups, &params, &[Bind::Write(&out), source], operations);
        return Tensor::from_storage(device, out, DType::I32, out_shape);
    }
    // Keys and numbers, of two words.
    let [mut sorted, mut merged] = [(); 2].map(|_| device.alloc("argsort", DType::F32, 2 * rows * n));
    let entry = if float { "sort_runs_f32" } else { "sort_runs_i32" };
    device.dispatch_heavy(shader(entry), groups, &params, &[Bind::Write(&sorted), source], operations);
    let (groups, mut run) = (device.walk_over(rows * n), CAPACITY);
    while run < n {
        params.run = run as u32;
        run *= 2;
        let (entry, to) = if run < n { ("merge_runs", &merged) } else { ("merge_last", &out) };
        device.dispatch(shader(entry), groups, &params, &[Bind::Write(to), Bind::Read(&sorted)]);
        std::mem::swap(&mut sorted, &mut merged);
    }
    Tensor::from_storage(device, out, DType::I32, out_shape)
}
