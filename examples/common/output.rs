//! The output folder of a run, and `metrics.csv`.

use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use std::fmt::Write;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The files of every run.
const FILES: [&str; 4] = ["model.safetensors", "last.safetensors", "metrics.csv", "curves.png"];

/// A row of `metrics.csv`: the last few steps, or a whole epoch.
pub(crate) struct Row {
    pub(crate) epoch: usize,
    pub(crate) step: usize,
    /// The position of the row, in epochs.
    pub(crate) at: f64,
    pub(crate) lr: f64,
    /// Loss and accuracy of these steps.
    pub(crate) train: (f64, f64),
    /// Loss and accuracy on the set that evaluates the epochs; in the row of an epoch only.
    pub(crate) evaluated: Option<(f64, f64)>,
    pub(crate) seconds: f64,
}

/// The folder, and the rows so far.
pub(crate) struct Output {
    folder: PathBuf,
    rows: Vec<Row>,
}

impl Output {
    /// Creates the folder, and checks that the files of every run and `more` can be written to it: before hours of
    /// training, not after.
    ///
    /// # Errors
    /// If they cannot.
    pub(crate) fn create(folder: &Path, more: &[&str]) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let output = Output { folder: folder.into(), rows: Vec::new() };
        // An unnamed file, which concurrent runs in the same folder cannot see.
        tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, io::Error::from(e.kind())))?;
        for name in FILES.iter().chain(more) {
            let path = output.path(name);
            // The target of a link counts; a dangling link cannot be replaced either.
            let exists = fs::symlink_metadata(&path).is_ok();
            let is_file = exists.then(|| fs::metadata(&path).map(|metadata| metadata.is_file()));
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

    /// Appends a row.
    pub(crate) fn record(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// All rows so far.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Replaces `metrics.csv`. `set` is the one that evaluates the epochs.
    ///
    /// # Errors
    /// If the file system fails.
    pub(crate) fn write_metrics(&self, set: &str) -> Result<()> {
        let mut text = format!("epoch,step,lr,train_loss,train_accuracy,{set}_loss,{set}_accuracy,seconds\n");
        for row in &self.rows {
            let Row { epoch, step, lr, train: (loss, accuracy), seconds, .. } = row;
            let evaluated = row.evaluated.map_or(",".into(), |(loss, accuracy)| format!("{loss:.6},{accuracy:.6}"));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{epoch},{step},{lr:.6e},{loss:.6},{accuracy:.6},{evaluated},{seconds:.3}");
        }
        replace_file(self.path("metrics.csv"), |file| file.write_all(text.as_bytes()))
    }
}
