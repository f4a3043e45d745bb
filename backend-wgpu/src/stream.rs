//! The stream of commands: dispatches are recorded into one compute pass and submitted together.
//!
//! A dispatch takes a pipeline (cached by shader and bindings), a bind group (cached by its buffers) and its parameters. These
//! are immediates if the adapter supports them and they fit; else a slot of the uniform ring, which is written once per
//! submission. wgpu inserts barriers between the dispatches of a pass that share a buffer.

use crate::context::{Context, lock};
use crate::memory::{GpuBuffer, Storage};
use crate::params::Params;
use crate::shader::{self, Form, Shader};
use crate::work::{self, DISPATCHES, Recorded, THREADS};
use minitorch_core::Result;
use minitorch_core::backend::{Caller, OutOfRange};
use minitorch_core::launch::report;
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// The most cached bind groups: more than a training step uses.
const BIND_GROUPS: usize = 8192;

/// A buffer that a shader binds, at 1 and up in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bind<'a> {
    Read(&'a Storage),
    Write(&'a Storage),
    /// From this element on, up to the largest binding or the buffer's end. The element's offset is a multiple of the adapter's
    /// alignment.
    ReadAt(&'a Storage, usize),
    WriteAt(&'a Storage, usize),
    /// The record of an out-of-range index.
    BadIndex,
}

impl Bind<'_> {
    fn is_missing(&self) -> bool {
        match self {
            Bind::Read(storage) | Bind::Write(storage) | Bind::ReadAt(storage, _) | Bind::WriteAt(storage, _) => {
                storage.is_missing()
            }
            Bind::BadIndex => false,
        }
    }
}

struct Pipeline {
    raw: wgpu::ComputePipeline,
    layout: Arc<wgpu::BindGroupLayout>,
}

/// The bindings of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Signature {
    /// One bit for each buffer that is written.
    written: u64,
    buffers: usize,
    /// Whether the uniform ring is bound, at 0.
    ring: bool,
}

/// A signature, and the buffer id and first byte of each binding.
type GroupKey = (Signature, Vec<(u64, u64)>);

/// A device's commands, in the order in which they are recorded.
pub(crate) struct Stream {
    context: Arc<Context>,
    recorder: Mutex<Recorder>,
    /// Whether a shader that checks indices was recorded since the record was last read.
    indexed: AtomicBool,
    /// Held while the record is read: a thread that finds nothing to read waits until the error is queued.
    checking: Mutex<()>,
    dispatches: AtomicU64,
}

/// The commands that are not submitted yet, and caches of the objects that dispatches need.
struct Recorder {
    open: Option<(wgpu::CommandEncoder, Option<wgpu::ComputePass<'static>>)>,
    modules: HashMap<(&'static str, Form), wgpu::ShaderModule>,
    layouts: HashMap<Signature, Arc<wgpu::BindGroupLayout>>,
    pipelines: HashMap<(Shader, Signature), Arc<Pipeline>>,
    bind_groups: HashMap<GroupKey, wgpu::BindGroup>,
    recorded: Recorded,
    /// The parameters of recorded dispatches that take theirs from the ring.
    params: Vec<u8>,
    ring: wgpu::Buffer,
    /// Bytes of a slot of the ring: the adapter's alignment, or the size of the largest struct.
    slot: usize,
    /// Four words: the caller's id, the index, the bound, unused.
    bad_index: GpuBuffer,
    /// Pipelines and bind groups created since the start.
    created: u64,
    submissions: u64,
}

impl Recorder {
    fn new(Context { device, limits, info, .. }: &Context) -> Self {
        let buffer = |label, size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage: usage | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        };
        let slot = (limits.min_uniform_buffer_offset_alignment as usize).max(256);
        let ring = DISPATCHES * slot;
        Recorder {
            open: None,
            modules: HashMap::new(),
            layouts: HashMap::new(),
            pipelines: HashMap::new(),
            bind_groups: HashMap::new(),
            recorded: Recorded::new(info.device_type == wgpu::DeviceType::DiscreteGpu),
            params: Vec::with_capacity(ring),
            ring: buffer("parameters", ring as u64, wgpu::BufferUsages::UNIFORM),
            slot,
            // wgpu initializes buffers with zeros.
            bad_index: GpuBuffer { id: u64::MAX, raw: buffer("bad index", 16, wgpu::BufferUsages::STORAGE) },
            created: 0,
            submissions: 0,
        }
    }

    fn layout(&mut self, device: &wgpu::Device, signature: Signature) -> Arc<wgpu::BindGroupLayout> {
        let slot = self.slot as u64;
        let entry = self.layouts.entry(signature).or_insert_with(|| {
            let binding = |binding: u32, ty, dynamic, size| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: dynamic, min_binding_size: size },
                count: None,
            };
            let params = binding(0, wgpu::BufferBindingType::Uniform, true, NonZeroU64::new(slot));
            let storages = (0..signature.buffers as u32).map(|i| {
                let read_only = signature.written >> i & 1 == 0;
                binding(i + 1, wgpu::BufferBindingType::Storage { read_only }, false, None)
            });
            let entries: Vec<_> = signature.ring.then_some(params).into_iter().chain(storages).collect();
            let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
            Arc::new(device.create_bind_group_layout(&descriptor))
        });
        entry.clone()
    }

    fn pipeline(&mut self, context: &Context, shader: Shader, signature: Signature, params: usize) -> Arc<Pipeline> {
        if let Some(pipeline) = self.pipelines.get(&(shader, signature)) {
            return pipeline.clone();
        }
        let device = &context.device;
        let layout = self.layout(device, signature);
        let module = self.modules.entry((shader.file, shader.form)).or_insert_with(|| {
            // All entry points of a file take the same struct, so immediates or ring is a choice for the whole module.
            let text = shader::text(shader.file, shader.form, context.has(wgpu::Features::SUBGROUP), !signature.ring);
            let source = wgpu::ShaderSource::Wgsl(text.into());
            let descriptor = wgpu::ShaderModuleDescriptor { label: Some(shader.file), source };
            if !context.unchecked {
                return device.create_shader_module(descriptor);
            }
            // An index into a buffer is below a size that the backend has compared with the buffer's (`Storage::check`,
            // contiguous operands) or below a bound that the shader tests; one into workgroup memory is below a constant. A loop
            // counts towards a fixed number, or retries an atomic exchange until one invocation has succeeded. No divisor is 0:
            // nothing is dispatched for empty shapes.
            // SAFETY: the text is the crate's own, and its shaders need none of the checks, as stated above.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        });
        let constants: Vec<(&str, f64)> = shader.op.map(|op| ("OP", op as f64)).into_iter().collect();
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: if signature.ring { 0 } else { params as u32 },
        });
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(shader.entry),
            layout: Some(&pipeline_layout),
            module,
            entry_point: Some(shader.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every shader writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        self.created += 1;
        let pipeline = Arc::new(Pipeline { raw, layout });
        self.pipelines.insert((shader, signature), pipeline.clone());
        pipeline
    }

    fn bind_group(
        &mut self,
        device: &wgpu::Device,
        layout: &wgpu::BindGroupLayout,
        limit: u64,
        key: &GroupKey,
        buffers: &[(&GpuBuffer, u64)],
    ) {
        if self.bind_groups.contains_key(key) {
            return;
        }
        if self.bind_groups.len() >= BIND_GROUPS {
            self.bind_groups.clear();
        }
        let params = wgpu::BufferBinding { buffer: &self.ring, offset: 0, size: NonZeroU64::new(self.slot as u64) };
        let params = wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(params) };
        let storages = buffers.iter().enumerate().map(|(i, &(buffer, first))| {
            let size = NonZeroU64::new((buffer.raw.size() - first).min(limit));
            let range = wgpu::BufferBinding { buffer: &buffer.raw, offset: first, size };
            wgpu::BindGroupEntry { binding: i as u32 + 1, resource: wgpu::BindingResource::Buffer(range) }
        });
        let entries: Vec<_> = key.0.ring.then_some(params).into_iter().chain(storages).collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
        self.created += 1;
        self.bind_groups.insert(key.clone(), group);
    }

    fn submit(&mut self, queue: &wgpu::Queue) {
        let Some((encoder, pass)) = self.open.take() else { return };
        drop(pass);
        if !self.params.is_empty() {
            queue.write_buffer(&self.ring, 0, &self.params);
            self.params.clear();
        }
        self.recorded.clear();
        self.submissions += 1;
        queue.submit([encoder.finish()]);
    }
}

impl Stream {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Stream {
            context: context.clone(),
            recorder: Mutex::new(Recorder::new(context)),
            indexed: AtomicBool::new(false),
            checking: Mutex::default(),
            dispatches: AtomicU64::new(0),
        }
    }

    /// Dispatches since the start.
    pub(crate) fn dispatches(&self) -> u64 {
        self.dispatches.load(Ordering::Relaxed)
    }

    /// Submissions since the start.
    pub(crate) fn submissions(&self) -> u64 {
        lock(&self.recorder).submissions
    }

    /// Pipelines and bind groups created since the start.
    pub(crate) fn created(&self) -> u64 {
        lock(&self.recorder).created
    }

    pub(crate) fn clear_bind_groups(&self) {
        lock(&self.recorder).bind_groups.clear();
    }

    /// Submits everything recorded.
    pub(crate) fn flush(&self) {
        lock(&self.recorder).submit(&self.context.queue);
    }

    /// Copies bytes of a buffer to the host, after all work recorded before; `first` and `bytes` are multiples of 4.
    pub(crate) fn read<T: bytemuck::Pod>(&self, buffer: &GpuBuffer, first: u64, bytes: u64) -> Result<Vec<T>> {
        let context = &*self.context;
        let staging = context.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        {
            let recorder = &mut *lock(&self.recorder);
            let (encoder, pass) = recorder.open.get_or_insert_with(|| (context.encoder(), None));
            // A copy ends the pass.
            drop(pass.take());
            encoder.copy_buffer_to_buffer(&buffer.raw, first, &staging, 0, bytes);
            recorder.submit(&context.queue);
        }
        let fails = |reason: String| context.first_error(context.error(reason));
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        context.wait().map_err(|error| fails(format!("waiting for a read: {error}")))?;
        match receiver.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(fails(format!("the device returned no data: {error}"))),
            Err(_) => return Err(fails("the device returned no data".into())),
        }
        let view = staging.get_mapped_range(..).map_err(|error| fails(format!("reading: {error}")))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }

    /// Copies a multiple of 4 bytes to the device, after all work recorded before.
    pub(crate) fn write(&self, buffer: &GpuBuffer, data: &[u8]) {
        // The queue writes before the next submission: recorded dispatches that read a reused buffer must be submitted first.
        self.flush();
        self.context.queue.write_buffer(&buffer.raw, 0, data);
    }

    /// Queues an error if a shader recorded an out-of-range index, and clears the record.
    pub(crate) fn read_bad_index(&self) {
        let _one = lock(&self.checking);
        if !self.indexed.swap(false, Ordering::AcqRel) {
            return;
        }
        let buffer = lock(&self.recorder).bad_index.clone();
        match self.read::<u32>(&buffer, 0, 16) {
            Ok(record) if record[0] == 0 => {}
            Ok(record) => {
                self.write(&buffer, &[0; 16]);
                let found = OutOfRange { index: record[1] as i32 as i64, bound: record[2] as u64 };
                self.context.queue_error(Caller::error_of(record[0], found));
            }
            Err(error) => {
                self.indexed.store(true, Ordering::Release); // the next synchronization reads it
                self.context.queue_error(error);
            }
        }
    }

    /// Records one dispatch. `operations` estimates the arithmetic of a compute-bound shader, and is 0 for others. The parameters
    /// fit a slot of the ring.
    pub(crate) fn dispatch<P: Params>(
        &self,
        shader: Shader,
        groups: [u32; 3],
        params: &P,
        binds: &[Bind<'_>],
        operations: u64,
    ) {
        let context = &*self.context;
        let skip = || {
            for bind in binds {
                if let Bind::Write(storage) | Bind::WriteAt(storage, _) = bind {
                    storage.mark_missing();
                }
            }
        };
        if binds.iter().any(Bind::is_missing) {
            // The error is queued already; the results are missing too.
            return skip();
        }
        self.dispatches.fetch_add(1, Ordering::Relaxed);
        report(|| shader.launch(groups));
        *lock(&context.current) = shader.entry;
        let recorder = &mut *lock(&self.recorder);
        let bad_index = recorder.bad_index.clone();
        let (mut written, limit) = (0, context.largest_binding());
        let mut buffers: Vec<(&GpuBuffer, u64)> = Vec::with_capacity(binds.len());
        for (i, bind) in binds.iter().enumerate() {
            written |= u64::from(!matches!(bind, Bind::Read(_) | Bind::ReadAt(..))) << i;
            buffers.push(match *bind {
                Bind::Read(storage) | Bind::Write(storage) => (storage.buffer(), 0),
                Bind::ReadAt(storage, first) | Bind::WriteAt(storage, first) => {
                    (storage.buffer(), first as u64 * storage.element())
                }
                Bind::BadIndex => {
                    self.indexed.store(true, Ordering::Release);
                    (&bad_index, 0)
                }
            });
            if let Bind::Read(storage) | Bind::Write(storage) = bind
                && storage.bytes() > limit
            {
                skip();
                return context.queue_error(context.error(format!(
                    "{} of {} binds a whole tensor of {} bytes; the adapter binds at most {limit}",
                    shader.entry,
                    shader.file,
                    storage.bytes()
                )));
            }
        }
        let bytes = buffers.iter().map(|&(buffer, first)| (buffer.raw.size() - first).min(limit)).sum();
        let params = bytemuck::bytes_of(params);
        assert!(params.len() <= recorder.slot, "{}: {} bytes of parameters", shader.entry, params.len());
        let invocations = groups.iter().map(|&n| n as u64).product::<u64>() * THREADS as u64;
        let nanoseconds = work::estimate(bytes, invocations, operations);
        if !recorder.recorded.has_room_for(nanoseconds) {
            recorder.submit(&context.queue);
        }
        recorder.recorded.add(nanoseconds);
        let ring = params.len() > context.limits.max_immediate_size as usize;
        let at = recorder.params.len();
        if ring {
            recorder.params.extend_from_slice(params);
            recorder.params.resize(at + recorder.slot, 0);
        }
        let signature = Signature { written, buffers: buffers.len(), ring };
        let pipeline = recorder.pipeline(context, shader, signature, params.len());
        let key = (signature, buffers.iter().map(|&(buffer, first)| (buffer.id, first)).collect());
        recorder.bind_group(&context.device, &pipeline.layout, limit, &key, &buffers);
        let Recorder { open, bind_groups, .. } = recorder;
        let (encoder, pass) = open.get_or_insert_with(|| (context.encoder(), None));
        let pass = pass.get_or_insert_with(|| {
            encoder
                .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes: None })
                .forget_lifetime()
        });
        pass.set_pipeline(&pipeline.raw);
        if ring {
            pass.set_bind_group(0, &bind_groups[&key], &[at as u32]);
        } else {
            pass.set_bind_group(0, &bind_groups[&key], &[]);
            pass.set_immediates(0, params);
        }
        let [x, y, z] = groups;
        pass.dispatch_workgroups(x, y, z);
    }
}
