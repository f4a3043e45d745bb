//! Progress on stderr: a bar on a terminal, otherwise a line for every tenth of the way.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// How far a run is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    epochs: usize,
    /// What several examples are called.
    examples: String,
    done: u64,
    total: u64,
    /// Lines written so far, in tenths of the way.
    tenths: u64,
    started: Instant,
}

impl Progress {
    /// For so many epochs of so many examples, each of which is called `kind`.
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

    /// So many more examples are done.
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

    /// Tells how an epoch ended, with the accuracy on the set that judges it.
    pub(crate) fn epoch(&self, epoch: usize, loss: f64, accuracy: f64, (judge, judged): (&str, f64)) {
        self.line(&format!(
            "epoch {epoch}/{}: training loss {loss:.4}, training accuracy {:.2} %, {judge} accuracy {:.2} %",
            self.epochs,
            100.0 * accuracy,
            100.0 * judged
        ));
    }

    /// A line that stays. A terminal that went away is no reason to stop.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.println(text),
            _ => drop(writeln!(stderr(), "{text}")),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
