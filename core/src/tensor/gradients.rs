//! Gradients of tensors: norms, clipping and scaling before an optimizer's step. Everything stays on the device.

use super::Tensor;
use crate::autodiff::{Gradient, Gradients, RowsOf};
use crate::backend::Backend;
use crate::ops::index::RowGradient;

impl<B: Backend> Gradients<Tensor<B>> {
    /// The row-sparse gradient with respect to `x`, if `backward` computed one: if `x` is a leaf that only
    /// [`index_select`](Tensor::index_select) along dimension 0 has read, as in an embedding, at fewer indices than it
    /// has rows. [`get`](Gradients::get) returns the same gradient as a tensor of the leaf's shape, zeros included.
    /// PyTorch: the sparse gradient of `nn.Embedding(sparse=True)`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let table = Tensor::ones([100_000, 2], &device).requires_grad();
    /// let words = Tensor::new([7, 99_999, 7], &device);
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
    /// If there are no gradients, and so no device for the result; or they are not of one dtype on one device.
    #[track_caller]
    pub fn norm(&self) -> Tensor<B> {
        // In the order of the variables' creation, so that rounding is the same in every run.
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
    /// `min(1, max_norm / (norm + 1e-6))`; and the norm before clipping. Nothing is copied to the host. A NaN norm
    /// makes all gradients NaN (of a row-sparse one, its rows); an infinite norm makes finite elements 0. Check the
    /// norm before the step if that may happen. PyTorch: `nn.utils.clip_grad_norm_`. Pascanu et al., "On the difficulty
    /// of training recurrent neural networks", 2013.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let w = Tensor::new([1.0, 1.0], &device).requires_grad();
    /// let grads = (&w * Tensor::new([3.0, 4.0], &device)).sum(..).backward();
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

    /// [`map`](Gradients::map) by a linear function, which is applied to a row-sparse gradient's rows alone: its zeros
    /// stay zeros even where the function's factor is NaN.
    fn map_linear(self, f: impl Fn(&Tensor<B>) -> Tensor<B>) -> Self {
        self.map_each(|gradient| match gradient {
            Gradient::Whole(whole) => Gradient::Whole(f(&whole)),
            Gradient::Rows(rows) => Gradient::in_rows(rows.map_linear(&f)),
        })
    }
}
