//! `Shape`: up to six sizes, inline and `Copy`, so that no operation allocates for its shape.

use std::{fmt, ops::Deref};

/// The largest rank of a tensor. Six holds every window view of an image batch: `[n, c, oh, ow, kh, kw]`.
pub const MAX_RANK: usize = 6;

/// The largest number of elements of a shape: 8 bytes each fit an `isize`.
const MAX_ELEMENTS: usize = isize::MAX as usize / 8;

/// The sizes of a tensor's dimensions. Dereferences to `[usize]`.
///
/// Functions that create a tensor take what converts to a shape: an array of `usize` (`[]` for a scalar), or a slice, a `Vec` or a
/// tuple of any integers, or one `usize` for a vector.
///
/// Invariant: the product of the sizes other than 0 is at most `isize::MAX / 8`. So no product of a shape's sizes overflows, nor
/// does 8 bytes times it. Every constructor checks it.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::Shape;
///
/// let shape = Shape::from([2, 3, 4]);
/// assert_eq!((shape.len(), shape.numel(), shape[1]), (3, 24, 3));
/// assert_eq!(Shape::from(vec![2, 3, 4]), shape);
/// assert_eq!(Shape::from((2u32, 3i64, 4)), shape);
/// ```
#[derive(Clone, Copy, Eq, Default)]
pub struct Shape {
    dims: [usize; MAX_RANK], // the unused tail is 0, so that equality compares all of it
    rank: u8,
}

/// As the derived one, but inlined instead of a call to `memcmp`: every operation compares shapes.
impl PartialEq for Shape {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differ = |(a, b): (&usize, &usize)| a ^ b;
        self.rank == other.rank && self.dims.iter().zip(&other.dims).map(differ).fold(0, |all, bits| all | bits) == 0
    }
}

impl std::hash::Hash for Shape {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Shape {
    /// A shape of these sizes; `[]` for a scalar.
    ///
    /// # Panics
    /// If there are more than [`MAX_RANK`] sizes or their product overflows.
    #[track_caller]
    pub fn new(dims: &[usize]) -> Self {
        assert!(
            dims.len() <= MAX_RANK,
            "shape {dims:?} has {} dimensions; at most {MAX_RANK} are supported",
            dims.len()
        );
        match Shape::try_new(dims) {
            Some(shape) => shape,
            None => panic!("shape {dims:?} has too many elements"),
        }
    }

    /// A shape of at most [`MAX_RANK`] sizes; `None` if their product overflows.
    pub(crate) fn try_new(dims: &[usize]) -> Option<Self> {
        let mut shape = Shape { rank: dims.len() as u8, ..Shape::default() };
        shape.dims[..dims.len()].copy_from_slice(dims);
        shape.checked()
    }

    /// The shape, if the invariant holds.
    fn checked(self) -> Option<Self> {
        let product = self.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
        product.is_some_and(|n| n <= MAX_ELEMENTS).then_some(self)
    }

    /// A shape of one dimension. The caller guarantees the invariant: `size` is the number of elements of some shape.
    pub(crate) fn flat(size: usize) -> Self {
        let mut shape = Shape { rank: 1, ..Shape::default() };
        shape.dims[0] = size;
        shape
    }

    /// The number of elements; 1 for a scalar, 0 if any size is 0.
    #[inline]
    pub fn numel(&self) -> usize {
        self.iter().product()
    }

    /// The shape that both broadcast to by NumPy's rules, aligned at the last dimension; `None` if they do not broadcast, or if
    /// that shape has too many elements.
    ///
    /// ```
    /// use minitorch::prelude::*;
    /// use minitorch::Shape;
    ///
    /// assert_eq!(Shape::from([2, 3, 1]).broadcast(&Shape::from([7, 2, 1, 5])), Some(Shape::from([7, 2, 3, 5])));
    /// assert_eq!(Shape::from([5, 2]).broadcast(&Shape::from([5])), None);
    /// ```
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        if self == other {
            return Some(*self);
        }
        let (mut out, short) = if self.rank >= other.rank { (*self, other) } else { (*other, self) };
        let pad = (out.rank - short.rank) as usize;
        for (a, &b) in out.dims[pad..out.rank as usize].iter_mut().zip(short.iter()) {
            match (*a, b) {
                (x, y) if x == y => {}
                (1, y) => *a = y,
                (_, 1) => {}
                _ => return None,
            }
        }
        out.checked()
    }

    /// The same shape with dimension `dim` of another size.
    ///
    /// # Panics
    /// If the dimension is out of range or the result has too many elements.
    #[track_caller]
    pub fn with(self, dim: usize, size: usize) -> Self {
        assert!(dim < self.len(), "dimension {dim} is outside {self:?}");
        match self.try_with(dim, size) {
            Some(shape) => shape,
            None => panic!("shape {self:?} with a dimension {dim} of {size} has too many elements"),
        }
    }

    /// [`with`](Self::with) for a dimension within the rank; `None` if the result has too many elements.
    pub(crate) fn try_with(mut self, dim: usize, size: usize) -> Option<Self> {
        let before = std::mem::replace(&mut self.dims[dim], size);
        // A product that does not grow needs no check.
        if size <= before { Some(self) } else { self.checked() }
    }

    /// Whether the shapes are equal, or differ only in the size of dimension `dim`.
    pub(crate) fn equals_but_for(&self, dim: usize, other: &Shape) -> bool {
        let differs = |(d, (a, b)): (usize, (&usize, &usize))| d != dim && a != b;
        self.rank == other.rank && !self.iter().zip(other.iter()).enumerate().any(differs)
    }

    /// The same shape with a dimension inserted before `dim`.
    ///
    /// # Panics
    /// If `dim` is beyond the rank, the rank would exceed [`MAX_RANK`], or the result has too many elements.
    #[track_caller]
    pub fn insert(&self, dim: usize, size: usize) -> Self {
        let mut dims = [0; MAX_RANK + 1];
        dims[..dim].copy_from_slice(&self[..dim]);
        dims[dim] = size;
        dims[dim + 1..=self.len()].copy_from_slice(&self[dim..]);
        Shape::new(&dims[..=self.len()])
    }

    /// The same shape without dimension `dim`.
    ///
    /// # Panics
    /// If the dimension is out of range.
    #[track_caller]
    pub fn remove(&self, dim: usize) -> Self {
        assert!(dim < self.len(), "dimension {dim} is outside {self:?}");
        let mut out = Shape { rank: self.rank - 1, ..Shape::default() };
        out.dims[..dim].copy_from_slice(&self[..dim]);
        out.dims[dim..self.len() - 1].copy_from_slice(&self[dim + 1..]);
        out
    }

    /// Exchanges the sizes of two dimensions.
    pub fn swap(mut self, a: usize, b: usize) -> Self {
        self.dims[..self.rank as usize].swap(a, b);
        self
    }
}

/// Why shapes do not broadcast, as a table of their dimensions for the end of an error message. Each shape comes with its name in
/// the table.
#[cold]
pub(crate) fn misfit<const N: usize>(shapes: [(&str, &Shape); N]) -> String {
    let fits = |sizes: [usize; N]| {
        let mut others = sizes.iter().filter(|&&size| size != 1);
        others.next().is_none_or(|first| others.all(|size| size == first))
    };
    match by_dimension(shapes, fits) {
        None => "broadcast to too many elements".into(),
        Some(table) => format!("do not broadcast{table}  sizes fit if they are equal or 1, from the last dimension on"),
    }
}

/// Why a shape does not broadcast to a given one, as in [`misfit`].
#[cold]
pub(crate) fn misfit_to(from: &Shape, to: &Shape) -> String {
    let table = by_dimension([("from", from), ("to", to)], |[from, to]| from == to || from == 1);
    // A dimension that `to` lacks does not fit, whatever its size.
    let more = if from.len() > to.len() { "\n  it has more dimensions" } else { "" };
    match table {
        Some(table) => format!("{table}  a size fits if it is equal or 1, from the last dimension on{more}"),
        None => more.into(),
    }
}

/// A table of the sizes by dimension, counted from the last, and whether they fit; `None` if all do. A dimension that a shape
/// lacks has the size 1.
fn by_dimension<const N: usize>(shapes: [(&str, &Shape); N], fits: impl Fn([usize; N]) -> bool) -> Option<String> {
    let rank = shapes.iter().map(|(_, shape)| shape.len()).max().unwrap_or(0);
    let size = |shape: &Shape, back: usize| shape.len().checked_sub(back).map(|d| shape[d]);
    let good: Vec<bool> = (1..=rank).rev().map(|back| fits(shapes.map(|(_, s)| size(s, back).unwrap_or(1)))).collect();
    if good.iter().all(|&good| good) {
        return None;
    }
    let mut rows = vec![("dimension", (1..=rank).rev().map(|back| format!("-{back}")).collect::<Vec<_>>())];
    for (name, shape) in shapes {
        let sizes = (1..=rank).rev().map(|back| size(shape, back).map_or("-".into(), |size| size.to_string()));
        rows.push((name, sizes.collect()));
    }
    rows.push(("fits", good.iter().map(|&good| if good { "yes" } else { "NO" }.into()).collect()));
    let width = rows.iter().flat_map(|(_, cells)| cells).map(String::len).max().unwrap_or(0);
    let mut table = String::from("\n");
    for (name, cells) in rows {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>width$}")).collect();
        table.push_str(&format!("  {name:<9}  {}\n", cells.join("  ")));
    }
    Some(table)
}

impl Deref for Shape {
    type Target = [usize];
    #[inline]
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    #[track_caller]
    fn from(dims: [usize; N]) -> Self {
        Shape::new(&dims)
    }
}

impl From<usize> for Shape {
    fn from(size: usize) -> Self {
        Shape::new(&[size])
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        *shape
    }
}
