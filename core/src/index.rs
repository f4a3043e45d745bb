//! Arguments that name dimensions, sizes and ranges: `x.slice((0..2, .., -1))`, `x.reshape((n, -1))`, `x.sum([0, 2])`.

use crate::error::must;
use crate::shape::{MAX_RANK, Shape, misfit_to};
use std::fmt;
use std::iter::Rev;
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

/// Integers that count or name dimensions, sizes and positions: any primitive integer type of up to 64 bits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no dimension, size or position of a tensor",
    label = "an integer of any type of up to 64 bits is wanted here"
)]
pub trait Int: Copy {
    /// The value. One beyond `isize` becomes the nearest `isize`, which is outside of every dimension.
    fn get(self) -> isize;
}

macro_rules! integers {
    ($($type:ty)*) => { $(impl Int for $type {
        fn get(self) -> isize {
            (self as i128).clamp(isize::MIN as i128, isize::MAX as i128) as isize
        }
    })* };
}
integers!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize);

/// A selection from one dimension: an integer or a range.
#[diagnostic::on_unimplemented(
    message = "`{Self}` selects nothing from a dimension",
    label = "an integer or a range of integers is wanted here"
)]
pub trait AxisIndex {
    /// The selection.
    fn axis(self) -> Axis;
}
impl<I: Int> AxisIndex for I {
    fn axis(self) -> Axis {
        Axis::Index(self.get())
    }
}
impl AxisIndex for Axis {
    fn axis(self) -> Axis {
        self
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

/// The argument of [`Tensor::slice`](crate::Tensor::slice) and [`Tensor::set`](crate::Tensor::set): one [`AxisIndex`], or an
/// array, a slice, a `Vec` or a tuple of them. Only a tuple can mix integers and ranges; a list does so with [`Axis`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` selects no part of a tensor",
    label = "an integer, a range, or a tuple, array or `Vec` of them is wanted here"
)]
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
impl SliceArg for () {
    fn with<R>(self, f: impl FnOnce(&[Axis]) -> R) -> R {
        f(&[])
    }
}
impl<A: AxisIndex + Clone> SliceArg for &[A] {
    fn with<R>(self, f: impl FnOnce(&[Axis]) -> R) -> R {
        f(&self.iter().cloned().map(A::axis).collect::<Vec<_>>())
    }
}
impl<A: AxisIndex + Clone> SliceArg for &Vec<A> {
    fn with<R>(self, f: impl FnOnce(&[Axis]) -> R) -> R {
        SliceArg::with(self.as_slice(), f)
    }
}
impl<A: AxisIndex> SliceArg for Vec<A> {
    fn with<R>(self, f: impl FnOnce(&[Axis]) -> R) -> R {
        f(&self.into_iter().map(A::axis).collect::<Vec<_>>())
    }
}

/// A list of sizes or dimensions: one integer, or an array, a slice, a `Vec` or a tuple of integers of any type, or a [`Shape`].
/// `()` is the empty list.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no list of sizes or dimensions",
    label = "an integer, or an array, slice, `Vec` or tuple of integers of any type, is wanted here"
)]
pub trait IntList {
    /// Calls `f` with the integers; a closure, so that a short list is not allocated.
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R;
}
impl<I: Int> IntList for I {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        f(&[self.get()])
    }
}
impl<I: Int, const N: usize> IntList for [I; N] {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        f(&self.map(I::get))
    }
}
impl<I: Int, const N: usize> IntList for &[I; N] {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        f(&self.map(I::get))
    }
}
impl<I: Int> IntList for &[I] {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        if self.len() > HELD {
            return f(&self.iter().map(|i| i.get()).collect::<Vec<_>>());
        }
        listed(self.iter().map(|i| i.get()), f)
    }
}
impl<I: Int> IntList for &Vec<I> {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        IntList::with(self.as_slice(), f)
    }
}
impl<I: Int> IntList for Vec<I> {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        IntList::with(self.as_slice(), f)
    }
}
/// A range backwards: `x.permute((0..3).rev())`.
impl<I: Int> IntList for Rev<Range<I>>
where
    Range<I>: DoubleEndedIterator<Item = I>,
{
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        listed(self.map(I::get), f)
    }
}
impl IntList for Shape {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        listed(self.iter().map(|d| d.get()), f)
    }
}
impl IntList for &Shape {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        IntList::with(*self, f)
    }
}
impl IntList for () {
    fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
        f(&[])
    }
}

/// The integers of a list that are held on the stack.
const HELD: usize = MAX_RANK + 2;

/// `f` of the integers. More than [`MAX_RANK`] are valid nowhere, so a longer list is cut off.
fn listed<R>(ints: impl Iterator<Item = isize>, f: impl FnOnce(&[isize]) -> R) -> R {
    let (mut held, mut len) = ([0; HELD], 0);
    for (to, i) in held.iter_mut().zip(ints) {
        *to = i;
        len += 1;
    }
    f(&held[..len])
}

/// Lists of sizes as a [`Shape`], beside the arrays of usize.
macro_rules! sizes {
    ($([$($generics:tt)*] $List:ty),*) => { $(impl<$($generics)*> From<$List> for Shape {
        /// # Panics
        /// If a size is negative, there are more than [`MAX_RANK`], or their product overflows.
        #[track_caller]
        fn from(sizes: $List) -> Self {
            must(IntList::with(sizes, resolve_sizes))
        }
    })* };
}
sizes!([I: Int] &[I], [I: Int, const N: usize] &[I; N], [I: Int] Vec<I>, [I: Int] &Vec<I>, [] ());

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
        impl<$($name: Int,)* $head: Int> IntList for ($($name,)* $head,) {
            #[allow(non_snake_case)]
            fn with<R>(self, f: impl FnOnce(&[isize]) -> R) -> R {
                let ($($name,)* $head,) = self;
                f(&[$($name.get(),)* $head.get()])
            }
        }
        sizes!([$($name: Int,)* $head: Int] ($($name,)* $head,));
        tuples!($($name)* $head; $($rest)*);
    };
}
tuples!(; A0 A1 A2 A3 A4 A5);

/// One number for all spatial dimensions, or one each: `2` or `[2, 1]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no size of the spatial dimensions",
    label = "one `usize` for all of them, or an array with one each, is wanted here"
)]
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

/// Resolves each -1 of an expansion of `from`, which keeps the size of its dimension.
pub(crate) fn resolve_expand(from: Shape, sizes: &[isize]) -> Result<Shape, String> {
    let mut kept = [0; MAX_RANK];
    for (d, (to, &size)) in kept.iter_mut().zip(sizes).enumerate() {
        *to = match (size, (d + from.len()).checked_sub(sizes.len())) {
            (-1, Some(old)) => from[old] as isize,
            (-1, None) => return Err(format!("expand: {from:?} to {sizes:?}: dimension {d} is new, -1 keeps no size")),
            _ => size,
        };
    }
    let sizes = if sizes.len() > MAX_RANK { sizes } else { &kept[..sizes.len()] };
    let to = resolve_sizes(sizes).map_err(|why| format!("expand: {why}"))?;
    if from == to || from.broadcast(&to) == Some(to) {
        return Ok(to);
    }
    Err(format!("expand: {from:?} does not broadcast to {to:?}{}", misfit_to(&from, &to)))
}

/// A list of sizes, none of them negative, as a shape.
fn resolve_sizes(sizes: &[isize]) -> Result<Shape, String> {
    if sizes.len() > MAX_RANK {
        return Err(format!("shape {sizes:?} has {} dimensions; at most {MAX_RANK} are supported", sizes.len()));
    }
    let mut dims = [0; MAX_RANK];
    for (dim, &size) in dims.iter_mut().zip(sizes) {
        *dim = usize::try_from(size).map_err(|_| format!("shape {sizes:?} has the negative size {size}"))?;
    }
    Shape::try_new(&dims[..sizes.len()]).ok_or_else(|| format!("shape {sizes:?} has too many elements"))
}

/// The index below `rank` of a dimension that may be negative.
pub(crate) fn wrap_dim(op: &str, dim: impl Int, rank: usize) -> Result<usize, String> {
    let dim = dim.get();
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

/// The dimensions of a reduction: an [`IntList`], or a range such as `..`, `1..` or `..-1`. Negative ones count from the end.
/// For a tensor of rank 0, 0 and -1 are valid, as in PyTorch.
#[diagnostic::on_unimplemented(
    message = "`{Self}` names no dimensions of a tensor",
    label = "an integer, a list of integers, or a range such as `..` or `1..` is wanted here"
)]
pub trait Dims {
    /// The dimensions of a tensor of this rank, checked.
    fn resolve(self, op: &str, rank: usize) -> Result<DimSet, String>;
}
impl<L: IntList> Dims for L {
    fn resolve(self, op: &str, rank: usize) -> Result<DimSet, String> {
        self.with(|dims| DimSet::new(op, dims, rank))
    }
}
impl Dims for RangeFull {
    fn resolve(self, _: &str, rank: usize) -> Result<DimSet, String> {
        Ok((0..rank).collect())
    }
}

macro_rules! ranges {
    ($($Range:ident)*) => { $(impl<I: Int> Dims for $Range<I> {
        fn resolve(self, op: &str, rank: usize) -> Result<DimSet, String> {
            let bound = |bound: Bound<&I>| bound.map(|dim| dim.get());
            dim_range(op, bound(self.start_bound()), bound(self.end_bound()), rank)
        }
    })* };
}
ranges!(Range RangeFrom RangeInclusive RangeTo RangeToInclusive);

/// A range of dimensions. As in [`DimSet::new`], a tensor of rank 0 has the dimensions 0 and -1.
fn dim_range(op: &str, start: Bound<isize>, end: Bound<isize>, rank: usize) -> Result<DimSet, String> {
    let count = rank.max(1);
    let at = |d: isize| {
        wrap_dim(op, d, count).map_err(|_| format!("{op}: dimension {d} is outside a tensor of rank {rank}"))
    };
    let first = match start {
        Bound::Included(d) => at(d)?,
        Bound::Excluded(d) => at(d)? + 1,
        Bound::Unbounded => 0,
    };
    let after = match end {
        Bound::Included(d) => at(d)? + 1,
        Bound::Excluded(d) if d >= 0 && d as usize == count => count,
        Bound::Excluded(d) => at(d)?,
        Bound::Unbounded => count,
    };
    if first > after {
        return Err(format!("{op}: the range of dimensions {first}..{after} is reversed"));
    }
    Ok((first..after.min(rank)).collect())
}
