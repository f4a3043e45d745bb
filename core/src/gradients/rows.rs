//! The gradient of a table that was read by rows: what those rows get, without the zeros of all others.
//!
//! ```text
//! index  [n]        which row each part belongs to; repeats are usual
//! values [n, ..]    the parts:  whole[r] = sum of values[k] over all k with index[k] = r
//! ```
//!
//! What adds the parts of one row first numbers the distinct rows, on the device and without reading anything back: `sums[s]` is the
//! sum of the s-th smallest row that occurs, `slots[k]` is the s of entry k, and the entries of `sums` that are left over are zero.

use crate::autodiff::RowsOf;
use crate::backend::Backend;
use crate::dtype::DType;
use crate::ops::index::{ScatterOp, scatter, spread};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::sync::OnceLock;

/// A leaf's gradient that is zero except in some rows (entries of dimension 0); see [`Gradients::rows`](super::Gradients::rows).
#[derive(Clone)]
pub struct RowGradient<B: Backend> {
    shape: Shape,
    /// One for each time that rows were read, at least one.
    readings: Vec<Reading<B>>,
    /// All of them in one.
    all: OnceLock<Reading<B>>,
    slots: OnceLock<Tensor<B>>,
    whole: OnceLock<Tensor<B>>,
}

#[derive(Clone)]
struct Reading<B: Backend> {
    /// `[n]`, I32.
    index: Tensor<B>,
    /// `[n, ..]`
    values: Tensor<B>,
}

/// A table of fewer elements is cheaper to go through as a whole than to sort for.
const SMALLEST: usize = 1 << 16;
/// The same for one with less than so many rows for each that is read.
const ROWS_PER_INDEX: usize = 8;

impl<B: Backend> RowGradient<B> {
    /// Of a leaf of this shape, from which `index` read the rows whose gradients `values` are.
    pub(crate) fn new(shape: Shape, index: Tensor<B>, values: Tensor<B>) -> Self {
        RowGradient::of(shape, vec![Reading { index, values }])
    }

    fn of(shape: Shape, readings: Vec<Reading<B>>) -> Self {
        RowGradient { shape, readings, all: OnceLock::new(), slots: OnceLock::new(), whole: OnceLock::new() }
    }

    /// Whether so many rows take less memory than all of a leaf of this shape; else its gradient is a whole one.
    pub(crate) fn is_smaller(shape: &Shape, rows: usize) -> bool {
        rows < shape[0]
    }

    /// The leaf's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The dtype of its numbers.
    pub fn dtype(&self) -> DType {
        self.readings[0].values.dtype()
    }

    /// Where it is.
    pub fn device(&self) -> &B {
        self.readings[0].values.device()
    }

    /// Whether the rows are so few that work on them alone, which has to sort them first, is less than work on all.
    pub fn are_few(&self) -> bool {
        self.shape.numel() >= SMALLEST && self.shape[0] / ROWS_PER_INDEX >= self.count()
    }

    /// The rows of all readings, with repeats.
    fn count(&self) -> usize {
        self.readings.iter().map(|reading| reading.index.numel()).sum()
    }

    /// Which rows (I32, `[n]`), in the order of backward, with repeats.
    pub fn index(&self) -> &Tensor<B> {
        &self.all().index
    }

    /// The gradient of each of these rows, `[n, ..]`: at every occurrence all that the row gets. Parts of one row are added
    /// as by [`scatter_add`](Tensor::scatter_add).
    pub fn totals(&self) -> Tensor<B> {
        self.sums().index_select(0, self.slots())
    }

    /// The gradient of each distinct row, in ascending order of the rows, then zeros: `[n, ..]`.
    pub(super) fn sums(&self) -> Tensor<B> {
        let Reading { values, .. } = self.all();
        add(values.zeros_of(*values.shape()), self.slots(), values)
    }

    /// A gradient of the same rows, by a function of the values that is linear.
    pub(super) fn map_linear(&self, f: impl Fn(&Tensor<B>) -> Tensor<B>) -> Self {
        let mapped = |reading: &Reading<B>| Reading { index: reading.index.clone(), values: f(&reading.values) };
        let readings = self.readings.iter().map(mapped).collect();
        RowGradient { slots: self.slots.clone(), ..RowGradient::of(self.shape, readings) }
    }

    /// A gradient of the same rows, by a function of the totals that keeps zeros.
    pub(super) fn map_totals(&self, f: impl Fn(&Tensor<B>) -> Tensor<B>) -> Self {
        // One part per row has the total, the others nothing.
        let (index, slots) = (self.index(), self.slots());
        let numbers = Tensor::arange(0..index.numel() as i32, index.device());
        let last = numbers.zeros_like().scatter(0, slots, &numbers).index_select(0, slots);
        let totals = f(&self.totals());
        let others = spread(&last.ne(&numbers), 0, *totals.shape());
        let rows = RowGradient::new(self.shape, index.clone(), totals.masked_fill(&others, 0.0));
        RowGradient { slots: self.slots.clone(), ..rows }
    }

    fn all(&self) -> &Reading<B> {
        if let [one] = &self.readings[..] {
            return one;
        }
        let join = |part: fn(&Reading<B>) -> &Tensor<B>| {
            Tensor::cat(&self.readings.iter().map(|reading| part(reading).clone()).collect::<Vec<_>>(), 0)
        };
        self.all
            .get_or_init(|| Reading { index: join(|reading| &reading.index), values: join(|reading| &reading.values) })
    }

    /// For each entry of the index, how many distinct rows are smaller.
    fn slots(&self) -> &Tensor<B> {
        self.slots.get_or_init(|| {
            let index = self.index();
            let n = index.numel();
            if n == 0 {
                return index.clone();
            }
            let order = index.argsort(0, false);
            let sorted = index.index_select(0, &order);
            let first = Tensor::zeros([1], (index.device(), DType::I32));
            let next = sorted.narrow(0, 1, n - 1).ne(sorted.narrow(0, 0, n - 1)).cast(DType::I32);
            let numbers = Tensor::cat(&[first, next], 0).cumsum(0);
            numbers.zeros_like().scatter(0, &order, &numbers)
        })
    }
}

/// The sum with rows `[n, ..]` added at an index `[n]`; in place, as nobody else holds it.
fn add<B: Backend>(sum: Tensor<B>, index: &Tensor<B>, rows: &Tensor<B>) -> Tensor<B> {
    scatter(ScatterOp::Add, sum, 0, &spread(index, 0, *rows.shape()), rows)
}

impl<B: Backend> RowsOf<Tensor<B>> for RowGradient<B> {
    fn whole(&self) -> &Tensor<B> {
        self.whole.get_or_init(|| self.added_to(self.readings[0].values.zeros_of(self.shape)))
    }

    fn added_to(&self, sum: Tensor<B>) -> Tensor<B> {
        self.readings.iter().fold(sum, |sum, reading| add(sum, &reading.index, &reading.values))
    }

    fn joined(mut self, more: Self) -> Result<Self, Tensor<B>> {
        if !RowGradient::<B>::is_smaller(&self.shape, self.count() + more.count()) {
            let zeros = self.readings[0].values.zeros_of(self.shape);
            return Err(more.added_to(self.added_to(zeros)));
        }
        self.readings.extend(more.readings);
        Ok(RowGradient::of(self.shape, self.readings))
    }
}
