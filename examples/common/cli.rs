//! A command line as all examples read it. Whatever is wrong with it is one line on stderr and exit code 2.

#![allow(dead_code, reason = "an example uses what its options need")]

use clap::error::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

/// Prints what clap found, help or a complaint of one line, and returns the code to exit with.
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

/// A whole number of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// A learning rate.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(rate),
        Ok(_) => Err("must be a finite number above 0".into()),
        Err(error) => Err(format!("{error}")),
    }
}

/// A line on stdout. A reader that went away is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on stderr that is no failure.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

/// The line on stderr that says why a program fails.
pub(crate) fn complain(reason: &str) {
    let _ = writeln!(std::io::stderr(), "error: {}", reason.replace('\n', " "));
}
