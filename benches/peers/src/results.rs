//! Results on disk: parts of the table are measured one by one, and the table is rendered from all of them.

use crate::ceilings::Ceilings;
use crate::{Args, Failure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Results of one machine.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The processor, and the number of threads.
    pub machine: String,
    /// How the rows were measured last.
    pub method: Method,
    pub ceilings: Ceilings,
    pub rows: Vec<Measured>,
    /// Threads, memory and overhead, as Markdown.
    pub sections: String,
}

#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Method {
    pub date: String,
    pub commit: String,
    pub runs: usize,
    pub samples: usize,
}

/// A row and what each peer needed for it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub group: String,
    pub name: String,
    /// Nanoseconds; 0 where there is no floor.
    pub floor: f64,
    pub outcomes: BTreeMap<String, Outcome>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nanoseconds per call in each run, of the faster process.
    Times(Vec<f64>),
    /// The peer lacks the operation.
    Missing,
    /// Its results differ from ours.
    Wrong,
}

impl Measured {
    /// Nanoseconds per call: the median of the runs.
    pub fn time(&self, peer: &str) -> Option<f64> {
        match self.outcomes.get(peer) {
            Some(Outcome::Times(runs)) => Some(median(runs)),
            _ => None,
        }
    }

    /// The time of a peer as a multiple of ours.
    pub fn ratio(&self, peer: &str) -> Option<f64> {
        Some(self.time(peer)? / self.time("minitorch")?)
    }
}

impl Results {
    /// Those in the file; none if there is no file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Results::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Drops results of another machine or number of threads: a table shows one machine.
    pub fn on_this_machine(self, threads: usize) -> Self {
        let machine = format!("{} on {threads} threads", processor());
        if self.machine == machine {
            return self;
        }
        if !self.machine.is_empty() {
            eprintln!("dropping the results of {}", self.machine);
        }
        Results { machine, ..Results::default() }
    }

    /// Adds a row, in place of an older measurement of it.
    pub fn add(&mut self, row: Measured) {
        match self.rows.iter_mut().find(|old| old.name == row.name && old.group == row.group) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
    }

    pub fn write(&mut self, path: &Path, args: &Args) -> Result<(), Failure> {
        let output = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
            output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_string())
        };
        self.method = Method {
            date: output("date", &["+%F"]),
            commit: output("git", &["rev-parse", "--short=10", "HEAD"]),
            runs: args.runs,
            samples: args.samples,
        };
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = name.map_or("a processor", |name| name.trim_start_matches([' ', '\t', ':']));
    let units = if text.contains("avx512f") {
        " with AVX-512"
    } else if text.contains("avx2") {
        " with AVX2"
    } else {
        ""
    };
    format!("{name}{units}")
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
