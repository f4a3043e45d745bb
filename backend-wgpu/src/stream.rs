//! The queue of dispatches: recorded one after another into a compute pass and submitted together.
//!
//! A dispatch costs a pipeline (cached by shader, entry and constants), a bind group (cached by the buffers in it) and its
//! parameters: immediates where the adapter has them and they are not too many, else a slot of the uniform ring, which is
//! written once per submit. wgpu orders the dispatches of a pass by the buffers they share.

use crate::device::{DeviceState, Wgpu, lock};
use crate::memory::{Buffer, Storage};
use crate::params::Params;
use crate::shader::{Form, Shader};
use crate::sources;
use crate::work::{self, DISPATCHES, Recorded, THREADS};
use minitorch_core::Result;
use minitorch_core::launch::report;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bind groups that are remembered; more than any training step has.
const BIND_GROUPS: usize = 8192;

/// A buffer that a shader binds, at 1 and up in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bind<'a> {
    Read(&'a Storage),
    Write(&'a Storage),
    /// From this element on, which is a multiple of the adapter's alignment, as far as a binding reaches.
    ReadAt(&'a Storage, usize),
    WriteAt(&'a Storage, usize),
    /// The record of bad indices.
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

/// What a pipeline binds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Signature {
    /// One bit for each buffer that is written.
    written: u64,
    buffers: usize,
    /// Whether the ring is bound, at 0.
    ring: bool,
}

/// A signature, and each binding's buffer and first byte.
type GroupKey = (Signature, Vec<(u64, u64)>);

pub(crate) struct Stream {
    open: Option<(wgpu::CommandEncoder, Option<wgpu::ComputePass<'static>>)>,
    modules: HashMap<(&'static str, Form), wgpu::ShaderModule>,
    layouts: HashMap<Signature, Arc<wgpu::BindGroupLayout>>,
    pipelines: HashMap<(Shader, Signature), Arc<Pipeline>>,
    bind_groups: HashMap<GroupKey, wgpu::BindGroup>,
    recorded: Recorded,
    /// Whether shader modules are made without naga's checks.
    unchecked: bool,
    /// Bytes of parameters that a dispatch may take as immediates.
    immediates: usize,
    /// The parameters of the dispatches that were not submitted yet and take theirs from the ring.
    params: Vec<u8>,
    ring: wgpu::Buffer,
    /// Bytes of a slot: the adapter's alignment, or the size of the largest struct.
    slot: usize,
    bad_index: Buffer,
    /// Pipelines and bind groups made since the start.
    pub(crate) made: u64,
    /// Submissions since the start.
    pub(crate) submits: u64,
}

impl Stream {
    pub(crate) fn new(device: &wgpu::Device, limits: &wgpu::Limits, discrete: bool, unchecked: bool) -> Self {
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
        Stream {
            open: None,
            modules: HashMap::new(),
            layouts: HashMap::new(),
            pipelines: HashMap::new(),
            bind_groups: HashMap::new(),
            recorded: Recorded::new(discrete),
            unchecked,
            immediates: limits.max_immediate_size as usize,
            params: Vec::with_capacity(ring),
            ring: buffer("parameters", ring as u64, wgpu::BufferUsages::UNIFORM),
            slot,
            // Zeroed, as all of wgpu's buffers are at first.
            bad_index: Buffer { id: u64::MAX, raw: buffer("bad index", 16, wgpu::BufferUsages::STORAGE) },
            made: 0,
            submits: 0,
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
            let params = binding(0, wgpu::BufferBindingType::Uniform, true, std::num::NonZeroU64::new(slot));
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

    fn pipeline(
        &mut self,
        device: &wgpu::Device,
        shader: Shader,
        signature: Signature,
        params: usize,
    ) -> Arc<Pipeline> {
        if let Some(pipeline) = self.pipelines.get(&(shader, signature)) {
            return pipeline.clone();
        }
        let layout = self.layout(device, signature);
        let module = self.modules.entry((shader.file, shader.form)).or_insert_with(|| {
            let subgroups = device.features().contains(wgpu::Features::SUBGROUP);
            // All entries of a file take one struct, so that its size decides for the file.
            let text = sources::text(shader.file, shader.form, subgroups, !signature.ring);
            let source = wgpu::ShaderSource::Wgsl(text.into());
            let descriptor = wgpu::ShaderModuleDescriptor { label: Some(shader.file), source };
            if !self.unchecked {
                return device.create_shader_module(descriptor);
            }
            // SAFETY: The text is the crate's own. Every index into a buffer is below a size that the backend has compared with the
            // buffer's (`Storage::check`, contiguous operands) or with a bound in the shader, and every one into workgroup memory
            // below a constant; every loop counts towards a number, those that try an atomic again end as soon as one invocation has
            // succeeded; sizes by which is divided are not 0, as nothing is dispatched where they are.
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
        self.made += 1;
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
        buffers: &[(&Buffer, u64)],
    ) {
        if self.bind_groups.contains_key(key) {
            return;
        }
        if self.bind_groups.len() >= BIND_GROUPS {
            self.bind_groups.clear();
        }
        let params =
            wgpu::BufferBinding { buffer: &self.ring, offset: 0, size: std::num::NonZeroU64::new(self.slot as u64) };
        let params = wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(params) };
        let storages = buffers.iter().enumerate().map(|(i, &(buffer, first))| {
            let size = std::num::NonZeroU64::new((buffer.raw.size() - first).min(limit));
            let part = wgpu::BufferBinding { buffer: &buffer.raw, offset: first, size };
            wgpu::BindGroupEntry { binding: i as u32 + 1, resource: wgpu::BindingResource::Buffer(part) }
        });
        let entries: Vec<_> = key.0.ring.then_some(params).into_iter().chain(storages).collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
        self.made += 1;
        self.bind_groups.insert(key.clone(), group);
    }
}

impl DeviceState {
    pub(crate) fn forget_bind_groups(&self) {
        self.stream().bind_groups.clear();
    }

    /// Submits what was recorded.
    pub(crate) fn flush(&self) {
        let stream = &mut *self.stream();
        self.submit(stream);
    }

    fn submit(&self, stream: &mut Stream) {
        let Some((encoder, pass)) = stream.open.take() else { return };
        drop(pass);
        if !stream.params.is_empty() {
            self.queue.write_buffer(&stream.ring, 0, &stream.params);
            stream.params.clear();
        }
        stream.recorded.clear();
        stream.submits += 1;
        self.queue.submit([encoder.finish()]);
    }

    /// Records a command that is no dispatch.
    fn record(&self, stream: &mut Stream, command: impl FnOnce(&mut wgpu::CommandEncoder)) {
        let (encoder, pass) = stream.open.get_or_insert_with(|| {
            (self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None }), None)
        });
        drop(pass.take());
        command(encoder);
    }

    /// Bytes of a buffer, after all work that was queued before; `first` and `bytes` are multiples of 4.
    pub(crate) fn read<T: bytemuck::Pod>(&self, buffer: &Buffer, first: u64, bytes: u64) -> Result<Vec<T>> {
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        {
            let stream = &mut *self.stream();
            self.record(stream, |encoder| {
                encoder.copy_buffer_to_buffer(&buffer.raw, first, &staging, 0, bytes);
            });
            self.submit(stream);
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| drop(sender.send(result)));
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| self.first(self.error(format!("waiting for a read: {error}"))))?;
        match receiver.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.first(self.error(format!("the device gave no data back: {error}")))),
            Err(_) => return Err(self.first(self.error("the device gave no data back"))),
        }
        let view = staging.get_mapped_range(..).map_err(|error| self.first(self.error(format!("reading: {error}"))))?;
        Ok(bytemuck::pod_collect_to_vec(&view))
    }

    /// Copies a multiple of 4 bytes to the device, after the work that was queued before.
    pub(crate) fn write(&self, buffer: &Buffer, data: &[u8]) {
        // A buffer that serves again may be read by what is recorded and not submitted; a write would come before it.
        self.flush();
        self.queue.write_buffer(&buffer.raw, 0, data);
    }

    /// The record of bad indices, which is cleared.
    pub(crate) fn take_bad_index(&self) -> Result<Vec<u32>> {
        let buffer = self.stream().bad_index.clone();
        let record: Vec<u32> = self.read(&buffer, 0, 16)?;
        if record[0] != 0 {
            self.write(&buffer, &[0; 16]);
        }
        Ok(record)
    }
}

impl Wgpu {
    /// Records one dispatch of a shader that takes few operations for each byte. The parameters are at most a slot of the ring;
    /// buffers are bound from 1 on.
    pub(crate) fn dispatch<P: Params>(&self, shader: Shader, groups: [u32; 3], params: &P, binds: &[Bind<'_>]) {
        self.dispatch_heavy(shader, groups, params, binds, 0);
    }

    /// Records one dispatch that takes about so many operations.
    pub(crate) fn dispatch_heavy<P: Params>(
        &self,
        shader: Shader,
        groups: [u32; 3],
        params: &P,
        binds: &[Bind<'_>],
        operations: u64,
    ) {
        let device = &*self.0;
        if binds.iter().any(Bind::is_missing) {
            // The failure is kept; whatever is made of what is missing is missing too.
            for bind in binds {
                if let Bind::Write(storage) | Bind::WriteAt(storage, _) = bind {
                    storage.miss();
                }
            }
            return;
        }
        device.dispatches.fetch_add(1, Ordering::Relaxed);
        report(|| shader.launch(groups));
        *lock(&device.current) = shader.entry;
        let stream = &mut *device.stream();
        let bad_index = stream.bad_index.clone();
        let (mut written, limit) = (0, device.largest_binding());
        let mut buffers: Vec<(&Buffer, u64)> = Vec::with_capacity(binds.len());
        for (i, bind) in binds.iter().enumerate() {
            written |= u64::from(!matches!(bind, Bind::Read(_) | Bind::ReadAt(..))) << i;
            buffers.push(match *bind {
                Bind::Read(storage) | Bind::Write(storage) => (storage.buffer(), 0),
                Bind::ReadAt(storage, first) | Bind::WriteAt(storage, first) => {
                    (storage.buffer(), first as u64 * storage.element())
                }
                Bind::BadIndex => {
                    device.checks_indices();
                    (&bad_index, 0)
                }
            });
            if let Bind::Read(storage) | Bind::Write(storage) = bind
                && storage.bytes() > limit
            {
                return device.keep(device.error(format!(
                    "{} of {} needs a tensor of {} bytes in one piece; the adapter binds at most {limit}",
                    shader.entry,
                    shader.file,
                    storage.bytes()
                )));
            }
        }
        let bytes = buffers.iter().map(|&(buffer, first)| (buffer.raw.size() - first).min(limit)).sum();
        let params = bytemuck::bytes_of(params);
        assert!(params.len() <= stream.slot, "{}: {} bytes of parameters", shader.entry, params.len());
        let invocations = groups.iter().map(|&n| n as u64).product::<u64>() * THREADS as u64;
        let nanoseconds = work::estimate(bytes, invocations, operations);
        if !stream.recorded.holds(nanoseconds) {
            device.submit(stream);
        }
        stream.recorded.add(nanoseconds);
        let ring = params.len() > stream.immediates;
        let at = stream.params.len();
        if ring {
            stream.params.extend_from_slice(params);
            stream.params.resize(at + stream.slot, 0);
        }
        let signature = Signature { written, buffers: buffers.len(), ring };
        let pipeline = stream.pipeline(&device.device, shader, signature, params.len());
        let key = (signature, buffers.iter().map(|&(buffer, first)| (buffer.id, first)).collect());
        stream.bind_group(&device.device, &pipeline.layout, limit, &key, &buffers);
        let Stream { open, bind_groups, .. } = stream;
        let (encoder, pass) = open.get_or_insert_with(|| {
            (device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None }), None)
        });
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
