//! [`Wgpu`], the handle of a device: allocation, grids, dispatches, and `impl Device`.

use crate::context::{Adapter, Context, Options, adapters};
use crate::memory::{Allocator, Storage};
use crate::params::Params;
use crate::shader::Shader;
use crate::stream::{Bind, Stream};
use crate::work::THREADS;
use minitorch_core::backend::{Device, MemoryStats};
use minitorch_core::random::DeviceRng;
use minitorch_core::{DType, Error, Result};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A GPU through wgpu: a cheap handle. [`Wgpu::new`] gives the process-wide handle of the best adapter. Tensors of different
/// devices do not mix.
#[derive(Clone)]
pub struct Wgpu(pub(crate) Arc<State>);

/// What all handles of a device share.
pub(crate) struct State {
    pub(crate) context: Arc<Context>,
    allocator: Arc<Allocator>,
    pub(crate) stream: Stream,
    rng: DeviceRng,
}

impl Wgpu {
    /// The process-wide handle of the best adapter: the one that `WGPU_ADAPTER_NAME` names, else a discrete GPU before an
    /// integrated one before software. `MINITORCH_WGPU_UNCHECKED=1` sets [`Options::unchecked`].
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

    /// A new device, which shares nothing with others.
    ///
    /// By name: `Wgpu::open(&Options { adapter: Adapter::Named("radeon".into()), ..Options::default() })`.
    ///
    /// # Errors
    /// If there is no such adapter, or it does not give a device.
    pub fn open(options: &Options) -> Result<Self> {
        let context = Arc::new(Context::open(options)?);
        let (allocator, stream) = (Arc::new(Allocator::new(&context)), Stream::new(&context));
        Ok(Wgpu(Arc::new(State { context, allocator, stream, rng: DeviceRng::default() })))
    }

    /// The names of this machine's adapters, the best first.
    pub fn list() -> Vec<String> {
        adapters().iter().map(|adapter| adapter.get_info().name).collect()
    }

    /// The adapter, its driver interface and its limits, in one line.
    pub fn describe(&self) -> String {
        let Context { info, limits, .. } = &*self.0.context;
        let subgroups = match self.0.context.has(wgpu::Features::SUBGROUP) {
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
        self.0.context.limits.max_storage_buffers_per_shader_stage as usize
    }

    /// Whether the adapter computes on the processor.
    pub fn is_software(&self) -> bool {
        self.0.context.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Frees the cached buffers that no tensor uses.
    pub fn release_memory(&self) {
        self.0.stream.flush();
        self.0.stream.clear_bind_groups();
        self.0.allocator.release();
    }

    /// Shaders dispatched since the start.
    pub fn dispatches(&self) -> u64 {
        self.0.stream.dispatches()
    }

    /// Submissions to the driver since the start. Recorded dispatches are submitted when something is read, and before they may
    /// keep a GPU busy for long.
    pub fn submissions(&self) -> u64 {
        self.0.stream.submissions()
    }

    /// Buffers created since the start; a warm training step creates none.
    pub fn allocations(&self) -> u64 {
        self.0.allocator.created()
    }

    /// Pipelines and bind groups created since the start; a warm training step creates none.
    pub fn pipelines_and_bind_groups(&self) -> u64 {
        self.0.stream.created()
    }

    /// An uninitialized buffer for the result of an operation. If there is no memory, the error is queued and the storage is
    /// **missing**: a dispatch that binds it is skipped, its results are missing too, and reading one is always an error.
    pub(crate) fn alloc(&self, op: &str, dtype: DType, len: usize) -> Storage {
        self.try_alloc(dtype, len).unwrap_or_else(|error| {
            self.0.context.queue_error(match error {
                Error::Device { device, reason } => Error::Device { device, reason: format!("{op}: {reason}") },
                other => other,
            });
            Storage::missing(&self.0.allocator)
        })
    }

    /// An uninitialized buffer.
    pub(crate) fn try_alloc(&self, dtype: DType, len: usize) -> Result<Storage> {
        Storage::new(&self.0.allocator, dtype, len).or_else(|error| match error {
            Error::OutOfMemory { .. } => {
                // Freed buffers of other sizes may hold enough memory.
                self.release_memory();
                Storage::new(&self.0.allocator, dtype, len)
            }
            error => Err(error),
        })
    }

    /// Waits for all work, and queues the error that it left.
    fn finish(&self) {
        let State { context, stream, .. } = &*self.0;
        stream.flush();
        if let Err(error) = context.wait() {
            context.queue_error(context.error(format!("waiting: {error}")));
        }
        stream.read_bad_index();
    }

    /// Workgroups along one dimension of a grid, at most.
    pub(crate) fn largest_grid(&self) -> usize {
        self.0.context.limits.max_compute_workgroups_per_dimension as usize
    }

    /// A grid of at least this many workgroups, folded into two dimensions if one is too small. If two are too small as well,
    /// the grid has fewer workgroups, and the shader needs a grid-stride loop.
    pub(crate) fn folded(&self, groups: usize) -> [u32; 3] {
        let most = self.largest_grid();
        let groups = groups.max(1);
        let rows = groups.div_ceil(most).min(most);
        [groups.div_ceil(rows).min(most) as u32, rows as u32, 1]
    }

    /// The grid of a shader that handles one item per invocation and iteration of its grid-stride loop.
    pub(crate) fn grid_over(&self, items: usize) -> [u32; 3] {
        self.folded(items.div_ceil(THREADS))
    }

    /// Records one dispatch of a memory-bound shader.
    pub(crate) fn dispatch<P: Params>(&self, shader: Shader, groups: [u32; 3], params: &P, binds: &[Bind<'_>]) {
        self.0.stream.dispatch(shader, groups, params, binds, 0);
    }

    /// Records one dispatch of a compute-bound shader of about this many arithmetic operations.
    pub(crate) fn dispatch_heavy<P: Params>(
        &self,
        shader: Shader,
        groups: [u32; 3],
        params: &P,
        binds: &[Bind<'_>],
        operations: u64,
    ) {
        self.0.stream.dispatch(shader, groups, params, binds, operations);
    }
}

impl Device for Wgpu {
    type Storage = Storage;

    fn supports(&self, dtype: DType) -> bool {
        match dtype {
            DType::F16 => self.0.context.has(wgpu::Features::SHADER_F16),
            DType::F64 => false,
            _ => true,
        }
    }

    fn rng(&self) -> &DeviceRng {
        &self.0.rng
    }

    fn memory(&self) -> MemoryStats {
        self.0.allocator.stats()
    }

    fn reset_peak_memory(&self) {
        self.0.allocator.reset_peak();
    }

    fn synchronize(&self) -> Result<()> {
        self.finish();
        self.0.context.queued_error()
    }

    fn take_error(&self) -> Option<Error> {
        self.finish();
        self.0.context.take_error()
    }
}

/// Two handles are equal if they are of one device.
impl PartialEq for Wgpu {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0.context.name)
    }
}
