//! Reading and writing at indices: geometry and names for `kernels/index.cu`.

use crate::device::{Cuda, IndexedOp, THREADS, name, suffix};
use crate::driver::Address;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use minitorch_core::backend::{ScatterOp, View};
use minitorch_core::{DType, Layout, MAX_RANK};

params! {
    /// What the kernels of index.cu take.
    IndexParams in "index.cu" {
        walk: Walk,
        base: Operand,
        index: Operand,
        x: Operand,
        number: Operand,
        step: u64,
        bound: u64,
        line: u64,
        line_step: u64,
        winners: Address,
        bad: Address,
        op: u32,
        unused: u32,
    }
}

/// The largest line of an index in which each element looks at all behind it, in one launch; longer ones take three.
const SHORT_LINE: usize = 32;

/// Elements per thread and turn.
const AT_ONCE: usize = 4;

/// `layout` with `dim` of this size and stride.
fn with(layout: &Layout, dim: usize, size: usize, stride: usize) -> Layout {
    let mut strides = [0; MAX_RANK];
    let rank = layout.shape().len();
    strides[..rank].copy_from_slice(layout.strides());
    strides[dim] = stride;
    Layout::new(layout.shape().with(dim, size), &strides[..rank], layout.offset())
}

/// Storage seen through a merged layout.
#[derive(Clone, Copy)]
struct Seen {
    data: Address,
    layout: Layout,
}

impl Seen {
    /// The layout lies within the storage, or the storage is empty and no index leads into it.
    fn new(storage: &Storage, dtype: DType, layout: Layout) -> Self {
        Seen { data: Operand::new(storage.address(), dtype, &layout).data, layout }
    }

    /// With rows counted in units of this many elements; the index of a unit is that of each of its elements.
    fn operand(&self, unit: usize) -> Operand {
        let mut strides = [0; MAX_RANK];
        for (to, &stride) in strides.iter_mut().zip(self.layout.strides()) {
            // The last stride is 1, and stays.
            *to = stride.div_ceil(unit) as u64;
        }
        Operand { data: self.data, strides, order: 0, unused: 0 }
    }
}

/// How many neighbours are moved as one: 16 bytes of them where rows share their index, lie in order and are aligned; else 1.
fn unit(dtype: DType, moved: &[Seen], index: &Layout, step: usize) -> usize {
    let count = 16 / dtype.size();
    let Some(last) = index.shape().len().checked_sub(1) else { return 1 };
    let fits = |n: &usize| n.is_multiple_of(count);
    let lies_well = |x: &Seen| {
        let strides = x.layout.strides();
        x.data.is_multiple_of(16) && strides[last] == 1 && strides[..last].iter().all(fits)
    };
    let good = index.strides()[last] == 0 && fits(&index.shape()[last]) && fits(&step) && moved.iter().all(lies_well);
    if good { count } else { 1 }
}

fn walk(index: &Layout, unit: usize) -> Walk {
    match index.shape().len() {
        0 => Walk::new(index.shape()),
        rank => Walk::new(&index.shape().with(rank - 1, index.shape()[rank - 1] / unit)),
    }
}

fn launch(device: &Cuda, kernel: &str, params: &IndexParams) {
    let runs = (params.walk.numel as usize).div_ceil(AT_ONCE * THREADS);
    let blocks = runs.min(8 * device.0.multiprocessors());
    device.0.launch(kernel, [blocks, 1, 1], [THREADS, 1, 1], 0, params);
}

pub(crate) fn gather(device: &Cuda, x: View<'_, Storage>, dim: usize, index: View<'_, Storage>) -> Storage {
    let (bound, step) = (x.layout.shape()[dim], x.layout.strides()[dim]);
    let line = index.layout.shape()[dim];
    assert!(
        index.layout.shape().with(dim, bound) == *x.layout.shape(),
        "gather: {:?} of {:?}",
        index.layout.shape(),
        x.layout.shape()
    );
    x.storage.check(x.dtype, x.layout);
    index.storage.check(index.dtype, index.layout);
    let out = device.alloc("gather", x.dtype, index.layout.numel());
    if index.layout.numel() == 0 {
        return out;
    }
    let [base, at] = Layout::merge([with(x.layout, dim, line, 0), *index.layout]);
    let (base, index) = (Seen::new(x.storage, x.dtype, base), Seen::new(index.storage, index.dtype, at));
    let unit = unit(x.dtype, &[base], &at, step);
    let params = IndexParams {
        walk: walk(&at, unit),
        base: base.operand(unit),
        index: index.operand(1),
        x: Operand { data: out.address(), ..Operand::NONE },
        number: Operand::NONE,
        step: (step / unit) as u64,
        bound: bound as u64,
        line: 0,
        line_step: 0,
        winners: 0,
        bad: device.0.bad_index(),
        op: IndexedOp::Gather as u32,
        unused: 0,
    };
    launch(device, name!("index_gather_{}", unit * x.dtype.size()), &params);
    out
}

pub(crate) fn scatter(
    device: &Cuda,
    op: ScatterOp,
    to: &mut Storage,
    layout: &Layout,
    dim: usize,
    index: View<'_, Storage>,
    x: View<'_, Storage>,
) {
    if x.layout.numel() == 0 {
        return;
    }
    let whole = Layout::contiguous(*layout.shape());
    let (bound, step) = (layout.shape()[dim], whole.strides()[dim]);
    assert!(
        x.layout.shape() == index.layout.shape() && x.layout.shape().with(dim, bound) == *layout.shape(),
        "scatter: {:?} at {:?} of {:?}",
        x.layout.shape(),
        index.layout.shape(),
        layout.shape()
    );
    to.check(x.dtype, &whole);
    x.storage.check(x.dtype, x.layout);
    index.storage.check(index.dtype, index.layout);
    let (line, line_step) = (index.layout.shape()[dim], index.layout.strides()[dim]);
    let number = with(&Layout::new(*index.layout.shape(), &[0; MAX_RANK][..layout.shape().len()], 0), dim, line, 1);
    let base = with(&whole, dim, line, 0);
    // Sums need no k, and may merge more dimensions without it.
    let [base, at, from, number] = match op {
        ScatterOp::Set => Layout::merge([base, *index.layout, *x.layout, number]),
        ScatterOp::Add => {
            let [base, at, from] = Layout::merge([base, *index.layout, *x.layout]);
            [base, at, from, Layout::new(*at.shape(), &[0; MAX_RANK][..at.shape().len()], 0)]
        }
    };
    let base = Seen::new(to, x.dtype, base);
    let (from, index) = (Seen::new(x.storage, x.dtype, from), Seen::new(index.storage, index.dtype, at));
    let unit = if op == ScatterOp::Set { unit(x.dtype, &[base, from], &at, step) } else { 1 };
    let mut params = IndexParams {
        walk: walk(&at, unit),
        base: base.operand(unit),
        index: index.operand(1),
        x: from.operand(unit),
        number: Seen { data: 0, layout: number }.operand(1),
        step: (step / unit) as u64,
        bound: bound as u64,
        line: line as u64,
        line_step: line_step as u64,
        winners: 0,
        bad: device.0.bad_index(),
        op: if op == ScatterOp::Add { IndexedOp::ScatterAdd } else { IndexedOp::Scatter } as u32,
        unused: 0,
    };
    let bytes = unit * x.dtype.size();
    match op {
        ScatterOp::Add => launch(device, name!("index_add_{}", suffix(x.dtype)), &params),
        ScatterOp::Set if line <= SHORT_LINE => launch(device, name!("index_set_{bytes}"), &params),
        ScatterOp::Set => {
            let winners = device.alloc("scatter", DType::I32, whole.numel() / unit);
            params.winners = winners.address();
            launch(device, "index_clear", &params);
            launch(device, "index_elect", &params);
            launch(device, name!("index_settle_{bytes}"), &params);
        }
    }
}
