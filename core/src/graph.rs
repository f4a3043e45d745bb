//! `Graph`: the operations that computed a value, as data, as text, as a DOT file and as a picture.

mod layout;
mod svg;

use crate::autodiff::{Gradient, Node, Value, every_gradient, kept};
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::sync::Arc;

/// A snapshot of the tape: the operations that computed a value, and their leaves. Created by
/// [`Tensor::graph`](crate::Tensor::graph) and [`Scalar::graph`](crate::Scalar::graph) before `backward`, which consumes the
/// tape; or by [`Graph::trace`], with values and gradients. PyTorch: torchviz.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let x = Tensor::new([[1.0, 2.0]], &device);
/// let w = Tensor::new([[3.0], [4.0]], &device).requires_grad();
/// let loss = x.matmul(&w).square().mean(..);
/// let graph = loss.graph().name(&w, "w");
/// assert_eq!(graph.to_string(), "\
/// ##0  leaf    [2, 1]  w
/// ##1  matmul  [1, 1]  (constant, #0)
/// ##2  square  [1, 1]  (#1)
/// ##3  mean    []      (#2)
/// ");
/// assert!(graph.to_svg().starts_with("<svg"));
/// # let _ = loss.backward();
/// # Ok::<(), Error>(())
/// ```
#[must_use]
pub struct Graph<V: Value> {
    nodes: Vec<GraphNode<V>>,
    by_id: HashMap<u64, usize>,
}

/// An operation or a leaf of a [`Graph`].
pub struct GraphNode<V: Value> {
    /// The operation's name; `leaf` for a leaf.
    pub op: &'static str,
    /// Whether it is a leaf: a value whose gradient `backward` finds.
    pub is_leaf: bool,
    /// Shape and dtype of the output.
    pub spec: V::Spec,
    /// The inputs in the order of the operation's arguments, as positions in [`Graph::nodes`]; `None` for a constant.
    pub inputs: Vec<Option<usize>>,
    /// Whether an earlier `backward` consumed the tape here, so that the inputs are no longer known.
    pub is_consumed: bool,
    /// The name that [`Graph::name`] gave.
    pub name: Option<String>,
    /// The output, off the tape, if [`Graph::trace`] made the graph; of leaves, if they have a name.
    pub value: Option<V>,
    /// The derivative of the graph's output with respect to this value, off the tape, if [`Graph::trace`] made the
    /// graph.
    pub gradient: Option<V>,
}

impl<V: Value> Graph<V> {
    /// The graph of `output`; without nodes if that is a constant.
    pub fn of(output: &V) -> Self {
        // Ids grow with creation, so the order by id is topological.
        let mut found: BTreeMap<u64, Arc<Node<V>>> = BTreeMap::new();
        let mut parents_of: HashMap<u64, Option<Vec<Option<u64>>>> = HashMap::new();
        let mut pending: Vec<Arc<Node<V>>> = output.node().cloned().into_iter().collect();
        while let Some(node) = pending.pop() {
            if found.contains_key(&node.id()) {
                continue;
            }
            let parents = node.parents();
            let ids = parents.as_ref().map(|all| all.iter().map(|p| p.as_ref().map(|p| p.id())).collect());
            parents_of.insert(node.id(), ids);
            pending.extend(parents.into_iter().flatten().flatten());
            found.insert(node.id(), node);
        }
        let by_id: HashMap<u64, usize> = found.keys().enumerate().map(|(at, id)| (*id, at)).collect();
        let nodes = found
            .values()
            .map(|node| {
                let parents = parents_of.remove(&node.id()).flatten();
                let is_consumed = parents.is_none() && !node.is_leaf();
                let position = |id: Option<u64>| id.and_then(|id| by_id.get(&id).copied());
                let inputs = parents.unwrap_or_default().into_iter().map(position).collect();
                GraphNode {
                    op: node.op(),
                    is_leaf: node.is_leaf(),
                    spec: *node.spec(),
                    inputs,
                    is_consumed,
                    name: None,
                    value: None,
                    gradient: None,
                }
            })
            .collect();
        Graph { nodes, by_id }
    }

    /// Runs `f` and returns the graph of its result with the value of every operation and the gradient of every node,
    /// all of which stay in memory. The tape is not consumed.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let (x, y) = (Scalar::variable(2.0), Scalar::variable(3.0));
    /// let graph = Graph::trace(|| &x * &y + x.exp()).name(&x, "x").name(&y, "y");
    /// let product = graph.nodes().iter().find(|node| node.op == "mul").unwrap();
    /// assert_eq!(product.value.as_ref().unwrap().value(), 6.0);
    /// let [by_x, by_y] = [0, 1].map(|leaf| graph.nodes()[leaf].gradient.as_ref().unwrap().value());
    /// assert_eq!((by_x, by_y), (3.0 + 2f64.exp(), 2.0));
    /// ```
    ///
    /// # Panics
    /// If `f` consumes the tape of its result by `backward`.
    #[track_caller]
    pub fn trace(f: impl FnOnce() -> V) -> Self {
        let (output, mut values) = kept::kept(f);
        let mut graph = Graph::of(&output);
        let mut gradients = match every_gradient(&output) {
            Ok(gradients) => gradients.by_node,
            Err(why) => panic!("Graph::trace: {why}"),
        };
        for (id, at) in &graph.by_id {
            graph.nodes[*at].value = values.remove(id);
            graph.nodes[*at].gradient = gradients.remove(id).map(Gradient::into_whole);
        }
        graph
    }

    /// Names the node of a value; a value that is not in the graph has no effect. In a graph of
    /// [`Graph::trace`] a named leaf shows its value.
    pub fn name(mut self, value: &V, name: impl Into<String>) -> Self {
        if let Some(at) = value.node().and_then(|node| self.by_id.get(&node.id())) {
            let node = &mut self.nodes[*at];
            node.name = Some(name.into());
            if node.gradient.is_some() && node.value.is_none() {
                node.value = Some(value.with_node(None));
            }
        }
        self
    }

    /// [`name`](Graph::name) of every item: `loss.graph().names(model.named_parameters())`.
    pub fn names<S: Into<String>, R: AsRef<V>>(self, names: impl IntoIterator<Item = (S, R)>) -> Self {
        names.into_iter().fold(self, |graph, (name, value)| graph.name(value.as_ref(), name))
    }

    /// The nodes in topological order: every node after its inputs, the output last. Reversed, it is the order in which
    /// `backward` visits them.
    pub fn nodes(&self) -> &[GraphNode<V>] {
        &self.nodes
    }

    /// The graph in the language of Graphviz: operations as boxes, leaves as ellipses, edges from inputs to outputs, labelled
    /// with the argument's position where there are several.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph {\n  node [fontname=\"sans-serif\"];\n");
        for (at, node) in self.nodes.iter().enumerate() {
            let label = node.lines().join("\\n").replace('"', "\\\"");
            let shape = if node.is_leaf { "ellipse" } else { "box" };
            let _ = writeln!(dot, "  n{at} [shape={shape}, label=\"{label}\"];");
        }
        for (at, node) in self.nodes.iter().enumerate() {
            for (argument, input) in node.inputs.iter().enumerate() {
                let label = if node.inputs.len() > 1 { format!(" [label={argument}]") } else { String::new() };
                let _ = match input {
                    Some(input) => writeln!(dot, "  n{input} -> n{at}{label};"),
                    None => writeln!(dot, "  c{at}_{argument} [shape=point]; c{at}_{argument} -> n{at}{label};"),
                };
            }
        }
        dot.push_str("}\n");
        dot
    }

    /// The graph as a self-contained SVG picture: inputs above, the output below, a leaf that only one operation uses beside that
    /// operation. Of a large graph only the 400 nodes nearest to the output are drawn, with a note.
    pub fn to_svg(&self) -> String {
        svg::draw(&self.nodes)
    }
}

impl<V: Value> GraphNode<V> {
    /// The text of a node: name, shape, value and gradient, a line each.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![match &self.name {
            Some(name) if self.is_leaf => name.clone(),
            Some(name) => format!("{name} = {}", self.op),
            None => self.op.to_string(),
        }];
        let spec = self.spec.to_string();
        if !spec.is_empty() {
            lines.push(spec);
        }
        if self.is_consumed {
            lines.push("consumed by backward".into());
        }
        lines.extend(self.value.as_ref().map(|value| format!("value {}", value.brief())));
        lines.extend(self.gradient.as_ref().map(|gradient| format!("grad {}", gradient.brief())));
        lines
    }
}

/// A table, a line per node: its position, operation, shape, inputs or name, and value and gradient if it has them.
impl<V: Value> fmt::Display for Graph<V> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let line = |(at, node): (usize, &GraphNode<V>)| {
            let inputs = node.inputs.iter().map(|input| input.map_or("constant".into(), |input| format!("#{input}")));
            let inputs: Vec<String> = inputs.collect();
            let from = match (node.is_leaf, node.is_consumed) {
                (true, _) => String::new(),
                (_, true) => "(consumed by backward)".into(),
                _ => format!("({})", inputs.join(", ")),
            };
            let name = node.name.as_deref().unwrap_or_default();
            let from =
                if from.is_empty() || name.is_empty() { format!("{from}{name}") } else { format!("{from} = {name}") };
            let brief = |what: &str, value: &Option<V>| {
                value.as_ref().map_or(String::new(), |v| format!("{what} {}", v.brief()))
            };
            let (value, gradient) = (brief("value", &node.value), brief("grad", &node.gradient));
            [format!("#{at}"), node.op.into(), node.spec.to_string(), from, value, gradient]
        };
        let lines: Vec<[String; 6]> = self.nodes.iter().enumerate().map(line).collect();
        let mut widths = [0; 6];
        for line in &lines {
            widths = std::array::from_fn(|column| widths[column].max(line[column].chars().count()));
        }
        for line in &lines {
            // A column that is empty throughout takes no space.
            let cells = line.iter().zip(widths).filter(|(_, width)| *width > 0);
            let cells: Vec<String> = cells.map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
