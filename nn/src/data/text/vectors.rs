//! Pretrained word vectors, from GloVe's text files or from safetensors.

use super::vocabulary::Vocabulary;
use crate::files::{of_file, open, read_up_to};
use crate::formats::{HostTensor, StateDict};
use crate::gzip::ReadError;
use crate::text::{count, shown};
use flate2::bufread::MultiGzDecoder;
use minitorch_core::{Backend, Error, Result, Tensor, f16};
use rand::Rng;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

/// The tensor, and the entry of the header, of a safetensors file.
const TENSOR: &str = "vectors";
const WORDS: &str = "words";

/// The most bytes of a line; a vector of 100,000 numbers fits.
const LONGEST_LINE: u64 = 1 << 20;

/// Words without a vector get random numbers from -RANGE to RANGE.
const RANGE: f64 = 0.25;

/// Vectors of words.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::nn::data::{Vocabulary, WordVectors};
///
/// let device = Cpu::default();
/// # let path = std::env::temp_dir().join(format!("minitorch-doc-{}.txt", std::process::id()));
/// std::fs::write(&path, "film 0.5 -1\ngood 2 0.25\n").unwrap();
/// let vectors = WordVectors::read(&path, |word| word != "film")?;
/// assert_eq!((vectors.len(), vectors.dim(), vectors.get("good")), (1, 2, Some(&[2.0, 0.25][..])));
/// let table = vectors.table(&Vocabulary::new(["good", "movie"]), &device);
/// assert_eq!(table.dims(), [4, 2]); // padding, unknown, good, movie
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct WordVectors {
    words: Vocabulary,
    dim: usize,
    /// `[words, dim]`, row-major.
    values: Vec<f32>,
}

impl WordVectors {
    /// No vectors: [`table`](WordVectors::table) draws those of all words at random.
    ///
    /// # Panics
    /// If `dim` is 0.
    #[track_caller]
    pub fn empty(dim: usize) -> Self {
        assert!(dim > 0, "WordVectors: vectors have at least one number");
        WordVectors { words: Vocabulary::default(), dim, values: Vec::new() }
    }

    /// Reads the vectors of the words for which `wanted` is true. The content of the file decides how it is read:
    ///
    /// - GloVe's text (Pennington, Socher and Manning, 2014), plain or compressed with gzip: one line per word, the
    ///   word and its numbers, separated by blanks. The word can contain blanks, as a few of GloVe's do: the numbers
    ///   are counted from the end of the line, as many as in the first line. A first line of two integers, as word2vec
    ///   and fastText write it, is the number of words and the dimension. The file is streamed: memory is needed for
    ///   the wanted vectors only, and the numbers of other words are not parsed.
    /// - safetensors as [`save`](WordVectors::save) writes it, in F16, F32 or F64.
    ///
    /// Of several vectors of one word the first is used.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read or is not a regular file. [`Error::Format`], with the line, if it
    /// contains no vectors, vectors differ in length, a number is invalid or not finite, a line is not UTF-8 or longer
    /// than 1 MiB; or if it is damaged gzip, or safetensors without the tensor or the words.
    pub fn read(path: impl AsRef<Path>, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let path = path.as_ref();
        let attempt = || {
            let (mut file, length) = open(path).map_err(ReadError::Io)?;
            let head = read_up_to(&mut file, 9).map_err(ReadError::Io)?;
            file.rewind().map_err(ReadError::Io)?;
            // The length of a safetensors header and its first brace. Eight characters of text are a larger number than
            // any length of a file.
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
        match attempt().map_err(|error: ReadError| error.at(path))? {
            Some(vectors) => Ok(vectors),
            None => from_tensors(path, &wanted),
        }
    }

    /// The dimension of the vectors.
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

    /// The table of an embedding, `[vocabulary.len(), dim]` in F32: zeros for padding and for unknown words, the vector
    /// of each word that has one, and for the others uniform random numbers from -0.25..0.25 (Kim, "Convolutional
    /// neural networks for sentence classification", 2014) from the device's random state.
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

    /// Writes safetensors: the tensor `vectors` `[n, dim]` in F16, and the words, one per line, as `words` in the
    /// header.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a number is beyond F16; [`Error::Io`] if the file system fails. An
    /// existing file is then unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let values: Vec<f16> = self.values.iter().map(|&x| f16::from_f32(x)).collect();
        if let Some(i) = values.iter().position(|x| !x.is_finite()) {
            let word = self.words.words().get(i / self.dim).map_or(String::new(), |word| shown(word));
            return Err(Error::Invalid(format!("save: {} in the vector of {word} is beyond F16", self.values[i])));
        }
        let mut file = StateDict::from_iter([(TENSOR, HostTensor::new([self.len(), self.dim], values))]);
        file.metadata.insert(WORDS.to_string(), self.words.words().join("\n"));
        file.write(path)
    }
}

fn from_tensors(path: &Path, wanted: &impl Fn(&str) -> bool) -> Result<WordVectors> {
    let file = StateDict::read_where(path, |name| name == TENSOR)?;
    let wrong = |reason: String| Error::format(path, reason);
    let tensor = file.get(TENSOR).ok_or_else(|| wrong(format!("no tensor {TENSOR}")))?;
    let words = file.metadata.get(WORDS).ok_or_else(|| wrong(format!("no text {WORDS} in the header")))?;
    let (n, dim) = match tensor.shape[..] {
        [n, dim] if n > 0 && dim > 0 => (n, dim),
        _ => return Err(wrong(format!("{TENSOR} is {tensor}, not [words, numbers]"))),
    };
    if !tensor.dtype().is_float() {
        return Err(wrong(format!("{TENSOR} is {tensor}, no floats")));
    }
    let values: Vec<f32> = tensor.to_vec().map_err(|error| of_file(path, error))?;
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

fn from_text(mut reader: impl BufRead, wanted: &impl Fn(&str) -> bool) -> std::result::Result<WordVectors, ReadError> {
    let mut bytes = Vec::new();
    // The line that determines the dimension, and the vectors so far.
    let mut first: Option<(u64, WordVectors)> = None;
    let mut any = false;
    for number in 1u64.. {
        let wrong = |reason: String| ReadError::Format(format!("line {number}: {reason}"));
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
        vectors.values.try_reserve(vectors.dim).map_err(|error| ReadError::Io(error.into()))?;
        for field in fields(&line[word.len()..]) {
            match field.parse::<f32>() {
                Ok(x) if x.is_finite() => vectors.values.push(x),
                _ => return Err(wrong(format!("{} is not a finite number", shown(field)))),
            }
        }
    }
    match first {
        Some((_, vectors)) if any => Ok(vectors),
        _ => Err(ReadError::Format("no vectors in it".into())),
    }
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn fields(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(is_blank).filter(|field| !field.is_empty())
}

/// The dimension, if this is a header: two integers, the number of words and the dimension.
fn header(line: &str) -> Option<usize> {
    let integer = |field: &str| field.bytes().all(|byte| byte.is_ascii_digit());
    let fields: Vec<&str> = fields(line).take(3).collect();
    match fields[..] {
        [words, numbers] if integer(words) && integer(numbers) => numbers.parse().ok().filter(|&numbers| numbers > 0),
        _ => None,
    }
}

/// The number of numbers at the end of a line, not counting its first field.
fn numbers_at_end(line: &str) -> usize {
    let numbers = fields(line).rev().take_while(|field| field.parse::<f32>().is_ok()).count();
    numbers.min(fields(line).count() - 1)
}

/// The part of a line before its last `dim` fields, or the number of numbers that it has instead.
fn word(line: &str, dim: usize) -> std::result::Result<&str, usize> {
    let mut rest = line;
    for found in 0..dim {
        let blank = rest.bytes().rposition(|byte| is_blank(byte as char)).ok_or(found)?;
        rest = rest[..blank].trim_end_matches(is_blank);
    }
    // Either the word contains blanks, or there are too many numbers.
    let number = |field: &str| field.bytes().any(|byte| byte.is_ascii_digit()) && field.parse::<f32>().is_ok();
    match rest.contains(is_blank) && fields(rest).next_back().is_some_and(number) {
        true => Err(numbers_at_end(line)),
        false => Ok(rest),
    }
}

#[cfg(test)]
#[path = "vectors_tests.rs"]
mod tests;
