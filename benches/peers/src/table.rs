//! The table: medians, ratios to ours, the share of the floor, means by group.

use crate::ceilings::Ceilings;
use crate::rows::Group;
use crate::{Args, Measured, Outcome};
use std::fmt::Write;
use std::path::Path;

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logs: f64 = values.iter().map(|x| x.ln()).sum();
    (!values.is_empty()).then(|| (logs / values.len() as f64).exp())
}

/// Nanoseconds that the machine needs at the least: arithmetic or memory, whichever takes longer. Where a row or a peer moved its bytes
/// faster than the ceiling that was measured, that is the ceiling.
fn floor(measured: &Measured, ceilings: &Ceilings) -> f64 {
    let fastest = medians(measured).into_iter().flatten().fold(f64::INFINITY, f64::min);
    (1e9 * measured.memory.max(measured.row.flops / ceilings.flops)).min(fastest)
}

/// The median of the runs, for each peer.
fn medians(measured: &Measured) -> Vec<Option<f64>> {
    let of = |outcome: &Outcome| match outcome {
        Outcome::Times(times) => Some(median(times)),
        Outcome::Missing | Outcome::Wrong => None,
    };
    measured.outcomes.iter().map(of).collect()
}

pub fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.3} us", Digits(ns / 1e3)),
        ns if ns < 1e9 => format!("{:.3} ms", Digits(ns / 1e6)),
        ns => format!("{:.3} s", Digits(ns / 1e9)),
    }
}

/// Three digits that count.
struct Digits(f64);

impl std::fmt::Display for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            x if x < 10.0 => write!(f, "{x:.2}"),
            x if x < 100.0 => write!(f, "{x:.1}"),
            x => write!(f, "{x:.0}"),
        }
    }
}

/// A row as it is measured.
pub fn line(measured: &Measured, ceilings: &Ceilings, peers: &[String]) -> String {
    let times = medians(measured);
    let ours = times.first().copied().flatten();
    let mut text = format!("{:<40}", measured.row.name);
    for (name, time) in peers.iter().zip(&times) {
        let Some(time) = time else { continue };
        let _ = write!(text, " {name} {}", duration(*time));
        if let Some(ours) = ours
            && name != &peers[0]
        {
            let _ = write!(text, " ({:.2}x)", time / ours);
        }
    }
    if let Some(ours) = ours {
        let _ = write!(text, "  {:.0} % of the floor", 100.0 * floor(measured, ceilings) / ours);
    }
    text
}

pub fn table(all: &[Measured], ceilings: &Ceilings, args: &Args) -> String {
    let peers = &args.peers;
    let mut text = format!(
        "{} on {} threads: {:.0} GFLOP/s of fused multiply-adds, {:.1} GB/s of copying. Median of {} runs of {} turns, each after \
         as many calls that are not timed; in brackets how many times ours a peer takes, and the spread of our runs. Every peer runs as \
         its users start it; of PyTorch's default and passive waiting the faster counts. The floor is the larger of the arithmetic at the \
         speed of fused multiply-adds and of the bytes that must move at least once, at the speed at which so many bytes move.\n",
        processor(),
        args.threads,
        ceilings.flops / 1e9,
        ceilings.copy / 1e9,
        args.runs,
        args.turns
    );
    let mut means = vec![Vec::new(); peers.len()];
    for group in Group::ALL {
        let rows: Vec<&Measured> = all.iter().filter(|measured| measured.row.group == group).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(text, "\n| {} | {} | of the floor |", group.name(), peers.join(" | "));
        let _ = write!(text, "\n|---|{}---|", "---|".repeat(peers.len()));
        let mut ratios = vec![Vec::new(); peers.len()];
        for measured in rows {
            let times = medians(measured);
            let Some(ours) = times[0] else { continue };
            let spread = match &measured.outcomes[0] {
                Outcome::Times(runs) => {
                    runs.iter().copied().fold(0.0, f64::max) - runs.iter().copied().fold(f64::INFINITY, f64::min)
                }
                _ => 0.0,
            };
            let _ = write!(text, "\n| {} | {} (±{:.0} %)", measured.row.name, duration(ours), 50.0 * spread / ours);
            for (peer, outcome) in measured.outcomes.iter().enumerate().skip(1) {
                match (outcome, times[peer]) {
                    (_, Some(time)) => {
                        let _ = write!(text, " | {} ({:.2}x)", duration(time), time / ours);
                        ratios[peer].push(time / ours);
                    }
                    (Outcome::Wrong, _) => text.push_str(" | wrong"),
                    _ => text.push_str(" | "),
                }
            }
            match floor(measured, ceilings) {
                0.0 => text.push_str(" | |"),
                floor => {
                    let _ = write!(text, " | {:.0} % |", 100.0 * floor / ours);
                }
            }
        }
        text.push_str("\n| **geometric mean** | ");
        for (peer, ratios) in ratios.iter().enumerate().skip(1) {
            match geometric_mean(ratios) {
                Some(mean) => {
                    let _ = write!(text, "| **{mean:.2}x** ");
                    means[peer].push(mean);
                }
                None => text.push_str("| "),
            }
        }
        text.push_str("| |\n");
    }
    text.push_str("\nMean of the groups:");
    for (name, means) in peers.iter().zip(&means).skip(1) {
        if let Some(mean) = geometric_mean(means) {
            let _ = write!(text, " {name} {mean:.2}x");
        }
    }
    text + ".\n"
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

/// Replaces what is between the lines `<!-- peers: begin -->` and `<!-- peers: end -->`.
pub fn write_between_markers(path: &Path, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    let file = std::fs::read_to_string(path)?;
    let (begin, end) = ("<!-- peers: begin -->\n", "<!-- peers: end -->");
    let (Some(from), Some(to)) = (file.find(begin), file.find(end)) else {
        return Err(format!("{} has no lines {begin:?} and {end:?}", path.display()).into());
    };
    let new = format!("{}\n{text}\n{}", &file[..from + begin.len()], &file[to..]);
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, new)?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}
