//! Printing tensors as PyTorch does: aligned numbers, four decimals, large tensors shown by their edges.

use crate::backend::Backend;
use crate::dtype::{DType, HostData};
use crate::tensor::Tensor;
use std::fmt;

/// Tensors of more elements show [`EDGE`] entries at both ends of each dimension.
const SUMMARIZE_ABOVE: usize = 1000;
const EDGE: usize = 3;
const LINE_WIDTH: usize = 80;

impl<B: Backend> fmt::Debug for Tensor<B> {
    /// Shape, dtype and device; reads no data.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let tape = if self.is_tracked() { ", tracked" } else { "" };
        write!(f, "Tensor({:?}, {}, {:?}{tape})", self.shape(), self.dtype(), self.device())
    }
}

impl<B: Backend> fmt::Display for Tensor<B> {
    /// The elements; `{:.2}` sets the decimals (default 4). Reads the data from the device; an error is printed instead.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let dtype = match self.dtype() {
            DType::F16 => ", dtype=float16",
            DType::F64 => ", dtype=float64",
            _ => "",
        };
        if self.numel() == 0 {
            return write!(f, "tensor([], shape={:?}{dtype})", self.shape());
        }
        let summarize = self.numel() > SUMMARIZE_ABOVE;
        let cells = match self.edges(summarize) {
            Ok(cells) => format_cells(cells, f.precision().unwrap_or(4)),
            Err(error) => return write!(f, "tensor(unreadable: {error}, shape={:?}{dtype})", self.shape()),
        };
        let width = cells.iter().map(String::len).max().unwrap_or(0);
        let mut text = String::from("tensor(");
        let shape: Vec<Dim> = self.shape().iter().map(|&n| Dim::new(n, summarize)).collect();
        nest(&mut text, &shape, &mut cells.iter(), width, "tensor(".len());
        f.write_str(&text)?;
        write!(f, "{dtype})")
    }
}

/// A dimension as printed: the number of entries, and the number of entries before the "...".
struct Dim {
    shown: usize,
    gap: Option<usize>,
}

impl Dim {
    fn new(size: usize, summarize: bool) -> Self {
        if summarize && size > 2 * EDGE {
            Dim { shown: 2 * EDGE, gap: Some(EDGE) }
        } else {
            Dim { shown: size, gap: None }
        }
    }
}

impl<B: Backend> Tensor<B> {
    /// Up to four elements; for more the mean and the extremes; an error if they cannot be read.
    pub(crate) fn in_brief(&self) -> String {
        let values = match self.device().download(self.view()) {
            Ok(data) => data.into_f64(),
            Err(error) => return format!("unreadable: {error}"),
        };
        match &values[..] {
            [only] if self.rank() == 0 => brief_number(*only, 4),
            few if few.len() <= 4 => {
                format!("[{}]", few.iter().map(|&x| brief_number(x, 4)).collect::<Vec<_>>().join(", "))
            }
            many => {
                let mean = many.iter().sum::<f64>() / many.len() as f64;
                // `f64::min` and `max` would drop a NaN.
                let extreme = |better: fn(f64, f64) -> bool| {
                    many.iter()
                        .copied()
                        .reduce(|a, b| if a.is_nan() || better(a, b) { a } else { b })
                        .unwrap_or(f64::NAN)
                };
                let (least, most) = (extreme(|a, b| a < b), extreme(|a, b| a > b));
                let [mean, least, most] = [mean, least, most].map(|x| brief_number(x, 2));
                format!("{least} to {most}, mean {mean}")
            }
        }
    }

    /// Reads the elements that are printed, without the others.
    fn edges(&self, summarize: bool) -> crate::Result<HostData> {
        let mut shown = self.detach();
        if summarize {
            for d in 0..self.rank() {
                let size = shown.shape()[d];
                if size > 2 * EDGE {
                    let ends = [shown.narrow(d as isize, 0, EDGE), shown.narrow(d as isize, size - EDGE, EDGE)];
                    shown = Tensor::cat(&ends, d as isize);
                }
            }
        }
        self.device().download(shown.view())
    }
}

fn format_cells(data: HostData, precision: usize) -> Vec<String> {
    match data {
        HostData::I32(v) => v.iter().map(i32::to_string).collect(),
        HostData::Bool(v) => v.iter().map(bool::to_string).collect(),
        HostData::F16(v) => format_floats(&v.into_iter().map(f64::from).collect::<Vec<_>>(), precision),
        HostData::F32(v) => format_floats(&v.iter().map(|&x| x as f64).collect::<Vec<_>>(), precision),
        HostData::F64(v) => format_floats(&v, precision),
    }
}

/// One format for all: whole numbers as `3.`, a range too wide for decimals as `1.0000e+08`, else fixed decimals.
fn format_floats(values: &[f64], precision: usize) -> Vec<String> {
    let finite = || values.iter().copied().filter(|x| x.is_finite() && *x != 0.0).map(f64::abs);
    let (least, most) = (finite().fold(f64::INFINITY, f64::min), finite().fold(0.0, f64::max));
    let whole = values.iter().all(|x| !x.is_finite() || x.fract() == 0.0);
    let scientific = most > 1e8 || most / least > 1e3 || (!whole && least < 1e-4);
    let form = |x: f64| match x {
        x if x.is_nan() => "nan".to_string(),
        x if x.is_infinite() => if x > 0.0 { "inf" } else { "-inf" }.to_string(),
        x if scientific => exponent(x, precision),
        x if whole => format!("{x:.0}."),
        x => format!("{x:.precision$}"),
    };
    values.iter().map(|&x| form(x)).collect()
}

/// `1.5000e-05`: Rust writes `1.5000e-5`.
fn exponent(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// A number with a few significant digits, for pictures.
pub(crate) fn brief_number(x: f64, digits: i32) -> String {
    let magnitude = x.abs();
    if x == 0.0 || !x.is_finite() {
        format!("{x}")
    } else if (1e-3..1e5).contains(&magnitude) {
        let decimals = (digits - 1 - magnitude.log10().floor() as i32).max(0) as usize;
        let text = format!("{x:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
    } else {
        format!("{x:.*e}", (digits as usize).saturating_sub(2))
    }
}

/// Writes one level of brackets and recurses; cells are in row-major order.
fn nest<'a>(
    text: &mut String,
    dims: &[Dim],
    cells: &mut impl Iterator<Item = &'a String>,
    width: usize,
    indent: usize,
) {
    let Some((dim, inner)) = dims.split_first() else {
        let cell = cells.next().map_or("", String::as_str);
        text.push_str(&format!("{cell:>width$}"));
        return;
    };
    let next_line = format!("{}{}", "\n".repeat(inner.len().max(1)), " ".repeat(indent + 1));
    let per_line = if inner.is_empty() { ((LINE_WIDTH.saturating_sub(indent)) / (width + 2)).max(1) } else { 1 };
    let mut written = 0;
    let mut separate = |text: &mut String| {
        match written {
            0 => {}
            n if n % per_line == 0 => text.push_str(&format!(",{next_line}")),
            _ => text.push_str(", "),
        }
        written += 1;
    };
    text.push('[');
    for i in 0..dim.shown {
        if dim.gap == Some(i) {
            separate(text);
            text.push_str(if inner.is_empty() { " ..." } else { "..." });
        }
        separate(text);
        nest(text, inner, cells, width, indent + 1);
    }
    text.push(']');
}

#[cfg(test)]
mod tests {
    use super::{exponent, format_floats};

    #[test]
    fn numbers_take_the_form_that_fits_all() {
        assert_eq!(format_floats(&[1.0, -2.0, 0.0], 4), ["1.", "-2.", "0."]);
        assert_eq!(format_floats(&[1.5, -2.0], 4), ["1.5000", "-2.0000"]);
        assert_eq!(format_floats(&[1e-5, 1.0], 4), ["1.0000e-05", "1.0000e+00"]);
        assert_eq!(format_floats(&[f64::NAN, f64::NEG_INFINITY, 2.0], 4), ["nan", "-inf", "2."]);
        assert_eq!(exponent(-1.25e12, 2), "-1.25e+12");
    }
}
