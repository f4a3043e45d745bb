//! Progress on stderr: a bar on a terminal, else a line for every tenth of the run.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// The progress of a run.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    epochs: usize,
    /// The plural noun for the examples.
    examples: String,
    done: u64,
    total: u64,
    /// Tenths of the run that were printed.
    tenths: u64,
    started: Instant,
}

impl Progress {
    /// Of `epochs` passes over `count` examples, one of which is called `kind`.
    pub(crate) fn new(epochs: usize, count: usize, kind: &str) -> Self {
        let total = (epochs as u64).saturating_mul(count as u64);
        let examples = format!("{kind}s");
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(&format!(
                "{{msg}}\n{{wide_bar}} {{percent:>3}} %  {{per_sec}} {examples}  {{eta}} left"
            ));
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress { bar, epochs, examples, done: 0, total, tenths: 0, started: Instant::now() }
    }

    /// Counts examples that were processed.
    pub(crate) fn advance(&mut self, count: usize) {
        self.done += count as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }

    /// Shows the latest loss and accuracy.
    pub(crate) fn report(&mut self, epoch: usize, loss: f64, accuracy: f64) {
        let state = format!("epoch {epoch}/{}  loss {loss:.4}  accuracy {:.2} %", self.epochs, 100.0 * accuracy);
        if let Some(bar) = &self.bar {
            bar.set_message(state);
            return;
        }
        let share = self.done as f64 / self.total as f64;
        let tenths = (share * 10.0) as u64;
        if tenths > self.tenths {
            self.tenths = tenths;
            let seconds = self.started.elapsed().as_secs_f64();
            let speed = self.done as f64 / seconds.max(1e-9);
            let left = seconds * (1.0 - share) / share;
            let examples = &self.examples;
            self.line(&format!("{:3.0} %  {state}  {speed:.0} {examples}/s  {left:.0} s left", 100.0 * share));
        }
    }

    /// Prints the result of an epoch, with the accuracy on the set that evaluates it.
    pub(crate) fn epoch(&self, epoch: usize, loss: f64, accuracy: f64, (set, evaluated): (&str, f64)) {
        self.line(&format!(
            "epoch {epoch}/{}: training loss {loss:.4}, training accuracy {:.2} %, {set} accuracy {:.2} %",
            self.epochs,
            100.0 * accuracy,
            100.0 * evaluated
        ));
    }

    /// Prints a line above the bar. A closed stderr is no reason to stop.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.println(text),
            _ => drop(writeln!(stderr(), "{text}")),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
