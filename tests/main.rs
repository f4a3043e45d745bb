//! Every conformance case on every backend, in one process: `cargo test --test main cpu::conv`.
//!
//! `--features cuda` adds card 0, `--features cuda-emu` the same kernels on the CPU, with threads in order and, for the families
//! whose kernels have barriers or shuffles, in reverse and shuffled, and for those whose launches depend on the number of
//! multiprocessors, with an H100's 132. `--features wgpu` adds the best adapter, as it is and without subgroups, with limits that
//! small tensors exceed for the families that have to split large ones, and with unchecked shaders for those with loops and
//! workgroup memory.
//!
//! A backend that cannot run here is one ignored trial that says why. `MINITORCH_REQUIRE=wgpu,cuda-emu` turns the absence
//! of a backend into a failure, so that a CI job cannot pass by testing nothing.

#[path = "common/require.rs"]
mod require;

use libtest_mimic::{Arguments, Failed, Trial};
use minitorch_conformance::{Plain, cases};
use minitorch_core::Backend;
use minitorch_cpu::Cpu;
#[cfg(feature = "cuda")]
use minitorch_cuda::Cuda;
#[cfg(feature = "cuda-emu")]
use minitorch_cuda::{EmulatorOptions, Order};
#[cfg(feature = "wgpu")]
use minitorch_wgpu::{Options, Wgpu};
use std::collections::BTreeSet;
#[cfg(feature = "wgpu")]
use std::sync::OnceLock;
use std::sync::{Arc, Mutex, RwLock};

/// Every name that `MINITORCH_REQUIRE` may hold, compiled in or not.
const KNOWN: [&str; 6] = ["plain", "cpu", "wgpu", "cuda", "cuda-emu", "nvrtc"];

/// Held for reading by every case, for writing by one that must be alone in the process.
static SIDE_BY_SIDE: RwLock<()> = RwLock::new(());

/// A fast device has no cap on the elements of a case.
const NO_CAP: usize = usize::MAX;

fn main() {
    let arguments = Arguments::from_args();
    let mut list = List::default();
    // One line each. A cap in elements for devices that are slow (emulated, software); behind a feature: `#[cfg(..)]`.
    list.backend("plain", NO_CAP, || Ok(Plain::new()));
    list.backend("cpu", NO_CAP, || Ok(Cpu::new()));
    #[cfg(feature = "cuda")]
    list.backend("cuda", NO_CAP, || Cuda::new(0).map_err(|error| error.to_string()));
    #[cfg(feature = "cuda-emu")]
    emulated(&mut list);
    #[cfg(feature = "wgpu")]
    wgpu(&mut list);
    list.check_required();
    libtest_mimic::run(&arguments, list.trials).exit();
}

/// Elements of the largest case that the emulator runs: some seconds' worth.
#[cfg(feature = "cuda-emu")]
const EMULATED: usize = 300_000;

/// Families whose kernels have barriers, shuffles or atomics, so that the order of the threads could matter.
#[cfg(feature = "cuda-emu")]
const WITH_BARRIERS: [&str; 11] = [
    "reduce::",
    "matmul::",
    "conv::",
    "softmax::",
    "norm::",
    "scan::",
    "sort::",
    "loss::",
    "optim::",
    "pool::",
    "index::",
];

/// Families whose tiles, grids and parts of long sums depend on the number of multiprocessors.
#[cfg(feature = "cuda-emu")]
const BY_MULTIPROCESSORS: [&str; 8] =
    ["matmul::", "conv::", "reduce::", "norm::", "softmax::", "scan::", "index::", "loss::"];

#[cfg(feature = "cuda-emu")]
fn emulated(list: &mut List) {
    list.backend("cuda-emu", EMULATED, || Ok(Cuda::emulated(Order::Forward)));
    list.families = Some(&WITH_BARRIERS);
    list.backend("cuda-emu-reversed", EMULATED, || Ok(Cuda::emulated(Order::Reversed)));
    list.backend("cuda-emu-shuffled", EMULATED, || Ok(Cuda::emulated(Order::Shuffled(1))));
    list.families = Some(&BY_MULTIPROCESSORS);
    list.backend("cuda-emu-132", EMULATED, || {
        let order = Order::Shuffled(132);
        Ok(Cuda::emulated(EmulatorOptions { order, multiprocessors: 132, shared_memory: 227 << 10 }))
    });
    list.families = None;
}

/// Elements of the largest case that a GPU in software runs.
#[cfg(feature = "wgpu")]
const SOFTWARE: usize = 300_000;

/// Families that split what is too large for one binding or one grid.
#[cfg(feature = "wgpu")]
const SPLIT: [&str; 7] = ["unary::", "binary::", "compare::", "copy::", "reduce::", "matmul::", "half::"];

/// Families whose shaders have loops that are not walks, or workgroup memory.
#[cfg(feature = "wgpu")]
const LOOPS: [&str; 9] =
    ["reduce::", "matmul::", "conv::", "softmax::", "norm::", "scan::", "sort::", "loss::", "pool::"];

#[cfg(feature = "wgpu")]
fn wgpu(list: &mut List) {
    /// One device serves all cases, so that every shader is compiled once.
    fn shared(device: &'static OnceLock<Result<Wgpu, String>>, options: &Options) -> Result<Wgpu, String> {
        device.get_or_init(|| Wgpu::open(options).map_err(|error| error.to_string())).clone()
    }
    let best = || Wgpu::new().map_err(|error| error.to_string());
    let cap = if best().is_ok_and(|device| device.is_software()) { SOFTWARE } else { NO_CAP };
    list.backend("wgpu", cap, best);
    // What every adapter has.
    list.backend("wgpu-least", cap, || {
        static DEVICE: OnceLock<Result<Wgpu, String>> = OnceLock::new();
        let options =
            Options { subgroups: false, immediates: false, halves: false, many_buffers: false, ..Options::default() };
        shared(&DEVICE, &options)
    });
    // Limits so small that ordinary tensors meet them.
    list.families = Some(&SPLIT);
    list.backend("wgpu-small-limits", cap, || {
        static DEVICE: OnceLock<Result<Wgpu, String>> = OnceLock::new();
        let options = Options { largest_binding: Some(1 << 16), largest_grid: Some(64), ..Options::default() };
        shared(&DEVICE, &options)
    });
    // Without the checks that naga adds to shaders.
    list.families = Some(&LOOPS);
    list.backend("wgpu-unchecked", cap, || {
        static DEVICE: OnceLock<Result<Wgpu, String>> = OnceLock::new();
        shared(&DEVICE, &Options { unchecked: true, ..Options::default() })
    });
    list.families = None;
}

#[derive(Default)]
struct List {
    trials: Vec<Trial>,
    /// Backends that run here.
    present: BTreeSet<&'static str>,
    /// The beginnings of the names of the cases that the next backend runs; all if `None`.
    families: Option<&'static [&'static str]>,
}

impl List {
    fn backend<B: Backend>(&mut self, name: &'static str, cap: usize, make: fn() -> Result<B, String>) {
        let (one, two) = match (make(), make()) {
            (Ok(one), Ok(two)) => (one, two),
            (Err(why), _) | (_, Err(why)) => {
                let why = why.lines().next().unwrap_or_default().to_owned();
                self.trials.push(Trial::test(format!("{name} ({why})"), || Ok(())).with_ignored_flag(true));
                return;
            }
        };
        self.present.insert(name);
        // A case wants a device of its own, as cases set seeds and provoke errors. A card that has but one handle is
        // taken in turns.
        let turns = (one == two).then(|| Arc::new(Mutex::new(())));
        let made = move || match make() {
            Ok(device) => device,
            Err(why) => panic!("{name}: the device was here a moment ago: {why}"),
        };
        let mut capped = Vec::new();
        for case in cases(made) {
            if self.families.is_some_and(|families| !families.iter().any(|family| case.name.starts_with(family))) {
                continue;
            }
            let lacking = !one.supports(case.needs);
            let over = case.elements > cap;
            if over {
                capped.push(format!("{} ({} elements)", case.name, case.elements));
            }
            let why = match (lacking, over) {
                (true, _) => format!(" (no {})", case.needs),
                (_, true) => format!(" (over {cap} elements)"),
                _ => String::new(),
            };
            let turns = turns.clone();
            let trial = Trial::test(format!("{name}::{}{why}", case.name), move || {
                // A case that watches memory runs while no other does; all others run side by side.
                let (_shared, _alone) = match case.alone {
                    true => (None, Some(SIDE_BY_SIDE.write().unwrap_or_else(|poisoned| poisoned.into_inner()))),
                    false => (Some(SIDE_BY_SIDE.read().unwrap_or_else(|poisoned| poisoned.into_inner())), None),
                };
                let _turn = turns.as_ref().map(|turns| turns.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
                (case.run)(&made());
                Ok(())
            });
            self.trials.push(trial.with_ignored_flag(lacking || over));
        }
        if !capped.is_empty() {
            println!("{name}: the cap of {cap} elements skips {} cases: {}", capped.len(), capped.join(", "));
        }
    }

    /// A trial that fails for every required backend that is not here, and for every name that is none.
    fn check_required(&mut self) {
        for name in require::names() {
            if name == "nvrtc" {
                continue; // the compile test asks for it: backend-cuda/tests/compile.rs
            }
            let message = match (KNOWN.contains(&&*name), self.present.contains(&*name)) {
                (true, true) => continue,
                (true, false) => require::absent(&name, "not compiled in, or no device"),
                (false, _) => format!("MINITORCH_REQUIRE: {name} is no backend's name; the names are {KNOWN:?}"),
            };
            self.trials.push(Trial::test(format!("required::{name}"), move || Err(Failed::from(message))));
        }
    }
}
