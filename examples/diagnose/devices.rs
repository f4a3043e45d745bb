//! The devices that are measured.

use minitorch::prelude::*;

/// Facts about a device that the backend trait does not provide.
pub(crate) struct About {
    /// The name on the command line.
    pub(crate) name: &'static str,
    pub(crate) description: String,
    /// Whether it emulates a GPU on the CPU.
    pub(crate) is_slow: bool,
}

/// A function of a device of any backend.
pub(crate) trait Visitor {
    type Output;

    fn visit<B: Backend>(self, device: &B, about: &About) -> Self::Output;
}

/// Opens a device of the named backend and visits it.
///
/// # Errors
/// If there is no device.
pub(crate) fn visit<V: Visitor>(name: &str, visitor: V) -> Result<V::Output> {
    match name {
        #[cfg(feature = "cuda")]
        "cuda" => {
            let device = Cuda::new(0)?;
            let about = About { name: "cuda", description: device.describe(), is_slow: false };
            Ok(visitor.visit(&device, &about))
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => {
            let device = Wgpu::new()?;
            let about = About { name: "wgpu", description: device.describe(), is_slow: device.is_software() };
            Ok(visitor.visit(&device, &about))
        }
        #[cfg(feature = "cuda-emu")]
        "cuda-emu" => {
            let device = Cuda::emulated(minitorch_cuda::Order::Forward);
            let about = About { name: "cuda-emu", description: device.describe(), is_slow: true };
            Ok(visitor.visit(&device, &about))
        }
        _ => {
            let device = Cpu::default();
            let about = About { name: "cpu", description: device.describe(), is_slow: false };
            Ok(visitor.visit(&device, &about))
        }
    }
}

/// Whether a backend's device emulates a GPU on the CPU; false without a device.
pub(crate) fn is_slow(name: &str) -> bool {
    match name {
        #[cfg(feature = "wgpu")]
        "wgpu" => Wgpu::new().is_ok_and(|device| device.is_software()),
        other => other == "cuda-emu",
    }
}
