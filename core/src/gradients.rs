//! `Gradients`: what `backward` returns, and what is done to it before the optimizer's step: accumulation over micro-batches, norms,
//! clipping. Everything stays on the device.

mod rows;

pub use rows::RowGradient;

use crate::autodiff::{ById, RowsOf, Value};
use crate::backend::Backend;
use crate::tensor::Tensor;
use std::collections::hash_map::Entry;
use std::ops::{AddAssign, Index};

/// Gradients by variable: `&grads[&w]`, or `grads.get(&w)` when there may be none.
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

    /// The sum of two; by value, so that the first one's memory may be reused.
    pub(crate) fn joined(self, more: Self) -> Self {
        match (self, more) {
            (Gradient::Whole(sum), Gradient::Whole(more)) => Gradient::Whole(sum.accumulate(more)),
            (Gradient::Whole(sum), Gradient::Rows(rows)) | (Gradient::Rows(rows), Gradient::Whole(sum)) => {
                Gradient::Whole(rows.added_to(sum))
            }
            (Gradient::Rows(sum), Gradient::Rows(more)) => match sum.joined(*more) {
                Ok(rows) => Gradient::in_rows(rows),
                Err(whole) => Gradient::Whole(whole),
            },
        }
    }
}

impl<V: Value> Gradients<V> {
    /// The gradient in `x`; `None` if none reached it.
    pub fn get(&self, x: &V) -> Option<&V> {
        Some(self.entry(x)?.whole())
    }

    /// The gradient in `x`, taken out.
    pub fn remove(&mut self, x: &V) -> Option<V> {
        let id = x.node()?.id();
        self.by_node.remove(&id).map(Gradient::into_whole)
    }

    fn entry(&self, x: &V) -> Option<&Gradient<V>> {
        self.by_node.get(&x.node()?.id())
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
        self.by_node.values().map(Gradient::whole)
    }

    /// Replaces each gradient by `f` of it, with its zeros if it was in rows ([`rows`](Gradients::rows)): it is whole afterwards.
    pub fn map(self, f: impl Fn(V) -> V) -> Self {
        self.map_each(|gradient| Gradient::Whole(f(gradient.into_whole())))
    }

    fn map_each(mut self, f: impl Fn(Gradient<V>) -> Gradient<V>) -> Self {
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

/// No gradients: where accumulation starts.
impl<V: Value> Default for Gradients<V> {
    fn default() -> Self {
        Gradients { by_node: ById::default() }
    }
}

impl<V: Value> Gradients<V> {
    /// Adds `more` variable by variable; what was missing is taken over. So a batch too large for the device is trained in
    /// parts: the mean's gradient is the sum of the parts' gradients, each of a loss divided by the number of parts.
    /// PyTorch: calling `backward` again without `zero_grad`.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// let w = Tensor::new([1.0, -1.0], &device()).requires_grad();
    /// let micro_batches = [Tensor::new([2.0, 0.0], &device()), Tensor::new([4.0, 6.0], &device())];
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
                    // Taken out, so that the first one's memory may be reused.
                    let (id, sum) = sum.remove_entry();
                    self.by_node.insert(id, sum.joined(more));
                }
                Entry::Vacant(place) => drop(place.insert(more)),
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

impl<B: Backend> Gradients<Tensor<B>> {
    /// The gradient in `x` by rows, if that is how `backward` found it: `x` is a leaf that was read only by
    /// [`index_select`](Tensor::index_select) along dimension 0, as an embedding is, and fewer times than it has rows.
    /// [`get`](Gradients::get) gives the same gradient with its zeros, at the cost of a pass over all of them. PyTorch: the
    /// sparse gradient of `nn.Embedding(sparse=True)`.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// let table = Tensor::ones([100_000, 2], &device()).requires_grad();
    /// let words = Tensor::new([7, 99_999, 7], &device());
    /// let grads = table.index_select(0, &words).sum(..).backward();
    /// let rows = grads.rows(&table).unwrap();
    /// assert_eq!(rows.index().to_vec::<i32>()?, [7, 99_999, 7]);
    /// assert_eq!(rows.totals().to_vec::<f32>()?, [2.0, 2.0, 1.0, 1.0, 2.0, 2.0]); // row 7 was read twice
    /// # Ok::<(), Error>(())
    /// ```
    pub fn rows(&self, x: &Tensor<B>) -> Option<&RowGradient<B>> {
        match self.entry(x)? {
            Gradient::Whole(_) => None,
            Gradient::Rows(rows) => Some(rows),
        }
    }

    /// The L2 norm of all gradients as one vector: rank 0, on the device. The squares are summed in the gradients' dtype, so
    /// they may overflow where the norm would not. PyTorch: `nn.utils.get_total_norm`.
    ///
    /// # Panics
    /// If there are no gradients, and so no device to answer on; or they are not of one dtype on one device.
    #[track_caller]
    pub fn norm(&self) -> Tensor<B> {
        // In the order of the variables, so that rounding is the same in every run.
        let mut ordered: Vec<(&u64, &Gradient<Tensor<B>>)> = self.by_node.iter().collect();
        ordered.sort_unstable_by_key(|(id, _)| **id);
        let elements = |gradient: &Gradient<Tensor<B>>| match gradient {
            Gradient::Whole(whole) => whole.clone(),
            Gradient::Rows(rows) if rows.are_few() => rows.sums(),
            Gradient::Rows(rows) => rows.whole().clone(),
        };
        let mut all = ordered.into_iter().map(|(_, gradient)| elements(gradient)).peekable();
        let Some(first) = all.peek().cloned() else { panic!("norm: there are no gradients to take the norm of") };
        let mut sum: Option<Tensor<B>> = None;
        for g in all {
            assert!(
                g.dtype() == first.dtype() && g.device() == first.device(),
                "norm: the gradients must be of one dtype on one device; one is of {} on {:?}, another of {} on {:?}",
                first.dtype(),
                first.device(),
                g.dtype(),
                g.device()
            );
            let square = g.square().sum(..);
            sum = Some(match sum {
                Some(sum) => sum + square,
                None => square,
            });
        }
        match sum {
            Some(sum) => sum.sqrt(),
            None => unreachable!("there is a first gradient"),
        }
    }

    /// The gradients, scaled down together if their [`norm`](Gradients::norm) is above `max_norm`: times
    /// `min(1, max_norm / (norm + 1e-6))`; and the norm before. Nothing is read back. A NaN norm makes all of them NaN (in
    /// rows, those rows), an infinite one all but those that are themselves infinite 0: look at it before the step if that may
    /// happen. PyTorch: `nn.utils.clip_grad_norm_`. Pascanu et al., "On the difficulty of training recurrent neural networks",
    /// 2013.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// let w = Tensor::new([1.0, 1.0], &device()).requires_grad();
    /// let grads = (&w * Tensor::new([3.0, 4.0], &device())).sum(..).backward();
    /// let (grads, norm) = grads.clip_norm(1.0);
    /// assert_eq!(norm.item()?, 5.0);
    /// assert!((grads[&w].square().sum(..).item()? - 1.0).abs() < 1e-5);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// As [`norm`](Gradients::norm), and if `max_norm` is negative or NaN.
    #[track_caller]
    pub fn clip_norm(self, max_norm: f64) -> (Self, Tensor<B>) {
        assert!(max_norm >= 0.0, "clip_norm: the largest norm must be at least 0, not {max_norm}");
        let norm = self.norm();
        let factor = (max_norm / (&norm + 1e-6)).clamp(0.0, 1.0);
        (self.map_linear(|g| g * &factor), norm)
    }

    /// The gradients, each element brought into `-limit..=limit`; NaN stays. PyTorch: `nn.utils.clip_grad_value_`.
    ///
    /// # Panics
    /// If the limit is negative or NaN.
    #[track_caller]
    pub fn clip_value(self, limit: f64) -> Self {
        assert!(limit >= 0.0, "clip_value: the limit must be at least 0, not {limit}");
        self.map_each(|gradient| match gradient {
            Gradient::Whole(whole) => Gradient::Whole(whole.clamp(-limit, limit)),
            Gradient::Rows(rows) => Gradient::in_rows(rows.map_totals(|totals| totals.clamp(-limit, limit))),
        })
    }

    /// The gradients times a number, such as 1 / micro-batches.
    pub fn scale(self, factor: f64) -> Self {
        self.map_linear(|g| g * factor)
    }

    /// [`map`](Gradients::map) by a function that is linear, and so may be applied to parts of a gradient. Zeros stay zeros, also
    /// where the function's factor is NaN.
    fn map_linear(self, f: impl Fn(&Tensor<B>) -> Tensor<B>) -> Self {
        self.map_each(|gradient| match gradient {
            Gradient::Whole(whole) => Gradient::Whole(f(&whole)),
            Gradient::Rows(rows) => Gradient::in_rows(rows.map_linear(&f)),
        })
    }
}
