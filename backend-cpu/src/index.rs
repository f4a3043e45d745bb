//! Reading and adding at indices. Cost: the index, one read and one write per element.
//!
//! An index outside its dimension skips the access and is kept by the device. Neighbours that share an index (rows of
//! an embedding: the index is repeated along them) are copied or added as one row.

use crate::Cpu;
use crate::element::{Element, with_element};
use crate::launch::{self, report};
use crate::map::Rows;
use crate::memory::Storage;
use crate::parallel;
use minitorch_core::Layout;
use minitorch_core::backend::{MAX_WORK, View};

/// The layout that shows the first entry of `dim` again and again, `size` times.
fn repeated(layout: &Layout, dim: usize, size: usize) -> Layout {
    let mut strides = [0; minitorch_core::MAX_RANK];
    let rank = layout.shape().len();
    strides[..rank].copy_from_slice(layout.strides());
    strides[dim] = 0;
    Layout::new(layout.shape().with(dim, size), &strides[..rank], layout.offset())
}

/// Whether neighbours in the data share an index, so that a row is copied or added at once.
fn shares_index(index: &Layout, data: &Layout) -> bool {
    index.strides().last() == Some(&0) && data.strides().last() == Some(&1)
}

#[inline(always)]
fn checked(index: i32, bound: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|&i| i < bound)
}

pub(crate) fn gather(device: &Cpu, x: View<'_, Storage>, dim: usize, index: View<'_, Storage>) -> Storage {
    let (bound, step) = (x.layout.shape()[dim], x.layout.strides()[dim]);
    let base = repeated(x.layout, dim, index.layout.shape()[dim]);
    let [base, at] = Layout::merge([base, *index.layout]);
    let index = i32::read(index.storage);
    with_element!(x.dtype, T => {
        let data = T::read(x.storage);
        let mut out = device.alloc::<T>("gather", at.numel());
        let zero = T::from_f64(0.0);
        report(|| {
            let launch = launch::pieces::<T>("gather", out.len(), 1, 4);
            launch.path(if shares_index(&at, &base) { "rows" } else { "elements" })
        });
        parallel::pieces(&mut out, 1, 4, |first, out| {
            let mut rows = Rows::new([&base, &at], first..first + out.len());
            let [stride, index_stride] = rows.inner;
            while let Some((place, [start, index_start])) = rows.next() {
                let out = &mut out[place];
                if index_stride == 0 && stride == 1 {
                    match checked(index[index_start], bound) {
                        Some(i) => out.copy_from_slice(&data[start + i * step..][..out.len()]),
                        None => {
                            out.fill(zero);
                            device.bad_index("gather", index[index_start], bound);
                        }
                    }
                    continue;
                }
                for (j, out) in out.iter_mut().enumerate() {
                    let i = index[index_start + j * index_stride];
                    *out = match checked(i, bound) {
                        Some(i) => data[start + j * stride + i * step],
                        None => {
                            device.bad_index("gather", i, bound);
                            zero
                        }
                    };
                }
            }
        });
        T::wrap(out)
    })
}

/// Each destination gets what is added, or set, in the order of k, whatever the threads do: planes (entries before `dim`) are
/// independent, and a single large plane is cut into ranges of `dim`, each of which looks at all indices.
pub(crate) fn scatter<const ADD: bool>(
    device: &Cpu,
    to: &mut Storage,
    layout: &Layout,
    dim: usize,
    index: View<'_, Storage>,
    x: View<'_, Storage>,
) {
    /// The most ranges that a single plane is cut into: each looks at all indices.
    const RANGES: usize = 16;
    let name = if ADD { "scatter_add" } else { "scatter" };
    let shape = layout.shape();
    let (planes, bound) = (shape[..dim].iter().product::<usize>(), shape[dim]);
    let inner: usize = shape[dim + 1..].iter().product();
    let per_plane = x.layout.shape()[dim] * inner;
    let work = 4 * per_plane;
    let index_data = i32::read(index.storage);
    if x.layout.numel() == 0 {
        return;
    }
    assert!(
        x.layout.shape() == index.layout.shape() && x.layout.shape().with(dim, bound) == *shape,
        "{name}: {:?} at {:?} of {shape:?}",
        x.layout.shape(),
        index.layout.shape()
    );
    assert!(x.layout.numel() <= MAX_WORK, "{name}: {:?} would never end", x.layout.shape());
    if layout.numel() == 0 {
        // No destination, but an index may still be out of range.
        if let Some(at) = index.layout.positions().next() {
            device.bad_index(name, index_data[at], bound);
        }
        return;
    }
    // Where plane 0 reads; plane p begins at the position of entry p of the leading dimensions.
    let lead = |l: &Layout| (dim..shape.len()).rev().fold(*l, |l, d| l.remove(d));
    let body = |l: &Layout| (0..dim).fold(Layout::new(*l.shape(), l.strides(), 0), |l, _| l.remove(0));
    let (x_lead, index_lead) = (lead(x.layout), lead(index.layout));
    let [x_body, index_body] = [body(x.layout), body(index.layout)];
    with_element!(x.dtype, T => {
        let (to, data) = (&mut T::write(to)[..layout.numel()], T::read(x.storage));
        let plane = |at: usize, to: &mut [T], first: usize, last: usize| {
            let (x, index) = (
                &data[crate::copy::start_of(&x_lead, at)..],
                &index_data[crate::copy::start_of(&index_lead, at)..],
            );
            // One row per k and per entry of the dimensions between: rows never cross a k, so `column` is exact.
            let mut rows = Rows::new([&x_body, &index_body], 0..per_plane);
            let [stride, index_stride] = rows.inner;
            while let Some((place, [start, index_start])) = rows.next() {
                let column = place.start % inner;
                let inside = |i: i32| match checked(i, bound) {
                    Some(i) => (first..last).contains(&i).then(|| i - first),
                    None => {
                        // Every range sees it; the first reports.
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
                        // A row is one k, unless `dim` is the last and a row is all of them.
                        let to = &mut to[i * inner + if inner == 1 { 0 } else { column + j }];
                        let x = x[start + j * stride];
                        *to = if ADD { to.sum(x) } else { x };
                    }
                }
            }
        };
        let is_cut = planes == 1 && work >= parallel::PARALLEL && bound > 1;
        let range = bound.div_ceil(RANGES.min(2 * rayon::current_num_threads()));
        report(|| {
            let what = if shares_index(&index_body, &x_body) { "rows" } else { "elements" };
            if is_cut {
                launch::on::<T>(name, bound.div_ceil(range)).path(format!("{what}, ranges of {range}"))
            } else {
                launch::pieces::<T>(name, to.len(), bound * inner, work.div_ceil(bound * inner)).path(what)
            }
        });
        if is_cut {
            parallel::each_chunk(to, range * inner, |r, to| {
                plane(0, to, r * range, bound.min((r + 1) * range));
            });
        } else {
            parallel::pieces(to, bound * inner, work.div_ceil(bound * inner), |first, to| {
                for (at, to) in (first / (bound * inner)..).zip(to.chunks_exact_mut(bound * inner)) {
                    plane(at, to, 0, bound);
                }
            });
        }
    });
}
