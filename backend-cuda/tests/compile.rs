//! Compiles every kernel for GPUs that need not be present: `cargo test -p minitorch-cuda --test compile`.
//!
//! For each file of kernels/ and each architecture, it compares the resource usage that ptxas reports with the budget in the
//! file's header, and fails if registers spill. `-- --nocapture` prints the report. Without NVRTC there is one ignored trial with
//! the reason; `MINITORCH_REQUIRE=nvrtc` turns that into a failure.

use libtest_mimic::{Arguments, Failed, Trial};
use minitorch_cuda::nvrtc::{Architecture, Nvrtc, first_error};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A100 and H100: two generations with different register allocation.
const ARCHITECTURES: [Architecture; 2] = [Architecture::new(80), Architecture::new(90)];

/// The resource usage of one kernel, as ptxas reports it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Usage {
    kernel: String,
    registers: u32,
    /// Bytes of static shared memory.
    shared: u32,
    /// Bytes of local memory per thread. Some of CUDA's own functions need it: it is printed and not checked.
    stack: u32,
    /// Bytes of spill stores and loads, of the kernel and of the functions that it calls.
    spilled: u32,
}

/// The usage of all kernels of a file, or an error.
type Report = Result<Vec<Usage>, String>;

/// A budget for the kernels whose names have a prefix. Of several the longest prefix counts.
#[derive(Clone, Debug, PartialEq)]
struct Budget {
    prefix: String,
    registers: u32,
    shared: u32,
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("report::numbers_are_read", || report_is_read().map_err(Failed::from)),
        Trial::test("budget::lines_are_read", || budgets_are_read().map_err(Failed::from)),
    ];
    match Nvrtc::find(None, None) {
        Ok(nvrtc) => trials.extend(kernels(nvrtc, arguments.nocapture)),
        Err(why) => {
            let short = why.split(';').next().unwrap_or_default();
            trials.push(Trial::test(format!("kernels ({short})"), || Ok(())).with_ignored_flag(true));
            // Other names in the variable are for other tests.
            let required = std::env::var("MINITORCH_REQUIRE").unwrap_or_default();
            if required.split(',').any(|name| name.trim() == "nvrtc") {
                let message = format!("MINITORCH_REQUIRE: nvrtc is required and was not found: {why}");
                trials.push(Trial::test("required::nvrtc", || Err(Failed::from(message))));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// The name and the source of the files of kernels/ with an extension.
fn files(extension: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry of kernels/").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    files
}

/// One trial per file and architecture, and one per file for the names of its kernels.
fn kernels(nvrtc: Nvrtc, verbose: bool) -> Vec<Trial> {
    let (nvrtc, headers) = (Arc::new(nvrtc), Arc::new(files("cuh")));
    let sources = files("cu");
    let stems: Arc<Vec<String>> = Arc::new(sources.iter().map(|(name, _)| stem(name).to_owned()).collect());
    let mut trials = vec![{
        let nvrtc = nvrtc.clone();
        Trial::test("report::a_spill_is_seen", move || a_spill_is_seen(&nvrtc).map_err(Failed::from))
    }];
    for (name, source) in sources {
        let source = Arc::new(source);
        let mut reports: Vec<Arc<OnceLock<Report>>> = Vec::new();
        for architecture in ARCHITECTURES {
            let report = Arc::new(OnceLock::new());
            reports.push(report.clone());
            let (nvrtc, headers, name, source) = (nvrtc.clone(), headers.clone(), name.clone(), source.clone());
            trials.push(Trial::test(format!("compile::{}::{architecture}", stem(&name)), move || {
                let usages = report.get_or_init(|| compile(&nvrtc, &name, &source, &headers, architecture)).clone()?;
                if verbose {
                    print!("{}", table(&name, architecture, &usages));
                }
                Ok(judge(&name, &source, &usages)?)
            }));
        }
        let (nvrtc, headers, stems) = (nvrtc.clone(), headers.clone(), stems.clone());
        trials.push(Trial::test(format!("names::{}", stem(&name)), move || {
            // Shared with the trial of the architecture, whichever runs first.
            let usages = reports[0].get_or_init(|| compile(&nvrtc, &name, &source, &headers, ARCHITECTURES[0]));
            Ok(names(stem(&name), &stems, &usages.clone()?)?)
        }));
    }
    trials
}

fn stem(name: &str) -> &str {
    name.trim_end_matches(".cu")
}

fn compile(
    nvrtc: &Nvrtc,
    name: &str,
    source: &str,
    headers: &[(String, String)],
    architecture: Architecture,
) -> Result<Vec<Usage>, String> {
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut options = nvrtc.options(architecture);
    options.push("--ptxas-options=-v".to_owned());
    match nvrtc.compile(name, source, &headers, &options) {
        Ok(compiled) => report(&compiled.log),
        // The first error comes first: some runners show only one line.
        Err(log) => Err(format!("{}\n{log}", first_error(&log))),
    }
}

/// The kernels of a log of `--ptxas-options=-v`.
fn report(log: &str) -> Result<Vec<Usage>, String> {
    let mut usages: Vec<Usage> = Vec::new();
    let mut of = "";
    for line in log.lines() {
        if let Some(kernel) = between(line, "Compiling entry function '", "'") {
            usages.push(Usage { kernel: kernel.to_owned(), ..Usage::default() });
        } else if let Some((_, function)) = line.split_once("Function properties for ") {
            of = function.trim();
        }
        let Some(usage) = usages.last_mut() else { continue };
        let number = |unit: &str| {
            let digits = line.split_once(unit)?.0.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u32>().ok()
        };
        // Functions that are not inlined are reported between the kernels that call them.
        usage.spilled += number("bytes spill stores").unwrap_or(0) + number("bytes spill loads").unwrap_or(0);
        if of == usage.kernel {
            usage.stack = number("bytes stack frame").unwrap_or(usage.stack);
        }
        if line.contains(" Used ") {
            usage.registers = number("registers").ok_or_else(|| format!("no registers in `{line}`"))?;
            usage.shared = number("bytes smem").unwrap_or(0);
        }
    }
    match usages.iter().find(|usage| usage.registers == 0) {
        Some(usage) => Err(format!("the log says nothing of {}:\n{log}", usage.kernel)),
        None if usages.is_empty() => Err(format!("the log names no kernel:\n{log}")),
        None => Ok(usages),
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    Some(text.split_once(from)?.1.split_once(to)?.0)
}

/// The budgets in the header comment.
fn budgets(name: &str, source: &str) -> Result<Vec<Budget>, String> {
    let head = source.lines().take_while(|line| line.starts_with("//"));
    let lines = head.map(|line| line.trim_start_matches('/').trim()).filter(|line| line.starts_with("Budget"));
    let read = |line: &str| {
        let (scope, amounts) = line.trim_end_matches('.').split_once(": ")?;
        let prefix = if scope == "Budget" { "" } else { scope.strip_prefix("Budget of ")? };
        let (registers, shared) = amounts.split_once(" registers, ")?;
        let shared = shared.strip_suffix(" bytes of shared memory")?;
        let amount = |text: &str| text.replace('_', "").parse().ok();
        Some(Budget { prefix: prefix.to_owned(), registers: amount(registers)?, shared: amount(shared)? })
    };
    let wanted = "`// Budget: 64 registers, 0 bytes of shared memory.`";
    let budgets = lines.map(|line| read(line).ok_or_else(|| format!("kernels/{name}: `{line}` is not {wanted}")));
    let budgets = budgets.collect::<Result<Vec<_>, _>>()?;
    match budgets.iter().any(|budget| budget.prefix.is_empty()) {
        true => Ok(budgets),
        false => Err(format!("kernels/{name}: the head comment has no line {wanted}")),
    }
}

/// Checks that every kernel is within its budget, that nothing spills, and that every budget has a kernel.
fn judge(name: &str, source: &str, usages: &[Usage]) -> Result<(), String> {
    let budgets = budgets(name, source)?;
    let mut problems = Vec::new();
    let mut used = vec![false; budgets.len()];
    for usage in usages {
        let fitting = budgets.iter().enumerate().filter(|(_, budget)| usage.kernel.starts_with(&budget.prefix));
        let Some((index, budget)) = fitting.max_by_key(|(_, budget)| budget.prefix.len()) else { continue };
        used[index] = true;
        if usage.spilled > 0 {
            problems.push(format!("{} spills {} bytes", usage.kernel, usage.spilled));
        }
        if usage.registers > budget.registers || usage.shared > budget.shared {
            problems.push(format!(
                "{} uses {} registers and {} bytes of shared memory; its budget is {} and {}",
                usage.kernel, usage.registers, usage.shared, budget.registers, budget.shared
            ));
        }
    }
    let stale = budgets.iter().zip(&used).filter(|(budget, used)| !**used && !budget.prefix.is_empty());
    problems.extend(stale.map(|(budget, _)| format!("no kernel has the budget of {}", budget.prefix)));
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!("kernels/{name}:\n  {}", problems.join("\n  "))),
    }
}

/// Checks that a kernel's name determines its file: the name begins with the file's stem and an underscore, and with no longer
/// stem of another file. So no two files have kernels of one name.
fn names(stem: &str, stems: &[String], usages: &[Usage]) -> Result<(), String> {
    let begins = |kernel: &str, stem: &str| kernel.strip_prefix(stem).is_some_and(|rest| rest.starts_with('_'));
    for Usage { kernel, .. } in usages {
        if !begins(kernel, stem) {
            return Err(format!("kernels/{stem}.cu: the name of {kernel} has to begin with {stem}_"));
        }
        if let Some(other) = stems.iter().find(|other| other.len() > stem.len() && begins(kernel, other)) {
            return Err(format!("kernels/{stem}.cu: {kernel} is sought in {other}.cu, whose name it begins with"));
        }
    }
    Ok(())
}

fn table(name: &str, architecture: Architecture, usages: &[Usage]) -> String {
    let mut usages = usages.to_vec();
    usages.sort_by(|a, b| b.registers.cmp(&a.registers).then(a.kernel.cmp(&b.kernel)));
    let mut text = format!("\n{name}, {architecture}: registers, shared, stack, spilled\n");
    for Usage { kernel, registers, shared, stack, spilled } in usages {
        text += &format!("  {registers:>4} {shared:>6} {stack:>5} {spilled:>5}  {kernel}\n");
    }
    text
}

// ---- tests of the parsers ----

fn expect<T: PartialEq + std::fmt::Debug>(got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("got {got:?}, expected {expected:?}")) }
}

fn report_is_read() -> Result<(), String> {
    let log = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'a_one' for 'sm_90'
ptxas info    : Function properties for a_one
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 24 registers, used 1 barriers, 1024 bytes smem, 532 bytes cmem[0]
ptxas info    : Compiling entry function 'a_two' for 'sm_90'
ptxas info    : Function properties for a_two
    40 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 532 bytes cmem[0]
ptxas info    : Function properties for __internal_helper
    0 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
";
    let usage = |kernel: &str, registers, shared, stack, spilled| {
        let kernel = kernel.to_owned();
        Usage { kernel, registers, shared, stack, spilled }
    };
    expect(report(log)?, vec![usage("a_one", 24, 1024, 8, 28), usage("a_two", 8, 0, 40, 4)])?;
    expect(report("nothing").is_err(), true)
}

fn budgets_are_read() -> Result<(), String> {
    let budget = |prefix: &str, registers, shared| Budget { prefix: prefix.to_owned(), registers, shared };
    let source = "\
// What it is.
// Budget: 40 registers, 0 bytes of shared memory.
// Budget of a_tiled: 128 registers, 32_768 bytes of shared memory.
//
// More.
#include \"common.cuh\"
// Budget: of the code below.
";
    expect(budgets("a.cu", source)?, vec![budget("", 40, 0), budget("a_tiled", 128, 32768)])?;
    expect(budgets("a.cu", "// Budget: many registers\n").is_err(), true)?;
    expect(budgets("a.cu", "// None.\n").is_err(), true)?;
    let usage = |kernel: &str, registers, shared, spilled| {
        let kernel = kernel.to_owned();
        Usage { kernel, registers, shared, stack: 0, spilled }
    };
    let tiled = usage("a_tiled_f32", 128, 32768, 0);
    expect(judge("a.cu", source, &[usage("a_f32", 40, 0, 0), tiled.clone()]), Ok(()))?;
    for bad in [usage("a_f32", 41, 0, 0), usage("a_f32", 40, 1, 0), usage("a_f32", 40, 0, 4)] {
        expect(judge("a.cu", source, &[bad, tiled.clone()]).is_err(), true)?;
    }
    expect(judge("a.cu", source, &[usage("a_f32", 40, 0, 0)]).is_err(), true)?; // no a_tiled
    let stems = ["a".to_owned(), "a_tiled".to_owned()];
    expect(names("a", &stems, &[usage("a_f32", 1, 0, 0)]), Ok(()))?;
    expect(names("a", &stems, &[tiled]).is_err(), true)?;
    expect(names("a", &stems, &[usage("b_f32", 1, 0, 0)]).is_err(), true)
}

/// A kernel with too few registers is reported as spilling.
fn a_spill_is_seen(nvrtc: &Nvrtc) -> Result<(), String> {
    let source = "
extern \"C\" __global__ void __launch_bounds__(1024, 2) try_spill(float *x) {
  float a[64];
  #pragma unroll
  for (int i = 0; i < 64; i++) a[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
  #pragma unroll
  for (int i = 0; i < 64; i++) x[i * 1024 + threadIdx.x] = a[63 - i] + a[(i * 7) % 64];
}
extern \"C\" __global__ void try_shared(float *x) {
  __shared__ float s[256];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  x[threadIdx.x] = s[255 - threadIdx.x];
}";
    let usages = compile(nvrtc, "try.cu", source, &[], Architecture::new(90))?;
    let of = |name: &str| usages.iter().find(|usage| usage.kernel == name).ok_or(format!("{name}: {usages:?}"));
    expect(of("try_spill")?.spilled > 0, true)?;
    expect((of("try_shared")?.shared, of("try_shared")?.spilled), (1024, 0))
}
