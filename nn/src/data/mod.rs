//! Data: from files to batches on a device.
//!
//! A [`Dataset`] gathers examples into host buffers and uploads them; a [`Loader`] decides which examples, in which order,
//! and prepares them ahead on a thread of its own. [`mnist`], [`fashion_mnist`] and [`cifar10`] read well-known sets from
//! their files.

mod cifar;
mod dataset;
mod idx;
mod images;
mod loader;

pub use cifar::{CIFAR10_CLASSES, cifar10};
pub use dataset::Dataset;
pub use idx::{FASHION_MNIST_CLASSES, Idx, Split, fashion_mnist, mnist};
pub use images::{ImageBatch, ImageDataset};
pub use loader::{Epoch, Loader};
