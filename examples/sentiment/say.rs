//! `--say`: the class of one sentence, and the contribution of its words.

use crate::args::Args;
use crate::common::backends::{Program, run_on};
use crate::common::cli::{note, say};
use crate::common::run::failed;
use crate::corpus::LONGEST;
use crate::explain::{Explanation, explain};
use crate::model::TextCnn;
use crate::weights::{Header, read_header};
use minitorch::nn::data::{Vocabulary, tokenize};
use minitorch::prelude::*;
use std::fmt::Write;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

/// The most bytes of a sentence on stdin.
const LARGEST_TEXT: u64 = 1 << 20;

/// The most words that are listed with their contribution, and the length of the longest bar.
const LISTED: usize = 10;
const BAR: f64 = 24.0;

/// The width of a word in the list.
const WORD: usize = 24;

/// Prints the answer, or an error as one line on stderr. Returns the code to exit with.
pub(crate) fn start(text: &str, args: &Args) -> ExitCode {
    let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let answer = sentence(text)
        .and_then(|text| run_on(args.options.backend.as_deref(), Say { text, weights: args.weights_file(), color }));
    match answer {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

/// The text, read from stdin if it is `-`.
fn sentence(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.into());
    }
    let mut bytes = Vec::new();
    io::stdin().take(LARGEST_TEXT + 1).read_to_end(&mut bytes).map_err(|error| Error::io("stdin", error))?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(Error::format("stdin", format!("a sentence of more than {LARGEST_TEXT} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::format("stdin", format!("byte {at} is not UTF-8"))
    })
}

struct Say {
    text: String,
    weights: PathBuf,
    color: bool,
}

impl Program for Say {
    type Output = String;

    fn run<B: Backend>(self, device: &B) -> Result<String> {
        if !self.weights.exists() {
            let why = "no such file; training writes it, and --eval names another";
            return Err(Error::io(self.weights, io::Error::new(io::ErrorKind::NotFound, why)));
        }
        let Header { vocabulary, dim, .. } = read_header(&self.weights)?;
        let mut model = TextCnn::new(Tensor::zeros([vocabulary.len(), dim], device), false, device);
        model.load(&self.weights)?;
        model.eval();

        let mut words = tokenize(&self.text);
        match words.len() {
            0 => note("the sentence has no words; the biases decide"),
            n if n > LONGEST => {
                note(&format!("the sentence is cut to its first {LONGEST} words of {n}"));
                words.truncate(LONGEST);
            }
            _ => {}
        }
        let explanation = explain(&model, &vocabulary.encode(&words), device)?;
        if !explanation.difference.is_finite() {
            return Err(Error::format(self.weights, "a weight is not a finite number"));
        }
        Ok(Answer { words, explanation, vocabulary, color: self.color }.to_string())
    }
}

/// The text to print.
struct Answer {
    words: Vec<String>,
    explanation: Explanation,
    vocabulary: Vocabulary,
    color: bool,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Explanation { difference, words: parts, biases } = &self.explanation;
        let (class, sure) = if *difference > 0.0 { ("positive", *difference) } else { ("negative", -difference) };
        write!(f, "{class}, {:.1} %", 100.0 / (1.0 + (-sure).exp()))?;

        let largest = parts.iter().fold(0.0, |most: f64, part| most.max(part.abs()));
        let share = |part: f64| if largest > 0.0 { part / largest } else { 0.0 };
        if !self.words.is_empty() {
            let marked = self.words.iter().zip(parts).map(|(word, &part)| self.marked(word, share(part)));
            write!(f, "\n\n{}", marked.collect::<Vec<_>>().join(" "))?;
        }
        let unknown = self.words.iter().filter(|word| self.vocabulary.id(word).is_none()).count();
        if unknown > 0 {
            write!(f, "\n\n(?) marks {unknown} of {} words that the model does not know", self.words.len())?;
        }

        let mut order: Vec<usize> = (0..parts.len()).filter(|&i| parts[i] != 0.0).collect();
        order.sort_by(|&a, &b| parts[b].abs().total_cmp(&parts[a].abs())); // stable: ties in word order
        let (listed, others) = order.split_at(order.len().min(LISTED));
        write!(f, "\n\n{:WORD$}  contribution to positive", "word")?;
        for &i in listed {
            write!(f, "\n{:WORD$}  {:+7.3}  {}", short(&self.words[i]), parts[i], self.bar(share(parts[i])))?;
        }
        if !others.is_empty() {
            let rest: f64 = others.iter().map(|&i| parts[i]).sum();
            let name = match others.len() {
                1 => "1 other word".into(),
                n => format!("{n} other words"),
            };
            write!(f, "\n{name:WORD$}  {rest:+7.3}")?;
        }
        write!(f, "\n{:WORD$}  {biases:+7.3}", "biases")?;
        write!(f, "\n{:WORD$}  {difference:+7.3}  = logit of positive - logit of negative", "sum")
    }
}

impl Answer {
    /// A word of the sentence, with more signs or a stronger colour for a larger contribution.
    fn marked(&self, word: &str, share: f64) -> String {
        let level = [0.1, 0.3, 0.6].iter().filter(|&&least| share.abs() >= least).count();
        let unknown = if self.vocabulary.id(word).is_none() { "(?)" } else { "" };
        let word = shown(word);
        if self.color {
            let shades = if share > 0.0 { [22, 28, 34] } else { [52, 88, 160] };
            let background = level.checked_sub(1).map(|level| format!("\x1b[97;48;5;{}m", shades[level]));
            return match background {
                Some(background) => format!("{background}{word}\x1b[0m{unknown}"),
                None => format!("{word}{unknown}"),
            };
        }
        let signs = if share > 0.0 { "+" } else { "-" }.repeat(level);
        format!("{signs}{word}{signs}{unknown}")
    }

    fn bar(&self, share: f64) -> String {
        let length = (share.abs() * BAR).ceil() as usize;
        match (self.color, share > 0.0) {
            (true, true) => format!("\x1b[38;5;34m{}\x1b[0m", "\u{2588}".repeat(length)),
            (true, false) => format!("\x1b[38;5;160m{}\x1b[0m", "\u{2588}".repeat(length)),
            (false, true) => "+".repeat(length),
            (false, false) => "-".repeat(length),
        }
    }
}

/// A word with control characters escaped.
fn shown(word: &str) -> String {
    let mut text = String::new();
    for letter in word.chars() {
        // Writing to a String cannot fail.
        let _ = match letter {
            '"' | '\'' | '\\' => write!(text, "{letter}"),
            _ => write!(text, "{}", letter.escape_debug()),
        };
    }
    text
}

/// The same, truncated to the width of the column.
fn short(word: &str) -> String {
    let text = shown(word);
    if text.chars().count() <= WORD { text } else { text.chars().take(WORD - 2).chain("..".chars()).collect() }
}
