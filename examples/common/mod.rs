//! What the training examples share. [`start`](train::start) trains and evaluates an
//! [`Example`](example::Example).
//!
//! `example.rs` is the interface; `train.rs` the loop; `run.rs` is everything around it: progress, metrics, weights,
//! Ctrl-C; `evaluate.rs` is the result on a set; `args.rs` is the common part of the command line, `backends.rs` and
//! `cli.rs` serve all examples; `output.rs`, `progress.rs`, `charts.rs` and `canvas.rs` write what happened. Image
//! classifiers add `images.rs`.

#![allow(dead_code, reason = "every example uses a part of this")]

pub(crate) mod args;
pub(crate) mod backends;
pub(crate) mod canvas;
mod charts;
pub(crate) mod cli;
pub(crate) mod evaluate;
pub(crate) mod example;
pub(crate) mod output;
mod progress;
pub(crate) mod run;
pub(crate) mod train;
