//! Progress on stderr: a bar on a terminal, otherwise a line for every tenth of the way.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

/// How far a run is.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    epochs: usize,
    done: u64,
    total: u64,
    /// Lines written so far, in tenths of the way.
    tenths: u64,
    started: Instant,
}

impl Progress {
    /// For so many epochs of so many images.
    pub(crate) fn new(epochs: usize, images: usize) -> Self {
        let total = (epochs as u64).saturating_mul(images as u64);
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg}\n{wide_bar} {percent:>3} %  {per_sec} images  {eta} left");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress { bar, epochs, done: 0, total, tenths: 0, started: Instant::now() }
    }

    /// So many more images are done.
    pub(crate) fn advance(&mut self, images: usize) {
        self.done += images as u64;
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
            self.line(&format!("{:3.0} %  {state}  {speed:.0} images/s  {left:.0} s left", 100.0 * share));
        }
    }

    /// Tells how an epoch ended.
    pub(crate) fn epoch(&self, epoch: usize, loss: f64, accuracy: f64, test: f64) {
        self.line(&format!(
            "epoch {epoch}/{}: training loss {loss:.4}, training accuracy {:.2} %, test accuracy {:.2} %",
            self.epochs,
            100.0 * accuracy,
            100.0 * test
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
