//! Vectors from text, gzip and safetensors, and invalid files.

use super::*;
use flate2::{Compression, write::GzEncoder};
use minitorch_conformance::doc::device;
use minitorch_core::backend::Device;
use std::fs;
use std::io::Write;
use tempfile::tempdir;

/// Reads a file of these bytes. An error comes without the path.
fn read_some(bytes: impl AsRef<[u8]>, wanted: impl Fn(&str) -> bool) -> std::result::Result<WordVectors, String> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("vectors");
    fs::write(&path, bytes).unwrap();
    WordVectors::read(&path, wanted).map_err(|error| {
        let text = error.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
        text.strip_prefix(&format!("{}: ", path.display())).unwrap().to_string()
    })
}

fn read(bytes: impl AsRef<[u8]>) -> std::result::Result<WordVectors, String> {
    read_some(bytes, |_| true)
}

fn wrong(bytes: impl AsRef<[u8]>, reason: &str) {
    assert_eq!(read(bytes).map(|vectors| vectors.words), Err(reason.to_string()));
}

fn content(vectors: &WordVectors) -> Vec<(&str, &[f32])> {
    vectors.words().map(|word| (word, vectors.get(word).unwrap())).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_line_of_text_is_a_word_and_its_numbers() {
    let text = "the 0.5 -1 2e-2\n, 1 2 3\n5 4 5 6\n";
    let expected: [(&str, &[f32]); 3] = [("the", &[0.5, -1.0, 0.02]), (",", &[1.0, 2.0, 3.0]), ("5", &[4.0, 5.0, 6.0])];
    let vectors = read(text).unwrap();
    assert_eq!((content(&vectors), vectors.dim(), vectors.len(), vectors.is_empty()), (expected.to_vec(), 3, 3, false));
    assert_eq!((vectors.get("of"), vectors.get("")), (None, None));
    let others = [
        gzip(text.as_bytes()),
        [gzip(b"the 0.5 -1 2e-2\n, 1 2 3\n5 "), gzip(b"4 5 6")].concat(),
        text.replace('\n', "\r\n").into_bytes(),
        text.replace(' ', "\t ").into_bytes(),
        format!("\u{feff}{text}").into_bytes(),
        format!("\n{}\n", text.replace('\n', " \n\n")).into_bytes(),
        format!("3 3\n{text}").into_bytes(),
        format!("{text}the 7 7 7\n").into_bytes(),
    ];
    for bytes in others {
        assert_eq!(read(&bytes).as_ref(), Ok(&vectors), "{:?}", String::from_utf8_lossy(&bytes));
    }
    let some = read_some(text, |word| word == ",").unwrap();
    assert_eq!((content(&some), some.dim()), (expected[1..2].to_vec(), 3));
    let none = read_some(text, |_| false).unwrap();
    assert_eq!((none.len(), none.dim(), none.get(",")), (0, 3, None));
}

#[test]
fn words_can_contain_blanks() {
    let vectors = read("at 1 2\n. . . 3 4\nat name@domain.com 5 6\n\u{a0} 7 8\nnan nan 9 9\n").unwrap();
    let expected: [(&str, &[f32]); 5] = [
        ("at", &[1.0, 2.0]),
        (". . .", &[3.0, 4.0]),
        ("at name@domain.com", &[5.0, 6.0]),
        ("\u{a0}", &[7.0, 8.0]),
        ("nan nan", &[9.0, 9.0]),
    ];
    assert_eq!(content(&vectors), expected);
}

#[test]
fn errors_in_a_text_name_the_line() {
    wrong("", "no vectors in it");
    wrong("\n \n\r\n", "no vectors in it");
    wrong("400000 100\n", "no vectors in it");
    wrong("word\n", "line 1: word is not a word and its vector");
    wrong("{\"a\": [1, 2]}", "line 1: \"{\\\"a\\\": [1, 2]}\" is not a word and its vector");
    wrong("a 1 2 3\nb 1 2 3\n\nc 1 2\n", "line 4: 2 numbers, where line 1 makes it 3 per word");
    wrong("a 1 2 3\nb 1 2 3 4\n", "line 2: 4 numbers, where line 1 makes it 3 per word");
    wrong("\n2 4\na 1 2 3\n", "line 3: 3 numbers, where line 2 makes it 4 per word");
    wrong("a 1 2\nb\n", "line 2: 0 numbers, where line 1 makes it 2 per word");
    wrong("a 1 2\n 3 4\n", "line 2: 1 number, where line 1 makes it 2 per word");
    wrong("a 1 2\nb 1 x\n", "line 2: x is not a finite number");
    wrong("a 1 2\nb 1 \u{1b}[2J\n", "line 2: \"\\u{1b}[2J\" is not a finite number");
    for number in ["nan", "NaN", "-nan", "inf", "-infinity", "1e39"] {
        wrong(format!("a 1 2\nb {number} 2\n"), &format!("line 2: {number} is not a finite number"));
        wrong(format!("a 1 {number} 2\n"), &format!("line 1: {number} is not a finite number"));
    }
    wrong(b"a 1 2\nb\xff 1 2\n", "line 2: not UTF-8");
    let long = 1 << 20;
    let number = "1 ".repeat(long / 2);
    wrong(format!("a 1\nb {number}"), &format!("line 2: longer than {long} bytes"));
    let fits = read(format!("a {}", &number[2..])).unwrap();
    assert_eq!((fits.dim(), fits.len()), (long / 2 - 1, 1));
}

#[test]
fn damaged_gzip_is_an_error_and_bombs_cost_little_memory() {
    let whole = gzip("word 1 2\n".repeat(1000).as_bytes());
    wrong(&whole[..whole.len() / 2], "cut short: the gzip stream does not end");
    let mut damaged = whole.clone();
    damaged[whole.len() - 6] ^= 1;
    assert!(read(&damaged).unwrap_err().starts_with("damaged gzip: "), "{:?}", read(&damaged));
    let bomb = gzip(&vec![b'a'; 100 << 20]);
    wrong(bomb, &format!("line 1: longer than {} bytes", 1 << 20));
}

#[test]
fn irregular_files_are_refused() {
    let folder = tempdir().unwrap();
    let attempt = |name: &str| WordVectors::read(folder.path().join(name), |_| true).unwrap_err().to_string();
    assert!(attempt("").ends_with("is a directory"), "{}", attempt(""));
    assert!(attempt("nowhere").contains("nowhere: "), "{}", attempt("nowhere"));
    #[cfg(unix)]
    {
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()));
        assert!(attempt("fifo").ends_with("fifo: not a regular file"), "{}", attempt("fifo"));
    }
}

/// A safetensors file.
fn tensors(tensors: &[(&str, HostTensor)], words: Option<&str>) -> Vec<u8> {
    let mut file: StateDict = tensors.iter().cloned().collect();
    file.metadata.extend(words.map(|words| (WORDS.to_string(), words.to_string())));
    file.to_bytes().unwrap()
}

fn f32s(shape: [usize; 2], values: &[f32]) -> HostTensor {
    HostTensor::new(shape, values.to_vec())
}

#[test]
fn saved_vectors_are_equal_up_to_rounding() {
    let vectors = read("film 0.5 -0.125\ncaf\u{e9} 0.1 65504\n").unwrap();
    let folder = tempdir().unwrap();
    let path = folder.path().join("vectors.safetensors");
    vectors.save(&path).unwrap();
    let file = StateDict::read(&path).unwrap();
    assert_eq!(file["vectors"].to_string(), "[2, 2] float16");
    assert_eq!(file.metadata["words"], "film\ncaf\u{e9}");
    let again = WordVectors::read(&path, |_| true).unwrap();
    assert_eq!(content(&again), [("film", &[0.5, -0.125][..]), ("caf\u{e9}", &[0.099_975_586, 65504.0])]);
    let some = WordVectors::read(&path, |word| word == "caf\u{e9}").unwrap();
    assert_eq!((some.len(), some.get("caf\u{e9}"), some.get("film")), (1, again.get("caf\u{e9}"), None));

    let large = read("a 1\nb 65520\n").unwrap();
    assert_eq!(large.save(&path).unwrap_err().to_string(), "save: 65520 in the vector of b is beyond F16");
    assert_eq!(WordVectors::read(&path, |_| true).unwrap(), again, "the old file is unchanged");
}

#[test]
fn invalid_safetensors_are_refused() {
    let good = f32s([2, 1], &[1.0, 2.0]);
    let found = read(tensors(&[(TENSOR, good.clone())], Some("a\na"))).unwrap();
    assert_eq!(content(&found), [("a", &[1.0][..])], "the first of two");
    let doubles = HostTensor::new([2, 1], vec![1.0f64, 2.0]);
    assert_eq!(read(tensors(&[(TENSOR, doubles)], Some("a\nb"))).unwrap().get("b"), Some(&[2.0][..]));
    wrong(tensors(&[("weight", good.clone())], Some("a\nb")), "no tensor vectors");
    wrong(tensors(&[(TENSOR, good.clone())], None), "no text words in the header");
    wrong(tensors(&[(TENSOR, good.clone())], Some("a\nb\nc")), "3 words and 2 vectors");
    wrong(tensors(&[(TENSOR, good.clone())], Some("")), "1 word and 2 vectors");
    wrong(tensors(&[(TENSOR, f32s([0, 3], &[]))], Some("")), "vectors is [0, 3] float32, not [words, numbers]");
    wrong(tensors(&[(TENSOR, f32s([2, 0], &[]))], Some("a\nb")), "vectors is [2, 0] float32, not [words, numbers]");
    let flat = HostTensor::new([2], vec![1.0f32, 2.0]);
    wrong(tensors(&[(TENSOR, flat)], Some("a\nb")), "vectors is [2] float32, not [words, numbers]");
    let whole = HostTensor::new([1, 2], vec![1i32, 2]);
    wrong(tensors(&[(TENSOR, whole)], Some("a")), "vectors is [1, 2] int32, no floats");
    let nan = f32s([2, 1], &[1.0, f32::NAN]);
    let bytes = tensors(&[(TENSOR, nan)], Some("a\nb\u{1b}c"));
    wrong(&bytes, "NaN in the vector of \"b\\u{1b}c\" is not a finite number");
    assert!(read_some(&bytes, |word| word == "a").is_ok(), "unwanted vectors are not checked");
    let bytes = tensors(&[(TENSOR, good)], Some("a\nb"));
    assert!(read(&bytes[..bytes.len() - 1]).unwrap_err().starts_with("not a valid safetensors file"));
}

#[test]
fn tables_have_vectors_zeros_and_draws() {
    let vectors = read("film 1 2 3\ngood 4 5 6\n").unwrap();
    let vocabulary = Vocabulary::new(["movie", "good", "bad"]);
    let device = device();
    device.rng().seed(5);
    let table = vectors.table(&vocabulary, &device);
    assert_eq!(table.dims(), [5, 3]);
    let rows = table.to_vec::<f32>().unwrap();
    assert_eq!((&rows[..6], &rows[9..12]), (&[0.0; 6][..], &[4.0, 5.0, 6.0][..]));
    device.rng().seed(5);
    assert_eq!(vectors.table(&vocabulary, &device).to_vec::<f32>().unwrap(), rows, "the same by seed");
    assert_ne!(vectors.table(&vocabulary, &device).to_vec::<f32>().unwrap(), rows, "another draw");

    let many = Vocabulary::new((0..1000).map(|i| i.to_string()));
    let rows = WordVectors::empty(10).table(&many, &device).to_vec::<f32>().unwrap();
    let (drawn, mean) = (&rows[20..], rows.iter().sum::<f32>() / 10_000.0);
    assert!(drawn.iter().all(|x| (-0.25..0.25).contains(x)) && mean.abs() < 0.01, "{mean}");
    assert!(drawn.iter().filter(|x| x.abs() > 0.125).count().abs_diff(5000) < 300, "uniformly");
}

#[test]
fn the_vectors_of_the_repository_cover_its_words() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/sentiment/glove.safetensors");
    let vectors = WordVectors::read(path, |_| true).unwrap();
    assert_eq!((vectors.len(), vectors.dim()), (17_083, 100));
    let dot = |a: &str, b: &str| -> f32 {
        let (a, b) = (vectors.get(a).unwrap(), vectors.get(b).unwrap());
        let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>() / (norm(a) * norm(b))
    };
    assert!(dot("film", "movie") > 0.8 && dot("film", "potato") < 0.3, "similar words have similar vectors");
}
