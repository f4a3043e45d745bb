//! Tests with GPU 0 or, without one, of the error.

use super::*;

/// GPU 0, or why there is none. `MINITORCH_REQUIRE=cuda` turns its absence into a failure.
fn gpu() -> Result<Gpu, String> {
    let gpu = Gpu::new(0).map_err(|why| why.to_string());
    let required = std::env::var("MINITORCH_REQUIRE").unwrap_or_default();
    if let (Err(why), true) = (&gpu, required.split(',').any(|name| name.trim() == "cuda")) {
        panic!("MINITORCH_REQUIRE: cuda is required and did not run: {why}");
    }
    gpu
}

#[test]
fn a_machine_without_a_gpu_is_an_error_of_one_line() {
    let Err(why) = gpu() else { return };
    println!("{why}");
    assert!(why.starts_with("Cuda(0): "), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
    // SAFETY: loading the driver's library only runs its own initialisers.
    if !unsafe { sys::is_culib_present() } && cfg!(target_os = "linux") {
        assert_eq!(why, "Cuda(0): no NVIDIA driver: its library libcuda was not found");
        assert_eq!(Gpu::count().unwrap_err().to_string(), why.replace("Cuda(0)", "Cuda"));
    }
}

#[test]
fn a_missing_ordinal_is_an_error_of_one_line() {
    let why = Gpu::new(1000).unwrap_err().to_string();
    assert!(why.starts_with("Cuda(1000): ") && why.lines().count() == 1, "{why}");
}

#[test]
fn size_classes_add_at_most_a_quarter() {
    for (bytes, class) in [(1, 512), (512, 512), (513, 640), (640, 640), (1000, 1024), (1025, 1280), (5 << 20, 5 << 20)]
    {
        assert_eq!(size_class(bytes), class, "{bytes}");
    }
    for bytes in (1..1 << 16).chain((0..44).flat_map(|power| [(1_usize << 20 << power) - 1, (1 << 20 << power) + 1])) {
        let class = size_class(bytes);
        assert!(class >= bytes && class >= 512, "{bytes} {class}");
        assert!(bytes < 512 || class - bytes <= bytes / 4, "{bytes} {class}");
        assert_eq!(size_class(class), class, "{bytes}: a class is its own");
    }
    assert_eq!(size_class(usize::MAX), usize::MAX);
}

#[test]
fn downloads_return_what_was_uploaded() {
    let Ok(gpu) = gpu() else { return };
    println!("{gpu:?}");
    let pattern = |bytes: usize, seed: usize| (0..bytes).map(|i| (i * 31 + seed) as u8).collect::<Vec<_>>();
    // Sizes around those of a chunk, of the ring and of the download buffer.
    for bytes in [1, 255, 4096, 65_536, 65_537, 262_143, 262_145, 1 << 20, (1 << 20) + 1, 10_000_019] {
        let address = gpu.allocate(gpu.round_up(bytes)).unwrap();
        assert_eq!(address % 256, 0);
        let mut data = pattern(bytes, 7);
        // SAFETY: the memory was allocated with at least this size, and is freed once.
        unsafe {
            gpu.upload(address, &data).unwrap();
            data.fill(0); // the data may change as soon as the call returns
            gpu.download(address, &mut data).unwrap();
            assert!(data == pattern(bytes, 7), "{bytes} bytes");
            gpu.set(address, 0xa5, bytes).unwrap();
            gpu.download(address, &mut data).unwrap();
            assert!(data.iter().all(|byte| *byte == 0xa5), "{bytes} bytes");
            gpu.free(address, gpu.round_up(bytes));
        }
    }
}

#[test]
fn many_small_uploads_wait_for_free_chunks() {
    let Ok(gpu) = gpu() else { return };
    let (count, size) = (20_000, 1000);
    let address = gpu.allocate(count * size).unwrap();
    let mut data = vec![0; count * size];
    // SAFETY: every upload is within the allocated memory, which is freed once.
    unsafe {
        for index in 0..count {
            gpu.upload(address + (index * size) as u64, &vec![(index % 251) as u8; size]).unwrap();
        }
        gpu.download(address, &mut data).unwrap();
        gpu.free(address, count * size);
    }
    assert!(data.chunks(size).enumerate().all(|(index, part)| part.iter().all(|byte| *byte == (index % 251) as u8)));
}

#[test]
fn large_allocations_and_unknown_kernels_fail() {
    let Ok(gpu) = gpu() else { return };
    assert_eq!(gpu.allocate(1 << 46), Err(Failure::OutOfMemory));
    let params = [0_u8; 8];
    let params = params.as_ptr().cast();
    let launch = Launch { kernel: "nothing_at_all", grid: [1; 3], block: [32, 1, 1], params };
    // SAFETY: no kernel has this name, so nothing is launched.
    let why = reason(unsafe { gpu.launch(&launch) }.unwrap_err());
    assert!(why.contains("nothing_at_all"), "{why}");
    gpu.synchronize().unwrap();
}
