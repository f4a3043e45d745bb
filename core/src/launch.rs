//! A log of the kernels that backends launch.
//!
//! [`launches`] runs a closure and returns, beside its result, a [`Launch`] for each kernel that a backend launched for
//! it on the calling thread: the kernel, its code path, the threads or the grid, and the tile.
//!
//! ```
//! use minitorch::prelude::*;
//! use minitorch::launches;
//!
//! let device = Cpu::default();
//! let (x, bias) = (Tensor::ones([64, 10], &device), Tensor::ones([10], &device));
//! let (y, launches) = launches(|| &x + &bias);
//! assert_eq!(y.dims(), [64, 10]);
//! for launch in launches {
//!     println!("{launch}"); // on the CPU: map2_f32 | row broadcast | 1 thread
//! }
//! ```
//!
//! # For backends
//!
//! A backend calls [`report`] where it chooses a kernel. Outside of [`launches`] that reads one thread-local flag, and the
//! closure that builds the record is not called. A kernel that is composed of others holds the result of [`report`] while it
//! runs; then it is the only one of them in the log:
//!
//! ```
//! use minitorch::prelude::*;
//! use minitorch::launches;
//! use minitorch::launch::{Launch, report};
//!
//! fn batched(count: usize) {
//!     let _launch = report(|| Launch::on_threads("gemm_f32", 2, count).path("batch"));
//!     (0..count).for_each(|_| product());
//! }
//!
//! fn product() {
//!     report(|| Launch::on_threads("gemm_f32", 1, 1).path("packed").tile([6, 16]));
//! }
//!
//! let ((), launches) = launches(|| batched(4));
//! assert_eq!(launches.len(), 1);
//! ```
//!
//! An asynchronous device reports a kernel when it queues it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;

thread_local! {
    /// Whether a report on this thread is logged. Without a destructor, so that reading it is one load.
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// The number of open scopes on this thread.
    static SCOPES: Cell<u32> = const { Cell::new(0) };
    /// The launches that were reported within the outermost scope of this thread.
    static LOG: RefCell<Vec<Launch>> = const { RefCell::new(Vec::new()) };
}

/// The launch of one kernel. Its `Display` is one line.
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Launch {
    /// The kernel's name: on a GPU the entry point, on the CPU the loop, with the element type at the end (`map2_f32`).
    pub kernel: Cow<'static, str>,
    /// The code path or algorithm; empty if the kernel has only one.
    pub path: Cow<'static, str>,
    /// The threads or the grid.
    pub extent: Extent,
    /// Rows and columns of the tile of the result in registers or shared memory; 0 if there is no tile.
    pub tile: [u32; 2],
}

/// The threads or the grid of a [`Launch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Extent {
    /// Threads of the host.
    Threads {
        /// The most threads that can run at once.
        threads: u32,
        /// The chunks of work that they share, a number that does not depend on the threads. With 1 the calling thread does all
        /// work.
        chunks: u64,
    },
    /// A grid on a GPU.
    Grid {
        /// Blocks (workgroups).
        grid: [u32; 3],
        /// Threads of a block (invocations of a workgroup).
        block: [u32; 3],
        /// Bytes of dynamic shared memory per block.
        shared: u32,
    },
}

impl Launch {
    /// A loop on the host in `chunks` chunks, on at most `threads` threads.
    pub fn on_threads(kernel: impl Into<Cow<'static, str>>, threads: usize, chunks: usize) -> Self {
        let threads = u32::try_from(threads.min(chunks).max(1)).unwrap_or(u32::MAX);
        Launch::new(kernel.into(), Extent::Threads { threads, chunks: chunks.max(1) as u64 })
    }

    /// A kernel on a GPU. `shared` is the number of bytes of dynamic shared memory per block.
    pub fn on_grid(kernel: impl Into<Cow<'static, str>>, grid: [u32; 3], block: [u32; 3], shared: u32) -> Self {
        Launch::new(kernel.into(), Extent::Grid { grid, block, shared })
    }

    fn new(kernel: Cow<'static, str>, extent: Extent) -> Self {
        Launch { kernel, path: Cow::Borrowed(""), extent, tile: [0; 2] }
    }

    /// Sets the code path.
    pub fn path(self, path: impl Into<Cow<'static, str>>) -> Self {
        Launch { path: path.into(), ..self }
    }

    /// Sets the tile: `[rows, columns]`.
    pub fn tile(self, tile: [usize; 2]) -> Self {
        Launch { tile: tile.map(|size| u32::try_from(size).unwrap_or(u32::MAX)), ..self }
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.kernel)?;
        if !self.path.is_empty() {
            write!(f, " | {}", self.path)?;
        }
        write!(f, " | {}", self.extent)?;
        let [rows, columns] = self.tile;
        if rows != 0 { write!(f, " | tile {rows} x {columns}") } else { Ok(()) }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Extent::Threads { chunks: 1, .. } => f.write_str("1 thread"),
            Extent::Threads { threads: 1, chunks } => write!(f, "1 thread, {chunks} chunks"),
            Extent::Threads { threads, chunks } => write!(f, "{threads} threads, {chunks} chunks"),
            Extent::Grid { grid, block, shared } => {
                write!(f, "grid {} x block {}", Sizes(grid), Sizes(block))?;
                if shared != 0 { write!(f, ", {shared} B shared") } else { Ok(()) }
            }
        }
    }
}

/// Three sizes without trailing ones: `4`, `4,2`, `4,1,3`.
struct Sizes([u32; 3]);

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            [x, 1, 1] => write!(f, "{x}"),
            [x, y, 1] => write!(f, "{x},{y}"),
            [x, y, z] => write!(f, "{x},{y},{z}"),
        }
    }
}

/// Runs `f`; returns its result and the kernels that backends started for it on this thread, in order.
///
/// Scopes nest: the launches of the inner one belong to the outer one too. Kernels that other threads start are not logged, nor
/// those that run after the scope, such as a gradient that is computed later. If `f` panics, the state of the thread is restored.
///
/// Logging changes neither results nor the choice of kernels. PyTorch: `torch.profiler`, without times.
pub fn launches<R>(f: impl FnOnce() -> R) -> (R, Vec<Launch>) {
    let scope = Scope::open();
    let result = f();
    let launches = scope.close();
    (result, launches)
}

/// A call of [`launches`] in progress.
struct Scope {
    /// The position of its first launch in the log.
    first: usize,
    /// Whether there is an outer scope.
    outer: bool,
}

impl Scope {
    fn open() -> Self {
        let first = LOG.try_with(|log| log.borrow().len()).unwrap_or(0);
        SCOPES.set(SCOPES.get() + 1);
        Scope { first, outer: LISTENING.replace(true) }
    }

    fn close(self) -> Vec<Launch> {
        let seen = |log: &RefCell<Vec<Launch>>| {
            if self.outer { log.borrow()[self.first..].to_vec() } else { log.borrow_mut().split_off(self.first) }
        };
        LOG.try_with(seen).unwrap_or_default()
    }
}

impl Drop for Scope {
    /// Also when the closure panics.
    fn drop(&mut self) {
        SCOPES.set(SCOPES.get() - 1);
        LISTENING.set(self.outer);
        if !self.outer {
            // Fails if the thread is ending and has dropped its log.
            let _ = LOG.try_with(|log| log.borrow_mut().truncate(self.first));
        }
    }
}

/// A launch while it runs: as long as this exists, further reports of its thread are part of it and not logged.
#[derive(Debug)]
pub struct Reported {
    /// The number of the scope that logged the launch; 0 for none.
    scope: u32,
    /// Not `Send`, since the flag belongs to the thread.
    thread: PhantomData<*const ()>,
}

impl Drop for Reported {
    #[inline]
    fn drop(&mut self) {
        // Not if its scope has ended.
        if self.scope != 0 && self.scope <= SCOPES.get() {
            LISTENING.set(true);
        }
    }
}

/// Reports a kernel that is about to start. Outside of [`launches`], `launch` is not called.
///
/// The result may be dropped at once. A kernel that calls others which report themselves holds it until it has ended.
#[inline]
pub fn report(launch: impl FnOnce() -> Launch) -> Reported {
    let scope = if LISTENING.get() { log(launch) } else { 0 };
    Reported { scope, thread: PhantomData }
}

/// Whether a report on this thread is logged.
#[inline]
pub fn is_listening() -> bool {
    LISTENING.get()
}

/// Logs a launch and stops logging; returns the number of the scope.
#[cold]
#[inline(never)]
fn log(launch: impl FnOnce() -> Launch) -> u32 {
    // First, so that kernels that `launch` itself starts are not logged.
    LISTENING.set(false);
    let launch = launch();
    // Fails if the thread is ending and has dropped its log.
    let _ = LOG.try_with(|log| log.borrow_mut().push(launch));
    SCOPES.get()
}

#[cfg(test)]
#[path = "launch_tests.rs"]
mod tests;
