//! The header of the files of weights: the vocabulary and the kind of embeddings, which make the file self-contained.

use crate::args::Embeddings;
use minitorch::nn::data::Vocabulary;
use minitorch::nn::state::StateDict;
use minitorch::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// The maximal dimension of a word vector, which bounds the weights of the convolutions.
pub(crate) const LARGEST_DIM: usize = 4096;

/// The content of the header.
pub(crate) struct Header {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) embeddings: Embeddings,
    /// The dimension of a word vector.
    pub(crate) dim: usize,
}

/// The metadata to save with the weights.
pub(crate) fn metadata(vocabulary: &Vocabulary, embeddings: Embeddings) -> BTreeMap<String, String> {
    let words = vocabulary.words().join("\n");
    [("words", words), ("embeddings", embeddings.name().into())].map(|(key, text)| (key.to_string(), text)).into()
}

/// Reads the header of a file, and checks that its table of vectors fits.
///
/// # Errors
/// If the file cannot be read, or was not written by this example.
pub(crate) fn read_header(path: &Path) -> Result<Header> {
    let file = StateDict::read(path)?;
    let lacks = |what: &str| Error::format(path, format!("not weights of the sentiment example: {what}"));
    let words = file.metadata.get("words").ok_or_else(|| lacks("its header has no `words`"))?;
    let embeddings = file.metadata.get("embeddings").and_then(|name| Embeddings::named(name));
    let embeddings = embeddings.ok_or_else(|| lacks("its header has no known kind of `embeddings`"))?;
    let vocabulary = Vocabulary::new(words.split('\n').filter(|word| !word.is_empty()));
    let shape = file.get("embedding.weight").map(|table| table.shape.as_slice());
    match shape {
        Some(&[rows, dim]) if rows == vocabulary.len() && (1..=LARGEST_DIM).contains(&dim) => {
            Ok(Header { vocabulary, embeddings, dim })
        }
        Some(&[rows, dim]) => Err(lacks(&format!(
            "`embedding.weight` is [{rows}, {dim}]; its header has {} words, padding and unknown included, and a vector has \
             1 to {LARGEST_DIM} numbers",
            vocabulary.len()
        ))),
        _ => Err(lacks("it has no table `embedding.weight`")),
    }
}
