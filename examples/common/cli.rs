//! The command line of all examples. An error is one line on stderr and exit code 2.

#![allow(dead_code, reason = "an example uses what its options need")]

use clap::error::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

/// Prints help or the first line of an error of clap, and returns the code to exit with.
pub(crate) fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string(); // "error: what", then hints
    let line = text.lines().next().unwrap_or_default();
    complain(line.trim_start_matches("error: "));
    ExitCode::from(2)
}

/// Parses an integer of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Parses a learning rate.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        Ok(_) => Err("must be a finite number above 0".into()),
        Err(error) => Err(format!("{error}")),
    }
}

/// Prints a line on stdout. A closed pipe is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a note on stderr.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

/// Prints the error that ends a program on stderr, as one line.
pub(crate) fn complain(reason: &str) {
    let _ = writeln!(std::io::stderr(), "error: {}", reason.replace('\n', " "));
}
