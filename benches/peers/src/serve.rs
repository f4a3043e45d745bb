//! A peer's process: answers each line of its standard input with one line, and is idle in between. torch_peer.py speaks the same
//! protocol.
//!
//! ```text
//! prepare {work}  ->  "ready", or "missing" if the peer has no such operation
//! result          ->  the digest of the results as a JSON list
//! time N          ->  nanoseconds of N calls
//! warm N          ->  the same after N untimed calls
//! memory          ->  peak growth of the resident set since "prepare", in bytes
//! drop            ->  "dropped"
//! ```

use crate::data::digest;
use crate::rows::Work;
use std::io::{BufRead, Write};
use std::time::Instant;

/// A row's computation with its operands.
pub struct Prepared {
    /// What is timed.
    pub run: Box<dyn FnMut()>,
    /// The results of one call in row-major order, concatenated.
    pub result: Box<dyn FnMut() -> Vec<f32>>,
}

pub fn serve(prepare: impl Fn(&Work) -> Option<Prepared>) {
    let mut current: Option<Prepared> = None;
    let mut resident = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("commands are text");
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match (command, &mut current) {
            ("prepare", current) => {
                drop(current.take());
                resident = memory::reset();
                let work = serde_json::from_str(rest).expect("a row's work");
                *current = prepare(&work);
                if current.is_some() { "ready".into() } else { "missing".to_string() }
            }
            ("result", Some(prepared)) => {
                serde_json::to_string(&digest(&(prepared.result)())).expect("numbers are JSON")
            }
            ("time" | "warm", Some(prepared)) => {
                let n: usize = rest.parse().expect("a number of calls");
                if command == "warm" {
                    (0..n).for_each(|_| (prepared.run)());
                }
                let start = Instant::now();
                for _ in 0..n {
                    (prepared.run)();
                }
                start.elapsed().as_nanos().to_string()
            }
            ("memory", _) => memory::peak().saturating_sub(resident).to_string(),
            ("drop", current) => {
                *current = None;
                "dropped".into()
            }
            _ => panic!("unknown command {line:?}"),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("the parent reads");
    }
}

/// The resident set of this process, from /proc (Linux).
mod memory {
    fn field(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Resets the peak; returns the current size.
    pub fn reset() -> u64 {
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        field("VmRSS")
    }

    pub fn peak() -> u64 {
        field("VmHWM")
    }
}
