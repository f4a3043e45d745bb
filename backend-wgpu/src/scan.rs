//! Running sums: geometry for `shaders/scan.wgsl`.

use crate::Tensor;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::DType;

params! {
    /// Mirrors `ScanParams` in scan.wgsl.
    ScanParams in "scan" {
        lines: u32,
        n: u32,
        inner: u32,
        x: u32,
        reverse: u32,
    }
}

/// Lines from this length on are worth a workgroup each.
const SHORT: usize = 64;

pub(crate) fn cumsum(x: &Tensor, dim: usize, reverse: bool) -> Tensor {
    let (device, shape, dtype, x) = (x.device(), *x.shape(), x.dtype(), x.contiguous());
    let out = device.alloc("cumsum", DType::F32, shape.numel());
    if shape.numel() > 0 {
        let (n, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
        let lines = shape.numel() / n;
        let params = ScanParams {
            lines: lines as u32,
            n: n as u32,
            inner: inner as u32,
            x: x.layout().offset() as u32,
            reverse: reverse as u32,
        };
        let columns = n < SHORT || inner >= 32;
        let (entry, groups) =
            if columns { ("columns", device.walk_over(lines)) } else { ("rows", device.folded(lines)) };
        let shader = Shader::new("scan", entry).op((dtype != DType::F32) as u32);
        device.dispatch(shader, groups, &params, &[Bind::Write(&out), Bind::Read(x.view().storage)]);
    }
    Tensor::from_storage(device, out, dtype, shape)
}
