//! Ten PyTorch programs in minitorch. Beside each module is its twin for PyTorch, which prints the same lines.
//!
//! ```text
//! cargo run --release --example ports -- --list
//! cargo run --release --example ports -- vae
//! python examples/ports/vae.py                    # needs torch, numpy and safetensors
//! ```
//!
//! The twins take the same weights, data and steps, since `twin.rs` and `twin.py` compute them by one formula.
//! `tests/ports.rs` compares the lines with those that `scripts/goldens_ports.py` recorded.

mod attention;
mod autoencoder;
#[path = "../common/backends.rs"]
mod backends;
#[path = "../common/cli.rs"]
mod cli;
mod gan;
mod gru;
mod own_operation;
mod regression;
mod resnet18;
mod resume;
mod threads;
mod twin;
mod vae;

use backends::{Program, run_on};
use clap::{Parser, ValueEnum};
use cli::{complain, refuse, say};
use minitorch::prelude::*;
use std::process::ExitCode;

/// Runs one of ten PyTorch programs.
#[derive(Parser)]
#[command(name = "ports")]
struct Args {
    /// The program; without one, the programs are listed
    #[arg(value_enum)]
    name: Option<Name>,

    /// List the programs, whatever else is given
    #[arg(long)]
    list: bool,

    /// cpu, cuda or wgpu; by default the first GPU backend of the build, else the CPU
    #[arg(long, value_parser = backends::backend)]
    backend: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Fuel consumption of cars from a CSV file, by a small network
    Regression,
    /// Convolutional autoencoder of MNIST's digits
    Autoencoder,
    /// Variational autoencoder: reparametrisation, and the Kullback-Leibler divergence
    Vae,
    /// Generator and discriminator with an optimizer each
    Gan,
    /// Gated recurrent unit from its equations, trained through time
    Gru,
    /// Causal multi-head attention from its equations, in a small transformer
    Attention,
    /// ResNet-18 with PyTorch's weights, by torchvision's names
    Resnet18,
    /// A dataset of one's own, and a training that stops and continues
    Resume,
    /// An operation of one's own, differentiated twice, on two backends
    OwnOperation,
    /// One model that several threads evaluate
    Threads,
}

impl Program for Name {
    type Output = ();

    fn run<B: Backend>(self, device: &B) -> Result<()> {
        match self {
            Name::Regression => regression::run(device),
            Name::Autoencoder => autoencoder::run(device),
            Name::Vae => vae::run(device),
            Name::Gan => gan::run(device),
            Name::Gru => gru::run(device),
            Name::Attention => attention::run(device),
            Name::Resnet18 => resnet18::run(device),
            Name::Resume => resume::run(device),
            Name::OwnOperation => own_operation::run(device),
            Name::Threads => threads::run(device),
        }
    }
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    let Some(name) = args.name.filter(|_| !args.list) else {
        for value in Name::value_variants().iter().filter_map(Name::to_possible_value) {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            say(&format!("{:<14} {help}", value.get_name()));
        }
        return ExitCode::SUCCESS;
    };
    match run_on(args.backend.as_deref(), name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
