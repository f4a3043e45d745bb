//! The command line.

use crate::common::args::{Options, from_command_line};
use crate::data::Data;
use clap::Parser;
use std::process::ExitCode;

/// Trains ResNet-20 on MNIST, Fashion-MNIST or CIFAR-10.
#[derive(Parser, Debug)]
#[command(name = "resnet")]
pub(crate) struct Args {
    /// mnist, fashion or cifar10 (in data/mnist, data/fashion-mnist, data/cifar10), or a folder of IDX files or of
    /// CIFAR-10's binary files
    #[arg(long, value_name = "NAME|DIR", default_value = "mnist")]
    pub(crate) data: Data,

    #[command(flatten)]
    pub(crate) options: Options,
}

impl Args {
    /// The arguments, or the code to exit with after help or an error was printed.
    pub(crate) fn from_command_line() -> Result<Args, ExitCode> {
        let defaults = [("epochs", "5"), ("batch_size", "128"), ("lr", "0.1"), ("out", "runs/resnet")];
        from_command_line("images", &defaults)
    }
}
