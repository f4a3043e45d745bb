//! Trains a convolutional network to classify sentences of film reviews as positive or negative: Kim, "Convolutional
//! neural networks for sentence classification", 2014.
//!
//! ```text
//! cargo run --release --example sentiment
//! cargo run --release --example sentiment -- --embeddings static
//! cargo run --release --example sentiment -- --say "a gripping film that never bores"
//! cargo run --release --example sentiment -- --eval runs/sentiment/model.safetensors
//! ```
//!
//! A sentence is a sequence of word vectors (GloVe's, in the repository), the input of three convolutions of 3, 4 and 5
//! words with 100 maps each. Adam at a constant rate; dropout 0.5. The validation set evaluates every epoch, and the
//! best weights are kept. The last line on stdout is their result on the test set, such as `test accuracy: 80.30 %`; it
//! depends on the seed only. In `--out` (default `runs/sentiment`):
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | the weights of the best epoch; the header contains the vocabulary |
//! | `last.safetensors` | the weights after the last epoch, or at Ctrl-C |
//! | `metrics.csv` | loss and accuracy, every 50 steps and, on the validation set, every epoch |
//! | `curves.png` | the same as a chart |
//! | `mistakes.tsv` | the mistakes on the test set, the most confident first |
//!
//! Exit codes and Ctrl-C are as in the mnist example. `--say` prints the class of a sentence and the contribution of
//! its words; see `explain.rs`.
//!
//! Where to read: `model.rs` is the network, `main.rs` its recipe, `corpus.rs` the way from files to word ids,
//! `weights.rs` the header of the files of weights, `say.rs` and `explain.rs` the answer to `--say`, `args.rs` the
//! command line, `../common/train.rs` the training loop.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod explain;
mod model;
mod say;
mod weights;

use args::{Args, Embeddings};
use common::cli::note;
use common::evaluate::{Classes, Score};
use common::example::{Example, Labelled, Task};
use common::output::Output;
use corpus::Corpus;
use minitorch::nn::data::{Split, TextDataset, Vocabulary, WordVectors};
use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use model::TextCnn;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;
use weights::Header;

/// By label.
const CLASSES: Classes = Classes { kind: "class", names: &["negative", "positive"] };

/// The dimension of random vectors, equal to that of the vectors in the repository.
const RANDOM_DIM: usize = 100;

fn main() -> ExitCode {
    let args = match Args::from_command_line() {
        Ok(args) => args,
        Err(code) => return code,
    };
    if let Some(text) = &args.say {
        return say::start(text, &args);
    }
    match Sentiment::prepare(&args) {
        Ok(sentiment) => common::train::start(&sentiment, &args.options),
        Err(error) => common::run::failed(&error),
    }
}

/// Everything that does not depend on the device.
struct Sentiment {
    lr: f64,
    corpus: Corpus,
    vocabulary: Vocabulary,
    embeddings: Embeddings,
    /// The initial vectors; empty if they are random or come with the weights.
    vectors: WordVectors,
}

impl Sentiment {
    fn prepare(args: &Args) -> Result<Self> {
        let lr = args.options.lr;
        let read = || Corpus::read(&args.data_folder(), args.options.limit.unwrap_or(usize::MAX));
        if let Some(path) = &args.options.eval {
            let Header { vocabulary, embeddings, dim } = weights::read_header(path)?;
            let corpus = read()?;
            corpus.note_unknown(&vocabulary);
            return Ok(Sentiment { lr, corpus, vocabulary, embeddings, vectors: WordVectors::empty(dim) });
        }
        let (corpus, embeddings) = (read()?, args.embeddings);
        let vectors = match embeddings {
            Embeddings::Static | Embeddings::Tuned => corpus.vectors(&args.vectors_file())?,
            Embeddings::Random => WordVectors::empty(RANDOM_DIM),
        };
        let vocabulary = corpus.vocabulary(&vectors);
        if embeddings != Embeddings::Random {
            let (all, found) = (vocabulary.words().len(), vectors.len());
            note(&format!("{found} of {all} words have a vector; those of the others are drawn at random"));
        }
        corpus.note_unknown(&vocabulary);
        Ok(Sentiment { lr, corpus, vocabulary, embeddings, vectors })
    }
}

impl Example for Sentiment {
    type Data = TextDataset;
    type Model<B: Backend> = TextCnn<B>;

    const FILES: &'static [&'static str] = &["mistakes.tsv"];

    fn task<B: Backend>(&self, device: &B) -> Task<TextCnn<B>, B> {
        let vectors = self.vectors.table(&self.vocabulary, device);
        Task {
            name: match self.embeddings {
                Embeddings::Static => "text CNN on static vectors",
                Embeddings::Tuned => "text CNN on tuned vectors",
                Embeddings::Random => "text CNN on random vectors",
            },
            model: TextCnn::new(vectors, self.embeddings != Embeddings::Static, device),
            optimizer: Box::new(Adam::new(self.lr)),
            schedule: |rate, _| Box::new(Constant::new(rate)),
            classes: CLASSES,
        }
    }

    fn data(&self, split: Split) -> Result<TextDataset> {
        Ok(match split {
            Split::Train => self.corpus.train.dataset(&self.vocabulary),
            Split::Test => self.corpus.test.dataset(&self.vocabulary),
        })
    }

    fn validation(&self) -> Result<Option<TextDataset>> {
        Ok(Some(self.corpus.validation.dataset(&self.vocabulary)))
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        weights::metadata(&self.vocabulary, self.embeddings)
    }

    fn show<B: Backend>(&self, _: &TextCnn<B>, score: &Score, _: &TextDataset, output: &Output, _: &B) -> Result<()> {
        let mut table = String::from("label\tprediction\tprobability\tsentence\n");
        for mistake in &score.mistakes {
            let [label, predicted] = [mistake.label, mistake.predicted].map(|class| score.classes.names[class]);
            let text = &self.corpus.test.sentences[mistake.example].text;
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{label}\t{predicted}\t{:.4}\t{text}", mistake.confidence);
        }
        replace_file(output.path("mistakes.tsv"), |file| file.write_all(table.as_bytes()))
    }
}

impl Labelled for TextDataset {
    const KIND: &'static str = "sentence";
    const EVALUATED_AT_ONCE: usize = 100;

    fn pair<B: Backend>(batch: Self::Batch<B>) -> (Tensor<B>, Tensor<B>) {
        batch
    }
}
