//! A tensor and its storage as an SVG picture. Every element has the colour of its position.

use super::{Explanation, Strip, reached_by};
use std::fmt::Write;

const MARGIN: f64 = 24.0;
const CELL: (f64, f64) = (58.0, 34.0);
const GAP: f64 = 26.0;
/// Positions per line of the storage.
const PER_LINE: usize = 12;

pub(super) fn draw(explanation: &Explanation) -> String {
    let text = explanation.to_string();
    let facts: Vec<&str> = text.lines().take(5).collect();
    let mut picture = Picture { body: String::new(), width: 0.0, y: MARGIN };
    for (i, line) in facts.iter().enumerate() {
        let (label, rest) = if i == 0 { ("", *line) } else { line.split_at(12.min(line.len())) };
        picture.line(label, rest, i == 0);
    }
    match &explanation.strip {
        Strip::Hidden(why) => picture.line("", why, false),
        Strip::Shown(strip) => {
            picture.tensor(explanation, strip);
            picture.storage(strip);
        }
    }
    let (width, height) = (picture.width + MARGIN, picture.y + MARGIN);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"Helvetica, Arial, sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
        picture.body
    )
}

struct Picture {
    body: String,
    width: f64,
    y: f64,
}

impl Picture {
    fn text(&mut self, x: f64, y: f64, style: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>");
    }

    /// A line of the explanation's text.
    fn line(&mut self, label: &str, rest: &str, is_title: bool) {
        self.y += 18.0;
        let style =
            if is_title { "font-size=\"15\" font-weight=\"600\"" } else { "font-size=\"12.5\" fill=\"#334155\"" };
        self.text(MARGIN, self.y, "font-size=\"12.5\" font-weight=\"600\" fill=\"#334155\"", label.trim_end());
        self.text(MARGIN + if label.is_empty() { 0.0 } else { 84.0 }, self.y, style, rest);
        self.width = self.width.max(MARGIN + 84.0 + rest.len() as f64 * 6.4);
    }

    fn heading(&mut self, text: &str) {
        self.y += 34.0;
        self.text(MARGIN, self.y, "font-size=\"13\" font-weight=\"600\"", text);
        self.y += 12.0;
    }

    /// A cell with a value, and a smaller text in its lower half.
    fn cell(&mut self, (x, y): (f64, f64), color: &str, value: &str, below: &str) {
        let (w, h) = CELL;
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w}\" height=\"{h}\" fill=\"{color}\" stroke=\"#334155\" stroke-width=\"0.8\"/>"
        );
        self.text(x + w / 2.0, y + 15.0, "font-size=\"13\" text-anchor=\"middle\"", value);
        self.text(x + w / 2.0, y + 28.0, "font-size=\"9.5\" text-anchor=\"middle\" fill=\"#475569\"", below);
        self.width = self.width.max(x + w);
    }

    /// The tensor: one table of the last two dimensions for each index of the others.
    fn tensor(&mut self, explanation: &Explanation, strip: &[(String, Vec<String>)]) {
        let shape = explanation.layout.shape();
        self.heading(&format!("The tensor {shape:?}: value, and its position in the storage"));
        if shape.numel() == 0 {
            return self.line("", "no elements", false);
        }
        let columns = shape.last().copied().unwrap_or(1);
        let rows = if shape.len() >= 2 { shape[shape.len() - 2] } else { 1 };
        let positions: Vec<usize> = explanation.layout.positions().collect();
        let (mut x, mut y, leading) = (MARGIN, self.y, shape.len().saturating_sub(2));
        for (number, table) in positions.chunks(rows * columns).enumerate() {
            let wide = columns as f64 * CELL.0;
            if x > MARGIN && x + wide > 900.0 {
                (x, y) = (MARGIN, y + rows as f64 * CELL.1 + GAP);
            }
            if leading > 0 {
                let mut rest = number;
                let mut index = vec![0; leading];
                for d in (0..leading).rev() {
                    index[d] = rest % shape[d];
                    rest /= shape[d];
                }
                let digits: Vec<String> = index.iter().map(usize::to_string).collect();
                self.text(
                    x,
                    y + 12.0,
                    "font-size=\"11\" fill=\"#475569\"",
                    &format!("[{}, .., ..]", digits.join(", ")),
                );
            }
            let top = y + if leading > 0 { 18.0 } else { 0.0 };
            for (i, &position) in table.iter().enumerate() {
                let at = (x + (i % columns) as f64 * CELL.0, top + (i / columns) as f64 * CELL.1);
                self.cell(at, &color(position, strip.len()), &strip[position].0, &format!("at {position}"));
            }
            self.y = top + rows as f64 * CELL.1;
            x += wide + GAP;
        }
    }

    /// The storage: every position with its value and the indices that reach it.
    fn storage(&mut self, strip: &[(String, Vec<String>)]) {
        self.heading("The storage: position, value, and the index that reaches it");
        if strip.is_empty() {
            return self.line("", "no elements", false);
        }
        for (number, line) in strip.chunks(PER_LINE).enumerate() {
            for (i, (value, indices)) in line.iter().enumerate() {
                let position = number * PER_LINE + i;
                let x = MARGIN + i as f64 * CELL.0;
                let style = "font-size=\"10\" text-anchor=\"middle\" fill=\"#475569\"";
                self.text(x + CELL.0 / 2.0, self.y + 10.0, style, &position.to_string());
                let color = if indices.is_empty() { "#f1f5f9".into() } else { color(position, strip.len()) };
                self.cell((x, self.y + 14.0), &color, value, &reached_by(indices));
            }
            self.y += 14.0 + CELL.1 + 8.0;
        }
    }
}

/// A light colour for a position: from blue over green to orange.
fn color(position: usize, len: usize) -> String {
    let t = position as f64 / (len.max(2) - 1) as f64;
    let stops = [(191.0, 219.0, 254.0), (187.0, 247.0, 208.0), (254.0, 215.0, 170.0)];
    let (low, high, t) = if t < 0.5 { (stops[0], stops[1], 2.0 * t) } else { (stops[1], stops[2], 2.0 * t - 1.0) };
    let mix = |a: f64, b: f64| (a + (b - a) * t).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(low.0, high.0), mix(low.1, high.1), mix(low.2, high.2))
}
