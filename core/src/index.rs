//! Arguments that name dimensions, sizes and ranges: `x.slice((0..2, .., -1))`, `x.reshape((n, -1))`, `x.sum([0, 2])`.

use crate::shape::{MAX_RANK, Shape};
use std::fmt;
use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A slice of one dimension: an index, which removes the dimension, or a range, which keeps it. Negative numbers count
/// from the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axis {
    /// One entry.
    Index(isize),
    /// Entries from the first number up to, not including, the second; `None` is the end.
    Range(isize, Option<isize>),
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Axis::Index(i) => write!(f, "{i}"),
            Axis::Range(a, Some(b)) => write!(f, "{a}..{b}"),
            Axis::Range(a, None) => write!(f, "{a}.."),
        }
    }
}

/// Integers that index: `i32` (the type of a bare literal), `isize` and `usize`.
pub trait Int: Copy {
    /// The value.
    fn get(self) -> isize;
}
impl Int for i32 {
    fn get(self) -> isize {
        self as isize
    }
}
impl Int for isize {
    fn get(self) -> isize {
        self
    }
}
impl Int for usize {
    /// A number beyond `isize` becomes `isize::MAX`, which is outside of every dimension.
    fn get(self) -> isize {
        isize::try_from(self).unwrap_or(isize::MAX)
    }
}

/// A selection from one dimension: an integer or a range.
#[diagnostic::on_unimplemented(message = "`{Self}` cannot index one dimension: use an integer or a range")]
pub trait AxisIndex {
    /// The selection.
    fn axis(self) -> Axis;
}
impl<I: Int> AxisIndex for I {
    fn axis(self) -> Axis {
        Axis::Index(self.get())
    }
}
impl AxisIndex for RangeFull {
    fn axis(self) -> Axis {
        Axis::Range(0, None)
    }
}
impl<I: Int> AxisIndex for Range<I> {
    fn axis(self) -> Axis {
        Axis::Range(self.start.get(), Some(self.end.get()))
    }
}
impl<I: Int> AxisIndex for RangeInclusive<I> {
    fn axis(self) -> Axis {
        Axis::Range(self.start().get(), after(self.end().get()))
    }
}
impl<I: Int> AxisIndex for RangeToInclusive<I> {
    fn axis(self) -> Axis {
        Axis::Range(0, after(self.end.get()))
    }
}
impl<I: Int> AxisIndex for RangeFrom<I> {
    fn axis(self) -> Axis {
        Axis::Range(self.start.get(), None)
    }
}
impl<I: Int> AxisIndex for RangeTo<I> {
    fn axis(self) -> Axis {
        Axis::Range(0, Some(self.end.get()))
    }
}

/// One past an inclusive end; -1 is the last entry, and `isize::MAX` is outside of every dimension.
fn after(end: isize) -> Option<isize> {
    (end != -1).then_some(end.saturating_add(1))
}

/// The argument of [`Tensor::slice`](crate::Tensor::slice): one [`AxisIndex`], a tuple or an array of them.
pub trait SliceArg {
    /// Calls `f` with the selections; a closure, so that nothing is allocated.
    fn with<R>(self, f: impl FnOnce(&[Axis]) -> R) -> R;
}
impl<A: AxisIndex> SliceArg for A {
    fn with<R>(self, f: impl FnOnce(&[Axis]) -> R) -> R {
        f(&[self.axis()])
    }
}
impl<A: AxisIndex, const N: usize> SliceArg for [A; N] {
    fn with<R>(self, f: impl FnOnce(&[Axis]) -> R) -> R {
        f(&self.map(A::axis))
    }
}

/// The argument of [`Tensor::reshape`](crate::Tensor::reshape): sizes as an array, a tuple or a [`Shape`]; one may be -1.
pub trait ReshapeArg {
    /// Calls `f` with the sizes.
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R;
}
impl<I: Int, const N: usize> ReshapeArg for [I; N] {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        f(&self.map(I::get))
    }
}
impl ReshapeArg for Shape {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        let mut sizes = [0; MAX_RANK];
        sizes.iter_mut().zip(self.iter()).for_each(|(s, &d)| *s = d as isize);
        f(&sizes[..self.len()])
    }
}

macro_rules! tuples {
    ($($name:ident)*;) => {};
    ($($name:ident)*; $head:ident $($rest:ident)*) => {
        impl<$($name: AxisIndex,)* $head: AxisIndex> SliceArg for ($($name,)* $head,) {
            #[allow(non_snake_case)]
            fn with<R>(self, f: impl FnOnce(&[Axis]) -> R) -> R {
                let ($($name,)* $head,) = self;
                f(&[$($name.axis(),)* $head.axis()])
            }
        }
        impl<$($name: Int,)* $head: Int> ReshapeArg for ($($name,)* $head,) {
            #[allow(non_snake_case)]
            fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
                let ($($name,)* $head,) = self;
                f(&[$($name.get(),)* $head.get()])
            }
        }
        tuples!($($name)* $head; $($rest)*);
    };
}
tuples!(; A0 A1 A2 A3 A4 A5);

/// One number for all spatial dimensions, or one each: `2` or `[2, 1]`.
pub trait PerDim<const N: usize> {
    /// One number per dimension.
    fn per_dim(self) -> [usize; N];
}
impl<const N: usize> PerDim<N> for usize {
    fn per_dim(self) -> [usize; N] {
        [self; N]
    }
}
impl<const N: usize> PerDim<N> for [usize; N] {
    fn per_dim(self) -> [usize; N] {
        self
    }
}

/// Resolves the -1 of a reshape of `from`.
pub(crate) fn resolve_reshape(from: Shape, sizes: &[isize]) -> Result<Shape, String> {
    let fail = |why: &str| Err(format!("reshape: {from:?} to {sizes:?}: {why}"));
    if sizes.len() > MAX_RANK {
        return fail(&format!("at most {MAX_RANK} dimensions are supported"));
    }
    let mut known: usize = 1;
    for &size in sizes.iter().filter(|&&s| s != -1) {
        let Some(product) = usize::try_from(size).ok().and_then(|s| known.checked_mul(s)) else {
            return fail("sizes must be -1 or at least 0, and their product must not overflow");
        };
        known = product;
    }
    let unknown = sizes.iter().filter(|&&s| s == -1).count();
    let inferred = match unknown {
        0 => 1,
        1 if known > 0 && from.numel().is_multiple_of(known) => from.numel() / known,
        1 => return fail(&format!("{} elements do not fill the size given as -1", from.numel())),
        _ => return fail("only one size may be -1"),
    };
    if known * inferred != from.numel() {
        return fail(&format!("{} elements become {known}", from.numel()));
    }
    let mut dims = [0; MAX_RANK];
    dims.iter_mut().zip(sizes).for_each(|(d, &s)| *d = if s == -1 { inferred } else { s as usize });
    Ok(Shape::new(&dims[..sizes.len()]))
}

/// The index below `rank` of a dimension that may be negative.
pub(crate) fn wrap_dim(op: &str, dim: isize, rank: usize) -> Result<usize, String> {
    let wrapped = if dim < 0 { dim + rank as isize } else { dim };
    if (0..rank as isize).contains(&wrapped) {
        Ok(wrapped as usize)
    } else {
        Err(format!("{op}: dimension {dim} is outside a tensor of rank {rank}"))
    }
}

/// A set of dimensions, sorted and without repeats.
#[derive(Clone, Copy, Default, Debug)]
pub struct DimSet {
    dims: [usize; MAX_RANK],
    len: usize,
}

impl DimSet {
    pub(crate) fn new(op: &str, dims: &[isize], rank: usize) -> Result<Self, String> {
        let mut chosen = [false; MAX_RANK];
        for &d in dims {
            // A tensor of rank 0 has the dimensions 0 and -1, over which there is nothing to reduce.
            let at = if rank == 0 && matches!(d, 0 | -1) { 0 } else { wrap_dim(op, d, rank)? };
            if std::mem::replace(&mut chosen[at], true) {
                return Err(format!("{op}: dimension {d} is named twice"));
            }
        }
        Ok((0..rank).filter(|&d| chosen[d]).collect())
    }
}

impl FromIterator<usize> for DimSet {
    fn from_iter<I: IntoIterator<Item = usize>>(dims: I) -> Self {
        let mut out = DimSet::default();
        for d in dims {
            out.dims[out.len] = d;
            out.len += 1;
        }
        out
    }
}

impl std::ops::Deref for DimSet {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.len]
    }
}

/// The dimensions of a reduction: one integer, an array of them, or `..` for all. Negative ones count from the end. For a tensor
/// of rank 0, 0 and -1 are valid, as in PyTorch.
pub trait Dims {
    /// The dimensions of a tensor of this rank, checked.
    fn resolve(self, op: &str, rank: usize) -> Result<DimSet, String>;
}
impl<I: Int> Dims for I {
    fn resolve(self, op: &str, rank: usize) -> Result<DimSet, String> {
        DimSet::new(op, &[self.get()], rank)
    }
}
impl<I: Int, const N: usize> Dims for [I; N] {
    fn resolve(self, op: &str, rank: usize) -> Result<DimSet, String> {
        DimSet::new(op, &self.map(I::get), rank)
    }
}
impl Dims for RangeFull {
    fn resolve(self, _: &str, rank: usize) -> Result<DimSet, String> {
        Ok((0..rank).collect())
    }
}

/// Resolves a range of dimensions such as the `1..` of `x.flatten(1..)`.
pub(crate) fn dim_range(op: &str, dims: impl RangeBounds<isize>, rank: usize) -> Result<Range<usize>, String> {
    let first = match dims.start_bound() {
        Bound::Included(&d) => wrap_dim(op, d, rank)?,
        Bound::Excluded(&d) => wrap_dim(op, d, rank)? + 1,
        Bound::Unbounded => 0,
    };
    let end = match dims.end_bound() {
        Bound::Included(&d) => wrap_dim(op, d, rank)? + 1,
        Bound::Excluded(&d) if d >= 0 && d as usize == rank => rank,
        Bound::Excluded(&d) => wrap_dim(op, d, rank)?,
        Bound::Unbounded => rank,
    };
    if first <= end { Ok(first..end) } else { Err(format!("{op}: the range of dimensions {first}..{end} is reversed")) }
}
