//! The command line.

use crate::backends::backend;
use clap::Parser;
use std::path::PathBuf;

/// Times a fixed list of operations on GPU backends.
#[derive(Parser)]
pub(crate) struct Args {
    /// The backends; by default the GPUs of this build
    #[arg(long, value_name = "NAME", value_parser = backend, value_delimiter = ',')]
    pub(crate) backend: Vec<String>,

    /// Only rows whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) rows: String,

    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Sizes for an emulator or a GPU in software
    #[arg(long)]
    pub(crate) toy: bool,

    /// Call each row once after one call that warms it up, and time nothing
    #[arg(long)]
    pub(crate) once: bool,
}
