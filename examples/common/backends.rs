//! The backends of `--backend`, for all examples.

#![allow(dead_code, reason = "an example that measures several backends opens its devices itself")]

use minitorch::prelude::*;

/// The backends of this build, the preferred one first. A new backend needs a line here, one in [`backend`] and an arm
/// in [`run_on`].
pub(crate) const BACKENDS: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "wgpu")]
    "wgpu",
    "cpu",
    #[cfg(feature = "cuda-emu")]
    "cuda-emu",
];

/// Parses a name from the command line.
pub(crate) fn backend(name: &str) -> std::result::Result<String, String> {
    let known = ["cpu", "cuda", "cuda-emu", "wgpu"];
    if !known.contains(&name) {
        return Err(format!("no such backend; there are {}", known.join(", ")));
    }
    if !BACKENDS.contains(&name) {
        return Err(format!("not in this build, which has {}", BACKENDS.join(", ")));
    }
    Ok(name.to_string())
}

/// A program that is generic over the backend.
pub(crate) trait Program {
    /// Its result.
    type Output;

    /// Runs on a device.
    ///
    /// # Errors
    /// Those of the program.
    fn run<B: Backend>(self, device: &B) -> Result<Self::Output>;
}

/// Opens a device of the named backend, by default the first of [`BACKENDS`], and runs the program on it.
///
/// # Errors
/// If the backend has no device, and those of the program.
pub(crate) fn run_on<P: Program>(backend: Option<&str>, program: P) -> Result<P::Output> {
    match backend.unwrap_or(BACKENDS[0]) {
        "cpu" => program.run(&Cpu::default()),
        #[cfg(feature = "cuda")]
        "cuda" => program.run(&Cuda::new(0).map_err(|error| no_device(&error))?),
        #[cfg(feature = "wgpu")]
        "wgpu" => program.run(&Wgpu::new().map_err(|error| no_device(&error))?),
        #[cfg(feature = "cuda-emu")]
        "cuda-emu" => program.run(&Cuda::emulated(minitorch_cuda::Order::Forward)),
        other => Err(Error::Invalid(format!("this build has no backend {other}; it has {}", BACKENDS.join(", ")))),
    }
}

/// Adds a way out to an error of opening a device.
pub(crate) fn no_device(error: &Error) -> Error {
    Error::Invalid(format!("{error}; --backend cpu works on any machine"))
}
