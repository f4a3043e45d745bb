//! Sorting (`shaders/sort.wgsl`): rows that fit workgroup memory in one dispatch; longer ones as sorted runs, which are merged in
//! pairs, one dispatch for each doubling.

use crate::Tensor;
use crate::device::Wgpu;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use crate::work::THREADS;
use minitorch_core::DType;
use minitorch_core::backend::SortOps;

params! {
    /// Mirrors `SortParams` in sort.wgsl.
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

/// Elements that fit workgroup memory: CAPACITY in sort.wgsl.
const CAPACITY: usize = 2048;

/// Elements that a workgroup sorts if rows are short: a pair for each invocation.
const PAIRS: usize = 2 * THREADS;

impl SortOps for Wgpu {
    fn argsort(&self, x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
        let shape = *x.shape();
        let out_shape = shape.with(dim, k);
        let out = self.alloc("argsort", DType::F32, out_shape.numel());
        if out_shape.numel() == 0 {
            return Tensor::from_storage(self, out, DType::I32, out_shape);
        }
        let x = x.contiguous();
        let n = shape[dim];
        let rows = shape.numel() / n;
        let segment = n.next_power_of_two().min(CAPACITY);
        let segments = (PAIRS / segment).max(1);
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
        let shader = |entry| Shader::new("sort", entry).op((x.dtype() != DType::F32) as u32);
        let groups = self.grid_over((rows * row_segments).div_ceil(segments) * THREADS);
        let source = Bind::Read(x.view().storage);
        // Steps of the bitonic sort, with some operations per element in each.
        let steps = (segment.ilog2() * (segment.ilog2() + 1) / 2) as u64;
        let operations = 16 * (rows * row_segments * segment) as u64 * steps;
        if n <= CAPACITY {
            self.dispatch_heavy(shader("sort_rows"), groups, &params, &[Bind::Write(&out), source], operations);
            return Tensor::from_storage(self, out, DType::I32, out_shape);
        }
        // Pairs of key and number: two words.
        let [mut sorted, mut merged] = [(); 2].map(|_| self.alloc("argsort", DType::F32, 2 * rows * n));
        self.dispatch_heavy(shader("sort_runs"), groups, &params, &[Bind::Write(&sorted), source], operations);
        let (groups, mut run) = (self.grid_over(rows * n), CAPACITY);
        while run < n {
            params.run = run as u32;
            run *= 2;
            let (entry, to) = if run < n { ("merge_runs", &merged) } else { ("merge_last", &out) };
            self.dispatch(shader(entry), groups, &params, &[Bind::Write(to), Bind::Read(&sorted)]);
            std::mem::swap(&mut sorted, &mut merged);
        }
        Tensor::from_storage(self, out, DType::I32, out_shape)
    }
}
