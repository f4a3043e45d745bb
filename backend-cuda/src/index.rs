//! Reading and writing at indices: geometry and names for `kernels/index.cu`.

use crate::device::{Cuda, IndexedOp, THREADS, name, suffix};
use crate::driver::Address;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use crate::sort;
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
        x_step: u64,
        winners: Address,
        bad: Address,
        op: u32,
        unused: u32,
    }
}

params! {
    /// What index_add_sorted takes.
    SortedParams in "index.cu" {
        lines: Walk,
        columns: Walk,
        to: Operand,
        index: Operand,
        x: Operand,
        to_column: Operand,
        x_column: Operand,
        order: Address,
        line: u64,
        step: u64,
        bound: u64,
        line_step: u64,
        x_step: u64,
        tiles: u64,
        groups: u64,
        tasks: u64,
        bad: Address,
        op: u32,
        log_columns: u32,
    }
}

/// The largest line of an index in which each element looks at the others, in one launch. In longer ones, places that are set
/// are elected, and what is added is sorted.
const SHORT_LINE: usize = 32;

/// The most entries of an index that are sorted at once: it bounds the workspace at 84 MB.
const SORTED_AT_ONCE: usize = if cfg!(test) { 1 << 12 } else { 1 << 22 };

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
        x_step: 0,
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
    let base = with(&whole, dim, line, 0);
    if op == ScatterOp::Add && x.dtype.is_float() && line > SHORT_LINE {
        let add = Sorted { device, to, index: index.storage, x: x.storage, dtype: x.dtype, dim, step, bound };
        return add.run([base, *index.layout, *x.layout]);
    }
    let whole_add = op == ScatterOp::Add && !x.dtype.is_float();
    // Sums of whole numbers need no k, and may merge more dimensions without it.
    let number = Layout::new(*index.layout.shape(), &[0; MAX_RANK][..layout.shape().len()], 0);
    let number = if whole_add { number } else { with(&number, dim, line, 1) };
    let [base, at, from, number] = Layout::merge([base, *index.layout, *x.layout, number]);
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
        x_step: x.layout.strides()[dim] as u64,
        winners: 0,
        bad: device.0.bad_index(),
        op: if op == ScatterOp::Add { IndexedOp::ScatterAdd } else { IndexedOp::Scatter } as u32,
        unused: 0,
    };
    let bytes = unit * x.dtype.size();
    match op {
        ScatterOp::Add if whole_add => launch(device, "index_add_i32", &params),
        ScatterOp::Add => launch(device, name!("index_add_short_{}", suffix(x.dtype)), &params),
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

/// Floats that are added along lines whose entries are sorted first.
struct Sorted<'a> {
    device: &'a Cuda,
    to: &'a Storage,
    index: &'a Storage,
    x: &'a Storage,
    dtype: DType,
    dim: usize,
    /// Elements between neighbours of `dim` in the destination, and how many it has.
    step: usize,
    bound: usize,
}

impl Sorted<'_> {
    /// Adds at the layouts of the destination's first entries, of the index and of x, which have one shape. A sum's order is
    /// that of the entries, so that lines may be cut anywhere.
    fn run(&self, layouts: [Layout; 3]) {
        let [base, index, x] = &layouts;
        let (shape, dim) = (*index.shape(), self.dim);
        // Along the others all indices are the same.
        let differs = |d: &usize| *d == dim || shape[*d] > 1 && index.strides()[*d] != 0;
        let sizes = (0..shape.len()).filter(differs).map(|d| (shape[d], d));
        let entries: usize = sizes.clone().map(|(size, _)| size).product();
        if let Some((size, d)) = sizes.max().filter(|_| entries > SORTED_AT_ONCE) {
            let half = size / 2;
            self.run(layouts.map(|l| l.narrow(d, 0, half)));
            return self.run(layouts.map(|l| l.narrow(d, half, size - half)));
        }
        let line = shape[dim];
        let only = |wanted: &dyn Fn(&usize) -> bool, l: &Layout| {
            (0..shape.len()).rev().filter(|d| !wanted(d)).fold(*l, |l, d| l.remove(d))
        };
        let [base_lines, at_lines, x_lines] =
            Layout::merge(layouts.each_ref().map(|l| only(&|d| differs(d) && *d != dim, l)));
        let [base_columns, x_columns] = Layout::merge([base, x].map(|l| only(&|d| !differs(d), l)));
        // The index of the lines that differ, with the dimension behind them: rows, as the sort leaves them.
        let lines = only(&differs, index);
        let at = (0..dim).filter(differs).count();
        let last = lines.shape().len() - 1;
        let rows = (at..last).fold(lines, |l, d| l.transpose(d, d + 1));
        let view = View { storage: self.index, layout: &rows, dtype: DType::I32 };
        let order = sort::order(self.device, view, last, false, line);

        let log_columns = base_columns.numel().next_power_of_two().trailing_zeros().min(5);
        let tiles = line.div_ceil(32 >> log_columns);
        let groups = base_columns.numel().div_ceil(1 << log_columns);
        let tasks = at_lines.numel() * tiles * groups;
        let seen = |storage, dtype, layout| Seen::new(storage, dtype, layout).operand(1);
        let stride = |l: &Layout| l.strides()[dim] as u64;
        let params = SortedParams {
            lines: Walk::new(at_lines.shape()),
            columns: Walk::new(base_columns.shape()),
            to: seen(self.to, self.dtype, base_lines),
            index: seen(self.index, DType::I32, at_lines),
            x: seen(self.x, self.dtype, x_lines),
            to_column: Seen { data: 0, layout: base_columns }.operand(1),
            x_column: Seen { data: 0, layout: x_columns }.operand(1),
            order: order.address(),
            line: line as u64,
            step: self.step as u64,
            bound: self.bound as u64,
            line_step: stride(index),
            x_step: stride(x),
            tiles: tiles as u64,
            groups: groups as u64,
            tasks: tasks as u64,
            bad: self.device.0.bad_index(),
            op: IndexedOp::ScatterAdd as u32,
            log_columns,
        };
        let blocks = tasks.div_ceil(THREADS / 32).min(8 * self.device.0.multiprocessors());
        let kernel = name!("index_add_sorted_{}", suffix(self.dtype));
        self.device.0.launch(kernel, [blocks, 1, 1], [THREADS, 1, 1], 0, &params);
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
