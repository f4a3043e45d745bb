//! An example as a program: its binary, its output and its files.

use std::fs;
#[cfg(unix)]
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The binary of an example, which `cargo test` builds next to the folder of the tests.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.ancestors().nth(2).expect("a target folder");
    let binary = folder.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(binary.exists(), "{} is missing: cargo build --example {name}", binary.display());
    let mut command = Command::new(binary);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

/// An example with arguments separated by blanks, on the CPU unless they name a backend.
pub(crate) fn on_cpu(name: &str, arguments: &str) -> Command {
    let mut command = example(name);
    if !arguments.contains("--backend") {
        command.args(["--backend", "cpu"]);
    }
    command.args(arguments.split_whitespace());
    command
}

/// Runs an example as [`on_cpu`] does, with further arguments, which can contain blanks.
pub(crate) fn run(name: &str, arguments: &str, more: &[&Path]) -> Output {
    on_cpu(name, arguments).args(more).output().expect("the example starts")
}

/// Interrupts an example as soon as a line on stderr starts with `at`. Asserts that it exits with 130; returns its stdout and the
/// other lines of stderr.
#[cfg(unix)]
pub(crate) fn interrupted(command: &mut Command, at: &str) -> (String, Vec<String>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the example starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(std::io::Result::ok);
    assert!(lines.by_ref().any(|line| line.starts_with(at)), "no line starts with {at:?}");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    let rest: Vec<String> = lines.collect(); // until the example ends
    let output = child.wait_with_output().expect("it ended");
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), rest)
}

/// Asserts that a run ends with `code`, prints one line `error: ..` that contains `reasons`, and prints no result.
pub(crate) fn fails(code: i32, output: &Output, reasons: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(errors.len(), 1, "{text}");
    assert_eq!(text.lines().last(), Some(errors[0]), "nothing follows the reason: {text}");
    assert!(!text.contains("panicked"), "{text}");
    for reason in reasons {
        assert!(errors[0].contains(reason), "`{reason}` is not in: {text}");
    }
    assert!(!String::from_utf8_lossy(&output.stdout).contains("test accuracy"));
}

/// Writes a file in a temporary folder.
pub(crate) fn put(folder: &TempDir, name: &str, bytes: &[u8]) {
    fs::write(folder.path().join(name), bytes).expect("a file in a temporary folder");
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).expect("a folder").flatten().map(|e| e.file_name().to_string_lossy().into()).collect();
    names.sort();
    names
}

/// The last line on stdout of a successful run.
pub(crate) fn last_line(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_string()
}
