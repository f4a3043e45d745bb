//! A graph as an SVG picture.
//!
//! Operations are boxes from top to bottom. A leaf that one operation alone uses, such as a layer's weight, stands at the right of
//! that operation; so a network reads as a chain of its layers.

use super::GraphNode;
use super::layout::{Extent, place};
use crate::autodiff::Value;
use std::fmt::Write;

/// Nodes that are drawn at most: a layered picture of more is too large to read.
const MOST: usize = 400;
const MARGIN: f64 = 24.0;
const LINE: f64 = 16.0;
const PAD: f64 = 10.0;
const LEAF_GAP: f64 = 22.0;
const FONT: f64 = 13.0;
const SMALL: f64 = 11.5;

/// A box with its lines of text.
struct Block {
    lines: Vec<String>,
    width: f64,
    height: f64,
}

impl Block {
    fn new<V: Value>(node: &GraphNode<V>) -> Self {
        let lines = node.lines();
        let wide = |(i, line): (usize, &String)| line.chars().count() as f64 * if i == 0 { 7.6 } else { 6.6 };
        let width = lines.iter().enumerate().map(wide).fold(36.0, f64::max) + 2.0 * PAD;
        let height = lines.len() as f64 * LINE + PAD;
        Block { lines, width, height }
    }
}

/// The picture of the last [`MOST`] nodes.
pub(super) fn draw<V: Value>(nodes: &[GraphNode<V>]) -> String {
    let cut = nodes.len().saturating_sub(MOST);
    let shown = &nodes[cut..];
    let input = |input: &Option<usize>| input.and_then(|at| at.checked_sub(cut));
    let blocks: Vec<Block> = shown.iter().map(Block::new).collect();

    // The one user of a leaf, if it has one.
    let mut users = vec![Vec::new(); shown.len()];
    for (at, node) in shown.iter().enumerate() {
        for from in node.inputs.iter().filter_map(input) {
            users[from].push(at);
        }
    }
    let beside = |at: usize| match users[at][..] {
        [user] if shown[at].is_leaf => Some(user),
        _ => None,
    };

    // Place what is not beside something.
    let mut place_of = vec![None; shown.len()];
    let mut placed = Vec::new();
    for at in 0..shown.len() {
        if beside(at).is_none() {
            place_of[at] = Some(placed.len());
            placed.push(at);
        }
    }
    let leaves_of = |at: usize| {
        let inputs = shown[at].inputs.iter().filter_map(input);
        inputs.filter(|&from| beside(from) == Some(at)).collect::<Vec<usize>>()
    };
    let extents: Vec<Extent> = placed
        .iter()
        .map(|&at| {
            let (half, leaves) = (blocks[at].width / 2.0, leaves_of(at));
            let wide = leaves.iter().map(|&leaf| blocks[leaf].width + LEAF_GAP).fold(0.0, f64::max);
            let stacked: f64 = leaves.iter().map(|&leaf| blocks[leaf].height + 6.0).sum();
            Extent { left: half, right: half + wide, height: blocks[at].height.max(stacked - 6.0) }
        })
        .collect();
    let edges: Vec<(usize, usize)> = placed
        .iter()
        .enumerate()
        .flat_map(|(to, &at)| {
            let inputs = shown[at].inputs.iter().filter_map(input).filter_map(|from| place_of[from]);
            inputs.map(move |from| (from, to)).collect::<Vec<_>>()
        })
        .collect();
    let placement = place(&extents, &edges);

    let note = match (cut, nodes.len()) {
        (_, 0) => Some("a constant: there is no tape behind it".to_string()),
        (0, _) => None,
        (cut, all) => Some(format!("the {MOST} nodes nearest to the output; {cut} of {all} are not drawn")),
    };
    let top = MARGIN + if note.is_some() { LINE + 6.0 } else { 0.0 };
    let wide = (placement.width + 2.0 * MARGIN).max(note.as_ref().map_or(0.0, |n| n.len() as f64 * 7.0 + 2.0 * MARGIN));
    let high = placement.height + top + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" viewBox=\"0 0 {wide:.0} {high:.0}\" \
         font-family=\"Helvetica, Arial, sans-serif\" text-anchor=\"middle\">\n\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" fill=\"#64748b\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    if let Some(note) = note {
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"{FONT}\" text-anchor=\"start\" fill=\"#64748b\">{note}</text>",
            MARGIN + FONT / 2.0
        );
    }
    let anchor = |place: usize| {
        let (x, y) = placement.nodes[place];
        let row = extents[place].height;
        // A box stands in the middle of its leaves.
        (x + MARGIN, y + top + (row - blocks[placed[place]].height) / 2.0)
    };
    for edge in &placement.edges {
        let (x, y) = anchor(edge.from);
        let mut path = format!("M{x:.1} {:.1}", y + blocks[placed[edge.from]].height);
        let mut last = (x, y + blocks[placed[edge.from]].height);
        let mut curve = |last: &mut (f64, f64), x: f64, y: f64| {
            let middle = (last.1 + y) / 2.0;
            let _ = write!(path, "C{:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}", last.0);
            *last = (x, y);
        };
        for &(x, from, to) in &edge.bends {
            curve(&mut last, x + MARGIN, from + top);
            curve(&mut last, x + MARGIN, to + top);
        }
        let (to_x, to_y) = anchor(edge.to);
        // Several edges into one box meet it side by side, in the order of where they come from.
        let mut into: Vec<f64> =
            placement.edges.iter().filter(|e| e.to == edge.to).map(|e| came_from(e, &placement)).collect();
        into.sort_by(f64::total_cmp);
        let rank = into.iter().position(|&x| x >= came_from(edge, &placement)).unwrap_or(0);
        let spread = (blocks[placed[edge.to]].width - 2.0 * PAD).min(22.0 * (into.len() as f64 - 1.0));
        let step = if into.len() > 1 { spread / (into.len() as f64 - 1.0) } else { 0.0 };
        let port = to_x - spread / 2.0 + step * rank as f64;
        curve(&mut last, port, to_y - 1.0);
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"#64748b\" stroke-width=\"1.3\" marker-end=\"url(#arrow)\"/>"
        );
        let arguments: Vec<String> = arguments(shown, placed[edge.to], placed[edge.from], &input);
        if shown[placed[edge.to]].inputs.len() > 1 {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10\" fill=\"#64748b\">{}</text>",
                port + 8.0,
                to_y - 9.0,
                arguments.join(", ")
            );
        }
    }
    for (place, &at) in placed.iter().enumerate() {
        let (x, y) = anchor(place);
        let leaves = leaves_of(at);
        let row: f64 = leaves.iter().map(|&leaf| blocks[leaf].height + 6.0).sum::<f64>() - 6.0;
        let mut leaf_y = y + blocks[at].height / 2.0 - row / 2.0;
        for &leaf in &leaves {
            let left = x + blocks[at].width / 2.0 + LEAF_GAP;
            let (from_y, to_y) = (leaf_y + blocks[leaf].height / 2.0, y + blocks[at].height / 2.0);
            let inner = (to_y + (from_y - to_y) * 0.4).clamp(y + 6.0, y + blocks[at].height - 6.0);
            let _ = writeln!(
                svg,
                "<path d=\"M{left:.1} {from_y:.1}L{:.1} {inner:.1}\" fill=\"none\" stroke=\"#b45309\" stroke-width=\"1.2\"/>",
                left - LEAF_GAP
            );
            block(&mut svg, &blocks[leaf], left + blocks[leaf].width / 2.0, leaf_y, Look::Leaf);
            leaf_y += blocks[leaf].height + 6.0;
        }
        // A constant is a dot at the left.
        let constants = shown[at].inputs.iter().filter(|input| input.is_none()).count();
        for number in 0..constants {
            let dot_y = y + blocks[at].height * (number as f64 + 1.0) / (constants as f64 + 1.0);
            let left = x - blocks[at].width / 2.0;
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {dot_y:.1}H{left:.1}\" stroke=\"#94a3b8\"/><circle cx=\"{:.1}\" cy=\"{dot_y:.1}\" r=\"3\" fill=\"#94a3b8\"><title>a constant</title></circle>",
                left - 12.0,
                left - 14.0
            );
        }
        let look = match (shown[at].is_leaf, at + 1 == shown.len()) {
            (true, _) => Look::Leaf,
            (_, true) => Look::Output,
            _ => Look::Operation,
        };
        block(&mut svg, &blocks[at], x, y, look);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where an edge comes from: its last bend, or its first node.
fn came_from(edge: &super::layout::Edge, placement: &super::layout::Placement) -> f64 {
    edge.bends.last().map_or(placement.nodes[edge.from].0, |bend| bend.0)
}

/// The positions among the arguments of `at` that come from the node `from`.
fn arguments<V: Value>(
    nodes: &[GraphNode<V>],
    at: usize,
    from: usize,
    input: &impl Fn(&Option<usize>) -> Option<usize>,
) -> Vec<String> {
    let all = nodes[at].inputs.iter().enumerate();
    all.filter(|(_, i)| input(i) == Some(from)).map(|(argument, _)| argument.to_string()).collect()
}

enum Look {
    Leaf,
    Operation,
    Output,
}

/// A box with its top middle at (x, y).
fn block(svg: &mut String, block: &Block, x: f64, y: f64, look: Look) {
    let (fill, stroke, radius) = match look {
        Look::Leaf => ("#fef3c7", "#b45309", block.height / 2.0),
        Look::Operation => ("#eff6ff", "#1d4ed8", 5.0),
        Look::Output => ("#dcfce7", "#15803d", 5.0),
    };
    let _ = writeln!(
        svg,
        "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{:.1}\" fill=\"{fill}\" stroke=\"{stroke}\"/>",
        x - block.width / 2.0,
        block.width,
        block.height,
        radius.min(16.0)
    );
    for (i, line) in block.lines.iter().enumerate() {
        let (size, weight, color) = if i == 0 { (FONT, "600", "#0f172a") } else { (SMALL, "400", "#475569") };
        let text = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"{size}\" font-weight=\"{weight}\" fill=\"{color}\">{text}</text>",
            y + PAD / 2.0 + LINE * i as f64 + 12.0
        );
    }
}
