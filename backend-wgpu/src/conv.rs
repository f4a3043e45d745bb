//! Convolution and its gradients as implicit GEMM (`shaders/conv.wgsl`). Operands are made contiguous first.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::params;
use crate::reduce::BUSY;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::backend::{Activation, ConvOps, CopyOps, ReduceOp, ReduceOps, View};
use minitorch_core::ops::composed;
use minitorch_core::ops::conv::spatial;
use minitorch_core::{Conv2dOptions, DType, Layout};

params! {
    /// Mirrors `ConvParams` in conv.wgsl.
    ConvParams in "conv" {
        image: [u32; 4],
        result: [u32; 4],
        kernel: [u32; 4],
        stride_padding: [u32; 4],
        dilation_bias: [u32; 4],
        offsets: [u32; 4],
    }
}

/// The three products; the discriminant is the shader's `OP`.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Forward = 0,
    GradInput = 1,
    GradWeight = 2,
}

/// Output pixels (the k dimension) from which a weight's gradient is split over workgroups and summed by a second dispatch; and the
/// least pixels of a split.
const MIN_SPLIT_K: usize = 1024;
const MIN_K: usize = 128;

/// One pass of a convolution: the shapes of x and w, the size of y, and the operands of the product.
struct Conv<'a> {
    pass: Pass,
    image: [usize; 4],
    weight: [usize; 4],
    result: [usize; 2],
    options: &'a Conv2dOptions,
    a: &'a Tensor,
    b: &'a Tensor,
    bias: Option<&'a Tensor>,
}

impl Conv<'_> {
    fn run(self, device: &Wgpu, op: &str, shape: [usize; 4]) -> Tensor {
        let out = self.storage(device, op, shape.iter().product());
        Tensor::from_storage(device, out, DType::F32, shape)
    }

    fn storage(self, device: &Wgpu, op: &str, elements: usize) -> Storage {
        if elements == 0 || self.a.numel() == 0 || self.b.numel() == 0 {
            // Empty, or sums over nothing. A forward pass has sums over nothing only without channels, and `conv2d` handles that.
            let mut out = device.alloc(op, DType::F32, elements);
            device.fill(&mut out, &Layout::contiguous([elements]), DType::F32, 0.0);
            return out;
        }
        let Conv { pass, image: [n, ci, h, w], weight: [co, group_in, kh, kw], result: [oh, ow], options: o, .. } =
            self;
        let (group_out, [sh, sw]) = (co / o.groups, o.stride);
        let phases = if pass == Pass::GradInput { sh * sw } else { 1 };
        let (m, columns, k) = match pass {
            Pass::Forward => (group_out, n * oh * ow, group_in * kh * kw),
            Pass::GradInput => (group_in, n * h.div_ceil(sh) * w.div_ceil(sw), group_out * kh * kw),
            Pass::GradWeight => (group_out, group_in * kh * kw, n * oh * ow),
        };
        let tiles = |[rows, across]: [usize; 2]| m.div_ceil(rows) * columns.div_ceil(across);
        let max_splits = if pass == Pass::GradWeight && k >= MIN_SPLIT_K { k / MIN_K } else { 1 };
        let (entry, tile) = match pass {
            Pass::Forward | Pass::GradInput if m <= 16 => ("tile_8", [8, 128]),
            _ if m.min(columns) > 32 && tiles([64, 64]) * o.groups * phases * max_splits >= 16 => ("tile_64", [64, 64]),
            _ => ("tile_32", [32, 32]),
        };
        // A workgroup of the large tile occupies the GPU like two of the small one.
        let busy = if entry == "tile_64" { BUSY / 2 } else { BUSY };
        let splits = (busy / (tiles(tile) * o.groups)).clamp(1, max_splits);
        let splits = if device.0.context.fits_binding(splits * elements) { splits } else { 1 };
        let bias = self.bias.map(|bias| (bias.view().storage, bias.layout().offset()));
        let words = |values: [usize; 4]| values.map(|value| value as u32);
        let params = ConvParams {
            image: words([n, ci, h, w]),
            result: words([co, oh, ow, o.groups]),
            kernel: words([kh, kw, 0, splits]),
            stride_padding: words([sh, sw, o.padding[0], o.padding[1]]),
            dilation_bias: words([
                o.dilation[0],
                o.dilation[1],
                bias.is_some() as usize,
                bias.map_or(0, |bias| bias.1),
            ]),
            offsets: words([self.a.layout().offset(), self.b.layout().offset(), elements, 0]),
        };
        let out = device.alloc(op, DType::F32, splits * elements);
        let shader = |entry| Shader::new("conv", entry).op(pass as u32);
        let (a, b) = (self.a.view().storage, self.b.view().storage);
        let [x, y, _] = device.folded(tiles(tile) * splits);
        let groups = [x, y, (o.groups * phases).min(device.largest_grid()) as u32];
        let operands = [Bind::Read(a), Bind::Read(b), Bind::Read(bias.map_or(a, |bias| bias.0))];
        let [a, b, bias] = operands;
        let operations = 2 * (o.groups * phases * m * columns) as u64 * k as u64;
        device.dispatch_heavy(shader(entry), groups, &params, &[Bind::Write(&out), a, b, bias], operations);
        if splits == 1 {
            return out;
        }
        let layout = Layout::contiguous([splits, elements]);
        device.reduce(ReduceOp::Sum, View { storage: &out, layout: &layout, dtype: DType::F32 }, &[0])
    }
}

impl ConvOps for Wgpu {
    fn conv2d(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
        activation: Option<Activation>,
    ) -> Tensor {
        if activation.is_some() {
            return composed::conv2d(x, w, bias, options, activation);
        }
        let result = options.output(spatial(x), spatial(w));
        let (image, weight) = (x.dims(), w.dims());
        let shape = [image[0], weight[0], result[0], result[1]];
        if let (0, Some(bias)) = (image[1], bias) {
            return bias.reshape([weight[0], 1, 1]).expand(shape).contiguous();
        }
        let (x, w, bias) = (x.contiguous(), w.contiguous(), bias.map(Tensor::contiguous));
        Conv { pass: Pass::Forward, image, weight, result, options, a: &w, b: &x, bias: bias.as_ref() }
            .run(self, "conv2d", shape)
    }

    fn conv2d_grad_input(&self, g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
        let weight = w.dims();
        let image = [g.shape()[0], weight[1] * options.groups, size[0], size[1]];
        let (result, g, w) = (spatial(g), g.contiguous(), w.contiguous());
        Conv { pass: Pass::GradInput, image, weight, result, options, a: &w, b: &g, bias: None }.run(
            self,
            "conv2d_grad_input",
            image,
        )
    }

    fn conv2d_grad_weight(&self, x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor {
        let image = x.dims::<4>();
        let weight = [g.shape()[1], image[1] / options.groups, kernel[0], kernel[1]];
        let (result, x, g) = (spatial(g), x.contiguous(), g.contiguous());
        Conv { pass: Pass::GradWeight, image, weight, result, options, a: &g, b: &x, bias: None }.run(
            self,
            "conv2d_grad_weight",
            weight,
        )
    }
}
