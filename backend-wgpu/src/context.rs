//! The wgpu device that a [`Wgpu`](crate::Wgpu) handle shares: how the adapter is chosen, what it offers, and the queued error.

use minitorch_core::backend::QueuedError;
use minitorch_core::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::shader::MAX_BUFFERS;

/// Which adapter a device is opened on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Adapter {
    /// The first of [`Wgpu::list`](crate::Wgpu::list): a discrete GPU before an integrated one before software.
    #[default]
    Best,
    /// The first whose name contains this text, in any case.
    Named(String),
    /// The one at this position of [`Wgpu::list`](crate::Wgpu::list).
    Number(usize),
}

/// How a device is opened; see [`Wgpu::open`](crate::Wgpu::open). Everything but the adapter is for tests and comparisons.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The adapter.
    pub adapter: Adapter,
    /// Whether workgroups reduce with subgroup operations where the adapter has them; else with a tree in workgroup memory.
    pub subgroups: bool,
    /// Bytes of the largest binding, if that is to be less than the adapter's.
    pub largest_binding: Option<u64>,
    /// Workgroups along a dimension of a grid, if they are to be fewer than the adapter's.
    pub largest_grid: Option<u32>,
    /// Whether shaders take their parameters as immediates where the adapter has them and they fit; else from a uniform buffer.
    pub immediates: bool,
    /// Whether there is F16 where the adapter has it.
    pub halves: bool,
    /// Whether an optimizer's step binds more than the 8 buffers that every adapter has.
    pub many_buffers: bool,
    /// Whether shaders are compiled without the checks that make any shader safe to run: a bound of every loop, of every access
    /// to workgroup memory, and of divisors. The crate's shaders keep within all of them and are faster without the checks on some
    /// drivers; a bug in a shader would be undefined behaviour. [`Wgpu::new`](crate::Wgpu::new) sets it if
    /// `MINITORCH_WGPU_UNCHECKED=1`.
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

/// The adapters of this machine, as wgpu's environment variables (`WGPU_BACKEND`, ..) restrict them, the best first.
pub(crate) fn adapters() -> Vec<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
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

/// Optional features that are used where an adapter has them.
const WANTED: wgpu::Features =
    wgpu::Features::SUBGROUP.union(wgpu::Features::IMMEDIATES).union(wgpu::Features::SHADER_F16);

/// The wgpu device and its queue, what it offers, and the error that waits to be returned.
pub(crate) struct Context {
    pub(crate) name: String,
    pub(crate) info: wgpu::AdapterInfo,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) limits: wgpu::Limits,
    /// Whether shader modules are compiled without naga's checks; see [`Options::unchecked`].
    pub(crate) unchecked: bool,
    /// The first error since the last call that returned one.
    queued: Arc<QueuedError>,
    /// The entry point that was dispatched last, for the handler of validation errors.
    pub(crate) current: Arc<Mutex<&'static str>>,
}

fn no_adapter(reason: &str) -> Error {
    Error::Device { device: "Wgpu".into(), reason: reason.into() }
}

impl Context {
    pub(crate) fn open(options: &Options) -> Result<Self> {
        let adapters = adapters();
        if adapters.is_empty() {
            return Err(no_adapter("there is no adapter: no driver for Vulkan, Metal or Direct3D 12"));
        }
        let adapter = match &options.adapter {
            Adapter::Best => adapters.first(),
            Adapter::Number(number) => adapters.get(*number),
            Adapter::Named(text) => {
                let text = text.to_lowercase();
                adapters.iter().find(|adapter| adapter.get_info().name.to_lowercase().contains(&text))
            }
        };
        let Some(adapter) = adapter else {
            let names = adapters.iter().map(|adapter| adapter.get_info().name).collect::<Vec<_>>().join(", ");
            return Err(no_adapter(&format!("no adapter is {:?}; there are {names}", options.adapter)));
        };
        Context::on(adapter, options)
    }

    fn on(adapter: &wgpu::Adapter, options: &Options) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("Wgpu({})", NEXT.fetch_add(1, Ordering::Relaxed));
        // All that the adapter has: wgpu's default limits are WebGPU's minimum.
        let mut limits = adapter.limits();
        let binding = &mut limits.max_storage_buffer_binding_size;
        // A multiple of 16 bytes, as shaders may see a buffer as an array of vec4.
        *binding = options.largest_binding.unwrap_or(*binding).min(*binding) & !15;
        let grid = &mut limits.max_compute_workgroups_per_dimension;
        *grid = options.largest_grid.unwrap_or(*grid).min(*grid);
        // WebGPU guarantees 8, enough for all shaders; with more, one dispatch of an optimizer step updates more parameters.
        let buffers = if options.many_buffers { MAX_BUFFERS } else { 8 };
        limits.max_storage_buffers_per_shader_stage = limits.max_storage_buffers_per_shader_stage.min(buffers);
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
        let queued = Arc::new(QueuedError::default());
        let current = Arc::new(Mutex::new("the start"));
        let queue_reason = |queued: &QueuedError, device: &str, reason: String| {
            queued.queue(Error::Device { device: device.into(), reason });
        };
        let (slot, at, owner) = (queued.clone(), current.clone(), name.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            queue_reason(&slot, &owner, format!("{}: {error}", lock(&at)));
        }));
        let (slot, owner) = (queued.clone(), name.clone());
        device.set_device_lost_callback(move |reason, message| {
            // Dropping a device reports it as lost, too.
            if reason != wgpu::DeviceLostReason::Destroyed {
                queue_reason(&slot, &owner, format!("the device was lost: {message}"));
            }
        });
        Ok(Context { name, info, device, queue, limits, unchecked: options.unchecked, queued, current })
    }

    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None })
    }

    pub(crate) fn has(&self, feature: wgpu::Features) -> bool {
        self.device.features().contains(feature)
    }

    /// Bytes of the largest binding.
    pub(crate) fn largest_binding(&self) -> u64 {
        self.limits.max_storage_buffer_binding_size
    }

    /// Whether one binding holds this many elements of 32 bits.
    pub(crate) fn fits_binding(&self, numel: usize) -> bool {
        numel as u64 * 4 <= self.largest_binding()
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { device: self.name.clone(), reason: reason.into() }
    }

    /// Queues an error, unless one is queued.
    pub(crate) fn queue_error(&self, error: Error) {
        self.queued.queue(error);
    }

    /// The queued error, if there is one. It stays queued.
    pub(crate) fn queued_error(&self) -> Result<()> {
        self.queued.check()
    }

    /// The queued error, which is removed.
    pub(crate) fn take_error(&self) -> Option<Error> {
        self.queued.take()
    }

    /// What a failing call returns: the queued error, of which this one may be a consequence, or else this one.
    pub(crate) fn first_error(&self, own: Error) -> Error {
        self.queued_error().err().unwrap_or(own)
    }

    /// Waits for all submitted work.
    pub(crate) fn wait(&self) -> std::result::Result<(), wgpu::PollError> {
        self.device.poll(wgpu::PollType::wait_indefinitely()).map(|_| ())
    }
}

/// Locks a mutex, poisoned or not: no state that it guards is left inconsistent by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
