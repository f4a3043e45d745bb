//! Adam and AdamW.

use super::memory::Memory;
use super::{checked, checked_share};
use minitorch_core::Backend;
use minitorch_core::backend::{AdamConfig, StepRule};

/// Adam: Kingma and Ba, "Adam: a method for stochastic optimization", 2014. A weight decay is added to the gradient.
/// PyTorch: `optim.Adam`.
///
/// The formula is at [`AdamConfig`]. `Adam::new(1e-3).betas(0.9, 0.99)`.
pub struct Adam<B: Backend> {
    pub(super) memory: Memory<B>,
    pub(super) config: AdamConfig,
}

/// AdamW: Adam whose weight decay shrinks the weights directly. Loshchilov and Hutter, "Decoupled weight decay
/// regularization", 2017. PyTorch: `optim.AdamW`.
///
/// The formula is at [`AdamConfig`]. `AdamW::new(1e-3).weight_decay(0.05)`.
pub struct AdamW<B: Backend> {
    pub(super) memory: Memory<B>,
    pub(super) config: AdamConfig,
}

macro_rules! adams {
    ($($name:ident, decoupled = $decoupled:literal, weight_decay = $decay:literal;)*) => { $(
        impl<B: Backend> $name<B> {
            #[doc = concat!("Betas (0.9, 0.999), eps 1e-8, weight decay ", stringify!($decay), ", as PyTorch's.")]
            ///
            /// # Panics
            /// If the rate is negative or not finite.
            #[track_caller]
            pub fn new(lr: f64) -> Self {
                let lr = checked(concat!(stringify!($name), ": the learning rate"), lr);
                let config =
                    AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: $decay, decoupled: $decoupled };
                $name { memory: Memory::new(lr), config }
            }

            /// With these decays of the moments.
            ///
            /// # Panics
            /// If either is outside [0, 1).
            #[track_caller]
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                self.config.beta1 = checked_share(concat!(stringify!($name), ": a beta"), beta1);
                self.config.beta2 = checked_share(concat!(stringify!($name), ": a beta"), beta2);
                self
            }

            /// With this number beside the root of the second moment.
            ///
            /// # Panics
            /// If it is negative or not finite.
            #[track_caller]
            pub fn eps(mut self, eps: f64) -> Self {
                self.config.eps = checked(concat!(stringify!($name), ": eps"), eps);
                self
            }

            pub(super) fn rule(&self) -> StepRule {
                StepRule::Adam(self.config)
            }
        }
    )* };
}
adams! {
    Adam, decoupled = false, weight_decay = 0.0;
    AdamW, decoupled = true, weight_decay = 0.01;
}
