//! Assignment to a part of a tensor, which selects as a slice does.

use crate::autodiff::{Value, parents, record};
use crate::backend::Backend;
use crate::dtype::DType;
use crate::index::SliceArg;
use crate::layout::Layout;
use crate::operand::{Operand, Rhs};
use crate::ops::unary::check_whole;
use crate::ops::view::selected;
use crate::shape::misfit_to;
use crate::tensor::Tensor;

impl<B: Backend> Tensor<B> {
    /// Writes a value into a part of this tensor, which is selected as by [`slice`](Self::slice): `x.set((0, 1..), &y)`,
    /// `x.set(.., 0)`. The value is a number, or a tensor that broadcasts to the shape of the part. PyTorch: `x[0, 1:] = y`.
    ///
    /// The storage is overwritten in place if nothing else holds it, and copied first otherwise. So no other tensor changes, not
    /// even a view of this one; in PyTorch views see the write.
    ///
    /// On the tape, the tensor becomes the result of an operation on its old value and the new one: the gradient of the old value
    /// is 0 in the part, and that of `y` is the gradient of the part. A leaf is a leaf no longer; a clone of it finds its gradient.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let y = Tensor::new([5.0, 6.0], &device).requires_grad();
    /// let mut x = Tensor::zeros([3, 2], &device);
    /// x.set(0, &y);
    /// x.set((1.., -1), 1);
    /// assert_eq!(x.to_vec::<f32>()?, [5.0, 6.0, 0.0, 1.0, 0.0, 1.0]);
    /// assert_eq!(x.square().sum(..).backward()[&y].to_vec::<f32>()?, [10.0, 12.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If an index or a range is outside its dimension, or there are more of them than dimensions; if the value does not broadcast
    /// to the part, its dtype or device differs, or it is a number that the dtype does not hold.
    #[track_caller]
    pub fn set(&mut self, at: impl SliceArg, value: impl Operand<B>) {
        let part = selected(self.selection("set", at));
        match value.operand() {
            Rhs::Owned(y) => self.write_part(part, &y),
            Rhs::Borrowed(y) => self.write_part(part, y),
            Rhs::Number(number) => {
                let value = number.value("set", self.dtype());
                if self.dtype() == DType::I32 {
                    check_whole("set", value);
                }
                self.fill_part(part, value);
            }
        }
    }

    #[track_caller]
    fn write_part(&mut self, part: impl Fn(&Layout) -> Layout + Copy + Send + Sync + 'static, value: &Self) {
        self.check_same("set", value);
        let shape = *part(self.layout()).shape();
        // As in PyTorch, leading ones that the part lacks do not matter.
        let extra = value.shape().iter().take(value.rank().saturating_sub(shape.len())).take_while(|size| **size == 1);
        let y = (0..extra.count()).fold(value.clone(), |y, _| y.squeeze(0));
        if y.shape().broadcast(&shape) != Some(shape) {
            panic!("set: {:?} does not broadcast to the part {shape:?}{}", y.shape(), misfit_to(y.shape(), &shape));
        }
        let y = y.expand(shape);
        let nodes = parents([&*self, &y]);
        self.storage_mut(); // unique and row-major from here on
        let at = part(self.layout());
        self.write_at(at, &y);
        let out = self.with_node(None);
        *self = match nodes {
            Some(nodes) => record("set", out, nodes, move |g, wants| {
                let outside = || {
                    let mut g = g.clone();
                    g.fill_part(part, 0.0);
                    g
                };
                [wants[0].then(outside), wants[1].then(|| g.part(part))]
            }),
            None => out,
        };
    }

    fn fill_part(&mut self, part: impl Fn(&Layout) -> Layout + Copy + Send + Sync + 'static, value: f64) {
        let (nodes, dtype) = (parents([&*self]), self.dtype());
        self.storage_mut(); // unique and row-major from here on
        let [at] = Layout::merge([part(self.layout())]);
        let (device, storage) = self.storage_mut();
        device.fill(storage, &at, dtype, value);
        *self = self.with_node(None).recorded("set", nodes, move |g| {
            let mut g = g.clone();
            g.fill_part(part, 0.0);
            g
        });
    }
}
