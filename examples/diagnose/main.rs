//! For each operation of a list: the kernels that a backend launches, their code path, threads or grid, and tile; the
//! bytes, the arithmetic, the time, and the share of the peak rate of the machine.
//!
//! ```text
//! cargo run --release --example diagnose                                  # every backend of this build that is here
//! cargo run --release --example diagnose -- --op conv --backend cpu
//! cargo run --release --example diagnose -- --matmul                      # square products of 64 to 2048, as a table and a chart
//! ```
//!
//! `docs/diagnose.md` explains the table. The launches come from `minitorch::launches`, which any program can call.

#[path = "../common/backends.rs"]
mod backends;
mod ceilings;
#[path = "../common/cli.rs"]
mod cli;
mod fma;
#[path = "../common/measure.rs"]
#[allow(dead_code, reason = "the table has one time")]
mod measure;
mod ops;
mod plot;
mod products;
mod row;
mod table;

use backends::{About, BACKENDS, Visitor, backend, no_device, visit};
use clap::Parser;
use cli::{complain, refuse, say};
use minitorch::prelude::*;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows which kernel, code path, threads and tile each operation takes, and how near it comes to the machine's
/// ceiling.
#[derive(Parser, Debug)]
struct Args {
    /// The backends: cpu, cuda, wgpu, cuda-emu; by default all of this build that have a device here
    #[arg(long, value_name = "NAME,..", value_parser = backend, value_delimiter = ',')]
    backend: Vec<String>,

    /// Only operations whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "matmul")]
    op: String,

    /// Small sizes, for an emulator or a GPU in software
    #[arg(long)]
    toy: bool,

    /// Write the figures to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Time square matrix products of 64 to 2048 beside a naive loop, and draw them
    #[arg(long)]
    matmul: bool,

    /// Output folder of the chart of --matmul
    #[arg(long, value_name = "DIR", default_value = "runs/diagnose")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let args = match arguments() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The command line, or the code to exit with after help or one line that says what is wrong.
fn arguments() -> std::result::Result<Args, ExitCode> {
    let args = Args::try_parse().map_err(|error| refuse(&error))?;
    let names: Vec<&str> = ops::list::<Cpu>().iter().map(|(name, _)| *name).collect();
    if !names.iter().any(|name| name.contains(&args.op)) {
        complain(&format!("--op {:?} is in no operation's name; there are {}", args.op, names.join("; ")));
        return Err(ExitCode::from(2));
    }
    Ok(args)
}

fn run(args: &Args) -> Result<()> {
    // A backend that was named must have a device; the default is all backends that have one.
    let named = !args.backend.is_empty();
    let names: Vec<&str> = if named { args.backend.iter().map(String::as_str).collect() } else { BACKENDS.to_vec() };
    for name in &names {
        if is_emulated(name) {
            say(&format!("note: {name} computes on the processor; its times say nothing about a GPU"));
        }
    }
    if args.matmul {
        return products::run(&names, named, args.toy, &args.out, args.json.as_deref());
    }
    let mut report = table::Report::new(args.json.as_deref());
    for name in names {
        let program = Diagnose { args, report: &mut report };
        match visit(name, program) {
            Ok(result) => result?,
            Err(error) if named => return Err(no_device(&error)),
            Err(error) => say(&format!("\n{name}: no device here: {error}")),
        }
    }
    Ok(())
}

/// Whether a backend's device emulates a GPU on the CPU; false without a device.
fn is_emulated(name: &str) -> bool {
    match name {
        #[cfg(feature = "wgpu")]
        "wgpu" => Wgpu::new().is_ok_and(|device| device.is_software()),
        other => other == "cuda-emu",
    }
}

/// The table of one backend.
struct Diagnose<'a, 'r> {
    args: &'a Args,
    report: &'a mut table::Report<'r>,
}

impl Visitor for Diagnose<'_, '_> {
    type Output = Result<()>;

    fn visit<B: Backend>(self, device: &B, about: &About) -> Result<()> {
        let Diagnose { args, report } = self;
        let budget = row::budget(args.toy || about.is_emulated);
        // The peak rates of an emulated GPU are meaningless.
        let mut ceilings = match about.is_emulated {
            true => None,
            false => Some(ceilings::Ceilings::measure(device, about, budget)?),
        };
        report.begin(about, ceilings.as_ref())?;
        let maker = ops::Maker { device, toy: args.toy || about.is_emulated };
        for (name, prepare) in ops::list::<B>() {
            if !name.contains(&args.op) {
                continue;
            }
            let row = row::row(device, name, prepare(&maker), budget, ceilings.as_mut())?;
            report.add(&row)?;
        }
        Ok(())
    }
}
