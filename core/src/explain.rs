//! `Explanation`: how a tensor's elements lie in its storage, as text and as a picture.

mod svg;

use crate::backend::Backend;
use crate::display::brief_number;
use crate::layout::Layout;

use crate::shape::Shape;
use crate::tensor::Tensor;
use std::fmt;

/// Storages and tensors of more elements are not listed element by element.
const SMALL: usize = 64;

/// The result of [`Tensor::explain`]. Its `Display`:
///
/// ```text
/// Tensor [3, 2] of float32 on Cpu
/// strides     [1, 3]: a step along dimension 0 moves 1 element on, along 1 moves 3
/// offset      0: the first element is the storage's position 0
/// contiguous  no: dimension 1 has stride 3, row-major order wants 1
/// storage     0x5581e0: 6 elements, 24 bytes, held by 2 tensors
///
/// position  0      1      2      3      4      5
/// value     1      2      3      4      5      6
/// index     [0,0]  [1,0]  [2,0]  [0,1]  [1,1]  [2,1]
/// ```
///
/// Element `[i, j]` lies at position `offset + i * strides[0] + j * strides[1]`. A position that no index reaches, outside of a
/// slice, has a `-`; one that several indices reach, where a stride is 0, has the first one and their number. Two tensors share a
/// storage if its addresses are equal; see also [`Tensor::shares_storage`].
pub struct Explanation {
    title: String,
    layout: Layout,
    address: usize,
    holders: usize,
    len: usize,
    bytes: usize,
    strip: Strip,
}

/// The storage, position by position.
enum Strip {
    /// The values, and the indices that reach each position in row-major order.
    Shown(Vec<(String, Vec<String>)>),
    /// The reason why it is not listed.
    Hidden(String),
}

impl Explanation {
    pub(crate) fn of<B: Backend>(x: &Tensor<B>) -> Self {
        let layout = *x.layout();
        let (address, holders) = x.storage_identity();
        let storage = x.whole_storage();
        let len = storage.numel();
        let tape = match x.is_tracked() {
            true => ", on the tape",
            false => "",
        };
        let title = format!("Tensor {:?} of {} on {:?}{tape}", x.shape(), x.dtype(), x.device());
        let strip = if len > SMALL || x.numel() > SMALL {
            Strip::Hidden(format!(
                "(of up to {SMALL} elements, the storage is shown position by position; here it has {len}, and the tensor {})",
                x.numel()
            ))
        } else {
            match x.device().download(storage.view()) {
                Ok(data) => {
                    let mut strip: Vec<_> =
                        data.into_f64().into_iter().map(|v| (brief_number(v, 4), Vec::new())).collect();
                    for (index, position) in indices(&layout).zip(layout.positions()) {
                        strip[position].1.push(index);
                    }
                    Strip::Shown(strip)
                }
                Err(error) => Strip::Hidden(format!("(the storage cannot be read: {error})")),
            }
        };
        Explanation { title, layout, address, holders, len, bytes: len * x.dtype().size(), strip }
    }

    /// Why the layout is not contiguous; `None` if it is.
    fn gap(&self) -> Option<String> {
        let (shape, strides) = (self.layout.shape(), self.layout.strides());
        if self.layout.is_contiguous() {
            return None;
        }
        let mut step = 1;
        for d in (0..shape.len()).rev() {
            if shape[d] != 1 && strides[d] != step {
                return Some(format!("dimension {d} has stride {}, row-major order wants {step}", strides[d]));
            }
            step *= shape[d];
        }
        None
    }

    /// A self-contained SVG: the tensor as tables of its last two dimensions, and the storage as a strip below, both coloured by
    /// position. For a large tensor only the text.
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }
}

/// All indices of a layout in row-major order, as `[1,0]`.
fn indices(layout: &Layout) -> impl Iterator<Item = String> {
    let shape: Shape = *layout.shape();
    (0..layout.numel()).map(move |ordinal| {
        let mut rest = ordinal;
        let mut index = vec![0; shape.len()];
        for d in (0..shape.len()).rev() {
            index[d] = rest % shape[d];
            rest /= shape[d];
        }
        let digits: Vec<String> = index.iter().map(usize::to_string).collect();
        format!("[{}]", digits.join(","))
    })
}

/// The indices that reach a position, abbreviated.
fn reached_by(indices: &[String]) -> String {
    match indices {
        [] => "-".into(),
        [only] => only.clone(),
        [first, ..] => format!("{first} x{}", indices.len()),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let elements = |n: usize| if n == 1 { "1 element".to_string() } else { format!("{n} elements") };
        writeln!(f, "{}", self.title)?;
        let strides = self.layout.strides();
        write!(f, "strides     {strides:?}")?;
        let steps = strides.iter().enumerate().map(|(d, &stride)| match (d, stride) {
            (_, 0) => format!("{d} stays in place"),
            (0, _) => format!("0 moves {} on", elements(stride)),
            _ => format!("{d} moves {stride}"),
        });
        let steps: Vec<String> = steps.collect();
        write!(f, "{}{}", if steps.is_empty() { "" } else { ": a step along dimension " }, steps.join(", along "))?;
        let offset = self.layout.offset();
        writeln!(f, "\noffset      {offset}: the first element is the storage's position {offset}")?;
        match self.gap() {
            None => writeln!(f, "contiguous  yes: row-major order without gaps")?,
            Some(gap) => writeln!(f, "contiguous  no: {gap}")?,
        }
        let held = if self.holders == 1 { "this tensor alone".into() } else { format!("{} tensors", self.holders) };
        writeln!(f, "storage     {:#x}: {}, {} bytes, held by {held}", self.address, elements(self.len), self.bytes)?;
        let strip = match &self.strip {
            Strip::Shown(strip) => strip,
            Strip::Hidden(why) => return writeln!(f, "\n{why}"),
        };
        // As many positions per line as fit into 100 columns.
        let cells: Vec<[String; 3]> = strip
            .iter()
            .enumerate()
            .map(|(position, (value, indices))| [position.to_string(), value.clone(), reached_by(indices)])
            .collect();
        let width = cells.iter().flatten().map(String::len).max().unwrap_or(1);
        for line in cells.chunks((90 / (width + 2)).max(1)) {
            writeln!(f)?;
            for (row, label) in ["position", "value", "index"].into_iter().enumerate() {
                let text: Vec<String> = line.iter().map(|cell| format!("{:width$}", cell[row])).collect();
                writeln!(f, "{}", format!("{label:8}  {}", text.join("  ")).trim_end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_run_last_dimension_first() {
        let layout = Layout::contiguous([2, 1, 3]).transpose(0, 2);
        let all: Vec<String> = indices(&layout).collect();
        assert_eq!(all, ["[0,0,0]", "[0,0,1]", "[1,0,0]", "[1,0,1]", "[2,0,0]", "[2,0,1]"]);
        assert_eq!(indices(&Layout::contiguous([])).collect::<Vec<_>>(), ["[]"]);
        assert_eq!(indices(&Layout::contiguous([0, 2])).count(), 0);
    }
}
