//! The tape: reverse-mode automatic differentiation, generic over the kind of value.
//!
//! [`Scalar`](crate::Scalar) and [`Tensor`](crate::Tensor) are the two values it differentiates; it knows neither. A value
//! owns its [`Node`], a node owns its rule and the nodes of its inputs: the tape is the graph of those `Arc`s and dies
//! with the last value. A node's id grows with creation, so *decreasing id is reverse topological order*: the walk pops
//! the largest id, with no search and no visited set. Everything is iterative, and a chain of a million nodes is an
//! ordinary tape.
//!
//! A rule stands next to its forward and follows three laws:
//! 1. It captures only what its gradient needs, and only values that are inputs; its own output it gets by
//!    [`record_with_output`], because a captured output would keep its own node alive for ever.
//! 2. It is made of differentiable operations, so that gradients of gradients are right (inside
//!    [`backward`] nothing is recorded, and the same operations cost nothing extra).
//! 3. It returns one gradient per input, of that input's shape; `None` where `wants` is false is welcome.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Index;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What the engine must know about a value.
pub trait Value: Clone + Send + Sync + 'static {
    /// Where the value stands on the tape; `None` for a constant.
    fn node(&self) -> Option<&Arc<Node<Self>>>;
    /// The same data at another place of the tape, or off it.
    fn with_node(&self, node: Option<Arc<Node<Self>>>) -> Self;
    /// The sum of two gradients; by value, so that the first one's memory may be reused.
    fn accumulate(self, more: Self) -> Self;
}

/// A place on the tape: a leaf, whose gradient is wanted, or an operation's output.
pub struct Node<V: Value> {
    id: u64,
    leaf: bool,
    rule: Mutex<Option<Arc<dyn Rule<V>>>>, // emptied by `backward`, through a shared reference, and by drop
}

impl<V: Value> Node<V> {
    fn new(leaf: bool, rule: Option<Arc<dyn Rule<V>>>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Node { id: NEXT.fetch_add(1, Ordering::Relaxed), leaf, rule: Mutex::new(rule) })
    }

    /// A leaf: a variable whose gradient is wanted.
    pub fn leaf() -> Arc<Self> {
        Node::new(true, None)
    }

    /// Whether this is a leaf.
    pub fn is_leaf(&self) -> bool {
        self.leaf
    }

    /// The node's number; larger than those of all nodes made before it.
    pub fn id(&self) -> u64 {
        self.id
    }
}

/// The nodes of an operation's N inputs; `None` for an input that wants no gradient.
pub type Parents<V, const N: usize> = [Option<Arc<Node<V>>>; N];

/// One operation: parents and rule in one allocation.
struct Operation<V: Value, F, const N: usize> {
    parents: Parents<V, N>,
    rule: F,
}

/// An operation whose output is a part of its one input, see [`record_part`].
struct PartOf<V: Value, F> {
    parent: Arc<Node<V>>,
    rule: F,
}

/// What a rule adds to the gradient of one of its inputs.
enum Addend<'a, V> {
    /// A gradient of the input's shape.
    Whole(V),
    /// The sum with the gradient of a part added, from the sum so far (`None` before the first).
    Part(&'a dyn Fn(Option<V>) -> V),
}

impl<V: Value> Addend<'_, V> {
    /// The first gradient is stored, not added to zeros.
    fn added_to(self, sum: Option<V>) -> V {
        match (self, sum) {
            (Addend::Whole(grad), Some(sum)) => sum.accumulate(grad),
            (Addend::Whole(grad), None) => grad,
            (Addend::Part(add), sum) => add(sum),
        }
    }
}

/// The object-safe face of [`Operation`], whatever its N and F, and of [`PartOf`].
trait Rule<V: Value>: Send + Sync {
    /// Computes the inputs' gradients and hands each to `put`.
    #[allow(clippy::type_complexity)]
    fn run(&self, grad: &V, node: &Arc<Node<V>>, put: &mut dyn FnMut(&Arc<Node<V>>, Addend<'_, V>));
    /// Frees the closure, then hands over those parents that nobody else holds.
    fn release(self: Arc<Self>, orphans: &mut Vec<Node<V>>);
}

impl<V: Value, F, const N: usize> Rule<V> for Operation<V, F, N>
where
    F: Fn(&V, &Arc<Node<V>>, [bool; N]) -> [Option<V>; N] + Send + Sync,
{
    fn run(&self, grad: &V, node: &Arc<Node<V>>, put: &mut dyn FnMut(&Arc<Node<V>>, Addend<'_, V>)) {
        let wants = self.parents.each_ref().map(Option::is_some);
        for (parent, grad) in self.parents.iter().zip((self.rule)(grad, node, wants)) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                put(parent, Addend::Whole(grad));
            }
        }
    }

    fn release(self: Arc<Self>, orphans: &mut Vec<Node<V>>) {
        if let Some(Operation { parents, rule }) = Arc::into_inner(self) {
            // It captured inputs, whose nodes `parents` still holds, so this only decrements counts. (A rule that captured
            // another recorded value would drop that value's tape from in here, one call deeper.)
            drop(rule);
            orphans.extend(parents.into_iter().flatten().filter_map(Arc::into_inner));
        }
    }
}

impl<V: Value, F: Fn(&V, Option<V>) -> V + Send + Sync> Rule<V> for PartOf<V, F> {
    fn run(&self, grad: &V, _: &Arc<Node<V>>, put: &mut dyn FnMut(&Arc<Node<V>>, Addend<'_, V>)) {
        put(&self.parent, Addend::Part(&|sum| (self.rule)(grad, sum)));
    }

    fn release(self: Arc<Self>, orphans: &mut Vec<Node<V>>) {
        if let Some(PartOf { parent, rule }) = Arc::into_inner(self) {
            drop(rule);
            orphans.extend(Arc::into_inner(parent));
        }
    }
}

impl<V: Value> Drop for Node<V> {
    /// Without recursion: what becomes orphaned goes through a list.
    fn drop(&mut self) {
        fn release<V: Value>(node: &mut Node<V>, orphans: &mut Vec<Node<V>>) {
            if let Ok(Some(rule)) = node.rule.get_mut().map(Option::take) {
                rule.release(orphans);
            }
        }
        let mut orphans = Vec::new(); // allocates only when something is orphaned
        release(self, &mut orphans);
        while let Some(mut node) = orphans.pop() {
            release(&mut node, &mut orphans);
        }
    }
}

/// Where the inputs stand on the tape; `None` when nothing is to be recorded. Ask *before* building (and cloning into) a
/// rule: without a tape an operation then costs nothing for it.
pub fn parents<V: Value, const N: usize>(inputs: [&V; N]) -> Option<Parents<V, N>> {
    (RECORDING.get() && inputs.iter().any(|x| x.node().is_some())).then(|| inputs.map(|x| x.node().cloned()))
}

/// Puts `out` on the tape. `rule(grad, wants)` returns one gradient per input; `wants` says which are of use.
pub fn record<V: Value, const N: usize>(
    out: V,
    parents: Parents<V, N>,
    rule: impl Fn(&V, [bool; N]) -> [Option<V>; N] + Send + Sync + 'static,
) -> V {
    let rule = move |grad: &V, _: &Arc<Node<V>>, wants| rule(grad, wants);
    out.with_node(Some(Node::new(false, Some(Arc::new(Operation { parents, rule })))))
}

/// [`record`] for rules that need the output: `rule(grad, output, wants)`. It is kept bare and given its node back when
/// the rule runs.
pub fn record_with_output<V: Value, const N: usize>(
    out: V,
    parents: Parents<V, N>,
    rule: impl Fn(&V, &V, [bool; N]) -> [Option<V>; N] + Send + Sync + 'static,
) -> V {
    let output = out.with_node(None);
    let rule = move |grad: &V, node: &Arc<Node<V>>, wants| rule(grad, &output.with_node(Some(node.clone())), wants);
    out.with_node(Some(Node::new(false, Some(Arc::new(Operation { parents, rule })))))
}

/// Puts `out`, a part of its one input, on the tape. `rule(grad, sum)` returns the sum of the input's gradients (`None` before the
/// first) with `grad` added at the part. So the gradients of many parts of one value share one buffer, where each by itself
/// would be a value of the whole's size.
pub fn record_part<V: Value>(
    out: V,
    parent: Arc<Node<V>>,
    rule: impl Fn(&V, Option<V>) -> V + Send + Sync + 'static,
) -> V {
    out.with_node(Some(Node::new(false, Some(Arc::new(PartOf { parent, rule })))))
}

/// Gradients by variable: `&grads[&w]`, or `grads.get(&w)` when there may be none.
pub struct Gradients<V> {
    pub(crate) by_node: HashMap<u64, V>,
}

impl<V: Value> Gradients<V> {
    /// The gradient in `x`; `None` if none reached it.
    pub fn get(&self, x: &V) -> Option<&V> {
        x.node().and_then(|node| self.by_node.get(&node.id))
    }

    /// The gradient in `x`, taken out.
    pub fn remove(&mut self, x: &V) -> Option<V> {
        x.node().and_then(|node| self.by_node.remove(&node.id))
    }

    /// How many variables a gradient reached.
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether none was reached.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// All gradients, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.by_node.values()
    }

    /// Replaces each gradient by `f` of it.
    pub fn map(mut self, f: impl Fn(V) -> V) -> Self {
        self.by_node = self.by_node.into_iter().map(|(id, g)| (id, f(g))).collect();
        self
    }
}

impl<V: Value> Index<&V> for Gradients<V> {
    type Output = V;
    #[track_caller]
    fn index(&self, x: &V) -> &V {
        match self.get(x) {
            Some(g) => g,
            None => {
                panic!("gradients: none reached this value; is it a leaf (requires_grad) that the loss depends on?")
            }
        }
    }
}

/// The walk from `root` towards the leaves, down to the node `oldest`. `consume` empties the nodes on the way, so that
/// memory falls while the caller still holds the root. `Err` if a node was emptied by an earlier walk.
fn walk<V: Value>(
    root: &V,
    seed: V,
    consume: bool,
    oldest: u64,
    asked: impl Fn(&Node<V>) -> bool,
) -> Result<Gradients<V>, &'static str> {
    let mut found = HashMap::new();
    let mut pending = BTreeMap::new(); // queue by id and accumulator in one
    match root.node() {
        Some(node) if node.leaf => drop(found.insert(node.id, seed)),
        Some(node) => drop(pending.insert(node.id, (node.clone(), seed))),
        None => {}
    }
    while let Some((id, (node, grad))) = pending.pop_last() {
        if id < oldest {
            break; // nothing older than the oldest value asked for can lead to it
        }
        if asked(&node) {
            found.insert(id, grad.clone());
        }
        if id == oldest {
            break; // its own rule leads further down than anybody asked
        }
        let mut slot = node.rule.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let rule = if consume { slot.take() } else { slot.clone() };
        drop(slot); // the rule runs unlocked
        let Some(rule) = rule else {
            return Err(
                "backward: this tape was consumed by an earlier backward; walk it with grad, which keeps it, or \
                        compute the loss again",
            );
        };
        rule.run(&grad, &node, &mut |parent, more| {
            // Leaves go straight to the result. A sum is taken out while it grows, so that its memory may be reused.
            if parent.leaf {
                if asked(parent) {
                    let sum = more.added_to(found.remove(&parent.id));
                    found.insert(parent.id, sum);
                }
            } else {
                let (node, sum) = match pending.remove(&parent.id) {
                    Some((node, sum)) => (node, Some(sum)),
                    None => (parent.clone(), None),
                };
                pending.insert(parent.id, (node, more.added_to(sum)));
            }
        });
    }
    Ok(Gradients { by_node: found })
}

/// The gradients of every leaf that `root` depends on, starting from `seed` at the root. Consumes the tape; the result is
/// off it.
///
/// # Panics
/// If an earlier `backward` consumed a part of the tape.
#[track_caller]
pub fn backward<V: Value>(root: &V, seed: V) -> Gradients<V> {
    let _off = Pause::new();
    match walk(root, seed, true, 0, |node| node.leaf) {
        Ok(grads) => grads,
        Err(why) => panic!("{why}"),
    }
}

/// The gradients of the named values, leaves or not. The tape stays, and the result is differentiable again (unless
/// inside [`no_grad`]).
///
/// # Panics
/// If an earlier `backward` consumed a part of the tape.
#[track_caller]
pub fn grad<V: Value, const N: usize>(root: &V, seed: V, of: [&V; N]) -> Gradients<V> {
    let oldest = of.iter().filter_map(|x| x.node()).map(|node| node.id).min().unwrap_or(u64::MAX);
    let asked = |node: &Node<V>| of.iter().any(|x| x.node().is_some_and(|n| n.id == node.id));
    match walk(root, seed, false, oldest, asked) {
        Ok(grads) => grads,
        Err(why) => panic!("{why}"),
    }
}

/// Panics unless a leaf reaches the value.
#[track_caller]
pub(crate) fn check_tracked<V: Value>(op: &str, value: &V) {
    assert!(
        value.node().is_some(),
        "{op}: nothing to differentiate: no parameter or other leaf reaches this tensor; is everything frozen, detached, or \
         computed under no_grad?"
    );
}

thread_local! {
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

/// Runs `f` without recording on this thread: for evaluation. PyTorch: `torch.no_grad`.
///
/// ```
/// # use minitorch_core::{Scalar, no_grad};
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
