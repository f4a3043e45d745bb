//! `Gradients`: what `backward` returns, and what is done to it before the optimizer's step: accumulation over micro-batches, norms,
//! clipping. Everything stays on the device.

use crate::autodiff::{ById, Value};
use crate::backend::Backend;
use crate::tensor::Tensor;
use std::collections::hash_map::Entry;
use std::ops::{AddAssign, Index};

/// Gradients by variable: `&grads[&w]`, or `grads.get(&w)` when there may be none.
pub struct Gradients<V> {
    pub(crate) by_node: ById<V>,
}

impl<V: Value> Gradients<V> {
    /// The gradient in `x`; `None` if none reached it.
    pub fn get(&self, x: &V) -> Option<&V> {
        x.node().and_then(|node| self.by_node.get(&node.id()))
    }

    /// The gradient in `x`, taken out.
    pub fn remove(&mut self, x: &V) -> Option<V> {
        x.node().and_then(|node| self.by_node.remove(&node.id()))
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

/// No gradients: where accumulation starts.
impl<V> Default for Gradients<V> {
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
                    self.by_node.insert(id, sum.accumulate(more));
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
    /// The L2 norm of all gradients as one vector: rank 0, on the device. The squares are summed in the gradients' dtype, so
    /// they may overflow where the norm would not. PyTorch: `nn.utils.get_total_norm`.
    ///
    /// # Panics
    /// If there are no gradients, and so no device to answer on; or they are not of one dtype on one device.
    #[track_caller]
    pub fn norm(&self) -> Tensor<B> {
        // In the order of the variables, so that rounding is the same in every run.
        let mut ordered: Vec<(&u64, &Tensor<B>)> = self.by_node.iter().collect();
        ordered.sort_unstable_by_key(|(id, _)| **id);
        let Some((_, first)) = ordered.first() else { panic!("norm: there are no gradients to take the norm of") };
        let mut sum: Option<Tensor<B>> = None;
        for (_, g) in &ordered {
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
    /// `min(1, max_norm / (norm + 1e-6))`; and the norm before. Nothing is read back. A NaN norm makes all of them NaN, an
    /// infinite one all but those that are themselves infinite 0: look at it before the step if that may happen. PyTorch: `nn.utils.clip_grad_norm_`. Pascanu et al., "On the
    /// difficulty of training recurrent neural networks", 2013.
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
        (self.map(|g| g * &factor), norm)
    }

    /// The gradients, each element brought into `-limit..=limit`; NaN stays. PyTorch: `nn.utils.clip_grad_value_`.
    ///
    /// # Panics
    /// If the limit is negative or NaN.
    #[track_caller]
    pub fn clip_value(self, limit: f64) -> Self {
        assert!(limit >= 0.0, "clip_value: the limit must be at least 0, not {limit}");
        self.map(|g| g.clamp(-limit, limit))
    }

    /// The gradients times a number, such as 1 / micro-batches.
    pub fn scale(self, factor: f64) -> Self {
        self.map(|g| g * factor)
    }
}
