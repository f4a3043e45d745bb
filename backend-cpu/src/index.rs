//! Gather and scatter along a dimension. Cost: the index, one read and one write per element.
//!
//! ```text
//! gather    out[..k..] = x[..index[..k..]..]
//! scatter   to[..index[..k..]..] = or += x[..k..],  in the order of k
//! ```
//! An access at an index outside its dimension is skipped, and the first such index is returned as the error. If the index is
//! repeated along the last dimension, as for rows of an embedding, a row is copied or added at once.

use crate::element::{Element, with_element};
use crate::launch::{self, report};
use crate::memory::Storage;
use crate::view::{Rows, position};
use crate::{Cpu, parallel};
use minitorch_core::Layout;
use minitorch_core::backend::{AtIndex, IndexOps, MAX_WORK, OutOfRange, ScatterOp, View};
use minitorch_core::ops::index::check_index;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most ranges into which `scatter` divides a single plane: each visits all indices.
const MAX_RANGES: usize = 16;

impl IndexOps for Cpu {
    fn gather(&self, x: View<'_, Storage>, at: AtIndex<'_, Storage>) -> Result<Storage, OutOfRange> {
        let AtIndex { dim, index, .. } = at;
        let (bound, step) = (x.layout.shape()[dim], x.layout.strides()[dim]);
        let base = x.layout.with_dim(dim, index.layout.shape()[dim], 0);
        let [base, at] = Layout::merge([base, *index.layout]);
        with_element!(x.dtype, T => {
            let Some(mut out) = self.output::<T>(at.numel(), &[x.storage, index.storage]) else {
                return Ok(Storage::Missing(T::DTYPE));
            };
            let (data, index) = (T::read(x.storage), i32::read(index.storage));
            let (zero, bad) = (T::from_f64(0.0), FirstBad::default());
            report(|| {
                let launch = launch::split::<T>("gather", out.len(), 1, 4);
                launch.path(if shares_index(&at, &base) { "rows" } else { "elements" })
            });
            parallel::split(&mut out, 1, 4, |first, out| {
                let mut rows = Rows::new([&base, &at], first..first + out.len());
                let [stride, index_stride] = rows.inner;
                while let Some((place, [start, index_start])) = rows.next() {
                    let number = first + place.start;
                    let out = &mut out[place];
                    if index_stride == 0 && stride == 1 {
                        match checked(index[index_start], bound) {
                            Some(i) => out.copy_from_slice(&data[start + i * step..][..out.len()]),
                            None => bad.found(number),
                        }
                        continue;
                    }
                    for (j, out) in out.iter_mut().enumerate() {
                        *out = match checked(index[index_start + j * index_stride], bound) {
                            Some(i) => data[start + j * stride + i * step],
                            None => {
                                bad.found(number + j);
                                zero
                            }
                        };
                    }
                }
            });
            bad.result(|number| index[position(&at, number)], bound)?;
            Ok(T::wrap(out))
        })
    }

    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Storage,
        layout: &Layout,
        at: AtIndex<'_, Storage>,
        x: View<'_, Storage>,
    ) -> Result<(), OutOfRange> {
        if to.is_missing() || at.index.storage.is_missing() || x.storage.is_missing() {
            *to = Storage::Missing(x.dtype);
            return Ok(());
        }
        match op {
            ScatterOp::Add => scatter::<true>(op.name(), to, layout, at, x),
            ScatterOp::Set => scatter::<false>(op.name(), to, layout, at, x),
        }
    }
}

/// The first entry of an index, in row-major order, that threads have found to be out of range.
struct FirstBad(AtomicUsize);

impl Default for FirstBad {
    fn default() -> Self {
        FirstBad(AtomicUsize::new(usize::MAX))
    }
}

impl FirstBad {
    /// Entry `number` is out of range.
    #[cold]
    fn found(&self, number: usize) {
        self.0.fetch_min(number, Ordering::Relaxed);
    }

    /// After all threads: the error, if an entry was found. `entry(number)` reads one.
    fn result(self, entry: impl FnOnce(usize) -> i32, bound: usize) -> Result<(), OutOfRange> {
        match self.0.into_inner() {
            usize::MAX => Ok(()),
            number => Err(OutOfRange { index: entry(number) as i64, bound: bound as u64 }),
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
    name: &'static str,
    to: &mut Storage,
    layout: &Layout,
    AtIndex { dim, index, .. }: AtIndex<'_, Storage>,
    x: View<'_, Storage>,
) -> Result<(), OutOfRange> {
    let shape = layout.shape();
    let (planes, bound) = (shape[..dim].iter().product::<usize>(), shape[dim]);
    let inner: usize = shape[dim + 1..].iter().product();
    let per_plane = x.layout.shape()[dim] * inner;
    let work = 4 * per_plane;
    if x.layout.numel() == 0 {
        return Ok(());
    }
    check_index(name, layout, dim, &[index.layout, x.layout]);
    assert!(x.layout.numel() <= MAX_WORK, "{name}: {:?} would never end", x.layout.shape());
    let index_data = i32::read(index.storage);
    if layout.numel() == 0 {
        // There is an index, so the size of another dimension is not 0, and that of `dim` is: every index is out of range.
        let first = index_data[index.layout.offset()];
        return Err(OutOfRange { index: first as i64, bound: bound as u64 });
    }
    // `body` is the layout of plane 0; plane p starts at position p of `lead`, the dimensions before `dim`.
    let lead = |l: &Layout| (dim..shape.len()).rev().fold(*l, |l, d| l.remove(d));
    let body = |l: &Layout| (0..dim).fold(Layout::new(*l.shape(), l.strides(), 0), |l, _| l.remove(0));
    let (x_lead, index_lead) = (lead(x.layout), lead(index.layout));
    let [x_body, index_body] = [body(x.layout), body(index.layout)];
    let bad = FirstBad::default();
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
                let (column, number) = (place.start % inner, at * per_plane + place.start);
                let inside = |j: usize| match checked(index[index_start + j * index_stride], bound) {
                    Some(i) => (first..last).contains(&i).then(|| i - first),
                    None => {
                        bad.found(number + j);
                        None
                    }
                };
                if index_stride == 0 && stride == 1 && place.len() <= inner {
                    if let Some(i) = inside(0) {
                        let to = &mut to[i * inner + column..][..place.len()];
                        to.iter_mut().zip(&x[start..]).for_each(|(to, &x)| *to = if ADD { to.sum(x) } else { x });
                    }
                    continue;
                }
                for j in 0..place.len() {
                    if let Some(i) = inside(j) {
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
    bad.result(|number| index_data[position(index.layout, number)], bound)
}
