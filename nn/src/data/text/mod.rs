//! Text: words, their ids, their vectors, and batches of sentences.

mod dataset;
mod sst2;
mod tokenize;
mod vectors;
mod vocabulary;

pub use dataset::{TextBatch, TextDataset};
pub use sst2::{Reviews, Sentence, read_sst2, sst2};
pub use tokenize::tokenize;
pub use vectors::WordVectors;
pub use vocabulary::Vocabulary;
