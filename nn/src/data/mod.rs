//! Data: from files to batches on a device.
//!
//! A [`Dataset`] gathers examples into host buffers and uploads them; a [`Loader`] decides which examples, in which order,
//! and prepares them ahead on a thread of its own. [`mnist`] reads the IDX files of MNIST.

mod dataset;
mod idx;
mod images;
mod loader;

pub use dataset::Dataset;
pub use idx::{Idx, Split, mnist};
pub use images::{ImageBatch, ImageDataset};
pub use loader::{Epoch, Loader};
