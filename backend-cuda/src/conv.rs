//! Convolution and its gradients. Operands are made contiguous first. The algorithms, in the order in which they are tried:
//!
//! ```text
//! direct         kernels/conv_direct.cu   few channels or depthwise, where a tile of a matrix product would be mostly padding
//! tap-major      kernels/conv_tap.cu      implicit GEMM whose slab of k is one tap of BK channels; BK divides the channels
//! implicit GEMM  kernels/conv.cu          everything else, and the gradient of the weight
//! ```

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::{MAX_GRID_YZ, THREADS};
use crate::matmul::{GEMM_THREADS, code, mode, unmasked};
use crate::memory::{Storage, data};
use crate::params::{Divisor, params};
use crate::tiling::Tiling;
use minitorch_core::backend::{Activation, Conv2dGrad, ConvOps, UnaryOp, UnaryOps};
use minitorch_core::ops::composed;
use minitorch_core::ops::conv::spatial;
use minitorch_core::{Conv2dOptions, DType};
use std::cell::OnceCell;

params! {
    /// The parameters of all convolution kernels.
    #[derive(Default)]
    ConvParams in "conv.cuh" {
        x: Address,
        weight: Address,
        bias: Address,
        out: Address,
        mask: Address,
        sums: Address,
        partials: Address,
        counters: Address,
        pixels: u64,
        n: u32,
        ci: u32,
        co: u32,
        h: u32,
        w: u32,
        oh: u32,
        ow: u32,
        group_in: u32,
        group_out: u32,
        stride_h: u32,
        stride_w: u32,
        pad_h: u32,
        pad_w: u32,
        dil_h: u32,
        dil_w: u32,
        splits: u32,
        w_mode: u32,
        activation: u32,
        out_plane: Divisor,
        out_width: Divisor,
        taps: Divisor,
        tap_width: Divisor,
    }
}

/// The most taps whose weights the direct kernels cache in shared memory.
const MAX_TAPS: usize = 256;

/// The most output channels per group for which the direct kernels are faster than tiles, at least half of which would be
/// padding.
const FEW_CHANNELS: usize = 16;

/// The sizes of one convolution.
struct Geometry {
    params: ConvParams,
    taps: usize,
    group_in: usize,
    group_out: usize,
    groups: usize,
}

/// The sizes, from the shapes of x, w and y.
fn geometry(
    [n, ci, h, w]: [usize; 4],
    [co, group_in, kh, kw]: [usize; 4],
    [oh, ow]: [usize; 2],
    o: &Conv2dOptions,
) -> Geometry {
    let (groups, group_out, taps) = (o.groups, co / o.groups, kh * kw);
    // The kernels' coordinates have 31 bits.
    let max = (n * oh * ow).max(n * h * w).max(group_in * taps).max(group_in * h * w).max(group_out * taps);
    assert!(max < 1 << 31, "conv2d: {max} positions are more than the 2^31 that the CUDA backend's kernels count");
    let padded =
        [h, w].into_iter().zip(o.padding).map(|(size, padding)| size.saturating_add(padding.saturating_mul(2)));
    let padded = padded.max().unwrap_or_default();
    assert!(
        padded < 1 << 30,
        "conv2d: {padded} rows or columns are more than the 2^30 that the CUDA backend's kernels count"
    );
    // All strides beyond the padded image are equivalent, as there is one window; all dilations, as there is one tap.
    let [stride, dilation] = [o.stride, o.dilation].map(|steps| steps.map(|step| step.min(1 << 30) as u32));
    let params = ConvParams {
        pixels: (n * oh * ow) as u64,
        n: n as u32,
        ci: ci as u32,
        co: co as u32,
        h: h as u32,
        w: w as u32,
        oh: oh as u32,
        ow: ow as u32,
        group_in: group_in as u32,
        group_out: group_out as u32,
        stride_h: stride[0],
        stride_w: stride[1],
        pad_h: o.padding[0] as u32,
        pad_w: o.padding[1] as u32,
        dil_h: dilation[0],
        dil_w: dilation[1],
        splits: 1,
        out_plane: Divisor::new(oh * ow),
        out_width: Divisor::new(ow),
        taps: Divisor::new(taps),
        tap_width: Divisor::new(kw),
        ..ConvParams::default()
    };
    Geometry { params, taps, group_in, group_out, groups }
}

/// The number of channels that a thread of a direct kernel computes.
fn channels(of: usize) -> usize {
    match of {
        1 => 1,
        2..=4 => 4,
        _ => 8,
    }
}

/// Launches a direct kernel: all channels of `pixels` pixels, each a sum over `channels_in`. Several threads share a pixel where
/// there are too few pixels to fill the multiprocessors.
fn direct(
    device: &Cuda,
    kernel: &str,
    dtype: DType,
    geometry: &mut Geometry,
    [channels_in, channels_out]: [usize; 2],
    pixels: usize,
) {
    let count = channels(channels_out);
    let rows = geometry.groups * channels_out.div_ceil(count);
    let blocks = |splits: usize| pixels.div_ceil(THREADS / splits) * rows;
    let mut splits = 1;
    while splits < 8 && 2 * splits <= channels_in && blocks(splits) < 2 * device.0.multiprocessors() {
        splits *= 2;
    }
    geometry.params.splits = splits as u32;
    let grid = [pixels.div_ceil(THREADS / splits), rows, 1];
    device.0.launch(name!("conv_direct_{kernel}_{count}_{}", suffix(dtype)), grid, [THREADS, 1, 1], &geometry.params);
}

/// The part of a kernel's name that selects conv_tap.cu: the channels are a multiple of the slab depth BK of the tile size.
fn tap_major(size: usize, channels: usize) -> &'static str {
    let slab = 1024 / size;
    if channels > 0 && channels.is_multiple_of(slab) { "tap_" } else { "" }
}

/// A launch with the groups along the grid's y dimension.
fn launch_groups(device: &Cuda, kernel: &str, tiles: usize, groups: usize, params: &ConvParams) {
    assert!(
        groups <= MAX_GRID_YZ,
        "conv2d: {groups} groups (times phases of the stride) are more than a grid's {MAX_GRID_YZ}"
    );
    device.0.launch(kernel, [tiles, groups, 1], [GEMM_THREADS, 1, 1], params);
}

/// The gradient with respect to the result, contiguous, and the output of a relu before it, which kernels take as a mask.
struct Gradient {
    g: Tensor,
    relu: Option<Tensor>,
    /// The gradient with respect to the relu's input, computed once, for kernels that take no mask.
    before_relu: OnceCell<Tensor>,
}

impl Gradient {
    fn new(g: &Tensor, activated: Option<(Activation, &Tensor)>) -> Self {
        let (g, relu) = unmasked(g, activated);
        Gradient { g, relu, before_relu: OnceCell::new() }
    }

    fn before_relu(&self) -> &Tensor {
        match &self.relu {
            None => &self.g,
            Some(y) => self.before_relu.get_or_init(|| y.device().unary_grad(UnaryOp::Relu, y, &self.g)),
        }
    }

    /// The addresses of the gradient and of the mask for a kernel with tiles of this size.
    fn addresses(&self, size: usize) -> [Address; 2] {
        match &self.relu {
            Some(y) if size < LARGEST => [data(&self.g), data(y)],
            _ => [data(self.before_relu()), 0],
        }
    }
}

/// The tile size whose kernels have no registers left for a mask or for sums.
const LARGEST: usize = 128;

/// The longest chain of additions in a block of grad_weight: one over a whole batch would lose digits.
const MAX_K: usize = 512;

impl ConvOps for Cuda {
    fn conv2d(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
        activation: Option<Activation>,
    ) -> Tensor {
        let Some(code) = code(activation) else { return composed::conv2d(x, w, bias, options, activation) };
        let dtype = x.dtype();
        let out_size = options.output(spatial(x), spatial(w));
        let mut geometry = geometry(x.dims(), w.dims(), out_size, options);
        let (x, w, bias) = (x.contiguous(), w.contiguous(), bias.map(Tensor::contiguous));
        let [n, co] = [x.shape()[0], w.shape()[0]];
        let shape = [n, co, out_size[0], out_size[1]];
        let out = self.alloc("conv2d", dtype, shape.iter().product());
        geometry.params.x = data(&x);
        geometry.params.weight = data(&w);
        geometry.params.bias = bias.as_ref().map_or(0, data);
        geometry.params.out = out.address();
        geometry.params.activation = code;
        let (k, pixels) = (geometry.group_in * geometry.taps, n * out_size[0] * out_size[1]);
        if pixels * co > 0 {
            let few = geometry.group_out <= FEW_CHANNELS || k <= 32;
            let blocks = geometry.groups * geometry.group_out.div_ceil(channels(geometry.group_out));
            if few && geometry.taps <= MAX_TAPS && blocks <= MAX_GRID_YZ {
                let channels = [geometry.group_in, geometry.group_out];
                direct(self, "forward", dtype, &mut geometry, channels, pixels);
            } else {
                let Tiling { size, .. } =
                    Tiling::unsplit(self, dtype, [geometry.group_out, pixels, k], geometry.groups);
                geometry.params.w_mode = mode(dtype, geometry.params.weight, k, 1, &[]);
                // The weights of every group begin at a multiple of k, so one mode serves all groups.
                let tiles = geometry.group_out.div_ceil(size) * pixels.div_ceil(size);
                let kernel = name!("conv_{}forward_{size}_{}", tap_major(size, geometry.group_in), suffix(dtype));
                launch_groups(self, kernel, tiles, geometry.groups, &geometry.params);
            }
        }
        Tensor::from_storage(self, out, dtype, shape)
    }

    /// A relu before the gradient is a mask in the kernels, and the gradient of the bias comes with that of the weight.
    fn conv2d_grad(&self, of: &Conv2dGrad<'_, Self>) -> [Option<Tensor>; 3] {
        let g = Gradient::new(of.g, of.activated);
        let gx = of.w.map(|w| grad_input(&g, w, of.size, &of.options));
        let (gw, mut gb) = match of.x {
            Some(x) => {
                let (gw, gb) = grad_weight(x, &g, of.kernel, &of.options, of.bias);
                (Some(gw), gb)
            }
            None => (None, None),
        };
        if of.bias && gb.is_none() {
            gb = Some(g.before_relu().sum([0, 2, 3]));
        }
        [gx, gw, gb]
    }

    fn conv2d_grad_input(&self, g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
        grad_input(&Gradient::new(g, None), w, size, options)
    }

    fn conv2d_grad_weight(&self, x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor {
        grad_weight(x, &Gradient::new(g, None), kernel, options, false).0
    }
}

fn grad_input(gradient: &Gradient, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
    let g = &gradient.g;
    let (device, dtype, n) = (g.device(), g.dtype(), g.shape()[0]);
    let ci = w.shape()[1] * options.groups;
    let shape = [n, ci, size[0], size[1]];
    let mut geometry = geometry(shape, w.dims(), spatial(g), options);
    let w = w.contiguous();
    let out = device.alloc("conv2d_grad_input", dtype, shape.iter().product());
    geometry.params.weight = data(&w);
    geometry.params.out = out.address();
    let pixels = n * size[0] * size[1];
    if pixels * ci > 0 {
        let blocks = geometry.groups * geometry.group_in.div_ceil(channels(geometry.group_in));
        // With a stride most taps of the direct kernel read no pixel.
        let few = if options.stride == [1, 1] { FEW_CHANNELS } else { 2 };
        if geometry.group_in <= few && geometry.taps <= MAX_TAPS && blocks <= MAX_GRID_YZ {
            [geometry.params.x, geometry.params.mask] = gradient.addresses(0);
            let channels = [geometry.group_out, geometry.group_in];
            direct(device, "grad_input", dtype, &mut geometry, channels, pixels);
        } else {
            let [sh, sw] = options.stride;
            let pixels = n * size[0].div_ceil(sh) * size[1].div_ceil(sw);
            let k = geometry.group_out * geometry.taps;
            let rows = geometry.groups.saturating_mul(sh).saturating_mul(sw);
            assert!(
                rows <= MAX_GRID_YZ,
                "conv2d: {rows} groups times phases of the stride are more than a grid's {MAX_GRID_YZ}"
            );
            let Tiling { size, .. } = Tiling::unsplit(device, dtype, [geometry.group_in, pixels, k], rows);
            let tiles = geometry.group_in.div_ceil(size) * pixels.div_ceil(size);
            [geometry.params.x, geometry.params.mask] = gradient.addresses(size);
            let kernel = name!("conv_{}grad_input_{size}_{}", tap_major(size, geometry.group_out), suffix(dtype));
            launch_groups(device, kernel, tiles, rows, &geometry.params);
        }
    }
    Tensor::from_storage(device, out, dtype, shape)
}

/// The gradient with respect to the weight and, if `bias` is set and a tiled kernel runs that computes it, the bias.
fn grad_weight(
    x: &Tensor,
    gradient: &Gradient,
    kernel: [usize; 2],
    options: &Conv2dOptions,
    bias: bool,
) -> (Tensor, Option<Tensor>) {
    let g = &gradient.g;
    let (device, dtype) = (x.device(), x.dtype());
    let [n, ci, ..] = x.dims::<4>();
    let (co, [oh, ow]) = (g.shape()[1], spatial(g));
    let shape = [co, ci / options.groups, kernel[0], kernel[1]];
    let mut geometry = geometry(x.dims(), shape, [oh, ow], options);
    let x = x.contiguous();
    let weights: usize = shape.iter().product();
    let out = device.alloc("conv2d_grad_weight", dtype, weights);
    geometry.params.x = data(&x);
    geometry.params.out = out.address();
    let mut sums = None;
    if weights > 0 {
        if geometry.group_in == 1 && geometry.group_out <= 4 && geometry.groups > 1 {
            [geometry.params.weight, geometry.params.mask] = gradient.addresses(0);
            let kernel = name!("conv_direct_grad_weight_{}", suffix(dtype));
            device.0.launch(kernel, [weights, 1, 1], [THREADS, 1, 1], &geometry.params);
        } else {
            let (columns, pixels) = (geometry.group_in * geometry.taps, n * oh * ow);
            let product = [geometry.group_out, columns, pixels];
            let Tiling { size, splits } = Tiling::new(device, dtype, product, geometry.groups, MAX_K);
            let tiles = geometry.group_out.div_ceil(size) * columns.div_ceil(size);
            let all = tiles * geometry.groups;
            let partial = size * size + if size == LARGEST { 0 } else { GEMM_THREADS };
            let partials: Option<Storage> =
                (splits > 1).then(|| device.alloc("conv2d_grad_weight", dtype, all * splits * partial));
            [geometry.params.weight, geometry.params.mask] = gradient.addresses(size);
            sums = (bias && size != LARGEST).then(|| device.alloc("conv2d_grad_weight", dtype, co));
            geometry.params.sums = sums.as_ref().map_or(0, Storage::address);
            geometry.params.partials = partials.as_ref().map_or(0, Storage::address);
            geometry.params.counters = device.0.counters();
            geometry.params.splits = splits as u32;
            let kernel = name!("conv_grad_weight_{size}_{}", suffix(dtype));
            launch_groups(device, kernel, tiles * splits, geometry.groups, &geometry.params);
        }
    }
    let sums = sums.map(|sums| Tensor::from_storage(device, sums, dtype, co));
    (Tensor::from_storage(device, out, dtype, shape), sums)
}
