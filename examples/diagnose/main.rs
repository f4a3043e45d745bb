//! Shows what ran: for each operation of a list the kernels that a backend chose, by which code path, on how many threads or in which
//! grid, with which tile; beside it bytes, arithmetic, time, and the share of what the machine can do.
//!
//! ```text
//! cargo run --release --example diagnose                                  # every backend of this build that is here
//! cargo run --release --example diagnose -- --op conv --backend cpu
//! cargo run --release --example diagnose -- --matmul                      # square products of 64 to 2048, as a table and a chart
//! ```
//!
//! `docs/diagnose.md` says how to read it. The launches come from `minitorch::launches`, which any program can call.

#[path = "../common/backends.rs"]
mod backends;
mod ceilings;
mod devices;
mod measure;
mod ops;
mod plot;
mod products;
mod table;

use backends::{BACKENDS, backend, no_device};
use clap::Parser;
use clap::error::ErrorKind;
use devices::{Visitor, visit};
use minitorch::prelude::*;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows which kernel, code path, threads and tile each operation takes, and how near it comes to the machine's ceiling.
#[derive(Parser, Debug)]
struct Args {
    /// The backends: cpu, cuda, wgpu, cuda-emu; by default all of this build that have a device here
    #[arg(long, value_name = "NAME,..", value_parser = backend, value_delimiter = ',')]
    backend: Vec<String>,

    /// Only operations whose name holds this text
    #[arg(long, value_name = "TEXT", default_value = "", conflicts_with = "matmul")]
    op: String,

    /// Small sizes, for an emulator or a GPU in software
    #[arg(long)]
    toy: bool,

    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Time square matrix products of 64 to 2048 beside a naive loop, and draw them
    #[arg(long)]
    matmul: bool,

    /// Where the chart of --matmul goes
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
    let args = Args::try_parse().map_err(|error| {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        let text = error.to_string(); // "error: what", then hints
        complain(text.lines().next().unwrap_or_default().trim_start_matches("error: "));
        ExitCode::from(2)
    })?;
    let names: Vec<&str> = ops::list::<Cpu>().iter().map(|(name, _)| *name).collect();
    if !names.iter().any(|name| name.contains(&args.op)) {
        complain(&format!("--op {:?} is in no operation's name; there are {}", args.op, names.join("; ")));
        return Err(ExitCode::from(2));
    }
    Ok(args)
}

fn run(args: &Args) -> Result<()> {
    // A backend that was asked for must be there; of the others those that are.
    let asked = !args.backend.is_empty();
    let names: Vec<&str> = if asked { args.backend.iter().map(String::as_str).collect() } else { BACKENDS.to_vec() };
    for name in &names {
        if devices::is_slow(name) {
            say(&format!("note: {name} computes on the processor; its times say nothing about a GPU"));
        }
    }
    if args.matmul {
        return products::run(&names, asked, args.toy, &args.out, args.json.as_deref());
    }
    let mut report = table::Report::new(args.json.as_deref());
    for name in names {
        let program = Diagnose { args, report: &mut report };
        match visit(name, program) {
            Ok(result) => result?,
            Err(error) if asked => return Err(no_device(&error)),
            Err(error) => say(&format!("\n{name}: no device here: {error}")),
        }
    }
    Ok(())
}

/// The table of one backend.
struct Diagnose<'a, 'r> {
    args: &'a Args,
    report: &'a mut table::Report<'r>,
}

impl Visitor for Diagnose<'_, '_> {
    type Output = Result<()>;

    fn visit<B: Backend>(self, device: &B, about: &devices::About) -> Result<()> {
        let Diagnose { args, report } = self;
        let budget = measure::Budget::new(args.toy || about.is_slow);
        // Those of a processor that plays a GPU would say nothing.
        let mut ceilings = match about.is_slow {
            true => None,
            false => Some(ceilings::Ceilings::measure(device, about, budget)?),
        };
        report.begin(about, ceilings.as_ref())?;
        let maker = ops::Maker { device, toy: args.toy || about.is_slow };
        for (name, prepare) in ops::list::<B>() {
            if !name.contains(&args.op) {
                continue;
            }
            let row = measure::row(device, name, prepare(&maker), budget, ceilings.as_mut())?;
            report.add(&row)?;
        }
        Ok(())
    }
}

/// A line on stdout. A reader that went away is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One line on stderr.
fn complain(reason: &str) {
    let _ = writeln!(std::io::stderr(), "error: {}", reason.replace('\n', " "));
}
