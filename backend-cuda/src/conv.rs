//! Convolution and its gradients: sizes, tiles and splits for `kernels/conv.cu` and, where tiles would be mostly empty,
//! `kernels/conv_direct.cu`. Operands are made contiguous first.

use crate::Tensor;
use crate::device::{Cuda, THREADS, name, suffix};
use crate::driver::Address;
use crate::matmul::{GEMM_THREADS, code, mode, unmasked};
use crate::memory::Storage;
use crate::params::{data, magic, params};
use crate::tiling::Tiling;
use crate::unary::unary_grad;
use minitorch_core::backend::{Activation, Conv2dGrad, UnaryOp};
use minitorch_core::ops::composed;
use minitorch_core::{Conv2dOptions, DType};
use std::cell::OnceCell;

params! {
    /// A divisor below 2^31; see [`magic`].
    Divide in "conv.cuh" {
        size: u32,
        magic: u32,
        shift: u32,
        unused: u32,
    }
}

params! {
    /// What all kernels of convolutions take.
    ConvParams in "conv.cuh" {
        x: Address,
        weight: Address,
        bias: Address,
        out: Address,
        mask: Address,
        sums: Address,
        parts: Address,
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
        out_plane: Divide,
        out_width: Divide,
        taps: Divide,
        tap_width: Divide,
    }
}

impl Divide {
    fn by(size: usize) -> Self {
        let (magic, shift) = magic(size as u64);
        Divide { size: size as u32, magic, shift, unused: 0 }
    }
}

/// Taps that the direct kernels keep at most.
const KEPT: usize = 256;

/// Channels on the side of the result up to which the direct kernels are faster than tiles, which would be half empty.
const FEW: usize = 16;

/// The sizes of one convolution.
struct Sizes {
    params: ConvParams,
    taps: usize,
    group_in: usize,
    group_out: usize,
    groups: usize,
}

/// From the shapes of x, w and y.
fn sizes(
    [n, ci, h, w]: [usize; 4],
    [co, group_in, kh, kw]: [usize; 4],
    [oh, ow]: [usize; 2],
    o: &Conv2dOptions,
) -> Sizes {
    let (groups, group_out, taps) = (o.groups, co / o.groups, kh * kw);
    // The kernels' coordinates have 31 bits.
    let most = (n * oh * ow).max(n * h * w).max(group_in * taps).max(group_in * h * w).max(group_out * taps);
    assert!(most < 1 << 31, "conv2d: {most} positions are more than the 2^31 that the CUDA backend's kernels count");
    let padded =
        [h, w].into_iter().zip(o.padding).map(|(size, padding)| size.saturating_add(padding.saturating_mul(2)));
    let padded = padded.max().unwrap_or_default();
    assert!(
        padded < 1 << 30,
        "conv2d: {padded} rows or columns are more than the 2^30 that the CUDA backend's kernels count"
    );
    // Steps beyond the padded image lead from a lone window or tap to none.
    let [stride, dilation] = [o.stride, o.dilation].map(|steps| steps.map(|step| step.min(1 << 30) as u32));
    let params = ConvParams {
        x: 0,
        weight: 0,
        bias: 0,
        out: 0,
        mask: 0,
        sums: 0,
        parts: 0,
        counters: 0,
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
        w_mode: 0,
        activation: 0,
        out_plane: Divide::by(oh * ow),
        out_width: Divide::by(ow),
        taps: Divide::by(taps),
        tap_width: Divide::by(kw),
    };
    Sizes { params, taps, group_in, group_out, groups }
}

fn spatial(x: &Tensor) -> [usize; 2] {
    [x.shape()[2], x.shape()[3]]
}

/// Channels that a thread of a direct kernel makes.
fn channels(of: usize) -> usize {
    match of {
        1 => 1,
        2..=4 => 4,
        _ => 8,
    }
}

/// Launches a direct kernel: `pixels` by all channels, each a sum over `channels_in`. Threads share a pixel where there are too few to
/// keep the multiprocessors busy.
fn direct(
    device: &Cuda,
    kernel: &str,
    dtype: DType,
    sizes: &mut Sizes,
    [channels_in, channels_out]: [usize; 2],
    pixels: usize,
) {
    let count = channels(channels_out);
    let rows = sizes.groups * channels_out.div_ceil(count);
    let blocks = |shares: usize| pixels.div_ceil(THREADS / shares) * rows;
    let mut shares = 1;
    while shares < 8 && 2 * shares <= channels_in && blocks(shares) < 2 * device.0.multiprocessors() {
        shares *= 2;
    }
    sizes.params.splits = shares as u32;
    let grid = [pixels.div_ceil(THREADS / shares), rows, 1];
    device.0.launch(name!("conv_direct_{kernel}_{count}_{}", suffix(dtype)), grid, [THREADS, 1, 1], 0, &sizes.params);
}

pub(crate) fn conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2dOptions,
    activation: Option<Activation>,
) -> Tensor {
    let Some(code) = code(activation) else { return composed::conv2d(x, w, bias, options, activation) };
    let (device, dtype) = (x.device(), x.dtype());
    let Some(out_size) = options.output_size(spatial(x), spatial(w)) else {
        unreachable!("core checked that the kernel fits");
    };
    let mut sizes = sizes(x.dims(), w.dims(), out_size, options);
    let (x, w, bias) = (x.contiguous(), w.contiguous(), bias.map(Tensor::contiguous));
    let [n, co] = [x.shape()[0], w.shape()[0]];
    let shape = [n, co, out_size[0], out_size[1]];
    let out = device.alloc("conv2d", dtype, shape.iter().product());
    sizes.params.x = data(&x);
    sizes.params.weight = data(&w);
    sizes.params.bias = bias.as_ref().map_or(0, data);
    sizes.params.out = out.address();
    sizes.params.activation = code;
    let (k, pixels) = (sizes.group_in * sizes.taps, n * out_size[0] * out_size[1]);
    if pixels * co > 0 {
        let few = sizes.group_out <= FEW || k <= 32;
        let blocks = sizes.groups * sizes.group_out.div_ceil(channels(sizes.group_out));
        if few && sizes.taps <= KEPT && blocks <= MOST {
            let channels = [sizes.group_in, sizes.group_out];
            direct(device, "forward", dtype, &mut sizes, channels, pixels);
        } else {
            let Tiling { size, .. } = Tiling::whole(device, dtype, [sizes.group_out, pixels, k], sizes.groups);
            let packed = mode(dtype, sizes.params.weight, k, 1, &[]);
            // Every group's weights begin at a multiple of their rows' length.
            sizes.params.w_mode = packed;
            let tiles = sizes.group_out.div_ceil(size) * pixels.div_ceil(size);
            let kernel = name!("conv_{}forward_{size}_{}", by_tap(size, sizes.group_in), suffix(dtype));
            over_groups(device, kernel, tiles, sizes.groups, &sizes.params);
        }
    }
    Tensor::from_storage(device, out, dtype, shape)
}

/// The part of a kernel's name for channels that come in whole slabs of a tile; see conv_tap.cu.
fn by_tap(size: usize, channels: usize) -> &'static str {
    let slab = 1024 / size;
    if channels > 0 && channels.is_multiple_of(slab) { "tap_" } else { "" }
}

/// Blocks that a grid has at most in y.
const MOST: usize = 65_535;

/// A launch with groups along y, which a grid limits.
fn over_groups(device: &Cuda, kernel: &str, tiles: usize, groups: usize, params: &ConvParams) {
    assert!(groups <= MOST, "conv2d: {groups} groups (times phases of the stride) are more than a grid's {MOST}");
    device.0.launch(kernel, [tiles, groups, 1], [GEMM_THREADS, 1, 1], 0, params);
}

/// A gradient, contiguous; and the result of a relu before it, which kernels take as a mask.
pub(crate) struct Gradient {
    g: Tensor,
    relu: Option<Tensor>,
    /// `g` before the relu, computed once, for what takes no mask.
    whole: OnceCell<Tensor>,
}

impl Gradient {
    pub(crate) fn new(g: &Tensor, activated: Option<(Activation, &Tensor)>) -> Self {
        let (g, relu) = unmasked(g, activated);
        Gradient { g, relu, whole: OnceCell::new() }
    }

    fn whole(&self) -> &Tensor {
        match &self.relu {
            None => &self.g,
            Some(y) => self.whole.get_or_init(|| unary_grad(UnaryOp::Relu, y, &self.g)),
        }
    }

    /// Where tiles of this size read it, and the mask.
    fn operand(&self, size: usize) -> [Address; 2] {
        match &self.relu {
            Some(y) if size < LARGEST => [data(&self.g), data(y)],
            _ => [data(self.whole()), 0],
        }
    }
}

/// The gradients that are wanted. A relu before them is a mask in their kernels, and a bias's gradient comes with the weight's.
pub(crate) fn conv2d_grad(of: &Conv2dGrad<'_, Cuda>) -> [Option<Tensor>; 3] {
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
        gb = Some(g.whole().sum([0, 2, 3]));
    }
    [gx, gw, gb]
}

/// The tile that has no registers left for a mask or for sums.
const LARGEST: usize = 128;

/// Products that a block of grad_weight adds one after another: the sum of a whole batch, so added, would lose digits.
const LONGEST: usize = 512;

pub(crate) fn grad_input(gradient: &Gradient, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
    let g = &gradient.g;
    let (device, dtype, n) = (g.device(), g.dtype(), g.shape()[0]);
    let ci = w.shape()[1] * options.groups;
    let shape = [n, ci, size[0], size[1]];
    let mut sizes = sizes(shape, w.dims(), spatial(g), options);
    let w = w.contiguous();
    let out = device.alloc("conv2d_grad_input", dtype, shape.iter().product());
    sizes.params.weight = data(&w);
    sizes.params.out = out.address();
    let pixels = n * size[0] * size[1];
    if pixels * ci > 0 {
        let blocks = sizes.groups * sizes.group_in.div_ceil(channels(sizes.group_in));
        // A stride makes most taps of the direct kernel miss.
        let few = if options.stride == [1, 1] { FEW } else { 2 };
        if sizes.group_in <= few && sizes.taps <= KEPT && blocks <= MOST {
            [sizes.params.x, sizes.params.mask] = gradient.operand(0);
            let channels = [sizes.group_out, sizes.group_in];
            direct(device, "grad_input", dtype, &mut sizes, channels, pixels);
        } else {
            let [sh, sw] = options.stride;
            let phase = n * size[0].div_ceil(sh) * size[1].div_ceil(sw);
            let k = sizes.group_out * sizes.taps;
            let phases = sizes.groups.saturating_mul(sh).saturating_mul(sw);
            assert!(phases <= MOST, "conv2d: {phases} groups times phases of the stride are more than a grid's {MOST}");
            let Tiling { size, .. } = Tiling::whole(device, dtype, [sizes.group_in, phase, k], phases);
            let tiles = sizes.group_in.div_ceil(size) * phase.div_ceil(size);
            [sizes.params.x, sizes.params.mask] = gradient.operand(size);
            let kernel = name!("conv_{}grad_input_{size}_{}", by_tap(size, sizes.group_out), suffix(dtype));
            over_groups(device, kernel, tiles, phases, &sizes.params);
        }
    }
    Tensor::from_storage(device, out, dtype, shape)
}

/// The gradient in the weight and, if `bias` says so and a tile is where it is computed, in the bias.
pub(crate) fn grad_weight(
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
    let mut sizes = sizes(x.dims(), shape, [oh, ow], options);
    let x = x.contiguous();
    let weights: usize = shape.iter().product();
    let out = device.alloc("conv2d_grad_weight", dtype, weights);
    sizes.params.x = data(&x);
    sizes.params.out = out.address();
    let mut sums = None;
    if weights > 0 {
        if sizes.group_in == 1 && sizes.group_out <= 4 && sizes.groups > 1 {
            [sizes.params.weight, sizes.params.mask] = gradient.operand(0);
            let kernel = name!("conv_direct_grad_weight_{}", suffix(dtype));
            device.0.launch(kernel, [weights, 1, 1], [256, 1, 1], 0, &sizes.params);
        } else {
            let (columns, pixels) = (sizes.group_in * sizes.taps, n * oh * ow);
            let product = [sizes.group_out, columns, pixels];
            let Tiling { size, splits } = Tiling::new(device, dtype, product, sizes.groups, LONGEST);
            let tiles = sizes.group_out.div_ceil(size) * columns.div_ceil(size);
            let all = tiles * sizes.groups;
            let part = size * size + if size == LARGEST { 0 } else { GEMM_THREADS };
            let parts: Option<Storage> =
                (splits > 1).then(|| device.alloc("conv2d_grad_weight", dtype, all * splits * part));
            [sizes.params.weight, sizes.params.mask] = gradient.operand(size);
            sums = (bias && size != LARGEST).then(|| device.alloc("conv2d_grad_weight", dtype, co));
            sizes.params.sums = sums.as_ref().map_or(0, Storage::address);
            sizes.params.parts = parts.as_ref().map_or(0, Storage::address);
            sizes.params.counters = device.0.counters();
            sizes.params.splits = splits as u32;
            let kernel = name!("conv_grad_weight_{size}_{}", suffix(dtype));
            over_groups(device, kernel, tiles * splits, sizes.groups, &sizes.params);
        }
    }
    let sums = sums.map(|sums| Tensor::from_storage(device, sums, dtype, co));
    (Tensor::from_storage(device, out, dtype, shape), sums)
}
