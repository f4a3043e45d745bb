//! Gather and scatter (`kernels/index.cu`).

use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::{THREADS, WARP};
use crate::memory::Storage;
use crate::params::{STRIDED, TensorRef, Walk, params};
use crate::sort::argsort;
use minitorch_core::backend::{AtIndex, Caller, IndexOps, OutOfRange, ScatterOp, View};
use minitorch_core::ops::index::check_index;
use minitorch_core::{DType, Layout, MAX_RANK};

params! {
    /// The parameters of the kernels of index.cu, except index_add_sorted.
    #[derive(Default)]
    IndexParams in "index.cu" {
        walk: Walk,
        base: TensorRef,
        index: TensorRef,
        x: TensorRef,
        position: TensorRef,
        step: u64,
        bound: u64,
        n: u64,
        index_step: u64,
        x_step: u64,
        owners: Address,
        bad: Address,
        caller: u32,
        unused: u32,
    }
}

params! {
    /// The parameters of index_add_sorted.
    SortedParams in "index.cu" {
        rows: Walk,
        columns: Walk,
        to: TensorRef,
        index: TensorRef,
        x: TensorRef,
        to_column: TensorRef,
        x_column: TensorRef,
        order: Address,
        n: u64,
        step: u64,
        bound: u64,
        index_step: u64,
        x_step: u64,
        tiles: u64,
        groups: u64,
        tasks: u64,
        bad: Address,
        caller: u32,
        log_columns: u32,
    }
}

/// The longest row of an index (its entries along the indexed dimension) for the kernels that compare all pairs of entries. For
/// longer rows, `Set` elects the last writer of each element, and `Add` sorts.
const SHORT_ROW: usize = 32;

/// The most entries of an index that are sorted at once, which bounds the workspace to 84 MB.
const MAX_SORTED: usize = if cfg!(test) { 1 << 12 } else { 1 << 22 };

/// Elements per thread and iteration, as in index.cu.
const UNROLL: usize = 4;

/// An address and a merged layout.
#[derive(Clone, Copy)]
struct Strided {
    data: Address,
    layout: Layout,
}

impl Strided {
    /// The layout lies within the storage, or the storage is empty and every index is out of range.
    fn new(storage: &Storage, dtype: DType, layout: Layout) -> Self {
        Strided { data: TensorRef::new(storage.address(), dtype, &layout).data, layout }
    }

    /// The kernel's form, with elements of `unit` neighbours each.
    fn tensor_ref(&self, unit: usize) -> TensorRef {
        let mut strides = [0; MAX_RANK];
        for (to, &stride) in strides.iter_mut().zip(self.layout.strides()) {
            // The innermost stride is 1 and stays 1.
            *to = stride.div_ceil(unit) as u64;
        }
        TensorRef { data: self.data, strides, order: STRIDED, unused: 0 }
    }
}

/// How many adjacent elements are moved as one unit of 16 bytes, if they share their index, are contiguous and aligned; else 1.
fn unit(dtype: DType, moved: &[Strided], index: &Layout, step: usize) -> usize {
    let count = 16 / dtype.size();
    let Some(last) = index.shape().len().checked_sub(1) else { return 1 };
    let fits = |n: &usize| n.is_multiple_of(count);
    let is_aligned = |x: &Strided| {
        let strides = x.layout.strides();
        x.data.is_multiple_of(16) && strides[last] == 1 && strides[..last].iter().all(fits)
    };
    let shared = index.strides()[last] == 0 && fits(&index.shape()[last]);
    if shared && fits(&step) && moved.iter().all(is_aligned) { count } else { 1 }
}

fn walk(index: &Layout, unit: usize) -> Walk {
    match index.shape().len() {
        0 => Walk::new(index.shape()),
        rank => Walk::new(&index.shape().with(rank - 1, index.shape()[rank - 1] / unit)),
    }
}

fn launch(device: &Cuda, kernel: &str, params: &IndexParams) {
    let blocks = (params.walk.numel as usize).div_ceil(UNROLL * THREADS).min(8 * device.0.multiprocessors());
    device.0.launch_checked(kernel, [blocks, 1, 1], [THREADS, 1, 1], params);
}

impl IndexOps for Cuda {
    fn gather(&self, x: View<'_, Storage>, at: AtIndex<'_, Storage>) -> Result<Storage, OutOfRange> {
        let AtIndex { dim, index, caller } = at;
        let (bound, step) = (x.layout.shape()[dim], x.layout.strides()[dim]);
        let n = index.layout.shape()[dim];
        check_index("gather", x.layout, dim, &[index.layout]);
        x.storage.check(x.dtype, x.layout);
        index.storage.check(index.dtype, index.layout);
        let out = self.alloc("gather", x.dtype, index.layout.numel());
        if index.layout.numel() == 0 {
            return Ok(out);
        }
        let [base, at] = Layout::merge([x.layout.with_dim(dim, n, 0), *index.layout]);
        let (base, index) = (Strided::new(x.storage, x.dtype, base), Strided::new(index.storage, index.dtype, at));
        let unit = unit(x.dtype, &[base], &at, step);
        let params = IndexParams {
            walk: walk(&at, unit),
            base: base.tensor_ref(unit),
            index: index.tensor_ref(1),
            x: TensorRef { data: out.address(), ..TensorRef::NONE },
            step: (step / unit) as u64,
            bound: bound as u64,
            bad: self.0.bad_index(),
            caller: caller.id(),
            ..IndexParams::default()
        };
        launch(self, name!("index_gather_{}", unit * x.dtype.size()), &params);
        Ok(out)
    }

    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Storage,
        layout: &Layout,
        AtIndex { dim, index, caller }: AtIndex<'_, Storage>,
        x: View<'_, Storage>,
    ) -> Result<(), OutOfRange> {
        if x.layout.numel() == 0 {
            return Ok(());
        }
        let contiguous = Layout::contiguous(*layout.shape());
        let (bound, step) = (layout.shape()[dim], contiguous.strides()[dim]);
        check_index(op.name(), layout, dim, &[index.layout, x.layout]);
        to.check(x.dtype, &contiguous);
        x.storage.check(x.dtype, x.layout);
        index.storage.check(index.dtype, index.layout);
        let (n, index_step) = (index.layout.shape()[dim], index.layout.strides()[dim]);
        let base = contiguous.with_dim(dim, n, 0);
        if op == ScatterOp::Add && x.dtype.is_float() && n > SHORT_ROW {
            let (index_storage, x_storage, dtype) = (index.storage, x.storage, x.dtype);
            let add =
                SortedAdd { device: self, to, index: index_storage, x: x_storage, dtype, dim, step, bound, caller };
            add.launch([base, *index.layout, *x.layout]);
            return Ok(());
        }
        let integer_add = op == ScatterOp::Add && !x.dtype.is_float();
        // Integer sums do not depend on the position, and more dimensions merge without it.
        let position = Layout::new(*index.layout.shape(), &[0; MAX_RANK][..layout.shape().len()], 0);
        let position = if integer_add { position } else { position.with_dim(dim, n, 1) };
        let [base, at, from, position] = Layout::merge([base, *index.layout, *x.layout, position]);
        let base = Strided::new(to, x.dtype, base);
        let (from, index) = (Strided::new(x.storage, x.dtype, from), Strided::new(index.storage, index.dtype, at));
        let unit = if op == ScatterOp::Set { unit(x.dtype, &[base, from], &at, step) } else { 1 };
        let mut params = IndexParams {
            walk: walk(&at, unit),
            base: base.tensor_ref(unit),
            index: index.tensor_ref(1),
            x: from.tensor_ref(unit),
            position: Strided { data: 0, layout: position }.tensor_ref(1),
            step: (step / unit) as u64,
            bound: bound as u64,
            n: n as u64,
            index_step: index_step as u64,
            x_step: x.layout.strides()[dim] as u64,
            bad: self.0.bad_index(),
            caller: caller.id(),
            ..IndexParams::default()
        };
        let bytes = unit * x.dtype.size();
        match op {
            ScatterOp::Add if integer_add => launch(self, "index_add_i32", &params),
            ScatterOp::Add => launch(self, name!("index_add_short_{}", suffix(x.dtype)), &params),
            ScatterOp::Set if n <= SHORT_ROW => launch(self, name!("index_set_{bytes}"), &params),
            ScatterOp::Set => {
                let owners = self.alloc("scatter", DType::I32, contiguous.numel() / unit);
                params.owners = owners.address();
                launch(self, "index_clear", &params);
                launch(self, "index_claim", &params);
                launch(self, name!("index_commit_{bytes}"), &params);
            }
        }
        Ok(())
    }
}

/// `Add` of floats along rows whose entries are sorted first.
struct SortedAdd<'a> {
    device: &'a Cuda,
    to: &'a Storage,
    index: &'a Storage,
    x: &'a Storage,
    dtype: DType,
    dim: usize,
    /// The stride and the size of `dim` in the destination.
    step: usize,
    bound: usize,
    caller: Caller,
}

impl SortedAdd<'_> {
    /// Adds x into the destination. The layouts are those of the destination at index 0 of `dim`, of the index and of x, and have
    /// one shape. Sums add entries in their order, so an index may be split anywhere.
    fn launch(&self, layouts: [Layout; 3]) {
        let [base, index, x] = &layouts;
        let (shape, dim) = (*index.shape(), self.dim);
        // Rows along the other dimensions share one index.
        let differs = |d: &usize| *d == dim || shape[*d] > 1 && index.strides()[*d] != 0;
        let sizes = (0..shape.len()).filter(differs).map(|d| (shape[d], d));
        let entries: usize = sizes.clone().map(|(size, _)| size).product();
        if let Some((size, d)) = sizes.max().filter(|_| entries > MAX_SORTED) {
            let half = size / 2;
            self.launch(layouts.map(|l| l.narrow(d, 0, half)));
            return self.launch(layouts.map(|l| l.narrow(d, half, size - half)));
        }
        let n = shape[dim];
        let only = |wanted: &dyn Fn(&usize) -> bool, l: &Layout| {
            (0..shape.len()).rev().filter(|d| !wanted(d)).fold(*l, |l, d| l.remove(d))
        };
        let [base_rows, index_rows, x_rows] =
            Layout::merge(layouts.each_ref().map(|l| only(&|d| differs(d) && *d != dim, l)));
        let [base_columns, x_columns] = Layout::merge([base, x].map(|l| only(&|d| !differs(d), l)));
        // The rows that differ, with `dim` innermost, as the sort returns them.
        let rows = only(&differs, index);
        let at = (0..dim).filter(differs).count();
        let last = rows.shape().len() - 1;
        let rows = (at..last).fold(rows, |l, d| l.transpose(d, d + 1));
        let view = View { storage: self.index, layout: &rows, dtype: DType::I32 };
        let order = argsort(self.device, view, last, false, n);

        let log_columns = base_columns.numel().next_power_of_two().trailing_zeros().min(5);
        let tiles = n.div_ceil(WARP >> log_columns);
        let groups = base_columns.numel().div_ceil(1 << log_columns);
        let tasks = index_rows.numel() * tiles * groups;
        let tensor_ref = |storage, dtype, layout| Strided::new(storage, dtype, layout).tensor_ref(1);
        let stride = |l: &Layout| l.strides()[dim] as u64;
        let params = SortedParams {
            rows: Walk::new(index_rows.shape()),
            columns: Walk::new(base_columns.shape()),
            to: tensor_ref(self.to, self.dtype, base_rows),
            index: tensor_ref(self.index, DType::I32, index_rows),
            x: tensor_ref(self.x, self.dtype, x_rows),
            to_column: Strided { data: 0, layout: base_columns }.tensor_ref(1),
            x_column: Strided { data: 0, layout: x_columns }.tensor_ref(1),
            order: order.address(),
            n: n as u64,
            step: self.step as u64,
            bound: self.bound as u64,
            index_step: stride(index),
            x_step: stride(x),
            tiles: tiles as u64,
            groups: groups as u64,
            tasks: tasks as u64,
            bad: self.device.0.bad_index(),
            caller: self.caller.id(),
            log_columns,
        };
        let blocks = tasks.div_ceil(THREADS / WARP).min(8 * self.device.0.multiprocessors());
        let kernel = name!("index_add_sorted_{}", suffix(self.dtype));
        self.device.0.launch_checked(kernel, [blocks, 1, 1], [THREADS, 1, 1], &params);
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
