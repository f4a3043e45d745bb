//! The backends that `--backend` takes, for all examples.

/// Those of this build, the preferred one first. A further backend is a line here, one in [`backend`] and an arm where an
/// example opens its device.
pub(crate) const BACKENDS: &[&str] = &[
    #[cfg(feature = "cuda")]
    "cuda",
    #[cfg(feature = "wgpu")]
    "wgpu",
    "cpu",
    #[cfg(feature = "cuda-emu")]
    "cuda-emu",
];

/// A name from the command line.
pub(crate) fn backend(name: &str) -> Result<String, String> {
    let known = ["cpu", "cuda", "cuda-emu", "wgpu"];
    if !known.contains(&name) {
        return Err(format!("no such backend; there are {}", known.join(", ")));
    }
    if !BACKENDS.contains(&name) {
        return Err(format!("not in this build, which has {}", BACKENDS.join(", ")));
    }
    Ok(name.to_string())
}
