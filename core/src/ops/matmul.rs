//! Matrix products and the linear map.

use crate::autodiff::{parents, record};
use crate::backend::{Backend, View};
use crate::dtype::DType;
use crate::tensor::Tensor;

impl<B: Backend> Tensor<B> {
    /// The matrix product `[.., m, k] x [.., k, n] -> [.., m, n]`; leading (batch) dimensions broadcast. A vector on the
    /// left is a row, on the right a column, and its dimension is dropped from the result. PyTorch: `matmul`.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// let a = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &device());
    /// let x = Tensor::new([1.0, -1.0], &device());
    /// assert_eq!(a.matmul(&x).to_vec::<f32>()?, [-1.0, -1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the inner or batch dimensions do not fit, either tensor is of rank 0, or the dtype is not a float.
    #[track_caller]
    pub fn matmul(&self, other: &Self) -> Self {
        let (a, b) = (self, other);
        a.check_same("matmul", b);
        assert!(a.dtype().is_float(), "matmul: wants a float dtype, not {}", a.dtype());
        assert!(
            a.rank() > 0 && b.rank() > 0,
            "matmul: wants matrices or vectors, not {:?} x {:?}",
            a.shape(),
            b.shape()
        );
        if a.rank() == 1 {
            return a.unsqueeze(0).matmul(b).squeeze(if b.rank() == 1 { 0 } else { -2 });
        }
        if b.rank() == 1 {
            return a.matmul(&b.unsqueeze(1)).squeeze(-1);
        }
        let (k, k2) = (a.shape()[a.rank() - 1], b.shape()[b.rank() - 2]);
        assert!(k == k2, "matmul: {:?} x {:?}: the inner dimensions {k} and {k2} differ", a.shape(), b.shape());
        if a.rank() > 2 && b.rank() == 2 {
            // One tall product instead of a batch: also its gradient in b is then one product and no sum over a batch.
            let (rows, n) = (leading(a), b.shape()[1]);
            return a.reshape([rows, k]).matmul(b).reshape(a.shape().with(a.rank() - 1, n));
        }
        let batch = {
            let (sa, sb) = (&a.shape()[..a.rank() - 2], &b.shape()[..b.rank() - 2]);
            let Some(batch) = crate::Shape::new(sa).broadcast(&crate::Shape::new(sb)) else {
                panic!(
                    "matmul: {:?} x {:?}: the batch dimensions {sa:?} and {sb:?} do not broadcast",
                    a.shape(),
                    b.shape()
                )
            };
            batch
        };
        product(a, b, batch)
    }
}

/// The product of all sizes but the last.
fn leading<B: Backend>(x: &Tensor<B>) -> usize {
    x.shape()[..x.rank() - 1].iter().product()
}

/// The checked product; its gradients are products too.
fn product<B: Backend>(a: &Tensor<B>, b: &Tensor<B>, batch: crate::Shape) -> Tensor<B> {
    let with_batch = |x: &Tensor<B>| {
        if x.rank() == batch.len() + 2 && x.shape()[..batch.len()] == batch[..] {
            return *x.layout();
        }
        let [m, n] = [x.shape()[x.rank() - 2], x.shape()[x.rank() - 1]];
        x.layout().expand(batch.insert(batch.len(), m).insert(batch.len() + 1, n))
    };
    let (la, lb) = (with_batch(a), with_batch(b));
    let storage = a.device().matmul(View { layout: &la, ..a.view() }, View { layout: &lb, ..b.view() });
    let shape = la.shape().with(batch.len() + 1, lb.shape()[batch.len() + 1]);
    let out = Tensor::from_storage(a.device(), storage, a.dtype(), shape);
    let Some(parents) = parents([a, b]) else { return out };
    let (sa, sb) = (*a.shape(), *b.shape());
    let (keep_a, keep_b) = (parents[1].is_some().then(|| a.clone()), parents[0].is_some().then(|| b.clone()));
    record(out, parents, move |g, _| {
        [
            keep_b.as_ref().map(|b| g.matmul(&b.transpose(-2, -1)).sum_to_shape(sa)),
            keep_a.as_ref().map(|a| a.transpose(-2, -1).matmul(g).sum_to_shape(sb)),
        ]
    })
}

impl<B: Backend> Tensor<B> {
    /// `x wᵀ + b`: self `[.., k]`, weight `[n, k]`, bias `[n]`; the result is `[.., n]`. PyTorch: `functional.linear`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not fit.
    #[track_caller]
    pub fn linear(&self, weight: &Self, bias: Option<&Self>) -> Self {
        self.check_same("linear", weight);
        assert!(self.dtype().is_float(), "linear: wants a float dtype, not {}", self.dtype());
        assert!(
            self.rank() >= 1 && weight.rank() == 2 && self.shape()[self.rank() - 1] == weight.shape()[1],
            "linear: an input {:?} and a weight {:?} do not fit: the last dimension of both must be equal",
            self.shape(),
            weight.shape()
        );
        if let Some(b) = bias {
            self.check_same("linear", b);
            assert!(
                **b.shape() == [weight.shape()[0]],
                "linear: a bias {:?} for a weight {:?}",
                b.shape(),
                weight.shape()
            );
        }
        if self.is_half() {
            return self.widened().linear(&weight.widened(), bias.map(Tensor::widened).as_ref()).cast(DType::F16);
        }
        let out = self.device().linear(&self.detach(), &weight.detach(), bias.map(Tensor::detach).as_ref());
        // An absent bias stands in the rule as an input that is not on the tape.
        let b = bias.map_or_else(|| self.detach(), Tensor::clone);
        let Some(parents) = parents([self, weight, &b]) else { return out };
        let keep_x = parents[1].is_some().then(|| self.clone());
        let keep_w = parents[0].is_some().then(|| weight.clone());
        let ([n, k], rows): ([usize; 2], usize) = (weight.dims(), leading(self));
        record(out, parents, move |g, wants| {
            let flat = || g.reshape([rows, n]);
            [
                keep_w.as_ref().map(|w| g.matmul(w)),
                keep_x.as_ref().map(|x| flat().t().matmul(&x.reshape([rows, k]))),
                wants[2].then(|| flat().sum(0)),
            ]
        })
    }
}

/// [`Backend::linear`] as tensor operations.
pub(crate) fn composed_linear<B: Backend>(x: &Tensor<B>, w: &Tensor<B>, bias: Option<&Tensor<B>>) -> Tensor<B> {
    let y = x.matmul(&w.t());
    match bias {
        Some(b) => y + b,
        None => y,
    }
}
