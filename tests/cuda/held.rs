//! CUDA devices for tests that read a device's counters: launches, allocations, draws.

#[path = "../common/require.rs"]
mod require;

use minitorch::prelude::*;
use std::iter::once_with;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};

/// A device that no other test uses while it is held.
pub(crate) struct Held {
    device: Cuda,
    /// A GPU has one handle per process, so tests run one at a time.
    _exclusive: Option<MutexGuard<'static, ()>>,
}

impl Deref for Held {
    type Target = Cuda;

    fn deref(&self) -> &Cuda {
        &self.device
    }
}

/// These emulated devices, and GPU 0 if there is one, held until its item is dropped.
///
/// # Panics
/// If `MINITORCH_REQUIRE` holds `cuda-emu` and there are none, or `cuda` and there is no GPU.
pub(crate) fn devices(emulated: Vec<Cuda>) -> impl Iterator<Item = Held> {
    if emulated.is_empty() {
        require::absent("cuda-emu", "not compiled in (--features cuda-emu)");
    }
    emulated.into_iter().map(|device| Held { device, _exclusive: None }).chain(once_with(gpu).flatten())
}

fn gpu() -> Option<Held> {
    static EXCLUSIVE: Mutex<()> = Mutex::new(());
    let exclusive = EXCLUSIVE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match Cuda::new(0) {
        Ok(device) => {
            // An error that an earlier test left in the queue.
            drop(device.take_error());
            Some(Held { device, _exclusive: Some(exclusive) })
        }
        Err(error) => {
            require::absent("cuda", &error.to_string());
            None
        }
    }
}
