//! A graph as an SVG picture.
//!
//! Operations are boxes from top to bottom. A leaf that only one operation uses, such as a layer's weight, is drawn at the right
//! of that operation, so that a network is a chain of its layers. A constant input is a dot at the left.

use super::GraphNode;
use super::layout::{BoxSize, Drawing, Edge, place};
use crate::autodiff::Value;
use std::fmt::Write;

/// The most nodes that are drawn; a larger picture is unreadable.
const MOST: usize = 400;
const MARGIN: f64 = 24.0;
const LINE: f64 = 16.0;
/// Between a box's edge and its text.
const PAD: f64 = 10.0;
/// Between an operation and its leaves, and between two of its leaves.
const LEAF_GAP: (f64, f64) = (22.0, 6.0);
/// Between two arrows into one box.
const PORT_GAP: f64 = 34.0;
const FONT: f64 = 13.0;
const SMALL: f64 = 11.5;
const GREY: &str = "#64748b";

/// The picture of the last [`MOST`] nodes.
pub(super) fn draw<V: Value>(nodes: &[GraphNode<V>]) -> String {
    let cut = nodes.len().saturating_sub(MOST);
    let note = match (cut, nodes.len()) {
        (_, 0) => Some("a constant: there is no tape behind it".to_string()),
        (0, _) => None,
        (cut, all) => Some(format!("the {MOST} nodes nearest to the output; {cut} of {all} are not drawn")),
    };
    let parts: Vec<Part> = nodes[cut..].iter().map(|node| Part::new(node, cut)).collect();
    Picture::arrange(parts).svg(note)
}

/// A node to draw.
struct Part {
    lines: Vec<String>,
    width: f64,
    height: f64,
    is_leaf: bool,
    /// The inputs among the parts.
    inputs: Vec<Input>,
}

#[derive(Clone, Copy, PartialEq)]
enum Input {
    Part(usize),
    Constant,
    /// A node of the graph that is not drawn.
    Cut,
}

impl Part {
    fn new<V: Value>(node: &GraphNode<V>, cut: usize) -> Self {
        let lines = node.lines();
        let wide = |(i, line): (usize, &String)| line.chars().count() as f64 * if i == 0 { 7.6 } else { 6.4 };
        let width = lines.iter().enumerate().map(wide).fold(36.0, f64::max) + 2.0 * PAD;
        let height = lines.len() as f64 * LINE + PAD;
        let inputs = node.inputs.iter().map(|input| match input {
            None => Input::Constant,
            Some(at) => at.checked_sub(cut).map_or(Input::Cut, Input::Part),
        });
        Part { lines, width, height, is_leaf: node.is_leaf, inputs: inputs.collect() }
    }

    fn drawn_inputs(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Part(at) => Some(*at),
            _ => None,
        })
    }
}

/// The parts and their positions.
struct Picture {
    parts: Vec<Part>,
    /// The leaves that are drawn beside each part.
    leaves: Vec<Vec<usize>>,
    /// The parts that are not drawn beside another one.
    placed: Vec<usize>,
    boxes: Vec<BoxSize>,
    drawing: Drawing,
    body: String,
}

impl Picture {
    fn arrange(parts: Vec<Part>) -> Self {
        let mut users = vec![Vec::new(); parts.len()];
        for (at, part) in parts.iter().enumerate() {
            part.drawn_inputs().for_each(|from| users[from].push(at));
        }
        let mut leaves = vec![Vec::new(); parts.len()];
        let mut placed = Vec::new();
        let mut place_of = vec![None; parts.len()];
        for (at, part) in parts.iter().enumerate() {
            match users[at][..] {
                [user] if part.is_leaf => leaves[user].push(at),
                _ => {
                    place_of[at] = Some(placed.len());
                    placed.push(at);
                }
            }
        }
        let size = |&at: &usize| {
            let beside = leaves[at].iter().map(|&leaf| &parts[leaf]);
            let wide = beside.map(|leaf| leaf.width + LEAF_GAP.0).fold(0.0, f64::max);
            let half = parts[at].width / 2.0;
            BoxSize { left: half, right: half + wide, height: parts[at].height.max(stack(&parts, &leaves[at])) }
        };
        let boxes: Vec<BoxSize> = placed.iter().map(size).collect();
        let edges = placed.iter().enumerate().flat_map(|(to, &at)| {
            let from = parts[at].drawn_inputs().filter_map(|from| place_of[from]);
            from.map(move |from| (from, to)).collect::<Vec<_>>()
        });
        let drawing = place(&boxes, &edges.collect::<Vec<_>>());
        Picture { parts, leaves, placed, boxes, drawing, body: String::new() }
    }

    fn svg(mut self, note: Option<String>) -> String {
        let top = MARGIN + if note.is_some() { LINE + 6.0 } else { 0.0 };
        for edge in std::mem::take(&mut self.drawing.edges).iter() {
            self.edge(edge, top);
        }
        for place in 0..self.placed.len() {
            self.node(place, top);
        }
        let legend = self.parts.iter().any(|part| part.inputs.contains(&Input::Constant));
        let bottom = top + self.drawing.height;
        let constant = legend.then(|| "a dot is an input without a gradient".to_string());
        let texts = [(MARGIN + FONT / 2.0, note), (bottom + 30.0, constant)];
        let mut wide = self.drawing.width + 2.0 * MARGIN;
        for (y, text) in texts {
            let Some(text) = text else { continue };
            wide = wide.max(text.len() as f64 * 6.8 + 2.0 * MARGIN);
            let style = format!("font-size=\"{SMALL}\" text-anchor=\"start\" fill=\"{GREY}\"");
            let _ = writeln!(self.body, "<text x=\"{MARGIN}\" y=\"{y:.1}\" {style}>{text}</text>");
        }
        let high = bottom + MARGIN + if legend { 16.0 } else { 0.0 };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" \
             viewBox=\"0 0 {wide:.0} {high:.0}\" font-family=\"Helvetica, Arial, sans-serif\" text-anchor=\"middle\">\n\
             <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"{GREY}\"/></marker></defs>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body
        )
    }

    /// The top middle of a placed part's box, which stands at half the height of its leaves.
    fn anchor(&self, place: usize, top: f64) -> (f64, f64) {
        let (x, y) = self.drawing.nodes[place];
        (x + MARGIN, y + top + (self.boxes[place].height - self.parts[self.placed[place]].height) / 2.0)
    }

    /// An arrow from one box to the next, through its bends.
    fn edge(&mut self, edge: &Edge, top: f64) {
        let (from, to) = (&self.parts[self.placed[edge.from]], &self.parts[self.placed[edge.to]]);
        let (x, y) = self.anchor(edge.from, top);
        let mut last = (x, y + from.height);
        let mut path = format!("M{:.1} {:.1}", last.0, last.1);
        let mut curve = |x: f64, y: f64| {
            let middle = (last.1 + y) / 2.0;
            let _ = write!(path, "C{:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}", last.0);
            last = (x, y);
        };
        for &(x, above, below) in &edge.bends {
            curve(x + MARGIN, above + top);
            curve(x + MARGIN, below + top);
        }
        // Several arrows into one box end side by side, in the order of their origins.
        let (port, of) = edge.port;
        let (to_x, to_y) = self.anchor(edge.to, top);
        let spread = (to.width - 2.0 * PAD).min(PORT_GAP * (of as f64 - 1.0));
        let x = if of > 1 { to_x - spread / 2.0 + spread * port as f64 / (of as f64 - 1.0) } else { to_x };
        curve(x, to_y - 1.0);
        // The number of the argument, on the side that the arrow does not come from.
        let source = self.placed[edge.from];
        let arguments = to.inputs.iter().enumerate().filter(|(_, input)| **input == Input::Part(source));
        let arguments: Vec<String> = arguments.map(|(number, _)| number.to_string()).collect();
        let label = (of > 1 || arguments.len() > 1).then(|| {
            let side = if edge.came_from + MARGIN <= x { 9.0 } else { -9.0 };
            let (x, y) = (x + side, to_y - 6.0);
            format!("<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"10\" fill=\"{GREY}\">{}</text>\n", arguments.join(","))
        });
        let style = format!("fill=\"none\" stroke=\"{GREY}\" stroke-width=\"1.3\" marker-end=\"url(#arrow)\"");
        let _ = writeln!(self.body, "<path d=\"{path}\" {style}/>");
        self.body.push_str(&label.unwrap_or_default());
    }

    /// A box with the leaves at its right and the constants at its left.
    fn node(&mut self, place: usize, top: f64) {
        let at = self.placed[place];
        let (x, y) = self.anchor(place, top);
        let (half, high) = (self.parts[at].width / 2.0, self.parts[at].height);
        let middle = y + high / 2.0;
        let leaves = self.leaves[at].clone();
        let mut leaf_y = middle - stack(&self.parts, &leaves) / 2.0;
        for leaf in leaves {
            let left = x + half + LEAF_GAP.0;
            let from_y = leaf_y + self.parts[leaf].height / 2.0;
            let to_y = (middle + (from_y - middle) * 0.4).clamp(y + 6.0, y + high - 6.0);
            let line = format!("M{left:.1} {from_y:.1}L{:.1} {to_y:.1}", x + half);
            let _ = writeln!(self.body, "<path d=\"{line}\" fill=\"none\" stroke=\"#b45309\" stroke-width=\"1.2\"/>");
            self.block(leaf, left + self.parts[leaf].width / 2.0, leaf_y);
            leaf_y += self.parts[leaf].height + LEAF_GAP.1;
        }
        let constants = self.parts[at].inputs.iter().filter(|input| **input == Input::Constant).count();
        for number in 0..constants {
            let dot = y + high * (number as f64 + 1.0) / (constants as f64 + 1.0);
            let left = x - half;
            let _ = writeln!(
                self.body,
                "<path d=\"M{:.1} {dot:.1}H{left:.1}\" stroke=\"{GREY}\"/>\
                 <circle cx=\"{:.1}\" cy=\"{dot:.1}\" r=\"3\" fill=\"{GREY}\"/>",
                left - 12.0,
                left - 14.0
            );
        }
        self.block(at, x, y);
    }

    /// A part's box with its top middle at (x, y).
    fn block(&mut self, at: usize, x: f64, y: f64) {
        let Part { lines, width, height, is_leaf, .. } = &self.parts[at];
        let (fill, stroke, radius) = match (is_leaf, at + 1 == self.parts.len()) {
            (true, _) => ("#fef3c7", "#b45309", 16.0),
            (_, true) => ("#dcfce7", "#15803d", 5.0),
            _ => ("#eff6ff", "#1d4ed8", 5.0),
        };
        let _ = writeln!(
            self.body,
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\" fill=\"{fill}\" \
             stroke=\"{stroke}\"/>",
            x - width / 2.0
        );
        for (i, line) in lines.iter().enumerate() {
            let (size, weight, color) = if i == 0 { (FONT, 600, "#0f172a") } else { (SMALL, 400, "#475569") };
            let text = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let y = y + PAD / 2.0 + LINE * i as f64 + 12.0;
            let _ = writeln!(
                self.body,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" font-weight=\"{weight}\" fill=\"{color}\">{text}</text>"
            );
        }
    }
}

/// The height of leaves that are stacked.
fn stack(parts: &[Part], leaves: &[usize]) -> f64 {
    let heights: f64 = leaves.iter().map(|&leaf| parts[leaf].height + LEAF_GAP.1).sum();
    (heights - LEAF_GAP.1).max(0.0)
}
