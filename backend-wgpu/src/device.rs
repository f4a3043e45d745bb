//! `Wgpu`, the device: how an adapter is chosen, the failure that was not reported yet, random state, grids.

use crate::index::IndexedOp;
use crate::memory::{Pool, Storage};
use crate::optim::MOST_BUFFERS;
use crate::stream::Stream;
use minitorch_core::random::DeviceRng;
use minitorch_core::{DType, Error, Result};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// A GPU through wgpu: a cheap handle. [`Wgpu::new`] gives the process-wide handle of the best adapter. Tensors of unequal
/// devices do not mix.
#[derive(Clone)]
pub struct Wgpu(pub(crate) Arc<DeviceState>);

/// Which adapter a device is opened on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Adapter {
    /// A discrete card before an integrated one before software.
    #[default]
    Best,
    /// The best of those whose name holds this text, in upper or lower case.
    Named(String),
    /// The one at this place of [`Wgpu::list`].
    Number(usize),
}

/// How a device is opened; see [`Wgpu::open`]. All but the adapter is there to test and to compare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where.
    pub adapter: Adapter,
    /// Whether the values of a workgroup are joined by subgroups where the adapter has them; else by trees in memory.
    pub subgroups: bool,
    /// Bytes of the largest binding, if that is to be less than the adapter's.
    pub largest_binding: Option<u64>,
    /// Workgroups along a dimension of a grid, if they are to be fewer than the adapter's.
    pub largest_grid: Option<u32>,
    /// Whether shaders take their parameters as immediates where the adapter has them and they are not too many; else from a
    /// buffer.
    pub immediates: bool,
    /// Whether there is F16 where the adapter has it.
    pub halves: bool,
    /// Whether an optimizer's step binds more than the 8 buffers that every adapter has.
    pub many_buffers: bool,
    /// Whether shaders are compiled without the checks that make any shader safe to run: a bound of every loop and of every
    /// access to workgroup memory, and of divisors. These shaders keep within all of them, and are faster on some drivers
    /// without; a fault of theirs would be undefined behaviour. [`Wgpu::new`] takes it from `MINITORCH_WGPU_UNCHECKED=1`.
    pub unchecked: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            adapter: Adapter::Best,
            subgroups: true,
            largest_binding: None,
            largest_grid: None,
            immediates: true,
            halves: true,
            many_buffers: true,
            unchecked: false,
        }
    }
}

pub(crate) struct DeviceState {
    name: String,
    pub(crate) info: wgpu::AdapterInfo,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: wgpu::Limits,
    pool: Mutex<Pool>,
    stream: Mutex<Stream>,
    random: DeviceRng,
    failure: Arc<Mutex<Option<Error>>>,
    /// The shader that was dispatched last, for the handler of validation errors.
    pub(crate) current: Arc<Mutex<&'static str>>,
    /// Whether a shader that checks indices ran since the last report.
    indexed: AtomicBool,
    pub(crate) dispatches: AtomicU64,
}

/// The adapters of this machine, as wgpu's environment variables (`WGPU_BACKEND`, ..) narrow them.
fn adapters() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    // Discrete cards first, software last; within a kind in wgpu's order.
    let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    adapters.sort_by_key(rank);
    adapters
}

impl Wgpu {
    /// The process-wide handle of the best adapter: the one that `WGPU_ADAPTER_NAME` names, else a discrete card before an
    /// integrated one before software. `MINITORCH_WGPU_UNCHECKED=1` is [`Options::unchecked`].
    ///
    /// # Errors
    /// If there is no adapter, or it does not give a device.
    pub fn new() -> Result<Self> {
        static BEST: OnceLock<std::result::Result<Wgpu, String>> = OnceLock::new();
        let best = BEST.get_or_init(|| {
            let adapter = std::env::var("WGPU_ADAPTER_NAME").map_or(Adapter::Best, Adapter::Named);
            let unchecked = std::env::var("MINITORCH_WGPU_UNCHECKED").is_ok_and(|value| value == "1");
            Wgpu::open(&Options { adapter, unchecked, ..Options::default() }).map_err(|error| match error {
                Error::Device { reason, .. } => reason,
                other => other.to_string(),
            })
        });
        best.clone().map_err(|reason| Error::Device { device: "Wgpu".into(), reason })
    }

    /// A device of its own.
    ///
    /// ```no_run
    /// # use minitorch_wgpu::{Adapter, Options, Wgpu};
    /// let device = Wgpu::open(&Options { adapter: Adapter::Named("radeon".into()), ..Options::default() })?;
    /// # Ok::<(), minitorch_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such adapter, or it does not give a device.
    pub fn open(options: &Options) -> Result<Self> {
        let adapters = adapters();
        let names = || adapters.iter().map(|adapter| adapter.get_info().name).collect::<Vec<_>>().join(", ");
        if adapters.is_empty() {
            return Err(none("there is no adapter: no driver for Vulkan, Metal or Direct3D 12"));
        }
        let adapter = match &options.adapter {
            Adapter::Best => adapters.first(),
            Adapter::Number(number) => adapters.get(*number),
            Adapter::Named(text) => {
                let text = text.to_lowercase();
                adapters.iter().find(|adapter| adapter.get_info().name.to_lowercase().contains(&text))
            }
        };
        match adapter {
            Some(adapter) => DeviceState::open(adapter, options).map(|device| Wgpu(Arc::new(device))),
            None => Err(none(&format!("no adapter is {:?}; there are {}", options.adapter, names()))),
        }
    }

    /// The names of this machine's adapters, the best first.
    pub fn list() -> Vec<String> {
        adapters().iter().map(|adapter| adapter.get_info().name).collect()
    }

    /// What is known of the device, in a line.
    pub fn describe(&self) -> String {
        let (info, limits) = (&self.0.info, &self.0.limits);
        let subgroups = match self.0.device.features().contains(wgpu::Features::SUBGROUP) {
            true => format!("subgroups of {} to {}", info.subgroup_min_size, info.subgroup_max_size),
            false => "no subgroups".to_string(),
        };
        format!(
            "{} ({:?}, {:?}): {} MiB per binding, {subgroups}, {} KiB of workgroup storage, {} invocations per workgroup",
            info.name,
            info.device_type,
            info.backend,
            limits.max_storage_buffer_binding_size >> 20,
            limits.max_compute_workgroup_storage_size / 1024,
            limits.max_compute_invocations_per_workgroup,
        )
    }

    /// Storage buffers that a shader may bind here: 8, or more for optimizer steps where the adapter has more.
    pub fn storage_buffers(&self) -> usize {
        self.0.limits.max_storage_buffers_per_shader_stage as usize
    }

    /// Whether the adapter computes on the processor.
    pub fn is_software(&self) -> bool {
        self.0.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Lets go of the memory that is cached and not in use.
    pub fn release_memory(&self) {
        self.0.release();
    }

    /// How many shaders were dispatched since the start.
    pub fn dispatches(&self) -> u64 {
        self.0.dispatches.load(Ordering::Relaxed)
    }

    /// How many times recorded shaders were handed to the driver since the start: when something is read, and before what is
    /// recorded may keep a GPU for long.
    pub fn submissions(&self) -> u64 {
        self.0.stream().submits
    }

    /// How many buffers were made since the start; a warm training step makes none.
    pub fn allocations(&self) -> u64 {
        self.0.allocations()
    }

    /// How many pipelines and bind groups were made since the start; a warm training step makes none.
    pub fn pipelines_and_bind_groups(&self) -> u64 {
        self.0.stream().made
    }

    /// A buffer with any contents. If there is no memory left, that is kept for the next report, and the result is a storage that
    /// is missing: what would touch it is not dispatched, and reading it is an error.
    pub(crate) fn alloc(&self, op: &str, dtype: DType, len: usize) -> Storage {
        self.try_alloc(dtype, len).unwrap_or_else(|error| {
            self.0.keep(match error {
                Error::Device { device, reason } => Error::Device { device, reason: format!("{op}: {reason}") },
                other => other,
            });
            Storage::missing(&self.0)
        })
    }

    pub(crate) fn try_alloc(&self, dtype: DType, len: usize) -> Result<Storage> {
        Storage::new(&self.0, dtype, len)
    }
}

/// What is used where an adapter has it.
const WANTED: wgpu::Features =
    wgpu::Features::SUBGROUP.union(wgpu::Features::IMMEDIATES).union(wgpu::Features::SHADER_F16);

fn none(reason: &str) -> Error {
    Error::Device { device: "Wgpu".into(), reason: reason.into() }
}

impl DeviceState {
    fn open(adapter: &wgpu::Adapter, options: &Options) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("Wgpu({})", NEXT.fetch_add(1, Ordering::Relaxed));
        // The default limits are WebGPU's least.
        let mut limits = adapter.limits();
        let binding = &mut limits.max_storage_buffer_binding_size;
        // Whole vectors of four elements, as shaders may see a buffer as an array of such.
        *binding = options.largest_binding.unwrap_or(*binding).min(*binding) & !15;
        let grid = &mut limits.max_compute_workgroups_per_dimension;
        *grid = options.largest_grid.unwrap_or(*grid).min(*grid);
        // WebGPU guarantees 8, which is enough for all shaders; optimizer steps take more parameters at once with more.
        let most = if options.many_buffers { MOST_BUFFERS } else { 8 };
        limits.max_storage_buffers_per_shader_stage = limits.max_storage_buffers_per_shader_stage.min(most);
        let mut features = adapter.features() & WANTED;
        if !options.subgroups {
            features.remove(wgpu::Features::SUBGROUP);
        }
        if !options.immediates {
            features.remove(wgpu::Features::IMMEDIATES);
        }
        if !options.halves {
            features.remove(wgpu::Features::SHADER_F16);
        }
        if !features.contains(wgpu::Features::IMMEDIATES) {
            limits.max_immediate_size = 0;
        }
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("minitorch"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let info = adapter.get_info();
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| Error::Device { device: name.clone(), reason: format!("{}: {error}", info.name) })?;
        let failure = Arc::new(Mutex::new(None));
        let current = Arc::new(Mutex::new("the start"));
        let (keep, at, who) = (failure.clone(), current.clone(), name.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            keep_first(&keep, &who, format!("{}: {error}", lock(&at)));
        }));
        let (keep, who) = (failure.clone(), name.clone());
        device.set_device_lost_callback(move |reason, message| {
            // A device that is dropped is "lost" too.
            if reason != wgpu::DeviceLostReason::Destroyed {
                keep_first(&keep, &who, format!("the device was lost: {message}"));
            }
        });
        let discrete = info.device_type == wgpu::DeviceType::DiscreteGpu;
        let stream = Mutex::new(Stream::new(&device, &limits, discrete, options.unchecked));
        Ok(DeviceState {
            name,
            info,
            device,
            queue,
            limits,
            pool: Mutex::default(),
            stream,
            random: DeviceRng::default(),
            failure,
            current,
            indexed: AtomicBool::new(false),
            dispatches: AtomicU64::new(0),
        })
    }

    pub(crate) fn rng(&self) -> &DeviceRng {
        &self.random
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        lock(&self.pool)
    }

    pub(crate) fn stream(&self) -> MutexGuard<'_, Stream> {
        lock(&self.stream)
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { device: self.name.clone(), reason: reason.into() }
    }

    /// Keeps a failure for the next report, unless an earlier one waits.
    pub(crate) fn keep(&self, failure: Error) {
        lock(&self.failure).get_or_insert(failure);
    }

    /// Waits for all work, then gives the first failure since the last report.
    pub(crate) fn report(&self) -> Result<()> {
        self.flush();
        if let Err(error) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            self.keep(self.error(format!("waiting: {error}")));
        }
        if self.indexed.swap(false, Ordering::AcqRel) {
            match self.take_bad_index() {
                Ok(record) if record[0] != 0 => {
                    let (op, index) = (IndexedOp::name(record[0]), record[1] as i32 as i64);
                    self.keep(Error::IndexOutOfRange { op, index, bound: record[2] as u64 });
                }
                Ok(_) => {}
                Err(error) => self.keep(error),
            }
        }
        lock(&self.failure).take().map_or(Ok(()), Err)
    }

    /// What a call returns that fails: the failure that waits to be reported, of which this one may be a consequence, or else
    /// this one.
    pub(crate) fn first(&self, own: Error) -> Error {
        lock(&self.failure).take().unwrap_or(own)
    }

    /// Says that a shader which checks indices is about to run.
    pub(crate) fn checks_indices(&self) {
        self.indexed.store(true, Ordering::Release);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn keep_first(failure: &Mutex<Option<Error>>, device: &str, reason: String) {
    lock(failure).get_or_insert(Error::Device { device: device.into(), reason });
}

impl fmt::Debug for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Two handles are equal if they are the same device.
impl PartialEq for Wgpu {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}
