//! The class labels of a set of examples in memory.

use minitorch_core::{Backend, Element, Result, Tensor};
use std::sync::Arc;

/// A class per example. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Labels(Arc<Vec<u8>>);

impl Labels {
    pub(super) fn new(labels: Vec<u8>) -> Self {
        Labels(Arc::new(labels))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Replaces the content of `host` by the labels of these examples.
    pub(super) fn gather(&self, indices: &[usize], host: &mut Vec<i32>) {
        host.clear();
        host.extend(indices.iter().map(|&i| i32::from(self.0[i])));
    }

    /// The labels of these examples.
    pub(super) fn select(&self, indices: &[usize]) -> Self {
        Labels::new(indices.iter().map(|&i| self.0[i]).collect())
    }
}

/// A batch of examples, `elements` of this shape per batch, and their labels.
pub(super) fn upload<T: Element, B: Backend>(
    elements: &[T],
    shape: &[usize],
    labels: &[i32],
    device: &B,
) -> Result<(Tensor<B>, Tensor<B>)> {
    Ok((Tensor::try_from_slice(elements, shape, device)?, Tensor::try_from_slice(labels, [labels.len()], device)?))
}
