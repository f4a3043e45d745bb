//! The common part of the command line of the training examples.

use super::backends::backend;
use super::cli::{positive, rate, refuse};
use clap::{CommandFactory, FromArgMatches};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The common options. EXAMPLES in their help is replaced by the kind of example. Defaults that are missing here come
/// from the example.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// cpu, cuda, wgpu, or cuda-emu for tests; by default the fastest of this build
    #[arg(long, value_name = "NAME", value_parser = backend)]
    pub(crate) backend: Option<String>,

    /// Passes over the training set
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) epochs: usize,

    /// EXAMPLES per step
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) batch_size: usize,

    /// Highest learning rate of the schedule
    #[arg(long, value_name = "X", value_parser = rate)]
    pub(crate) lr: f64,

    /// Seed of the initial weights and of the order of the EXAMPLES
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Use only the first N EXAMPLES of each set
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) limit: Option<usize>,

    /// Output folder of weights, metrics and pictures
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Do not train: evaluate these weights on the test set
    #[arg(long, value_name = "WEIGHTS")]
    pub(crate) eval: Option<PathBuf>,
}

/// The arguments, or the code to exit with after help or an error was printed. `defaults` are those of the example, by
/// the names of the fields; `kind` is what the examples of its data are called.
pub(crate) fn from_command_line<A: CommandFactory + FromArgMatches>(
    kind: &str,
    defaults: &[(&'static str, &'static str)],
) -> Result<A, ExitCode> {
    let command = defaults.iter().fold(A::command(), |command, (name, value)| {
        command.mut_arg(name, |argument| argument.default_value(value).required(false))
    });
    let command = command.mut_args(|argument| match argument.get_help().map(ToString::to_string) {
        Some(help) => argument.help(with_kind(&help, kind)),
        None => argument,
    });
    command.try_get_matches().and_then(|matches| A::from_arg_matches(&matches)).map_err(|error| refuse(&error))
}

/// Replaces EXAMPLES, capitalised if it is the first word.
fn with_kind(help: &str, kind: &str) -> String {
    match (help.strip_prefix("EXAMPLES"), kind.split_at_checked(1)) {
        (Some(rest), Some((first, letters))) => first.to_uppercase() + letters + rest,
        _ => help.replace("EXAMPLES", kind),
    }
}

/// A folder of the source tree: relative to the current folder if it exists there, else by its full path, so that an
/// example runs in any folder.
pub(crate) fn of_the_source_tree(folder: &str) -> PathBuf {
    let here = Path::new(folder);
    if here.is_dir() { here.into() } else { Path::new(env!("CARGO_MANIFEST_DIR")).join(here) }
}
