//! From files of sentences to datasets of word ids.

use crate::common::cli::note;
use crate::model::SHORTEST;
use crate::weights::LARGEST_DIM;
use minitorch::nn::data::{Reviews, Sentence, TextDataset, Vocabulary, WordVectors, sst2, tokenize};
use minitorch::prelude::*;
use std::collections::HashSet;
use std::path::Path;

/// The most words of a sentence, which bounds the memory of a batch: all its sentences are padded to the longest.
pub(crate) const LONGEST: usize = 400;

/// One set of sentences.
pub(crate) struct Set {
    /// Text and label.
    pub(crate) sentences: Vec<Sentence>,
    /// The words of each.
    tokens: Vec<Vec<String>>,
}

/// The three sets.
pub(crate) struct Corpus {
    pub(crate) train: Set,
    pub(crate) validation: Set,
    pub(crate) test: Set,
}

impl Set {
    fn new(mut sentences: Vec<Sentence>, limit: usize) -> Self {
        sentences.truncate(limit);
        let tokens = sentences.iter().map(|sentence| tokenize(&sentence.text)).collect();
        Set { sentences, tokens }
    }

    /// The set as ids.
    pub(crate) fn dataset(&self, vocabulary: &Vocabulary) -> TextDataset {
        let ids = self.tokens.iter().map(|tokens| vocabulary.encode(tokens)).collect();
        let labels = self.sentences.iter().map(|sentence| sentence.label).collect();
        TextDataset::new(ids, labels).min_words(SHORTEST)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().flatten().map(String::as_str)
    }

    /// The number of words that the vocabulary lacks, and of all words; both with repeats.
    fn unknown(&self, vocabulary: &Vocabulary) -> (usize, usize) {
        (self.words().filter(|word| vocabulary.id(word).is_none()).count(), self.words().count())
    }
}

impl Corpus {
    /// Reads a folder, at most `limit` sentences of each set.
    ///
    /// # Errors
    /// If the folder does not hold three sets.
    pub(crate) fn read(folder: &Path, limit: usize) -> Result<Self> {
        let Reviews { train, validation, test } = sst2(folder)?;
        let [train, validation, test] = [train, validation, test].map(|sentences| Set::new(sentences, limit));
        let mut corpus = Corpus { train, validation, test };
        let mut cut = 0;
        for tokens in [&mut corpus.train, &mut corpus.validation, &mut corpus.test].map(|set| &mut set.tokens) {
            for tokens in tokens.iter_mut().filter(|tokens| tokens.len() > LONGEST) {
                tokens.truncate(LONGEST);
                cut += 1;
            }
        }
        if cut > 0 {
            note(&format!("sentences are cut to their first {LONGEST} words: {cut} of them are longer"));
        }
        Ok(corpus)
    }

    /// Reads the vectors of the words of all sets.
    ///
    /// # Errors
    /// If the file cannot be read, or its vectors are longer than [`LARGEST_DIM`].
    pub(crate) fn vectors(&self, path: &Path) -> Result<WordVectors> {
        let wanted: HashSet<&str> =
            [&self.train, &self.validation, &self.test].into_iter().flat_map(Set::words).collect();
        let vectors = WordVectors::read(path, |word| wanted.contains(word))?;
        if vectors.dim() > LARGEST_DIM {
            let reason = format!("vectors of {} numbers; at most {LARGEST_DIM} are supported", vectors.dim());
            return Err(Error::format(path, reason));
        }
        Ok(vectors)
    }

    /// The words of the training set, and the words of the other sets that have a vector: the model can learn nothing
    /// about others.
    pub(crate) fn vocabulary(&self, vectors: &WordVectors) -> Vocabulary {
        let of_others = [&self.validation, &self.test].into_iter().flat_map(Set::words);
        let known = of_others.filter(|word| vectors.get(word).is_some());
        Vocabulary::new(self.train.words().chain(known))
    }

    /// Prints how many words of the test set a vocabulary lacks.
    pub(crate) fn note_unknown(&self, vocabulary: &Vocabulary) {
        if let (unknown @ 1.., all) = self.test.unknown(vocabulary) {
            note(&format!("{unknown} of the {all} words of the test set are unknown, and zeros to the model"));
        }
    }
}
