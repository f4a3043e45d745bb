//! Cumulative sums (`shaders/scan.wgsl`).

use crate::Tensor;
use crate::device::Wgpu;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::DType;
use minitorch_core::backend::ScanOps;

params! {
    /// Mirrors `ScanParams` in scan.wgsl.
    ScanParams in "scan" {
        rows: u32,
        n: u32,
        inner: u32,
        x: u32,
        reverse: u32,
    }
}

/// Elements of a row from which a workgroup handles it; below, an invocation does.
const MIN_WORKGROUP: usize = 64;

impl ScanOps for Wgpu {
    fn cumsum(&self, x: &Tensor, dim: usize, reverse: bool) -> Tensor {
        let (shape, dtype, x) = (*x.shape(), x.dtype(), x.contiguous());
        let out = self.alloc("cumsum", DType::F32, shape.numel());
        if shape.numel() > 0 {
            let (n, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
            let rows = shape.numel() / n;
            let params = ScanParams {
                rows: rows as u32,
                n: n as u32,
                inner: inner as u32,
                x: x.layout().offset() as u32,
                reverse: reverse as u32,
            };
            let (entry, groups) = match n < MIN_WORKGROUP || inner >= 32 {
                true => ("columns", self.grid_over(rows)),
                false => ("rows", self.folded(rows)),
            };
            let shader = Shader::new("scan", entry).op((dtype != DType::F32) as u32);
            self.dispatch(shader, groups, &params, &[Bind::Write(&out), Bind::Read(x.view().storage)]);
        }
        Tensor::from_storage(self, out, dtype, shape)
    }
}
