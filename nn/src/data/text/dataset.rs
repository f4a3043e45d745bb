//! Sentences with labels, in batches that are padded to their longest sentence.

use super::vocabulary::Vocabulary;
use crate::data::batches::Dataset;
use crate::data::labels::{self, Labels};
use minitorch_core::{Backend, Result, Tensor};
use std::sync::Arc;

/// Sentences as word ids, with class labels. A batch is ids `[n, t]` (I32), `t` being the length of the longest
/// sentence and shorter ones being padded with [`Vocabulary::PADDING`], and labels `[n]` (I32).
///
/// A sentence can be empty: its row is all padding. With [`Loader::buckets`](super::super::Loader::buckets) sentences
/// of similar length share a batch, which needs less padding.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::nn::data::TextDataset;
///
/// let device = Cpu::default();
/// let set = TextDataset::new(vec![vec![2, 3, 4], vec![5]], vec![1, 0]).min_words(5);
/// for batch in set.batches(50, &device) {
///     let (ids, labels) = batch?;
///     assert_eq!(ids.dims(), [2, 5]);
///     assert_eq!(ids.to_vec::<i32>()?, [2, 3, 4, 0, 0, 5, 0, 0, 0, 0]);
///     assert_eq!(labels.to_vec::<i32>()?, [1, 0]);
/// }
/// # Ok::<(), Error>(())
/// ```
#[must_use]
#[derive(Clone, Debug)]
pub struct TextDataset {
    sentences: Arc<Vec<Vec<i32>>>,
    labels: Labels,
    min_words: usize,
    max_words: usize,
}

/// The host buffers of a batch of a [`TextDataset`].
#[derive(Default, Debug)]
pub struct TextBatch {
    ids: Vec<i32>,
    labels: Vec<i32>,
    /// The length of every row.
    words: usize,
}

impl TextDataset {
    /// From the word ids and the label of each sentence.
    ///
    /// # Panics
    /// If the numbers of labels and sentences differ.
    #[track_caller]
    pub fn new(sentences: Vec<Vec<i32>>, labels: Vec<u8>) -> Self {
        let (n, m) = (sentences.len(), labels.len());
        assert!(n == m, "TextDataset: {n} sentences and {m} labels");
        TextDataset { sentences: Arc::new(sentences), labels: Labels::new(labels), min_words: 0, max_words: usize::MAX }
    }

    /// Pads every batch to at least `n` words, such as the width of the widest kernel.
    pub fn min_words(mut self, n: usize) -> Self {
        self.min_words = n;
        self
    }

    /// Truncates every sentence to its first `n` words.
    pub fn max_words(mut self, n: usize) -> Self {
        self.max_words = n;
        self
    }

    /// The ids of one sentence, without padding.
    ///
    /// # Panics
    /// If there is no such sentence.
    #[track_caller]
    pub fn sentence(&self, i: usize) -> &[i32] {
        assert!(i < self.len(), "TextDataset: sentence {i} of {}", self.len());
        let sentence = &self.sentences[i];
        &sentence[..sentence.len().min(self.max_words)]
    }

    /// The label of every sentence.
    pub fn labels(&self) -> &[u8] {
        self.labels.as_slice()
    }
}

impl Dataset for TextDataset {
    type Host = TextBatch;
    type Batch<B: Backend> = (Tensor<B>, Tensor<B>);

    fn len(&self) -> usize {
        self.labels().len()
    }

    /// The number of words.
    fn size(&self, i: usize) -> usize {
        self.sentence(i).len()
    }

    fn collate(&self, indices: &[usize], host: &mut TextBatch) {
        let longest = indices.iter().map(|&i| self.size(i)).max().unwrap_or(0);
        host.words = longest.max(self.min_words);
        host.ids.clear();
        self.labels.gather(indices, &mut host.labels);
        for (row, &i) in indices.iter().enumerate() {
            host.ids.extend_from_slice(self.sentence(i));
            host.ids.resize((row + 1) * host.words, Vocabulary::PADDING);
        }
    }

    fn upload<B: Backend>(&self, host: &TextBatch, device: &B) -> Result<(Tensor<B>, Tensor<B>)> {
        labels::upload(&host.ids, &[host.labels.len(), host.words], &host.labels, device)
    }

    fn select(&self, indices: &[usize]) -> Self {
        let sentences = indices.iter().map(|&i| self.sentence(i).to_vec()).collect();
        TextDataset { sentences: Arc::new(sentences), labels: self.labels.select(indices), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Loader, tokenize};
    use crate::{Conv1d, Embedding, Linear, Module, Sgd};
    use minitorch_conformance::doc::device;

    fn rows(set: &TextDataset, indices: &[usize]) -> Vec<Vec<i32>> {
        // Buffers that another batch has used.
        let mut host = TextBatch { ids: vec![-1; 5], labels: vec![-1; 2], words: 9 };
        set.collate(indices, &mut host);
        assert_eq!(host.ids.len(), indices.len() * host.words);
        assert_eq!(host.labels, indices.iter().map(|&i| set.labels()[i] as i32).collect::<Vec<i32>>());
        host.ids.chunks(host.words.max(1)).map(<[i32]>::to_vec).collect()
    }

    #[test]
    fn batches_are_padded_to_their_longest_sentence() {
        let set = TextDataset::new(vec![vec![2], vec![3, 4, 5], vec![], vec![6, 7]], vec![0, 1, 1, 0]);
        assert_eq!(rows(&set, &[3, 0, 2]), [[6, 7], [2, 0], [0, 0]]);
        assert_eq!(rows(&set, &[1, 0]), [[3, 4, 5], [2, 0, 0]]);
        assert_eq!(rows(&set.clone().min_words(4), &[0, 3]), [[2, 0, 0, 0], [6, 7, 0, 0]]);
        assert_eq!(rows(&set.clone().max_words(2), &[1, 0]), [[3, 4], [2, 0]]);
        let cut = set.clone().min_words(3).max_words(1).select(&[1, 3]);
        assert_eq!(rows(&cut, &[0, 1]), [[3, 0, 0], [6, 0, 0]], "selecting preserves both settings");
        assert_eq!((cut.labels(), cut.size(0), cut.sentence(1)), (&[1, 0][..], 1, &[6][..]));
    }

    #[test]
    fn empty_sentences_are_rows_of_padding_or_of_nothing() {
        let set = TextDataset::new(vec![vec![]; 3], vec![1, 0, 1]);
        for (set, t) in [(set.clone(), 0), (set.min_words(5), 5)] {
            let (ids, labels) = set.batches(50, &device()).next().unwrap().unwrap();
            assert_eq!((ids.dims(), ids.to_vec::<i32>().unwrap()), ([3, t], vec![0; 3 * t]));
            assert_eq!(labels.to_vec::<i32>().unwrap(), [1, 0, 1]);
        }
    }

    #[test]
    fn buckets_save_padding() {
        let sentences: Vec<Vec<i32>> = (0..1000).map(|i| vec![2; i * 7919 % 50]).collect();
        let set = TextDataset::new(sentences, vec![0; 1000]);
        let padded = |loader: Loader<TextDataset>| -> usize {
            loader.epoch(0, &device()).map(|batch| batch.unwrap().0.numel()).sum()
        };
        let loader = Loader::new(&set, 20).shuffle(1);
        let words: usize = (0..1000).map(|i| set.size(i)).sum();
        let (plain, buckets) = (padded(loader.clone()), padded(loader.buckets()));
        assert!(words <= buckets && (buckets - words) * 10 < plain - words, "{words} {buckets} {plain}");
    }

    /// Embedding, convolution over five words, maximum, linear.
    #[derive(Module)]
    struct Net<B: Backend> {
        embedding: Embedding<B>,
        conv: Conv1d<B>,
        linear: Linear<B>,
    }

    impl<B: Backend> Net<B> {
        fn forward(&self, ids: &Tensor<B>) -> Tensor<B> {
            let maps = self.conv.forward(&self.embedding.forward(ids).transpose(1, 2));
            self.linear.forward(&maps.max(2).relu())
        }
    }

    #[test]
    fn sentences_of_every_length_train_and_evaluate() {
        let long = "good film ".repeat(50_000);
        let texts = ["", "  ", "xyzzy", "a good film", "no words of it known here !", &long];
        let vocabulary = Vocabulary::new(["a", "good", "film"]);
        let ids: Vec<Vec<i32>> = texts.iter().map(|text| vocabulary.encode(&tokenize(text))).collect();
        assert_eq!(ids.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 1, 3, 7, 100_000]);
        let set = TextDataset::new(ids, vec![0, 1, 0, 1, 0, 1]).min_words(5);
        let device = device();
        let (embedding, conv) = (Embedding::new(vocabulary.len(), 2, &device), Conv1d::new(2, 2, 5, &device));
        let mut net = Net { embedding, conv, linear: Linear::new(2, 2, &device) };
        let mut optimizer = Sgd::new(0.1);
        for batch in Loader::new(&set, 3).shuffle(1).epoch(0, &device) {
            let (ids, labels) = batch.unwrap();
            let loss = net.forward(&ids).cross_entropy(&labels);
            assert!(loss.item().unwrap().is_finite());
            optimizer.step(&mut net, &loss.backward());
        }
        for batch in set.clone().max_words(50).batches(6, &device) {
            let logits = net.forward(&batch.unwrap().0);
            assert_eq!(logits.dims(), [6, 2]);
            assert!(logits.to_vec::<f32>().unwrap().iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    #[should_panic(expected = "TextDataset: 1 sentences and 2 labels")]
    fn every_sentence_has_a_label() {
        let _ = TextDataset::new(vec![vec![]], vec![0, 1]);
    }
}
