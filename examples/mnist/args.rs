//! The command line. Whatever is wrong with it is one line on stderr and exit code 2.

use crate::{BACKENDS, complain};
use clap::Parser;
use clap::error::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Trains LeNet-5 on MNIST.
#[derive(Parser, Debug)]
#[command(name = "mnist")]
pub(crate) struct Args {
    /// cpu, cuda or wgpu; by default the fastest of this build
    #[arg(long, value_name = "NAME", value_parser = backend)]
    pub(crate) backend: Option<String>,

    /// Folder of the four IDX files [default: data/mnist]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// How often to go through the training set
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive)]
    pub(crate) epochs: usize,

    /// Images per step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub(crate) batch_size: usize,

    /// Highest learning rate of the one-cycle schedule
    #[arg(long, value_name = "X", default_value_t = 4e-3, value_parser = rate)]
    pub(crate) lr: f64,

    /// Of the initial weights and of the order of the images
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Use only the first N images of each set
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) limit: Option<usize>,

    /// Where weights, metrics and pictures go
    #[arg(long, value_name = "DIR", default_value = "runs/mnist")]
    pub(crate) out: PathBuf,

    /// Do not train: load these weights and test them
    #[arg(long, value_name = "WEIGHTS")]
    pub(crate) eval: Option<PathBuf>,
}

impl Args {
    /// The arguments, or the code to exit with after help or a complaint was printed.
    pub(crate) fn from_command_line() -> Result<Args, ExitCode> {
        Args::try_parse().map_err(|error| {
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            let text = error.to_string(); // "error: what", then hints
            let line = text.lines().next().unwrap_or_default();
            complain(line.trim_start_matches("error: "));
            ExitCode::from(2)
        })
    }

    /// `--data`; else `data/mnist` here; else that of the source tree, so that the example runs from any folder.
    pub(crate) fn data_folder(&self) -> PathBuf {
        let default = Path::new("data/mnist");
        match &self.data {
            Some(folder) => folder.clone(),
            None if default.is_dir() => default.into(),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join(default),
        }
    }
}

fn backend(name: &str) -> Result<String, String> {
    let known = ["cpu", "cuda", "wgpu"];
    if !known.contains(&name) {
        return Err(format!("no such backend; there are {}", known.join(", ")));
    }
    if !BACKENDS.contains(&name) {
        return Err(format!("not in this build, which has {}", BACKENDS.join(", ")));
    }
    Ok(name.to_string())
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        Ok(_) => Err("must be a finite number above 0".into()),
        Err(error) => Err(format!("{error}")),
    }
}
