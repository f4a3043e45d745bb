//! Compares minitorch with PyTorch, Burn, candle and the `gemm` crate on the same rows, in one run.
//!
//! Every peer is a process of its own, started as its users start it, and stopped (SIGSTOP) while another is timed, so that threads that
//! spin while they wait disturb nobody. Per row all of them prepare the same numbers, their results are compared with PyTorch's, and then
//! they are timed in turn, many times, each after untimed calls that warm it up; the table shows medians. PyTorch runs twice, with its
//! default waiting policy and with passive waiting; the better one counts, row by row.

mod burn;
mod candle;
mod ceilings;
mod data;
mod gemm_peer;
mod minitorch;
mod mnist;
mod peer;
mod rows;
mod sections;
mod serve;
mod table;

use clap::Parser;
use peer::Peer;
use rows::Row;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Compares minitorch with other frameworks on the same work, in one run.")]
struct Args {
    /// Rows whose name holds this text only.
    #[arg(long, default_value = "")]
    rows: String,
    /// No rows: only what stands below the table.
    #[arg(long)]
    sections: bool,
    /// How often all is measured; the table shows the median run and the spread.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Times a peer is timed per row and run.
    #[arg(long, default_value_t = 11)]
    turns: usize,
    /// Threads of every peer.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, |n| n.get()))]
    threads: usize,
    /// The Python that has torch and numpy.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// The peers, of minitorch, torch, burn, candle and gemm.
    #[arg(long, value_delimiter = ',', default_value = "minitorch,torch,burn,candle,gemm")]
    peers: Vec<String>,
    /// The file between whose markers the table is written; without one it is printed.
    #[arg(long)]
    write: Option<PathBuf>,
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
        Some(other) => return Err(format!("there is no peer {other}").into()),
        None => return compare(&args),
    }
    Ok(())
}

/// What came of a peer at a row.
pub enum Outcome {
    /// Nanoseconds of a call in each run, of the process that was faster.
    Times(Vec<f64>),
    /// It lacks the operation.
    Missing,
    /// Its results are others than ours.
    Wrong,
}

/// What was measured of a row, by peer.
pub struct Measured {
    pub row: Row,
    /// Seconds that the row's bytes take at the least.
    pub memory: f64,
    pub outcomes: Vec<Outcome>,
}

fn compare(args: &Args) -> Result<(), Failure> {
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global()?;
    if args.sections {
        println!("{}", sections::sections(args)?);
        return Ok(());
    }
    let mut ceilings = ceilings::Ceilings::measure();
    eprintln!("{:.1} GFLOP/s, {:.1} GB/s", ceilings.flops / 1e9, ceilings.copy / 1e9);
    let mut peers =
        args.peers.iter().map(|name| Peer::start(name, args, args.threads)).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    for row in rows::rows().into_iter().filter(|row| row.name.contains(&args.rows)) {
        // Every peer is stopped here, so that the machine is quiet.
        let memory = ceilings.memory(row.bytes);
        let measured = measure(row, memory, &mut peers, args)?;
        eprintln!("{}", table::line(&measured, &ceilings, &args.peers));
        all.push(measured);
    }
    peers.into_iter().try_for_each(Peer::end)?;
    let mut text = table::table(&all, &ceilings, args);
    if args.rows.is_empty() {
        text.push_str(&sections::sections(args)?);
    }
    match &args.write {
        Some(path) => table::write_between_markers(path, &text)?,
        None => println!("{text}"),
    }
    Ok(())
}

/// Nanoseconds of a turn at the least.
const TURN: f64 = 2e7;

fn measure(row: Row, memory: f64, peers: &mut [Peer], args: &Args) -> Result<Measured, Failure> {
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
                    // PyTorch is who is right.
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
        peer.plan_turns(timed, row.is_long())?;
    }
    for _ in 0..args.runs {
        for _ in 0..if row.is_long() { 1 } else { args.turns } {
            peers.iter_mut().try_for_each(Peer::turn)?;
        }
        peers.iter_mut().for_each(Peer::end_run);
    }
    for (peer, outcome) in peers.iter_mut().zip(&mut outcomes) {
        if let Outcome::Times(times) = outcome {
            *times = peer.best_runs();
        }
        peer.ask("drop")?;
    }
    Ok(Measured { row, memory, outcomes })
}

/// Where a result differs from ours. Sums of random signs cancel, so that each number is held against the size of all of them.
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
