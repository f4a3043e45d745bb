//! Normalisation and its gradient (`kernels/norm.cu`, `kernels/norm_grad.cu`). The launches of each kind:
//!
//! ```text
//! kind    forward           gradient
//! layer   rows              rows; columns if there is a weight
//! batch   moments, apply    sums, apply
//! group   moments, apply    sums, apply; sums if there is a weight
//! ```
//!
//! The update of the running statistics of a batch is one more launch.

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::{LONG, THREADS, WARP, chunks, column_width, grid_stride, lanes};
use crate::memory::{Storage, data, tensor_ref};
use crate::params::{PACKED, TensorRef, Walk, params};
use minitorch_core::DType;
use minitorch_core::backend::NormOps;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::{FIELDS, NormKind, NormOptions, aligned};

params! {
    #[derive(Default)]
    NormParams in "norm.cuh" {
        walk: Walk,
        x: Address,
        g: Address,
        w: Address,
        b: Address,
        out: Address,
        statistics: Address,
        sum_g: Address,
        sum_gh: Address,
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

/// The kind of a normalisation and its sizes; see norm.cuh.
type Plan = (NormKind, [usize; 4]);

/// One call: it borrows its tensors and holds the parameters of its kernels.
struct Call<'a> {
    device: &'a Cuda,
    dtype: DType,
    dims: [usize; 4],
    params: NormParams,
}

impl<'a> Call<'a> {
    /// The tensors are contiguous.
    fn new(x: &'a Tensor, g: Option<&Tensor>, [w, b]: [Option<&Tensor>; 2], plan: Plan, eps: f64) -> Self {
        let (kind, dims @ [images, groups, group_channels, size]) = plan;
        let refs = [Some(x), g, w, b].map(|x| x.map_or(TensorRef::NONE, tensor_ref));
        // The weight and bias of a layer are read in packs too.
        let packed_refs = if kind == NormKind::Layer { 4 } else { 2 };
        let mut packed = refs.into_iter().take(packed_refs).filter(|x| x.data != 0);
        let count = match kind {
            NormKind::Batch => images * size,
            NormKind::Group => group_channels * size,
            NormKind::Layer => size,
        };
        let params = NormParams {
            walk: Walk::new(&[images, groups, group_channels, size]),
            x: refs[0].data,
            g: refs[1].data,
            w: refs[2].data,
            b: refs[3].data,
            counters: x.device().0.counters(),
            eps,
            count: count as f64,
            set: count as u64,
            per_channel: (kind == NormKind::Batch) as u32,
            across: (kind == NormKind::Batch) as u32,
            weighted: (kind == NormKind::Group) as u32,
            packed: (size.is_multiple_of(4) && packed.all(|x| x.order == PACKED)) as u32,
            ..NormParams::default()
        };
        Call { device: x.device(), dtype: x.dtype(), dims, params }
    }

    fn alloc(&self, len: usize) -> Storage {
        self.device.alloc("normalize", self.dtype, len)
    }

    fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize) {
        self.device.0.launch(name!("{kernel}_{}", suffix(self.dtype)), grid, [threads, 1, 1], &self.params);
    }

    /// The kernel for the rows of a layer; `family` is `norm` or `norm_grad`.
    fn rows(&mut self, family: &str) {
        let [_, rows, _, d] = self.dims;
        if d > WARP * (128 / self.dtype.size()) {
            return self.launch(name!("{family}_long"), [rows, 1, 1], LONG);
        }
        let (kind, team) = if d <= 4 * WARP { ("small", lanes(d)) } else { ("row", WARP) };
        self.params.team_log = team.trailing_zeros();
        self.launch(name!("{family}_{kind}"), [(rows * team).div_ceil(THREADS), 1, 1], THREADS);
    }

    /// The buffer for the partial results of chunks: three f64 for moments, two sums for a gradient.
    fn partial(&self, kernel: &str, sets: usize, chunks: usize) -> Storage {
        let (dtype, fields) = if kernel.starts_with("norm_grad") { (self.dtype, 2) } else { (DType::F64, 3) };
        self.device.alloc("normalize", dtype, if chunks > 1 { fields * sets * chunks } else { 0 })
    }

    /// A kernel with a block per set of `len` elements and chunk.
    fn sets(&mut self, kernel: &str, sets: usize, len: usize) {
        let (chunk, chunks) = chunks(self.device, sets, len, THREADS);
        let partial = self.partial(kernel, sets, chunks);
        (self.params.set, self.params.chunk, self.params.partial) = (len as u64, chunk as u64, partial.address());
        self.launch(kernel, [sets, chunks, 1], THREADS);
    }

    /// A kernel with a block per group of adjacent columns of `len` elements and chunk.
    fn columns(&mut self, kernel: &str, columns: usize, len: usize) {
        let width = column_width(self.device, columns, len);
        let blocks = columns.div_ceil(width);
        let (chunk, chunks) = chunks(self.device, blocks, len, THREADS / width);
        let partial = self.partial(kernel, columns, chunks);
        (self.params.set, self.params.chunk, self.params.partial) = (len as u64, chunk as u64, partial.address());
        self.params.width_log = width.trailing_zeros();
        self.launch(kernel, [blocks, chunks, 1], THREADS);
    }

    /// An element-wise kernel.
    fn apply(&self, kernel: &str) {
        let numel: usize = self.dims.iter().product();
        let (grid, _) = grid_stride(self.device, if self.params.packed != 0 { numel / 4 } else { numel });
        self.launch(kernel, grid, THREADS);
    }
}

impl NormOps for Cuda {
    fn normalize(&self, x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, options: &NormOptions) -> [Tensor; 2] {
        let Some(plan) = options.kind(x, w, b) else { return composed::normalize(x, w, b, options) };
        let (x, affine) = (x.contiguous(), [w, b].map(|w| w.map(Tensor::contiguous)));
        let means = options.means(x.shape()).numel();
        let mut call = Call::new(&x, None, affine.each_ref().map(Option::as_ref), plan, options.eps);
        let (out, statistics) = (call.alloc(x.numel()), call.alloc(FIELDS * means));
        (call.params.out, call.params.statistics) = (out.address(), statistics.address());
        let (kind, [n, g, k, size]) = plan;
        match kind {
            NormKind::Layer => call.rows("norm"),
            NormKind::Batch if size == 1 => call.columns("norm_columns", g, n),
            NormKind::Batch => call.sets("norm_moments", g, n * size),
            NormKind::Group => call.sets("norm_moments", n * g, k * size),
        }
        if kind != NormKind::Layer {
            call.apply("norm_apply");
        }
        let tensor = |storage, shape| Tensor::from_storage(self, storage, x.dtype(), shape);
        [tensor(out, *x.shape()), tensor(statistics, [means, FIELDS].into())]
    }

    fn normalize_by(
        &self,
        x: &Tensor,
        w: Option<&Tensor>,
        b: Option<&Tensor>,
        statistics: &Tensor,
        options: &NormOptions,
    ) -> Tensor {
        let plan = options.kind(x, w, b).filter(|(kind, _)| *kind != NormKind::Layer);
        let Some(plan) = plan else { return composed::normalize_by(x, w, b, statistics, options) };
        let (x, affine, statistics) = (x.contiguous(), [w, b].map(|w| w.map(Tensor::contiguous)), aligned(statistics));
        let mut call = Call::new(&x, None, affine.each_ref().map(Option::as_ref), plan, options.eps);
        let out = call.alloc(x.numel());
        (call.params.out, call.params.statistics) = (out.address(), statistics.view().storage.address());
        call.apply("norm_apply");
        Tensor::from_storage(self, out, x.dtype(), *x.shape())
    }

    fn normalize_grad(
        &self,
        g: &Tensor,
        x: &Tensor,
        w: Option<&Tensor>,
        statistics: &Tensor,
        options: &NormOptions,
    ) -> (Tensor, Option<[Tensor; 2]>) {
        let Some(plan) = options.kind(x, w, None) else {
            return composed::normalize_grad(g, x, w, statistics, options);
        };
        let (g, x, weight, statistics) =
            (g.contiguous(), x.contiguous(), w.map(Tensor::contiguous), aligned(statistics));
        let mut call = Call::new(&x, Some(&g), [weight.as_ref(), None], plan, options.eps);
        let (kind, [n, groups, k, size]) = plan;
        let (channels, means) = (groups * k, n * groups);
        let out = call.alloc(x.numel());
        // The gradients of w and b; those of a batch are also the sums that the gradient of x needs.
        let len = if kind == NormKind::Layer { size } else { channels };
        let [gw, gb] = [0, 1].map(|_| call.alloc(if weight.is_some() || kind == NormKind::Batch { len } else { 0 }));
        (call.params.out, call.params.statistics) = (out.address(), statistics.view().storage.address());
        (call.params.sum_g, call.params.sum_gh) = (gb.address(), gw.address());
        match kind {
            NormKind::Layer => {
                call.rows("norm_grad");
                if weight.is_some() {
                    call.columns("norm_grad_columns", size, groups);
                }
            }
            NormKind::Batch => {
                if size == 1 {
                    call.columns("norm_grad_columns", groups, n);
                } else {
                    call.sets("norm_grad_sums", groups, n * size);
                }
                call.apply("norm_grad_apply");
            }
            NormKind::Group => {
                let sums = call.alloc(2 * means);
                let sum_gh = sums.address() + (means * x.dtype().size()) as u64;
                (call.params.sum_g, call.params.sum_gh) = (sums.address(), sum_gh);
                call.sets("norm_grad_sums", means, k * size);
                call.apply("norm_grad_apply");
                if weight.is_some() {
                    (call.params.sum_g, call.params.sum_gh) = (gb.address(), gw.address());
                    (call.params.across, call.params.weighted) = (1, 0);
                    call.sets("norm_grad_sums", channels, n * size);
                }
            }
        }
        let tensor = |storage, shape| Tensor::from_storage(self, storage, x.dtype(), shape);
        let affine = w.map(|w| [gw, gb].map(|storage| tensor(storage, *w.shape())));
        (tensor(out, *x.shape()), affine)
    }

    fn running_statistics(
        &self,
        [mean, var]: [&Tensor; 2],
        statistics: &Tensor,
        momentum: f64,
        unbiased: f64,
    ) -> [Tensor; 2] {
        let (dtype, channels) = (mean.dtype(), mean.numel());
        let (mean, var, statistics) = (mean.contiguous(), var.contiguous(), aligned(statistics));
        let out = [0, 1].map(|_| self.alloc("running_statistics", dtype, channels));
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
            self.0.launch(name!("norm_running_{}", suffix(dtype)), grid, [THREADS, 1, 1], &params);
        }
        out.map(|storage| Tensor::from_storage(self, storage, dtype, channels))
    }
}
