//! Resizing and padding of images: layers without parameters.

use crate::Module;
use crate::module::Layer;
use crate::observe::observe;
use crate::place;
use minitorch_core::{Backend, PadMode, PerDim, Tensor};

/// The interpolation of [`Upsample`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpsampleMode {
    /// [`Tensor::interpolate_nearest`].
    Nearest,
    /// [`Tensor::interpolate_bilinear`].
    Bilinear {
        /// Whether the centres of the corner pixels are aligned.
        align_corners: bool,
    },
}

/// The output size of [`Upsample`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpsampleSize {
    /// Height and width.
    Size([usize; 2]),
    /// The input's height and width times these.
    Scale([usize; 2]),
}

/// Resizes images `[n, c, h, w]`. PyTorch: `nn.Upsample`.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let x = Tensor::zeros([1, 3, 4, 5], &device);
/// assert_eq!(Upsample::scale(2).forward(&x).dims(), [1, 3, 8, 10]);
/// assert_eq!(Upsample::size([7, 9]).bilinear(false).forward(&x).dims(), [1, 3, 7, 9]);
/// ```
#[must_use]
#[derive(Module, Clone, Copy)]
pub struct Upsample {
    /// The output's size.
    #[module(skip)]
    pub size: UpsampleSize,
    /// The interpolation.
    #[module(skip)]
    pub mode: UpsampleMode,
}

impl Upsample {
    /// To this height and width; nearest, unless [`bilinear`](Self::bilinear) is called.
    pub fn size(size: impl PerDim<2>) -> Self {
        Upsample { size: UpsampleSize::Size(size.per_dim()), mode: UpsampleMode::Nearest }
    }

    /// By integer factors; nearest, unless [`bilinear`](Self::bilinear) is called. PyTorch: `scale_factor`.
    pub fn scale(factor: impl PerDim<2>) -> Self {
        Upsample { size: UpsampleSize::Scale(factor.per_dim()), mode: UpsampleMode::Nearest }
    }

    /// Bilinear instead of nearest.
    pub fn bilinear(self, align_corners: bool) -> Self {
        Upsample { mode: UpsampleMode::Bilinear { align_corners }, ..self }
    }
}

impl<B: Backend> Layer<B> for Upsample {
    #[track_caller]
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        let size = match self.size {
            UpsampleSize::Size(size) => size,
            UpsampleSize::Scale([down, right]) => {
                let [_, _, h, w] = x.dims();
                [h.saturating_mul(down), w.saturating_mul(right)]
            }
        };
        let y = match self.mode {
            UpsampleMode::Nearest => x.interpolate_nearest(size),
            UpsampleMode::Bilinear { align_corners } => x.interpolate_bilinear(size, align_corners),
        };
        observe(self, y)
    }
}

macro_rules! adaptive {
    ($($(#[$doc:meta])* $name:ident($n:literal) = $method:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Copy)]
        pub struct $name {
            /// The output's size.
            pub size: [usize; $n],
        }

        impl $name {
            #[doc = concat!("Pools to this size; see [`Tensor::", stringify!($method), "`].")]
            pub fn new(size: impl PerDim<$n>) -> Self {
                $name { size: size.per_dim() }
            }
        }

        impl<B: Backend> Layer<B> for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
                let _running = place::layer(self);
                observe(self, x.$method(self.size))
            }
        }
    )* };
}
adaptive! {
    /// The mean of each of `[oh, ow]` regions of `[n, c, h, w]`. PyTorch: `nn.AdaptiveAvgPool2d`.
    AdaptiveAvgPool2d(2) = adaptive_avg_pool2d;
    /// The maximum of each of `[oh, ow]` regions of `[n, c, h, w]`. PyTorch: `nn.AdaptiveMaxPool2d`.
    AdaptiveMaxPool2d(2) = adaptive_max_pool2d;
    /// The mean of each of `size` regions of `[n, c, t]`. PyTorch: `nn.AdaptiveAvgPool1d`.
    AdaptiveAvgPool1d(1) = adaptive_avg_pool1d;
    /// The maximum of each of `size` regions of `[n, c, t]`. PyTorch: `nn.AdaptiveMaxPool1d`.
    AdaptiveMaxPool1d(1) = adaptive_max_pool1d;
}

macro_rules! padding {
    ($($(#[$doc:meta])* $name:ident = $mode:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Copy)]
        pub struct $name {
            /// Rows above and below; columns left and right.
            #[module(skip)]
            pub around: [(usize, usize); 2],
        }

        impl $name {
            /// The same padding on both sides; one number, or `[rows, columns]`.
            pub fn new(padding: impl PerDim<2>) -> Self {
                $name { around: padding.per_dim().map(|p| (p, p)) }
            }
        }

        impl<B: Backend> Layer<B> for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
                let _running = place::layer(self);
                observe(self, x.pad_with(self.around, $mode))
            }
        }
    )* };
}
padding! {
    /// Zeros around the last two dimensions. PyTorch: `nn.ZeroPad2d`.
    ZeroPad2d = PadMode::Constant(0.0);
    /// Reflects the image at its edges; see [`PadMode::Reflect`]. PyTorch: `nn.ReflectionPad2d`.
    ReflectionPad2d = PadMode::Reflect;
    /// Repeats the edge pixels; see [`PadMode::Replicate`]. PyTorch: `nn.ReplicationPad2d`.
    ReplicationPad2d = PadMode::Replicate;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use minitorch_conformance::doc::{Plain, device};

    /// Through a boxed layer, as in a `Sequential`.
    fn run(layer: impl Layer<Plain> + Clone + std::fmt::Debug + 'static, x: &Tensor<Plain>) -> (Vec<usize>, Vec<f32>) {
        let y = Sequential::new().push(layer).forward(x);
        let values = y.to_vec::<f32>();
        assert!(values.is_ok(), "{values:?}");
        (y.shape().to_vec(), values.unwrap_or_default())
    }

    #[test]
    fn layers_are_their_methods() {
        let x = Tensor::new([[[[0.0, 2.0], [4.0, 6.0]]]], &device());
        assert_eq!(run(Upsample::scale([1, 2]), &x), (vec![1, 1, 2, 4], vec![0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0]));
        assert_eq!(run(Upsample::size([1, 2]), &x), (vec![1, 1, 1, 2], vec![0.0, 2.0]));
        assert_eq!(run(Upsample::size([1, 1]).bilinear(false), &x).1, [3.0]);
        assert_eq!(run(Upsample::size([1, 3]).bilinear(true), &x).1, [0.0, 1.0, 2.0]);
        assert_eq!(run(AdaptiveAvgPool2d::new([1, 2]), &x), (vec![1, 1, 1, 2], vec![2.0, 4.0]));
        assert_eq!(run(AdaptiveMaxPool2d::new(1), &x), (vec![1, 1, 1, 1], vec![6.0]));
        let rows = x.squeeze(0);
        assert_eq!(run(AdaptiveAvgPool1d::new(1), &rows), (vec![1, 2, 1], vec![1.0, 5.0]));
        assert_eq!(run(AdaptiveMaxPool1d::new(1), &rows), (vec![1, 2, 1], vec![2.0, 6.0]));
        assert_eq!(run(ZeroPad2d::new([0, 1]), &x).1, [0.0, 0.0, 2.0, 0.0, 0.0, 4.0, 6.0, 0.0]);
        assert_eq!(run(ReplicationPad2d::new([0, 1]), &x).1, [0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 6.0, 6.0]);
        let mirrored = ReflectionPad2d { around: [(1, 0), (0, 1)] };
        assert_eq!(run(mirrored, &x), (vec![1, 1, 3, 3], vec![4.0, 6.0, 4.0, 0.0, 2.0, 0.0, 4.0, 6.0, 4.0]));
    }
}
