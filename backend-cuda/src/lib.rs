//! The CUDA backend: raw kernels in `kernels/*.cu`, compiled at run time for the card that is there.

mod driver;
#[cfg(feature = "emulator")]
mod emulator;
