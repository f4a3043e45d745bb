//! Gather and scatter (`shaders/index.wgsl`).

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Strides, Walk, params};
use crate::shader::{Form, Shader};
use crate::stream::Bind;
use bytemuck::Zeroable;
use minitorch_core::backend::{
    AtIndex, AtIndexOf, BinaryOp, BinaryOps, CopyOps, IndexOps, OutOfRange, ReduceOp, ReduceOps, ScatterOp, View,
    ViewOf,
};
use minitorch_core::ops::index::check_index;
use minitorch_core::{DType, Layout, MAX_RANK};

params! {
    /// Mirrors `IndexParams` in index.wgsl.
    IndexParams in "index" {
        walk: Walk,
        base: Strides,
        index: Strides,
        x: Strides,
        number: Strides,
        step: u32,
        bound: u32,
        count: u32,
        index_step: u32,
        caller: u32,
        copies: u32,
        copy_step: u32,
        unused: u32,
    }
}

/// Entries of an index along the dimension up to which scatter compares each with all later ones, in one dispatch; more take three.
const MAX_COMPARED: usize = 32;

/// Entries per element of the target from which scatter_add sums into copies of the target, and the number of copies.
const MIN_COLLISIONS: usize = 64;
const COPIES: usize = 16;

fn launch(device: &Wgpu, entry: &'static str, dtype: DType, params: &IndexParams, binds: &[Bind<'_>]) {
    let shader = Shader::new("index", entry).form(Form::of(dtype, dtype));
    device.dispatch(shader, device.grid_over(params.walk.numel as usize), params, binds);
}

impl IndexOps for Wgpu {
    fn gather(&self, x: ViewOf<'_, Self>, at: AtIndexOf<'_, Self>) -> Result<Storage, OutOfRange> {
        let AtIndex { dim, index, caller } = at;
        let (bound, step) = (x.layout.shape()[dim], x.layout.strides()[dim]);
        let count = index.layout.shape()[dim];
        check_index("gather", x.layout, dim, &[index.layout]);
        [x, index].iter().for_each(|x| x.storage.check(x.layout));
        let out = self.alloc("gather", x.dtype, index.layout.numel());
        if index.layout.numel() == 0 {
            return Ok(out);
        }
        let [base, at] = Layout::merge([x.layout.with_dim(dim, count, 0), *index.layout]);
        let params = IndexParams {
            walk: Walk::new(at.shape()),
            base: Strides::new(&base),
            index: Strides::new(&at),
            step: step as u32,
            bound: bound as u32,
            caller: caller.id(),
            ..IndexParams::zeroed()
        };
        // A tensor without elements has no buffer; every index is out of range then, and x is not read.
        let from = if bound == 0 { index.storage } else { x.storage };
        let binds = [Bind::Write(&out), Bind::Read(from), Bind::Read(index.storage), Bind::BadIndex];
        launch(self, "gather", x.dtype, &params, &binds);
        Ok(out)
    }

    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Storage,
        layout: &Layout,
        at: AtIndexOf<'_, Self>,
        x: ViewOf<'_, Self>,
    ) -> Result<(), OutOfRange> {
        let AtIndex { dim, index, caller } = at;
        if index.layout.numel() == 0 {
            return Ok(());
        }
        check_index(op.name(), layout, dim, &[index.layout, x.layout]);
        let target = Layout::contiguous(*layout.shape());
        if op == ScatterOp::Add && x.dtype == DType::F16 {
            // There are no atomics of 16 bits.
            let mut sums = self.cast(View { storage: to, layout: &target, dtype: DType::F16 }, DType::F32);
            let (x, layout) = (self.cast(x, DType::F32), Layout::contiguous(*x.layout.shape()));
            let x = View { storage: &x, layout: &layout, dtype: DType::F32 };
            self.scatter(op, &mut sums, &target, at, x)?;
            *to = self.cast(View { storage: &sums, layout: &target, dtype: DType::F32 }, DType::F16);
            return Ok(());
        }
        [x, index].iter().for_each(|x| x.storage.check(x.layout));
        let (bound, step) = (target.shape()[dim], target.strides()[dim]);
        let (count, index_step) = (index.layout.shape()[dim], index.layout.strides()[dim]);
        let zeros = Layout::new(*index.layout.shape(), &[0; MAX_RANK][..layout.shape().len()], 0);
        let number = zeros.with_dim(dim, count, 1);
        let base = target.with_dim(dim, count, 0);
        // Sums do not need the number k; without it more dimensions may merge.
        let [base, at, from, number] = match op {
            ScatterOp::Set => Layout::merge([base, *index.layout, *x.layout, number]),
            ScatterOp::Add => {
                let [base, at, from] = Layout::merge([base, *index.layout, *x.layout]);
                [base, at, from, base]
            }
        };
        let params = IndexParams {
            walk: Walk::new(at.shape()),
            base: Strides::new(&base),
            index: Strides::new(&at),
            x: Strides::new(&from),
            number: Strides::new(&number),
            step: step as u32,
            bound: bound as u32,
            count: count as u32,
            index_step: index_step as u32,
            caller: caller.id(),
            copies: 1,
            copy_step: 0,
            unused: 0,
        };
        let collides = index.layout.numel() >= MIN_COLLISIONS * target.numel() && bound > 0;
        if collides && op == ScatterOp::Add && x.dtype == DType::F32 {
            add_to_copies(self, params, to, target.numel(), [x.storage, index.storage]);
            return Ok(());
        }
        // A target without elements has no buffer; every index is out of range then, and the substitute is not written.
        let substitute = (bound == 0).then(|| self.alloc("scatter", x.dtype, 1));
        let to = substitute.as_ref().unwrap_or(to);
        let binds = [Bind::Write(to), Bind::Read(x.storage), Bind::Read(index.storage), Bind::BadIndex];
        match op {
            ScatterOp::Add if x.dtype == DType::I32 => launch(self, "add_i32", DType::I32, &params, &binds),
            ScatterOp::Add => launch(self, "add_f32", DType::F32, &params, &binds),
            ScatterOp::Set if count <= MAX_COMPARED => launch(self, "set_last", x.dtype, &params, &binds),
            ScatterOp::Set => {
                let writers = self.alloc("scatter", DType::I32, target.numel().max(1));
                let [_, from, at, bad] = binds;
                launch(self, "clear_writers", x.dtype, &params, &[Bind::Write(&writers), from, at, bad]);
                launch(self, "mark_writers", x.dtype, &params, &[Bind::Write(&writers), from, at, bad]);
                let binds = [Bind::Write(to), from, at, bad, Bind::Read(&writers)];
                launch(self, "set_by_writer", x.dtype, &params, &binds);
            }
        }
        Ok(())
    }
}

/// Adds to zeroed copies of a small target and then sums those: fewer atomics collide, and no sum is one long chain of roundings.
fn add_to_copies(device: &Wgpu, params: IndexParams, to: &mut Storage, numel: usize, [x, index]: [&Storage; 2]) {
    let dtype = DType::F32;
    let mut copies = device.alloc("scatter_add", dtype, COPIES * numel);
    device.fill(&mut copies, &Layout::contiguous([COPIES * numel]), dtype, 0.0);
    let params = IndexParams { copies: COPIES as u32, copy_step: numel as u32, ..params };
    let binds = [Bind::Write(&copies), Bind::Read(x), Bind::Read(index), Bind::BadIndex];
    launch(device, "add_f32", dtype, &params, &binds);
    let (flat, stacked) = (Layout::contiguous([numel]), Layout::contiguous([COPIES, numel]));
    let sums = device.reduce(ReduceOp::Sum, View { storage: &copies, layout: &stacked, dtype }, &[0]);
    device.binary_mut(BinaryOp::Add, to, &flat, View { storage: &sums, layout: &flat, dtype });
}
