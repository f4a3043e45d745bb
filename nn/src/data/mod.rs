//! Data: from files to batches on a device.
//!
//! A [`Dataset`] gathers examples into host buffers and uploads them; a [`Loader`] decides which examples, in which order,
//! and prepares them ahead on a thread of its own. [`mnist`], [`fashion_mnist`], [`cifar10`] and [`sst2`] read well-known sets
//! from their files. Text takes four steps: [`tokenize`] makes words of it, a [`Vocabulary`] makes numbers of words,
//! [`WordVectors`] are trained vectors of words, and a [`TextDataset`] makes batches.

mod cifar;
mod dataset;
mod idx;
mod images;
mod loader;
mod text;

pub use cifar::{CIFAR10_CLASSES, cifar10};
pub use dataset::Dataset;
pub use idx::{FASHION_MNIST_CLASSES, Idx, Split, fashion_mnist, mnist};
pub use images::{ImageBatch, ImageDataset};
pub use loader::{Epoch, Loader};
pub use text::{Reviews, Sentence, TextBatch, TextDataset, Vocabulary, WordVectors, read_sst2, sst2, tokenize};
