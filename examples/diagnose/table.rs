//! The rows as a table and as JSON.

use crate::backends::About;
use crate::ceilings::Ceilings;
use crate::cli::say;
use crate::row::{Bound, Row};
use minitorch::Launch;
use minitorch::launch::Extent;
use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// The results so far, written after every row, so that an aborted run leaves them.
pub(crate) struct Report<'a> {
    path: Option<&'a Path>,
    backends: Vec<Value>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(path: Option<&'a Path>) -> Self {
        Report { path, backends: Vec::new() }
    }

    /// Starts a backend.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn begin(&mut self, about: &About, ceilings: Option<&Ceilings<'_>>) -> Result<()> {
        say(&format!("\n{}: {}", about.name, about.description));
        if let Some(Ceilings { flops, flops_by, copy, copy_by, .. }) = ceilings {
            say(&format!("ceilings: {}, {copy_by}; {}, {flops_by}", rate(*copy, "B/s"), rate(*flops, "FLOP/s")));
        }
        say(&format!(
            "{:<26} {:<44} {:>9} {:>9} {:>11} {:>15}  {}",
            "operation", "operands", "MB", "MFLOP", "time", "speed", "of the ceiling"
        ));
        let of = ceilings.map(|of| {
            json!({
                "bytes_per_second": of.copy, "bytes_per_second_by": of.copy_by,
                "flops_per_second": of.flops, "flops_per_second_by": of.flops_by,
            })
        });
        self.backends.push(json!({
            "backend": about.name, "device": about.description, "emulated": about.is_emulated, "ceilings": of, "rows": [],
        }));
        self.write()
    }

    /// Adds a row and its launches.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn add(&mut self, row: &Row) -> Result<()> {
        say(&line(row));
        run_lengths(&row.launches).iter().for_each(|(count, launch)| say(&launch_line(*count, launch)));
        if let Some(rows) = self.backends.last_mut().and_then(|backend| backend["rows"].as_array_mut()) {
            rows.push(as_json(row));
        }
        self.write()
    }

    fn write(&self) -> Result<()> {
        let Some(path) = self.path else { return Ok(()) };
        write_json(path, &json!({ "backends": self.backends }))
    }
}

/// Replaces a JSON file atomically.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Invalid(error.to_string()))?;
    replace_file(path, |file| writeln!(file, "{text}"))
}

fn line(row: &Row) -> String {
    let Row { name, operands, work, seconds, share, bound, .. } = row;
    let (speed, what) = match bound {
        Bound::Memory => (rate(work.bytes as f64 / seconds, "B/s"), "memory"),
        Bound::Arithmetic => (rate(work.flops as f64 / seconds, "FLOP/s"), "arithmetic"),
    };
    let share = share.map_or("-".to_string(), |share| format!("{:>3.0} % {what}", 100.0 * share));
    let flops = if work.flops == 0 { "-".to_string() } else { mega(work.flops) };
    format!(
        "{name:<26} {operands:<44} {:>9} {flops:>9} {:>11} {speed:>15}  {share}",
        mega(work.bytes),
        duration(*seconds),
    )
}

/// Launches in order; consecutive equal ones are counted.
fn run_lengths(launches: &[Launch]) -> Vec<(usize, &Launch)> {
    let mut counted: Vec<(usize, &Launch)> = Vec::new();
    for launch in launches {
        match counted.last_mut() {
            Some((count, last)) if *last == launch => *count += 1,
            _ => counted.push((1, launch)),
        }
    }
    counted
}

fn launch_line(count: usize, launch: &Launch) -> String {
    let times = if count > 1 { format!("{count} x ") } else { String::new() };
    let [rows, columns] = launch.tile;
    let tile = if rows == 0 { String::new() } else { format!("tile {rows} x {columns}") };
    let line = format!(
        "    {:<34} {:<42} {:<36} {tile}",
        format!("{times}{}", launch.kernel),
        launch.path,
        launch.extent.to_string()
    );
    line.trim_end().to_string()
}

fn as_json(row: &Row) -> Value {
    let launches: Vec<Value> = row
        .launches
        .iter()
        .map(|launch| {
            let mut value = json!({ "kernel": launch.kernel, "path": launch.path, "tile": launch.tile });
            match launch.extent {
                Extent::Threads { threads, chunks } => {
                    value["threads"] = threads.into();
                    value["chunks"] = chunks.into();
                }
                Extent::Grid { grid, block, shared } => {
                    value["grid"] = json!(grid);
                    value["block"] = json!(block);
                    value["shared_bytes"] = shared.into();
                }
                _ => {}
            }
            value
        })
        .collect();
    json!({
        "operation": row.name, "operands": row.operands, "bytes": row.work.bytes, "flops": row.work.flops,
        "seconds": row.seconds, "share_of_ceiling": row.share,
        "bound": match row.bound { Bound::Memory => "memory", Bound::Arithmetic => "arithmetic" },
        "launches": launches,
    })
}

/// Millions, with three digits.
fn mega(count: usize) -> String {
    digits(count as f64 / 1e6)
}

/// A number with about three significant digits.
pub(crate) fn digits(x: f64) -> String {
    match x {
        0.0 => "0".into(),
        x if x < 0.001 => format!("{x:.6}"),
        x if x < 0.1 => format!("{x:.4}"),
        x if x < 10.0 => format!("{x:.2}"),
        x if x < 100.0 => format!("{x:.1}"),
        x => format!("{x:.0}"),
    }
}

/// A rate with its prefix.
pub(crate) fn rate(per_second: f64, unit: &str) -> String {
    let (scale, prefix) = match per_second {
        x if x >= 1e12 => (1e12, "T"),
        x if x >= 1e9 => (1e9, "G"),
        x if x >= 1e6 => (1e6, "M"),
        _ => (1e3, "k"),
    };
    format!("{} {prefix}{unit}", digits(per_second / scale))
}

/// A time with its unit.
pub(crate) fn duration(seconds: f64) -> String {
    let (scale, unit) = match seconds {
        x if x >= 1.0 => (1.0, "s"),
        x if x >= 1e-3 => (1e-3, "ms"),
        x if x >= 1e-6 => (1e-6, "us"),
        _ => (1e-9, "ns"),
    };
    format!("{} {unit}", digits(seconds / scale))
}
