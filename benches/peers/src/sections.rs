//! What stands below the table: threads, memory, and what an operation costs beside its arithmetic.

use crate::peer::Peer;
use crate::rows::{Row, rows};
use crate::table::{duration, median};
use crate::{Args, Failure, TURN};
use minitorch::{Cpu, Tensor};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// All sections, as Markdown.
pub fn sections(args: &Args) -> Result<String, Failure> {
    Ok(format!("\n{}\n{}\n{}", threads(args)?, memory(args)?, own_cost(args)))
}

/// The rows of these names, in their order.
fn named(names: &[&str]) -> Result<Vec<Row>, Failure> {
    let all = rows();
    let find = |name: &&str| all.iter().find(|row| row.name == *name).cloned();
    names.iter().map(|name| find(name).ok_or_else(|| format!("there is no row {name:?}").into())).collect()
}

/// Our speed on 1, 2, 4... threads as multiples of that on one.
fn threads(args: &Args) -> Result<String, Failure> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|&n| n < args.threads).collect();
    counts.push(args.threads);
    let mut peers = counts.iter().map(|&n| Peer::start("minitorch", args, n)).collect::<Result<Vec<_>, _>>()?;
    let mut text = String::from("Speed on more threads, as a multiple of one thread's:\n\n|  |");
    counts.iter().for_each(|n| text.push_str(&format!(" {n} |")));
    write!(text, "\n|---|{}", "---|".repeat(counts.len()))?;
    for row in named(&[
        "1024 x 1024 x 1024",
        "exp, 10^7",
        "softmax",
        "64 channels, 3 x 3, both ways",
        "MLP 784-256-128-10, Adam, batch 64",
        "LeNet-5, Adam, batch 64",
        "ResNet-20, SGD, batch 32",
    ])? {
        let work = serde_json::to_string(&row.work)?;
        let mut turns = vec![Vec::new(); peers.len()];
        for peer in &mut peers {
            peer.ask(&format!("prepare {work}"))?;
            peer.time(1)?;
        }
        for _ in 0..args.turns {
            for (peer, turns) in peers.iter_mut().zip(&mut turns) {
                let calls = (TURN / peer.time(1)?).ceil() as usize;
                turns.push(peer.time(calls)?);
            }
        }
        let times: Vec<f64> = turns.iter().map(|turns| median(turns)).collect();
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

/// How far the process of each peer grows while it trains. Each is a new one, in which a step of one image has been made, so that code and
/// tables of the libraries do not count.
fn memory(args: &Args) -> Result<String, Failure> {
    let peers: Vec<&String> = args.peers.iter().filter(|name| *name != "gemm").collect();
    let mut text = String::from("Growth of the process at its peak, three steps in a new process:\n\n|  |");
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

/// An addition of one element beside an allocation of the system: both are made and dropped.
fn own_cost(args: &Args) -> String {
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
    let mut turns = [const { Vec::new() }; 3];
    for _ in 0..args.turns.max(3) * args.runs {
        turns[0].push(time(|| Arc::new(Vec::<f32>::with_capacity(1024))));
        turns[1].push(time(|| &a + &b));
        turns[2].push(time(|| &leaf + &b));
    }
    let [unit, plain, recorded] = turns.map(|turns| median(&turns));
    format!(
        "The framework's own cost: an addition of one element takes {} ({:.1} times the {} of `Arc::new(Vec::<f32>::with_capacity(1024))`), \
         recorded for a gradient {} ({:.1} times).\n",
        duration(plain),
        plain / unit,
        duration(unit),
        duration(recorded),
        recorded / unit
    )
}
