//! Prints times; asserts nothing, since the machine may be busy. `cargo test --release --test speed -- --ignored --nocapture`

use minitorch_core::backend::{BinaryOp, BinaryOps, ReduceOp, ReduceOps, UnaryOp, UnaryOps, View};
use minitorch_core::{DType, Layout, Tensor};
use minitorch_cpu::Cpu;
use std::hint::black_box;
use std::time::Instant;

/// The best of several runs, in ns per call.
fn time<R>(mut f: impl FnMut() -> R) -> f64 {
    let mut best = f64::INFINITY;
    let mut rounds = 1;
    for _ in 0..12 {
        let start = Instant::now();
        for _ in 0..rounds {
            black_box(f());
        }
        let took = start.elapsed().as_nanos() as f64;
        best = best.min(took / rounds as f64);
        if took < 5e6 {
            rounds *= 2;
        }
    }
    best
}

#[test]
#[ignore = "prints times"]
fn times() {
    let device = Cpu::new();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    println!("elements     a+b ns   1 thread      exp ns   1 thread      sum ns   1 thread   colsum ns   1 thread");
    for len in [1usize, 64, 1024, 8192, 1 << 15, 1 << 16, 3 << 15, 1 << 17, 1 << 18, 1 << 20, 1 << 23] {
        let x = Tensor::<Cpu>::full([len], 0.5, &device);
        let layout = Layout::contiguous([len]);
        let square = Layout::contiguous([len.div_ceil(64).min(len), len.min(64)]);
        let view = |layout| View { layout, ..x.view() };
        let add = || device.binary(BinaryOp::Add, view(&layout), view(&layout));
        let exp = || device.unary(UnaryOp::Exp, view(&layout));
        let sum = || device.reduce(ReduceOp::Sum, view(&layout), &[0]);
        let columns = || device.reduce(ReduceOp::Sum, view(&square), &[0]);
        print!("{len:8}");
        for f in [&add as &(dyn Fn() -> _ + Sync), &exp, &sum, &columns] {
            print!(" {:11.0} {:10.0}", time(f), one.install(|| time(f)));
        }
        println!();
    }
    let x = Tensor::<Cpu>::full([1024, 1024], 0.5, &device);
    let row = Tensor::<Cpu>::full([1024], 0.5, &device);
    let s = x.narrow(0, 0, 512);
    for (name, f) in [
        ("x + row", &(|| &x + &row) as &dyn Fn() -> Tensor<Cpu>),
        ("x.t().contiguous()", &|| x.t().contiguous()),
        ("x + x.t()", &|| &x + x.t()),
        ("x.softmax(1)", &|| x.softmax(1)),
        ("x.softmax(0)", &|| x.softmax(0)),
        ("x.sum(1)", &|| x.sum(1)),
        ("x.argmax(1)", &|| x.argmax(1)),
        ("relu", &|| x.relu()),
        ("tanh", &|| x.tanh()),
        ("gelu", &|| x.gelu()),
        ("x.gt(0)", &|| x.gt(0.0)),
        ("dropout", &|| x.dropout(0.5)),
        ("cast", &|| x.cast(DType::F64)),
        ("512 x 1024 x 1024", &|| s.matmul(&x)),
    ] {
        println!("{name:20} {:10.1} us", time(f) / 1000.0);
    }
}
