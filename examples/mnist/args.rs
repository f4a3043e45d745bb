//! The command line.

use crate::common::args::{Options, from_command_line, of_the_source_tree};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// The networks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Net {
    LeNet,
    Course,
}

/// Trains LeNet-5, or the network of the MiniTorch course, on MNIST.
#[derive(Parser, Debug)]
#[command(name = "mnist")]
pub(crate) struct Args {
    /// Folder of the four IDX files [default: data/mnist]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// lenet, or minitorch for the network of the course
    #[arg(long, value_name = "NAME", default_value = "lenet", value_parser = net)]
    pub(crate) net: Net,

    #[command(flatten)]
    pub(crate) options: Options,
}

impl Args {
    /// The arguments, or the code to exit with after help or an error was printed.
    pub(crate) fn from_command_line() -> Result<Args, ExitCode> {
        let defaults = [("epochs", "5"), ("batch_size", "64"), ("lr", "4e-3"), ("out", "runs/mnist")];
        from_command_line("images", &defaults)
    }

    /// `--data`, by default that of the source tree.
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| of_the_source_tree("data/mnist"))
    }
}

fn net(name: &str) -> Result<Net, String> {
    match name {
        "lenet" => Ok(Net::LeNet),
        "minitorch" => Ok(Net::Course),
        _ => Err("no such network; there are lenet, minitorch".into()),
    }
}
