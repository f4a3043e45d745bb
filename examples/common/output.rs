//! The folder that a run writes to.

use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use std::fmt::Write;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The files of every run.
const FILES: [&str; 4] = ["model.safetensors", "last.safetensors", "metrics.csv", "curves.png"];

/// One line of `metrics.csv`: the last few steps, or a whole epoch.
pub(crate) struct Row {
    pub(crate) epoch: usize,
    pub(crate) step: usize,
    /// Epochs passed, with their fraction.
    pub(crate) at: f64,
    pub(crate) lr: f64,
    /// Loss and accuracy since the last such row.
    pub(crate) train: (f64, f64),
    /// Loss and accuracy on the set that judges the epochs, at the end of one.
    pub(crate) judged: Option<(f64, f64)>,
    pub(crate) seconds: f64,
}

/// The folder, and what was measured so far.
pub(crate) struct Output {
    folder: PathBuf,
    rows: Vec<Row>,
}

impl Output {
    /// Makes the folder if need be, and proves before hours of training that the files of every run and `more` can be written
    /// to it.
    ///
    /// # Errors
    /// If they cannot.
    pub(crate) fn create(folder: &Path, more: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let output = Output { folder: folder.into(), rows: Vec::new() };
        // A file without a name: other runs that write to the same folder at the same time do not meet it.
        tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, io::Error::from(e.kind())))?;
        for name in FILES.iter().chain(more) {
            let path = output.path(name);
            // Of a link, the file that it leads to; one that leads to nothing cannot be replaced either.
            let there = fs::symlink_metadata(&path).is_ok();
            let is_file = there.then(|| fs::metadata(&path).map(|metadata| metadata.is_file()));
            match is_file {
                None | Some(Ok(true)) => {}
                Some(Ok(false)) => return Err(Error::io(path, io::Error::other("there, and not a regular file"))),
                Some(Err(error)) => return Err(Error::io(path, error)),
            }
        }
        Ok(output)
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Keeps a row.
    pub(crate) fn record(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// All rows so far.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Writes `metrics.csv` anew. `judge` is the set that judges the epochs.
    ///
    /// # Errors
    /// If the file system fails.
    pub(crate) fn write_metrics(&self, judge: &str) -> Result<()> {
        let mut text = format!("epoch,step,lr,train_loss,train_accuracy,{judge}_loss,{judge}_accuracy,seconds\n");
        for row in &self.rows {
            let Row { epoch, step, lr, train: (loss, accuracy), seconds, .. } = row;
            let judged = row.judged.map_or(",".into(), |(loss, accuracy)| format!("{loss:.6},{accuracy:.6}"));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{epoch},{step},{lr:.6e},{loss:.6},{accuracy:.6},{judged},{seconds:.3}");
        }
        replace_file(self.path("metrics.csv"), |file| file.write_all(text.as_bytes()))
    }
}
