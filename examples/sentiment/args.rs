//! The command line.

use crate::common::args::{Options, from_command_line, of_the_source_tree};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where word vectors come from, and whether they are trained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Embeddings {
    /// From a file, constant.
    Static,
    /// From a file, trained.
    Tuned,
    /// Random, trained.
    Random,
}

/// Trains a convolutional network to tell positive sentences of film reviews from negative ones.
#[derive(Parser, Debug)]
#[command(name = "sentiment")]
pub(crate) struct Args {
    /// Folder of train.tsv, dev.tsv and test.tsv, such as GLUE's SST-2 [default: data/sentiment]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Word vectors: static (from a file, frozen), tuned (from a file, trained) or random (trained from random values)
    #[arg(long, value_name = "KIND", default_value = "tuned", value_parser = embeddings)]
    pub(crate) embeddings: Embeddings,

    /// File of word vectors: GloVe's text, also gzipped, or safetensors [default: data/sentiment/glove.safetensors]
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,

    /// Do not train: classify this sentence, or stdin if it is -, with the weights of --eval or of the last run
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) say: Option<String>,

    #[command(flatten)]
    pub(crate) options: Options,
}

impl Args {
    /// The arguments, or the code to exit with after help or an error was printed.
    pub(crate) fn from_command_line() -> Result<Args, ExitCode> {
        let defaults = [("epochs", "8"), ("batch_size", "50"), ("lr", "1e-3"), ("out", "runs/sentiment")];
        from_command_line("sentences", &defaults)
    }

    /// `--data`, by default that of the source tree.
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| of_the_source_tree("data/sentiment"))
    }

    /// `--vectors`, by default those of the source tree.
    pub(crate) fn vectors_file(&self) -> PathBuf {
        let own = || of_the_source_tree("data/sentiment").join("glove.safetensors");
        self.vectors.clone().unwrap_or_else(own)
    }

    /// The weights for `--say`: those of `--eval`, by default of the last run.
    pub(crate) fn weights_file(&self) -> PathBuf {
        self.options.eval.clone().unwrap_or_else(|| self.options.out.join("model.safetensors"))
    }
}

impl Embeddings {
    const ALL: [Embeddings; 3] = [Embeddings::Static, Embeddings::Tuned, Embeddings::Random];

    /// The name on the command line and in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Embeddings::Static => "static",
            Embeddings::Tuned => "tuned",
            Embeddings::Random => "random",
        }
    }

    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Embeddings::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

fn embeddings(name: &str) -> Result<Embeddings, String> {
    Embeddings::named(name).ok_or_else(|| "no such kind; there are static, tuned, random".into())
}
