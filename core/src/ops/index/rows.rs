//! The row-sparse gradient of a table that `index_select` read.
//!
//! ```text
//! index  [n]        the row that each entry belongs to; repeats are usual
//! values [n, ..]    whole[r] = sum of values[k] over all k with index[k] = r
//! slots  [n]        slots[k] = the number of distinct rows smaller than index[k]
//! sums   [n, ..]    sums[s]  = sum of values[k] over all k with slots[k] = s; 0 beyond the last distinct row
//! ```
//!
//! The number of distinct rows is not known on the host: nothing is read back.

use super::{ScatterOp, scatter, spread};
use crate::autodiff::RowsOf;
use crate::backend::{Backend, Caller};
use crate::dtype::DType;
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::sync::OnceLock;

/// A leaf's gradient that is zero except in some rows (entries of dimension 0); see [`Gradients::rows`](crate::Gradients::rows).
#[derive(Clone)]
pub struct RowGradient<B: Backend> {
    shape: Shape,
    /// One per `index_select`, at least one.
    readings: Vec<Reading<B>>,
    /// All of them concatenated.
    all: OnceLock<Reading<B>>,
    slots: OnceLock<Tensor<B>>,
    whole: OnceLock<Tensor<B>>,
}

/// The rows that one `index_select` read, and their gradients.
#[derive(Clone)]
struct Reading<B: Backend> {
    /// `[n]`, I32.
    index: Tensor<B>,
    /// `[n, ..]`
    values: Tensor<B>,
    /// Who read them.
    caller: Caller,
}

/// Below this many elements, or this many rows per row that was read, a pass over the whole table costs less than sorting the
/// index.
const MIN_ELEMENTS: usize = 1 << 16;
const MIN_ROWS_PER_INDEX: usize = 8;

impl<B: Backend> RowGradient<B> {
    /// The gradient of a leaf of this shape of which the rows `index` were read; `values` are their gradients.
    pub(crate) fn new(shape: Shape, index: Tensor<B>, values: Tensor<B>, caller: Caller) -> Self {
        RowGradient::of(shape, vec![Reading { index, values, caller }])
    }

    fn of(shape: Shape, readings: Vec<Reading<B>>) -> Self {
        RowGradient { shape, readings, all: OnceLock::new(), slots: OnceLock::new(), whole: OnceLock::new() }
    }

    /// Whether this many rows take less memory than a leaf of this shape; otherwise its gradient is stored whole.
    pub(crate) fn is_smaller(shape: &Shape, rows: usize) -> bool {
        rows < shape[0]
    }

    /// The leaf's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.readings[0].values.dtype()
    }

    /// The device that holds it.
    pub fn device(&self) -> &B {
        self.readings[0].values.device()
    }

    /// Whether the rows are so few that sorting them and working on them alone costs less than a pass over the whole table.
    pub fn are_few(&self) -> bool {
        self.shape.numel() >= MIN_ELEMENTS && self.shape[0] / MIN_ROWS_PER_INDEX >= self.count()
    }

    /// The rows of all readings, with repeats.
    fn count(&self) -> usize {
        self.readings.iter().map(|reading| reading.index.numel()).sum()
    }

    /// The rows (I32, `[n]`) in the order in which `backward` reached them, with repeats.
    pub fn index(&self) -> &Tensor<B> {
        &self.all().index
    }

    /// The total gradient of each of these rows, `[n, ..]`, the same at every occurrence of a row. The values of one row are
    /// added as by [`scatter_add`](Tensor::scatter_add).
    pub fn totals(&self) -> Tensor<B> {
        self.sums().index_select(0, self.slots())
    }

    /// The gradient of each distinct row, in ascending order of the rows, then zeros: `[n, ..]`.
    pub(crate) fn sums(&self) -> Tensor<B> {
        let Reading { values, caller, .. } = self.all();
        add(values.zeros_of(*values.shape()), self.slots(), values, *caller)
    }

    /// The gradient of the same rows with a linear function applied to the values.
    pub(crate) fn map_linear(&self, f: impl Fn(&Tensor<B>) -> Tensor<B>) -> Self {
        let mapped = |reading: &Reading<B>| Reading { values: f(&reading.values), ..reading.clone() };
        let readings = self.readings.iter().map(mapped).collect();
        RowGradient { slots: self.slots.clone(), ..RowGradient::of(self.shape, readings) }
    }

    /// The gradient of the same rows with a function applied to the totals, which maps 0 to 0.
    pub(crate) fn map_totals(&self, f: impl Fn(&Tensor<B>) -> Tensor<B>) -> Self {
        // The last entry of each row holds the total, the others 0.
        let (index, slots) = (self.index(), self.slots());
        let numbers = Tensor::arange(0..index.numel() as i32, index.device());
        let last = numbers.zeros_like().scatter(0, slots, &numbers).index_select(0, slots);
        let totals = f(&self.totals());
        let others = spread(&last.ne(&numbers), 0, *totals.shape());
        let rows = RowGradient::new(self.shape, index.clone(), totals.masked_fill(&others, 0.0), self.all().caller);
        RowGradient { slots: self.slots.clone(), ..rows }
    }

    fn all(&self) -> &Reading<B> {
        if let [one] = &self.readings[..] {
            return one;
        }
        let concatenated = |part: fn(&Reading<B>) -> &Tensor<B>| {
            Tensor::cat(&self.readings.iter().map(|reading| part(reading).clone()).collect::<Vec<_>>(), 0)
        };
        self.all.get_or_init(|| Reading {
            index: concatenated(|reading| &reading.index),
            values: concatenated(|reading| &reading.values),
            caller: self.readings[0].caller,
        })
    }

    /// For each entry of the index, the number of distinct rows that are smaller.
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

/// `sum` with rows `[n, ..]` added at an index `[n]`, in place unless something else holds its storage.
fn add<B: Backend>(sum: Tensor<B>, index: &Tensor<B>, rows: &Tensor<B>, caller: Caller) -> Tensor<B> {
    caller.must(scatter(ScatterOp::Add, sum, 0, &spread(index, 0, *rows.shape()), rows, caller))
}

impl<B: Backend> RowsOf<Tensor<B>> for RowGradient<B> {
    fn whole(&self) -> &Tensor<B> {
        self.whole.get_or_init(|| self.added_to(self.readings[0].values.zeros_of(self.shape)))
    }

    fn added_to(&self, sum: Tensor<B>) -> Tensor<B> {
        self.readings.iter().fold(sum, |sum, reading| add(sum, &reading.index, &reading.values, reading.caller))
    }

    fn plus(mut self, more: Self) -> Result<Self, Tensor<B>> {
        if !RowGradient::<B>::is_smaller(&self.shape, self.count() + more.count()) {
            let zeros = self.readings[0].values.zeros_of(self.shape);
            return Err(more.added_to(self.added_to(zeros)));
        }
        self.readings.extend(more.readings);
        Ok(RowGradient::of(self.shape, self.readings))
    }
}
