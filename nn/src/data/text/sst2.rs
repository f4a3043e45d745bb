//! Sentences with labels: tab-separated files in the layout of GLUE's SST-2.

use crate::files::open;
use crate::text::{count, list, said, shown};
use csv::{ByteRecord, ReaderBuilder, Terminator};
use minitorch_core::random::Draw;
use minitorch_core::{Error, Result};
use rand::seq::SliceRandom;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The random numbers that choose a validation set for a folder that has none.
const VALIDATION: Draw = Draw { seed: 0x7373_7432, index: 0 };
/// The maximal size of such a set.
const VALIDATION_SIZE: usize = 1066;

/// A sentence and its class.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sentence {
    /// The text of the file, without leading and trailing blanks.
    pub text: String,
    /// 1 if it is positive, else 0.
    pub label: u8,
}

/// The three sets of [`sst2`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Reviews {
    /// For training.
    pub train: Vec<Sentence>,
    /// For choosing the best epoch.
    pub validation: Vec<Sentence>,
    /// For the final evaluation.
    pub test: Vec<Sentence>,
}

/// Reads a tab-separated file whose first line names the columns, `sentence` and `label` among them. Labels are 0 or 1.
/// Quotes are ordinary characters; lines end with LF or CRLF; blank lines are skipped. A sentence can be empty.
///
/// ```no_run
/// use minitorch::prelude::*;
/// use minitorch::nn::data::read_sst2;
///
/// let sentences = read_sst2("data/sentiment/train.tsv")?;
/// assert!(sentences.iter().all(|sentence| sentence.label < 2));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or is not a regular file. [`Error::Format`], with the line, if it is empty,
/// lacks one of the two columns, a line has more or fewer columns than the first, a label is neither 0 nor 1, or a line
/// is not UTF-8.
pub fn read_sst2(path: impl AsRef<Path>) -> Result<Vec<Sentence>> {
    let mut table = Table::open(path.as_ref())?;
    let (text, label) = (table.column("sentence")?, table.column("label")?);
    let mut sentences = Vec::new();
    while let Some(row) = table.next()? {
        let label = match row[label] {
            "0" => 0,
            "1" => 1,
            other => {
                let reason = format!("the label {} is neither 0 nor 1", shown(other));
                return Err(table.wrong(reason));
            }
        };
        sentences.push(Sentence { text: row[text].into(), label });
    }
    Ok(sentences)
}

/// Reads `train.tsv`, `dev.tsv` and `test.tsv` of a folder; `dev.tsv` is the validation set.
///
/// In GLUE's SST-2 (Socher et al., 2013; Wang et al., 2018), `test.tsv` has the columns `index` and `sentence` and no
/// labels. `dev.tsv` is then the test set, and 1,066 sentences of `train.tsv`, or a tenth of it if that is fewer, are
/// the validation set. They are drawn at random, the same ones every time.
///
/// ```no_run
/// use minitorch::prelude::*;
/// use minitorch::nn::data::sst2;
///
/// let reviews = sst2("data/sentiment")?;
/// println!("{} sentences for training", reviews.train.len());
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// As [`read_sst2`]; and if a file is missing (the message names all missing files), or one of the sets is empty.
pub fn sst2(folder: impl AsRef<Path>) -> Result<Reviews> {
    let folder = folder.as_ref();
    let [train, dev, test] = ["train.tsv", "dev.tsv", "test.tsv"].map(|name| folder.join(name));
    let missing = [&train, &dev, &test].into_iter().filter(|path| !path.exists());
    let missing: Vec<String> =
        missing.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    if !missing.is_empty() {
        let reason = match folder.exists() {
            true => format!("no {} here", missing.join(", ")),
            false => "no such folder".into(),
        };
        return Err(Error::io(folder, std::io::Error::new(ErrorKind::NotFound, reason)));
    }
    let header = Table::open(&test)?;
    // Only GLUE's columns count, not any table without labels.
    let labelled = header.column("index").and(header.column("sentence")).is_err() || header.column("label").is_ok();
    let mut reviews = Reviews { train: read_sst2(&train)?, validation: read_sst2(&dev)?, ..Reviews::default() };
    if labelled {
        reviews.test = read_sst2(&test)?;
    } else {
        reviews.test = reviews.validation;
        (reviews.train, reviews.validation) = draw(reviews.train);
    }
    let dev_is = if labelled { &reviews.validation } else { &reviews.test };
    for (path, set) in [(&train, &reviews.train), (&dev, dev_is), (&test, &reviews.test)] {
        if set.is_empty() {
            return Err(Error::format(path, "no sentences"));
        }
    }
    if reviews.validation.is_empty() {
        return Err(Error::format(&train, "too few sentences for a validation set of a tenth of them"));
    }
    Ok(reviews)
}

/// Splits a random validation set off a training set; both stay in the order of the file.
fn draw(sentences: Vec<Sentence>) -> (Vec<Sentence>, Vec<Sentence>) {
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    order.shuffle(&mut VALIDATION.generator());
    let mut chosen = vec![false; sentences.len()];
    for &i in &order[..VALIDATION_SIZE.min(sentences.len() / 10)] {
        chosen[i] = true;
    }
    let (validation, train): (Vec<_>, Vec<_>) = sentences.into_iter().zip(chosen).partition(|(_, chosen)| *chosen);
    let sentences = |pairs: Vec<(Sentence, bool)>| pairs.into_iter().map(|(sentence, _)| sentence).collect();
    (sentences(train), sentences(validation))
}

/// A file of tab-separated values, read line by line.
struct Table {
    path: PathBuf,
    reader: csv::Reader<std::io::Chain<File, &'static [u8]>>,
    record: ByteRecord,
    header: Vec<String>,
}

impl Table {
    fn open(path: &Path) -> Result<Table> {
        let (file, _) = open(path).map_err(|error| Error::io(path, error))?;
        // The terminator is LF alone, also after the last line, so that the reader's line count is right after every
        // line. A CR before it is trimmed as a blank.
        let reader = ReaderBuilder::new()
            .delimiter(b'\t')
            .quoting(false)
            .flexible(true)
            .has_headers(false)
            .terminator(Terminator::Any(b'\n'))
            .from_reader(file.chain(b"\n".as_slice()));
        let mut table = Table { path: path.into(), reader, record: ByteRecord::new(), header: Vec::new() };
        let header: Option<Vec<String>> = table.fields()?.map(|fields| fields.into_iter().map(String::from).collect());
        table.header = header.ok_or_else(|| Error::format(path, "the file is empty"))?;
        Ok(table)
    }

    /// The position of a column.
    fn column(&self, name: &str) -> Result<usize> {
        let position = self.header.iter().position(|column| column == name);
        position.ok_or_else(|| {
            let columns: Vec<String> = self.header.iter().map(|column| shown(column)).collect();
            self.wrong(format!("no column {name}; there are {}", list(&columns)))
        })
    }

    /// The next row; it has as many columns as the header.
    fn next(&mut self) -> Result<Option<Vec<&str>>> {
        let columns = self.header.len();
        if self.fields()?.is_none() {
            return Ok(None);
        }
        let found = self.record.len();
        if found != columns {
            return Err(self.wrong(format!("{}, where the first line has {columns}", count(found, "column"))));
        }
        self.text().map(Some)
    }

    /// The fields of the next line that is not blank.
    fn fields(&mut self) -> Result<Option<Vec<&str>>> {
        loop {
            match self.reader.read_byte_record(&mut self.record) {
                Ok(false) => return Ok(None),
                Ok(true) if self.record.len() == 1 && self.record[0].trim_ascii().is_empty() => {}
                Ok(true) => return self.text().map(Some),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn text(&self) -> Result<Vec<&str>> {
        let text = |field| std::str::from_utf8(field).map(str::trim);
        let fields: std::result::Result<_, _> = self.record.iter().map(text).collect();
        fields.map_err(|_| self.wrong("not UTF-8"))
    }

    fn failed(&self, error: csv::Error) -> Error {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Error::io(&self.path, error),
            other => self.wrong(said(format!("{other:?}"))),
        }
    }

    /// An error in the line that was read last.
    fn wrong(&self, reason: impl std::fmt::Display) -> Error {
        let line = self.reader.position().line().saturating_sub(1);
        Error::format(&self.path, format!("line {line}: {reason}"))
    }
}

#[cfg(test)]
#[path = "sst2_tests.rs"]
mod tests;
