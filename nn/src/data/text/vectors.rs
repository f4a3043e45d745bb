//! Trained vectors of words, from GloVe's text files or from safetensors.

use super::{Vocabulary, count};
use crate::data::idx::Wrong;
use crate::files::{open, read_up_to};
use crate::state::{HostTensor, read_tensors, write_tensors};
use crate::text::shown;
use flate2::bufread::MultiGzDecoder;
use minitorch_core::{Backend, Error, HostData, Result, Tensor, f16};
use rand::Rng;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

/// The tensor and the text of a safetensors file.
const TENSOR: &str = "vectors";
const WORDS: &str = "words";

/// Bytes of a line; a vector of 100,000 numbers fits.
const LONGEST_LINE: u64 = 1 << 20;

/// Words that have no vector get numbers from -RANGE to RANGE.
const RANGE: f64 = 0.25;

/// A vector for each of some words.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// use minitorch_nn::data::{Vocabulary, WordVectors};
/// # let path = std::env::temp_dir().join(format!("minitorch-doc-{}.txt", std::process::id()));
/// std::fs::write(&path, "film 0.5 -1\ngood 2 0.25\n").unwrap();
/// let vectors = WordVectors::read(&path, |word| word != "film")?;
/// assert_eq!((vectors.len(), vectors.dim(), vectors.get("good")), (1, 2, Some(&[2.0, 0.25][..])));
/// let table = vectors.table(&Vocabulary::new(["good", "movie"]), &device());
/// assert_eq!(table.dims(), [4, 2]); // padding, unknown, good, movie
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct WordVectors {
    words: Vocabulary,
    dim: usize,
    /// One after the other, in the order of the words.
    values: Vec<f32>,
}

impl WordVectors {
    /// No vectors: [`table`](WordVectors::table) draws all words at random.
    ///
    /// # Panics
    /// If `dim` is 0.
    #[track_caller]
    pub fn empty(dim: usize) -> Self {
        assert!(dim > 0, "WordVectors: vectors have at least one number");
        WordVectors { words: Vocabulary::default(), dim, values: Vec::new() }
    }

    /// Reads the vectors of the words for which `wanted` is true. What is in the file decides how it is read:
    ///
    /// - a text file as GloVe's (Pennington, Socher and Manning, 2014), or that compressed with gzip: one line per word, the
    ///   word and then its numbers, all separated by blanks. The word may hold blanks, as a few of GloVe's do: the numbers
    ///   count from the end of the line, and are as many as in the first line. A first line of two whole numbers, as word2vec
    ///   and fastText write it, is taken for the number of words and that of numbers per word. It is read line by line: memory
    ///   is that of what is kept. Numbers of words that are not wanted are not looked at.
    /// - safetensors as [`save`](WordVectors::save) writes it; F32 and F64 are read as well as F16.
    ///
    /// Of several vectors of one word the first is kept.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read or is none (a folder, a FIFO). [`Error::Format`], with the line, if there are no
    /// vectors in it, vectors differ in length, a number is none or is not finite, a line is not UTF-8 or longer than 1 MiB; or
    /// if it is damaged gzip or safetensors without the tensor and the words.
    pub fn read(path: impl AsRef<Path>, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let path = path.as_ref();
        let attempt = || {
            let (mut file, length) = open(path).map_err(Wrong::Io)?;
            let head = read_up_to(&mut file, 9).map_err(Wrong::Io)?;
            file.rewind().map_err(Wrong::Io)?;
            // The length of a header and its first brace; no text of nine characters is so small a number.
            let header = head.first_chunk().map_or(u64::MAX, |length| u64::from_le_bytes(*length));
            if head.get(8) == Some(&b'{') && header <= length {
                return Ok(None);
            }
            let file = BufReader::with_capacity(1 << 16, file);
            match head.starts_with(&[0x1f, 0x8b]) {
                true => from_text(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file)), &wanted),
                false => from_text(file, &wanted),
            }
            .map(Some)
        };
        match attempt().map_err(|wrong: Wrong| wrong.of(path))? {
            Some(vectors) => Ok(vectors),
            None => from_tensors(path, &wanted),
        }
    }

    /// The numbers of each vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.words.words().len()
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The words, in the order of the file.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.words().iter().map(String::as_str)
    }

    /// The vector of a word; `None` if it has none.
    pub fn get(&self, word: &str) -> Option<&[f32]> {
        let row = usize::try_from(self.words.id(word)?).ok()? - (self.words.len() - self.len());
        self.values.get(row * self.dim..)?.get(..self.dim)
    }

    /// The table of an embedding, `[vocabulary.len(), dim]` in F32: zeros for padding and for unknown words, the vector of
    /// each word that has one, and for others numbers drawn evenly from -0.25..0.25 (Kim, "Convolutional neural networks for
    /// sentence classification", 2014) by the device's random state.
    ///
    /// # Panics
    /// If the device fails or has no memory for it.
    #[track_caller]
    pub fn table<B: Backend>(&self, vocabulary: &Vocabulary, device: &B) -> Tensor<B> {
        let mut generator = device.rng().draw().generator();
        let mut values = vec![0.0; (vocabulary.len() - vocabulary.words().len()) * self.dim];
        for word in vocabulary.words() {
            match self.get(word) {
                Some(vector) => values.extend_from_slice(vector),
                None => values.extend((0..self.dim).map(|_| {
                    let unit = (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                    (RANGE * (2.0 * unit - 1.0)) as f32
                })),
            }
        }
        Tensor::from_slice(&values, [vocabulary.len(), self.dim], device)
    }

    /// Writes safetensors: the tensor `vectors` `[n, dim]` in F16, and in the header's `words` the words, one per line.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a number is beyond F16; [`Error::Io`] if the file system fails. What was there before is then as
    /// it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let values: Vec<f16> = self.values.iter().map(|&x| f16::from_f32(x)).collect();
        if let Some(i) = values.iter().position(|x| !x.is_finite()) {
            let word = self.words.words().get(i / self.dim).map_or(String::new(), |word| shown(word));
            return Err(Error::Invalid(format!("save: {} in the vector of {word} is beyond F16", self.values[i])));
        }
        let tensor = HostTensor::new([self.len(), self.dim], HostData::F16(values));
        let metadata = BTreeMap::from([(WORDS.to_string(), self.words.words().join("\n"))]);
        write_tensors(path, &[(TENSOR.into(), tensor)], &metadata)
    }
}

fn from_tensors(path: &Path, wanted: &impl Fn(&str) -> bool) -> Result<WordVectors> {
    let mut file = read_tensors(path)?;
    let wrong = |reason: String| Error::format(path, reason);
    let tensor = file.tensors.remove(TENSOR).ok_or_else(|| wrong(format!("no tensor {TENSOR}")))?;
    let words = file.metadata.get(WORDS).ok_or_else(|| wrong(format!("no text {WORDS} in the header")))?;
    let (n, dim) = match tensor.shape[..] {
        [n, dim] if n > 0 && dim > 0 => (n, dim),
        _ => return Err(wrong(format!("{TENSOR} is {tensor}, not [words, numbers]"))),
    };
    let values: Vec<f32> = match tensor.data {
        HostData::F16(values) => values.into_iter().map(f16::to_f32).collect(),
        HostData::F32(values) => values,
        HostData::F64(values) => values.into_iter().map(|x| x as f32).collect(),
        _ => return Err(wrong(format!("{TENSOR} is {}, not float16 or float32", tensor.data.as_slice().dtype()))),
    };
    let found = words.split('\n').count();
    if found != n {
        return Err(wrong(format!("{} and {}", count(found, "word"), count(n, "vector"))));
    }
    let mut vectors = WordVectors::empty(dim);
    for (word, vector) in words.split('\n').zip(values.chunks_exact(dim)) {
        if wanted(word) && vectors.words.insert(word.into()) {
            if let Some(x) = vector.iter().find(|x| !x.is_finite()) {
                return Err(wrong(format!("{x} in the vector of {} is not a finite number", shown(word))));
            }
            vectors.values.extend_from_slice(vector);
        }
    }
    Ok(vectors)
}

fn from_text(mut reader: impl BufRead, wanted: &impl Fn(&str) -> bool) -> std::result::Result<WordVectors, Wrong> {
    let mut bytes = Vec::new();
    // The number of the line that says how long vectors are, and what it says.
    let mut first: Option<(u64, WordVectors)> = None;
    let mut any = false;
    for number in 1u64.. {
        let wrong = |reason: String| Wrong::Format(format!("line {number}: {reason}"));
        bytes.clear();
        let read = reader.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            break;
        }
        if read as u64 > LONGEST_LINE {
            return Err(wrong(format!("longer than {LONGEST_LINE} bytes")));
        }
        let line = std::str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8".into()))?;
        let line = if number == 1 { line.trim_start_matches('\u{feff}') } else { line };
        let line = line.trim_matches([' ', '\t', '\r', '\n']);
        if line.is_empty() {
            continue;
        }
        let (origin, vectors) = match &mut first {
            Some(first) => first,
            None => {
                if let Some(dim) = header(line) {
                    first = Some((number, WordVectors::empty(dim)));
                    continue;
                }
                let dim = numbers_at_end(line);
                if dim == 0 {
                    return Err(wrong(format!("{} is not a word and its vector", shown(line))));
                }
                first.insert((number, WordVectors::empty(dim)))
            }
        };
        let word = word(line, vectors.dim).map_err(|found| {
            wrong(format!("{}, where line {origin} makes it {} per word", count(found, "number"), vectors.dim))
        })?;
        any = true;
        if !wanted(word) || !vectors.words.insert(word.into()) {
            continue;
        }
        vectors.values.try_reserve(vectors.dim).map_err(|error| Wrong::Io(error.into()))?;
        for piece in pieces(&line[word.len()..]) {
            match piece.parse::<f32>() {
                Ok(x) if x.is_finite() => vectors.values.push(x),
                _ => return Err(wrong(format!("{} is not a finite number", shown(piece)))),
            }
        }
    }
    match first {
        Some((_, vectors)) if any => Ok(vectors),
        _ => Err(Wrong::Format("no vectors in it".into())),
    }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn pieces(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(is_blank).filter(|piece| !piece.is_empty())
}

/// The numbers per word, if this is the line before the first word: how many words, how many numbers.
fn header(line: &str) -> Option<usize> {
    let whole = |piece: &str| piece.bytes().all(|byte| byte.is_ascii_digit());
    let pieces: Vec<&str> = pieces(line).take(3).collect();
    match pieces[..] {
        [words, numbers] if whole(words) && whole(numbers) => numbers.parse().ok().filter(|&numbers| numbers > 0),
        _ => None,
    }
}

/// How many numbers end a line behind its first piece.
fn numbers_at_end(line: &str) -> usize {
    let numbers = pieces(line).rev().take_while(|piece| piece.parse::<f32>().is_ok()).count();
    numbers.min(pieces(line).count() - 1)
}

/// What stands before the last `dim` pieces of a line, or how many numbers there are instead.
fn word(line: &str, dim: usize) -> std::result::Result<&str, usize> {
    let mut rest = line;
    for found in 0..dim {
        let blank = rest.bytes().rposition(|byte| is_blank(byte as char)).ok_or(found)?;
        rest = rest[..blank].trim_end_matches(is_blank);
    }
    // A word of blanks and other pieces, or more numbers than there should be?
    let number = |piece: &str| piece.bytes().any(|byte| byte.is_ascii_digit()) && piece.parse::<f32>().is_ok();
    match rest.contains(is_blank) && pieces(rest).next_back().is_some_and(number) {
        true => Err(numbers_at_end(line)),
        false => Ok(rest),
    }
}

#[cfg(test)]
#[path = "vectors_tests.rs"]
mod tests;
