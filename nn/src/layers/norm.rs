//! Normalisation layers. Initial weights are 1 and biases 0, as in PyTorch.

use crate::Module;
use crate::module::{Buffer, Param, Training};
use crate::observe::observe;
use crate::place::{self, check};
use minitorch_core::{Backend, DType, Shape, Tensor};

/// PyTorch's default.
pub(super) const EPS: f64 = 1e-5;

fn ones<B: Backend>(shape: impl Into<Shape>, device: &B) -> Option<Param<B>> {
    Some(Param::new(Tensor::ones(shape, device)))
}

fn zeros<B: Backend>(shape: impl Into<Shape>, device: &B) -> Option<Param<B>> {
    Some(Param::new(Tensor::zeros(shape, device)))
}

macro_rules! batch_norms {
    ($($(#[$doc:meta])* $name:ident: $($rank:literal)|+, $wants:literal;)*) => { $(
        $(#[$doc])*
        ///
        /// In training mode, each channel is normalised by the mean and variance of the batch, and the running
        /// statistics are updated: `running = (1 - momentum) running + momentum batch`, with the unbiased variance. In
        /// evaluation mode, it is normalised by the running statistics, which do not change. The formula is at
        /// [`Tensor::batch_norm`].
        #[must_use]
        #[derive(Module, Clone)]
        pub struct $name<B: Backend> {
            /// `[channels]`; `None` multiplies by 1.
            pub weight: Option<Param<B>>,
            /// `[channels]`; `None` adds 0.
            pub bias: Option<Param<B>>,
            /// `[channels]`, initially 0.
            pub running_mean: Buffer<B>,
            /// `[channels]`, initially 1.
            pub running_var: Buffer<B>,
            /// The number of training batches; rank 0, I32.
            pub num_batches_tracked: Buffer<B>,
            /// The weight of one batch in the running statistics.
            pub momentum: f64,
            /// Added to the variance before the square root.
            pub eps: f64,
            /// The mode; set by [`Module::train`] and [`Module::eval`].
            pub training: Training,
        }

        impl<B: Backend> $name<B> {
            /// Momentum 0.1, eps 1e-5, with weight and bias.
            pub fn new(channels: usize, device: &B) -> Self {
                $name {
                    weight: ones(channels, device),
                    bias: zeros(channels, device),
                    running_mean: Buffer::new(Tensor::zeros(channels, device)),
                    running_var: Buffer::new(Tensor::ones(channels, device)),
                    num_batches_tracked: Buffer::new(Tensor::zeros([], (device, DType::I32))),
                    momentum: 0.1,
                    eps: EPS,
                    training: Training::default(),
                }
            }

            /// The layer without weight and bias. PyTorch: `affine=False`.
            pub fn without_affine(self) -> Self {
                $name { weight: None, bias: None, ..self }
            }

            /// Applies the normalisation.
            ///
            /// # Panics
            /// If the rank or the number of channels does not fit; in training mode, also if a channel has a single
            /// element, whose variance is always 0, or if the momentum is not in [0, 1].
            #[track_caller]
            pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
                let _running = place::layer(self);
                check!(
                    matches!(x.rank(), $($rank)|+),
                    concat!(stringify!($name), ": wants ", $wants, ", not {:?}"),
                    x.shape()
                );
                let affine = (self.weight.as_deref(), self.bias.as_deref());
                let statistics = BatchStatistics {
                    running: [&self.running_mean, &self.running_var],
                    seen: &self.num_batches_tracked,
                    momentum: self.momentum,
                };
                let y = statistics.normalize(x, affine, self.eps, self.training.is_on(), stringify!($name));
                observe(self, y)
            }
        }
    )* };
}
batch_norms! {
    /// Batch normalisation of vectors `[n, c]` or sequences `[n, c, t]`. PyTorch: `nn.BatchNorm1d`.
    BatchNorm1d: 2 | 3, "[n, c] or [n, c, t]";
    /// Batch normalisation of images `[n, c, h, w]`. PyTorch: `nn.BatchNorm2d`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let mut norm = BatchNorm2d::new(3, &device);
    /// let x = Tensor::randn([8, 3, 4, 4], &device) * 5.0 + 2.0;
    /// let y = norm.forward(&x);
    /// assert!(y.mean(..).item()?.abs() < 1e-5 && (y.square().mean(..).item()? - 1.0).abs() < 1e-4);
    /// norm.eval(); // normalises by the running statistics, a tenth of which are those of the batch
    /// assert!(norm.forward(&x).mean(..).item()? > 0.9);
    /// # Ok::<(), Error>(())
    /// ```
    BatchNorm2d: 4, "[n, c, h, w]";
}

struct BatchStatistics<'a, B: Backend> {
    running: [&'a Buffer<B>; 2],
    seen: &'a Buffer<B>,
    momentum: f64,
}

impl<B: Backend> BatchStatistics<'_, B> {
    #[track_caller]
    fn normalize(
        self,
        x: &Tensor<B>,
        (weight, bias): (Option<&Tensor<B>>, Option<&Tensor<B>>),
        eps: f64,
        training: bool,
        layer: &str,
    ) -> Tensor<B> {
        let [mean, var] = self.running.map(Buffer::get);
        let (c, n) = (mean.numel(), x.numel() / x.shape()[1].max(1));
        check!(x.shape()[1] == c, "{layer}: the layer has {c} channels, the input {:?}", x.shape());
        if !training {
            return x.batch_norm_with([&mean, &var], weight, bias, eps);
        }
        check!((0.0..=1.0).contains(&self.momentum), "{layer}: a momentum of {} is not in [0, 1]", self.momentum);
        check!(n > 1, "{layer}: training wants more than one element per channel, not {:?}", x.shape());
        let [y, mean, var] = x.batch_norm_tracked(weight, bias, eps, [&mean, &var], self.momentum);
        self.running[0].set(mean);
        self.running[1].set(var);
        self.seen.set(self.seen.get() + 1.0);
        y
    }
}

/// Normalises over the last dimensions; see [`Tensor::layer_norm`]. PyTorch: `nn.LayerNorm`.
#[must_use]
#[derive(Module, Clone)]
pub struct LayerNorm<B: Backend> {
    /// Of the normalised shape; `None` multiplies by 1.
    pub weight: Option<Param<B>>,
    /// Of the normalised shape; `None` adds 0.
    pub bias: Option<Param<B>>,
    /// The sizes of the last dimensions.
    pub shape: Shape,
    /// Added to the variance before the square root.
    pub eps: f64,
}

impl<B: Backend> LayerNorm<B> {
    /// Eps 1e-5, with weight and bias. The shape is a size (`64`) or several (`[64, 8]`).
    pub fn new(shape: impl Into<Shape>, device: &B) -> Self {
        let shape = shape.into();
        LayerNorm { weight: ones(shape, device), bias: zeros(shape, device), shape, eps: EPS }
    }

    /// The layer without weight and bias. PyTorch: `elementwise_affine=False`.
    pub fn without_affine(self) -> Self {
        LayerNorm { weight: None, bias: None, ..self }
    }

    /// Applies the normalisation.
    ///
    /// # Panics
    /// If x does not end in the shape.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        let y = x.layer_norm(self.shape, self.weight.as_deref(), self.bias.as_deref(), self.eps);
        observe(self, y)
    }
}

/// Normalises groups of channels of each image; see [`Tensor::group_norm`]. PyTorch: `nn.GroupNorm`; with as many
/// groups as channels `nn.InstanceNorm2d(affine=True)`.
#[must_use]
#[derive(Module, Clone)]
pub struct GroupNorm<B: Backend> {
    /// `[channels]`; `None` multiplies by 1.
    pub weight: Option<Param<B>>,
    /// `[channels]`; `None` adds 0.
    pub bias: Option<Param<B>>,
    /// How many groups the channels form.
    pub groups: usize,
    /// Added to the variance before the square root.
    pub eps: f64,
}

impl<B: Backend> GroupNorm<B> {
    /// Eps 1e-5, with weight and bias.
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    #[track_caller]
    pub fn new(groups: usize, channels: usize, device: &B) -> Self {
        assert!(
            groups > 0 && channels.is_multiple_of(groups),
            "GroupNorm: {channels} channels do not fall into {groups} equal groups"
        );
        GroupNorm { weight: ones(channels, device), bias: zeros(channels, device), groups, eps: EPS }
    }

    /// The layer without weight and bias. PyTorch: `affine=False`.
    pub fn without_affine(self) -> Self {
        GroupNorm { weight: None, bias: None, ..self }
    }

    /// Applies the normalisation.
    ///
    /// # Panics
    /// If x is not `[n, c, ..]` with the layer's channels.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        let y = x.group_norm(self.groups, self.weight.as_deref(), self.bias.as_deref(), self.eps);
        observe(self, y)
    }
}
