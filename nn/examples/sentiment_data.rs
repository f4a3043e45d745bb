//! Text preprocessing for scripts, by minitorch's own readers.
//!
//! `vectors FOLDER GLOVE OUT` writes the vectors of the words in the sentences of `FOLDER` (`train.tsv`, `dev.tsv`,
//! `test.tsv`) as safetensors, and prints the coverage: used by `scripts/fetch-sentiment`.
//!
//! `tokens FOLDER` prints the three sets as lines of set, label and tokens, separated by tabs and the tokens by blanks:
//! used by `scripts/torch_sentiment.py`.

use minitorch_core::{Error, Result};
use minitorch_nn::data::{Reviews, Sentence, WordVectors, sst2, tokenize};
use std::collections::HashMap;
use std::io::{BufWriter, Write};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["vectors", folder, glove, out] => vectors(&sst2(folder)?, glove, out),
        ["tokens", folder] => tokens(&sst2(folder)?).map_err(|error| Error::io("stdout", error)),
        _ => Err(Error::Invalid("sentiment_data: vectors FOLDER GLOVE OUT, or tokens FOLDER".into())),
    }
}

fn sets(reviews: &Reviews) -> [(&'static str, &[Sentence]); 3] {
    [("train", &reviews.train), ("validation", &reviews.validation), ("test", &reviews.test)]
}

fn vectors(reviews: &Reviews, glove: &str, out: &str) -> Result<()> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (_, sentences) in sets(reviews) {
        for token in sentences.iter().flat_map(|sentence| tokenize(&sentence.text)) {
            *counts.entry(token).or_default() += 1;
        }
    }
    let vectors = WordVectors::read(glove, |word| counts.contains_key(word))?;
    vectors.save(out)?;
    let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let (words, tokens) = (counts.len(), counts.values().sum());
    let covered = vectors.words().filter_map(|word| counts.get(word)).sum();
    println!("{} of {words} words ({:.1} %) have a vector,", vectors.len(), share(vectors.len(), words));
    println!("{covered} of {tokens} tokens ({:.1} %)", share(covered, tokens));
    let mut others: Vec<(&String, &usize)> = counts.iter().filter(|(word, _)| vectors.get(word).is_none()).collect();
    others.sort_by_key(|&(word, count)| (std::cmp::Reverse(count), word));
    let others: Vec<String> = others.iter().take(40).map(|(word, count)| format!("{word} {count}")).collect();
    println!("most frequent without one: {}", others.join(", "));
    Ok(())
}

fn tokens(reviews: &Reviews) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (name, sentences) in sets(reviews) {
        for Sentence { text, label } in sentences {
            writeln!(out, "{name}\t{label}\t{}", tokenize(text).join(" "))?;
        }
    }
    out.flush()
}
