//! A peer as a process: it waits for lines on its standard input and answers each by one, so that it is idle while another is
//! timed. torch_peer.py answers the same.
//!
//! ```text
//! prepare {row}   ->  "ready", or "missing" if the peer has no such operation
//! result          ->  the digest of the results as a JSON list
//! time N          ->  nanoseconds of N calls
//! warm N          ->  the same after N calls that are not timed
//! memory          ->  bytes by which the process grew at most since "prepare"
//! drop            ->  "dropped"
//! ```

use crate::data::digest;
use crate::rows::Work;
use std::io::{BufRead, Write};
use std::time::Instant;

/// Work that is ready to run.
pub struct Prepared {
    /// What is timed.
    pub run: Box<dyn FnMut()>,
    /// The results of one run, in row-major order, one after the other.
    pub result: Box<dyn FnMut() -> Vec<f32>>,
}

pub fn serve(prepare: impl Fn(&Work) -> Option<Prepared>) {
    let mut current: Option<Prepared> = None;
    let mut resident = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the driver speaks text");
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match (command, &mut current) {
            ("prepare", current) => {
                drop(current.take());
                resident = memory::reset();
                let work = serde_json::from_str(rest).expect("a row");
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
            _ => panic!("what is {line:?}?"),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("the driver listens");
    }
}

/// What Linux says of this process.
mod memory {
    fn field(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Forgets the peak; returns what is resident.
    pub fn reset() -> u64 {
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        field("VmRSS")
    }

    pub fn peak() -> u64 {
        field("VmHWM")
    }
}
