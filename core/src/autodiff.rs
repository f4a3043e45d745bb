//! The tape: reverse-mode automatic differentiation, generic over the kind of value.
//!
//! ```text
//! pending = { root: seed }
//! while pending is not empty:
//!     node, g = pop the pending node of the largest id
//!     for (input, gi) in node.rule(g):  add gi to the gradients (of a leaf) or to pending (of another node)
//! ```
//!
//! It differentiates any [`Value`]: [`Scalar`](crate::Scalar) and [`Tensor`](crate::Tensor). A value owns its [`Node`], and a
//! node owns its rule and the nodes of its inputs. The tape is the graph of these `Arc`s, and is dropped with the last value. Ids
//! grow with creation, so *decreasing id is reverse topological order*: the walk needs no search and no visited set. Nothing
//! recurses, so a chain of a million nodes is an ordinary tape.
//!
//! A rule is written next to its forward call, and three invariants hold for it:
//! 1. It captures only what the gradient needs. It may capture inputs but not its own output, which would be a reference cycle
//!    and never be freed; [`record_with_output`] passes the output to the rule.
//! 2. It consists of differentiable operations, so that gradients of gradients are right. Inside [`backward`] nothing is
//!    recorded, and the same operations have no extra cost.
//! 3. It returns one gradient per input, of that input's shape; it may return `None` where `wants` is false.

mod gradients;
pub(crate) mod kept;
mod node;
mod pending;

pub(crate) use gradients::Gradient;
pub use gradients::Gradients;
pub(crate) use node::Addend;
pub use node::{Node, Parents};

use node::{Operation, PartOf, Put, Step};
use pending::{Entry, Queue};
use std::cell::Cell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// A value that can be differentiated.
pub trait Value: Clone + Send + Sync + 'static {
    /// What a node records of its value: the shape and dtype of a tensor, nothing of a scalar.
    type Spec: Copy + PartialEq + fmt::Display + Send + Sync + 'static;
    /// A leaf's gradient that is zero except in a few rows; [`Infallible`] for values without rows.
    type Rows: RowsOf<Self>;
    /// What a node records of this value.
    fn spec(&self) -> Self::Spec;
    /// The value's node on the tape; `None` for a constant.
    fn node(&self) -> Option<&Arc<Node<Self>>>;
    /// The same data at another node, or off the tape.
    fn with_node(&self, node: Option<Arc<Node<Self>>>) -> Self;
    /// The sum of two gradients, by value so that the first one's memory may be reused.
    fn accumulate(self, more: Self) -> Self;
    /// The gradient of the value's sum with respect to the value: ones of its shape.
    fn ones(&self) -> Self;
    /// The value in a few characters, for a [`Graph`](crate::Graph); reads it from its device.
    fn brief(&self) -> String;
}

/// A gradient that is zero except in some rows.
pub trait RowsOf<V: Value>: Clone + Send + Sync + 'static {
    /// The dense gradient, zeros included.
    fn whole(&self) -> &V;
    /// The sum with a dense gradient.
    fn added_to(&self, sum: V) -> V;
    /// The sum with another gradient in rows: in rows again, unless the dense gradient is smaller.
    ///
    /// # Errors
    /// The dense sum.
    fn plus(self, more: Self) -> Result<Self, V>;
}

impl<V: Value> RowsOf<V> for Infallible {
    fn whole(&self) -> &V {
        match *self {}
    }
    fn added_to(&self, _: V) -> V {
        match *self {}
    }
    fn plus(self, _: Self) -> Result<Self, V> {
        match self {}
    }
}

/// The nodes of the inputs; `None` if the operation is not recorded. Call it *before* building a rule, so that an operation that
/// is not recorded does not clone values into one.
pub fn parents<V: Value, const N: usize>(inputs: [&V; N]) -> Option<Parents<V, N>> {
    optional_parents(inputs.map(Some))
}

/// [`parents`] of inputs that may be absent, which count as constants.
pub(crate) fn optional_parents<V: Value, const N: usize>(inputs: [Option<&V>; N]) -> Option<Parents<V, N>> {
    let nodes = inputs.map(|x| x.and_then(V::node));
    (recording() && nodes.iter().any(Option::is_some)).then(|| nodes.map(Option::<&Arc<_>>::cloned))
}

/// Puts `out`, the output of the operation called `op`, on the tape. `rule(grad, wants)` returns one gradient per input; `wants`
/// says which are needed.
pub fn record<V: Value, const N: usize>(
    op: &'static str,
    out: V,
    parents: Parents<V, N>,
    rule: impl Fn(&V, [bool; N]) -> [Option<V>; N] + Send + Sync + 'static,
) -> V {
    let rule = move |grad: &V, _: &Arc<Node<V>>, parents: &Parents<V, N>| rule(grad, wants(parents));
    recorded(op, out, Operation { parents, rule })
}

/// [`record`] for rules that need the output: `rule(grad, output, wants)`. The rule keeps the output without its node, to avoid a
/// reference cycle; the node is attached when the rule runs.
pub fn record_with_output<V: Value, const N: usize>(
    op: &'static str,
    out: V,
    parents: Parents<V, N>,
    rule: impl Fn(&V, &V, [bool; N]) -> [Option<V>; N] + Send + Sync + 'static,
) -> V {
    let output = out.with_node(None);
    let rule = move |grad: &V, node: &Arc<Node<V>>, parents: &Parents<V, N>| {
        rule(grad, &output.with_node(Some(node.clone())), wants(parents))
    };
    recorded(op, out, Operation { parents, rule })
}

/// [`record`] for rules that keep inputs without their nodes: `rule(grad, parents)` receives the nodes.
pub(crate) fn record_with_parents<V: Value, const N: usize>(
    op: &'static str,
    out: V,
    parents: Parents<V, N>,
    rule: impl Fn(&V, &Parents<V, N>) -> [Option<V>; N] + Send + Sync + 'static,
) -> V {
    let rule = move |grad: &V, _: &Arc<Node<V>>, parents: &Parents<V, N>| rule(grad, parents);
    recorded(op, out, Operation { parents, rule })
}

/// Which inputs need a gradient.
fn wants<V: Value, const N: usize>(parents: &Parents<V, N>) -> [bool; N] {
    parents.each_ref().map(Option::is_some)
}

/// `out` with a new node that runs this step.
fn recorded<V: Value>(op: &'static str, out: V, step: impl Step<V> + 'static) -> V {
    let node = Node::output(op, out.spec(), step);
    kept::keep(node.id(), &out);
    out.with_node(Some(node))
}

/// Puts `out`, a part of its one input, on the tape. `rule(grad, sum)` adds `grad` to that part of `sum`, the input's gradient so
/// far (`None` before the first contribution), and returns it. So the gradients of many parts of one value accumulate in one
/// buffer, instead of each in a buffer of the input's size.
pub fn record_part<V: Value>(
    op: &'static str,
    out: V,
    parent: Arc<Node<V>>,
    rule: impl Fn(&V, Option<V>) -> V + Send + Sync + 'static,
) -> V {
    let rule = move |grad: &V, parent: &Arc<Node<V>>, put: Put<'_, V>| {
        put(parent, Addend::Part(&|sum| rule(grad, sum)));
    };
    recorded(op, out, PartOf { parent, rule })
}

/// Puts `out`, rows of its one input, on the tape. `rule(grad, in_rows)` returns the input's gradient. It may be [`Addend::Rows`]
/// if `in_rows`: if the input is a leaf and nothing is recorded.
pub(crate) fn record_rows<V: Value>(
    op: &'static str,
    out: V,
    parent: Arc<Node<V>>,
    rule: impl Fn(&V, bool) -> Addend<'static, V> + Send + Sync + 'static,
) -> V {
    let rule = move |grad: &V, parent: &Arc<Node<V>>, put: Put<'_, V>| {
        put(parent, rule(grad, parent.is_leaf() && !recording()));
    };
    recorded(op, out, PartOf { parent, rule })
}

/// Values by the ids of nodes.
pub(crate) type ById<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

/// Fibonacci hashing: consecutive ids times an odd number near 2^64 / 1.618 spread over all bits. Knuth, "The Art of Computer
/// Programming", volume 3, section 6.4.
#[derive(Default, Clone)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(self.0 ^ byte as u64));
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// The walk from `root` towards the leaves, down to the node with the id `oldest`. It collects the gradients of the nodes for
/// which `asked` holds. With `consume` it frees the rule of each node once it has run, even while the caller still holds the
/// root. `Err` if an earlier walk consumed a node.
fn walk<V: Value>(
    root: &V,
    seed: V,
    consume: bool,
    oldest: u64,
    asked: impl Fn(&Node<V>) -> bool,
) -> Result<Gradients<V>, &'static str> {
    let mut found = ById::with_capacity_and_hasher(FOUND.get(), BuildHasherDefault::default());
    let mut pending = Queue::new(root.node().map_or(0, |node| node.id()));
    match root.node() {
        Some(node) if node.is_leaf() => drop(found.insert(node.id(), Gradient::Whole(seed))),
        Some(node) => *pending.sum(node) = Some(seed),
        None => {}
    }
    while let Some(Entry { id, node, sum }) = pending.pop() {
        let Some(grad) = sum else { unreachable!("a pending node has a gradient") };
        if id < oldest {
            break; // older nodes do not depend on any value that was asked for
        }
        if asked(&node) {
            found.insert(id, Gradient::Whole(grad.clone()));
        }
        if id == oldest {
            break; // its inputs are older than all values that were asked for
        }
        let unconsumed = node.rule.run(consume, &grad, &node, &mut |parent, more| {
            // The gradient of a leaf goes to the result. A sum is moved out of its entry, so that its memory may be reused.
            if parent.is_leaf() {
                if asked(parent) {
                    let sum = more.added_to_leaf(found.remove(&parent.id()));
                    found.insert(parent.id(), sum);
                }
            } else {
                let sum = pending.sum(parent);
                *sum = Some(more.added_to(sum.take()));
            }
        });
        if !unconsumed {
            return Err(
                "backward: this tape was consumed by an earlier backward; walk it with grad, which keeps it, or \
                        compute the loss again",
            );
        }
    }
    FOUND.set(found.len());
    Ok(Gradients { by_node: found })
}

/// The gradients with respect to every leaf that `root` depends on, given the gradient `seed` with respect to the root.
/// Consumes the tape; the result is off it.
///
/// # Panics
/// If an earlier `backward` consumed a part of the tape.
#[track_caller]
pub fn backward<V: Value>(root: &V, seed: V) -> Gradients<V> {
    let _off = Pause::new();
    match walk(root, seed, true, 0, |node| node.is_leaf()) {
        Ok(grads) => grads,
        Err(why) => panic!("{why}"),
    }
}

/// The gradients with respect to the values `of`, leaves or not. The tape is kept, and the result can be differentiated
/// again (unless inside [`no_grad`]).
///
/// # Panics
/// If an earlier `backward` consumed a part of the tape.
#[track_caller]
pub fn grad<V: Value, const N: usize>(root: &V, seed: V, of: [&V; N]) -> Gradients<V> {
    let oldest = of.iter().filter_map(|x| x.node()).map(|node| node.id()).min().unwrap_or(u64::MAX);
    let asked = |node: &Node<V>| of.iter().any(|x| x.node().is_some_and(|n| n.id() == node.id()));
    match walk(root, seed, false, oldest, asked) {
        Ok(grads) => grads,
        Err(why) => panic!("{why}"),
    }
}

/// The gradients with respect to every node that `root` depends on, off the tape, which is kept.
///
/// # Errors
/// If an earlier `backward` consumed a part of the tape.
pub(crate) fn every_gradient<V: Value>(root: &V) -> Result<Gradients<V>, &'static str> {
    let _off = Pause::new();
    walk(root, root.ones(), false, 0, |_| true)
}

/// Panics unless the value depends on a leaf.
#[track_caller]
pub(crate) fn check_tracked<V: Value>(op: &str, value: &V) {
    assert!(
        value.node().is_some(),
        "{op}: nothing to differentiate: no parameter or other leaf reaches this tensor; is everything frozen, detached, or \
         computed under no_grad?"
    );
}

thread_local! {
    /// The number of gradients that the last walk found, as the capacity for the next one.
    static FOUND: Cell<usize> = const { Cell::new(0) };
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Stops recording on this thread until dropped, also by a panic.
struct Pause {
    before: bool,
}

impl Pause {
    fn new() -> Self {
        Pause { before: RECORDING.replace(false) }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        RECORDING.set(self.before);
    }
}

/// Runs `f` without recording on this thread, as in evaluation. PyTorch: `torch.no_grad`.
///
/// ```
/// use minitorch::prelude::*;
///
/// let x = Scalar::variable(3.0);
/// assert!(no_grad(|| &x * &x).backward().is_empty());
/// ```
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    let _off = Pause::new();
    f()
}

/// Whether operations are recorded on this thread.
pub fn recording() -> bool {
    RECORDING.get()
}
