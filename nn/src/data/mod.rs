//! Data: from files to batches on a device.
//!
//! A [`Dataset`] collates examples into host buffers and uploads them; a [`Loader`] chooses the examples of each batch,
//! shuffled or by a [`Sampler`], and prefetches on worker threads. [`TensorDataset`] holds tensors or `Vec`s, and
//! [`FnDataset`] makes examples by a closure. [`mnist`], [`fashion_mnist`], [`cifar10`] and [`sst2`] read well-known sets from
//! their files. Text takes four steps: [`tokenize`] splits it, a [`Vocabulary`] maps words to ids,
//! [`WordVectors`] are pretrained vectors of words, and a [`TextDataset`] makes batches.

mod batches;
mod cifar;
mod columns;
mod idx;
mod images;
mod labels;
mod mnist;
mod sampler;
mod tensors;
mod text;

pub use batches::{Dataset, Epoch, Loader};
pub use cifar::{CIFAR10_CLASSES, cifar10};
pub use columns::{Column, ColumnBatch, Columns, Example, Nested, Stored, Value};
pub use idx::Idx;
pub use images::{ImageBatch, ImageDataset, Split};
pub use mnist::{FASHION_MNIST_CLASSES, fashion_mnist, mnist};
pub use sampler::Sampler;
pub use tensors::{FnDataset, TensorDataset};
pub use text::{Reviews, Sentence, TextBatch, TextDataset, Vocabulary, WordVectors, read_sst2, sst2, tokenize};
