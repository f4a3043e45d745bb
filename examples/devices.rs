//! Lists the devices of every backend in this build, what each can hold, and why one cannot be used.
//!
//! `cargo run --example devices --features cuda`

use minitorch::prelude::*;

/// A line for a device, and one for the element types that it supports.
fn show<B: Backend>(name: &str, device: &B, description: &str) {
    let dtypes: Vec<String> =
        DType::ALL.into_iter().filter(|&dtype| device.supports(dtype)).map(|dtype| dtype.to_string()).collect();
    println!("{name}: {device:?}\n  {description}\n  {}", dtypes.join(", "));
}

/// A device of this backend that can be used, and what it says of itself.
#[cfg(feature = "cuda")]
fn cuda() {
    let count = match Cuda::count() {
        Ok(count) => count,
        Err(error) => return println!("cuda: none\n  {error}"),
    };
    for ordinal in 0..count {
        match Cuda::new(ordinal) {
            Ok(device) => show("cuda", &device, &device.describe()),
            Err(error) => println!("cuda: card {ordinal} cannot be used\n  {error}"),
        }
    }
}

fn main() {
    let cpu = Cpu::default();
    show("cpu", &cpu, &cpu.describe());
    #[cfg(feature = "cuda")]
    cuda();
    #[cfg(not(feature = "cuda"))]
    println!("cuda: not in this build; --features cuda");
    #[cfg(feature = "cuda-emu")]
    {
        let emulated = Cuda::emulated(minitorch_cuda::Order::Forward);
        show("cuda-emu", &emulated, &emulated.describe());
    }
}
