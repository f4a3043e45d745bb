//! The matrix product by size: the backends, and a naive loop.

use crate::backends::{About, Visitor, no_device, visit};
use crate::cli::say;
use crate::measure::measure;
use crate::plot::{self, Line};
use crate::row::budget;
use crate::table::{digits, duration, write_json};
use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use serde_json::json;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];

/// The largest size of the naive loop.
const NAIVE: usize = 512;

/// The largest sizes of emulated GPUs.
const EMULATED: usize = 128;
const SOFTWARE: usize = 512;

/// Sizes whose product would take more seconds are skipped.
const MAX_SECONDS: f64 = 10.0;

/// Times products of all sizes on the backends, prints a table and writes `matmul.svg`.
///
/// # Errors
/// If a backend that was named has no device, a device fails, or a file cannot be written.
pub(crate) fn run(names: &[&str], named: bool, toy: bool, out: &Path, json: Option<&Path>) -> Result<()> {
    let sizes = if toy { &SIZES[..1] } else { &SIZES[..] };
    let mut columns = vec![naive(sizes)?];
    for name in names {
        match visit(name, Products { sizes }) {
            Ok(column) => columns.push(column?),
            Err(error) if named => return Err(no_device(&error)),
            Err(error) => say(&format!("{name}: no device here: {error}")),
        }
    }
    for line in table(&columns, sizes) {
        say(&line);
    }
    if let Some(path) = json {
        let all: Vec<_> = columns
            .iter()
            .map(|column| {
                let points: Vec<_> =
                    column.points.iter().map(|&(size, seconds)| json!({ "size": size, "seconds": seconds })).collect();
                json!({ "name": column.name, "device": column.device, "products": points })
            })
            .collect();
        write_json(path, &json!({ "matmul": all }))?;
    }
    let lines: Vec<Line> = columns
        .iter()
        .map(|column| Line {
            name: column.name,
            points: column.points.iter().map(|&(size, seconds)| (size as f64, rate(size, seconds) / 1e9)).collect(),
        })
        .collect();
    std::fs::create_dir_all(out).map_err(|error| Error::io(out, error))?;
    let path = out.join("matmul.svg");
    replace_file(&path, |file| file.write_all(plot::chart(&lines).as_bytes()))?;
    say(&format!("{}", path.display()));
    Ok(())
}

/// The times of one implementation.
struct Column {
    name: &'static str,
    device: String,
    /// Size and seconds.
    points: Vec<(usize, f64)>,
}

/// Floating-point operations per second.
fn rate(size: usize, seconds: f64) -> f64 {
    2.0 * (size as f64).powi(3) / seconds
}

struct Products<'a> {
    sizes: &'a [usize],
}

impl Visitor for Products<'_> {
    type Output = Result<Column>;

    fn visit<B: Backend>(self, device: &B, about: &About) -> Result<Column> {
        let largest = match about.name {
            "cuda-emu" => EMULATED,
            _ if about.is_emulated => SOFTWARE,
            _ => usize::MAX,
        };
        let seconds = |size: usize| {
            let [a, b] = [0, 1].map(|_| Tensor::rand([size, size], device) - 0.5);
            Ok(measure(device, budget(about.is_emulated), &mut || drop(a.matmul(&b)))?.seconds)
        };
        say(&format!("{}: {}", about.name, about.description));
        Ok(Column {
            name: if about.name == "wgpu" && about.is_emulated { "wgpu, software" } else { about.name },
            device: about.description.clone(),
            points: points(about.name, self.sizes, largest, seconds)?,
        })
    }
}

/// The times of all sizes up to `largest` that do not take too long; prints where it stops.
fn points(
    name: &str,
    sizes: &[usize],
    largest: usize,
    measure: impl Fn(usize) -> Result<f64>,
) -> Result<Vec<(usize, f64)>> {
    let mut points: Vec<(usize, f64)> = Vec::new();
    for &size in sizes {
        let expected = points.last().map_or(0.0, |&(last, seconds)| seconds * (size as f64 / last as f64).powi(3));
        if size > largest {
            say(&format!("{name}: sizes up to {largest}"));
            break;
        }
        if expected > MAX_SECONDS {
            say(&format!("{name}: {size} would take {}, more than {MAX_SECONDS} s", duration(expected)));
            break;
        }
        points.push((size, measure(size)?));
    }
    Ok(points)
}

/// Three nested loops over rows, columns and k, on one thread.
fn naive(sizes: &[usize]) -> Result<Column> {
    let measure = |size: usize| {
        let of = |step: usize| (0..size * size).map(|i| (i * step % 17) as f32 / 17.0 - 0.5).collect::<Vec<f32>>();
        let (a, b, mut out) = (of(3), of(5), vec![0f32; size * size]);
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            multiply(size, black_box(&a), black_box(&b), &mut out);
            black_box(&mut out);
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(best)
    };
    let device = "three nested loops on one thread".to_string();
    Ok(Column { name: "naive loop", device, points: points("naive loop", sizes, NAIVE, measure)? })
}

fn multiply(size: usize, a: &[f32], b: &[f32], out: &mut [f32]) {
    for i in 0..size {
        for j in 0..size {
            let mut sum = 0.0;
            for k in 0..size {
                sum += a[i * size + k] * b[k * size + j];
            }
            out[i * size + j] = sum;
        }
    }
}

/// One line per size, two numbers per column.
fn table(columns: &[Column], sizes: &[usize]) -> Vec<String> {
    let cells = |f: &dyn Fn(&Column) -> String| columns.iter().map(f).collect::<Vec<_>>().join("  ");
    let mut lines = vec![
        format!("{:<6}  {}", "", cells(&|column| format!("{:>21}", column.name))),
        format!("{:<6}  {}", "size", cells(&|_| format!("{:>11} {:>9}", "ms", "GFLOP/s"))),
    ];
    for &size in sizes {
        let cell = |column: &Column| match column.points.iter().find(|(of, _)| *of == size) {
            Some(&(_, seconds)) => format!("{:>11} {:>9}", digits(1e3 * seconds), digits(rate(size, seconds) / 1e9)),
            None => format!("{:>11} {:>9}", "-", "-"),
        };
        lines.push(format!("{size:<6}  {}", cells(&cell)));
    }
    lines
}
