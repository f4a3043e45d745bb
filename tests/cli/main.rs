//! The examples as programs: their command lines, output, files and errors. `mnist` covers the code that the training examples share.

#[path = "../common/cli.rs"]
mod cli;
mod course;
mod diagnose;
mod mnist;
#[path = "../common/require.rs"]
mod require;
mod resnet;
mod sentiment;
