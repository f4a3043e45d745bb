//! Every conformance case on every backend, in one process: `cargo test --test main cpu::conv`.
//!
//! | backend | runs |
//! |---|---|
//! | `plain`, `cpu` | every case; `cpu` at the best level of SIMD, `cpu-LEVEL` at each lower one, in a process of its own |
//! | `cuda` (`--features cuda`) | GPU 0 |
//! | `cuda-emu` (`--features cuda-emu`) | the same kernels on the CPU; families with barriers or shuffles also with threads reversed and shuffled, families whose launches depend on the number of multiprocessors also with an H100's 132 |
//! | `wgpu` (`--features wgpu`) | the best adapter, with all features and with none; families that split large tensors also with small limits, families with loops or workgroup memory also with unchecked shaders |
//!
//! A backend that is not available is one ignored trial with the reason. `MINITORCH_REQUIRE=wgpu,cuda-emu` makes its absence a failure,
//! so that a CI job without tests fails.

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
use std::process::Command;
#[cfg(feature = "wgpu")]
use std::sync::OnceLock;
use std::sync::{Arc, Mutex, RwLock};

/// The names that `MINITORCH_REQUIRE` may hold, compiled in or not.
const KNOWN: [&str; 6] = ["plain", "cpu", "wgpu", "cuda", "cuda-emu", "nvrtc"];

/// Held for reading by every case, for writing by a case that must run alone in the process.
static RUNNING: RwLock<()> = RwLock::new(());

/// A fast device has no cap on the elements of a case.
const NO_CAP: usize = usize::MAX;

fn main() {
    let arguments = Arguments::from_args();
    let mut list = List::default();
    // One line per backend, with a cap in elements for slow devices (emulated, software).
    list.backend("plain", NO_CAP, || Ok(Plain::new()));
    list.backend("cpu", NO_CAP, || Ok(Cpu::new()));
    if std::env::var_os(ISA).is_some() {
        libtest_mimic::run(&arguments, list.trials).exit(); // the CPU at this level
    }
    lower_levels(&mut list);
    #[cfg(feature = "cuda")]
    list.backend("cuda", NO_CAP, || Cuda::new(0).map_err(|error| error.to_string()));
    #[cfg(feature = "cuda-emu")]
    emulated(&mut list);
    #[cfg(feature = "wgpu")]
    wgpu(&mut list);
    list.check_required();
    libtest_mimic::run(&arguments, list.trials).exit();
}

/// The variable that caps the CPU's level of SIMD.
const ISA: &str = "MINITORCH_ISA";

/// A trial per family and level of SIMD below the machine's best. A process has one level, so a trial runs this binary with
/// `MINITORCH_ISA` on the family's cases of `cpu`.
fn lower_levels(list: &mut List) {
    let family = |trial: &Trial| Some(trial.name().strip_prefix("cpu::")?.split("::").next()?.to_owned());
    let families: BTreeSet<String> = list.trials.iter().filter_map(family).collect();
    let best = Cpu::new().describe();
    for level in ["baseline", "avx2", "avx512"].into_iter().take_while(|level| !best.ends_with(level)) {
        for family in &families {
            let filter = format!("cpu::{family}::");
            let run = move || {
                let mut command = Command::new(std::env::current_exe()?);
                let output = command.arg(&filter).env(ISA, level).output()?;
                match output.status.success() {
                    true => Ok(()),
                    false => Err(Failed::from(String::from_utf8_lossy(&output.stdout).into_owned())),
                }
            };
            list.trials.push(Trial::test(format!("cpu-{level}::{family}"), run));
        }
    }
}

/// Elements of the largest case that the emulator runs.
#[cfg(feature = "cuda-emu")]
const EMULATED: usize = 300_000;

/// Families whose kernels have barriers, shuffles or atomics: results must not depend on the order of threads.
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

/// Families whose tiles, grids and splits of long sums depend on the number of multiprocessors.
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

/// Families that split tensors over the limit of one binding or one grid.
#[cfg(feature = "wgpu")]
const SPLIT: [&str; 7] = ["unary::", "binary::", "compare::", "copy::", "reduce::", "matmul::", "half::"];

/// Families whose shaders have loops within an invocation, or workgroup memory.
#[cfg(feature = "wgpu")]
const LOOPS: [&str; 9] =
    ["reduce::", "matmul::", "conv::", "softmax::", "norm::", "scan::", "sort::", "loss::", "pool::"];

#[cfg(feature = "wgpu")]
fn wgpu(list: &mut List) {
    /// One device for all cases, so that every shader is compiled once.
    fn shared(device: &'static OnceLock<Result<Wgpu, String>>, options: &Options) -> Result<Wgpu, String> {
        device.get_or_init(|| Wgpu::open(options).map_err(|error| error.to_string())).clone()
    }
    let best = || Wgpu::new().map_err(|error| error.to_string());
    let cap = if best().is_ok_and(|device| device.is_software()) { SOFTWARE } else { NO_CAP };
    list.backend("wgpu", cap, best);
    // The features that every adapter has.
    list.backend("wgpu-least", cap, || {
        static DEVICE: OnceLock<Result<Wgpu, String>> = OnceLock::new();
        let options =
            Options { subgroups: false, immediates: false, halves: false, many_buffers: false, ..Options::default() };
        shared(&DEVICE, &options)
    });
    // Limits that small tensors exceed.
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
    /// The backends that are available.
    present: BTreeSet<&'static str>,
    /// The families that the next backend runs, as prefixes of case names; all if `None`.
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
        // Cases set seeds and queue errors, so each has a device. If all handles are one device, its cases run one at a time.
        let exclusive = (one == two).then(|| Arc::new(Mutex::new(())));
        let made = move || match make() {
            Ok(device) => device,
            Err(why) => panic!("{name}: the device is no longer available: {why}"),
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
            let exclusive = exclusive.clone();
            let trial = Trial::test(format!("{name}::{}{why}", case.name), move || {
                // A case that reads memory counters runs alone; all others run concurrently.
                let (_shared, _alone) = match case.alone {
                    true => (None, Some(RUNNING.write().unwrap_or_else(|poisoned| poisoned.into_inner()))),
                    false => (Some(RUNNING.read().unwrap_or_else(|poisoned| poisoned.into_inner())), None),
                };
                let _one = exclusive.as_ref().map(|one| one.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
                let device = made();
                drop(device.take_error()); // of a case that failed
                (case.run)(&device);
                device.take_error().map_or(Ok(()), |error| Err(format!("the case leaves an error: {error}").into()))
            });
            self.trials.push(trial.with_ignored_flag(lacking || over));
        }
        if !capped.is_empty() {
            println!("{name}: the cap of {cap} elements skips {} cases: {}", capped.len(), capped.join(", "));
        }
    }

    /// A trial that fails for every required backend that is not available, and for every unknown name.
    fn check_required(&mut self) {
        for name in require::names() {
            if name == "nvrtc" {
                continue; // checked by backend-cuda/tests/compile.rs
            }
            let why = match (KNOWN.contains(&&*name), self.present.contains(&*name)) {
                (true, true) => continue,
                (true, false) => "not compiled in, or no device".to_owned(),
                (false, _) => format!("it is not a backend; the names are {KNOWN:?}"),
            };
            self.trials.push(Trial::test(format!("required::{name}"), move || {
                require::absent(&name, &why);
                Ok(())
            }));
        }
    }
}
