//! Lists the devices of every backend in this build, with the element types that they support, or why one cannot be
//! used; or compiles the CUDA kernels for another GPU.
//!
//! ```text
//! cargo run --example devices --features cuda,wgpu
//! cargo run --release --example devices --features cuda -- --compile sm_90
//! ```
//!
//! `--compile` writes to the folder `MINITORCH_CACHE_DIR`, by default in the user's cache. Copied to a machine with
//! such a GPU, the same versions of minitorch and NVRTC start there without compiling.

use clap::Parser;
use minitorch::prelude::*;
use std::process::ExitCode;

/// Lists devices.
#[derive(Parser)]
struct Args {
    /// Compile all CUDA kernels for an architecture, such as sm_90, in place of listing
    #[cfg(feature = "cuda")]
    #[arg(long, value_name = "ARCHITECTURE")]
    compile: Option<String>,
}

/// Prints a device, its description, and the element types that it supports.
fn show<B: Backend>(name: &str, device: &B, description: &str) {
    let dtypes: Vec<String> =
        DType::ALL.into_iter().filter(|&dtype| device.supports(dtype)).map(|dtype| dtype.to_string()).collect();
    println!("{name}: {device:?}\n  {description}\n  {}", dtypes.join(", "));
}

/// Every CUDA device.
#[cfg(feature = "cuda")]
fn cuda() {
    let count = match Cuda::count() {
        Ok(count) => count,
        Err(error) => return println!("cuda: none\n  {error}"),
    };
    for ordinal in 0..count {
        match Cuda::new(ordinal) {
            Ok(device) => show("cuda", &device, &device.describe()),
            Err(error) => println!("cuda: GPU {ordinal} cannot be used\n  {error}"),
        }
    }
}

/// Compiles every kernel file, and prints a line for each.
#[cfg(feature = "cuda")]
fn compile(architecture: &str) -> Result<()> {
    let summary = Cuda::compile_kernels(architecture, |file| {
        let note = if file.kept { ", was there" } else { "" };
        println!("{:<16} {:>7.2} s {:>9} bytes{note}", file.name, file.elapsed.as_secs_f64(), file.bytes);
    })?;
    println!("{summary}");
    Ok(())
}

/// Every adapter of wgpu.
#[cfg(feature = "wgpu")]
fn wgpu() {
    let names = Wgpu::list();
    if names.is_empty() {
        println!("wgpu: none\n  there is no driver for Vulkan, Metal or Direct3D 12");
    }
    for (number, name) in names.into_iter().enumerate() {
        match Wgpu::open(&minitorch_wgpu::Options {
            adapter: minitorch_wgpu::Adapter::Number(number),
            ..Default::default()
        }) {
            Ok(device) => show("wgpu", &device, &device.describe()),
            Err(error) => println!("wgpu: {name} cannot be used\n  {error}"),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(feature = "cuda")]
    if let Some(architecture) = args.compile {
        return match compile(&architecture) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    #[cfg(not(feature = "cuda"))]
    let Args {} = args;
    list();
    ExitCode::SUCCESS
}

fn list() {
    let cpu = Cpu::default();
    show("cpu", &cpu, &cpu.describe());
    #[cfg(feature = "cuda")]
    cuda();
    #[cfg(not(feature = "cuda"))]
    println!("cuda: not in this build; --features cuda");
    #[cfg(feature = "wgpu")]
    wgpu();
    #[cfg(not(feature = "wgpu"))]
    println!("wgpu: not in this build; --features wgpu");
    #[cfg(feature = "cuda-emu")]
    {
        let emulated = Cuda::emulated(minitorch_cuda::Order::Forward);
        show("cuda-emu", &emulated, &emulated.describe());
    }
}
