//! Large files of words and sentences: memory is proportional to the data that is returned.

use crate::counting::peak;
use minitorch::nn::data::{WordVectors, read_sst2};
use minitorch::prelude::*;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a file and returns its length.
fn write(path: &Path, text: &str) -> Result<usize> {
    fs::write(path, text).map_err(|e| Error::io(path, e)).map(|()| text.len())
}

fn folder() -> Result<tempfile::TempDir> {
    tempfile::tempdir().map_err(|e| Error::io("a temporary folder", e))
}

#[test]
fn vectors_take_memory_for_wanted_words_only() -> Result<()> {
    let folder = folder()?;
    let path = folder.path().join("glove.txt");
    let mut text = String::new();
    for i in 0..1_000_000 {
        let _ = writeln!(text, "word{i} 0.25 -{i} 1e-3 0.5");
    }
    let length = write(&path, &text)?;
    assert!(length > 30_000_000);
    drop(text);
    let wanted = |word: &str| word.ends_with("12345");
    let (vectors, most) = peak(|| WordVectors::read(&path, wanted));
    let vectors = vectors?;
    assert_eq!((vectors.len(), vectors.dim()), (10, 4));
    assert_eq!(vectors.get("word912345"), Some(&[0.25, -912345.0, 1e-3, 0.5][..]));
    assert!(most < 300_000, "{most} bytes for 10 of 10^6 vectors");
    let (all, most) = peak(|| WordVectors::read(&path, |_| true));
    assert_eq!(all?.len(), 1_000_000);
    assert!(most < 8 * length, "{most} bytes for a file of {length}");
    Ok(())
}

#[test]
fn a_gzip_bomb_takes_little_memory() -> Result<()> {
    let folder = folder()?;
    let path = folder.path().join("bomb");
    write(&path, &"a".repeat(200 << 20))?;
    let packed = Command::new("gzip").arg("-1").arg(&path).stdin(Stdio::null()).status();
    assert!(packed.is_ok_and(|status| status.success()), "gzip");
    let path = path.with_extension("gz");
    let (vectors, most) = peak(|| WordVectors::read(&path, |_| true));
    let message = vectors.map(|vectors| vectors.len()).unwrap_err().to_string();
    assert!(message.ends_with("line 1: longer than 1048576 bytes"), "{message}");
    assert!(most < 4 << 20, "{most} bytes for a line that is cut off at 1 MiB");
    Ok(())
}

#[test]
fn sentences_take_memory_proportional_to_their_text() -> Result<()> {
    let folder = folder()?;
    let path = folder.path().join("train.tsv");
    let length = write(&path, &("sentence\tlabel\n".to_string() + &"a film of few words\t1\n".repeat(1_000_000)))?;
    let (sentences, most) = peak(|| read_sst2(&path));
    assert_eq!(sentences?.len(), 1_000_000);
    assert!(most < 8 * length, "{most} bytes for a file of {length}");
    let long = "word ".repeat(1_000_000);
    let length = write(&path, &format!("sentence\tlabel\n{long}\t0\n"))?;
    let (sentences, most) = peak(|| read_sst2(&path));
    assert_eq!(sentences?[0].text.len(), long.len() - 1);
    assert!(most < 4 * length, "{most} bytes for a file of {length}");
    Ok(())
}
