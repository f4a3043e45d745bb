//! What ran: the kernels that backends report while somebody listens.
//!
//! [`launches`] runs a closure and returns, beside its result, a [`Launch`] for each kernel that a backend started for it on the
//! calling thread: which one, by which code path, on how many threads or in which grid, with which tile.
//!
//! ```
//! # use minitorch_core::launches;
//! # use minitorch_conformance::doc::*;
//! let (x, bias) = (Tensor::ones([64, 10], &device()), Tensor::ones([10], &device()));
//! let (y, launches) = launches(|| &x + &bias);
//! assert_eq!(y.dims(), [64, 10]);
//! for launch in launches {
//!     println!("{launch}"); // on the CPU: map2_f32 | row broadcast | 1 thread
//! }
//! ```
//!
//! # For backends
//!
//! A backend calls [`report`] where it chooses a kernel. While nobody listens that reads one thread-local flag: the closure that
//! builds the record is not called. A kernel that is composed of others holds what [`report`] returns as long as it runs, and stands
//! for all of them:
//!
//! ```
//! # use minitorch_core::launch::{Launch, report};
//! fn batched(count: usize) {
//!     let _launch = report(|| Launch::on_threads("gemm_f32", 2, count).path("batch"));
//!     (0..count).for_each(|_| product());
//! }
//!
//! fn product() {
//!     report(|| Launch::on_threads("gemm_f32", 1, 1).path("packed").tile([6, 16]));
//! }
//!
//! let ((), launches) = minitorch_core::launches(|| batched(4));
//! assert_eq!(launches.len(), 1);
//! ```
//!
//! A device that works asynchronously reports when a kernel is queued.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;

thread_local! {
    /// Whether a report on this thread is kept. No destructor: reading it is one load.
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    /// Scopes that are open on this thread.
    static SCOPES: Cell<u32> = const { Cell::new(0) };
    /// What was reported within the outermost scope of this thread.
    static LOG: RefCell<Vec<Launch>> = const { RefCell::new(Vec::new()) };
}

/// One kernel as a backend started it. Displays as a line.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Launch {
    /// The kernel's name: on a GPU the entry point, on the CPU the loop, with the element type at the end (`map2_f32`).
    pub kernel: Cow<'static, str>,
    /// The code path or algorithm; empty where the kernel's name says all.
    pub path: Cow<'static, str>,
    /// How the work is spread.
    pub extent: Extent,
    /// Rows and columns of the part of a result that is held in registers or shared memory at a time; 0 where there is no such part.
    pub tile: [u32; 2],
}

/// How the work of a [`Launch`] is spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Extent {
    /// Over threads of the host.
    Threads {
        /// The most that can take part at once.
        threads: u32,
        /// Chunks of work that they share; their number does not depend on the threads. 1 is a call that stays on its thread.
        chunks: u64,
    },
    /// Over a grid on a GPU.
    Grid {
        /// Blocks (workgroups).
        grid: [u32; 3],
        /// Threads of a block (invocations of a workgroup).
        block: [u32; 3],
        /// Bytes of shared memory per block that were asked for at the launch.
        shared: u32,
    },
}

impl Launch {
    /// A loop on the host in so many chunks, for which so many threads are there.
    pub fn on_threads(kernel: impl Into<Cow<'static, str>>, threads: usize, chunks: usize) -> Self {
        let threads = u32::try_from(threads.min(chunks).max(1)).unwrap_or(u32::MAX);
        Launch::new(kernel.into(), Extent::Threads { threads, chunks: chunks.max(1) as u64 })
    }

    /// A kernel on a GPU. `shared` are the bytes of shared memory that are set at the launch.
    pub fn on_grid(kernel: impl Into<Cow<'static, str>>, grid: [u32; 3], block: [u32; 3], shared: u32) -> Self {
        Launch::new(kernel.into(), Extent::Grid { grid, block, shared })
    }

    fn new(kernel: Cow<'static, str>, extent: Extent) -> Self {
        Launch { kernel, path: Cow::Borrowed(""), extent, tile: [0; 2] }
    }

    /// With this code path.
    #[must_use]
    pub fn path(self, path: impl Into<Cow<'static, str>>) -> Self {
        Launch { path: path.into(), ..self }
    }

    /// With a tile of so many rows and columns.
    #[must_use]
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

/// Runs `f` and returns its result and the kernels that backends started for it on this thread, in their order.
///
/// Scopes nest: the inner one's launches belong to the outer one too. What other threads start is not seen, and what a call
/// within `f` keeps for later (a gradient that is computed after the scope) neither. If `f` panics, the thread is left as it was before.
///
/// Recording changes neither results nor the kernels that are chosen. PyTorch: `torch.profiler`, without times.
pub fn launches<R>(f: impl FnOnce() -> R) -> (R, Vec<Launch>) {
    let scope = Scope::open();
    let result = f();
    let launches = scope.close();
    (result, launches)
}

/// A call of [`launches`] under way.
struct Scope {
    /// Where its launches begin in the log.
    first: usize,
    /// Whether an outer scope listens to it.
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
            // A thread that ends has dropped its log.
            let _ = LOG.try_with(|log| log.borrow_mut().truncate(self.first));
        }
    }
}

/// A launch as long as it runs: while this lives, further reports of its thread are part of it and not kept.
#[derive(Debug)]
pub struct Reported {
    /// The number of the scope that keeps the launch; 0 is none.
    scope: u32,
    /// The flag is the thread's.
    thread: PhantomData<*const ()>,
}

impl Drop for Reported {
    #[inline]
    fn drop(&mut self) {
        // One that outlives its scope has nobody to speak to.
        if self.scope != 0 && self.scope <= SCOPES.get() {
            LISTENING.set(true);
        }
    }
}

/// Reports a kernel that is about to start, if somebody listens on this thread; else `launch` is not called.
///
/// What it returns may be dropped at once. A kernel that calls others which report themselves keeps it until it has ended.
#[inline]
pub fn report(launch: impl FnOnce() -> Launch) -> Reported {
    let scope = if LISTENING.get() { keep(launch) } else { 0 };
    Reported { scope, thread: PhantomData }
}

/// Whether a report of this thread would be kept.
#[inline]
pub fn is_listening() -> bool {
    LISTENING.get()
}

/// Keeps a launch and stops listening; returns the number of the scope.
#[cold]
#[inline(never)]
fn keep(launch: impl FnOnce() -> Launch) -> u32 {
    // First, so that what the record itself computes is not reported.
    LISTENING.set(false);
    let launch = launch();
    // A thread that ends has dropped its log.
    let _ = LOG.try_with(|log| log.borrow_mut().push(launch));
    SCOPES.get()
}

#[cfg(test)]
#[path = "launch_tests.rs"]
mod tests;
