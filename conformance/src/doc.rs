//! What the crates' own tests import: `use minitorch_conformance::doc::*;`.

pub use crate::Plain;
pub use minitorch_core::*;
use std::sync::LazyLock;

/// The device of a test; the same at every call.
pub fn device() -> Plain {
    static DEVICE: LazyLock<Plain> = LazyLock::new(Plain::new);
    DEVICE.clone()
}
