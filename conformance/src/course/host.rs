//! Arrays on the host in f64, on which formulas are evaluated as they are written.

use crate::close::{Tolerance, Values, assert_close, read};
use minitorch_core::{Backend, Tensor};

/// Row-major.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f64>,
}

impl Array {
    /// The elements of a tensor.
    #[track_caller]
    pub(super) fn of<B: Backend>(x: &Tensor<B>) -> Self {
        let values = read(x);
        Array { shape: values.shape.to_vec(), data: values.data }
    }

    /// By a formula of the index.
    pub(super) fn by(shape: &[usize], mut formula: impl FnMut(&[usize]) -> f64) -> Self {
        let mut index = vec![0; shape.len()];
        let mut data = Vec::new();
        for _ in 0..shape.iter().product() {
            data.push(formula(&index));
            for d in (0..shape.len()).rev() {
                index[d] += 1;
                if index[d] < shape[d] {
                    break;
                }
                index[d] = 0;
            }
        }
        Array { shape: shape.to_vec(), data }
    }

    fn position(&self, index: &[usize]) -> usize {
        assert_eq!(index.len(), self.shape.len(), "an index {index:?} of the shape {:?}", self.shape);
        index.iter().zip(&self.shape).fold(0, |at, (&i, &n)| at * n + i)
    }

    /// One element.
    pub(super) fn at(&self, index: &[usize]) -> f64 {
        self.data[self.position(index)]
    }

    /// One element for adding to.
    pub(super) fn at_mut(&mut self, index: &[usize]) -> &mut f64 {
        let position = self.position(index);
        &mut self.data[position]
    }

    /// One element, or 0 past the end of a dimension.
    pub(super) fn padded(&self, index: &[usize]) -> f64 {
        if index.iter().zip(&self.shape).all(|(&i, &n)| i < n) { self.at(index) } else { 0.0 }
    }

    /// The index into this array that an index of the broadcast shape reads.
    pub(super) fn folded(&self, index: &[usize]) -> Vec<usize> {
        let own = &index[index.len() - self.shape.len()..];
        own.iter().zip(&self.shape).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect()
    }

    /// One element of this array broadcast to a larger shape.
    pub(super) fn spread(&self, index: &[usize]) -> f64 {
        self.at(&self.folded(index))
    }

    /// Zeros of the same shape.
    pub(super) fn zeros_like(&self) -> Self {
        Array { shape: self.shape.clone(), data: vec![0.0; self.data.len()] }
    }

    pub(super) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Array { shape: self.shape.clone(), data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// Element by element; the shapes are equal.
    pub(super) fn zip(&self, other: &Array, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.shape, other.shape);
        let data = self.data.iter().zip(&other.data).map(|(&x, &y)| f(x, y)).collect();
        Array { shape: self.shape.clone(), data }
    }

    /// The dimensions in another order.
    pub(super) fn permuted(&self, order: &[usize]) -> Self {
        let shape: Vec<usize> = order.iter().map(|&d| self.shape[d]).collect();
        Array::by(&shape, |index| {
            let mut own = vec![0; index.len()];
            order.iter().zip(index).for_each(|(&d, &i)| own[d] = i);
            self.at(&own)
        })
    }

    /// Folds a dimension to size 1.
    pub(super) fn fold(&self, dim: usize, initial: f64, f: impl Fn(f64, f64) -> f64) -> Self {
        let mut shape = self.shape.clone();
        shape[dim] = 1;
        Array::by(&shape, |index| {
            let mut index = index.to_vec();
            (0..self.shape[dim]).fold(initial, |sum, i| {
                index[dim] = i;
                f(sum, self.at(&index))
            })
        })
    }

    /// The sum over a dimension, which stays as 1.
    pub(super) fn sum(&self, dim: usize) -> Self {
        self.fold(dim, 0.0, |sum, x| sum + x)
    }
}

/// Panics unless the tensor has the array's shape and its elements.
#[track_caller]
pub(super) fn equals<B: Backend>(about: &str, got: &Tensor<B>, want: &Array, tolerance: Tolerance) {
    assert_close(about, got, &Values::new(want.shape.as_slice(), got.dtype(), want.data.clone()), tolerance);
}
