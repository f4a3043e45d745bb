//! Marching squares: the level sets of a function of the plane, as closed outlines of the region above a level.

use std::collections::HashMap;

/// Values on a square grid: `values[row * side + column]`, the first row at the top.
pub(crate) struct Grid {
    side: usize,
    values: Vec<f64>,
}

impl Grid {
    /// # Panics
    /// If there are not `side * side` values, or `side` is below 2.
    pub(crate) fn new(side: usize, values: Vec<f64>) -> Self {
        assert!(side >= 2 && values.len() == side * side, "a grid of {side} has not {} values", values.len());
        Grid { side, values }
    }

    /// The value at a point of the grid, which is surrounded by a ring of minus infinity, so that every outline is
    /// closed.
    fn ringed(&self, row: usize, column: usize) -> f64 {
        let inside = 1..=self.side;
        if inside.contains(&row) && inside.contains(&column) {
            self.values[(row - 1) * self.side + column - 1]
        } else {
            f64::NEG_INFINITY
        }
    }

    /// Outlines of the region at or above `level`, as points `[x, y]` in 0..=1, y downwards; filled by the even-odd
    /// rule.
    pub(crate) fn outlines(&self, level: f64) -> Vec<Vec<[f64; 2]>> {
        // A crossing is identified by the edge of the grid that it lies on. In each cell an outline runs from the edge
        // where a clockwise walk around the cell leaves the region to the edge where it enters it. The neighbouring
        // cell walks the shared edge in the other direction, so every crossing starts one segment and ends one.
        let mut next: HashMap<Edge, Edge> = HashMap::new();
        let mut starts = Vec::new();
        for row in 0..=self.side {
            for column in 0..=self.side {
                let corners = [(row, column), (row, column + 1), (row + 1, column + 1), (row + 1, column)];
                let values = corners.map(|(row, column)| self.ringed(row, column));
                let above = values.map(|value| value >= level);
                let edge = |i: usize| Edge::between(corners[i], corners[(i + 1) % 4]);
                let leaves = |i: usize| above[i] && !above[(i + 1) % 4];
                let enters = |i: usize| !above[i] && above[(i + 1) % 4];
                // Only opposite corners are above: the mean of the cell decides whether they are connected.
                let saddle = above[0] == above[2] && above[1] == above[3] && above[0] != above[1];
                let connected = saddle && values.iter().sum::<f64>() / 4.0 >= level;
                for from in (0..4).filter(|&i| leaves(i)) {
                    let mut entries = (1..4).map(|step| (from + step) % 4).filter(|&i| enters(i));
                    let to = if saddle && !connected { entries.next_back() } else { entries.next() };
                    if let Some(to) = to {
                        next.insert(edge(from), edge(to));
                        starts.push(edge(from));
                    }
                }
            }
        }
        let mut outlines = Vec::new();
        for start in starts {
            let mut outline = Vec::new();
            let mut at = start;
            while let Some(to) = next.remove(&at) {
                outline.push(self.crossing(at, level));
                at = to;
            }
            if !outline.is_empty() {
                outlines.push(simplified(outline));
            }
        }
        outlines
    }

    /// The point where the function, linear along the edge, reaches the level.
    fn crossing(&self, Edge { a, b }: Edge, level: f64) -> [f64; 2] {
        let [va, vb] = [a, b].map(|(row, column)| self.ringed(row, column));
        // Crossings towards the ring lie on the border.
        let share = if va.is_finite() && vb.is_finite() { (level - va) / (vb - va) } else { 0.5 };
        let place = |from: usize, to: usize| {
            let at = from as f64 + share * (to as f64 - from as f64);
            ((at - 1.0) / (self.side - 1) as f64).clamp(0.0, 1.0)
        };
        [place(a.1, b.1), place(a.0, b.0)]
    }
}

/// Two neighbouring points of the grid, the upper or left one first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Edge {
    a: (usize, usize),
    b: (usize, usize),
}

impl Edge {
    fn between(a: (usize, usize), b: (usize, usize)) -> Self {
        Edge { a: a.min(b), b: a.max(b) }
    }
}

/// Removes points that are within a thousandth of the picture of the line between the remaining ones.
fn simplified(outline: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    const TOLERANCE: f64 = 0.001;
    let Some(&first) = outline.first() else { return outline };
    let mut kept = vec![first];
    let (mut from, mut between) = (first, Vec::new());
    for pair in outline.windows(2) {
        let [at, to] = [pair[0], pair[1]];
        if at != from {
            between.push(at);
        }
        if between.iter().any(|&point| distance(point, from, to) > TOLERANCE) {
            kept.push(at);
            from = at;
            between.clear();
        }
    }
    if let Some(&last) = outline.last().filter(|&&last| last != from) {
        kept.push(last);
    }
    kept
}

/// The distance from a point to the segment between two others.
fn distance([x, y]: [f64; 2], [ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> f64 {
    let (dx, dy) = (bx - ax, by - ay);
    let length = dx * dx + dy * dy;
    let share = if length > 0.0 { (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    (x - ax - share * dx).hypot(y - ay - share * dy)
}
