//! Valid and invalid tables.

use super::*;
use std::fs;
use tempfile::{TempDir, tempdir};

/// Reads a file of these bytes. An error comes without the path.
fn read(bytes: impl AsRef<[u8]>) -> std::result::Result<Vec<(String, u8)>, String> {
    let folder = tempdir().unwrap();
    let path = folder.path().join("table.tsv");
    fs::write(&path, bytes).unwrap();
    match read_sst2(&path) {
        Ok(sentences) => Ok(sentences.into_iter().map(|sentence| (sentence.text, sentence.label)).collect()),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            Err(text.strip_prefix(&format!("{}: ", path.display())).unwrap().to_string())
        }
    }
}

fn pairs<const N: usize>(pairs: [(&str, u8); N]) -> std::result::Result<Vec<(String, u8)>, String> {
    Ok(pairs.map(|(text, label)| (text.to_string(), label)).to_vec())
}

#[test]
fn columns_are_found_by_name() {
    assert_eq!(read("sentence\tlabel\na b \t0\n\"so-so\t1\n"), pairs([("a b", 0), ("\"so-so", 1)]));
    assert_eq!(read("label\trating\tsentence\n1\t0.5\tgood\n"), pairs([("good", 1)]));
    let windows = "\u{feff}sentence\tlabel\r\ngood\t1\r\n\r\nbad\t0\r\n\r\n";
    assert_eq!(read(windows), pairs([("good", 1), ("bad", 0)]), "BOM, CRLF, blank lines");
    assert_eq!(read("label\tsentence\r\n1\tgood\r\n"), pairs([("good", 1)]), "CR at the end of a sentence");
    assert_eq!(read("sentence\tlabel\n\t1\n  \t0"), pairs([("", 1), ("", 0)]), "empty sentences, no last newline");
    assert_eq!(read("sentence\tlabel\n"), pairs([]));
}

#[test]
fn errors_name_the_line() {
    let wrong = |bytes: &[u8], reason: &str| assert_eq!(read(bytes), Err(reason.to_string()));
    wrong(b"", "the file is empty");
    wrong(b"\n\r\n\n", "the file is empty");
    wrong(b"a good film\t1\n", "line 1: no column sentence; there are \"a good film\", 1");
    wrong(b"\n\nsentence\trating\nx\t1\n", "line 3: no column label; there are sentence, rating");
    wrong(b"sentence\tlabel\na\t1\nb\n", "line 3: 1 column, where the first line has 2");
    wrong(b"sentence\tlabel\n\n\na\tb\t1\n", "line 4: 3 columns, where the first line has 2");
    wrong(b"sentence\tlabel\r\na\t1\r\n\r\nb\t2\r\n", "line 4: the label 2 is neither 0 nor 1");
    wrong(b"sentence\tlabel\na\t1\nb\t\x1b[31m", "line 3: the label \"\\u{1b}[31m\" is neither 0 nor 1");
    wrong(b"sentence\tlabel\na\t\n", "line 2: the label \"\" is neither 0 nor 1");
    wrong(b"sentence\tlabel\na\t1\ncaf\xe9\t0\n", "line 3: not UTF-8");
    wrong(b"sentence\tlabel\xff\n", "line 1: not UTF-8");
    wrong("s\0e\0n\0t\0\t\0".as_bytes(), "line 1: no column sentence; there are \"s\\0e\\0n\\0t\\0\", \"\\0\"");
    let long = format!("sentence\tlabel\na\t{}\n", "9".repeat(1 << 20));
    assert!(read(long).unwrap_err().len() < 200);
}

#[test]
fn one_sentence_may_be_long_and_sentences_many() {
    let long = "word ".repeat(100_000);
    let found = read(format!("sentence\tlabel\n{long}\t1\n")).unwrap();
    assert_eq!((found.len(), found[0].0.len()), (1, long.len() - 1));
    let mut many = String::from("sentence\tlabel\n");
    for i in 0..1_000_000 {
        many += if i % 3 == 0 { "good\t1\n" } else { "not so good\t0\n" };
    }
    let found = read(&many).unwrap();
    assert_eq!((found.len(), found.iter().filter(|(_, label)| *label == 1).count()), (1_000_000, 333_334));
    assert_eq!(read(many + "x\t3"), Err("line 1000002: the label 3 is neither 0 nor 1".into()));
}

#[test]
fn irregular_files_are_refused() {
    let folder = tempdir().unwrap();
    let attempt = |name: &str| read_sst2(folder.path().join(name)).unwrap_err().to_string();
    assert!(attempt("").ends_with("is a directory"), "{}", attempt(""));
    assert!(attempt("nowhere.tsv").contains("nowhere.tsv: "), "{}", attempt("nowhere.tsv"));
    #[cfg(unix)]
    {
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()));
        assert!(attempt("fifo").ends_with("fifo: not a regular file"), "{}", attempt("fifo"));
    }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Sentences `0`, `1`, ..
fn numbered(n: usize) -> String {
    let lines = (0..n).map(|i| format!("{i}\t{}\n", i % 2));
    "sentence\tlabel\n".to_string() + &lines.collect::<String>()
}

fn numbers(sentences: &[Sentence]) -> Vec<usize> {
    sentences.iter().map(|sentence| sentence.text.parse().unwrap()).collect()
}

const ONE: &str = "sentence\tlabel\tx\ngood\t1\t0\n";
const GLUE_TEST: &str = "index\tsentence\n0\tunknown\n";

#[test]
fn a_folder_has_three_sets() {
    let files = folder(&[("train.tsv", &numbered(20)), ("dev.tsv", &numbered(2)), ("test.tsv", ONE)]);
    let reviews = sst2(&files).unwrap();
    assert_eq!((reviews.train.len(), numbers(&reviews.validation)), (20, vec![0, 1]));
    assert_eq!(reviews.test, [Sentence { text: "good".into(), label: 1 }]);
}

#[test]
fn without_labels_in_the_test_set_a_part_of_the_training_set_validates() {
    for (n, held) in [(10, 1), (95, 9), (12_000, 1066)] {
        let files = folder(&[("train.tsv", &numbered(n)), ("dev.tsv", ONE), ("test.tsv", GLUE_TEST)]);
        let reviews = sst2(&files).unwrap();
        assert_eq!((reviews.train.len(), reviews.validation.len()), (n - held, held));
        assert_eq!(reviews.test[0].text, "good", "dev.tsv is the test set");
        let (train, validation) = (numbers(&reviews.train), numbers(&reviews.validation));
        assert!(train.is_sorted() && validation.is_sorted());
        let mut all = [train, validation.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..n).collect::<Vec<usize>>());
        assert_eq!(sst2(&files).unwrap(), reviews, "the same every time");
        assert!(n < 1000 || validation[held / 2].abs_diff(n / 2) < n / 10, "drawn from all of the file");
    }
}

#[test]
fn incomplete_folders() {
    let wrong = |files: &[(&str, &str)], reason: &str| {
        let message = sst2(folder(files)).unwrap_err().to_string();
        assert!(message.ends_with(reason), "{message}");
    };
    wrong(&[("dev.tsv", ONE)], ": no train.tsv, test.tsv here");
    let small = numbered(9);
    wrong(
        &[("train.tsv", &small), ("dev.tsv", ONE), ("test.tsv", GLUE_TEST)],
        "train.tsv: too few sentences for a validation set of a tenth of them",
    );
    let none = "sentence\tlabel\n";
    wrong(&[("train.tsv", none), ("dev.tsv", ONE), ("test.tsv", ONE)], "train.tsv: no sentences");
    wrong(&[("train.tsv", ONE), ("dev.tsv", none), ("test.tsv", ONE)], "dev.tsv: no sentences");
    wrong(&[("train.tsv", ONE), ("dev.tsv", none), ("test.tsv", GLUE_TEST)], "dev.tsv: no sentences");
    wrong(&[("train.tsv", ONE), ("dev.tsv", ONE), ("test.tsv", none)], "test.tsv: no sentences");
    wrong(&[("train.tsv", ONE), ("dev.tsv", ONE), ("test.tsv", "")], "test.tsv: the file is empty");
    let headless = "good\t1\n";
    wrong(&[("train.tsv", ONE), ("dev.tsv", ONE), ("test.tsv", headless)], "no column sentence; there are good, 1");
    let misspelt = "sentence\tlabels\ngood\t1\n";
    wrong(
        &[("train.tsv", ONE), ("dev.tsv", ONE), ("test.tsv", misspelt)],
        "no column label; there are sentence, labels",
    );
    let message = sst2("/nowhere/at/all").unwrap_err().to_string();
    assert_eq!(message, "/nowhere/at/all: no such folder");
}
