//! Compares minitorch with PyTorch, Burn, candle and the `gemm` crate on the same rows, in one run.
//!
//! Every peer is a process of its own that sleeps while another is timed. Per row all of them prepare the same numbers, their results
//! are compared with PyTorch's, and then they are timed in turn, many times; the table shows medians.

mod burn;
mod candle;
mod ceilings;
mod data;
mod gemm_peer;
mod minitorch;
mod mnist;
mod rows;
mod sections;
mod serve;
mod table;

use clap::Parser;
use rows::Row;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

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

/// A peer's process.
struct Peer {
    name: String,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    fn start(name: &str, args: &Args, threads: usize) -> Result<Self, Failure> {
        let mut command = match name {
            "torch" => {
                let mut command = Command::new(&args.python);
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/torch_peer.py"));
                command
            }
            _ => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--serve", name]);
                command
            }
        };
        let threads = threads.to_string();
        for variable in
            ["PEERS_THREADS", "MINITORCH_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
        {
            command.env(variable, &threads);
        }
        // A thread that spins while it waits would take the processor from the others.
        command.env("KMP_BLOCKTIME", "0").env("OMP_WAIT_POLICY", "passive");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { unreachable!("both are piped") };
        Ok(Peer { name: name.to_string(), child, to, from: BufReader::new(from) })
    }

    fn ask(&mut self, command: &str) -> Result<String, Failure> {
        writeln!(self.to, "{command}")?;
        let mut answer = String::new();
        if self.from.read_line(&mut answer)? == 0 {
            return Err(format!("{} ended at {command:?}: {:?}", self.name, self.child.wait()?).into());
        }
        Ok(answer.trim().to_string())
    }

    /// Closes its input and waits for its end.
    fn end(self) -> Result<(), Failure> {
        let Peer { mut child, to, from, .. } = self;
        drop((to, from));
        child.wait()?;
        Ok(())
    }

    /// Nanoseconds of a call, over `n` of them.
    fn time(&mut self, n: usize) -> Result<f64, Failure> {
        Ok(self.ask(&format!("time {n}"))?.parse::<f64>()? / n as f64)
    }
}

/// What came of a peer at a row.
pub enum Outcome {
    /// Nanoseconds in each run.
    Times(Vec<f64>),
    /// It lacks the operation.
    Missing,
    /// Its results are others than ours.
    Wrong,
}

/// What was measured of a row, by peer.
pub struct Measured {
    pub row: Row,
    pub outcomes: Vec<Outcome>,
}

fn compare(args: &Args) -> Result<(), Failure> {
    rayon::ThreadPoolBuilder::new().num_threads(args.threads).build_global()?;
    if args.sections {
        println!("{}", sections::sections(args)?);
        return Ok(());
    }
    let ceilings = ceilings::measure();
    eprintln!("{:.1} GFLOP/s, {:.1} GB/s", ceilings.flops / 1e9, ceilings.bandwidth / 1e9);
    let mut peers =
        args.peers.iter().map(|name| Peer::start(name, args, args.threads)).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    for row in rows::rows().into_iter().filter(|row| row.name.contains(&args.rows)) {
        let measured = measure(row, &mut peers, args)?;
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

/// How many calls take as long as a turn, once they are warm.
fn calls_of_a_turn(peer: &mut Peer) -> Result<usize, Failure> {
    let mut calls = 1;
    for _ in 0..3 {
        let once = peer.time(calls)?;
        calls = ((TURN / once.max(1.0)).ceil() as usize).clamp(1, 100_000);
        if calls == 1 {
            break;
        }
    }
    Ok(calls)
}

fn measure(row: Row, peers: &mut [Peer], args: &Args) -> Result<Measured, Failure> {
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
    let mut calls = Vec::new();
    for (peer, outcome) in peers.iter_mut().zip(&outcomes) {
        calls.push(match outcome {
            Outcome::Times(_) if row.is_long() => 1,
            Outcome::Times(_) => calls_of_a_turn(peer)?,
            _ => 0,
        });
    }
    for _ in 0..args.runs {
        let mut turns: Vec<Vec<f64>> = vec![Vec::new(); peers.len()];
        for _ in 0..if row.is_long() { 1 } else { args.turns } {
            for ((peer, &calls), turns) in peers.iter_mut().zip(&calls).zip(&mut turns) {
                if calls > 1 {
                    // The caches are full of what the peer before used: it takes milliseconds until they are not.
                    peer.time(calls)?;
                }
                if calls > 0 {
                    turns.push(peer.time(calls)?);
                }
            }
        }
        for (outcome, turns) in outcomes.iter_mut().zip(turns) {
            if let Outcome::Times(times) = outcome {
                times.push(table::median(&turns));
            }
        }
    }
    for peer in peers.iter_mut() {
        peer.ask("drop")?;
    }
    Ok(Measured { row, outcomes })
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
