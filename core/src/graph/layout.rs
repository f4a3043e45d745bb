//! Layered drawing of a directed acyclic graph: each node below its inputs, few crossings, straight chains.
//! Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", 1981.
//!
//! ```text
//! layer(v)  = 1 + the largest layer of v's inputs; of a node without inputs, the layer above its first user
//! an edge over several layers has a bend in each layer between
//! order     = sweeps down and up, each layer sorted by the mean position of its neighbours
//! x         = sweeps down and up, each node at the mean of its neighbours, pushed apart where boxes would overlap
//! ```

/// The space between neighbours of a layer, and between layers.
const GAP: f64 = 26.0;
const LAYER_GAP: f64 = 36.0;
const SWEEPS: usize = 12;

/// The box of a node: its extent to the left and right of the x at which edges arrive, and its height.
#[derive(Clone, Copy)]
pub(super) struct BoxSize {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) height: f64,
}

/// A placed edge.
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The bends: x, and the top and the bottom of the layer that it goes through there.
    pub(super) bends: Vec<(f64, f64, f64)>,
    /// The x of the last bend, or of the node that it comes from.
    pub(super) came_from: f64,
    /// Its position, from the left, among the edges that lead to the same node, and their number.
    pub(super) port: (usize, usize),
}

/// The placed graph.
pub(super) struct Drawing {
    /// For each node the x at which edges arrive, and the top of its box.
    pub(super) nodes: Vec<(f64, f64)>,
    pub(super) edges: Vec<Edge>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A node or a bend in its layer.
struct Slot {
    layer: usize,
    size: BoxSize,
    above: Vec<usize>,
    below: Vec<usize>,
    x: f64,
}

/// Places nodes that are in topological order. `edges` go from an earlier node to a later one; several between two nodes count
/// once.
pub(super) fn place(boxes: &[BoxSize], edges: &[(usize, usize)]) -> Drawing {
    let mut edges = edges.to_vec();
    edges.sort_unstable();
    edges.dedup();
    let layers = layers(boxes.len(), &edges);
    let slot = |layer, size| Slot { layer, size, above: Vec::new(), below: Vec::new(), x: 0.0 };
    let mut slots: Vec<Slot> = boxes.iter().zip(&layers).map(|(size, layer)| slot(*layer, *size)).collect();
    // The slots that each edge goes through, from its first node to its last.
    let mut routes = Vec::new();
    for &(from, to) in &edges {
        let mut route = vec![from];
        for layer in layers[from] + 1..layers[to] {
            route.push(slots.len());
            slots.push(slot(layer, BoxSize { left: 4.0, right: 4.0, height: 0.0 }));
        }
        route.push(to);
        for pair in route.windows(2) {
            slots[pair[0]].below.push(pair[1]);
            slots[pair[1]].above.push(pair[0]);
        }
        routes.push(route);
    }
    let depth = slots.iter().map(|slot| slot.layer + 1).max().unwrap_or(0);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); depth];
    for (at, slot) in slots.iter().enumerate() {
        rows[slot.layer].push(at);
    }
    order(&mut rows, &mut slots);
    align(&rows, &mut slots);
    // Heights, and the picture's left edge at 0.
    let left = slots.iter().map(|slot| slot.x - slot.size.left).fold(f64::INFINITY, f64::min).min(1e9);
    let width = slots.iter().map(|slot| slot.x + slot.size.right).fold(0.0, f64::max) - left;
    let mut tops = Vec::new();
    let mut y = 0.0;
    for row in &rows {
        let height = row.iter().map(|&at| slots[at].size.height).fold(0.0, f64::max);
        tops.push((y, y + height));
        y += height + LAYER_GAP;
    }
    let nodes = slots[..boxes.len()].iter().map(|slot| (slot.x - left, tops[slot.layer].0)).collect();
    let edges = routes.iter().zip(&edges).map(|(route, &(from, to))| {
        let inner = &route[1..route.len() - 1];
        let bend = |&at: &usize| (slots[at].x - left, tops[slots[at].layer].0, tops[slots[at].layer].1);
        let before = route[route.len() - 2];
        let mut into = slots[to].above.clone();
        into.sort_by(|&a, &b| slots[a].x.total_cmp(&slots[b].x));
        let port = into.iter().position(|&at| at == before).unwrap_or(0);
        Edge {
            from,
            to,
            bends: inner.iter().map(bend).collect(),
            came_from: slots[before].x - left,
            port: (port, into.len()),
        }
    });
    Drawing { nodes, edges: edges.collect(), width, height: (y - LAYER_GAP).max(0.0) }
}

/// The layer of every node.
fn layers(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut layers = vec![0; nodes];
    let mut is_source = vec![true; nodes];
    // Edges are sorted by their first node, and nodes are in topological order: a node's layer is final when its edges come.
    for &(from, to) in edges {
        layers[to] = layers[to].max(layers[from] + 1);
        is_source[to] = false;
    }
    for node in (0..nodes).rev().filter(|&node| is_source[node]) {
        let first = edges.iter().filter(|edge| edge.0 == node).map(|edge| layers[edge.1]).min();
        layers[node] = first.map_or(0, |layer| layer - 1);
    }
    layers
}

/// Sorts each layer by the mean position of its neighbours, and leaves in `x` the position in the layer.
fn order(rows: &mut [Vec<usize>], slots: &mut [Slot]) {
    let number = |row: &[usize], slots: &mut [Slot]| {
        for (position, &at) in row.iter().enumerate() {
            slots[at].x = position as f64;
        }
    };
    rows.iter().for_each(|row| number(row, slots));
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let depth = rows.len();
        for layer in (0..depth).map(|layer| if down { layer } else { depth - 1 - layer }) {
            let key = |at: &usize| {
                let slot = &slots[*at];
                mean(if down { &slot.above } else { &slot.below }, slots).unwrap_or(slot.x)
            };
            let mut keyed: Vec<(f64, usize)> = rows[layer].iter().map(|at| (key(at), *at)).collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: equal means keep their order
            rows[layer] = keyed.into_iter().map(|(_, at)| at).collect();
            number(&rows[layer], slots);
        }
    }
}

/// Computes the x of every slot.
fn align(rows: &[Vec<usize>], slots: &mut [Slot]) {
    let gap = |slots: &[Slot], a: usize, b: usize| slots[a].size.right + GAP + slots[b].size.left;
    for row in rows {
        let mut x = 0.0;
        for (position, &at) in row.iter().enumerate() {
            x += if position == 0 { 0.0 } else { gap(slots, row[position - 1], at) };
            slots[at].x = x;
        }
    }
    for sweep in 0..2 * SWEEPS {
        let down = sweep % 2 == 0;
        let depth = rows.len();
        for row in (0..depth).map(|layer| &rows[if down { layer } else { depth - 1 - layer }]) {
            let wish = |at: &usize| {
                let slot = &slots[*at];
                mean(if down { &slot.above } else { &slot.below }, slots).unwrap_or(slot.x)
            };
            let wishes: Vec<f64> = row.iter().map(wish).collect();
            // One pass pushes boxes apart to the right, another to the left. The mean of both has no drift and preserves every gap.
            let mut right = wishes.clone();
            for i in 1..row.len() {
                right[i] = right[i].max(right[i - 1] + gap(slots, row[i - 1], row[i]));
            }
            let mut left = wishes;
            for i in (1..row.len()).rev() {
                left[i - 1] = left[i - 1].min(left[i] - gap(slots, row[i - 1], row[i]));
            }
            for (i, &at) in row.iter().enumerate() {
                slots[at].x = (left[i] + right[i]) / 2.0;
            }
        }
    }
}

fn mean(of: &[usize], slots: &[Slot]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().map(|&at| slots[at].x).sum::<f64>() / of.len() as f64)
}
