//! Normalisation: batch, layer and group norm are one operation over different dimensions.

use crate::autodiff::{parents, record, recording};
use crate::backend::Backend;
use crate::dtype::DType;
use crate::error::{finite_from_0, must};
use crate::index::DimSet;
use crate::ops::reduce::{ReduceOp, reduce};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// What [`Backend::normalize`] normalises over, and the number beside the variance.
#[derive(Clone, Copy, Debug)]
pub struct NormOptions {
    /// The dimensions that share one mean and one variance; sorted, at least one.
    pub dims: DimSet,
    /// Added to the variance under the root.
    pub eps: f64,
}

impl<B: Backend> Tensor<B> {
    /// Normalises each channel of `[n, c, ..]` over the batch and all positions: `(x - mean) / sqrt(var + eps)`, times
    /// `weight[c]` plus `bias[c]`. Returns that, and the mean and the biased variance of each channel (`[c]`, off the
    /// tape), which a layer keeps running averages of. Ioffe and Szegedy, "Batch normalization", 2015.
    /// PyTorch: `batch_norm(training=True)`.
    ///
    /// # Panics
    /// If the rank is below 2, a channel has no element, eps is not finite and at least 0, or shapes, dtypes or devices do not
    /// fit.
    #[track_caller]
    pub fn batch_norm(&self, weight: Option<&Self>, bias: Option<&Self>, eps: f64) -> [Self; 3] {
        let c = self.check_channels("batch_norm", weight, bias);
        finite_from_0("batch_norm: eps", eps);
        let per_channel = self.numel() / c.max(1);
        assert!(per_channel > 0 || c == 0, "batch_norm: {:?} has no element to take a mean of", self.shape());
        let x = self.reshape([self.shape()[0], c, self.shape()[2..].iter().product()]);
        let affine = [weight, bias].map(|w| w.map(|w| w.reshape([1, c, 1])));
        let [y, mean, var] = normalize(&x, affine, NormOptions { dims: dims(&[0, 2], 3), eps });
        [y.reshape(*self.shape()), mean.reshape([c]), var.reshape([c])]
    }

    /// [`batch_norm`](Self::batch_norm) by a given mean and variance (`[c]`, constants): what evaluation does.
    /// PyTorch: `batch_norm(training=False)`.
    ///
    /// # Panics
    /// If the rank is below 2, eps is not finite and at least 0, or shapes, dtypes or devices do not fit.
    #[track_caller]
    pub fn batch_norm_with(
        &self,
        [mean, var]: [&Self; 2],
        weight: Option<&Self>,
        bias: Option<&Self>,
        eps: f64,
    ) -> Self {
        let c = self.check_channels("batch_norm", weight, bias);
        finite_from_0("batch_norm: eps", eps);
        for of in [mean, var] {
            assert!(**of.shape() == [c], "batch_norm: statistics {:?} for {c} channels", of.shape());
            self.check_same("batch_norm", of);
        }
        // One factor and one term per channel: y = x factor + term.
        let factor = (var.detach() + eps).rsqrt();
        let factor = weight.map_or_else(|| factor.clone(), |w| &factor * w);
        let term = -mean.detach() * &factor;
        let term = bias.map_or_else(|| term.clone(), |b| &term + b);
        let mut channel = Shape::new(&[1; crate::MAX_RANK][..self.rank() - 1]);
        channel = channel.with(0, c);
        self * factor.reshape(channel) + term.reshape(channel)
    }

    /// Normalises over the last dimensions, of sizes `shape`, each place apart; then times `weight` plus `bias`, of that
    /// shape. Ba et al., "Layer normalization", 2016. PyTorch: `layer_norm`.
    ///
    /// # Panics
    /// If the tensor does not end in `shape`, that has no element, eps is not finite and at least 0, or shapes, dtypes or devices
    /// do not fit.
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

    /// Normalises each group of neighbouring channels of each image of `[n, c, ..]`; then times `weight[c]` plus
    /// `bias[c]`. As many groups as channels is instance norm. Wu and He, "Group normalization", 2018.
    /// PyTorch: `group_norm`.
    ///
    /// # Panics
    /// If the rank is below 2, the groups do not divide the channels, a group has no element, eps is not finite and at least 0,
    /// or shapes, dtypes or devices do not fit.
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

/// The checked operation; weight and bias have x's rank. The statistics are constants.
fn normalize<B: Backend>(x: &Tensor<B>, affine: [Option<Tensor<B>>; 2], o: NormOptions) -> [Tensor<B>; 3] {
    if x.is_half() {
        let affine = affine.map(|w| w.map(|w| w.widened()));
        return normalize(&x.widened(), affine, o).map(|out| out.cast(DType::F16));
    }
    let [weight, bias] = &affine;
    let bare = affine.each_ref().map(|w| w.as_ref().map(Tensor::detach));
    let [y, mean, var] = x.device().normalize(&x.detach(), bare[0].as_ref(), bare[1].as_ref(), &o);
    // An absent weight or bias stands in the rule as an input that is not on the tape.
    let or_constant = |w: &Option<Tensor<B>>| w.as_ref().map_or_else(|| mean.clone(), Tensor::clone);
    let Some(parents) = parents([x, &or_constant(weight), &or_constant(bias)]) else { return [y, mean, var] };
    let (x, statistics) = (x.clone(), [mean.clone(), var.clone()]);
    let has_bias = bias.is_some();
    let y = record(y, parents, move |g, wants| {
        let [weight, bias] = &affine;
        if recording() {
            // Under create_graph: the composed form is differentiated, and the statistics with it.
            let [y, ..] = composed_normalize(&x, weight.as_ref(), bias.as_ref(), &o);
            return match (weight, bias) {
                (Some(w), Some(b)) => y.grad_with(g, [&x, w, b]).map(Some),
                (Some(w), None) => {
                    let [gx, gw] = y.grad_with(g, [&x, w]);
                    [Some(gx), Some(gw), None]
                }
                _ => {
                    let [gx] = y.grad_with(g, [&x]);
                    [Some(gx), None, None]
                }
            };
        }
        let [mean, var] = &statistics;
        let bare = weight.as_ref().map(Tensor::detach);
        let (gx, affine) = g.device().normalize_grad(&g.detach(), &x.detach(), bare.as_ref(), [mean, var], &o);
        let [gw, gb] = affine.map_or([None, None], |pair| pair.map(Some));
        [Some(gx), gw, gb.filter(|_| wants[2] && has_bias)]
    });
    [y, mean, var]
}

/// [`Backend::normalize`] as tensor operations; differentiable.
pub(crate) fn composed_normalize<B: Backend>(
    x: &Tensor<B>,
    weight: Option<&Tensor<B>>,
    bias: Option<&Tensor<B>>,
    o: &NormOptions,
) -> [Tensor<B>; 3] {
    let mean = reduce(ReduceOp::Mean, x, o.dims, true);
    let centred = x - &mean;
    let var = reduce(ReduceOp::Mean, &centred.square(), o.dims, true);
    let mut y = centred * (&var + o.eps).rsqrt();
    if let Some(weight) = weight {
        y *= weight;
    }
    if let Some(bias) = bias {
        y += bias;
    }
    [y, mean, var]
}

/// [`Backend::normalize_grad`] as tensor operations. With h the normalised x and m elements per mean:
/// `gx = (gw - mean(gw) - h mean(gw h)) / sqrt(var + eps)`, where `gw = g w`.
pub(crate) fn composed_normalize_grad<B: Backend>(
    g: &Tensor<B>,
    x: &Tensor<B>,
    weight: Option<&Tensor<B>>,
    [mean, var]: [&Tensor<B>; 2],
    o: &NormOptions,
) -> (Tensor<B>, Option<[Tensor<B>; 2]>) {
    let root = (var + o.eps).rsqrt();
    let h = (x - mean) * &root;
    let affine = weight.map(|w| [(g * &h).sum_to_shape(*w.shape()), g.sum_to_shape(*w.shape())]);
    let gw = weight.map_or_else(|| g.clone(), |w| g * w);
    let shift = reduce(ReduceOp::Mean, &gw, o.dims, true);
    let slope = reduce(ReduceOp::Mean, &(&gw * &h), o.dims, true);
    ((gw - shift - h * slope) * root, affine)
}
