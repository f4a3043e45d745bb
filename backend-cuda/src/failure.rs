//! What has failed on a device and was not reported yet, and whether it goes on.

use crate::device::DeviceState;
use crate::driver::Failure;
use minitorch_core::backend::MemoryStats;
use minitorch_core::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The failures of a device.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The first since the last report.
    first: Mutex<Option<Error>>,
    /// Why the device is of no more use: every report says it.
    lost: OnceLock<String>,
    /// Storages that there was no memory for, and one more if the device is lost. While it is not 0 no kernel is launched.
    halted: AtomicUsize,
}

impl Failures {
    /// One more reason to launch nothing.
    pub(crate) fn halt(&self) {
        self.halted.fetch_add(1, Ordering::Relaxed);
    }

    /// One reason less.
    pub(crate) fn resume(&self) {
        self.halted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DeviceState {
    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { device: self.name.clone(), reason: reason.into() }
    }

    /// Keeps a failure for the next report, unless an earlier one waits.
    pub(crate) fn keep(&self, failure: Error) {
        self.pending().get_or_insert(failure);
    }

    pub(crate) fn keep_if(&self, result: std::result::Result<(), Failure>, at: &str) {
        result.unwrap_or_else(|failure| self.keep(self.failed(at, 0, failure)));
    }

    /// The driver's failure of a call that wanted so many bytes, 0 if it says nothing of them.
    fn failed(&self, at: &str, bytes: usize, failure: Failure) -> Error {
        match failure {
            Failure::OutOfMemory => self.out_of_memory(bytes as u64),
            Failure::Other(reason) => self.error(format!("{at}: {reason}")),
            Failure::Lost(reason) => {
                let reason = format!("{at}: {reason}");
                if self.failures.lost.set(reason.clone()).is_ok() {
                    self.failures.halt();
                }
                self.error(reason)
            }
        }
    }

    /// Why nothing can be done any more, if the device is lost.
    pub(crate) fn lost(&self) -> Option<Error> {
        self.failures.lost.get().map(|reason| self.error(reason))
    }

    /// What a call that fails returns: the failure that waits to be reported, which may have caused this one, or else this one.
    pub(crate) fn first(&self, at: &str, bytes: usize, failure: Failure) -> Error {
        let own = self.failed(at, bytes, failure);
        self.pending().take().unwrap_or(own)
    }

    fn pending(&self) -> MutexGuard<'_, Option<Error>> {
        self.failures.first.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether a failure waits to be reported.
    pub(crate) fn is_failing(&self) -> bool {
        self.pending().is_some()
    }

    /// The first failure since the last report, without waiting for work that may still fail.
    pub(crate) fn kept(&self) -> Result<()> {
        self.pending().take().map_or(Ok(()), Err)
    }

    /// Whether no kernel is launched: a storage is missing, or the device is lost.
    pub(crate) fn is_halted(&self) -> bool {
        self.failures.halted.load(Ordering::Relaxed) > 0
    }

    /// Why a kernel is not launched.
    #[cold]
    pub(crate) fn halt(&self, kernel: &str) -> Error {
        let why = "was not launched, as a tensor that there was no memory for is still held";
        self.lost().unwrap_or_else(|| self.error(format!("{kernel} {why}")))
    }

    pub(crate) fn out_of_memory(&self, bytes: u64) -> Error {
        let MemoryStats { live, reserved, .. } = self.memory();
        Error::OutOfMemory { device: format!("{self:?}"), bytes, live, reserved }
    }
}
