//! `Node`: a node of the tape, with the rule that computes its inputs' gradients from its own.
//!
//! A node and its rule, with all that the rule captured, are one allocation: `Node` is generic over the type of its rule, and its
//! `Arc` coerces to `Arc<Node<V>>`, whose rule is a `dyn Rule`.

use super::gradients::Gradient;
use super::{RowsOf, Value};
use std::mem::replace;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A node of the tape: a leaf, or the output of an operation.
pub struct Node<V: Value, R: Rule<V> + ?Sized = dyn Rule<V>> {
    id: u64,
    op: &'static str,
    spec: V::Spec,
    leaf: bool,
    pub(super) rule: R,
}

impl<V: Value> Node<V> {
    fn new<R: Rule<V> + 'static>(op: &'static str, spec: V::Spec, leaf: bool, rule: R) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Node { id: NEXT.fetch_add(1, Ordering::Relaxed), op, spec, leaf, rule })
    }

    /// A leaf for this value: a variable whose gradient `backward` finds.
    pub fn leaf(value: &V) -> Arc<Self> {
        Node::new("leaf", value.spec(), true, Leaf)
    }

    /// The output of an operation.
    pub(super) fn output<S: Step<V> + 'static>(op: &'static str, spec: V::Spec, step: S) -> Arc<Self> {
        Node::new(op, spec, false, Consumable(Mutex::new(State::Inline(step))))
    }

    /// The name of the operation; `leaf` for a leaf.
    pub fn op(&self) -> &'static str {
        self.op
    }

    /// What the tape records of the value.
    pub fn spec(&self) -> &V::Spec {
        &self.spec
    }

    /// Whether this is a leaf.
    pub fn is_leaf(&self) -> bool {
        self.leaf
    }

    /// The node's number; larger than those of all nodes made before it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The inputs' nodes, each `None` for a constant; `None` for a leaf, and if an earlier `backward` consumed the rule.
    pub(crate) fn parents(&self) -> Option<Vec<Option<Arc<Node<V>>>>> {
        self.rule.parents()
    }
}

impl<V: Value, R: Rule<V> + ?Sized> Drop for Node<V, R> {
    /// Without recursion: parents that nothing else holds are released from a list.
    fn drop(&mut self) {
        let mut orphans = Vec::new(); // allocates only when there is a parent
        self.rule.release(&mut orphans);
        while let Some(mut node) = orphans.pop() {
            if let Some(node) = Arc::get_mut(&mut node) {
                node.rule.release(&mut orphans);
            }
        }
    }
}

/// The nodes of an operation's N inputs; `None` for a constant.
pub type Parents<V, const N: usize> = [Option<Arc<Node<V>>>; N];

/// A contribution to the gradient of an input.
pub enum Addend<'a, V: Value> {
    /// A gradient of the input's shape.
    Whole(V),
    /// The gradient of a part: a function that adds it to the sum so far (`None` before the first).
    Part(&'a dyn Fn(Option<V>) -> V),
    /// A gradient that is zero except in a few rows.
    Rows(V::Rows),
}

impl<V: Value> Addend<'_, V> {
    /// The sum with this contribution. The first one is stored, not added to zeros.
    pub(super) fn added_to(self, sum: Option<V>) -> V {
        match (self, sum) {
            (Addend::Whole(grad), Some(sum)) => sum.accumulate(grad),
            (Addend::Whole(grad), None) => grad,
            (Addend::Part(add), sum) => add(sum),
            (Addend::Rows(rows), Some(sum)) => rows.added_to(sum),
            (Addend::Rows(rows), None) => rows.whole().clone(),
        }
    }

    /// [`added_to`](Addend::added_to) for a leaf, whose gradient stays in rows as long as all contributions are in rows.
    pub(super) fn added_to_leaf(self, sum: Option<Gradient<V>>) -> Gradient<V> {
        match (self, sum) {
            (Addend::Rows(rows), None) => Gradient::in_rows(rows),
            (Addend::Rows(rows), Some(sum)) => sum.plus(Gradient::in_rows(rows)),
            (addend, sum) => Gradient::Whole(addend.added_to(sum.map(Gradient::into_whole))),
        }
    }
}

/// Takes the contributions to the gradients of a rule's inputs.
pub(super) type Put<'p, V> = &'p mut dyn FnMut(&Arc<Node<V>>, Addend<'_, V>);

/// The rule of a node. Implemented in this module only.
pub trait Rule<V: Value>: Send + Sync {
    /// Computes the inputs' gradients and passes each to `put`. With `consume` the rule is freed. Returns `false` if an earlier
    /// run consumed it.
    fn run(&self, consume: bool, grad: &V, node: &Arc<Node<V>>, put: Put<'_, V>) -> bool;
    /// The inputs' nodes; `None` if the rule was consumed, and for a leaf.
    fn parents(&self) -> Option<Vec<Option<Arc<Node<V>>>>>;
    /// Drops the values that the rule captured, then moves its parents to `orphans`.
    fn release(&mut self, orphans: &mut Vec<Arc<Node<V>>>);
}

/// The rule of a leaf, which has no inputs.
struct Leaf;

impl<V: Value> Rule<V> for Leaf {
    fn run(&self, _: bool, _: &V, _: &Arc<Node<V>>, _: Put<'_, V>) -> bool {
        true
    }
    fn parents(&self) -> Option<Vec<Option<Arc<Node<V>>>>> {
        None
    }
    fn release(&mut self, _: &mut Vec<Arc<Node<V>>>) {}
}

/// The rule of an operation: its step until it is consumed.
struct Consumable<S>(Mutex<State<S>>);

enum State<S> {
    /// In the node itself.
    Inline(S),
    /// In an allocation of its own, since the first run that did not consume it: a step runs without the lock, as its operations
    /// may access its own node.
    Shared(Arc<S>),
    Consumed,
}

impl<V: Value, S: Step<V>> Rule<V> for Consumable<S> {
    fn run(&self, consume: bool, grad: &V, node: &Arc<Node<V>>, put: Put<'_, V>) -> bool {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match (replace(&mut *state, State::Consumed), consume) {
            (State::Consumed, _) => return false,
            (State::Inline(step), true) => {
                drop(state);
                step.run(grad, node, put);
            }
            (State::Shared(step), true) => {
                drop(state);
                step.run(grad, node, put);
            }
            (kept, false) => {
                let step = match kept {
                    State::Shared(step) => step,
                    State::Inline(step) => Arc::new(step),
                    State::Consumed => unreachable!("matched above"),
                };
                *state = State::Shared(step.clone());
                drop(state);
                step.run(grad, node, put);
            }
        }
        true
    }

    fn parents(&self) -> Option<Vec<Option<Arc<Node<V>>>>> {
        match &*self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            State::Inline(step) => Some(step.parents()),
            State::Shared(step) => Some(step.parents()),
            State::Consumed => None,
        }
    }

    fn release(&mut self, orphans: &mut Vec<Arc<Node<V>>>) {
        let state = self.0.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        match replace(state, State::Consumed) {
            State::Inline(step) => step.release(orphans),
            State::Shared(step) => {
                if let Some(step) = Arc::into_inner(step) {
                    step.release(orphans);
                }
            }
            State::Consumed => {}
        }
    }
}

/// The part of a rule that depends on the operation.
pub(super) trait Step<V: Value>: Send + Sync {
    /// Computes the inputs' gradients and passes each to `put`.
    fn run(&self, grad: &V, node: &Arc<Node<V>>, put: Put<'_, V>);
    fn parents(&self) -> Vec<Option<Arc<Node<V>>>>;
    /// Drops the closure, then moves the parents to `orphans`.
    fn release(self, orphans: &mut Vec<Arc<Node<V>>>);
}

/// An operation: its parents and the closure that computes their gradients.
pub(super) struct Operation<V: Value, F, const N: usize> {
    pub(super) parents: Parents<V, N>,
    pub(super) rule: F,
}

impl<V: Value, F, const N: usize> Step<V> for Operation<V, F, N>
where
    F: Fn(&V, &Arc<Node<V>>, &Parents<V, N>) -> [Option<V>; N] + Send + Sync,
{
    fn run(&self, grad: &V, node: &Arc<Node<V>>, put: Put<'_, V>) {
        for (parent, grad) in self.parents.iter().zip((self.rule)(grad, node, &self.parents)) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                put(parent, Addend::Whole(grad));
            }
        }
    }

    fn parents(&self) -> Vec<Option<Arc<Node<V>>>> {
        self.parents.to_vec()
    }

    fn release(self, orphans: &mut Vec<Arc<Node<V>>>) {
        // Dropped before the parents: the nodes of the captured inputs are still held by `parents`, so this does not recurse into
        // them.
        drop(self.rule);
        orphans.extend(self.parents.into_iter().flatten());
    }
}

/// An operation that reads a part of its one input, see [`record_part`](super::record_part) and
/// [`record_rows`](super::record_rows). The closure calls `put` itself.
pub(super) struct PartOf<V: Value, F> {
    pub(super) parent: Arc<Node<V>>,
    pub(super) rule: F,
}

impl<V: Value, F: Fn(&V, &Arc<Node<V>>, Put<'_, V>) + Send + Sync> Step<V> for PartOf<V, F> {
    fn run(&self, grad: &V, _: &Arc<Node<V>>, put: Put<'_, V>) {
        (self.rule)(grad, &self.parent, put);
    }

    fn parents(&self) -> Vec<Option<Arc<Node<V>>>> {
        vec![Some(self.parent.clone())]
    }

    fn release(self, orphans: &mut Vec<Arc<Node<V>>>) {
        drop(self.rule);
        orphans.push(self.parent);
    }
}
