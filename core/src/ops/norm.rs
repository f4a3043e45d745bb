//! Normalization. Batch, layer and group norm are one operation over different dimensions:
//!
//! ```text
//! h  = (x - mean) / sqrt(var + eps)          y  = w h + b
//! gx = (gw - mean(gw) - h mean(gw h)) / sqrt(var + eps)     with gw = g w
//! ```
//!
//! All means are over the dimensions that share one mean.

use crate::backend::{Backend, Device};
use crate::error::{finite_from_0, must};
use crate::index::DimSet;
use crate::ops::reduce::{ReduceOp, centred, kept_shape, magnitude, reduce};
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::tensor::fused::{Save, Saved, fused_with, in_f32_with};

/// What [`NormOps::normalize`] normalizes over, and epsilon.
#[derive(Clone, Copy, Debug)]
pub struct NormOptions {
    /// The dimensions that share one mean and one variance; sorted, at least one.
    pub dims: DimSet,
    /// Added to the variance before the square root.
    pub eps: f64,
}

/// Columns of the statistics of [`NormOps::normalize`].
pub const FIELDS: usize = 4;

/// The three calls that core makes of [`NormOps::normalize`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NormKind {
    /// A mean per channel of all images.
    Batch,
    /// A mean per group of neighbouring channels of one image.
    Group,
    /// A mean per row, with weight and bias along it.
    Layer,
}

impl NormOptions {
    /// The kind of a call, and x as `[images, groups, channels per group, size]`, where a layer has one image of rows. `None` for a call
    /// that core does not make, and of an empty x.
    pub fn kind<B: Backend>(
        &self,
        x: &Tensor<B>,
        w: Option<&Tensor<B>>,
        b: Option<&Tensor<B>>,
    ) -> Option<(NormKind, [usize; 4])> {
        let weight = w.map(|w| &**w.shape());
        let kind = match (&**x.shape(), &*self.dims) {
            (&[n, c, size], [0, 2]) if weight.is_none_or(|w| *w == [1, c, 1]) => (NormKind::Batch, [n, c, 1, size]),
            (&[n, g, k, size], [2, 3]) if weight.is_none_or(|w| *w == [1, g, k, 1]) => {
                (NormKind::Group, [n, g, k, size])
            }
            (&[rows, d], [1]) if weight.is_none_or(|w| *w == [1, d]) => (NormKind::Layer, [1, rows, 1, d]),
            _ => return None,
        };
        (x.numel() > 0 && bias_fits(w, b)).then_some(kind)
    }

    /// The shape of the means of an x: 1 in the dimensions that share one.
    pub fn means(&self, x: &Shape) -> Shape {
        kept_shape(x, &self.dims)
    }
}

/// Whether a bias has its weight's shape, as in all of core's calls.
pub fn bias_fits<B: Backend>(w: Option<&Tensor<B>>, b: Option<&Tensor<B>>) -> bool {
    b.is_none_or(|b| w.is_some_and(|w| w.shape() == b.shape()))
}

/// Statistics that are contiguous from the start of their storage, for kernels that read them as aligned packs.
pub fn aligned<B: Backend>(statistics: &Tensor<B>) -> Tensor<B> {
    if statistics.layout().offset() == 0 { statistics.contiguous() } else { statistics + 0.0 }
}

/// Normalization: batch, layer and group norm. See the [contract](crate::backend).
pub trait NormOps: Device {
    /// `(x - mean) / sqrt(var + eps)`, times w plus b, with mean and (biased) variance over `options.dims`. Returns y and the
    /// statistics, `[m, 4]` for the m means in the order of the other dimensions:
    ///
    /// * columns 0 and 1: the mean rounded to the dtype, and the rounding error, which may be as large as the deviations from a
    ///   large mean;
    /// * column 2: the variance;
    /// * column 3: `1 / sqrt(var + eps)`, which is correct also where the variance overflows or underflows the dtype.
    ///
    /// w and b have x's rank, with x's sizes or 1; there is no b without a w. Core makes three kinds of calls:
    ///
    /// * batch norm: x `[n, c, size]` over 0 and 2, w `[1, c, 1]`;
    /// * layer norm: x `[rows, d]` over 1, w `[1, d]`;
    /// * group norm: x `[n, g, c / g, size]` over 2 and 3, w `[1, g, c / g, 1]`.
    fn normalize(
        &self,
        x: &Tensor<Self>,
        w: Option<&Tensor<Self>>,
        b: Option<&Tensor<Self>>,
        options: &NormOptions,
    ) -> [Tensor<Self>; 2]
    where
        Self: Backend,
    {
        composed::normalize(x, w, b, options)
    }

    /// The y of [`normalize`](NormOps::normalize) for given statistics, whose column 2, the variance, is not read. Core calls it
    /// for batch norm in evaluation: x `[n, c, size]` over 0 and 2, w `[1, c, 1]`.
    fn normalize_by(
        &self,
        x: &Tensor<Self>,
        w: Option<&Tensor<Self>>,
        b: Option<&Tensor<Self>>,
        statistics: &Tensor<Self>,
        options: &NormOptions,
    ) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::normalize_by(x, w, b, statistics, options)
    }

    /// The gradients of [`normalize`](NormOps::normalize)'s y with respect to x and, if there is a w, to w and b;
    /// `statistics` are those that it returned.
    fn normalize_grad(
        &self,
        g: &Tensor<Self>,
        x: &Tensor<Self>,
        w: Option<&Tensor<Self>>,
        statistics: &Tensor<Self>,
        options: &NormOptions,
    ) -> (Tensor<Self>, Option<[Tensor<Self>; 2]>)
    where
        Self: Backend,
    {
        composed::normalize_grad(g, x, w, statistics, options)
    }

    /// The next running mean and variance (`[c]` each) of batch norm: `running (1 - momentum) + batch momentum`. The mean and the
    /// variance of the batch are columns 0 and 2 of the statistics `[c, 4]` of [`normalize`](NormOps::normalize); the variance is
    /// multiplied by `unbiased`.
    fn running_statistics(
        &self,
        running: [&Tensor<Self>; 2],
        statistics: &Tensor<Self>,
        momentum: f64,
        unbiased: f64,
    ) -> [Tensor<Self>; 2]
    where
        Self: Backend,
    {
        composed::running_statistics(running, statistics, momentum, unbiased)
    }
}

impl<B: Backend> Tensor<B> {
    /// Normalizes each channel of `[n, c, ..]` over the batch and all positions: `(x - mean) / sqrt(var + eps)`, times
    /// `weight[c]` plus `bias[c]`. Returns that, and the mean and the biased variance of each channel (`[c]`, off the
    /// tape), of which a layer keeps running averages. Ioffe and Szegedy, "Batch normalization", 2015.
    /// PyTorch: `batch_norm(training=True)`.
    ///
    /// # Panics
    /// If the rank is below 2, a channel has no element, eps is not finite and at least 0, or shapes, dtypes or devices
    /// do not match.
    #[track_caller]
    pub fn batch_norm(&self, weight: Option<&Self>, bias: Option<&Self>, eps: f64) -> [Self; 3] {
        let [y, statistics] = self.by_channel("batch_norm", weight, bias, eps);
        let [mean, var] = mean_and_variance(&statistics);
        [y, mean, var]
    }

    /// [`batch_norm`](Self::batch_norm) with running statistics: returns the normalized tensor, and the next running mean and
    /// variance (`[c]` each, off the tape) as `old (1 - momentum) + batch momentum`, where the batch's variance is the unbiased
    /// one, `var m / (m - 1)` for m elements per channel. PyTorch: `batch_norm(training=True)` with `running_mean` and
    /// `running_var`.
    ///
    /// # Panics
    /// As [`batch_norm`](Self::batch_norm), and if a channel has a single element, whose unbiased variance is undefined, if the
    /// momentum is not in [0, 1], or the running statistics are not `[c]` of self's dtype and device.
    #[track_caller]
    pub fn batch_norm_tracked(
        &self,
        weight: Option<&Self>,
        bias: Option<&Self>,
        eps: f64,
        running: [&Self; 2],
        momentum: f64,
    ) -> [Self; 3] {
        const OP: &str = "batch_norm_tracked";
        let c = self.check_channels(OP, weight, bias);
        for of in running {
            assert!(**of.shape() == [c], "{OP}: running statistics {:?} for {c} channels", of.shape());
            self.check_same(OP, of);
        }
        assert!((0.0..=1.0).contains(&momentum), "{OP}: a momentum of {momentum} is not in [0, 1]");
        let per_channel = self.numel() / c.max(1);
        assert!(per_channel > 1 || c == 0, "{OP}: wants more than one element per channel, not {:?}", self.shape());
        let [y, statistics] = self.by_channel(OP, weight, bias, eps);
        let unbiased = per_channel as f64 / (per_channel as f64 - 1.0);
        let running = running.map(Self::detach);
        let running = running.each_ref();
        let [mean, var] = if self.is_half() {
            composed::running_statistics(running, &statistics, momentum, unbiased)
        } else {
            self.device().running_statistics(running, &statistics, momentum, unbiased)
        };
        [y, mean, var]
    }

    /// Self normalized over all dimensions except the channels, and the statistics `[c, 4]`.
    #[track_caller]
    fn by_channel(&self, op: &str, weight: Option<&Self>, bias: Option<&Self>, eps: f64) -> [Self; 2] {
        let c = self.check_channels(op, weight, bias);
        finite_from_0(format_args!("{op}: eps"), eps);
        let per_channel = self.numel() / c.max(1);
        assert!(per_channel > 0 || c == 0, "{op}: {:?} has no element to take a mean of", self.shape());
        let x = self.reshape([self.shape()[0], c, self.shape()[2..].iter().product()]);
        let affine = [weight, bias].map(|w| w.map(|w| w.reshape([1, c, 1])));
        let [y, statistics] = normalize(&x, affine, NormOptions { dims: dims(&[0, 2], 3), eps });
        [y.reshape(*self.shape()), statistics]
    }

    /// [`batch_norm`](Self::batch_norm) with a given mean and variance (`[c]`, constants), as in evaluation mode.
    /// PyTorch: `batch_norm(training=False)`.
    ///
    /// # Panics
    /// If the rank is below 2, eps is not finite and at least 0, or shapes, dtypes or devices do not match.
    #[track_caller]
    pub fn batch_norm_with(
        &self,
        [mean, var]: [&Self; 2],
        weight: Option<&Self>,
        bias: Option<&Self>,
        eps: f64,
    ) -> Self {
        const OP: &str = "batch_norm_with";
        let c = self.check_channels(OP, weight, bias);
        finite_from_0("batch_norm_with: eps", eps);
        for of in [mean, var] {
            assert!(**of.shape() == [c], "{OP}: statistics {:?} for {c} channels", of.shape());
            self.check_same(OP, of);
        }
        in_f32_with([Some(self), Some(mean), Some(var), weight, bias], |inputs| {
            let [Some(x), Some(mean), Some(var), weight, bias] = inputs else { unreachable!("all three are given") };
            let (mean, var) = (mean.detach(), var.detach());
            let root = (&var + eps).rsqrt();
            let statistics = Tensor::stack(&[mean.clone(), mean.zeros_like(), var, root], 1);
            let flat = x.reshape([x.shape()[0], c, x.shape()[2..].iter().product()]);
            let [weight, bias] = [weight, bias].map(|w| w.map(|w| w.reshape([1, c, 1])));
            let o = NormOptions { dims: dims(&[0, 2], 3), eps };
            normalize_by(&flat, [weight.as_ref(), bias.as_ref()], statistics, o).reshape(*x.shape())
        })
    }

    /// Normalizes over the last dimensions, of sizes `shape`, separately for each index of the others; then times `weight` plus
    /// `bias`, of that shape. Ba et al., "Layer normalization", 2016. PyTorch: `layer_norm`.
    ///
    /// # Panics
    /// If the tensor does not end in `shape`, that has no element, eps is not finite and at least 0, or shapes, dtypes
    /// or devices do not match.
    #[track_caller]
    pub fn layer_norm(&self, shape: impl Into<Shape>, weight: Option<&Self>, bias: Option<&Self>, eps: f64) -> Self {
        let shape = shape.into();
        assert!(
            !shape.is_empty() && self.shape().ends_with(&shape) && shape.numel() > 0,
            "layer_norm: {:?} does not end in the shape {shape:?}, or that has no element",
            self.shape()
        );
        self.check_affine("layer_norm", weight, bias, &shape);
        finite_from_0("layer_norm: eps", eps);
        let d = shape.numel();
        let x = self.reshape([self.numel() / d, d]);
        let affine = [weight, bias].map(|w| w.map(|w| w.reshape([1, d])));
        let [y, ..] = normalize(&x, affine, NormOptions { dims: dims(&[1], 2), eps });
        y.reshape(*self.shape())
    }

    /// Normalizes each group of neighbouring channels of each image of `[n, c, ..]`; then times `weight[c]` plus
    /// `bias[c]`. As many groups as channels is instance norm. Wu and He, "Group normalization", 2018.
    /// PyTorch: `group_norm`.
    ///
    /// # Panics
    /// If the rank is below 2, the groups do not divide the channels, a group has no element, eps is not finite and at least 0,
    /// or shapes, dtypes or devices do not match.
    #[track_caller]
    pub fn group_norm(&self, groups: usize, weight: Option<&Self>, bias: Option<&Self>, eps: f64) -> Self {
        let c = self.check_channels("group_norm", weight, bias);
        finite_from_0("group_norm: eps", eps);
        assert!(
            groups > 0 && c.is_multiple_of(groups),
            "group_norm: {c} channels do not fall into {groups} equal groups"
        );
        let (n, size): (usize, usize) = (self.shape()[0], self.shape()[2..].iter().product());
        assert!(c * size > 0 || n == 0, "group_norm: {:?} has no element to take a mean of", self.shape());
        if self.numel() == 0 {
            return self.clone();
        }
        let x = self.reshape([n, groups, c / groups, size]);
        let affine = [weight, bias].map(|w| w.map(|w| w.reshape([1, groups, c / groups, 1])));
        let [y, ..] = normalize(&x, affine, NormOptions { dims: dims(&[2, 3], 4), eps });
        y.reshape(*self.shape())
    }

    /// The number of channels.
    #[track_caller]
    fn check_channels(&self, op: &str, weight: Option<&Self>, bias: Option<&Self>) -> usize {
        assert!(self.rank() >= 2, "{op}: wants a tensor [n, c, ..], not {:?}", self.shape());
        self.check_affine(op, weight, bias, &Shape::from(self.shape()[1]));
        self.shape()[1]
    }

    #[track_caller]
    fn check_affine(&self, op: &str, weight: Option<&Self>, bias: Option<&Self>, shape: &Shape) {
        assert!(self.dtype().is_float(), "{op}: wants a float dtype, not {}", self.dtype());
        assert!(weight.is_some() || bias.is_none(), "{op}: a bias wants a weight beside it");
        for (name, w) in [("weight", weight), ("bias", bias)] {
            let Some(w) = w else { continue };
            assert!(w.shape() == shape, "{op}: the {name} is {:?}, wanted {shape:?}", w.shape());
            self.check_same(op, w);
        }
    }
}

#[track_caller]
fn dims(dims: &[isize], rank: usize) -> DimSet {
    must(DimSet::new("normalize", dims, rank))
}

/// The mean and the biased variance, `[m]` each, of [`NormOps::normalize`]'s statistics.
fn mean_and_variance<B: Backend>(statistics: &Tensor<B>) -> [Tensor<B>; 2] {
    [0, 2].map(|column| statistics.narrow(1, column, 1).squeeze(1))
}

/// The checked operation; weight and bias have x's rank. Returns y and the statistics of [`NormOps::normalize`], constants.
fn normalize<B: Backend>(x: &Tensor<B>, affine: [Option<Tensor<B>>; 2], o: NormOptions) -> [Tensor<B>; 2] {
    let [weight, bias] = affine.each_ref().map(Option::as_ref);
    let has_bias = bias.is_some();
    let forward = |inputs: [Option<&Tensor<B>>; 3]| {
        let [Some(x), weight, bias] = inputs else { unreachable!("x is given") };
        x.device().normalize(x, weight, bias, &o).into()
    };
    let gradient = move |of: Saved<'_, B, Tensor<B>, 3>| {
        let [Some(x), weight, bias] = of.inputs else { unreachable!("x is kept") };
        if of.recording {
            // The composed form is differentiated, so that the gradient flows through the statistics too.
            let [y, ..] = composed::normalize(x, weight, bias, &o);
            return match (weight, bias) {
                (Some(w), Some(b)) => y.grad_with(of.g, [x, w, b]).map(Some),
                (Some(w), None) => {
                    let [gx, gw] = y.grad_with(of.g, [x, w]);
                    [Some(gx), Some(gw), None]
                }
                _ => {
                    let [gx] = y.grad_with(of.g, [x]);
                    [Some(gx), None, None]
                }
            };
        }
        let (gx, affine) = of.g.device().normalize_grad(of.g, x, weight, of.extra, &o);
        let [gw, gb] = affine.map_or([None, None], |pair| pair.map(Some));
        [Some(gx), gw, gb.filter(|_| of.wants[2] && has_bias)]
    };
    let (y, statistics) = fused_with("normalize", [Some(x), weight, bias], Save::INPUTS, forward, gradient);
    [y, statistics.cast(x.dtype())]
}

/// [`normalize`] by given statistics, which are constants.
fn normalize_by<B: Backend>(
    x: &Tensor<B>,
    affine: [Option<&Tensor<B>>; 2],
    statistics: Tensor<B>,
    o: NormOptions,
) -> Tensor<B> {
    let [weight, bias] = affine;
    let forward = |inputs: [Option<&Tensor<B>>; 3]| {
        let [Some(x), weight, bias] = inputs else { unreachable!("x is given") };
        (x.device().normalize_by(x, weight, bias, &statistics, &o), statistics.clone())
    };
    let gradient = move |of: Saved<'_, B, Tensor<B>, 3>| {
        let ([Some(x), weight, bias], g) = (of.inputs, of.g) else { unreachable!("x is kept") };
        let [_, _, root] = columns(of.extra, x.shape(), &o);
        let factor = weight.map_or_else(|| root.clone(), |w| w * &root);
        let gw = weight.filter(|_| of.wants[1]).map(|w| {
            let h = normalize_by(x, [None, None], of.extra.clone(), o);
            (g * h).sum_to_shape(*w.shape())
        });
        let gb = bias.filter(|_| of.wants[2]).map(|b| g.sum_to_shape(*b.shape()));
        [of.wants[0].then(|| g * factor), gw, gb]
    };
    fused_with("normalize_by", [Some(x), weight, bias], Save::INPUTS, forward, gradient).0
}

/// The two parts of the mean and the reciprocal root from [`NormOps::normalize`]'s statistics, shaped to broadcast against x.
fn columns<B: Backend>(statistics: &Tensor<B>, x: &Shape, o: &NormOptions) -> [Tensor<B>; 3] {
    [0, 1, 3].map(|column| statistics.narrow(1, column, 1).reshape(kept_shape(x, &o.dims)))
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`NormOps::normalize`] as tensor operations; differentiable.
    pub fn normalize<B: Backend>(
        x: &Tensor<B>,
        weight: Option<&Tensor<B>>,
        bias: Option<&Tensor<B>>,
        o: &NormOptions,
    ) -> [Tensor<B>; 2] {
        let [centred, mean, rest] = centred(x, o.dims);
        // The deviations are scaled to at most 1, so that their squares do not overflow, and eps / scale² to at most 1.
        let scale = magnitude(ReduceOp::Max, &centred, o.dims).clamp(o.eps.max(0.0).sqrt(), f64::INFINITY);
        let h = centred / &scale;
        let spread = reduce(ReduceOp::Mean, &h.square(), o.dims, true);
        let root = (&spread + o.eps / &scale / &scale).rsqrt();
        let mut y = h * &root;
        if let Some(weight) = weight {
            y *= weight;
        }
        if let Some(bias) = bias {
            y += bias;
        }
        let [mean, spread, root] = [mean, spread, root].map(|s| s.detach());
        let whole = &mean + &rest;
        let rest = (mean - &whole) + rest;
        let statistics = [whole, rest, spread * &scale * &scale, root / scale].map(|s| s.reshape([s.numel()]));
        [y, Tensor::stack(&statistics, 1)]
    }

    /// [`NormOps::normalize_by`] as tensor operations.
    pub fn normalize_by<B: Backend>(
        x: &Tensor<B>,
        weight: Option<&Tensor<B>>,
        bias: Option<&Tensor<B>>,
        statistics: &Tensor<B>,
        o: &NormOptions,
    ) -> Tensor<B> {
        let [mean, rest, root] = columns(statistics, x.shape(), o);
        let mut y = (x - mean - rest) * root;
        if let Some(weight) = weight {
            y *= weight;
        }
        if let Some(bias) = bias {
            y += bias;
        }
        y
    }

    /// [`NormOps::normalize_grad`] as tensor operations. With h the normalized x and m elements per mean:
    /// `gx = (gw - mean(gw) - h mean(gw h)) / sqrt(var + eps)`, where `gw = g w`.
    pub fn normalize_grad<B: Backend>(
        g: &Tensor<B>,
        x: &Tensor<B>,
        weight: Option<&Tensor<B>>,
        statistics: &Tensor<B>,
        o: &NormOptions,
    ) -> (Tensor<B>, Option<[Tensor<B>; 2]>) {
        let [mean, rest, root] = columns(statistics, x.shape(), o);
        let h = (x - mean - rest) * &root;
        let affine = weight.map(|w| [(g * &h).sum_to_shape(*w.shape()), g.sum_to_shape(*w.shape())]);
        let gw = weight.map_or_else(|| g.clone(), |w| g * w);
        let shift = reduce(ReduceOp::Mean, &gw, o.dims, true);
        let slope = reduce(ReduceOp::Mean, &(&gw * &h), o.dims, true);
        ((gw - shift - h * slope) * root, affine)
    }

    /// [`NormOps::running_statistics`] as tensor operations.
    pub fn running_statistics<B: Backend>(
        [mean, var]: [&Tensor<B>; 2],
        statistics: &Tensor<B>,
        momentum: f64,
        unbiased: f64,
    ) -> [Tensor<B>; 2] {
        let [batch_mean, batch_var] = mean_and_variance(statistics);
        let moved = |old: &Tensor<B>, new: Tensor<B>, share: f64| old * (1.0 - momentum) + new * share;
        [moved(mean, batch_mean, momentum), moved(var, batch_var, momentum * unbiased)]
    }
}
