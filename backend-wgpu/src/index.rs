//! Reading and writing at indices: geometry and entries for `shaders/index.wgsl`.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use crate::shader::{Form, Shader};
use crate::stream::Bind;
use crate::{binary, copy, reduce};
use bytemuck::Zeroable;
use minitorch_core::backend::{BinaryOp, ReduceOp, ScatterOp, View};
use minitorch_core::{DType, Layout, MAX_RANK};

/// Who may find a bad index; 0 is nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum IndexedOp {
    Gather = 1,
    ScatterAdd = 2,
    Scatter = 3,
    CrossEntropy = 4,
}

impl IndexedOp {
    pub(crate) fn name(op: u32) -> &'static str {
        match op {
            op if op == IndexedOp::Gather as u32 => "gather",
            op if op == IndexedOp::ScatterAdd as u32 => "scatter_add",
            op if op == IndexedOp::Scatter as u32 => "scatter",
            _ => "cross_entropy",
        }
    }
}

params! {
    /// What index.wgsl takes.
    IndexParams in "index" {
        walk: Walk,
        base: Operand,
        index: Operand,
        x: Operand,
        number: Operand,
        step: u32,
        bound: u32,
        line: u32,
        line_step: u32,
        op: u32,
        copies: u32,
        copy_step: u32,
        unused: u32,
    }
}

/// The largest line of an index in which each element looks at all behind it, in one dispatch; longer ones take three.
const SHORT_LINE: usize = 32;

/// `layout` with `dim` of this size and stride.
fn with(layout: &Layout, dim: usize, size: usize, stride: usize) -> Layout {
    let mut strides = [0; MAX_RANK];
    let rank = layout.shape().len();
    strides[..rank].copy_from_slice(layout.strides());
    strides[dim] = stride;
    Layout::new(layout.shape().with(dim, size), &strides[..rank], layout.offset())
}

/// Entries per element of the target from which on they are added to copies of it, and how many copies.
const MANY: usize = 64;
const COPIES: usize = 16;

fn launch(device: &Wgpu, entry: &'static str, dtype: DType, params: &IndexParams, binds: &[Bind<'_>]) {
    let shader = Shader::new("index", entry).form(Form::of(dtype, dtype));
    device.dispatch(shader, device.walk_over(params.walk.numel as usize), params, binds);
}

pub(crate) fn gather(device: &Wgpu, x: View<'_, Storage>, dim: usize, index: View<'_, Storage>) -> Storage {
    let (bound, step) = (x.layout.shape()[dim], x.layout.strides()[dim]);
    let line = index.layout.shape()[dim];
    [x, index].iter().for_each(|x| x.storage.check(x.layout));
    let out = device.alloc("gather", x.dtype, index.layout.numel());
    if index.layout.numel() == 0 {
        return out;
    }
    let [base, at] = Layout::merge([with(x.layout, dim, line, 0), *index.layout]);
    let params = IndexParams {
        walk: Walk::new(at.shape()),
        base: Operand::new(&base),
        index: Operand::new(&at),
        step: step as u32,
        bound: bound as u32,
        op: IndexedOp::Gather as u32,
        ..IndexParams::zeroed()
    };
    // Nothing is read from a tensor without elements, which has no buffer.
    let from = if bound == 0 { index.storage } else { x.storage };
    let binds = [Bind::Write(&out), Bind::Read(from), Bind::Read(index.storage), Bind::BadIndex];
    launch(device, "gather", x.dtype, &params, &binds);
    out
}

pub(crate) fn scatter(
    device: &Wgpu,
    op: ScatterOp,
    to: &mut Storage,
    layout: &Layout,
    dim: usize,
    index: View<'_, Storage>,
    x: View<'_, Storage>,
) {
    if index.layout.numel() == 0 {
        return;
    }
    let whole = Layout::contiguous(*layout.shape());
    if op == ScatterOp::Add && x.dtype == DType::F16 {
        // There are no atomics of 16 bits.
        let cast = |x, to| copy::cast(device, x, to);
        let mut sums = cast(View { storage: to, layout: &whole, dtype: DType::F16 }, DType::F32);
        let (x, layout) = (cast(x, DType::F32), Layout::contiguous(*x.layout.shape()));
        scatter(device, op, &mut sums, &whole, dim, index, View { storage: &x, layout: &layout, dtype: DType::F32 });
        *to = cast(View { storage: &sums, layout: &whole, dtype: DType::F32 }, DType::F16);
        return;
    }
    [x, index].iter().for_each(|x| x.storage.check(x.layout));
    let (bound, step) = (whole.shape()[dim], whole.strides()[dim]);
    let (line, line_step) = (index.layout.shape()[dim], index.layout.strides()[dim]);
    let number = with(&Layout::new(*index.layout.shape(), &[0; MAX_RANK][..layout.shape().len()], 0), dim, line, 1);
    let base = with(&whole, dim, line, 0);
    // Sums need no k, and may merge more dimensions without it.
    let [base, at, from, number] = match op {
        ScatterOp::Set => Layout::merge([base, *index.layout, *x.layout, number]),
        ScatterOp::Add => {
            let [base, at, from] = Layout::merge([base, *index.layout, *x.layout]);
            [base, at, from, base]
        }
    };
    let params = IndexParams {
        walk: Walk::new(at.shape()),
        base: Operand::new(&base),
        index: Operand::new(&at),
        x: Operand::new(&from),
        number: Operand::new(&number),
        step: step as u32,
        bound: bound as u32,
        line: line as u32,
        line_step: line_step as u32,
        op: if op == ScatterOp::Add { IndexedOp::ScatterAdd } else { IndexedOp::Scatter } as u32,
        copies: 1,
        copy_step: 0,
        unused: 0,
    };
    let many = index.layout.numel() >= MANY * whole.numel() && bound > 0;
    if many && op == ScatterOp::Add && x.dtype == DType::F32 {
        return add_by_copies(device, params, to, whole.numel(), [x.storage, index.storage]);
    }
    // A tensor without elements has no buffer, and nothing is written to what stands for it.
    let nothing = (bound == 0).then(|| device.alloc("scatter", x.dtype, 1));
    let to = nothing.as_ref().unwrap_or(to);
    let binds = [Bind::Write(to), Bind::Read(x.storage), Bind::Read(index.storage), Bind::BadIndex];
    match op {
        ScatterOp::Add if x.dtype == DType::I32 => launch(device, "add_i32", DType::I32, &params, &binds),
        ScatterOp::Add => launch(device, "add_f32", DType::F32, &params, &binds),
        ScatterOp::Set if line <= SHORT_LINE => launch(device, "place_last", x.dtype, &params, &binds),
        ScatterOp::Set => {
            let winners = device.alloc("scatter", DType::I32, whole.numel().max(1));
            let [_, from, at, bad] = binds;
            launch(device, "clear", x.dtype, &params, &[Bind::Write(&winners), from, at, bad]);
            launch(device, "elect", x.dtype, &params, &[Bind::Write(&winners), from, at, bad]);
            launch(device, "settle", x.dtype, &params, &[Bind::Write(to), from, at, bad, Bind::Read(&winners)]);
        }
    }
}

/// Adds to many copies of a small tensor and then joins those: invocations meet less often, and no sum is one long chain of
/// roundings.
fn add_by_copies(device: &Wgpu, params: IndexParams, to: &mut Storage, numel: usize, [x, index]: [&Storage; 2]) {
    let mut parts = device.alloc("scatter_add", DType::F32, COPIES * numel);
    copy::fill(device, &mut parts, &Layout::contiguous([COPIES * numel]), DType::F32, 0.0);
    let params = IndexParams { copies: COPIES as u32, copy_step: numel as u32, ..params };
    launch(
        device,
        "add_f32",
        DType::F32,
        &params,
        &[Bind::Write(&parts), Bind::Read(x), Bind::Read(index), Bind::BadIndex],
    );
    let (line, dtype) = (Layout::contiguous([numel]), DType::F32);
    let sums = reduce::reduce(
        device,
        ReduceOp::Sum,
        View { storage: &parts, layout: &Layout::contiguous([COPIES, numel]), dtype },
        &[0],
    );
    binary::binary_mut(device, BinaryOp::Add, to, &line, View { storage: &sums, layout: &line, dtype });
}
