//! Pooling and flattening: layers without parameters.

use crate::Module;
use crate::module::Layer;
use crate::observe::observe;
use crate::place;
use minitorch_core::{Backend, Pool1dOptions, Pool2dOptions, Tensor};

macro_rules! pooling {
    ($($(#[$doc:meta])* $name:ident($options:ty) = $method:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Copy)]
        pub struct $name {
            /// Kernel, stride, padding and the rest.
            pub options: $options,
        }

        impl $name {
            #[doc = concat!("`", stringify!($name), "::new(2)`, or with options; see [`Tensor::", stringify!($method), "`].")]
            pub fn new(options: impl Into<$options>) -> Self {
                $name { options: options.into() }
            }
        }

        impl<B: Backend> Layer<B> for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
                let _running = place::layer(self);
                observe(self, x.$method(self.options))
            }
        }
    )* };
}
pooling! {
    /// The maximum of each window of `[n, c, h, w]`. PyTorch: `nn.MaxPool2d`.
    MaxPool2d(Pool2dOptions) = max_pool2d;
    /// The maximum of each window of `[n, c, t]`. PyTorch: `nn.MaxPool1d`.
    MaxPool1d(Pool1dOptions) = max_pool1d;
    /// The mean of each window of `[n, c, h, w]`. PyTorch: `nn.AvgPool2d`.
    AvgPool2d(Pool2dOptions) = avg_pool2d;
    /// The mean of each window of `[n, c, t]`. PyTorch: `nn.AvgPool1d`.
    AvgPool1d(Pool1dOptions) = avg_pool1d;
}

/// Flattens all dimensions but the first. PyTorch: `nn.Flatten`.
#[derive(Module, Clone, Copy, Default, Debug)]
pub struct Flatten;

impl<B: Backend> Layer<B> for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        observe(self, x.flatten(1..))
    }
}
