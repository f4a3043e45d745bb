//! The backends of `--backend`, for all examples.

#![allow(dead_code, reason = "every example uses a part of this")]

use minitorch::prelude::*;

/// The backends of this build, the preferred one first. A new backend needs a line here, one in [`backend`] and an arm
/// in [`visit`].
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
    struct Run<P>(P);
    impl<P: Program> Visitor for Run<P> {
        type Output = Result<P::Output>;

        fn visit<B: Backend>(self, device: &B, _: &About) -> Result<P::Output> {
            self.0.run(device)
        }
    }
    visit(backend.unwrap_or(BACKENDS[0]), Run(program)).map_err(|error| no_device(&error))?
}

/// Facts about a device that the backend trait does not provide.
pub(crate) struct About {
    /// The name on the command line.
    pub(crate) name: &'static str,
    pub(crate) description: String,
    /// Whether it emulates a GPU on the CPU.
    pub(crate) is_emulated: bool,
    /// The number of kernels launched so far, if the backend counts them.
    pub(crate) launches: Option<Box<dyn Fn() -> u64>>,
}

/// A function of a device of any backend.
pub(crate) trait Visitor {
    /// Its result.
    type Output;

    /// Calls it.
    fn visit<B: Backend>(self, device: &B, about: &About) -> Self::Output;
}

/// Opens a device of a backend of this build and visits it.
///
/// # Errors
/// If there is no device.
pub(crate) fn visit<V: Visitor>(name: &str, visitor: V) -> Result<V::Output> {
    match name {
        #[cfg(feature = "cuda")]
        "cuda" => {
            let device = Cuda::new(0)?;
            let counter = device.clone();
            let about = About {
                name: "cuda",
                description: device.describe(),
                is_emulated: false,
                launches: Some(Box::new(move || counter.launches())),
            };
            Ok(visitor.visit(&device, &about))
        }
        #[cfg(feature = "wgpu")]
        "wgpu" => {
            let device = Wgpu::new()?;
            let counter = device.clone();
            let about = About {
                name: "wgpu",
                description: device.describe(),
                is_emulated: device.is_software(),
                launches: Some(Box::new(move || counter.dispatches())),
            };
            Ok(visitor.visit(&device, &about))
        }
        #[cfg(feature = "cuda-emu")]
        "cuda-emu" => {
            let device = Cuda::emulated(minitorch_cuda::Order::Forward);
            let counter = device.clone();
            let about = About {
                name: "cuda-emu",
                description: device.describe(),
                is_emulated: true,
                launches: Some(Box::new(move || counter.launches())),
            };
            Ok(visitor.visit(&device, &about))
        }
        _ => {
            let device = Cpu::default();
            let about = About { name: "cpu", description: device.describe(), is_emulated: false, launches: None };
            Ok(visitor.visit(&device, &about))
        }
    }
}

/// Adds a way out to an error of opening a device.
pub(crate) fn no_device(error: &Error) -> Error {
    Error::Invalid(format!("{error}; --backend cpu works on any machine"))
}
