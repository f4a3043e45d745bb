//! What a model is made of: its modules as a tree, with shapes, parameters, arithmetic and memory.

use crate::module::{Entry, Module, Path};
use minitorch_core::{Backend, Shape, Tensor};
use std::cell::RefCell;
use std::fmt;

thread_local! {
    /// What the layers report while a summary is made; `None` otherwise.
    static LOG: RefCell<Option<Vec<Event>>> = const { RefCell::new(None) };
}

struct Event {
    address: usize,
    kind: &'static str,
    output: Shape,
    bytes: u64,
    flops: u64,
}

/// Called by a layer's `forward` with its result: reports it if a summary is being made, and hands it back. `flops` counts
/// the multiplications and additions.
pub(crate) fn observed<B: Backend, L>(layer: &L, kind: &'static str, flops: u64, y: Tensor<B>) -> Tensor<B> {
    LOG.with_borrow_mut(|log| {
        let Some(log) = log else { return };
        let bytes = (y.numel() * y.dtype().size()) as u64;
        log.push(Event { address: std::ptr::from_ref(layer).addr(), kind, output: *y.shape(), bytes, flops });
    });
    y
}

/// Whether a summary is being made on this thread.
pub(crate) fn in_progress() -> bool {
    LOG.with_borrow(Option::is_some)
}

/// Puts the log back that was there before, also when `forward` panics: else every later forward pass would report.
struct Listening {
    outer: Option<Vec<Event>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        LOG.set(self.outer.take());
    }
}

/// One module of a [`Summary`].
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The dotted name; empty for the model itself.
    pub name: String,
    /// The type's name, such as `Conv2d`.
    pub kind: &'static str,
    /// The shape of its last output; `None` if no layer of the library computed it.
    pub output: Option<Shape>,
    /// Elements of its own parameters and those of the modules inside; a tied parameter counts where it is met first.
    pub parameters: usize,
    /// Those of them that are frozen.
    pub frozen: usize,
    /// Multiplications and additions of its convolutions and linear maps, and of those inside.
    pub flops: u64,
    /// Bytes of its outputs and of those of the modules inside.
    pub output_bytes: u64,
    /// How often it ran.
    pub calls: usize,
    depth: usize,
}

/// The modules of a model in the order of the walk; see [`summary`]. Displays as a tree.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// One row per module, the model first.
    pub rows: Vec<Row>,
    /// Bytes of all parameters and buffers.
    pub state_bytes: u64,
    /// The most that the device held for tensors at once during `forward`, beyond what it held before.
    pub peak_bytes: u64,
}

/// Runs `forward` once, as in evaluation, and tells what the model is made of; the model stays as it is. Layers of this
/// library report themselves; a module of yours
/// appears with the sums of what is inside it. Arithmetic is counted for convolutions and linear layers, where it is: a
/// multiplication and an addition are two.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// # use minitorch_nn::{Linear, Module, Relu, Sequential, summary};
/// let device = device();
/// let mlp = Sequential::new().push(Linear::new(2, 8, &device)).push(Relu).push(Linear::new(8, 1, &device));
/// let summary = summary(&mlp, |mlp| mlp.forward(&Tensor::zeros([4, 2], &device)));
/// assert_eq!((summary.rows[0].parameters, summary.rows[0].flops), (33, 2 * 4 * (2 * 8 + 8 * 1)));
/// println!("{summary}");
/// ```
///
/// Prints
/// ```text
/// module          output   parameters     flops  output bytes
/// Sequential                       33     192 F         272 B
/// ├─ 0: Linear    [4, 8]           24     128 F         128 B
/// ├─ 1: Relu      [4, 8]                                128 B
/// └─ 2: Linear    [4, 1]            9      64 F          16 B
/// state 132 B; the forward pass held up to ... B
/// ```
pub fn summary<B: Backend, M: Module<B> + ?Sized, R>(model: &M, forward: impl FnOnce(&M) -> R) -> Summary {
    let mut rows: Vec<Row> = Vec::new();
    let mut addresses = Vec::new();
    let (mut state_bytes, mut seen, mut device) = (0, Vec::new(), None);
    model.visit(&mut Path::default(), &mut |name, entry| {
        let (tensor, param) = match entry {
            Entry::Module { kind, address } => {
                let inside = |row: &Row| {
                    row.name.is_empty() || name.strip_prefix(&row.name).is_some_and(|rest| rest.starts_with('.'))
                };
                let depth = rows.iter().rfind(|row| inside(row)).map_or(0, |row: &Row| row.depth + 1);
                rows.push(Row::new(name, kind, depth));
                addresses.push(address);
                return;
            }
            Entry::Param(param) => (param.detach(), Some(param)),
            Entry::Buffer(buffer) => (buffer.get(), None),
            Entry::Training(_) => return,
        };
        device.get_or_insert_with(|| tensor.device().clone());
        if let Some(param) = param {
            if seen.contains(&param.id()) {
                return;
            }
            seen.push(param.id());
            // The owner is the module met last that the name lies in; a walk is depth first.
            let owner = rows.iter_mut().rfind(|row| row.name.is_empty() || name.starts_with(&format!("{}.", row.name)));
            if let Some(row) = owner {
                row.parameters += param.numel();
                row.frozen += if param.is_frozen() { param.numel() } else { 0 };
            }
        }
        state_bytes += (tensor.numel() * tensor.dtype().size()) as u64;
    });

    let before = device.as_ref().map_or(0, |device| {
        device.reset_peak_memory();
        device.memory().live
    });
    let listening = Listening { outer: LOG.replace(Some(Vec::new())) };
    let result = forward(model);
    let events = LOG.take().unwrap_or_default();
    drop(listening);
    let peak_bytes = device.map_or(0, |device| device.memory().peak.saturating_sub(before));
    drop(result);

    for event in events {
        // Layers without data may share an address: the one that ran least is next.
        let found = (0..rows.len()).filter(|&i| addresses[i] == event.address && rows[i].kind == event.kind);
        let Some(at) = found.min_by_key(|&i| rows[i].calls) else { continue };
        let row = &mut rows[at];
        row.output = Some(event.output);
        row.flops += event.flops;
        row.output_bytes += event.bytes;
        row.calls += 1;
    }
    // Inner rows stand after their owners: from the last to the first, each adds itself to its own.
    for i in (1..rows.len()).rev() {
        let Some(owner) = (0..i).rev().find(|&j| rows[j].depth < rows[i].depth) else { continue };
        let (front, back) = rows.split_at_mut(i);
        let (owner, row) = (&mut front[owner], &back[0]);
        owner.parameters += row.parameters;
        owner.frozen += row.frozen;
        owner.flops += row.flops;
        owner.output_bytes += row.output_bytes;
    }
    Summary { rows, state_bytes, peak_bytes }
}

impl Row {
    fn new(name: &str, kind: &'static str, depth: usize) -> Self {
        Row {
            name: name.into(),
            kind,
            output: None,
            parameters: 0,
            frozen: 0,
            flops: 0,
            output_bytes: 0,
            calls: 0,
            depth,
        }
    }
}

impl Summary {
    /// The lines that join a row to its owner, and its name and type.
    fn label(&self, i: usize) -> String {
        let row = &self.rows[i];
        if row.depth == 0 {
            return row.kind.to_string();
        }
        // At each level: does a later row stand on it, before one of a level above?
        let goes_on = |depth: usize| {
            let next = self.rows[i + 1..].iter().find(|later| later.depth <= depth);
            next.is_some_and(|later| later.depth == depth)
        };
        let mut label: String = (1..row.depth).map(|depth| if goes_on(depth) { "│  " } else { "   " }).collect();
        label += if goes_on(row.depth) { "├─ " } else { "└─ " };
        let owner = self.rows[..i].iter().rfind(|r| r.depth < row.depth).map_or(0, |r| r.name.len());
        label + row.name[owner..].trim_start_matches('.') + ": " + row.kind
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let blank_if = |zero: bool, text: String| if zero { String::new() } else { text };
        let mut lines = vec![["module", "output", "parameters", "flops", "output bytes"].map(String::from)];
        for (i, row) in self.rows.iter().enumerate() {
            let times = if row.calls > 1 { format!(" x{}", row.calls) } else { String::new() };
            let frozen = if row.frozen > 0 { format!(" ({} frozen)", row.frozen) } else { String::new() };
            lines.push([
                self.label(i) + &times,
                row.output.map_or(String::new(), |shape| format!("{shape:?}")),
                blank_if(row.parameters == 0, format!("{}{frozen}", row.parameters)),
                blank_if(row.flops == 0, scaled(row.flops, "F")),
                blank_if(row.output_bytes == 0, scaled(row.output_bytes, "B")),
            ]);
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        for [module, output, rest @ ..] in &lines {
            let mut line = format!("{module:<0$}  {output:<1$}", widths[0], widths[1]);
            for (cell, width) in rest.iter().zip(&widths[2..]) {
                line += &format!("  {cell:>width$}");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        let (state, peak) = (scaled(self.state_bytes, "B"), scaled(self.peak_bytes, "B"));
        write!(f, "state {state}; the forward pass held up to {peak}")
    }
}

/// `1234567` as `1.23 M`.
fn scaled(n: u64, unit: &str) -> String {
    let mut value = n as f64;
    for prefix in ["", "k", "M", "G"] {
        // 999.995 would be printed as 1000.00.
        if value < 999.995 {
            let digits = if prefix.is_empty() { 0 } else { 2 };
            return format!("{value:.digits$} {prefix}{unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.2} T{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Linear;
    use minitorch_conformance::doc::device;

    #[test]
    fn a_panic_in_forward_leaves_no_listener() {
        let model = Linear::new(1, 1, &device());
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            summary(&model, |_| -> () { panic!("no forward") });
        }));
        assert!(panic.is_err() && LOG.with_borrow(Option::is_none));
    }

    #[test]
    fn numbers_have_three_digits_before_the_point_at_most() {
        let printed = [999, 1000, 999_994, 999_995, 1_234_567, 999_999_999].map(|n| scaled(n, "B"));
        assert_eq!(printed, ["999 B", "1.00 kB", "999.99 kB", "1.00 MB", "1.23 MB", "1.00 GB"]);
    }
}
