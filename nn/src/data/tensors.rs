//! Data sets of tensors, and of examples that a closure makes.

use super::batches::Dataset;
use super::columns::{Column, ColumnBatch, Columns, Example, Selection};
use minitorch_core::random::Draw;
use minitorch_core::{Backend, Error, Result, Tensor};
use std::fmt;
use std::sync::Arc;

/// Examples in memory that are given as columns: tensors, arrays or `Vec`s whose first dimension counts the examples. A
/// batch is a tensor per column: `Tensor` for one, a tuple for 2 to 6. PyTorch: `TensorDataset`.
///
/// Numbers have the types that [`Tensor::new`] gives them: floats F32, integers I32, booleans Bool. A tensor keeps its
/// dtype; its elements are read from its device once.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let points = vec![[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]];
/// let classes = vec![0, 1, 0];
/// let set = TensorDataset::new((points, classes))?;
/// for batch in Loader::new(&set, 2).shuffle(1).epoch(0, &device) {
///     let (x, y) = batch?;
///     assert_eq!((x.shape()[1], y.rank()), (2, 1));
/// }
/// let images = Tensor::zeros([10, 1, 8, 8], &device); // one column: a batch is a tensor
/// let batch = TensorDataset::new(&images)?.batches(4, &device).next().expect("three batches")?;
/// assert_eq!(batch.dims(), [4, 1, 8, 8]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct TensorDataset<const N: usize> {
    columns: Arc<Vec<Column>>,
    selection: Selection,
}

impl<const N: usize> TensorDataset<N> {
    /// From one column, or a tuple of up to six.
    ///
    /// # Errors
    /// [`Error::Invalid`] if columns differ in their number of examples, a column is a single number, lists of one
    /// dimension differ in length, or an integer does not fit I32. [`Error::Device`] if a tensor cannot be read.
    pub fn new(columns: impl Example<N>) -> Result<Self> {
        let mut made: Vec<Column> = (0..N).map(|_| Column::default()).collect();
        columns.write_to(&mut made).map_err(|error| named("TensorDataset", error))?;
        let mut columns = Vec::with_capacity(N);
        for (at, column) in made.into_iter().enumerate() {
            columns.push(column.into_rows().map_err(|error| named(&format!("TensorDataset: column {at}"), error))?);
        }
        let n = columns.first().map_or(0, Column::rows);
        if let Some(at) = columns.iter().position(|column| column.rows() != n) {
            let rows = columns[at].rows();
            return Err(Error::Invalid(format!("TensorDataset: column 0 has {n} examples, column {at} has {rows}")));
        }
        Ok(TensorDataset { columns: Arc::new(columns), selection: Selection::all(n) })
    }
}

/// An error in what the user passed, with the name of what it was passed to.
fn named(to: &str, error: Error) -> Error {
    match error {
        Error::Invalid(why) => Error::Invalid(format!("{to}: {why}")),
        other => other,
    }
}

impl<const N: usize> Dataset for TensorDataset<N>
where
    [(); N]: Columns,
{
    type Host = ColumnBatch;
    type Batch<B: Backend> = <[(); N] as Columns>::Of<Tensor<B>>;

    fn len(&self) -> usize {
        self.selection.len()
    }

    fn collate(&self, indices: &[usize], host: &mut ColumnBatch) {
        for (to, from) in host.begin(N).iter_mut().zip(&*self.columns) {
            to.gather(from, indices.iter().map(|&i| self.selection.row(i)));
        }
    }

    fn upload<B: Backend>(&self, host: &ColumnBatch, device: &B) -> Result<Self::Batch<B>> {
        host.upload::<B, [(); N]>(device)
    }

    fn select(&self, indices: &[usize]) -> Self {
        TensorDataset { columns: self.columns.clone(), selection: self.selection.select(indices) }
    }
}

impl<const N: usize> fmt::Debug for TensorDataset<N> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "TensorDataset({} examples, {N} columns)", self.selection.len())
    }
}

/// Appends the values of an example to the columns of a batch.
type Make = dyn Fn(usize, Option<Draw>, &mut [Column]) -> Result<()> + Send + Sync;

/// Examples that a closure makes from their number when they are needed, such as images that are decoded from files. An
/// example is a value or a tuple of up to six; a value is a number, an array or `Vec` of numbers, nested to any depth, or
/// a tensor, and has the same shape in every example. A batch is a tensor per value, with a first dimension more.
/// PyTorch: a `Dataset` with `__getitem__`.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let squares = FnDataset::new(100, |i| ([i as f64], (i * i) as f64));
/// for batch in Loader::new(&squares, 32).shuffle(7).workers(2).epoch(0, &device) {
///     let (x, y) = batch?;
///     assert_eq!((x.shape()[1], y.rank()), (1, 1));
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// The closure may return a `Result` of the example; the batch with a failed example is that error. It runs on the
/// threads of [`Loader::workers`](super::Loader::workers), several at once, and must depend on the number only, so that
/// batches do not depend on them.
#[derive(Clone)]
pub struct FnDataset<const N: usize> {
    make: Arc<Make>,
    selection: Selection,
}

impl<const N: usize> FnDataset<N> {
    /// `n` examples: `example(i)` for i below n.
    pub fn new<E: Example<N>>(n: usize, example: impl Fn(usize) -> E + Send + Sync + 'static) -> Self {
        FnDataset::augmented(n, move |i, _| example(i))
    }

    /// `n` examples with random augmentation: the closure also gets the random numbers of the example, or `None` in the
    /// batches of a [`Loader`](super::Loader) without a seed, which evaluates. The numbers depend on seed, epoch and
    /// position only.
    ///
    /// ```
    /// use minitorch::prelude::*;
    /// use minitorch::random::unit_f32;
    ///
    /// let device = Cpu::default();
    /// let noisy = FnDataset::augmented(100, |i, draw| {
    ///     let noise = draw.map_or(0.0, |draw| unit_f32(draw.word(0)) - 0.5);
    ///     (i as f32 + 0.1 * noise, i % 2)
    /// });
    /// for batch in Loader::new(&noisy, 32).shuffle(7).epoch(0, &device) {
    ///     let (x, parity) = batch?;
    ///     assert_eq!((x.rank(), parity.rank()), (1, 1));
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub fn augmented<E: Example<N>>(
        n: usize,
        example: impl Fn(usize, Option<Draw>) -> E + Send + Sync + 'static,
    ) -> Self {
        let make = move |i: usize, draw: Option<Draw>, columns: &mut [Column]| example(i, draw).write_to(columns);
        FnDataset { make: Arc::new(make), selection: Selection::all(n) }
    }

    /// Makes the examples; `draw(k)` has the random numbers of the k-th.
    fn fill(&self, indices: &[usize], host: &mut ColumnBatch, draw: impl Fn(usize) -> Option<Draw>) {
        let columns = host.begin(N);
        for (k, &i) in indices.iter().enumerate() {
            let row = self.selection.row(i);
            if let Err(error) = (self.make)(row, draw(k), columns) {
                return host.fail(named(&format!("FnDataset: example {row}"), error));
            }
        }
    }
}

impl<const N: usize> Dataset for FnDataset<N>
where
    [(); N]: Columns,
{
    type Host = ColumnBatch;
    type Batch<B: Backend> = <[(); N] as Columns>::Of<Tensor<B>>;

    fn len(&self) -> usize {
        self.selection.len()
    }

    fn collate(&self, indices: &[usize], host: &mut ColumnBatch) {
        self.fill(indices, host, |_| None);
    }

    fn augment(&self, indices: &[usize], draw: Draw, first: usize, host: &mut ColumnBatch) {
        // An example has a draw of its own, which its block of the epoch's draw identifies.
        self.fill(indices, host, |k| {
            let [a, b, c, d] = draw.block((first + k) as u64).map(u64::from);
            Some(Draw { seed: a | b << 32, index: c | d << 32 })
        });
    }

    fn upload<B: Backend>(&self, host: &ColumnBatch, device: &B) -> Result<Self::Batch<B>> {
        host.upload::<B, [(); N]>(device)
    }

    fn select(&self, indices: &[usize]) -> Self {
        FnDataset { make: self.make.clone(), selection: self.selection.select(indices) }
    }
}

impl<const N: usize> fmt::Debug for FnDataset<N> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "FnDataset({} examples, {N} values)", self.selection.len())
    }
}

#[cfg(test)]
#[path = "tensors_tests.rs"]
mod tests;
