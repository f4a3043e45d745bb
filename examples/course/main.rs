//! A course in lessons, from the derivative of one number to a network that trains on any device.
//!
//! ```text
//! cargo run --release --example course               # the table of contents
//! cargo run --release --example course -- 02         # a lesson
//! cargo run --release --example course -- 02 --help  # its options
//! ```
//!
//! A lesson is the file of its number: a header with what you learn, then a program to read. Lessons that train share
//! `data.rs` (the six tasks and the settings that solve them), `args.rs` (the command line) and `show.rs` (the display
//! during training), which uses `picture.rs` and `contour.rs`.
//!
//! The last line on stdout of a lesson that trains is its result, `training points: 50 of 50 right (100.0 %)`. Exit
//! codes: 0; 1 if a file or a device fails or the loss is not finite; 2 for a wrong command line.

mod args;
#[path = "../common/backends.rs"]
mod backends;
#[path = "../common/cli.rs"]
mod cli;
mod contour;
#[path = "07_convolution.rs"]
mod convolution;
mod data;
#[path = "01_derivatives.rs"]
mod derivatives;
#[path = "06_functions.rs"]
mod functions;
#[path = "05_layers.rs"]
mod layers;
#[path = "../mnist/model.rs"]
mod lenet;
mod picture;
#[path = "02_scalars.rs"]
mod scalars;
mod show;
#[path = "03_tensors.rs"]
mod tensors;
#[path = "04_training.rs"]
mod training;

use clap::{ArgMatches, Args, Command};
use cli::{complain, refuse, say};
use minitorch::Result;
use std::process::ExitCode;

/// The lessons in order. A new one needs a module above and a line here; the type of its function's argument is its
/// options.
fn lessons() -> Vec<Lesson> {
    vec![
        lesson("01", "what a derivative is, and how a tape finds it", "01", derivatives::run),
        lesson("02", "a network of single numbers learns to tell points apart", "02 --task xor", scalars::run),
        lesson("03", "a tensor is a storage and a way to look at it", "03", tensors::run),
        lesson("04", "the same network on tensors, every step by hand", "04 --task circle", training::run),
        lesson("05", "the same with layers and an optimizer, on any device", "05 --task spiral", layers::run),
        lesson("06", "functions of one's own, and what the tape looks like", "06", functions::run),
        lesson("07", "convolutions and pools, by their formulas and by the library", "07", convolution::run),
    ]
}

struct Lesson {
    number: &'static str,
    about: &'static str,
    /// The arguments that run it.
    example: &'static str,
    options: fn(Command) -> Command,
    run: Box<Start>,
}

/// A lesson's function after the parsing of its arguments, which can fail.
type Start = dyn Fn(&ArgMatches) -> std::result::Result<Result<()>, clap::Error>;

fn lesson<A: Args + 'static>(
    number: &'static str,
    about: &'static str,
    example: &'static str,
    run: fn(A) -> Result<()>,
) -> Lesson {
    let run = Box::new(move |matches: &ArgMatches| A::from_arg_matches(matches).map(run));
    Lesson { number, about, example, options: A::augment_args, run }
}

fn main() -> ExitCode {
    let lessons = lessons();
    let mut arguments = std::env::args_os().skip(1);
    let Some(first) = arguments.next() else { return contents(&lessons) };
    let first = first.to_string_lossy();
    if ["-h", "--help", "help"].contains(&first.as_ref()) {
        return contents(&lessons);
    }
    let Some(lesson) = lessons.iter().find(|lesson| lesson.number == first || lesson.number == format!("0{first}"))
    else {
        let numbers: Vec<&str> = lessons.iter().map(|lesson| lesson.number).collect();
        complain(&format!("no lesson {:?}; there are {}", first, numbers.join(", ")));
        return ExitCode::from(2);
    };
    let name = format!("course -- {}", lesson.number);
    let command = (lesson.options)(Command::new("course").no_binary_name(true).bin_name(name)).about(lesson.about);
    match command.try_get_matches_from(arguments).and_then(|matches| (lesson.run)(&matches)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
        Err(error) => refuse(&error),
    }
}

/// Prints the lessons, each with its command.
fn contents(lessons: &[Lesson]) -> ExitCode {
    say("The lessons of examples/course. Each is a file to read and a program to run.\n");
    for Lesson { number, about, example, .. } in lessons {
        say(&format!("  {number}  {about}\n      cargo run --release --example course -- {example}"));
    }
    say(
        "\nA lesson that trains takes --task simple, diag, split, xor, circle or spiral; --help lists its other options.",
    );
    ExitCode::SUCCESS
}
