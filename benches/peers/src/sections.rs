//! Sections below the table: speedup by threads, memory, and the overhead of an operation.

use crate::peer::Peer;
use crate::results::median;
use crate::rows::{Row, rows};
use crate::table::duration;
use crate::{Args, Failure, SAMPLE};
use minitorch::{Cpu, Tensor};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// All sections, as Markdown.
pub fn sections(args: &Args) -> Result<String, Failure> {
    Ok(format!("\n{}\n{}\n{}", threads(args)?, memory(args)?, overhead(args)))
}

/// The rows with these names.
fn named(names: &[&str]) -> Result<Vec<Row>, Failure> {
    let all = rows();
    let find = |name: &&str| all.iter().find(|row| row.name == *name).cloned();
    names.iter().map(|name| find(name).ok_or_else(|| format!("there is no row {name:?}").into())).collect()
}

/// Our speedup on 1, 2, 4, .. threads over one thread.
fn threads(args: &Args) -> Result<String, Failure> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|&n| n < args.threads).collect();
    counts.push(args.threads);
    let mut peers = counts.iter().map(|&n| Peer::start("minitorch", args, n)).collect::<Result<Vec<_>, _>>()?;
    let mut text = String::from("Speedup by threads over one thread:\n\n|  |");
    counts.iter().for_each(|n| text.push_str(&format!(" {n} |")));
    write!(text, "\n|---|{}", "---|".repeat(counts.len()))?;
    for row in named(&[
        "1024 x 1024 x 1024",
        "exp, 10^7",
        "softmax",
        "64 channels, 3 x 3, forward and backward",
        "MLP 784-256-128-10, Adam, batch 64",
        "LeNet-5, Adam, batch 64",
        "ResNet-20, SGD, batch 32",
    ])? {
        let work = serde_json::to_string(&row.work)?;
        let mut samples = vec![Vec::new(); peers.len()];
        for peer in &mut peers {
            peer.ask(&format!("prepare {work}"))?;
            peer.time(1)?;
        }
        for _ in 0..args.samples {
            for (peer, samples) in peers.iter_mut().zip(&mut samples) {
                let calls = (SAMPLE / peer.time(1)?).ceil() as usize;
                samples.push(peer.time(calls)?);
            }
        }
        let times: Vec<f64> = samples.iter().map(|samples| median(samples)).collect();
        write!(text, "\n| {} | {}", row.name, duration(times[0]))?;
        times[1..].iter().try_for_each(|time| write!(text, " | {:.2}x", times[0] / time))?;
        text.push_str(" |");
        for peer in &mut peers {
            peer.ask("drop")?;
        }
    }
    peers.into_iter().try_for_each(Peer::end)?;
    Ok(text + "\n")
}

/// Growth of the resident set of each peer over three training steps. A step of one image in the same new process precedes them, so that
/// code and tables of the libraries do not count.
fn memory(args: &Args) -> Result<String, Failure> {
    let peers: Vec<&String> = args.peers.iter().filter(|name| *name != "gemm").collect();
    let mut text = String::from("Peak growth of the resident set over three steps in a new process:\n\n|  |");
    peers.iter().for_each(|name| text.push_str(&format!(" {name} |")));
    write!(text, "\n|---|{}", "---|".repeat(peers.len()))?;
    for row in named(&["LeNet-5, Adam, batch 64", "ResNet-20, SGD, batch 32"])? {
        write!(text, "\n| {} |", row.name)?;
        let mut small = serde_json::to_value(&row.work)?;
        small["batch"] = 1.into();
        for name in &peers {
            let mut peer = Peer::start(name, args, args.threads)?;
            peer.ask(&format!("prepare {small}"))?;
            peer.ask("drop")?;
            peer.ask(&format!("prepare {}", serde_json::to_string(&row.work)?))?;
            peer.time(3)?;
            let bytes: f64 = peer.ask("memory")?.parse()?;
            write!(text, " {:.1} MB |", bytes / 1e6)?;
            peer.end()?;
        }
    }
    Ok(text + "\n")
}

/// The time of an addition of one element relative to that of one allocation.
fn overhead(args: &Args) -> String {
    const CALLS: u32 = 100_000;
    fn time<T>(f: impl Fn() -> T) -> f64 {
        let start = Instant::now();
        for _ in 0..CALLS {
            drop(black_box(f()));
        }
        start.elapsed().as_nanos() as f64 / CALLS as f64
    }
    let device = Cpu::default();
    let [a, b] = [1, 2].map(|x| Tensor::<Cpu>::from_vec(vec![x as f32], [1], &device));
    let leaf = a.clone().requires_grad();
    let mut samples = [const { Vec::new() }; 3];
    for _ in 0..args.samples.max(3) * args.runs {
        samples[0].push(time(|| Arc::new(Vec::<f32>::with_capacity(1024))));
        samples[1].push(time(|| &a + &b));
        samples[2].push(time(|| &leaf + &b));
    }
    let [unit, plain, recorded] = samples.map(|samples| median(&samples));
    format!(
        "Overhead: an addition of one element takes {} ({:.1} times the {} of `Arc::new(Vec::<f32>::with_capacity(1024))`), recorded on the \
         tape {} ({:.1} times).\n",
        duration(plain),
        plain / unit,
        duration(unit),
        duration(recorded),
        recorded / unit
    )
}
