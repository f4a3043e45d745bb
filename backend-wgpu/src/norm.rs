//! Normalization and its gradient (`shaders/norm.wgsl`): two dispatches forward and two or three backward, and one more each where
//! few statistics of many elements are computed in chunks.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Strides, Walk, params};
use crate::reduce;
use crate::shader::{Form, Shader};
use crate::stream::Bind;
use bytemuck::Zeroable;
use minitorch_core::backend::{NormOps, ReduceOp, ReduceOps, View};
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::{FIELDS, NormOptions, aligned, bias_fits};
use minitorch_core::{DType, Layout, Shape};

params! {
    /// Mirrors `NormParams` in norm.wgsl.
    NormParams in "norm" {
        kept: Walk,
        reduced: Walk,
        x_kept: Strides,
        x_reduced: Strides,
        w_kept: Strides,
        w_reduced: Strides,
        m_kept: Strides,
        eps: f32,
        g_offset: u32,
        weights: u32,
        b_offset: u32,
        chunks: u32,
        chunk: u32,
        means: u32,
        unused: u32,
    }
}

/// `NormParams::weights`, as in norm.wgsl; 0 is none. `WITHIN`: a weight (of `apply`, or within the sums); `BIAS`: a weight and a bias;
/// `FACTOR`: a weight that is a factor of the sums.
const WITHIN: u32 = 1;
const BIAS: u32 = 2;
const FACTOR: u32 = 3;

/// The buffers that the shaders read; x stands for those that an entry point does not read.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    x: &'a Storage,
    g: &'a Storage,
    statistics: &'a Storage,
    w: &'a Storage,
    b: &'a Storage,
}

impl<'a> Inputs<'a> {
    fn new(x: &'a Tensor) -> Self {
        let x = x.view().storage;
        Inputs { x, g: x, statistics: x, w: x, b: x }
    }

    /// Runs an entry point; `vec4` says how elements are accessed.
    fn run(&self, entry: &'static str, vec4: bool, groups: [u32; 3], params: &NormParams, out: &Storage, on: &Wgpu) {
        let [x, g, statistics, w, b] = [self.x, self.g, self.statistics, self.w, self.b].map(Bind::Read);
        let shader = Shader::new("norm", entry).form(Form { vec4, ..Form::default() });
        on.dispatch(shader, groups, params, &[Bind::Write(out), x, g, statistics, w, b]);
    }
}

/// The least elements of a chunk, which a workgroup reduces.
const MIN_CHUNK: usize = 4096;

impl NormOps for Wgpu {
    fn normalize(&self, x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> [Tensor; 2] {
        if x.numel() == 0 || !bias_fits(w, b) {
            return composed::normalize(x, w, b, o);
        }
        let x = x.contiguous();
        let means = o.means(x.shape()).numel();
        let statistics = self.alloc("normalize", DType::F32, FIELDS * means);
        let (params, vec4) = reduction(&x, o, None);
        let (inputs, chunks) = (Inputs::new(&x), params.chunks as usize);
        if chunks == 1 {
            inputs.run("moments", vec4, self.folded(means), &params, &statistics, self);
        } else {
            let partials = self.alloc("normalize", DType::F32, FIELDS * means * chunks);
            inputs.run("partial_moments", vec4, self.folded(means * chunks), &params, &partials, self);
            let combining = Inputs { statistics: &partials, ..inputs };
            combining.run("combine_moments", vec4, self.folded(means), &params, &statistics, self);
        }
        let y = apply(&x, w, b, &statistics, o);
        [y, Tensor::from_storage(self, statistics, DType::F32, [means, FIELDS])]
    }

    fn normalize_by(
        &self,
        x: &Tensor,
        w: Option<&Tensor>,
        b: Option<&Tensor>,
        statistics: &Tensor,
        o: &NormOptions,
    ) -> Tensor {
        if x.numel() == 0 || !bias_fits(w, b) {
            return composed::normalize_by(x, w, b, statistics, o);
        }
        apply(&x.contiguous(), w, b, aligned(statistics).view().storage, o)
    }

    fn normalize_grad(
        &self,
        g: &Tensor,
        x: &Tensor,
        weight: Option<&Tensor>,
        statistics: &Tensor,
        o: &NormOptions,
    ) -> (Tensor, Option<[Tensor; 2]>) {
        if x.numel() == 0 {
            return composed::normalize_grad(g, x, weight, statistics, o);
        }
        let shape = *x.shape();
        let (g, x, weight) = (g.contiguous(), x.contiguous(), weight.map(Tensor::contiguous));
        let statistics = aligned(statistics);
        let kept = o.means(x.shape());
        let out = self.alloc("normalize_grad", DType::F32, shape.numel());
        // A weight that all elements of a mean share is a factor of its sums, which are then the gradients of weight and bias.
        let factor =
            weight.as_ref().is_some_and(|w| w.numel() == kept.numel() && o.dims.iter().all(|&d| w.shape()[d] == 1));
        let mut inputs = Inputs { g: g.view().storage, statistics: statistics.view().storage, ..Inputs::new(&x) };
        if let Some(w) = &weight {
            inputs.w = w.view().storage;
        }
        let g_offset = g.layout().offset();
        let g_vec4 = g_offset.is_multiple_of(4);

        let (mut params, vec4) = reduction(&x, o, weight.as_ref().filter(|_| !factor));
        params.g_offset = g_offset as u32;
        let (chunks, means) = (params.chunks as usize, kept.numel());
        let mut sums = self.alloc("normalize_grad", DType::F32, chunks * 2 * means);
        inputs.run("sums", vec4 && g_vec4, self.folded(means * chunks), &params, &sums, self);
        if chunks > 1 {
            let layout = Layout::contiguous([chunks, 2 * means]);
            sums = self.reduce(ReduceOp::Sum, View { storage: &sums, layout: &layout, dtype: DType::F32 }, &[0]);
        }

        let vec4 = element_wise(&mut params, &x, weight.as_ref(), &kept) && g_vec4;
        if factor {
            params.weights = FACTOR;
        }
        let with_sums = Inputs { b: &sums, ..inputs };
        with_sums.run("grad", vec4, grid_of_fours(self, shape.numel()), &params, &out, self);
        let affine = weight.as_ref().map(|weight| {
            let sums = if factor { sums } else { affine(inputs, &x, weight, kept, params, g_vec4) };
            let both = Tensor::from_storage(self, sums, DType::F32, [2, weight.numel()]);
            // The gradient of the weight is the sum with h: the second of a mean's sums, the first of `affine`.
            [factor as usize, !factor as usize].map(|i| both.narrow(0, i, 1).reshape(*weight.shape()))
        });
        (Tensor::from_storage(self, out, DType::F32, shape), affine)
    }
}

fn apply(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, statistics: &Storage, o: &NormOptions) -> Tensor {
    let (device, shape) = (x.device(), *x.shape());
    let (w, b) = (w.map(Tensor::contiguous), b.map(Tensor::contiguous));
    let out = device.alloc("normalize", DType::F32, shape.numel());
    let (mut params, _) = reduction(x, o, None);
    let vec4 = element_wise(&mut params, x, w.as_ref(), &o.means(x.shape()));
    params.weights = if b.is_some() { BIAS } else { w.is_some() as u32 };
    params.b_offset = b.as_ref().map_or(0, |b| b.layout().offset()) as u32;
    let mut inputs = Inputs { statistics, ..Inputs::new(x) };
    if let Some(w) = &w {
        inputs.w = w.view().storage;
    }
    if let Some(b) = &b {
        inputs.b = b.view().storage;
    }
    inputs.run("apply", vec4, grid_of_fours(device, shape.numel()), &params, &out, device);
    Tensor::from_storage(device, out, DType::F32, shape)
}

/// The grid of a shader that handles four elements per invocation.
fn grid_of_fours(device: &Wgpu, numel: usize) -> [u32; 3] {
    device.grid_over(numel.div_ceil(4))
}

/// Parameters of the entry points that reduce: the kept and the reduced dimensions, and the strides of x and of a weight within the
/// sums along both; and whether x is read as vec4.
fn reduction(x: &Tensor, o: &NormOptions, w: Option<&Tensor>) -> (NormParams, bool) {
    let wide = w.map_or(*x.layout(), |w| w.layout().expand(*x.shape()));
    let [kept, w_kept] = reduce::part([*x.layout(), wide], |d| !o.dims.contains(&d));
    let [reduced, w_reduced] = reduce::part([*x.layout(), wide], |d| o.dims.contains(&d));
    let [chunks, chunk] = reduce::chunks(kept.numel(), reduced.numel(), MIN_CHUNK);
    let params = NormParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        x_kept: Strides::new(&kept),
        x_reduced: Strides::without_offset(&reduced),
        w_kept: Strides::new(&w_kept),
        w_reduced: Strides::without_offset(&w_reduced),
        m_kept: Strides::zeroed(),
        eps: o.eps as f32,
        g_offset: 0,
        weights: w.map_or(0, |_| WITHIN),
        b_offset: 0,
        chunks: chunks as u32,
        chunk: chunk as u32,
        means: kept.numel() as u32,
        unused: 0,
    };
    (params, reduce::is_vec4(&kept, &reduced))
}

/// Sets the parameters of `apply` and `grad`: x's shape, and the strides of weight and statistics along it; returns whether x is read
/// as vec4.
fn element_wise(params: &mut NormParams, x: &Tensor, w: Option<&Tensor>, statistics: &Shape) -> bool {
    let shape = *x.shape();
    let m = Layout::contiguous(*statistics).expand(shape);
    let w = w.map_or(m, |w| w.layout().expand(shape));
    let [_, w, m] = Layout::merge([Layout::contiguous(shape), w, m]);
    params.kept = Walk::new(w.shape());
    params.x_kept.offset = x.layout().offset() as u32;
    params.w_kept = Strides::new(&w);
    params.m_kept = Strides::new(&m);
    w.shape().last().is_some_and(|size| size.is_multiple_of(4)) && x.layout().offset().is_multiple_of(4)
}

/// The gradients of a weight and of a bias, [2, weights].
fn affine(
    inputs: Inputs<'_>,
    x: &Tensor,
    weight: &Tensor,
    kept: Shape,
    mut params: NormParams,
    g_vec4: bool,
) -> Storage {
    let device = x.device();
    let out = device.alloc("normalize_grad", DType::F32, 2 * weight.numel());
    let m = Layout::contiguous(kept).expand(*x.shape());
    let own = |d: usize| weight.shape()[d] != 1;
    let [x_kept, m_kept] = reduce::part([*x.layout(), m], own);
    let [x_reduced, m_reduced] = reduce::part([*x.layout(), m], |d| !own(d));
    params.kept = Walk::new(x_kept.shape());
    params.reduced = Walk::new(x_reduced.shape());
    (params.x_kept, params.x_reduced) = (Strides::new(&x_kept), Strides::without_offset(&x_reduced));
    (params.m_kept, params.w_reduced) = (Strides::new(&m_kept), Strides::without_offset(&m_reduced));
    let vec4 = reduce::is_vec4(&x_kept, &x_reduced) && g_vec4;
    inputs.run("affine", vec4, device.folded(weight.numel()), &params, &out, device);
    out
}
