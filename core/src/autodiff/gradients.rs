//! `Gradients`: what `backward` returns, by variable; and their accumulation over micro-batches.

use super::{ById, RowsOf, Value};
use std::collections::hash_map::Entry;
use std::ops::{AddAssign, Index};

/// The gradients with respect to variables: `&grads[&w]`, or `grads.get(&w)` if there may be none. PyTorch stores them
/// in `w.grad` instead.
#[must_use]
pub struct Gradients<V: Value> {
    pub(crate) by_node: ById<Gradient<V>>,
}

/// The gradient of one variable.
pub(crate) enum Gradient<V: Value> {
    /// Of the variable's shape.
    Whole(V),
    /// Zero except in a few rows.
    Rows(Box<V::Rows>),
}

impl<V: Value> Gradient<V> {
    pub(crate) fn in_rows(rows: V::Rows) -> Self {
        Gradient::Rows(Box::new(rows))
    }

    pub(crate) fn whole(&self) -> &V {
        match self {
            Gradient::Whole(whole) => whole,
            Gradient::Rows(rows) => rows.whole(),
        }
    }

    pub(crate) fn into_whole(self) -> V {
        match self {
            Gradient::Whole(whole) => whole,
            Gradient::Rows(rows) => rows.whole().clone(),
        }
    }

    /// The sum of two, by value so that the first one's memory may be reused.
    pub(crate) fn plus(self, more: Self) -> Self {
        match (self, more) {
            (Gradient::Whole(sum), Gradient::Whole(more)) => Gradient::Whole(sum.accumulate(more)),
            (Gradient::Whole(sum), Gradient::Rows(rows)) | (Gradient::Rows(rows), Gradient::Whole(sum)) => {
                Gradient::Whole(rows.added_to(sum))
            }
            (Gradient::Rows(sum), Gradient::Rows(more)) => match sum.plus(*more) {
                Ok(rows) => Gradient::in_rows(rows),
                Err(whole) => Gradient::Whole(whole),
            },
        }
    }
}

impl<V: Value> Gradients<V> {
    /// The gradient with respect to `x`; `None` if none reached it.
    pub fn get(&self, x: &V) -> Option<&V> {
        Some(self.entry(x)?.whole())
    }

    /// Removes the gradient with respect to `x` and returns it.
    pub fn remove(&mut self, x: &V) -> Option<V> {
        let id = x.node()?.id();
        self.by_node.remove(&id).map(Gradient::into_whole)
    }

    pub(crate) fn entry(&self, x: &V) -> Option<&Gradient<V>> {
        self.by_node.get(&x.node()?.id())
    }

    /// The number of variables with a gradient.
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether no variable has a gradient.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// All gradients, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.by_node.values().map(Gradient::whole)
    }

    /// Replaces each gradient by `f` of it. A row-sparse one ([`rows`](Gradients::rows)) becomes dense first.
    pub fn map(self, f: impl Fn(V) -> V) -> Self {
        self.map_each(|gradient| Gradient::Whole(f(gradient.into_whole())))
    }

    pub(crate) fn map_each(mut self, f: impl Fn(Gradient<V>) -> Gradient<V>) -> Self {
        self.by_node = self.by_node.into_iter().map(|(id, gradient)| (id, f(gradient))).collect();
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

/// No gradients, to accumulate into.
impl<V: Value> Default for Gradients<V> {
    fn default() -> Self {
        Gradients { by_node: ById::default() }
    }
}

impl<V: Value> Gradients<V> {
    /// Adds `more` variable by variable; a variable without a gradient takes that of `more`. This trains
    /// on a batch too large for the device in micro-batches: divide the mean loss of each by their number, and accumulate the
    /// gradients. PyTorch: calling `backward` again without `zero_grad`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let w = Tensor::new([1.0, -1.0], &device).requires_grad();
    /// let micro_batches = [Tensor::new([2.0, 0.0], &device), Tensor::new([4.0, 6.0], &device)];
    /// let mut grads = Gradients::default();
    /// for x in &micro_batches {
    ///     let loss = (&w * x).sum(..) / micro_batches.len() as f64;
    ///     grads += loss.backward(); // this part's activations are freed here
    /// }
    /// assert_eq!(grads[&w].to_vec::<f32>()?, [3.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn accumulate(&mut self, more: Self) {
        if self.by_node.is_empty() {
            *self = more;
            return;
        }
        for (id, more) in more.by_node {
            match self.by_node.entry(id) {
                Entry::Occupied(sum) => {
                    // Removed, so that its memory may be reused.
                    let (id, sum) = sum.remove_entry();
                    self.by_node.insert(id, sum.plus(more));
                }
                Entry::Vacant(entry) => drop(entry.insert(more)),
            }
        }
    }
}

/// [`accumulate`](Gradients::accumulate).
impl<V: Value> AddAssign for Gradients<V> {
    fn add_assign(&mut self, more: Self) {
        self.accumulate(more);
    }
}
