//! CUDA devices for tests that count what a device does: launches, allocations, draws.

#[path = "require.rs"]
mod require;

use minitorch::prelude::*;
use std::iter::once_with;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard};

/// A device whose counters belong to one test as long as it is held.
pub(crate) struct Held {
    device: Cuda,
    /// The handle of a GPU is one for the whole process, so tests take turns.
    _turn: Option<MutexGuard<'static, ()>>,
}

impl Deref for Held {
    type Target = Cuda;

    fn deref(&self) -> &Cuda {
        &self.device
    }
}

/// These emulated devices, which nobody else has, and GPU 0 if there is one. It is held until its item is dropped.
///
/// # Panics
/// If `MINITORCH_REQUIRE` holds `cuda-emu` and there are none, or `cuda` and there is no GPU.
pub(crate) fn devices(emulated: Vec<Cuda>) -> impl Iterator<Item = Held> {
    if emulated.is_empty() && is_required("cuda-emu") {
        panic!("{}", require::absent("cuda-emu", "not compiled in (--features cuda-emu)"));
    }
    emulated.into_iter().map(|device| Held { device, _turn: None }).chain(once_with(gpu).flatten())
}

fn gpu() -> Option<Held> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match Cuda::new(0) {
        Ok(device) => {
            // A failure that a test before this one has left is not this one's.
            let _ = device.synchronize();
            Some(Held { device, _turn: Some(turn) })
        }
        Err(error) if is_required("cuda") => panic!("{}", require::absent("cuda", &error.to_string())),
        Err(_) => None,
    }
}

fn is_required(name: &str) -> bool {
    require::names().iter().any(|required| required == name)
}
