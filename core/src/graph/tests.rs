//! Graphs as data and as pictures.

use super::*;
use crate::{Scalar, no_grad};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `(x y + x)^2`: a diamond.
fn diamond() -> (Scalar, Scalar, impl Fn() -> Scalar) {
    let (x, y) = (Scalar::variable(2.0), Scalar::variable(3.0));
    let (a, b) = (x.clone(), y.clone());
    (x, y, move || (&a * &b + &a).square())
}

#[test]
fn nodes_are_in_topological_order_with_their_inputs() {
    let (x, y, f) = diamond();
    let loss = f();
    let graph = loss.graph().name(&x, "x").name(&y, "y").name(&loss, "loss").name(&Scalar::from(1.0), "nothing");
    let nodes: Vec<_> = graph.nodes().iter().map(|n| (n.op, n.is_leaf, n.name.as_deref(), n.inputs.clone())).collect();
    assert_eq!(
        nodes,
        [
            ("leaf", true, Some("x"), vec![]),
            ("leaf", true, Some("y"), vec![]),
            ("mul", false, None, vec![Some(0), Some(1)]),
            ("add", false, None, vec![Some(2), Some(0)]),
            ("square", false, Some("loss"), vec![Some(3)]),
        ]
    );
    assert!(graph.nodes().iter().all(|node| node.value.is_none() && node.gradient.is_none() && !node.is_consumed));
    // A snapshot does not consume the tape.
    assert_eq!(loss.backward()[&y].value(), 32.0);
    let after = loss.graph();
    assert_eq!((after.nodes().len(), after.nodes()[0].is_consumed), (1, true));
    assert!(after.to_string().contains("consumed by backward") && after.to_svg().contains("consumed"));
}

#[test]
fn a_traced_graph_has_every_value_and_gradient() {
    let (x, y, f) = diamond();
    let graph = Graph::trace(&f).name(&x, "x").name(&y, "y");
    let of = |what: fn(&GraphNode<Scalar>) -> &Option<Scalar>| -> Vec<f64> {
        graph.nodes().iter().map(|node| what(node).as_ref().map_or(f64::NAN, Scalar::value)).collect()
    };
    assert_eq!(of(|node| &node.value), [2.0, 3.0, 6.0, 8.0, 64.0]);
    assert_eq!(of(|node| &node.gradient), [64.0, 32.0, 16.0, 16.0, 1.0]);
    assert_eq!(graph.nodes().iter().filter(|node| node.value.as_ref().is_some_and(|v| v.node().is_some())).count(), 0);
    let text = graph.to_string();
    assert_eq!(text.lines().nth(2), Some("#2  mul     (#0, #1)  value 6   grad 16"), "{text}");
    // Outside of a trace no value is kept.
    assert!(f().graph().nodes().iter().all(|node| node.value.is_none()));
}

#[test]
fn traces_nest_and_survive_panics() {
    let (_, _, f) = diamond();
    let mut inner = None;
    let outer = Graph::trace(|| {
        let before = f();
        inner = Some(Graph::trace(&f));
        before * 2
    });
    let values = |graph: &Graph<Scalar>| graph.nodes().iter().filter(|node| node.value.is_some()).count();
    assert_eq!((values(&outer), inner.as_ref().map(values)), (4, Some(3)));
    let panics = catch_unwind(AssertUnwindSafe(|| Graph::<Scalar>::trace(|| panic!("on purpose"))));
    assert!(panics.is_err());
    let (_, kept) = kept::kept::<Scalar, _>(|| ());
    assert!(kept.is_empty());
    let consumed = catch_unwind(AssertUnwindSafe(|| {
        Graph::trace(|| {
            let loss = f();
            let _ = loss.backward();
            loss
        })
    }));
    assert!(consumed.is_err());
}

#[test]
fn a_constant_and_a_leaf_have_graphs() {
    let x = Scalar::variable(1.0);
    assert_eq!(Scalar::from(1.0).graph().nodes().len(), 0);
    assert_eq!(no_grad(|| &x * 2).graph().to_string(), "");
    assert!(Scalar::from(1.0).graph().to_svg().contains("no tape"));
    let graph = Graph::trace(|| x.clone());
    assert_eq!((graph.nodes().len(), graph.nodes()[0].is_leaf), (1, true));
    assert_eq!(graph.nodes()[0].gradient.as_ref().map(Scalar::value), Some(1.0));
}

/// The parts of a DOT file: declared nodes, and edges.
fn dot_parts(dot: &str) -> (usize, usize) {
    let lines = || dot.lines().map(str::trim);
    (lines().filter(|line| line.starts_with('n') && line.contains("label=\"")).count(), dot.matches("->").count())
}

#[test]
fn dot_has_every_node_and_edge_and_escapes_names() {
    let (x, _, f) = diamond();
    let loss = f() * 2.0 / Scalar::from(3.0);
    let graph = loss.graph().name(&x, "the \"x\" <&>");
    // Six edges between nodes: mul has two, add two, square, div one each, and a constant; times 2 is a mul with a constant.
    let dot = graph.to_dot();
    let edges: usize = graph.nodes().iter().map(|node| node.inputs.len()).sum();
    assert_eq!(dot_parts(&dot), (graph.nodes().len(), edges));
    assert!(dot.contains("the \\\"x\\\""), "{dot}");
    assert!(graph.to_svg().contains("the \"x\" &lt;&amp;&gt;"));
}

/// Attribute values of all elements of a kind.
fn boxes(svg: &str) -> Vec<[f64; 4]> {
    let number = |line: &str, name: &str| -> Option<f64> {
        line.split_once(&format!(" {name}=\""))?.1.split('"').next()?.parse().ok()
    };
    svg.lines()
        .filter(|line| line.starts_with("<rect x="))
        .filter_map(|line| {
            Some([number(line, "x")?, number(line, "y")?, number(line, "width")?, number(line, "height")?])
        })
        .collect()
}

#[test]
fn boxes_of_a_picture_do_not_overlap_and_lie_inside() {
    // A net of skip connections and shared leaves.
    let leaves: Vec<Scalar> = (0..6).map(|i| Scalar::variable(i as f64)).collect();
    let mut layer: Vec<Scalar> = leaves.clone();
    for depth in 0..5 {
        layer = (0..layer.len())
            .map(|i| (&layer[i] * &leaves[(i + depth) % 6] + &layer[(i + 1) % layer.len()]).tanh())
            .collect();
    }
    let loss: Scalar = layer.iter().sum();
    let svg = loss.graph().to_svg();
    let boxes = boxes(&svg);
    assert_eq!(boxes.len(), loss.graph().nodes().len());
    let width: f64 = svg.split("width=\"").nth(1).and_then(|w| w.split('"').next()?.parse().ok()).unwrap_or(0.0);
    for (i, a) in boxes.iter().enumerate() {
        assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[0] + a[2] <= width, "{a:?} is outside of {width}");
        for b in &boxes[..i] {
            let apart = a[0] + a[2] <= b[0] || b[0] + b[2] <= a[0] || a[1] + a[3] <= b[1] || b[1] + b[3] <= a[1];
            assert!(apart, "{a:?} overlaps {b:?}");
        }
    }
}

#[test]
fn a_large_graph_is_cut_with_a_note() {
    let x = Scalar::variable(1.0);
    let mut y = x.clone();
    for _ in 0..5000 {
        y = (&y + 1.0) * 0.5;
    }
    let svg = y.graph().to_svg();
    assert_eq!(boxes(&svg).len(), 400);
    assert!(svg.contains("9601 of 10001 are not drawn"), "{}", &svg[..600]);
}
