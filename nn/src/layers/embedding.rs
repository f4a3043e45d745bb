//! Embeddings.

use crate::Module;
use crate::module::Param;
use crate::observe::observe;
use crate::place;
use minitorch_core::{Backend, Tensor};

/// A table of vectors, looked up by index: indices (I32) `[..]` to vectors `[.., dim]`, as
/// [`Tensor::embedding`](minitorch_core::Tensor::embedding). The gradient of a row is the sum over its uses. PyTorch:
/// `nn.Embedding`.
///
/// The gradient is row-sparse ([`Gradients::rows`](minitorch_core::Gradients::rows)), as PyTorch's with `sparse=True`.
/// SGD without momentum and Adagrad, both without weight decay, update only these rows if they are few. The other
/// optimizers update the whole table, unless [`Group::lazy`](crate::Group::lazy) is set.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let embedding = Embedding::new(100, 8, &device);
/// let words = Tensor::new([[3, 1, 4], [1, 5, 9]], &device);
/// assert_eq!(embedding.forward(&words).dims(), [2, 3, 8]);
/// ```
#[derive(Module, Clone)]
pub struct Embedding<B: Backend> {
    /// `[rows, dim]`.
    pub weight: Param<B>,
}

impl<B: Backend> Embedding<B> {
    /// A table of standard normal numbers, as in PyTorch.
    pub fn new(rows: usize, dim: usize, device: &B) -> Self {
        Embedding::from_vectors(Tensor::randn([rows, dim], device))
    }

    /// A table of these vectors, `[rows, dim]`. Freeze the weight to exclude it from training. PyTorch:
    /// `nn.Embedding.from_pretrained`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let mut embedding = Embedding::from_vectors(Tensor::new([[0.0, 0.0], [1.0, 2.0]], &device));
    /// embedding.weight.freeze();
    /// assert_eq!(embedding.forward(&Tensor::new([1], &device)).to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the rank is not 2.
    #[track_caller]
    pub fn from_vectors(vectors: Tensor<B>) -> Self {
        assert!(vectors.rank() == 2, "Embedding: wants vectors [rows, dim], not {:?}", vectors.shape());
        Embedding { weight: Param::new(vectors) }
    }

    /// The rows of these indices.
    ///
    /// # Panics
    /// If the indices are not I32, or have the maximal rank. On the CPU, if an index is out of range; on a GPU such an
    /// index gives zeros, and reads of the device fail with [`Error::IndexOutOfRange`](minitorch_core::Error) until
    /// [`take_error`](minitorch_core::Device::take_error).
    #[track_caller]
    pub fn forward(&self, indices: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        observe(self, self.weight.embedding(indices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minitorch_conformance::Plain;

    #[test]
    #[should_panic(expected = "no memory for 281474976710656 elements")]
    fn a_table_beyond_memory_is_refused() {
        drop(Embedding::new(1 << 45, 8, &Plain::new()));
    }
}
