//! Data: from files to batches on a device.
//!
//! A [`Dataset`] collates examples into host buffers and uploads them; a [`Loader`] chooses the examples of each batch
//! and prefetches on a worker thread. [`mnist`], [`fashion_mnist`], [`cifar10`] and [`sst2`] read well-known sets from
//! their files. Text takes four steps: [`tokenize`] splits it, a [`Vocabulary`] maps words to ids,
//! [`WordVectors`] are pretrained vectors of words, and a [`TextDataset`] makes batches.

mod batches;
mod cifar;
mod idx;
mod images;
mod mnist;
mod text;

pub use batches::{Dataset, Epoch, Loader};
pub use cifar::{CIFAR10_CLASSES, cifar10};
pub use idx::Idx;
pub use images::{ImageBatch, ImageDataset, Split};
pub use mnist::{FASHION_MNIST_CLASSES, fashion_mnist, mnist};
pub use text::{Reviews, Sentence, TextBatch, TextDataset, Vocabulary, WordVectors, read_sst2, sst2, tokenize};
