//! Normalisation and its gradient: walks and strides for `shaders/norm.wgsl`. Two dispatches forward and two or three
//! backward; one more each where few means are long.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use crate::reduce;
use crate::shader::{Form, Shader};
use crate::stream::Bind;
use bytemuck::Zeroable;
use minitorch_core::backend::{ReduceOp, View};
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::{DType, Layout, Shape};

params! {
    /// Mirrors `NormParams` in norm.wgsl.
    NormParams in "norm" {
        kept: Walk,
        reduced: Walk,
        x_kept: Operand,
        x_reduced: Operand,
        w_kept: Operand,
        w_reduced: Operand,
        m_kept: Operand,
        eps: f32,
        g_offset: u32,
        weights: u32,
        b_offset: u32,
        pieces: u32,
        piece: u32,
        means: u32,
        unused: u32,
    }
}

/// The dimensions for which `keep` holds, of several layouts of one shape, merged.
fn part<const N: usize>(layouts: [Layout; N], keep: impl Fn(usize) -> bool) -> [Layout; N] {
    let rank = layouts[0].shape().len();
    let dropped: Vec<usize> = (0..rank).rev().filter(|&d| !keep(d)).collect();
    Layout::merge(layouts.map(|layout| dropped.iter().fold(layout, |layout, &d| layout.remove(d))))
}

/// An operand whose offset another one brings.
fn without_offset(layout: &Layout) -> Operand {
    Operand { offset: 0, ..Operand::new(layout) }
}

/// How weights enter, as norm.wgsl counts: within sums or as apply's, with a bias, as a factor of sums.
const WITHIN: u32 = 1;
const BIAS: u32 = 2;
const FACTOR: u32 = 3;

/// The buffers that shaders read; what an entry does not read is bound to x.
#[derive(Clone, Copy)]
struct Buffers<'a> {
    x: &'a Storage,
    g: &'a Storage,
    statistics: &'a Storage,
    w: &'a Storage,
    b: &'a Storage,
}

impl<'a> Buffers<'a> {
    fn new(x: &'a Tensor) -> Self {
        let x = x.view().storage;
        Buffers { x, g: x, statistics: x, w: x, b: x }
    }

    /// `quads`: elements are read by fours.
    fn run(&self, entry: &'static str, quads: bool, groups: [u32; 3], params: &NormParams, out: &Storage, on: &Wgpu) {
        let [x, g, statistics, w, b] = [self.x, self.g, self.statistics, self.w, self.b].map(Bind::Read);
        let shader = Shader::new("norm", entry).form(Form { quads, ..Form::default() });
        on.dispatch(shader, groups, params, &[Bind::Write(out), x, g, statistics, w, b]);
    }
}

/// Whether the shaders serve: there are elements, and a bias has its weight's shape.
fn serves(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>) -> bool {
    x.numel() > 0 && b.is_none_or(|b| w.is_some_and(|w| w.shape() == b.shape()))
}

fn kept_shape(x: &Tensor, o: &NormOptions) -> Shape {
    o.dims.iter().fold(*x.shape(), |shape, &d| shape.with(d, 1))
}

/// Numbers that are kept of a mean: see `Backend::normalize`.
const FIELDS: usize = 4;

/// Elements of a mean that are worth a workgroup.
const PIECE: usize = 4096;

pub(crate) fn normalize(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> [Tensor; 2] {
    if !serves(x, w, b) {
        return composed::normalize(x, w, b, o);
    }
    let (device, x) = (x.device(), x.contiguous());
    let means = kept_shape(&x, o).numel();
    let statistics = device.alloc("normalize", DType::F32, FIELDS * means);
    let (params, quads) = reduction(&x, o, None);
    let (buffers, pieces) = (Buffers::new(&x), params.pieces as usize);
    if pieces == 1 {
        buffers.run("moments", quads, device.folded(means), &params, &statistics, device);
    } else {
        let parts = device.alloc("normalize", DType::F32, FIELDS * means * pieces);
        buffers.run("parts", quads, device.folded(means * pieces), &params, &parts, device);
        let joining = Buffers { statistics: &parts, ..buffers };
        joining.run("joined", quads, device.folded(means), &params, &statistics, device);
    }
    let y = apply(&x, w, b, &statistics, o);
    [y, Tensor::from_storage(device, statistics, DType::F32, [means, FIELDS])]
}

pub(crate) fn normalize_by(
    x: &Tensor,
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    statistics: &Tensor,
    o: &NormOptions,
) -> Tensor {
    if !serves(x, w, b) {
        return composed::normalize_by(x, w, b, statistics, o);
    }
    apply(&x.contiguous(), w, b, whole(statistics).view().storage, o)
}

/// The tensor, contiguous from the start of its buffer, as the shaders expect of statistics.
fn whole(x: &Tensor) -> Tensor {
    if x.layout().offset() == 0 { x.contiguous() } else { x + 0.0 }
}

fn apply(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, statistics: &Storage, o: &NormOptions) -> Tensor {
    let (device, shape) = (x.device(), *x.shape());
    let (w, b) = (w.map(Tensor::contiguous), b.map(Tensor::contiguous));
    let out = device.alloc("normalize", DType::F32, shape.numel());
    let (mut params, _) = reduction(x, o, None);
    let quads = element_wise(&mut params, x, w.as_ref(), &kept_shape(x, o));
    params.weights = if b.is_some() { BIAS } else { w.is_some() as u32 };
    params.b_offset = b.as_ref().map_or(0, |b| b.layout().offset()) as u32;
    let mut buffers = Buffers { statistics, ..Buffers::new(x) };
    if let Some(w) = &w {
        buffers.w = w.view().storage;
    }
    if let Some(b) = &b {
        buffers.b = b.view().storage;
    }
    buffers.run("apply", quads, fours(device, shape.numel()), &params, &out, device);
    Tensor::from_storage(device, out, DType::F32, shape)
}

/// The grid of a shader of four elements per invocation.
fn fours(device: &Wgpu, numel: usize) -> [u32; 3] {
    device.walk_over(numel.div_ceil(4))
}

/// What shaders take that reduce: a mean's places, what each is a mean of, and where a weight within the sums lies along both; and
/// whether x is read by fours.
fn reduction(x: &Tensor, o: &NormOptions, w: Option<&Tensor>) -> (NormParams, bool) {
    let wide = w.map_or(*x.layout(), |w| w.layout().expand(*x.shape()));
    let [kept, w_kept] = part([*x.layout(), wide], |d| !o.dims.contains(&d));
    let [reduced, w_reduced] = part([*x.layout(), wide], |d| o.dims.contains(&d));
    let [pieces, piece] = reduce::pieces(kept.numel(), reduced.numel(), PIECE);
    let params = NormParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        x_kept: Operand::new(&kept),
        x_reduced: without_offset(&reduced),
        w_kept: Operand::new(&w_kept),
        w_reduced: without_offset(&w_reduced),
        m_kept: Operand::zeroed(),
        eps: o.eps as f32,
        g_offset: 0,
        weights: w.map_or(0, |_| WITHIN),
        b_offset: 0,
        pieces: pieces as u32,
        piece: piece as u32,
        means: kept.numel() as u32,
        unused: 0,
    };
    (params, reduce::by_fours(&kept, &reduced))
}

/// What apply and grad take: the whole shape, and where weight and statistics lie along it; and whether x is read by fours.
fn element_wise(params: &mut NormParams, x: &Tensor, w: Option<&Tensor>, statistics: &Shape) -> bool {
    let whole = *x.shape();
    let m = Layout::contiguous(*statistics).expand(whole);
    let w = w.map_or(m, |w| w.layout().expand(whole));
    let [_, w, m] = Layout::merge([Layout::contiguous(whole), w, m]);
    params.kept = Walk::new(w.shape());
    params.x_kept.offset = x.layout().offset() as u32;
    params.w_kept = Operand::new(&w);
    params.m_kept = Operand::new(&m);
    w.shape().last().is_some_and(|size| size.is_multiple_of(4)) && x.layout().offset().is_multiple_of(4)
}

pub(crate) fn normalize_grad(
    g: &Tensor,
    x: &Tensor,
    weight: Option<&Tensor>,
    statistics: &Tensor,
    o: &NormOptions,
) -> (Tensor, Option<[Tensor; 2]>) {
    if !serves(x, weight, None) {
        return composed::normalize_grad(g, x, weight, statistics, o);
    }
    let (device, shape) = (x.device(), *x.shape());
    let (g, x, weight) = (g.contiguous(), x.contiguous(), weight.map(Tensor::contiguous));
    let statistics = whole(statistics);
    let kept = kept_shape(&x, o);
    let out = device.alloc("normalize_grad", DType::F32, shape.numel());
    // A weight for each mean is a factor of its sums, which are the gradients of weight and bias then.
    let factor =
        weight.as_ref().is_some_and(|w| w.numel() == kept.numel() && o.dims.iter().all(|&d| w.shape()[d] == 1));
    let mut buffers = Buffers { g: g.view().storage, statistics: statistics.view().storage, ..Buffers::new(&x) };
    if let Some(w) = &weight {
        buffers.w = w.view().storage;
    }
    let g_offset = g.layout().offset();
    let g_by_fours = g_offset.is_multiple_of(4);

    let (mut params, quads) = reduction(&x, o, weight.as_ref().filter(|_| !factor));
    params.g_offset = g_offset as u32;
    let (pieces, means) = (params.pieces as usize, kept.numel());
    let mut sums = device.alloc("normalize_grad", DType::F32, pieces * 2 * means);
    buffers.run("sums", quads && g_by_fours, device.folded(means * pieces), &params, &sums, device);
    if pieces > 1 {
        let parts = Layout::contiguous([pieces, 2 * means]);
        sums = reduce::reduce(device, ReduceOp::Sum, View { storage: &sums, layout: &parts, dtype: DType::F32 }, &[0]);
    }

    let quads = element_wise(&mut params, &x, weight.as_ref(), &kept) && g_by_fours;
    if factor {
        params.weights = FACTOR;
    }
    let with_sums = Buffers { b: &sums, ..buffers };
    with_sums.run("grad", quads, fours(device, shape.numel()), &params, &out, device);
    let affine = weight.as_ref().map(|weight| {
        let sums = if factor { sums } else { affine(buffers, &x, weight, kept, params, g_by_fours) };
        let both = Tensor::from_storage(device, sums, DType::F32, [2, weight.numel()]);
        // The weight's is the sum with h, which is the second of a mean's sums.
        [factor as usize, !factor as usize].map(|i| both.narrow(0, i, 1).reshape(*weight.shape()))
    });
    (Tensor::from_storage(device, out, DType::F32, shape), affine)
}

/// The gradients of a weight and of a bias, one after the other.
fn affine(
    buffers: Buffers<'_>,
    x: &Tensor,
    weight: &Tensor,
    kept: Shape,
    mut params: NormParams,
    g_by_fours: bool,
) -> Storage {
    let device = x.device();
    let out = device.alloc("normalize_grad", DType::F32, 2 * weight.numel());
    let m = Layout::contiguous(kept).expand(*x.shape());
    let own = |d: usize| weight.shape()[d] != 1;
    let [x_kept, m_kept] = part([*x.layout(), m], own);
    let [x_reduced, m_reduced] = part([*x.layout(), m], |d| !own(d));
    params.kept = Walk::new(x_kept.shape());
    params.reduced = Walk::new(x_reduced.shape());
    (params.x_kept, params.x_reduced) = (Operand::new(&x_kept), without_offset(&x_reduced));
    (params.m_kept, params.w_reduced) = (Operand::new(&m_kept), without_offset(&m_reduced));
    let quads = reduce::by_fours(&x_kept, &x_reduced) && g_by_fours;
    buffers.run("affine", quads, device.folded(weight.numel()), &params, &out, device);
    out
}
