//! Normalisation and its gradient: geometry and names for `kernels/norm.cu` and `kernels/norm_grad.cu`.
//!
//! ```text
//!          forward                 gradient                                     launches
//! layer    rows                    rows, and columns if there is a weight       1, 1 or 2
//! batch    moments, map            sums, map                                    2, 2
//! group    moments, map            sums, map, and sums if there is a weight     2, 2 or 3
//!
//! running statistics of a batch: 1
//! ```

use crate::Tensor;
use crate::device::{Cuda, THREADS, name, suffix};
use crate::driver::Address;
use crate::memory::Storage;
use crate::params::{Operand, Walk, data, params};
use crate::reduce::{column_width, pieces};
use minitorch_core::DType;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;

params! {
    NormParams in "norm.cuh" {
        walk: Walk,
        x: Address,
        g: Address,
        w: Address,
        b: Address,
        out: Address,
        statistics: Address,
        first: Address,
        second: Address,
        partial: Address,
        counters: Address,
        eps: f64,
        count: f64,
        set: u64,
        chunk: u64,
        per_channel: u32,
        across: u32,
        weighted: u32,
        packed: u32,
        team_log: u32,
        width_log: u32,
    }
}

params! {
    RunningParams in "norm.cu" {
        mean: Address,
        var: Address,
        statistics: Address,
        new_mean: Address,
        new_var: Address,
        channels: u64,
        momentum: f64,
        unbiased: f64,
    }
}

const WARP: usize = 32;
/// Threads of a block that has a row to itself.
const LONG: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A mean per channel of all images.
    Batch,
    /// A mean per group of neighbouring channels of one image.
    Group,
    /// A mean per row; weight and bias along it.
    Layer,
}

/// What core asks for, as `[images, groups, together, size]`; see norm.cuh.
#[derive(Clone, Copy)]
struct Plan {
    kind: Kind,
    dims: [usize; 4],
}

/// `None` for what takes the composed form: nothing at all, and arrangements that core does not ask for.
fn plan(x: &Tensor, w: Option<&Tensor>, o: &NormOptions) -> Option<Plan> {
    let w = w.map(|w| &**w.shape());
    let (kind, dims) = match (&**x.shape(), &*o.dims) {
        (&[n, c, size], [0, 2]) if w.is_none_or(|w| *w == [1, c, 1]) => (Kind::Batch, [n, c, 1, size]),
        (&[n, g, k, size], [2, 3]) if w.is_none_or(|w| *w == [1, g, k, 1]) => (Kind::Group, [n, g, k, size]),
        (&[rows, d], [1]) if w.is_none_or(|w| *w == [1, d]) => (Kind::Layer, [1, rows, 1, d]),
        _ => return None,
    };
    (x.numel() > 0).then_some(Plan { kind, dims })
}

/// One call: its tensors, which live as long as it, and what its kernels take.
struct Call<'a> {
    device: &'a Cuda,
    dtype: DType,
    plan: Plan,
    params: NormParams,
}

impl<'a> Call<'a> {
    /// Tensors are whole and row-major.
    fn new(x: &'a Tensor, g: Option<&Tensor>, [w, b]: [Option<&Tensor>; 2], plan: Plan, eps: f64) -> Self {
        let [images, groups, together, size] = plan.dims;
        let operand = |x: &Tensor| Operand::of(x.view().storage, x.dtype(), x.layout());
        let [x_at, g_at, w_at, b_at] = [Some(x), g, w, b].map(|x| x.map_or(Operand::NONE, operand));
        // Along a row weight and bias are read in packs too.
        let along = if plan.kind == Kind::Layer { 4 } else { 2 };
        let mut moved = [x_at, g_at, w_at, b_at].into_iter().take(along).filter(|x| x.data != 0);
        let count = match plan.kind {
            Kind::Batch => images * size,
            Kind::Group => together * size,
            Kind::Layer => size,
        };
        let params = NormParams {
            walk: Walk::new(&[images, groups, together, size]),
            x: x_at.data,
            g: g_at.data,
            w: w_at.data,
            b: b_at.data,
            out: 0,
            statistics: 0,
            first: 0,
            second: 0,
            partial: 0,
            counters: x.device().0.counters(),
            eps,
            count: count as f64,
            set: count as u64,
            chunk: 0,
            per_channel: (plan.kind == Kind::Batch) as u32,
            across: (plan.kind == Kind::Batch) as u32,
            weighted: (plan.kind == Kind::Group) as u32,
            packed: (size.is_multiple_of(4) && moved.all(|x| x.order == 2)) as u32,
            team_log: 0,
            width_log: 0,
        };
        Call { device: x.device(), dtype: x.dtype(), plan, params }
    }

    fn alloc(&self, len: usize) -> Storage {
        self.device.alloc("normalize", self.dtype, len)
    }

    fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize) {
        self.device.0.launch(name!("{kernel}_{}", suffix(self.dtype)), grid, [threads, 1, 1], 0, &self.params);
    }

    /// One kernel for whole rows of a layer: `family` is `norm` or `norm_grad`.
    fn rows(&mut self, family: &str) {
        let [_, rows, _, d] = self.plan.dims;
        if d > WARP * (128 / self.dtype.size()) {
            return self.launch(name!("{family}_long"), [rows, 1, 1], LONG);
        }
        let (kind, team) = if d <= 4 * WARP { ("small", d.div_ceil(4).next_power_of_two()) } else { ("row", WARP) };
        self.params.team_log = team.trailing_zeros();
        self.launch(name!("{family}_{kind}"), [(rows * team).div_ceil(THREADS), 1, 1], THREADS);
    }

    /// Partial results of blocks, if there are any to join: moments are kept in double.
    fn partial(&self, kernel: &str, sets: usize, pieces: usize) -> Storage {
        let dtype = if kernel.starts_with("norm_grad") { self.dtype } else { DType::F64 };
        self.device.alloc("normalize", dtype, if pieces > 1 { 3 * sets * pieces } else { 0 })
    }

    /// A kernel of a block per set of `len` elements and piece.
    fn sets(&mut self, kernel: &str, sets: usize, len: usize) {
        let (chunk, pieces) = pieces(self.device, sets, len, THREADS);
        let partial = self.partial(kernel, sets, pieces);
        (self.params.set, self.params.chunk, self.params.partial) = (len as u64, chunk as u64, partial.address());
        self.launch(kernel, [sets, pieces, 1], THREADS);
    }

    /// A kernel of a block per some of `columns` columns of `len` elements and piece.
    fn columns(&mut self, kernel: &str, columns: usize, len: usize) {
        let width = column_width(self.device, columns, len);
        let blocks = columns.div_ceil(width);
        let (chunk, pieces) = pieces(self.device, blocks, len, THREADS / width);
        let partial = self.partial(kernel, columns, pieces);
        (self.params.set, self.params.chunk, self.params.partial) = (len as u64, chunk as u64, partial.address());
        self.params.width_log = width.trailing_zeros();
        self.launch(kernel, [blocks, pieces, 1], THREADS);
    }

    /// A kernel that walks over all elements.
    fn map(&self, kernel: &str) {
        let numel: usize = self.plan.dims.iter().product();
        let (grid, _) = self.device.walk_over(if self.params.packed != 0 { numel / 4 } else { numel });
        self.launch(kernel, grid, THREADS);
    }
}

/// Numbers that are kept of a mean: see `Backend::normalize`.
const FIELDS: usize = 4;

/// [`plan`] with a bias, which has the weight's shape, or the composed form broadcasts it.
fn forward_plan(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> Option<Plan> {
    plan(x, w, o).filter(|_| b.is_none_or(|b| w.is_some_and(|w| w.shape() == b.shape())))
}

pub(crate) fn normalize(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> [Tensor; 2] {
    let Some(plan) = forward_plan(x, w, b, o) else { return composed::normalize(x, w, b, o) };
    let (x, affine) = (x.contiguous(), [w, b].map(|w| w.map(Tensor::contiguous)));
    let means = o.dims.iter().fold(*x.shape(), |shape, &d| shape.with(d, 1)).numel();
    let mut call = Call::new(&x, None, affine.each_ref().map(Option::as_ref), plan, o.eps);
    let (out, statistics) = (call.alloc(x.numel()), call.alloc(FIELDS * means));
    (call.params.out, call.params.statistics) = (out.address(), statistics.address());
    let [n, g, k, size] = plan.dims;
    match plan.kind {
        Kind::Layer => call.rows("norm"),
        Kind::Batch if size == 1 => call.columns("norm_columns", g, n),
        Kind::Batch => call.sets("norm_moments", g, n * size),
        Kind::Group => call.sets("norm_moments", n * g, k * size),
    }
    if plan.kind != Kind::Layer {
        call.map("norm_map");
    }
    let tensor = |storage, shape| Tensor::from_storage(x.device(), storage, x.dtype(), shape);
    [tensor(out, *x.shape()), tensor(statistics, [means, FIELDS].into())]
}

pub(crate) fn normalize_by(
    x: &Tensor,
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    statistics: &Tensor,
    o: &NormOptions,
) -> Tensor {
    let plan = forward_plan(x, w, b, o).filter(|plan| plan.kind != Kind::Layer);
    let Some(plan) = plan else { return composed::normalize_by(x, w, b, statistics, o) };
    let (x, affine, statistics) = (x.contiguous(), [w, b].map(|w| w.map(Tensor::contiguous)), whole(statistics));
    let mut call = Call::new(&x, None, affine.each_ref().map(Option::as_ref), plan, o.eps);
    let out = call.alloc(x.numel());
    (call.params.out, call.params.statistics) = (out.address(), statistics.view().storage.address());
    call.map("norm_map");
    Tensor::from_storage(x.device(), out, x.dtype(), *x.shape())
}

/// The tensor, contiguous from the start of its buffer: the kernels read aligned packs of statistics.
fn whole(x: &Tensor) -> Tensor {
    if x.layout().offset() == 0 { x.contiguous() } else { x + 0.0 }
}

/// In one launch.
pub(crate) fn running_statistics(
    [mean, var]: [&Tensor; 2],
    statistics: &Tensor,
    momentum: f64,
    unbiased: f64,
) -> [Tensor; 2] {
    let (device, dtype, channels) = (mean.device(), mean.dtype(), mean.numel());
    let (mean, var, statistics) = (mean.contiguous(), var.contiguous(), whole(statistics));
    let out = [0, 1].map(|_| device.alloc("running_statistics", dtype, channels));
    if channels > 0 {
        let params = RunningParams {
            mean: data(&mean),
            var: data(&var),
            statistics: data(&statistics),
            new_mean: out[0].address(),
            new_var: out[1].address(),
            channels: channels as u64,
            momentum,
            unbiased,
        };
        let grid = [channels.div_ceil(THREADS), 1, 1];
        device.0.launch(name!("norm_running_{}", suffix(dtype)), grid, [THREADS, 1, 1], 0, &params);
    }
    out.map(|storage| Tensor::from_storage(device, storage, dtype, channels))
}

pub(crate) fn normalize_grad(
    g: &Tensor,
    x: &Tensor,
    w: Option<&Tensor>,
    statistics: &Tensor,
    o: &NormOptions,
) -> (Tensor, Option<[Tensor; 2]>) {
    let Some(plan) = plan(x, w, o) else { return composed::normalize_grad(g, x, w, statistics, o) };
    let (g, x, weight, statistics) = (g.contiguous(), x.contiguous(), w.map(Tensor::contiguous), whole(statistics));
    let mut call = Call::new(&x, Some(&g), [weight.as_ref(), None], plan, o.eps);
    let [n, groups, k, size] = plan.dims;
    let (channels, means) = (groups * k, n * groups);
    let out = call.alloc(x.numel());
    // The gradients in w and b; a batch's are also the sums of the gradient in x.
    let len = if plan.kind == Kind::Layer { size } else { channels };
    let [gw, gb] = [0, 1].map(|_| call.alloc(if weight.is_some() || plan.kind == Kind::Batch { len } else { 0 }));
    (call.params.out, call.params.statistics) = (out.address(), statistics.view().storage.address());
    (call.params.first, call.params.second) = (gb.address(), gw.address());
    match plan.kind {
        Kind::Layer => {
            call.rows("norm_grad");
            if weight.is_some() {
                call.columns("norm_grad_columns", size, groups);
            }
        }
        Kind::Batch => {
            if size == 1 {
                call.columns("norm_grad_columns", groups, n);
            } else {
                call.sets("norm_grad_sums", groups, n * size);
            }
            call.map("norm_grad_map");
        }
        Kind::Group => {
            let sums = call.alloc(2 * means);
            let second = sums.address() + (means * x.dtype().size()) as u64;
            (call.params.first, call.params.second) = (sums.address(), second);
            call.sets("norm_grad_sums", means, k * size);
            call.map("norm_grad_map");
            if weight.is_some() {
                (call.params.first, call.params.second) = (gb.address(), gw.address());
                (call.params.across, call.params.weighted) = (1, 0);
                call.sets("norm_grad_sums", channels, n * size);
            }
        }
    }
    let tensor = |storage, shape| Tensor::from_storage(x.device(), storage, x.dtype(), shape);
    let affine = w.map(|w| [gw, gb].map(|storage| tensor(storage, *w.shape())));
    (tensor(out, *x.shape()), affine)
}
