//! The timing of a row, and the report.

use crate::args::Args;
use crate::backends::About;
use crate::measure::{Budget, Timing, measure};
use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// The minimal time of a measurement in seconds.
const MIN_SECONDS: f64 = 0.02;
/// Measurements of a row; the median is reported.
const REPEATS: usize = 7;

/// The results so far, written after every row, so that an aborted run leaves them.
pub(crate) struct Report<'a> {
    pub(crate) path: Option<&'a Path>,
    pub(crate) backends: Vec<Value>,
}

impl Report<'_> {
    fn add(&mut self, row: Value) -> Result<()> {
        let Some(Value::Array(rows)) = self.backends.last_mut().and_then(|backend| backend.get_mut("rows")) else {
            unreachable!("rows are measured on a backend, which has a list of them");
        };
        rows.push(row);
        let Some(path) = self.path else { return Ok(()) };
        let text = serde_json::to_string_pretty(&json!({ "framework": "minitorch", "backends": self.backends }))
            .map_err(|error| Error::Invalid(error.to_string()))?;
        replace_file(path, |file| writeln!(file, "{text}"))
    }
}

/// The minimal work of a call.
#[derive(Clone, Copy, Default)]
pub(crate) struct Work {
    /// Bytes read plus bytes written, each once.
    pub(crate) bytes: usize,
    /// Multiplications plus additions.
    pub(crate) flops: usize,
}

/// The rows of one backend as they are measured.
pub(crate) struct Bench<'a, 'r, B: Backend> {
    pub(crate) about: &'a About,
    pub(crate) device: B,
    pub(crate) args: &'a Args,
    pub(crate) report: &'a mut Report<'r>,
}

impl<B: Backend> Bench<'_, '_, B> {
    /// Numbers in -0.5..0.5.
    pub(crate) fn rand(&self, shape: impl Into<minitorch::Shape>) -> Tensor<B> {
        Tensor::rand(shape.into(), &self.device) - 0.5
    }

    /// Full size, or the small one under `--toy`.
    pub(crate) fn size(&self, full: usize, toy: usize) -> usize {
        if self.args.toy { toy } else { full }
    }

    /// Inputs of `bytes` each, which together exceed an L2 cache, so that a call finds its input in memory.
    pub(crate) fn rotating<T>(&self, bytes: usize, make: impl Fn() -> T) -> Vec<T> {
        const L2: usize = 128 << 20;
        let count = if self.args.toy { 1 } else { (2 * L2).div_ceil(bytes.max(1)).clamp(1, 64) };
        (0..count).map(|_| make()).collect()
    }

    /// Times a row. `prepare` makes its inputs, so rows that were not selected need no memory.
    pub(crate) fn row<F: FnMut(usize)>(
        &mut self,
        name: &str,
        work: Work,
        prepare: impl FnOnce(&Self) -> F,
    ) -> Result<()> {
        if !name.contains(&self.args.rows) {
            return Ok(());
        }
        let mut f = prepare(self);
        let mut next = 0;
        let mut call = || {
            f(next);
            next += 1;
        };
        call();
        self.device.synchronize()?;
        let count = || self.about.launches.as_ref().map(|launches| launches());
        let before = count();
        call();
        self.device.synchronize()?;
        let launches = before.zip(count()).map(|(before, after)| after - before);
        if self.args.once {
            return Ok(());
        }
        let budget = Budget { seconds: MIN_SECONDS, repeats: if self.args.toy { 1 } else { REPEATS } };
        let Timing { seconds, host, spread } = measure(&self.device, budget, &mut call)?;
        println!(
            "{:<9} {name:<42} {:>11.2} us  host {:>8.2} us  {:>8.1} GB/s  {:>9.1} GFLOP/s  {:>4} launches  (±{:.0} %)",
            self.about.name,
            1e6 * seconds,
            1e6 * host,
            work.bytes as f64 / seconds / 1e9,
            work.flops as f64 / seconds / 1e9,
            launches.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            100.0 * spread,
        );
        self.report.add(json!({
            "name": name, "us": 1e6 * seconds, "host_us": 1e6 * host, "spread": spread,
            "bytes": work.bytes, "flops": work.flops, "launches": launches,
        }))
    }
}
