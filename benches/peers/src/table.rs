//! The table: medians, ratios to ours, the share of the floor, and geometric means.

use crate::results::{Measured, Outcome, Results};
use crate::rows::Group;
use std::fmt::Write;
use std::path::Path;

pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logs: f64 = values.iter().map(|x| x.ln()).sum();
    (!values.is_empty()).then(|| (logs / values.len() as f64).exp())
}

pub fn duration(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{} us", three_digits(ns / 1e3)),
        ns if ns < 1e9 => format!("{} ms", three_digits(ns / 1e6)),
        ns => format!("{} s", three_digits(ns / 1e9)),
    }
}

fn three_digits(x: f64) -> String {
    match x {
        x if x < 10.0 => format!("{x:.2}"),
        x if x < 100.0 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

/// The peers beside minitorch, with their names in prose.
pub const PEERS: [(&str, &str); 4] =
    [("torch", "PyTorch"), ("burn", "Burn"), ("candle", "candle"), ("gemm", "gemm crate")];

/// Geometric mean of a peer's ratios in a group.
pub fn group_mean(results: &Results, group: Group, peer: &str) -> Option<f64> {
    let rows = results.rows.iter().filter(|row| row.group == group.name());
    geometric_mean(&rows.filter_map(|row| row.ratio(peer)).collect::<Vec<_>>())
}

/// Geometric mean of a peer's group means, if it takes part in all groups.
pub fn total_mean(results: &Results, peer: &str) -> Option<f64> {
    let means: Option<Vec<f64>> = Group::ALL.iter().map(|&group| group_mean(results, group, peer)).collect();
    geometric_mean(&means?)
}

/// A row for the terminal.
pub fn line(row: &Measured) -> String {
    let mut text = format!("{:<50}", row.name);
    if let Some(ours) = row.time("minitorch") {
        let _ = write!(text, " {}", duration(ours));
        if row.floor > 0.0 {
            let _ = write!(text, ", {:.0} % of the floor", 100.0 * row.floor / ours);
        }
    }
    for (peer, _) in PEERS {
        match (row.time(peer), row.ratio(peer)) {
            (Some(time), Some(ratio)) => {
                let _ = write!(text, "  {peer} {} ({ratio:.2}x)", duration(time));
            }
            (Some(time), None) => {
                let _ = write!(text, "  {peer} {}", duration(time));
            }
            _ => {}
        }
    }
    text
}

/// How the results were measured.
fn method(results: &Results) -> String {
    let (method, ceilings) = (&results.method, &results.ceilings);
    format!(
        "{}, {} at commit {}. Peak: {:.0} GFLOP/s of fused multiply-adds, {:.1} GB/s of copying 256 MiB. A time is the median of {} runs of \
         {} samples; ± is half of the spread of our runs.",
        results.machine,
        method.date,
        method.commit,
        ceilings.flops / 1e9,
        ceilings.copy / 1e9,
        method.runs,
        method.samples
    )
}

/// All rows and sections, as Markdown.
pub fn table(results: &Results) -> String {
    let mut text = method(results)
        + " In brackets: a peer's time as a multiple of ours. Share of floor: the floor as explained under \"How it is measured\", divided by \
           our time.\n";
    for group in Group::ALL {
        let rows: Vec<&Measured> = results.rows.iter().filter(|row| row.group == group.name()).collect();
        let peers: Vec<&str> = PEERS.map(|(peer, _)| peer).into_iter().filter(|peer| takes_part(&rows, peer)).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = write!(text, "\n| {} | minitorch | share of floor | {} |", group.name(), peers.join(" | "));
        let _ = write!(text, "\n|---|---|---|{}", "---|".repeat(peers.len()));
        for row in rows {
            let (Some(ours), Some(Outcome::Times(runs))) = (row.time("minitorch"), row.outcomes.get("minitorch"))
            else {
                continue;
            };
            let (low, high) =
                runs.iter().fold((f64::INFINITY, 0f64), |(low, high), &run| (low.min(run), high.max(run)));
            let spread = 50.0 * (high - low) / ours;
            let _ = write!(text, "\n| {} | {} (±{spread:.0} %) |", row.name, duration(ours));
            if row.floor > 0.0 {
                let _ = write!(text, " {:.0} %", 100.0 * row.floor / ours);
            }
            for peer in &peers {
                let cell = match (row.outcomes.get(*peer), row.time(peer)) {
                    (_, Some(time)) => format!("{} ({:.2}x)", duration(time), time / ours),
                    (Some(Outcome::Wrong), _) => "wrong".into(),
                    _ => String::new(),
                };
                let _ = write!(text, " | {cell}");
            }
            text.push_str(" |");
        }
        text.push_str("\n| **geometric mean** | | |");
        for peer in &peers {
            let mean = group_mean(results, group, peer);
            let _ = write!(text, " {} |", mean.map_or(String::new(), |mean| format!("**{mean:.2}x**")));
        }
        text.push('\n');
    }
    let means = PEERS.iter().filter_map(|(peer, _)| Some(format!("{peer} {:.2}x", total_mean(results, peer)?)));
    let means = means.collect::<Vec<_>>().join(", ");
    if !means.is_empty() {
        let _ = write!(text, "\nGeometric mean of the groups: {means}.\n");
    }
    text + &results.sections
}

fn takes_part(rows: &[&Measured], peer: &str) -> bool {
    rows.iter().any(|row| !matches!(row.outcomes.get(peer), None | Some(Outcome::Missing)))
}

/// The means by group and the rows in which PyTorch is faster, as Markdown.
pub fn summary(results: &Results) -> String {
    let peers = &PEERS[..3];
    let mut text = String::from("| time as a multiple of minitorch's |");
    let names: Vec<&str> = peers.iter().map(|&(_, name)| name).collect();
    let _ = write!(text, " {} |\n|---|{}\n", names.join(" | "), "---|".repeat(peers.len()));
    let mut row = |name: &str, mean: &dyn Fn(&str) -> Option<f64>| {
        let _ = write!(text, "| {name} |");
        for (peer, _) in peers {
            let _ = write!(text, " {} |", mean(peer).map_or(String::new(), |mean| format!("{mean:.2}")));
        }
        text.push('\n');
    };
    for group in Group::ALL {
        row(group.name(), &|peer| group_mean(results, group, peer));
    }
    row("**geometric mean**", &|peer| total_mean(results, peer));
    let mut slower: Vec<(f64, &Measured)> =
        results.rows.iter().filter_map(|row| Some((row.ratio("torch")?, row))).filter(|row| row.0 < 0.95).collect();
    slower.sort_by(|a, b| a.0.total_cmp(&b.0));
    if !slower.is_empty() {
        let item = |(ratio, row): &(f64, &Measured)| match &row.group[..] {
            "conv" => format!("convolution {} ({ratio:.2})", row.name),
            _ => format!("{} ({ratio:.2})", row.name),
        };
        let items: Vec<String> = slower.iter().map(item).collect();
        let _ = write!(text, "\nPyTorch is more than 5 % faster in: {}.\n", items.join("; "));
    }
    let _ = write!(text, "\n{}\n", method(results));
    text
}

/// Replaces what is between the lines `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
pub fn write_between_markers(path: &Path, name: &str, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    let file = std::fs::read_to_string(path)?;
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (Some(from), Some(to)) = (file.find(&begin), file.find(&end)) else {
        return Err(format!("{} has no lines {begin:?} and {end:?}", path.display()).into());
    };
    let new = format!("{}\n{text}\n{}", &file[..from + begin.len()], &file[to..]);
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, new)?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}
