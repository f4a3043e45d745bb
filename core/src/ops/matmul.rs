//! Matrix products, and the linear map `f(x wT + b)` with an activation f in its epilogue.
//!
//! ```text
//! y = a b            ga = g bT            gb = aT g
//! y = x wT + b       gx = g w             gw = gT x        gb = sum of g over rows
//! ```

use crate::autodiff::{parents, record};
use crate::backend::{Backend, Device, MAX_WORK, View, ViewOf};
use crate::ops::unary::{UnaryOp, unary, unary_grad};
use crate::shape::{Shape, misfit};
use crate::tensor::Tensor;
use crate::tensor::fused::{Save, Saved, fused_with};

/// The functions that a [linear map](Tensor::linear_activated) or a [convolution](Tensor::conv2d_activated) can apply in its
/// epilogue. Their derivatives are functions of their outputs, so the tape does not keep their inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// [`Tensor::relu`].
    Relu,
    /// [`Tensor::sigmoid`].
    Sigmoid,
    /// [`Tensor::tanh`].
    Tanh,
}

impl Activation {
    /// The function of one element.
    pub fn op(self) -> UnaryOp {
        match self {
            Activation::Relu => UnaryOp::Relu,
            Activation::Sigmoid => UnaryOp::Sigmoid,
            Activation::Tanh => UnaryOp::Tanh,
        }
    }
}

/// The arguments of [`MatmulOps::linear_grad`].
pub struct LinearGrad<'a, B: Backend> {
    /// The gradient of the result, `[.., n]`.
    pub g: &'a Tensor<B>,
    /// The input `[.., k]`, if the weight's gradient `[n, k]` is wanted.
    pub x: Option<&'a Tensor<B>>,
    /// The weight `[n, k]`, if the input's gradient `[.., k]` is wanted.
    pub w: Option<&'a Tensor<B>>,
    /// Whether the bias's gradient `[n]` is wanted.
    pub bias: bool,
    /// The activation and its output, if there is one: `g` is then the gradient of that output.
    pub activated: Option<(Activation, &'a Tensor<B>)>,
}

impl<B: Backend> LinearGrad<'_, B> {
    /// The gradient of the activation's argument; `g` if there is no activation.
    pub fn before_activation(&self) -> Tensor<B> {
        before_activation(self.g, self.activated)
    }
}

/// Matrix products and the linear map. See the [contract](crate::backend).
pub trait MatmulOps: Device {
    /// `[.., m, k] x [.., k, n] -> [.., m, n]`. Both have the same rank, at least 2, and the same batch dimensions, with stride 0
    /// where they broadcast.
    fn matmul(&self, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Self::Storage;

    /// `f(x wᵀ + b)`: x `[.., k]`, w `[n, k]`, b `[n]`; without an activation f, `x wᵀ + b`.
    fn linear(
        &self,
        x: &Tensor<Self>,
        w: &Tensor<Self>,
        bias: Option<&Tensor<Self>>,
        activation: Option<Activation>,
    ) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::linear(x, w, bias, activation)
    }

    /// The gradients of [`linear`](MatmulOps::linear) with respect to x, w and b, those that are wanted.
    fn linear_grad(&self, g: &LinearGrad<'_, Self>) -> [Option<Tensor<Self>>; 3]
    where
        Self: Backend,
    {
        composed::linear_grad(g)
    }
}

/// The name of the tape's node of an operation with an activation in its epilogue.
macro_rules! node_name {
    ($op:literal, $activation:expr) => {
        match $activation {
            None => $op,
            Some(Activation::Relu) => concat!($op, " + relu"),
            Some(Activation::Sigmoid) => concat!($op, " + sigmoid"),
            Some(Activation::Tanh) => concat!($op, " + tanh"),
        }
    };
}
pub(crate) use node_name;

/// The gradient of an activation's input, given that of its output; `g` itself without an activation.
pub(crate) fn before_activation<B: Backend>(g: &Tensor<B>, activated: Option<(Activation, &Tensor<B>)>) -> Tensor<B> {
    match activated {
        None => g.clone(),
        Some((f, y)) => unary_grad(f.op(), y, g),
    }
}

impl<B: Backend> Tensor<B> {
    /// The matrix product `[.., m, k] x [.., k, n] -> [.., m, n]`; leading (batch) dimensions broadcast. As the
    /// first operand a vector is a row, as the second a column, and its dimension is dropped from the result. PyTorch: `matmul`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let a = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &device);
    /// let x = Tensor::new([1.0, -1.0], &device);
    /// assert_eq!(a.matmul(&x).to_vec::<f32>()?, [-1.0, -1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the inner or batch dimensions do not match, either tensor is of rank 0, or the dtype is not a float.
    #[track_caller]
    pub fn matmul(&self, other: &Self) -> Self {
        self.matmul_as("matmul", other)
    }

    /// [`matmul`](Self::matmul) for the operation `op`, which messages name.
    #[track_caller]
    pub(crate) fn matmul_as(&self, op: &str, other: &Self) -> Self {
        let (a, b) = (self, other);
        a.check_same(op, b);
        a.check_float(op);
        assert!(a.rank() > 0 && b.rank() > 0, "{op}: wants matrices or vectors, not {:?} x {:?}", a.shape(), b.shape());
        if a.rank() == 1 {
            return a.unsqueeze(0).matmul_as(op, b).squeeze(if b.rank() == 1 { 0 } else { -2 });
        }
        if b.rank() == 1 {
            return a.matmul_as(op, &b.unsqueeze(1)).squeeze(-1);
        }
        let (k, k2) = (a.shape()[a.rank() - 1], b.shape()[b.rank() - 2]);
        assert!(k == k2, "{op}: {:?} x {:?}: the inner dimensions {k} and {k2} differ", a.shape(), b.shape());
        if a.rank() > 2 && b.rank() == 2 {
            // One tall product instead of a batch, so that its gradient in b is one product too, without a sum over the batch.
            let (rows, n) = (leading(a), b.shape()[1]);
            return a.reshape([rows, k]).matmul_as(op, b).reshape(a.shape().with(a.rank() - 1, n));
        }
        let batch = {
            let (sa, sb) = (&a.shape()[..a.rank() - 2], &b.shape()[..b.rank() - 2]);
            let (sa, sb) = (Shape::new(sa), Shape::new(sb));
            let Some(batch) = sa.broadcast(&sb) else {
                let why = misfit([("left", &sa), ("right", &sb)]);
                panic!("{op}: {:?} x {:?}: the batch dimensions {sa:?} and {sb:?} {why}", a.shape(), b.shape())
            };
            batch
        };
        check_work(op, a, b, [batch.numel(), a.shape()[a.rank() - 2], b.shape()[b.rank() - 1]], k);
        product(a, b, batch)
    }
}

/// Panics if a result of `sizes` has too many elements, or the product takes more than [`MAX_WORK`] multiply-adds.
#[track_caller]
fn check_work<B: Backend>(op: &str, a: &Tensor<B>, b: &Tensor<B>, sizes: [usize; 3], k: usize) {
    let fits = |limit: usize, sizes: &[usize]| {
        sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size.max(1))).is_some_and(|n| n <= limit)
    };
    let [batch, m, n] = sizes;
    // Sizes of at most 2^14 cannot exceed either limit.
    if batch.max(m).max(n).max(k) > 1 << 14 {
        assert!(
            fits(isize::MAX as usize / 8, &sizes),
            "{op}: {:?} x {:?} has a result of too many elements",
            a.shape(),
            b.shape()
        );
        assert!(
            sizes.contains(&0) || fits(MAX_WORK, &[batch, m, n, k]),
            "{op}: {:?} x {:?} takes more than 2^56 multiply-adds",
            a.shape(),
            b.shape()
        );
    }
}

/// The product of all sizes except the last.
fn leading<B: Backend>(x: &Tensor<B>) -> usize {
    x.shape()[..x.rank() - 1].iter().product()
}

/// The product of checked operands, on the tape. Each operand is kept for the gradient of the other.
fn product<B: Backend>(a: &Tensor<B>, b: &Tensor<B>, batch: Shape) -> Tensor<B> {
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
    record("matmul", out, parents, move |g, _| {
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
    /// If shapes, dtypes or devices do not match.
    #[track_caller]
    pub fn linear(&self, weight: &Self, bias: Option<&Self>) -> Self {
        linear("linear", self, weight, bias, None)
    }

    /// `f(x wᵀ + b)`: [`linear`](Self::linear) with the activation f in its epilogue. Values and gradients are those of
    /// `x.linear(..)` followed by the activation. PyTorch: `functional.linear` and the activation, which
    /// `torch.compile` fuses.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[1.0, -2.0]], &device);
    /// let w = Tensor::new([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], &device);
    /// assert_eq!(x.linear_activated(&w, None, Activation::Relu).to_vec::<f32>()?, [1.0, 0.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match.
    #[track_caller]
    pub fn linear_activated(&self, weight: &Self, bias: Option<&Self>, activation: Activation) -> Self {
        linear("linear_activated", self, weight, bias, Some(activation))
    }
}

#[track_caller]
fn linear<B: Backend>(
    op: &str,
    x: &Tensor<B>,
    weight: &Tensor<B>,
    bias: Option<&Tensor<B>>,
    activation: Option<Activation>,
) -> Tensor<B> {
    x.check_same(op, weight);
    x.check_float(op);
    assert!(
        x.rank() >= 1 && weight.rank() == 2 && x.shape()[x.rank() - 1] == weight.shape()[1],
        "{op}: an input {:?} and a weight {:?} do not fit: the last dimension of both must be equal",
        x.shape(),
        weight.shape()
    );
    if let Some(b) = bias {
        x.check_same(op, b);
        assert!(**b.shape() == [weight.shape()[0]], "{op}: a bias {:?} for a weight {:?}", b.shape(), weight.shape());
    }
    check_work(op, x, weight, [1, leading(x), weight.shape()[0]], weight.shape()[1]);
    // Each operand is kept for the other's gradient.
    let save = Save { inputs: [weight.is_tracked(), x.is_tracked(), false], output: activation.is_some() };
    let forward = |inputs: [Option<&Tensor<B>>; 3]| {
        let [Some(x), Some(w), bias] = inputs else { unreachable!("both are given") };
        (x.device().linear(x, w, bias, activation), ())
    };
    let gradient = move |of: Saved<'_, B, (), 3>| {
        let ([x, w, _], g, bias) = (of.inputs, of.g, of.wants[2]);
        let grads = LinearGrad { g, x, w, bias, activated: activation.zip(of.output) };
        if of.recording { composed::linear_grad(&grads) } else { g.device().linear_grad(&grads) }
    };
    fused_with(node_name!("linear", activation), [Some(x), Some(weight), bias], save, forward, gradient).0
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`MatmulOps::linear_grad`] as tensor operations; differentiable.
    pub fn linear_grad<B: Backend>(of: &LinearGrad<'_, B>) -> [Option<Tensor<B>>; 3] {
        let g = of.before_activation();
        let (rows, n) = (leading(&g), g.shape()[g.rank() - 1]);
        let flat = || g.reshape([rows, n]);
        [
            of.w.map(|w| g.matmul(w)),
            of.x.map(|x| flat().t().matmul(&x.reshape([rows, x.shape()[x.rank() - 1]]))),
            of.bias.then(|| flat().sum(0)),
        ]
    }

    /// [`MatmulOps::linear`] as tensor operations; the activation is applied in place.
    pub fn linear<B: Backend>(
        x: &Tensor<B>,
        w: &Tensor<B>,
        bias: Option<&Tensor<B>>,
        activation: Option<Activation>,
    ) -> Tensor<B> {
        if let Some(f) = activation {
            return unary(f.op(), &mut x.device().linear(x, w, bias, None));
        }
        let y = x.matmul(&w.t());
        match bias {
            Some(b) => y + b,
            None => y,
        }
    }
}
