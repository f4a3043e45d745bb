//! `Cuda`, the device: its handle, its random state, its report of what failed, and how a kernel is called.

use crate::card::Card;
use crate::driver::{Address, Driver, Failure, Info, Launch};
#[cfg(feature = "emulator")]
use crate::emulator::{Emulator, EmulatorOptions};
use crate::failure::Failures;
use crate::memory::{Pool, Storage};
use crate::params::{MapParams, Operand, Params, Walk, params};
use minitorch_core::backend::View;
use minitorch_core::launch;
use minitorch_core::random::DeviceRng;
use minitorch_core::{DType, Error, Layout, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A CUDA device: a cheap handle. [`Cuda::new`] gives the process-wide handle of a card; with the feature `emulator`,
/// `Cuda::emulated` makes a device that runs the same kernels on the CPU. Tensors of unequal devices do not mix.
#[derive(Clone)]
pub struct Cuda(pub(crate) Arc<DeviceState>);

/// Counters that kernels use to find out which block is the last; see `last_block` in common.cuh.
pub(crate) const COUNTERS: usize = 1 << 14;

pub(crate) struct DeviceState {
    pub(crate) name: String,
    pub(crate) driver: Box<dyn Driver>,
    pool: Mutex<Pool>,
    random: DeviceRng,
    pub(crate) failures: Failures,
    /// Whether a kernel that checks indices ran since the last report.
    indexed: AtomicBool,
    /// A [`BadIndex`] on the device.
    bad_index: Address,
    /// [`COUNTERS`] numbers on the device, all 0 between kernels.
    counters: Address,
    launches: AtomicU64,
    /// `MINITORCH_SYNC=1`: wait after every kernel, so that a failure names the one that caused it.
    wait: bool,
    /// `MINITORCH_EXACT=1`: buffers of exactly the bytes asked for, freed where they are dropped; see memory.rs.
    pub(crate) exact: bool,
}

params! {
    /// The first bad index since the last report.
    BadIndex in "common.cuh" {
        op: u32,
        index: i32,
        bound: u64,
    }
}

/// Who may find a bad index; 0 is nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum IndexedOp {
    Gather = 1,
    ScatterAdd = 2,
    Scatter = 3,
    CrossEntropy = 4,
}

impl IndexedOp {
    fn name(op: u32) -> &'static str {
        match op {
            op if op == IndexedOp::Gather as u32 => "gather",
            op if op == IndexedOp::ScatterAdd as u32 => "scatter_add",
            op if op == IndexedOp::Scatter as u32 => "scatter",
            _ => "cross_entropy",
        }
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

impl DeviceState {
    pub(crate) fn new(name: String, driver: Box<dyn Driver>) -> Result<Self> {
        let error = |failure| match failure {
            Failure::OutOfMemory => {
                Error::Device { device: name.clone(), reason: "there is no memory left for the backend itself".into() }
            }
            Failure::Other(reason) | Failure::Lost(reason) => Error::Device { device: name.clone(), reason },
        };
        let zeroed = |bytes| {
            let address = driver.allocate(bytes).map_err(error)?;
            // SAFETY: it was allocated with this many bytes.
            unsafe { driver.set(address, 0, bytes) }.map_err(error)?;
            Ok(address)
        };
        let (bad_index, counters) = (zeroed(size_of::<BadIndex>())?, zeroed(COUNTERS * size_of::<u32>())?);
        driver.counters(counters, COUNTERS * size_of::<u32>());
        Ok(DeviceState {
            bad_index,
            counters,
            pool: Mutex::default(),
            random: DeviceRng::default(),
            failures: Failures::default(),
            indexed: AtomicBool::new(false),
            launches: AtomicU64::new(0),
            wait: is_set("MINITORCH_SYNC"),
            exact: is_set("MINITORCH_EXACT"),
            driver,
            name,
        })
    }

    pub(crate) fn rng(&self) -> &DeviceRng {
        &self.random
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits for all work, then gives the first failure since the last report.
    pub(crate) fn report(&self) -> Result<()> {
        self.keep_if(self.driver.synchronize(), "synchronize");
        if let Some(lost) = self.lost() {
            self.keep(lost);
        } else if self.indexed.swap(false, Ordering::AcqRel) {
            let mut record = [0; size_of::<BadIndex>()];
            // SAFETY: the record has this many bytes, and lives as long as the device.
            let read = unsafe { self.driver.download(self.bad_index, &mut record) };
            if read.is_err() {
                self.indexed.store(true, Ordering::Release); // the next report reads it
            }
            self.keep_if(read, "reading the record of bad indices");
            let part = |at: usize| u32::from_ne_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
            if part(0) != 0 {
                // SAFETY: as above.
                let cleared = unsafe { self.driver.set(self.bad_index, 0, record.len()) };
                self.keep_if(cleared, "clearing the record of bad indices");
                let bound = part(8) as u64 | (part(12) as u64) << 32;
                let (op, index) = (IndexedOp::name(part(0)), part(4) as i32 as i64);
                self.keep(Error::IndexOutOfRange { op, index, bound });
            }
        }
        self.kept()
    }

    /// Where a kernel that checks indices records a bad one.
    pub(crate) fn bad_index(&self) -> Address {
        self.indexed.store(true, Ordering::Release);
        self.bad_index
    }

    /// [`COUNTERS`] numbers for `last_block`.
    pub(crate) fn counters(&self) -> Address {
        self.counters
    }

    /// Streaming multiprocessors, at least 1: grids of kernels that walk are cut to a multiple of it.
    pub(crate) fn multiprocessors(&self) -> usize {
        self.driver.info().multiprocessors.max(1) as usize
    }

    pub(crate) fn launches(&self) -> u64 {
        self.launches.load(Ordering::Relaxed)
    }

    /// Calls a kernel. A failure is kept for the next report.
    pub(crate) fn launch<P: Params>(
        &self,
        kernel: &str,
        grid: [usize; 3],
        block: [usize; 3],
        shared: usize,
        params: &P,
    ) {
        if self.is_halted() {
            return self.keep(self.halt(kernel));
        }
        self.launches.fetch_add(1, Ordering::Relaxed);
        let [grid, block] = [grid, block].map(|sizes| sizes.map(|size| size as u32));
        launch::report(|| launch::Launch::on_grid(kernel.to_owned(), grid, block, shared as u32));
        let launch = Launch { kernel, grid, block, shared: shared as u32, params: (&raw const *params).cast() };
        // SAFETY: the kernels take this struct (see `Params`), and its addresses come from storages that the caller holds or
        // that wait in the pool: memory is freed only after the work that was queued before.
        let result = unsafe { self.driver.launch(&launch) };
        self.keep_if(result, kernel);
        if self.wait {
            self.keep_if(self.driver.synchronize(), kernel);
        }
    }
}

impl Drop for DeviceState {
    fn drop(&mut self) {
        // A device that failed has nothing to wait for.
        let _ = self.driver.synchronize();
        self.release();
        // SAFETY: both were allocated with these sizes, and no kernel runs any more.
        unsafe {
            self.driver.free(self.bad_index, size_of::<BadIndex>());
            self.driver.free(self.counters, COUNTERS * size_of::<u32>());
        }
    }
}

impl fmt::Debug for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Cuda {
    /// The process-wide handle of a card. A kernel's file is compiled when one of its kernels is first launched, or found
    /// compiled on disk; one that does not compile or load is a failure of the next read, as others of a launch are.
    ///
    /// # Errors
    /// If there is no driver, no such card or no NVRTC: [`Error::Device`] says which, where it was looked for and what helps.
    pub fn new(ordinal: usize) -> Result<Self> {
        static CARDS: Mutex<BTreeMap<usize, Cuda>> = Mutex::new(BTreeMap::new());
        let mut cards = CARDS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(card) = cards.get(&ordinal) {
            return Ok(card.clone());
        }
        let device = DeviceState::new(format!("Cuda({ordinal})"), Box::new(Card::new(ordinal)?))?;
        let card = Cuda(Arc::new(device));
        cards.insert(ordinal, card.clone());
        Ok(card)
    }

    /// How many cards there are.
    ///
    /// # Errors
    /// If there is no driver, or it does not answer.
    pub fn count() -> Result<usize> {
        Card::count()
    }

    /// A device of its own that runs the same kernels on the CPU, thread by thread, and finds what a card would forgive:
    /// accesses outside of a buffer, unwritten memory, barriers that not all threads reach. Slow; for tests. Takes the `Order` in
    /// which threads run, or [`EmulatorOptions`].
    ///
    /// # Panics
    /// If the machine has no memory left, or the options ask for more shared memory than the emulator has.
    #[cfg(feature = "emulator")]
    pub fn emulated(options: impl Into<EmulatorOptions>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("Cuda(emulated {})", NEXT.fetch_add(1, Ordering::Relaxed));
        let device = DeviceState::new(name, Box::new(Emulator::new(options)));
        device.map_or_else(|error| panic!("{error}"), |device| Cuda(Arc::new(device)))
    }

    /// Gives the memory that is cached and not in use back to the driver.
    pub fn release_memory(&self) {
        self.0.release();
    }

    /// How many kernels were launched since the start: the count of a training step is a measure that no clock disturbs.
    pub fn launches(&self) -> u64 {
        self.0.launches()
    }

    /// How many buffers were asked of the driver since the start; a warm training step asks for none.
    pub fn allocations(&self) -> u64 {
        self.0.allocations()
    }

    /// What is known of the device, in a line: name, compute capability, memory, multiprocessors, driver.
    pub fn describe(&self) -> String {
        let Info { name, capability: (major, minor), memory, multiprocessors, shared_memory, driver } =
            self.0.driver.info();
        let driver = driver.map(|(major, minor)| format!(", driver for CUDA {major}.{minor}")).unwrap_or_default();
        let (gib, kib) = (*memory as f64 / (1u64 << 30) as f64, shared_memory / 1024);
        format!(
            "{name}: compute capability {major}.{minor}, {gib:.1} GiB, {multiprocessors} multiprocessors, {kib} KiB of shared \
             memory per block{driver}"
        )
    }

    /// Calls an element-wise kernel over the shape of `out`, see map.cuh. Panics if an operand has another shape, or something
    /// lies beyond its storage.
    pub(crate) fn map<const N: usize>(
        &self,
        kernel: &str,
        (storage, dtype, layout): (&Storage, DType, &Layout),
        operands: [View<'_, Storage>; N],
        [a, b]: [f64; 2],
    ) {
        if layout.numel() == 0 {
            return;
        }
        let mut r#in = [Operand::NONE; 3];
        for (to, x) in r#in.iter_mut().zip(operands) {
            assert!(x.layout.shape() == layout.shape(), "{kernel}: {:?} and {:?}", x.layout.shape(), layout.shape());
            *to = Operand::of(x.storage, x.dtype, x.layout);
        }
        let params =
            MapParams { walk: Walk::new(layout.shape()), out: Operand::of(storage, dtype, layout), r#in, a, b };
        let (grid, block) = self.walk_over(layout.numel().div_ceil(4));
        self.0.launch(kernel, grid, block, 0, &params);
    }

    /// Grid and block of a kernel that walks over `items`: eight blocks of 256 threads fill a multiprocessor.
    pub(crate) fn walk_over(&self, items: usize) -> ([usize; 3], [usize; 3]) {
        ([items.div_ceil(THREADS).clamp(1, 8 * self.0.multiprocessors()), 1, 1], [THREADS, 1, 1])
    }
}

/// Threads of a block of an element-wise kernel.
pub(crate) const THREADS: usize = 256;

/// Two handles are equal if they are the same device.
impl PartialEq for Cuda {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A kernel's name, put together without the heap.
pub(crate) struct Name {
    text: [u8; 48],
    len: usize,
}

impl Name {
    pub(crate) fn new(text: fmt::Arguments<'_>) -> Self {
        let mut name = Name { text: [0; 48], len: 0 };
        if fmt::write(&mut name, text).is_err() {
            unreachable!("a kernel's name is shorter than 48 bytes: {text}");
        }
        name
    }
}

impl fmt::Write for Name {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.len + part.len();
        self.text.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

/// `name!("reduce_{}_{}", op, suffix(dtype))`
macro_rules! name {
    ($($part:tt)*) => { &*$crate::device::Name::new(format_args!($($part)*)) };
}
pub(crate) use name;

/// How kernels call an element type.
pub(crate) fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => unreachable!("core asks `supports` first"),
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::I32 => "i32",
        DType::Bool => "bool",
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
