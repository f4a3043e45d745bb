//! `cargo bench`: one group per operation family, one entry per backend of the build. The benchmarks are generic over the backend;
//! [`on_every_backend`] lists the backends. `cargo bench -- conv` runs one family.

mod binary;
mod compare;
mod conv;
mod copy;
mod index;
mod loss;
mod matmul;
mod norm;
mod optim;
mod pool;
mod random;
mod reduce;
mod scan;
mod softmax;
mod sort;
mod train;
mod unary;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use minitorch::prelude::*;
use std::hint::black_box;
use std::time::Duration;

/// The least work of a call, from which criterion computes a throughput.
#[derive(Clone, Copy)]
enum Floor {
    /// Bytes read plus bytes written.
    Bytes(usize),
    /// Multiplications plus additions.
    Flops(usize),
    /// For calls that neither bounds.
    Items(usize),
}

/// One benchmark family on one backend.
struct Bench<'a, 'c, B: Backend> {
    group: &'a mut BenchmarkGroup<'c, WallTime>,
    backend: &'static str,
    device: B,
}

impl<B: Backend> Bench<'_, '_, B> {
    /// Times `f` and the synchronization after it, as `case/backend`.
    fn time<T>(&mut self, case: &str, floor: Floor, mut f: impl FnMut() -> T) {
        self.group.throughput(match floor {
            Floor::Bytes(n) => Throughput::Bytes(n as u64),
            Floor::Flops(n) | Floor::Items(n) => Throughput::Elements(n as u64),
        });
        let device = &self.device;
        self.group.bench_function(format!("{case}/{}", self.backend), |b| {
            b.iter(|| {
                black_box(f());
                device.synchronize().expect("the device works");
            });
        });
    }

    fn rand<const N: usize>(&self, shape: [usize; N]) -> Tensor<B> {
        Tensor::rand(shape, &self.device) - 0.5
    }
}

/// Runs families on each backend of the build.
macro_rules! on_every_backend {
    ($criterion:expr, $($family:ident)*) => { $({
        let mut group = $criterion.benchmark_group(stringify!($family));
        group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1500));
        $family::bench(&mut Bench { group: &mut group, backend: "cpu", device: Cpu::default() });
        #[cfg(feature = "cuda")]
        if let Ok(device) = Cuda::new(0) {
            $family::bench(&mut Bench { group: &mut group, backend: "cuda", device });
        }
        #[cfg(feature = "wgpu")]
        if let Ok(device) = Wgpu::new() {
            $family::bench(&mut Bench { group: &mut group, backend: "wgpu", device });
        }
        group.finish();
    })* };
}

fn main() {
    #[cfg(feature = "cuda")]
    if let Err(error) = Cuda::new(0) {
        eprintln!("cuda is skipped: {error}");
    }
    #[cfg(feature = "wgpu")]
    match Wgpu::new() {
        Ok(device) => eprintln!("wgpu: {}", device.describe()),
        Err(error) => eprintln!("wgpu is skipped: {error}"),
    }
    let mut criterion = Criterion::default().configure_from_args();
    on_every_backend!(
        criterion,
        unary binary compare reduce scan sort matmul conv pool softmax norm loss index copy random optim train
    );
    criterion.final_summary();
}
