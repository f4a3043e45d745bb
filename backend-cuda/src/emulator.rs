//! The emulator: device memory is host memory, and kernels are functions that build.rs compiled for the CPU.
//!
//! It exists to find errors in kernels: uninitialized memory contains NaN, addresses are checked, and so are barriers, shuffles
//! and fences (`emulator/emulator.cpp`).

use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::driver::{Address, Driver, Failure, Info, Launch};

#[cfg(test)]
#[path = "emulator_tests.rs"]
mod tests;

/// The bytes of uninitialized memory: NaN as a float, -1 as an index.
const UNINITIALIZED: u8 = 0xff;

const ALIGNMENT: usize = 16;

/// CUDA's limits.
const MAX_THREADS: u64 = 1024;
const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];
const MAX_GRID: [u32; 3] = [i32::MAX as u32, 65535, 65535];

/// The maximum of shared memory per block: it fits into `kArena` of machine.h with the gaps between arrays.
const MAX_SHARED: u32 = 256 << 10;

/// The order in which blocks, the warps of a block and the threads of a warp run, where they do not wait for each other. A kernel
/// whose result depends on it lacks a barrier or an atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ascending.
    Forward,
    /// Descending.
    Reversed,
    /// Random, from this seed, which restarts at every launch.
    Shuffled(u64),
}

/// The options of an emulated device: `Cuda::emulated(Order::Forward)`, or
/// `Cuda::emulated(EmulatorOptions { multiprocessors: 132, ..EmulatorOptions::default() })`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmulatorOptions {
    /// The order in which threads run.
    pub order: Order,
    /// Streaming multiprocessors, by default 4. Grids, tile sizes and the splits of long sums depend on it. An H100 has 132.
    pub multiprocessors: u32,
    /// The maximum of shared memory per block in bytes, at most 256 KiB; static arrays, which kernels have alone, take at most
    /// 48 KiB. The default is 99 KiB, as on desktop GPUs; an H100 has 227 KiB.
    pub shared_memory: u32,
}

impl Default for EmulatorOptions {
    fn default() -> Self {
        EmulatorOptions { order: Order::Forward, multiprocessors: 4, shared_memory: 99 << 10 }
    }
}

impl From<Order> for EmulatorOptions {
    fn from(order: Order) -> Self {
        EmulatorOptions { order, ..EmulatorOptions::default() }
    }
}

/// An emulated device.
#[derive(Debug)]
pub(crate) struct Emulator {
    info: Info,
    order: Order,
    /// The allocations by address, with their sizes.
    allocations: Mutex<BTreeMap<Address, usize>>,
    /// The range of the counters of `last_block`.
    counters: OnceLock<[Address; 2]>,
}

/// A kernel, as runtime.h declares it.
///
/// # Safety
/// The argument points to the struct that the kernel takes, whose addresses are valid.
type Call = unsafe extern "C" fn(*const c_void);

/// `emulator::Kernel` of runtime.h.
#[repr(C)]
struct Kernel {
    name: *const c_char,
    call: Option<Call>,
}

/// `emulator::Request` of machine.h.
#[repr(C)]
struct Request {
    kernel: *const c_char,
    call: Call,
    params: *const c_void,
    seed: u64,
    grid: [u32; 3],
    block: [u32; 3],
    shared_limit: u32,
    counters: *const u32,
    counters_end: *const u32,
    order: u32,
}

// SAFETY: emulator.cpp and the file of tables that build.rs writes define both with these types.
unsafe extern "C" {
    /// All tables of kernels. Each table, and the list of them, ends with a null.
    #[link_name = "emulator_tables"]
    static TABLES: *const Kernel;

    fn emulator_launch(request: *const Request, message: *mut c_char, capacity: usize) -> bool;
}

/// All kernels, by name.
static KERNELS: LazyLock<HashMap<&'static str, (&'static CStr, Call)>> = LazyLock::new(|| {
    let mut kernels = HashMap::new();
    let mut tables = &raw const TABLES;
    // SAFETY: build.rs writes the list and its tables as static arrays whose last entry is null, and names as C strings.
    unsafe {
        while !(*tables).is_null() {
            let mut kernel = *tables;
            while let Some(call) = (*kernel).call {
                let name = CStr::from_ptr((*kernel).name);
                // C++ identifiers are ASCII.
                kernels.insert(name.to_str().unwrap_or_default(), (name, call));
                kernel = kernel.add(1);
            }
            tables = tables.add(1);
        }
    }
    kernels
});

impl Emulator {
    /// # Panics
    /// If the options ask for more shared memory than the emulator has.
    pub(crate) fn new(options: impl Into<EmulatorOptions>) -> Self {
        let EmulatorOptions { order, multiprocessors, shared_memory } = options.into();
        assert!(shared_memory <= MAX_SHARED, "{shared_memory} bytes of shared memory; the emulator has {MAX_SHARED}");
        let info = Info {
            name: "emulated".into(),
            capability: (9, 0),
            memory: 16 << 30,
            multiprocessors,
            shared_memory,
            driver: None,
        };
        Self { info, order, allocations: Mutex::new(BTreeMap::new()), counters: OnceLock::new() }
    }

    fn allocations(&self) -> MutexGuard<'_, BTreeMap<Address, usize>> {
        // No panic can leave the map inconsistent.
        self.allocations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails unless these bytes are within one allocation.
    fn check(&self, what: &str, at: Address, bytes: usize) -> Result<(), Failure> {
        let allocations = self.allocations();
        let inside = |(&start, &held): (&Address, &usize)| {
            let from = at - start;
            from <= held as u64 && bytes as u64 <= held as u64 - from
        };
        let nearest = allocations.range(..=at).next_back();
        if nearest.is_some_and(inside) {
            return Ok(());
        }
        let near = match nearest {
            Some((start, held)) => format!("the nearest allocation before it has {held} bytes at {start:#x}"),
            None => "no allocation is before it".into(),
        };
        Err(Failure::Other(format!("{what} of {bytes} bytes at {at:#x}, which is not allocated memory: {near}")))
    }
}

fn check_shape(launch: &Launch<'_>) -> Result<(), String> {
    let (grid, block) = (launch.grid, launch.block);
    let threads: u64 = block.iter().map(|&n| u64::from(n)).product();
    if grid.contains(&0) || block.contains(&0) {
        return Err(format!("a grid of {grid:?} blocks of {block:?} threads is empty"));
    }
    if (0..3).any(|i| grid[i] > MAX_GRID[i]) {
        return Err(format!("a grid of {grid:?} blocks; at most {MAX_GRID:?} are possible"));
    }
    if (0..3).any(|i| block[i] > MAX_BLOCK[i]) || threads > MAX_THREADS {
        return Err(format!("blocks of {block:?} threads; at most {MAX_BLOCK:?}, and {MAX_THREADS} together"));
    }
    Ok(())
}

fn layout(bytes: usize) -> Result<Layout, Failure> {
    Layout::from_size_align(bytes, ALIGNMENT).map_err(|_| Failure::OutOfMemory)
}

impl Driver for Emulator {
    fn info(&self) -> &Info {
        &self.info
    }

    /// Not rounded, so that the address sanitizer detects an access past the requested size.
    fn round_up(&self, bytes: usize) -> usize {
        bytes
    }

    fn allocate(&self, bytes: usize) -> Result<Address, Failure> {
        let mut allocations = self.allocations();
        let held: u64 = allocations.values().map(|&held| held as u64).sum();
        if bytes == 0 || bytes as u64 > self.info.memory.saturating_sub(held) {
            return Err(Failure::OutOfMemory);
        }
        let layout = layout(bytes)?;
        // SAFETY: `bytes` is not 0, as was checked above.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            return Err(Failure::OutOfMemory);
        }
        // SAFETY: `alloc` returned this many bytes, and not null.
        unsafe { memory.write_bytes(UNINITIALIZED, bytes) };
        let address = memory.expose_provenance() as Address;
        allocations.insert(address, bytes);
        Ok(address)
    }

    // SAFETY: the precondition is that of the trait, and the allocation is checked.
    unsafe fn free(&self, address: Address, bytes: usize) {
        let held = self.allocations().remove(&address);
        assert_eq!(held, Some(bytes), "freed {bytes} bytes at {address:#x}, where this many bytes were allocated");
        if let Ok(layout) = layout(bytes) {
            // SAFETY: `allocate` got this memory with the same layout, as the assertion checks; removing it from the map prevents
            // a second free. The caller guarantees that nothing uses it.
            unsafe { dealloc(pointer(address), layout) };
        }
    }

    // SAFETY: the precondition is that of the trait, and the allocation is checked.
    unsafe fn recycle(&self, address: Address, bytes: usize) {
        if let Err(failure) = self.check("recycling", address, bytes) {
            panic!("{failure:?}");
        }
        // SAFETY: `check` has found the bytes in an allocation, and the caller guarantees that they have no owner.
        unsafe { pointer(address).write_bytes(UNINITIALIZED, bytes) };
    }

    fn counters(&self, address: Address, bytes: usize) {
        // A device has one range of counters.
        let _ = self.counters.set([address, address + bytes as u64]);
    }

    // SAFETY: the precondition is that of the trait, and the address is checked.
    unsafe fn upload(&self, to: Address, data: &[u8]) -> Result<(), Failure> {
        self.check("an upload", to, data.len())?;
        // SAFETY: `check` has found the bytes in an allocation, and no host slice overlaps device memory, which only this file
        // dereferences.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), pointer(to), data.len()) };
        Ok(())
    }

    // SAFETY: the precondition is that of the trait, and the address is checked.
    unsafe fn download(&self, from: Address, data: &mut [u8]) -> Result<(), Failure> {
        self.check("a download", from, data.len())?;
        // SAFETY: `check` has found the bytes in an allocation, and no host slice overlaps device memory, which only this file
        // dereferences.
        unsafe { ptr::copy_nonoverlapping(pointer(from).cast_const(), data.as_mut_ptr(), data.len()) };
        Ok(())
    }

    // SAFETY: the precondition is that of the trait, and the address is checked.
    unsafe fn set(&self, at: Address, value: u8, bytes: usize) -> Result<(), Failure> {
        self.check("setting", at, bytes)?;
        // SAFETY: `check` has found the bytes in an allocation.
        unsafe { pointer(at).write_bytes(value, bytes) };
        Ok(())
    }

    /// Runs the kernel to its end.
    // SAFETY: the precondition is that of the trait.
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<(), Failure> {
        let failed = |what: String| Failure::Other(format!("kernel `{}`: {what}", launch.kernel));
        let &(kernel, call) = KERNELS.get(launch.kernel).ok_or_else(|| failed("there is none of this name".into()))?;
        check_shape(launch).map_err(failed)?;
        let (order, seed) = match self.order {
            Order::Forward => (0, 0),
            Order::Reversed => (1, 0),
            Order::Shuffled(seed) => (2, seed),
        };
        let [counters, counters_end] = self.counters.get().unwrap_or(&[0; 2]).map(|at| pointer(at).cast_const().cast());
        let request = Request {
            kernel: kernel.as_ptr(),
            call,
            params: launch.params,
            seed,
            grid: launch.grid,
            block: launch.block,
            shared_limit: self.info.shared_memory,
            counters,
            counters_end,
            order,
        };
        let mut message = [0_u8; 1024];
        // SAFETY: the request is complete and `check_shape` accepted its sizes; the message has this capacity; the caller
        // guarantees the kernel's parameters.
        if unsafe { emulator_launch(&request, message.as_mut_ptr().cast(), message.len()) } {
            return Ok(());
        }
        let text = CStr::from_bytes_until_nul(&message).unwrap_or_default();
        Err(Failure::Other(text.to_string_lossy().into_owned()))
    }

    /// Launches are synchronous.
    fn synchronize(&self) -> Result<(), Failure> {
        Ok(())
    }
}

/// A pointer to device memory, whose provenance `allocate` exposed.
fn pointer(address: Address) -> *mut u8 {
    ptr::with_exposed_provenance_mut(address as usize)
}
