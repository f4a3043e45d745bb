//! Every call of CUDA's driver that the backend makes fails once, with tests/fake_driver in its place: a program that handles
//! `Result`s ends with one line and exit code 1, out of memory stays out of memory, and nothing hangs, aborts or panics.
#![cfg(target_os = "linux")]

#[path = "common/cli.rs"]
#[allow(dead_code, reason = "the examples that train are run elsewhere")]
mod cli;

use minitorch::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What [`program`] does: a variable, since the arguments belong to the test harness.
const PROGRAM: &str = "MINITORCH_TEST_PROGRAM";

/// What the library can be told; see its head.
const KNOBS: [&str; 4] = ["FAKE_CUDA_FAIL", "FAKE_CUDA_MEMORY", "FAKE_CUDA_STUB", "FAKE_CUDA_LOG"];

/// The folder of the compiled library, under both names by which a driver is looked for, and of all that the tests write.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("driver_failures");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder for the library");
        let (library, second) = (folder.join("libcuda.so"), folder.join("libcuda.so.1"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_driver/libcuda.c");
        let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        command.args(["-O1", "-shared", "-fPIC", "-pthread", "-o"]).arg(&library).arg(source);
        let built = command.output().expect("a C compiler: $CC, or cc");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        std::fs::copy(&library, second).expect("a second name");
        folder
    })
}

/// Lets a command find the library, its compiler and a folder for what that compiles.
fn with_fake_driver(command: &mut Command) -> &mut Command {
    KNOBS.into_iter().for_each(|name| _ = command.env_remove(name));
    for name in ["MINITORCH_SYNC", "MINITORCH_EXACT", "CUDA_VISIBLE_DEVICES"] {
        command.env_remove(name);
    }
    command.env("LD_LIBRARY_PATH", folder()).env("MINITORCH_NVRTC", folder().join("libcuda.so"));
    command.env("MINITORCH_CACHE_DIR", folder().join("cache")).stdin(Stdio::null())
}

/// A program of this file in a process of its own; ends the test if it takes longer than a minute.
fn run(program: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
    with_fake_driver(&mut command).args(["program", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(PROGRAM, program).env_remove("RUST_BACKTRACE").envs(variables.iter().copied());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a process");
    let start = Instant::now();
    while child.try_wait().expect("its state").is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            panic!("{program} hangs with {variables:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("its output")
}

/// What is run in processes of its own, one of the programs below.
#[test]
#[ignore = "the other tests run it"]
fn program() {
    let result = match std::env::var(PROGRAM).as_deref() {
        Ok("everything") => everything(),
        Ok("freeing") => freeing(),
        Ok("lost") => lost(),
        Ok("memory") => out_of_memory(),
        Ok("exact") => exact(),
        other => panic!("{PROGRAM} is {other:?}"),
    };
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    };
    std::process::exit(code);
}

/// Makes every call of the driver that a device makes while it is held, most of them often: uploads larger than the ring,
/// kernels with and without splits, a check of indices, large and small reads.
fn everything() -> Result<()> {
    Cuda::count()?;
    let device = Cuda::new(0)?;
    let upload = |shape: &[usize]| Tensor::try_from_slice(&vec![0.5f32; shape.iter().product()], shape, &device);
    for _ in 0..3 {
        let (x, w) = (upload(&[64, 3000])?.requires_grad(), upload(&[3000, 10])?.requires_grad());
        let large = upload(&[700_000])?;
        let indices = Tensor::try_from_slice(&[1i32, 0, 2], [3], &device)?;
        let y = x.matmul(&w).relu();
        let [dx, dw] = y.grad_with(&upload(&[64, 10])?, [&x, &w]);
        let images = upload(&[2, 3, 40, 40])?;
        let features = images.conv2d(&upload(&[4, 3, 3, 3])?, None, Conv2dOptions::default()).max_pool2d(2);
        let sorted = large.reshape([700, 1000]).argsort(1, true);
        let sums = [large.sum(..), large.mean(0), large.cumsum(0).max(0), (&large * 2.0).softmax(0).sum(..)];
        for x in [&dx, &dw, &features, &dx.t(), &y.index_select(0, &indices), &sums[0], &sums[3]] {
            x.to_vec::<f32>()?;
        }
        sorted.to_vec::<i32>()?;
        large.to_vec::<f32>()?;
        device.synchronize()?;
    }
    Ok(())
}

/// The same, and gives the memory back.
fn freeing() -> Result<()> {
    everything()?;
    let device = Cuda::new(0)?;
    device.release_memory();
    device.synchronize()
}

/// A kernel fails. Whatever is asked of the device from then on says so.
fn lost() -> Result<()> {
    let device = Cuda::new(0)?;
    let upload = |len: usize| Tensor::try_from_slice(&vec![0.5f32; len], [len], &device);
    let x = upload(1000)?;
    x.to_vec::<f32>()?;
    let y = &x + &x;
    for round in 0..3 {
        let sums = y.sum(..) + Tensor::zeros([], &device);
        let outcomes = [
            y.to_vec::<f32>().map(drop),
            x.to_vec::<f32>().map(drop),
            sums.item().map(drop),
            device.synchronize(),
            device.take_error().map_or(Ok(()), Err),
            upload(1000).map(drop),
            upload(5000).map(drop),
        ];
        for (i, outcome) in outcomes.iter().enumerate() {
            let Err(error) = outcome else { panic!("round {round}: outcome {i} is none of a lost device") };
            assert!(error.to_string().contains("CUDA_ERROR_"), "round {round}, outcome {i}: {error}");
        }
        device.release_memory();
    }
    device.synchronize()
}

/// More than the device has: results of operations, uploads and fills, before and after what is cached was given back.
fn out_of_memory() -> Result<()> {
    let device = Cuda::new(0)?;
    let x = Tensor::try_from_slice(&vec![0.5f32; 100_000], [100_000], &device)?;
    let missing = |outcome: Result<()>, bytes: u64| match outcome {
        Err(Error::OutOfMemory { bytes: asked, .. }) if asked == bytes => {}
        other => panic!("{bytes} bytes of a device that has not as many: {other:?}"),
    };
    // 10 MB, and the size class above it, which is what the driver is asked for.
    let (len, class) = (2_500_000, 10 << 20);
    missing(Tensor::try_full([len], 1.0, &device).map(drop), class);
    missing(Tensor::try_from_slice(&vec![1.0f32; len], [len], &device).map(drop), class);
    // A result that does not fit, and what is computed from it.
    let large = x.expand([25, 100_000]).contiguous();
    let loss = (&large * 2.0).sum(..);
    missing(loss.item().map(drop), class);
    assert!(large.to_vec::<f32>().is_err(), "it was never computed");
    assert!(device.synchronize().is_err() && x.to_vec::<f32>().is_err(), "each read fails until the error is taken");
    missing(device.take_error().map_or(Ok(()), Err), class);
    assert!(large.to_vec::<f32>().is_err(), "it was never computed");
    drop((large, loss));
    device.synchronize()?;
    // A smaller one does, once what is cached was given back.
    let small = (x.expand([3, 100_000]) * 2.0).sum(..);
    small.item()?;
    x.expand([25, 100_000]).contiguous().to_vec::<f32>().map(drop)
}

/// Buffers of odd sizes, two of them at the same time.
fn exact() -> Result<()> {
    let device = Cuda::new(0)?;
    let x = Tensor::try_from_slice(&[0.5f32; 33], [33], &device)?;
    for _ in 0..3 {
        let y = &x * 2.0;
        (&y + &x).to_vec::<f32>()?;
    }
    device.synchronize()
}

/// How often a program calls each function, if all goes well.
fn counts(program: &str) -> BTreeMap<String, usize> {
    let log = folder().join(format!("{program}.log"));
    let output = run(program, &[("FAKE_CUDA_LOG", &log.to_string_lossy())]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&log).expect("the library's log");
    let calls = text.lines().filter_map(|line| line.strip_prefix("calls ")?.split_once(' '));
    calls.map(|(name, count)| (name.to_owned(), count.parse().expect("a number"))).collect()
}

/// That a run ended with exit code 1 and this one line on stderr.
fn is_one_line(about: &str, output: &Output, reasons: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.lines().count() == 1, "{about}: {}: {text}", output.status);
    cli::fails(1, output, reasons);
}

/// Fails calls of "everything" one by one, some of each function's, with an error of that call alone, with one of a kernel
/// that failed before, and without memory.
#[test]
fn every_call_that_fails_is_one_line() {
    let counts = counts("everything");
    let made: Vec<(&str, usize)> =
        counts.iter().map(|(call, count)| (&**call, *count)).filter(|(_, n)| *n > 0).collect();
    assert!(made.len() >= 22, "{made:?}");
    let mut runs = Vec::new();
    for &(call, count) in &made {
        let mut at = vec![1, 2.min(count), count.div_ceil(3), count.div_ceil(2), count];
        at.sort_unstable();
        at.dedup();
        for nth in at {
            runs.push((call, nth, 999, "CUDA_ERROR_UNKNOWN"));
            runs.push((call, nth, 719, "CUDA_ERROR_LAUNCH_FAILED"));
            // What is cached is given back, and the second attempt succeeds.
            if call != "cuMemAlloc_v2" {
                runs.push((call, nth, 2, "memory"));
            }
        }
    }
    let each = runs.len().div_ceil(4);
    std::thread::scope(|scope| {
        for part in runs.chunks(each) {
            scope.spawn(move || {
                for (call, nth, code, reason) in part {
                    let failure = format!("{call}:{nth}:{code}");
                    is_one_line(&failure, &run("everything", &[("FAKE_CUDA_FAIL", &failure)]), &["Cuda", reason]);
                }
            });
        }
    });
}

/// A failure to free has no consequence of its own; one that says that the device is lost is told by the next report.
#[test]
fn a_failure_to_free_is_no_failure() {
    let frees = counts("freeing")["cuMemFree_v2"];
    assert!(frees > 5, "{frees}");
    for nth in [1, frees] {
        let output = run("freeing", &[("FAKE_CUDA_FAIL", &format!("cuMemFree_v2:{nth}:999"))]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lost = format!("cuMemFree_v2:{nth}:700");
        is_one_line(&lost, &run("freeing", &[("FAKE_CUDA_FAIL", &lost)]), &["CUDA_ERROR_ILLEGAL_ADDRESS"]);
    }
}

/// A device that cannot be opened undoes what was done, even where every call fails.
#[test]
fn a_device_that_does_not_open_leaves_nothing() {
    for (failure, expected) in [
        ("cuEventCreate:3:999", [0, 1, 2, 1, 1]),
        ("cuMemHostAlloc:2:2", [0, 1, 4, 1, 1]),
        ("cuStreamCreate:1:999", [0, 0, 0, 0, 1]),
        ("cuDevicePrimaryCtxRetain:1:46", [0, 0, 0, 0, 0]),
        ("cuMemsetD8Async:1:999", [usize::MAX, 1, 4, 2, 1]),
        ("cuMemsetD8Async:2:700", [usize::MAX, 1, 4, 2, 1]),
    ] {
        let log = folder().join(failure.replace(':', "-"));
        let output = run("everything", &[("FAKE_CUDA_FAIL", failure), ("FAKE_CUDA_LOG", &log.to_string_lossy())]);
        is_one_line(failure, &output, &["Cuda(0): "]);
        let text = std::fs::read_to_string(&log).expect("the library's log");
        let undone = [
            "cuModuleUnload",
            "cuStreamDestroy_v2",
            "cuEventDestroy_v2",
            "cuMemFreeHost",
            "cuDevicePrimaryCtxRelease_v2",
        ];
        for (call, expected) in undone.into_iter().zip(expected).filter(|(_, expected)| *expected != usize::MAX) {
            assert!(text.contains(&format!("calls {call} {expected}\n")), "{failure}: {expected} of {call}: {text}");
        }
    }
}

#[test]
fn a_lost_device_says_so_at_every_later_read() {
    for failure in ["cuLaunchKernel:1:719", "cuLaunchKernel:1:700", "cuStreamSynchronize:2:716"] {
        is_one_line(
            failure,
            &run("lost", &[("FAKE_CUDA_FAIL", failure)]),
            &["Cuda(0): ", "can use the device no more"],
        );
    }
}

#[test]
fn out_of_memory_stays_out_of_memory() {
    let output = run("memory", &[("FAKE_CUDA_MEMORY", "8000000")]);
    is_one_line("memory", &output, &["out of memory on Cuda(0): 10485760 bytes were asked for"]);
    // Not even for the backend's own counters.
    is_one_line("memory", &run("memory", &[("FAKE_CUDA_MEMORY", "100")]), &["no memory left for the backend itself"]);
}

/// `MINITORCH_EXACT=1`: buffers of the size asked for, each freed where it is dropped, after the stream was waited for.
#[test]
fn exact_buffers_are_those_asked_for() {
    let log = |name: &str, exact: &str| {
        let path = folder().join(name);
        let output = run("exact", &[("FAKE_CUDA_LOG", &path.to_string_lossy()), ("MINITORCH_EXACT", exact)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(path).expect("the library's log")
    };
    let pooled = log("pooled", "0");
    assert_eq!((pooled.matches("alloc 512\n").count(), pooled.matches("free ").count()), (3, 0), "{pooled}");
    let exact = log("exact", "1");
    // x, and two results in each of three rounds.
    assert_eq!((exact.matches("alloc 132\n").count(), exact.matches("sync 0\nfree 132\n").count()), (7, 7), "{exact}");
    assert_eq!(exact.matches("free ").count(), 7);
}

#[test]
fn a_toolkits_stub_is_called_one() {
    let output = run("everything", &[("FAKE_CUDA_STUB", "1")]);
    let path = folder().join("libcuda.so");
    is_one_line("stub", &output, &["is the stub of a CUDA toolkit", &path.to_string_lossy(), "LD_LIBRARY_PATH"]);
}

/// The example that lists devices says why one cannot be used.
#[test]
fn the_devices_example_shows_what_fails() {
    let devices = |failure: &str| {
        let output = with_fake_driver(&mut cli::example("devices")).env("FAKE_CUDA_FAIL", failure).output();
        let output = output.expect("the example");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(devices("").contains("fake device: compute capability 9.0, 8.0 GiB, 132 multiprocessors"));
    assert!(devices("cuInit:1:999").contains("cuda: none\n  Cuda: cuInit: unknown error (CUDA_ERROR_UNKNOWN)\n"));
    for call in
        ["cuDeviceGetName:1:999", "cuDevicePrimaryCtxRetain:1:46", "cuStreamCreate:1:999", "cuMemAlloc_v2:1:999"]
    {
        assert!(devices(call).contains("cuda: GPU 0 cannot be used\n  Cuda(0): "), "{call}");
    }
}

/// A failure in the middle of training: of a kernel, of a read, and of memory, which the results of layers need.
#[test]
fn training_ends_in_one_line() {
    let unknown = "CUDA_ERROR_UNKNOWN";
    for (variable, value, reason) in [
        ("FAKE_CUDA_FAIL", "cuLaunchKernel:30:719", "CUDA_ERROR_LAUNCH_FAILED"),
        ("FAKE_CUDA_FAIL", "cuLaunchKernel:45:999", unknown),
        ("FAKE_CUDA_FAIL", "cuModuleGetFunction:9:999", unknown),
        ("FAKE_CUDA_FAIL", "cuMemcpyDtoHAsync_v2:3:999", unknown),
        ("FAKE_CUDA_FAIL", "cuStreamSynchronize:20:700", "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("FAKE_CUDA_FAIL", "cuMemcpyHtoDAsync_v2:12:999", unknown),
        ("FAKE_CUDA_MEMORY", "2000000", "out of memory on Cuda(0): "),
    ] {
        let output = tempfile::tempdir().expect("a temporary folder");
        let mut command = cli::example("mnist");
        with_fake_driver(&mut command).args(["--backend", "cuda", "--epochs", "1", "--limit", "64", "--out"]);
        let ended = command.arg(output.path()).env(variable, value).output().expect("the example");
        cli::fails(1, &ended, &["Cuda(0)", reason]);
    }
}
