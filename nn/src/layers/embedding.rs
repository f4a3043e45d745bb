//! Embeddings.

use crate::Module;
use crate::module::{Layer, Param};
use crate::summary::observed;
use minitorch_core::{Backend, Tensor};

/// A table of vectors, read by index: indices (I32) `[..]` give `[.., dim]`. The gradient of a row is the sum over its uses.
/// An index outside the table gives zeros and is an error at the next read. PyTorch: `nn.Embedding`.
///
/// The gradient is kept by rows ([`Gradients::rows`](minitorch_core::Gradients::rows)). SGD without momentum and Adagrad, both
/// without weight decay, step only these rows where they are few; Adam and the others do if
/// [`Group::lazy`](crate::Group::lazy) says so, and else go through the whole table, as PyTorch's do unless `sparse=True`.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// # use minitorch_nn::Embedding;
/// let embedding = Embedding::new(100, 8, &device());
/// let words = Tensor::new([[3, 1, 4], [1, 5, 9]], &device());
/// assert_eq!(embedding.forward(&words).dims(), [2, 3, 8]);
/// ```
#[derive(Module, Clone, Debug)]
pub struct Embedding<B: Backend> {
    /// `[rows, dim]`.
    pub weight: Param<B>,
}

impl<B: Backend> Embedding<B> {
    /// A table of standard normal numbers, as PyTorch's.
    pub fn new(rows: usize, dim: usize, device: &B) -> Self {
        Embedding::from_vectors(Tensor::randn([rows, dim], device))
    }

    /// A table of these vectors, `[rows, dim]`. To keep them as they are, freeze the weight. PyTorch:
    /// `nn.Embedding.from_pretrained`.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// # use minitorch_nn::Embedding;
    /// let mut embedding = Embedding::from_vectors(Tensor::new([[0.0, 0.0], [1.0, 2.0]], &device()));
    /// embedding.weight.freeze();
    /// assert_eq!(embedding.forward(&Tensor::new([1], &device())).to_vec::<f32>()?, [1.0, 2.0]);
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

    /// The rows.
    ///
    /// # Panics
    /// If the indices are not I32, or of the largest rank.
    #[track_caller]
    pub fn forward(&self, indices: &Tensor<B>) -> Tensor<B> {
        let [_, dim] = self.weight.dims();
        let shape = indices.shape().insert(indices.rank(), dim);
        let rows = self.weight.index_select(0, &indices.reshape([indices.numel()]));
        observed(self, "Embedding", 0, rows.reshape(shape))
    }
}

impl<B: Backend> Layer<B> for Embedding<B> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        self.forward(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minitorch_conformance::Plain;

    #[test]
    #[should_panic(expected = "no memory for 281474976710656 elements")]
    fn a_table_that_no_memory_holds_is_refused() {
        drop(Embedding::new(1 << 45, 8, &Plain::new()));
    }
}
