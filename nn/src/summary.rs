//! A model as a table: its modules as a tree, with output shapes, parameters, arithmetic and memory.
//!
//! ```text
//! rows    = modules of a walk, in order; each parameter counts for the innermost module around it
//! outputs = one recorded forward pass (observe.rs), matched to the rows by type and address
//! sums    = every row plus the rows below it
//! ```

use crate::module::{Entry, Module, Path};
use crate::observe::{self, Identity};
use minitorch_core::{Backend, Shape};
use std::fmt;

/// One module of a [`Summary`].
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The dotted name; empty for the model.
    pub name: String,
    /// The type's name, such as `Conv2d`.
    pub kind: &'static str,
    /// The shape of its last output; `None` if it is no layer of the library, or did not run.
    pub output: Option<Shape>,
    /// Elements of its parameters and of those inside it; a tied parameter counts at its first occurrence.
    pub parameters: usize,
    /// The frozen ones among them.
    pub frozen: usize,
    /// Multiplications and additions of the convolutions and linear layers in it.
    pub flops: u64,
    /// Bytes of its outputs and of those of the modules inside it.
    pub output_bytes: u64,
    /// How many times it ran.
    pub calls: usize,
    depth: usize,
}

/// The modules of a model in the order of the walk; see [`summary`]. `Display` prints a tree.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// One row per module, the model first.
    pub rows: Vec<Row>,
    /// Bytes of all parameters and buffers.
    pub state_bytes: u64,
    /// Peak of tensor memory on the device during `forward`, beyond what was live before.
    pub peak_bytes: u64,
}

/// Runs `forward` once, in evaluation mode, and returns a table of the model's modules. The model is not changed.
///
/// Layers of this library have an output shape and a call count; a user's module has the sums of the modules inside it.
/// Arithmetic is counted for convolutions and linear layers: a multiplication and an addition are two operations.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
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
    let mut path = Path::recording();
    let mut tensors = Vec::new();
    model.visit(&mut path, &mut |name, entry| match entry {
        Entry::Param(param) => tensors.push((name.to_string(), param.detach(), Some(param))),
        Entry::Buffer(buffer) => tensors.push((name.to_string(), buffer.get(), None)),
        Entry::Training(_) => {}
    });
    let mut rows: Vec<Row> = Vec::new();
    let mut identities: Vec<Identity> = Vec::new();
    for module in path.into_modules() {
        let depth = rows.iter().rfind(|row| row.contains(&module.name)).map_or(0, |row| row.depth + 1);
        rows.push(Row::new(module.name, module.identity.kind(), depth));
        identities.push(module.identity);
    }
    let (mut state_bytes, mut seen) = (0, Vec::new());
    for (name, tensor, param) in &tensors {
        if let Some(param) = param {
            if seen.contains(&param.id()) {
                continue;
            }
            seen.push(param.id());
            // Of nested modules the last row is the innermost.
            if let Some(row) = rows.iter_mut().rfind(|row| row.contains(name)) {
                row.parameters += param.numel();
                row.frozen += if param.is_frozen() { param.numel() } else { 0 };
            }
        }
        state_bytes += (tensor.numel() * tensor.dtype().size()) as u64;
    }
    let device = tensors.first().map(|(_, tensor, _)| tensor.device().clone());
    drop(tensors);

    let before = device.as_ref().map_or(0, |device| {
        device.reset_peak_memory();
        device.memory().live
    });
    let (result, events) = observe::record(|| forward(model));
    let peak_bytes = device.map_or(0, |device| device.memory().peak.saturating_sub(before));
    drop(result);

    for event in events {
        // Layers without data can share an identity: the one with the fewest calls is next.
        let candidates = (0..rows.len()).filter(|&i| identities[i] == event.layer);
        let Some(at) = candidates.min_by_key(|&i| rows[i].calls) else { continue };
        let row = &mut rows[at];
        row.output = Some(event.output);
        row.flops += event.flops;
        row.output_bytes += event.bytes;
        row.calls += 1;
    }
    // A row follows its parent, so from the last row to the first each adds its own sums to its parent's.
    for i in (1..rows.len()).rev() {
        let Some(parent) = (0..i).rev().find(|&j| rows[j].depth < rows[i].depth) else { continue };
        let (front, back) = rows.split_at_mut(i);
        let (parent, row) = (&mut front[parent], &back[0]);
        parent.parameters += row.parameters;
        parent.frozen += row.frozen;
        parent.flops += row.flops;
        parent.output_bytes += row.output_bytes;
    }
    Summary { rows, state_bytes, peak_bytes }
}

impl Row {
    fn new(name: String, kind: &'static str, depth: usize) -> Self {
        Row { name, kind, output: None, parameters: 0, frozen: 0, flops: 0, output_bytes: 0, calls: 0, depth }
    }

    /// Whether an entry of this name is inside the module.
    fn contains(&self, name: &str) -> bool {
        self.name.is_empty() || name.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with('.'))
    }
}

impl Summary {
    /// The branch of the tree, the name below the parent, and the type.
    fn label(&self, i: usize) -> String {
        let row = &self.rows[i];
        if row.depth == 0 {
            return row.kind.to_string();
        }
        // Whether a later sibling follows, before a row of a lower depth.
        let has_sibling = |depth: usize| {
            let next = self.rows[i + 1..].iter().find(|later| later.depth <= depth);
            next.is_some_and(|later| later.depth == depth)
        };
        let mut label: String = (1..row.depth).map(|depth| if has_sibling(depth) { "│  " } else { "   " }).collect();
        label += if has_sibling(row.depth) { "├─ " } else { "└─ " };
        let parent = self.rows[..i].iter().rfind(|r| r.depth < row.depth).map_or(0, |r| r.name.len());
        label + row.name[parent..].trim_start_matches('.') + ": " + row.kind
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

    #[test]
    fn numbers_have_three_digits_before_the_point_at_most() {
        let printed = [999, 1000, 999_994, 999_995, 1_234_567, 999_999_999].map(|n| scaled(n, "B"));
        assert_eq!(printed, ["999 B", "1.00 kB", "999.99 kB", "1.00 MB", "1.23 MB", "1.00 GB"]);
    }
}
