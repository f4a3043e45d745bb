//! Gather and scatter along a dimension. Cost: the index, one read and one write per element.
//!
//! ```text
//! gather    out[..k..] = x[..index[..k..]..]
//! scatter   to[..index[..k..]..] = or += x[..k..],  in the order of k
//! ```
//! An index outside its dimension skips the access and is queued as an error. If the index is repeated along the last dimension, as for
//! rows of an embedding, a row is copied or added at once.

use crate::element::{Element, with_element};
use crate::launch::{self, report};
use crate::memory::Storage;
use crate::view::{Rows, position};
use crate::{Cpu, parallel};
use minitorch_core::Layout;
use minitorch_core::backend::{IndexOps, MAX_WORK, ScatterOp, View};
use minitorch_core::ops::index::check_index;

/// The most ranges into which `scatter` divides a single plane: each visits all indices.
const MAX_RANGES: usize = 16;

impl IndexOps for Cpu {
    fn gather(&self, x: View<'_, Storage>, dim: usize, index: View<'_, Storage>) -> Storage {
        let (bound, step) = (x.layout.shape()[dim], x.layout.strides()[dim]);
        let base = x.layout.with_dim(dim, index.layout.shape()[dim], 0);
        let [base, at] = Layout::merge([base, *index.layout]);
        with_element!(x.dtype, T => {
            let Some(mut out) = self.output::<T>(at.numel(), &[x.storage, index.storage]) else {
                return Storage::Missing(T::DTYPE);
            };
            let (data, index) = (T::read(x.storage), i32::read(index.storage));
            let zero = T::from_f64(0.0);
            report(|| {
                let launch = launch::split::<T>("gather", out.len(), 1, 4);
                launch.path(if shares_index(&at, &base) { "rows" } else { "elements" })
            });
            parallel::split(&mut out, 1, 4, |first, out| {
                let mut rows = Rows::new([&base, &at], first..first + out.len());
                let [stride, index_stride] = rows.inner;
                while let Some((place, [start, index_start])) = rows.next() {
                    let out = &mut out[place];
                    if index_stride == 0 && stride == 1 {
                        match checked(index[index_start], bound) {
                            Some(i) => out.copy_from_slice(&data[start + i * step..][..out.len()]),
                            None => {
                                out.fill(zero);
                                self.bad_index("gather", index[index_start], bound);
                            }
                        }
                        continue;
                    }
                    for (j, out) in out.iter_mut().enumerate() {
                        let i = index[index_start + j * index_stride];
                        *out = match checked(i, bound) {
                            Some(i) => data[start + j * stride + i * step],
                            None => {
                                self.bad_index("gather", i, bound);
                                zero
                            }
                        };
                    }
                }
            });
            T::wrap(out)
        })
    }

    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Storage,
        layout: &Layout,
        dim: usize,
        index: View<'_, Storage>,
        x: View<'_, Storage>,
    ) {
        if to.is_missing() || index.storage.is_missing() || x.storage.is_missing() {
            *to = Storage::Missing(x.dtype);
            return;
        }
        match op {
            ScatterOp::Add => scatter::<true>(self, "scatter_add", to, layout, dim, index, x),
            ScatterOp::Set => scatter::<false>(self, "scatter", to, layout, dim, index, x),
        }
    }
}

/// Whether the elements of a row are contiguous and share an index.
fn shares_index(index: &Layout, data: &Layout) -> bool {
    index.strides().last() == Some(&0) && data.strides().last() == Some(&1)
}

/// The index, if it is in range.
#[inline(always)]
fn checked(index: i32, bound: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|&i| i < bound)
}

/// The threads divide planes (the entries of the dimensions before `dim`), or, if there is only one, ranges of `dim`, each of which
/// visits all indices. So each destination is written by one thread, in the order of k.
fn scatter<const ADD: bool>(
    device: &Cpu,
    name: &'static str,
    to: &mut Storage,
    layout: &Layout,
    dim: usize,
    index: View<'_, Storage>,
    x: View<'_, Storage>,
) {
    let shape = layout.shape();
    let (planes, bound) = (shape[..dim].iter().product::<usize>(), shape[dim]);
    let inner: usize = shape[dim + 1..].iter().product();
    let per_plane = x.layout.shape()[dim] * inner;
    let work = 4 * per_plane;
    if x.layout.numel() == 0 {
        return;
    }
    check_index(name, layout, dim, &[index.layout, x.layout]);
    assert!(x.layout.numel() <= MAX_WORK, "{name}: {:?} would never end", x.layout.shape());
    let index_data = i32::read(index.storage);
    if layout.numel() == 0 {
        // There is no destination, but there may be an index out of range to report.
        if let Some(at) = index.layout.positions().next() {
            device.bad_index(name, index_data[at], bound);
        }
        return;
    }
    // `body` is the layout of plane 0; plane p starts at position p of `lead`, the dimensions before `dim`.
    let lead = |l: &Layout| (dim..shape.len()).rev().fold(*l, |l, d| l.remove(d));
    let body = |l: &Layout| (0..dim).fold(Layout::new(*l.shape(), l.strides(), 0), |l, _| l.remove(0));
    let (x_lead, index_lead) = (lead(x.layout), lead(index.layout));
    let [x_body, index_body] = [body(x.layout), body(index.layout)];
    with_element!(x.dtype, T => {
        let (to, data) = (&mut T::write(to)[..layout.numel()], T::read(x.storage));
        let plane = |at: usize, to: &mut [T], first: usize, last: usize| {
            let (x, index) = (
                &data[position(&x_lead, at)..],
                &index_data[position(&index_lead, at)..],
            );
            // The shape has a dimension for k, so no row continues from one k to the next, and `column` is the position within the
            // entry of k.
            let mut rows = Rows::new([&x_body, &index_body], 0..per_plane);
            let [stride, index_stride] = rows.inner;
            while let Some((place, [start, index_start])) = rows.next() {
                let column = place.start % inner;
                let inside = |i: i32| match checked(i, bound) {
                    Some(i) => (first..last).contains(&i).then(|| i - first),
                    None => {
                        // Every range visits this index; the first reports it.
                        if first == 0 {
                            device.bad_index(name, i, bound);
                        }
                        None
                    }
                };
                if index_stride == 0 && stride == 1 && place.len() <= inner {
                    if let Some(i) = inside(index[index_start]) {
                        let to = &mut to[i * inner + column..][..place.len()];
                        to.iter_mut().zip(&x[start..]).for_each(|(to, &x)| *to = if ADD { to.sum(x) } else { x });
                    }
                    continue;
                }
                for j in 0..place.len() {
                    if let Some(i) = inside(index[index_start + j * index_stride]) {
                        // A row has one k, unless `dim` is the last dimension, which has no columns.
                        let to = &mut to[i * inner + if inner == 1 { 0 } else { column + j }];
                        let x = x[start + j * stride];
                        *to = if ADD { to.sum(x) } else { x };
                    }
                }
            }
        };
        let is_divided = planes == 1 && work >= parallel::MIN_PARALLEL_WORK && bound > 1;
        let range = bound.div_ceil(MAX_RANGES.min(2 * rayon::current_num_threads()));
        report(|| {
            let what = if shares_index(&index_body, &x_body) { "rows" } else { "elements" };
            if is_divided {
                launch::on::<T>(name, bound.div_ceil(range)).path(format!("{what}, ranges of {range}"))
            } else {
                launch::split::<T>(name, to.len(), bound * inner, work.div_ceil(bound * inner)).path(what)
            }
        });
        if is_divided {
            parallel::each_chunk(to, range * inner, |r, to| {
                plane(0, to, r * range, bound.min((r + 1) * range));
            });
        } else {
            parallel::split(to, bound * inner, work.div_ceil(bound * inner), |first, to| {
                for (at, to) in (first / (bound * inner)..).zip(to.chunks_exact_mut(bound * inner)) {
                    plane(at, to, 0, bound);
                }
            });
        }
    });
}
