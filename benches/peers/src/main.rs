//! Compares minitorch with PyTorch, Burn, candle and the `gemm` crate on the same work.
//!
//! ```text
//! for row in rows:
//!     every peer prepares the same operands; their results are compared with ours
//!     for run in runs, for sample in samples:
//!         for peer in peers: continue its process, time a batch of calls, stop it (SIGSTOP)
//!         time the row's memory traffic without its arithmetic (ceilings.rs)
//! ```
//!
//! A peer is a process of its own, started with its defaults. It is stopped while others are timed, so that threads which spin while
//! they wait take no core from them. PyTorch runs in two processes, with OpenMP's default waiting policy and with passive waiting; the
//! faster one counts, row by row. A batch of untimed calls precedes every timed one.

mod burn;
mod candle;
mod ceilings;
mod chart;
mod data;
#[path = "../../../examples/diagnose/fma.rs"]
mod fma;
mod gemm_peer;
mod minitorch;
mod mnist;
mod peer;
mod results;
mod rows;
mod sections;
mod serve;
mod table;

use ceilings::{Ceilings, Replay};
use clap::Parser;
use peer::Peer;
use results::{Measured, Outcome, Results};
use rows::{Group, Row};
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(about = "Compares minitorch with other frameworks on the same work.")]
struct Args {
    /// What to measure: gemm, element-wise, reduce, conv, train, inference, sections (threads, memory, overhead), none.
    /// Results are merged into --results. All by default.
    #[arg(long, value_delimiter = ',')]
    part: Vec<String>,
    /// Only rows whose name contains this text.
    #[arg(long, default_value = "")]
    rows: String,
    /// Runs of all samples; a table entry is the median of the runs.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Samples per peer, row and run.
    #[arg(long, default_value_t = 11)]
    samples: usize,
    /// Threads of every peer.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, |n| n.get()))]
    threads: usize,
    /// The Python that has torch and numpy.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// The peers to measure; minitorch comes first.
    #[arg(long, value_delimiter = ',', default_value = "minitorch,torch,burn,candle,gemm")]
    peers: Vec<String>,
    /// The file that keeps results between calls.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results.json"))]
    results: PathBuf,
    /// Writes the table into docs/performance.md, the chart to docs/peers.svg and the means into README.md, instead of printing the table.
    #[arg(long)]
    write: bool,
    /// Makes this process a peer.
    #[arg(long, hide = true)]
    serve: Option<String>,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    match args.serve.as_deref() {
        Some("minitorch") => serve::serve(minitorch::prepare),
        Some("burn") => serve::serve(burn::prepare),
        Some("candle") => serve::serve(candle::prepare),
        Some("gemm") => serve::serve(gemm_peer::prepare),
        Some(other) => return Err(format!("unknown peer {other:?}").into()),
        None => return compare(&args),
    }
    Ok(())
}

/// Whether `part` is to be measured.
fn wants(args: &Args, part: &str) -> bool {
    args.part.is_empty() || args.part.iter().any(|wanted| wanted == part)
}

fn compare(args: &Args) -> Result<(), Failure> {
    let parts: Vec<&str> = Group::ALL.iter().map(|group| group.part()).chain(["sections", "none"]).collect();
    if let Some(unknown) = args.part.iter().find(|part| !parts.contains(&&part[..])) {
        return Err(format!("unknown part {unknown:?}; the parts are {}", parts.join(", ")).into());
    }
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global()?;
    let mut results = Results::read(&args.results)?;
    let selected = |row: &Row| wants(args, row.group.part()) && row.name.contains(&args.rows);
    let rows: Vec<Row> = rows::rows().into_iter().filter(selected).collect();
    let sections = wants(args, "sections") && args.rows.is_empty();
    if sections || !rows.is_empty() {
        results = results.on_this_machine(args.threads);
    }
    if !rows.is_empty() {
        results.ceilings = Ceilings::measure();
        eprintln!("{:.1} GFLOP/s, {:.1} GB/s", results.ceilings.flops / 1e9, results.ceilings.copy / 1e9);
        let mut peers =
            args.peers.iter().map(|name| Peer::start(name, args, args.threads)).collect::<Result<Vec<_>, _>>()?;
        for row in rows {
            let measured = measure(row, &results.ceilings, &mut peers, args)?;
            eprintln!("{}", table::line(&measured));
            results.add(measured);
            results.write(&args.results, args)?;
        }
        peers.into_iter().try_for_each(Peer::end)?;
    }
    if sections {
        results.sections = sections::sections(args)?;
        results.write(&args.results, args)?;
    }
    // Rows that were added or renamed since an earlier call.
    let order: Vec<String> = rows::rows().into_iter().map(|row| row.name).collect();
    results.rows.sort_by_key(|row| order.iter().position(|name| *name == row.name));
    if !args.write {
        println!("{}", table::table(&results));
        return Ok(());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    table::write_between_markers(&root.join("docs/performance.md"), "peers", &table::table(&results))?;
    table::write_between_markers(&root.join("README.md"), "peers", &table::summary(&results))?;
    std::fs::write(root.join("docs/peers.svg"), chart::chart(&results))?;
    Ok(())
}

/// Nanoseconds per sample, at least.
const SAMPLE: f64 = 2e7;

fn measure(row: Row, ceilings: &Ceilings, peers: &mut [Peer], args: &Args) -> Result<Measured, Failure> {
    let work = serde_json::to_string(&row.work)?;
    let mut outcomes = Vec::new();
    let mut ours: Option<Vec<f64>> = None;
    for peer in peers.iter_mut() {
        outcomes.push(match peer.ask(&format!("prepare {work}"))?.as_str() {
            "missing" => Outcome::Missing,
            "ready" => {
                let digest: Vec<f64> = serde_json::from_str(&peer.ask("result")?)?;
                match difference(ours.get_or_insert_with(|| digest.clone()), &digest) {
                    None => Outcome::Times(Vec::new()),
                    // PyTorch is the reference: ours is wrong.
                    Some(text) if peer.name == "torch" => return Err(format!("{}: {text}", row.name).into()),
                    Some(text) => {
                        eprintln!("{}: {} is wrong: {text}", row.name, peer.name);
                        Outcome::Wrong
                    }
                }
            }
            other => return Err(format!("{}: {other:?} for {}", peer.name, row.name).into()),
        });
    }
    for (peer, outcome) in peers.iter_mut().zip(&outcomes) {
        let timed = matches!(outcome, Outcome::Times(_));
        peer.plan_samples(timed, row.is_long())?;
    }
    let mut replay = Replay::new(row.least.reads, row.least.writes);
    for _ in 0..args.runs {
        for _ in 0..if row.is_long() { 1 } else { args.samples } {
            peers.iter_mut().try_for_each(Peer::sample)?;
            // Every peer is stopped.
            replay.iter_mut().for_each(Replay::sample);
        }
        peers.iter_mut().for_each(Peer::end_run);
    }
    for (peer, outcome) in peers.iter_mut().zip(&mut outcomes) {
        if let Outcome::Times(times) = outcome {
            *times = peer.best_runs();
        }
        peer.ask("drop")?;
    }
    let arithmetic = match row.least.flops {
        // Overhead, not arithmetic, bounds a call of so few.
        ..1e4 => 0.0,
        flops => flops / ceilings.flops,
    };
    let floor = 1e9 * arithmetic.max(replay.map_or(0.0, |replay| replay.seconds));
    let outcomes = peers.iter().map(|peer| peer.name.clone()).zip(outcomes).collect();
    Ok(Measured { group: row.group.name().into(), name: row.name, floor, outcomes })
}

/// Where a digest differs from ours. Sums over random signs cancel, so the tolerance of each number is relative to the root mean square.
fn difference(ours: &[f64], theirs: &[f64]) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} numbers for our {}", theirs.len(), ours.len()));
    }
    let (count, squares) = (ours[0], ours[2]);
    let size = (squares / count).sqrt();
    let bound = |i: usize| match i {
        0 => 0.0,
        1 => 1e-3 * size * count.sqrt() + 1e-4 * ours[1].abs(),
        2 => 1e-3 * squares,
        _ => 1e-3 * size + 1e-3 * ours[i].abs(),
    };
    let differs = |i: &usize| {
        let difference = (ours[*i] - theirs[*i]).abs();
        difference.is_nan() || difference > bound(*i)
    };
    let i = (0..ours.len()).find(differs)?;
    Some(format!("number {i} of its digest is {} for our {}", theirs[i], ours[i]))
}
