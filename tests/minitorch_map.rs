//! `docs/minitorch-map.md`, which maps MiniTorch's capabilities to this repository: its commands run, its paths exist, and its names occur
//! in the sources.
//!
//! A `cargo run` is the example's binary in a temporary folder, with arguments that keep it short ([`shortened`]). A `cargo test` is
//! the test's binary, as cargo names it; its filter must match a test, which must pass. A command of a feature that this build lacks
//! is skipped if the map marks it with GPU, and else it fails.

#[path = "common/cli.rs"]
#[allow(dead_code, reason = "of the helpers only the path to an example's binary is needed here")]
mod cli;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::tempdir;

const MAP: &str = "docs/minitorch-map.md";

/// The features of this build.
const FEATURES: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "cuda-emu")]
    "cuda-emu",
    #[cfg(feature = "wgpu")]
    "wgpu",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn map() -> String {
    fs::read_to_string(root().join(MAP)).expect("the map")
}

/// All `code` of a text, each with the text that follows.
fn code(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().flat_map(|line| {
        let parts: Vec<&str> = line.split('`').collect();
        assert!(parts.len() % 2 == 1, "{MAP}: a ` without its pair: {line}");
        parts[1..].chunks(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>()
    })
}

/// A command of the map, parsed.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
enum Run {
    Example { name: String, arguments: Vec<String> },
    Test { binary: Binary, filter: String },
}

/// A test binary as cargo names it.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
struct Binary {
    name: String,
    /// `test`, or `lib` for the unit tests of a package.
    kind: &'static str,
}

struct Line {
    text: String,
    run: Run,
    features: Vec<String>,
    needs_a_gpu: bool,
}

fn parse(text: &str, after: &str) -> Line {
    let mut words = text.split_whitespace().skip(1).map(str::to_string);
    let verb = words.next().unwrap_or_default();
    let mut options = BTreeMap::new();
    let mut rest: Vec<String> = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--" => rest.extend(words.by_ref()),
            "--release" => {}
            "--example" | "--features" | "--test" | "-p" => {
                drop(options.insert(word, words.next().unwrap_or_default()))
            }
            _ if word.starts_with('-') => {
                panic!("{MAP}: `{text}` has the option {word}, which this test does not know")
            }
            _ => rest.push(word),
        }
    }
    let run = match (verb.as_str(), options.get("--example"), options.get("--test"), options.get("-p")) {
        ("run", Some(name), None, None) => Run::Example { name: name.clone(), arguments: rest },
        ("test", None, test, package) if rest.len() == 1 => {
            let binary = match (test, package) {
                (Some(name), None) => Binary { name: name.clone(), kind: "test" },
                (None, Some(package)) => Binary { name: package.replace('-', "_"), kind: "lib" },
                _ => panic!("{MAP}: `{text}` names no test, or two"),
            };
            Run::Test { binary, filter: rest.remove(0) }
        }
        _ => panic!("{MAP}: `{text}` is no command of a form that this test knows"),
    };
    let features =
        options.get("--features").map(|all| all.split(',').map(str::to_string).collect()).unwrap_or_default();
    Line { text: text.to_string(), run, features, needs_a_gpu: after.trim_start().starts_with("GPU") }
}

/// The map's commands, each once.
fn lines() -> Vec<Line> {
    let map = map();
    let mut seen = BTreeSet::new();
    let commands = code(&map).filter(|(text, _)| text.starts_with("cargo ") && seen.insert(*text));
    commands.map(|(text, after)| parse(text, after)).collect()
}

/// The arguments, and those that keep an example short.
fn shortened(name: &str, mut arguments: Vec<String>) -> Vec<String> {
    let trains = arguments.first().is_some_and(|lesson| ["02", "04", "05"].contains(&lesson.as_str()));
    let more: &[(&str, &str)] = match name {
        "mnist" | "sentiment" => &[("--epochs", "1"), ("--limit", "500")],
        "course" if trains => &[("--epochs", "2")],
        _ => &[],
    };
    for (option, value) in more {
        match arguments.iter().position(|argument| argument == option) {
            Some(at) => arguments[at + 1] = value.to_string(),
            None => arguments.extend([option.to_string(), value.to_string()]),
        }
    }
    if name == "diagnose" {
        arguments.push("--toy".into());
    }
    if ["mnist", "sentiment", "diagnose"].contains(&name) && !arguments.iter().any(|argument| argument == "--backend") {
        arguments.extend(["--backend".into(), "cpu".into()]);
    }
    arguments
}

/// The test binaries, from cargo's messages: all are up to date when `cargo test` runs this one.
fn binaries(wanted: &BTreeSet<Binary>) -> BTreeMap<Binary, PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(["test", "--workspace", "--offline", "--no-run", "--message-format=json"]);
    let this = std::env::current_exe().expect("the path of this test");
    if let Some(profile) = this.ancestors().nth(2).and_then(Path::file_name).filter(|name| *name != "debug") {
        command.arg("--profile").arg(profile);
    }
    if !FEATURES.is_empty() {
        command.args(["--features", &FEATURES.join(",")]);
    }
    for binary in wanted.iter().filter(|binary| binary.kind == "test") {
        command.args(["--test", &binary.name]);
    }
    if wanted.iter().any(|binary| binary.kind == "lib") {
        command.arg("--lib"); // of every package
    }
    let output = command.output().expect("cargo starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let (name, executable) = (&message["target"]["name"], message["executable"].as_str());
        let (Some(name), Some(executable)) = (name.as_str(), executable) else { continue };
        let kind = if message["target"]["kind"][0] == "test" { "test" } else { "lib" };
        found.insert(Binary { name: name.to_string(), kind }, PathBuf::from(executable));
    }
    found
}

/// Runs the tests of a binary that the filters match, and returns the names of those that passed.
fn passed(executable: &Path, filters: &[&str]) -> Vec<String> {
    let mut command = Command::new(executable);
    command.current_dir(root()).args(filters).args(["--color", "never"]);
    let output = command.output().expect("a test starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let name = |line: &str| {
        Some(line.strip_prefix("test ")?.trim_end().strip_suffix("ok")?.split(" ...").next()?.trim().to_string())
    };
    text.lines().filter_map(name).collect()
}

#[test]
fn every_test_of_the_map_passes() {
    let lines = lines();
    let mut filters: BTreeMap<&Binary, BTreeSet<&str>> = BTreeMap::new();
    for line in &lines {
        if let Run::Test { binary, filter } = &line.run {
            assert!(line.features.is_empty(), "{MAP}: `{}`: a test of every build, please", line.text);
            filters.entry(binary).or_default().insert(filter);
        }
    }
    let wanted: BTreeSet<Binary> = filters.keys().map(|&binary| binary.clone()).collect();
    let executables = binaries(&wanted);
    let mut count = 0;
    for (binary, filters) in &filters {
        let Some(executable) = executables.get(binary) else { panic!("{MAP}: there are no tests {binary:?}") };
        let mut names = Vec::new();
        if binary.name == "main" {
            // The conformance suite takes one filter at a time: a run per family of a backend.
            let mut families: BTreeMap<String, Vec<&str>> = BTreeMap::new();
            for filter in filters {
                families.entry(filter.split("::").take(2).collect::<Vec<_>>().join("::")).or_default().push(filter);
            }
            for (family, filters) in families {
                let filter = if filters.len() == 1 { filters[0] } else { &family };
                names.extend(passed(executable, &[filter]));
            }
        } else {
            names = passed(executable, &filters.iter().copied().collect::<Vec<_>>());
        }
        for filter in filters {
            assert!(
                names.iter().any(|name| name.contains(filter)),
                "{MAP}: no test of {} matches {filter}",
                binary.name
            );
            count += 1;
        }
    }
    println!("{count} commands of tests, all passed");
    assert!(count > 100, "only {count} tests were found in {MAP}: the check looks in the wrong place");
}

#[test]
fn every_example_of_the_map_runs() {
    let folder = tempdir().expect("a temporary folder");
    let (mut runs, mut skipped, mut failures) = (0, Vec::new(), Vec::new());
    for line in lines() {
        let Run::Example { name, arguments } = line.run else { continue };
        let lacking = line.features.iter().find(|feature| !FEATURES.contains(&feature.as_str()));
        if lacking.is_some() && line.needs_a_gpu {
            skipped.push(line.text);
            continue;
        }
        let mut command = cli::example(&name);
        let output = command.current_dir(folder.path()).args(shortened(&name, arguments)).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            runs += 1;
        } else if line.needs_a_gpu && error.contains("--backend cpu works on any machine") {
            skipped.push(line.text);
        } else {
            failures.push(format!("{command:?}: {}", error.lines().last().unwrap_or_default()));
        }
    }
    println!("{runs} commands of examples ran; without their GPU: {skipped:?}");
    assert!(failures.is_empty(), "{MAP}:\n  {}", failures.join("\n  "));
    assert!(runs > 5, "only {runs} examples were found in {MAP}: the check looks in the wrong place");
}

#[test]
fn every_path_of_the_map_exists() {
    let map = map();
    let mut missing: Vec<String> = Vec::new();
    let is_path = |text: &str| text.contains('/') && !text.contains(' ') && !text.starts_with('-');
    for (path, _) in code(&map).filter(|(text, _)| is_path(text)) {
        if !root().join(path).exists() {
            missing.push(path.to_string());
        }
    }
    // Links lead from the map's folder.
    for link in map.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if !link.starts_with("http") && !root().join("docs").join(link).exists() {
            missing.push(link.to_string());
        }
    }
    assert!(missing.is_empty(), "{MAP} names what is not there:\n  {}", missing.join("\n  "));
}

#[test]
fn every_name_of_the_map_is_in_the_sources() {
    let mut sources = String::new();
    let mut folders: Vec<PathBuf> = ["core/src", "nn/src"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => sources.push_str(&fs::read_to_string(path).unwrap_or_default()),
            }
        }
    }
    let words: BTreeSet<&str> = sources.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let map = map();
    let mut checked = 0;
    for (text, _) in code(&map) {
        let Some((owner, method)) = text.split_once("::") else { continue };
        if owner.starts_with(|c: char| c.is_uppercase()) && !text.contains(' ') {
            assert!(words.contains(owner) && words.contains(method), "{MAP}: there is no {text}");
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} names were found in {MAP}: the check looks in the wrong place");
}
