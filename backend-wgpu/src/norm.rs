//! Normalisation and its gradient: walks and strides for `shaders/norm.wgsl`. Two dispatches forward, two or three backward.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use crate::shader::Shader;
use crate::stream::Bind;
use bytemuck::Zeroable;
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
        has_weight: u32,
        b_offset: u32,
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

/// The buffers that shaders bind; what an entry does not read is bound to x.
struct Buffers<'a> {
    x: &'a Tensor,
    statistics: &'a Storage,
    w: &'a Storage,
    b: &'a Storage,
    g: &'a Storage,
}

impl Buffers<'_> {
    fn run(
        &self,
        device: &Wgpu,
        entry: &'static str,
        groups: [u32; 3],
        params: &NormParams,
        out: &Storage,
        second: Option<&Storage>,
    ) {
        let mut binds = vec![Bind::Write(out)];
        binds.extend([self.x.view().storage, self.statistics, self.w, self.b, self.g].map(Bind::Read));
        binds.extend(second.map(Bind::Write));
        device.dispatch(Shader::new("norm", entry), groups, params, &binds);
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

pub(crate) fn normalize(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> [Tensor; 2] {
    if !serves(x, w, b) {
        return composed::normalize(x, w, b, o);
    }
    let (device, x) = (x.device(), x.contiguous());
    let means = kept_shape(&x, o).numel();
    let statistics = device.alloc("normalize", DType::F32, FIELDS * means);
    let nothing = x.view().storage;
    let moments = Buffers { x: &x, statistics: nothing, w: nothing, b: nothing, g: nothing };
    moments.run(device, "moments", device.folded(means), &params(&x, o), &statistics, None);
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
    let mut params = params(x, o);
    element_wise(&mut params, x, w.as_ref(), &kept_shape(x, o));
    params.has_weight = w.is_some() as u32 + b.is_some() as u32;
    params.b_offset = b.as_ref().map_or(0, |b| b.layout().offset()) as u32;
    let nothing = x.view().storage;
    let [w, b] = [&w, &b].map(|w| w.as_ref().map_or(nothing, |w| w.view().storage));
    let buffers = Buffers { x, statistics, w, b, g: nothing };
    buffers.run(device, "apply", device.walk_over(shape.numel()), &params, &out, None);
    Tensor::from_storage(device, out, DType::F32, shape)
}

/// What moments and sums take: a mean's places, and what each is a mean of.
fn params(x: &Tensor, o: &NormOptions) -> NormParams {
    let [kept] = part([*x.layout()], |d| !o.dims.contains(&d));
    let [reduced] = part([*x.layout()], |d| o.dims.contains(&d));
    NormParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        x_kept: Operand::new(&kept),
        x_reduced: without_offset(&reduced),
        w_kept: Operand::zeroed(),
        w_reduced: Operand::zeroed(),
        m_kept: Operand::zeroed(),
        eps: o.eps as f32,
        g_offset: 0,
        has_weight: 0,
        b_offset: 0,
    }
}

/// What apply and grad take: the whole shape, and where weight and statistics lie along it.
fn element_wise(params: &mut NormParams, x: &Tensor, w: Option<&Tensor>, statistics: &Shape) {
    let whole = *x.shape();
    let m = Layout::contiguous(*statistics).expand(whole);
    let w = w.map_or(m, |w| w.layout().expand(whole));
    let [_, w, m] = Layout::merge([Layout::contiguous(whole), w, m]);
    params.kept = Walk::new(w.shape());
    params.x_kept.offset = x.layout().offset() as u32;
    params.w_kept = Operand::new(&w);
    params.m_kept = Operand::new(&m);
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
    let [shift, slope] = [0, 1].map(|_| device.alloc("normalize_grad", DType::F32, kept.numel()));
    let out = device.alloc("normalize_grad", DType::F32, shape.numel());
    let nothing = x.view().storage;
    let w = weight.as_ref().map_or(nothing, |w| w.view().storage);
    let mut params = params(&x, o);
    params.g_offset = g.layout().offset() as u32;
    params.has_weight = weight.is_some() as u32;
    if let Some(weight) = &weight {
        let wide = weight.layout().expand(shape);
        let [_, w_kept] = part([*x.layout(), wide], |d| !o.dims.contains(&d));
        let [_, w_reduced] = part([*x.layout(), wide], |d| o.dims.contains(&d));
        let [x_kept, _] = part([*x.layout(), wide], |d| !o.dims.contains(&d));
        let [x_reduced, _] = part([*x.layout(), wide], |d| o.dims.contains(&d));
        params.kept = Walk::new(x_kept.shape());
        params.reduced = Walk::new(x_reduced.shape());
        (params.x_kept, params.x_reduced) = (Operand::new(&x_kept), without_offset(&x_reduced));
        (params.w_kept, params.w_reduced) = (Operand::new(&w_kept), without_offset(&w_reduced));
    }
    let statistics = statistics.view().storage;
    let buffers = Buffers { x: &x, statistics, w, b: nothing, g: g.view().storage };
    buffers.run(device, "sums", device.folded(kept.numel()), &params, &shift, Some(&slope));

    element_wise(&mut params, &x, weight.as_ref(), &kept);
    let buffers = Buffers { b: &shift, ..buffers };
    buffers.run(device, "grad", device.walk_over(shape.numel()), &params, &out, Some(&slope));
    let affine = weight.as_ref().map(|weight| {
        let results = [0, 1].map(|_| device.alloc("normalize_grad", DType::F32, weight.numel()));
        let m = Layout::contiguous(kept).expand(shape);
        let own = |d: usize| weight.shape()[d] != 1;
        let [x_kept, m_kept] = part([*x.layout(), m], own);
        let [x_reduced, m_reduced] = part([*x.layout(), m], |d| !own(d));
        params.kept = Walk::new(x_kept.shape());
        params.reduced = Walk::new(x_reduced.shape());
        (params.x_kept, params.x_reduced) = (Operand::new(&x_kept), without_offset(&x_reduced));
        (params.m_kept, params.w_reduced) = (Operand::new(&m_kept), without_offset(&m_reduced));
        buffers.run(device, "affine", device.folded(weight.numel()), &params, &results[0], Some(&results[1]));
        results.map(|s| Tensor::from_storage(device, s, DType::F32, *weight.shape()))
    });
    (Tensor::from_storage(device, out, DType::F32, shape), affine)
}
