//! Tests of the emulator, with the kernels of emulator/tests.cu.

use std::thread;

use super::*;

#[allow(dead_code, reason = "build.rs uses all of it")]
#[path = "../emulator/rewrite.rs"]
mod rewrite;

const ORDERS: [Order; 3] = [Order::Forward, Order::Reversed, Order::Shuffled(7)];

/// `TestParams` of tests.cu.
#[repr(C)]
struct Params {
    input: Address,
    out: Address,
    n: u32,
    mode: u32,
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

/// One launch over `input` that writes `outputs` floats, with `fill` as the initial byte of the output.
struct Case<'a> {
    kernel: &'a str,
    grid: [u32; 3],
    block: [u32; 3],
    mode: u32,
    input: &'a [f32],
    fill: u8,
    outputs: usize,
}

impl<'a> Case<'a> {
    fn new(kernel: &'a str, blocks: u32, threads: u32) -> Self {
        let (grid, block) = ([blocks, 1, 1], [threads, 1, 1]);
        Self { kernel, grid, block, mode: 0, input: &[1.0], fill: UNINITIALIZED, outputs: 1024 }
    }

    fn try_on(&self, emulator: &Emulator) -> Result<Vec<u8>, String> {
        let mut result = vec![0; self.outputs * 4];
        let (input, out) = (emulator.allocate(self.input.len() * 4), emulator.allocate(result.len()));
        let (input, out) = (input.expect("memory for the input"), out.expect("memory for the result"));
        let params = Params { input, out, n: self.input.len() as u32, mode: self.mode };
        let params = (&raw const params).cast();
        let launch = Launch { kernel: self.kernel, grid: self.grid, block: self.block, params };
        // SAFETY: both addresses were allocated above with these lengths, `Params` mirrors the struct that the kernels take, and
        // each test passes as much memory as its kernel accesses.
        let launched = unsafe {
            emulator.upload(input, &bytes(self.input)).expect("an upload");
            if self.fill != UNINITIALIZED {
                emulator.set(out, self.fill, result.len()).expect("setting memory");
            }
            let launched = emulator.launch(&launch);
            emulator.download(out, &mut result).expect("a download");
            emulator.free(input, self.input.len() * 4);
            emulator.free(out, result.len());
            launched
        };
        match launched {
            Ok(()) => Ok(result),
            Err(Failure::Other(message)) => Err(message),
            Err(failure) => panic!("{failure:?} of a launch"),
        }
    }

    fn words(&self, order: Order) -> Vec<u32> {
        let result = self.try_on(&Emulator::new(order)).expect("a launch that succeeds");
        result.chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]])).collect()
    }

    fn floats(&self, order: Order) -> Vec<f32> {
        self.words(order).into_iter().map(f32::from_bits).collect()
    }

    /// Asserts that the launch fails in every order, with a message that contains these parts.
    fn fails(&self, parts: &[&str]) {
        for order in ORDERS {
            let message = self.try_on(&Emulator::new(order)).expect_err("an error is detected");
            let named = format!("kernel `{}`", self.kernel);
            for part in parts.iter().copied().chain([named.as_str()]) {
                assert!(message.contains(part), "{order:?}: no {part:?} in {message:?}");
            }
        }
    }
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i % 17) as f32).collect()
}

#[test]
fn a_block_reduction_is_correct_in_every_order() {
    let input = numbers(1000);
    for order in ORDERS {
        let sums = Case { input: &input, ..Case::new("test_sum", 4, 256) }.floats(order);
        for (block, part) in input.chunks(256).enumerate() {
            assert_eq!(sums[block], part.iter().sum::<f32>(), "{order:?}, block {block}");
        }
        assert!(sums[4..].iter().all(|x| x.is_nan()), "{order:?}: a write past the result");
    }
}

#[test]
fn kernels_defined_by_macros_are_found() {
    let input = numbers(50);
    for order in ORDERS {
        let doubled = Case { input: &input, outputs: 50, ..Case::new("test_double", 2, 32) }.floats(order);
        assert_eq!(doubled, input.iter().map(|x| x + x).collect::<Vec<_>>());
    }
    assert_eq!(Case { input: &[0.0], outputs: 1, ..Case::new("test_exp", 1, 32) }.floats(Order::Forward), [1.0]);
}

#[test]
fn without_a_barrier_the_result_depends_on_the_order() {
    let case = |mode| Case { mode, outputs: 64, ..Case::new("test_missing_barrier", 1, 64) };
    let right: Vec<f32> = (0..64).map(|i| ((i + 1) % 64) as f32).collect();
    for order in ORDERS {
        assert_eq!(case(1).floats(order), right);
    }
    let (forward, reversed) = (case(0).floats(Order::Forward), case(0).floats(Order::Reversed));
    assert!(forward[0].is_nan() && reversed[0] == 1.0, "{} {}", forward[0], reversed[0]);
}

#[test]
fn uninitialized_memory_is_nan() {
    for order in ORDERS {
        let case = Case { outputs: 6, fill: 0, ..Case::new("test_uninitialised", 3, 1) };
        let read = case.floats(order);
        assert!(read.iter().all(|x| x.is_nan()), "shared memory, {order:?}: {read:?}");
    }
    let emulator = Emulator::new(Order::Forward);
    let at = emulator.allocate(12).expect("memory");
    let mut read = [0; 12];
    // SAFETY: 12 bytes are allocated at the address, and freed once.
    unsafe {
        emulator.download(at, &mut read).expect("a download");
        assert_eq!(read, [UNINITIALIZED; 12]);
        emulator.set(at, 1, 12).expect("setting memory");
        emulator.recycle(at, 12);
        emulator.download(at, &mut read).expect("a download");
        assert_eq!(read, [UNINITIALIZED; 12]);
        emulator.free(at, 12);
    }
}

#[test]
fn atomics() {
    for order in ORDERS {
        let words = Case { fill: 0, outputs: 4, ..Case::new("test_atomics", 3, 100) }.words(order);
        assert_eq!(words, [300, 99, 7, 1], "{order:?}");
    }
}

#[test]
fn warp_functions() {
    for order in ORDERS {
        let out = Case { outputs: 256, ..Case::new("test_warps", 1, 32) }.words(order);
        for lane in 0..32_u32 {
            let expected = [
                5,
                if lane < 3 { lane } else { lane - 3 },
                lane ^ 9,
                (lane + 1) % 32,
                0xaaaa_aaaa,
                1,
                (lane ^ 1) + 7,
                if lane < 16 { 0xffff } else { 0x8000_0000 },
            ];
            assert_eq!(out[lane as usize * 8..][..8], expected, "{order:?}, lane {lane}");
        }
    }
}

#[test]
fn math_functions() {
    let x = 1.000_123_4_f32;
    let out = Case { input: &[x], outputs: 5, ..Case::new("test_maths", 1, 1) }.floats(Order::Forward);
    assert_eq!(
        out,
        [
            x.mul_add(x, -(x * x)),
            31.0 + 32.0 + 4.0 + 3.0,
            f32::from_bits(1.5_f32.to_bits() + 1),
            1023.0 + 1.0 + 1.0,
            2.0
        ]
    );
}

#[test]
fn threads_at_different_barriers() {
    Case::new("test_divergent_barriers", 1, 64).fails(&[
        "block (0, 0, 0)",
        "different barriers: 32 threads (first (0, 0, 0)) at __syncthreads (emulator/tests.cu:",
        ", 32 threads (first (32, 0, 0)) at __syncthreads",
    ]);
}

#[test]
fn a_barrier_after_threads_exited() {
    let case = Case::new("test_exited", 1, 24);
    case.fails(&["20 threads (first (0, 0, 0)) at __syncthreads (", ", 4 threads (first (20, 0, 0)) exited"]);
    let corner = Case { grid: [1, 2, 3], ..Case::new("test_exited", 1, 21) };
    corner.fails(&[", thread (20, 0, 0) exited"]);
}

#[test]
fn masks_of_warps() {
    let case = |mode, threads| Case { mode, ..Case::new("test_masks", 1, threads) };
    let full = "with mask 0xffffffff";
    case(0, 32).fails(&[
        "in __ballot_sync (emulator/tests.cu:",
        full,
        "for thread (3, 0, 0), which waits in __syncthreads (",
    ]);
    case(1, 32).fails(&["with mask 0x0001ffff for thread (16, 0, 0), which waits in __ballot_sync", "0xffff8000"]);
    case(2, 32).fails(&["calls __ballot_sync (", "mask 0x0000ffff, which lacks its own lane"]);
    case(3, 32).fails(&["reads lane 9 in __shfl_sync (", "that lane has exited"]);
    case(4, 32).fails(&["thread (0, 0, 0) reads lane 8 in __shfl_xor_sync", "is not in the mask"]);
    case(5, 20).fails(&["thread (4, 0, 0) reads lane 20 in __shfl_xor_sync", "is not in the block"]);
    case(6, 32)
        .fails(&["thread (0, 0, 0) waits in __any_sync (", "for thread (1, 0, 0), which waits in __ballot_sync ("]);
}

#[test]
fn missing_fences_around_block_counters() {
    for order in ORDERS {
        let on = |mode: u32| {
            let (emulator, bytes) = (Emulator::new(order), 4 * (2 + 3 * 64));
            let out = emulator.allocate(bytes).expect("memory");
            emulator.counters(out, 4);
            let params = Params { input: 0, out, n: 3, mode };
            let params = (&raw const params).cast();
            let launch = Launch { kernel: "test_arrivals", grid: [3, 1, 1], block: [64, 1, 1], params };
            let mut sum = [0; 4];
            // SAFETY: the allocation covers all that the kernel accesses, and `Params` mirrors the struct that it takes.
            let launched = unsafe {
                emulator.set(out, 0, bytes).expect("setting memory");
                let launched = emulator.launch(&launch);
                emulator.download(out + 4, &mut sum).expect("a download");
                emulator.free(out, bytes);
                launched
            };
            launched.map(|()| f32::from_ne_bytes(sum)).map_err(|failure| format!("{failure:?}"))
        };
        assert_eq!(on(0), Ok(2.0), "{order:?}");
        let fails = |mode, part: &str| {
            let message = on(mode).expect_err("a fence is missing");
            assert!(message.contains(part) && message.contains("__threadfence"), "{order:?}, mode {mode}: {message}");
        };
        fails(1, "increments a block counter before 64 threads");
        fails(2, "increments a block counter before 4 threads (first (60, 0, 0))");
        fails(4, "no __threadfence of 64 threads");
        // Threads that run after thread 0 have not called the fence yet; in reverse order thread 0 is last.
        match order {
            Order::Reversed => assert!(on(3).is_ok()),
            _ => fails(3, "increments a block counter before"),
        }
    }
}

#[test]
fn limits() {
    let case = |grid, block| Case { grid, block, ..Case::new("test_sum", 1, 1) };
    case([1, 1, 1], [32, 33, 1]).fails(&["1024 together"]);
    case([1, 1, 1], [1, 1, 65]).fails(&["[1024, 1024, 64]"]);
    case([1, 0, 1], [32, 1, 1]).fails(&["is empty"]);
    case([1, 65536, 1], [32, 1, 1]).fails(&["[2147483647, 65535, 65535]"]);
    case([1 << 31, 1, 1], [32, 1, 1]).fails(&["a grid of"]);
    Case::new("test_none", 1, 1).fails(&["there is none of this name"]);
    Case::new("test_shared_most", 1, 1).words(Order::Forward);
    Case::new("test_shared_over", 1, 1).fails(&["49156 bytes up to `large`", "a block has 49152"]);
}

#[test]
fn a_device_with_the_limits_of_an_h100() {
    let options = EmulatorOptions { multiprocessors: 132, shared_memory: 227 << 10, ..Order::Reversed.into() };
    let emulator = Emulator::new(options);
    let Info { multiprocessors, shared_memory, .. } = emulator.info();
    assert_eq!((*multiprocessors, *shared_memory), (132, 227 << 10));
}

#[test]
fn a_device_with_little_shared_memory() {
    let options = EmulatorOptions { shared_memory: (48 << 10) - 1, ..EmulatorOptions::default() };
    let message = Case::new("test_shared_most", 1, 1).try_on(&Emulator::new(options)).expect_err("a byte too many");
    assert!(message.contains("49152 bytes up to `large`; a block has 49151"), "{message}");
}

#[test]
#[should_panic(expected = "the emulator has 262144")]
fn more_shared_memory_than_the_emulator_has() {
    Emulator::new(EmulatorOptions { shared_memory: (256 << 10) + 1, ..EmulatorOptions::default() });
}

#[test]
#[cfg_attr(sanitized, ignore = "the sanitizer ends the process")]
fn writes_beyond_a_shared_array() {
    let case = |mode| Case { mode, ..Case::new("test_shared_overrun", 1, 32) };
    case(0).words(Order::Forward);
    case(1).fails(&["beyond the end of the shared array `values`"]);
}

/// For scripts/emulator-sanitize --show: without the sanitizer it would corrupt the heap.
#[test]
#[ignore = "needs the address sanitizer, and ends in its report"]
fn an_overrun_that_the_sanitizer_reports() {
    let input = numbers(32);
    Case { input: &input, outputs: 32, ..Case::new("test_overrun", 1, 64) }.words(Order::Forward);
}

#[test]
fn launches_of_several_threads_at_once() {
    let emulator = Emulator::new(Order::Shuffled(3));
    let input = numbers(512);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let case = Case { input: &input, outputs: 2, ..Case::new("test_sum", 2, 256) };
                let first = case.try_on(&emulator).expect("the first launch");
                for _ in 0..250 {
                    assert_eq!(case.try_on(&emulator).as_ref(), Ok(&first));
                    // A failed launch does not affect later ones.
                    Case::new("test_exited", 1, 64).try_on(&emulator).expect_err("an error is detected");
                }
            });
        }
    });
}

#[test]
fn addresses_outside_of_allocations() {
    let emulator = Emulator::new(Order::Forward);
    let at = emulator.allocate(16).expect("memory");
    // SAFETY: the emulator checks addresses, so any are allowed.
    let wrong =
        unsafe { [emulator.upload(at + 8, &[0; 9]), emulator.set(at - 1, 0, 1), emulator.download(64, &mut [0])] };
    for (result, name) in wrong.into_iter().zip(["an upload of 9 bytes", "setting of 1 bytes", "a download of 1 bytes"])
    {
        let Err(Failure::Other(message)) = result else { panic!("{name} is not detected") };
        assert!(message.contains(name) && message.contains("not allocated"), "{message}");
    }
    // SAFETY: 16 bytes are allocated at the address, and freed once.
    unsafe { emulator.free(at, 16) };
    assert_eq!(emulator.allocate(17 << 30), Err(Failure::OutOfMemory));
}

#[test]
#[should_panic(expected = "freed 8 bytes")]
fn freeing_what_was_not_allocated() {
    // SAFETY: the emulator checks addresses, so any are allowed.
    unsafe { Emulator::new(Order::Forward).free(4096, 8) };
}

#[test]
fn unsupported_source_is_an_error() {
    let fails = |text: &str, part: &str| {
        let message = rewrite::rewrite(&format!("# 7 \"a.cu\"\n{text}\n")).expect_err("unsupported source");
        assert!(message.starts_with("a.cu:7: ") && message.contains(part), "{text}: {message}");
    };
    fails("__global__ void f(P p) {}", "extern \"C\" __global__");
    fails("extern \"C\" __global__ void f(P p) {} extern \"C\" __global__ void f(P p) {}", "already defined at a.cu:7");
    fails("namespace { __shared__ float x[2]; }", "inside a function");
    fails("void f() { __shared__ float x[2], y[2]; }", "one shared variable");
    fails("void f() { __shared__ float x = 1; }", "one shared variable");
    fails("void f() { __shared__ float x[]; }", "without a length");
    fails("void f() { extern __shared__ float x[2]; }", "comes first");
    fails("void f() { volatile __shared__ float x[2]; }", "comes first");
}

#[test]
fn rewriting_keeps_lines_and_finds_alignments() {
    let text = "extern \"C\"\n__global__ void f(P p);\nvoid g() {\n__shared__ __attribute__((aligned(2 * 16))) Pair<A, 2>\nx[2][N];\n}\n";
    let (out, kernels) = rewrite::rewrite(text).expect("supported source");
    assert!(kernels.is_empty(), "only declared: {kernels:?}");
    assert_eq!(out.matches('\n').count(), text.matches('\n').count());
    assert!(out.starts_with("static\n void f(P p);"), "{out}");
    assert!(out.contains("= Pair<A, 2>[2][N];") && out.contains("sizeof(emulated_type_x), 2 * 16"), "{out}");
}
