//! Tests of a card: on a machine without one, of what it says then.

use super::*;

/// The card, or why there is none, which `MINITORCH_REQUIRE=cuda` makes a failure.
fn card() -> Result<Gpu, String> {
    let card = Gpu::new(0).map_err(|why| why.to_string());
    let required = std::env::var("MINITORCH_REQUIRE").unwrap_or_default();
    if let (Err(why), true) = (&card, required.split(',').any(|name| name.trim() == "cuda")) {
        panic!("MINITORCH_REQUIRE: cuda is required and did not run: {why}");
    }
    card
}

#[test]
fn a_machine_without_a_card_is_an_error_of_one_line() {
    let Err(why) = card() else { return };
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
fn a_card_that_is_not_there_is_an_error_of_one_line() {
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
fn what_goes_up_comes_down() {
    let Ok(card) = card() else { return };
    println!("{card:?}");
    let pattern = |bytes: usize, seed: usize| (0..bytes).map(|i| (i * 31 + seed) as u8).collect::<Vec<_>>();
    // Below and above a chunk of the ring, the whole ring and the landing place, by one and by a lot.
    for bytes in [1, 255, 4096, 65_536, 65_537, 262_143, 262_145, 1 << 20, (1 << 20) + 1, 10_000_019] {
        let address = card.allocate(card.round_up(bytes)).unwrap();
        assert_eq!(address % 256, 0);
        let mut data = pattern(bytes, 7);
        // SAFETY: the memory is at least as large, and freed once.
        unsafe {
            card.upload(address, &data).unwrap();
            data.fill(0); // the call has returned, so the data are the caller's again
            card.download(address, &mut data).unwrap();
            assert!(data == pattern(bytes, 7), "{bytes} bytes");
            card.set(address, 0xa5, bytes).unwrap();
            card.download(address, &mut data).unwrap();
            assert!(data.iter().all(|byte| *byte == 0xa5), "{bytes} bytes");
            card.free(address, card.round_up(bytes));
        }
    }
}

#[test]
fn many_small_uploads_do_not_overtake_the_ring() {
    let Ok(card) = card() else { return };
    let (count, size) = (20_000, 1000);
    let address = card.allocate(count * size).unwrap();
    let mut data = vec![0; count * size];
    // SAFETY: every upload lies within the memory, which is freed once.
    unsafe {
        for index in 0..count {
            card.upload(address + (index * size) as u64, &vec![(index % 251) as u8; size]).unwrap();
        }
        card.download(address, &mut data).unwrap();
        card.free(address, count * size);
    }
    assert!(data.chunks(size).enumerate().all(|(index, part)| part.iter().all(|byte| *byte == (index % 251) as u8)));
}

#[test]
fn too_much_memory_is_out_of_memory_and_no_kernel_is_told_by_name() {
    let Ok(card) = card() else { return };
    assert_eq!(card.allocate(1 << 46), Err(Failure::OutOfMemory));
    let params = [0_u8; 8];
    let params = params.as_ptr().cast();
    let launch = Launch { kernel: "nothing_at_all", grid: [1; 3], block: [32, 1, 1], shared: 0, params };
    // SAFETY: there is no such kernel.
    let why = reason(unsafe { card.launch(&launch) }.unwrap_err());
    assert!(why.contains("nothing_at_all"), "{why}");
    card.synchronize().unwrap();
}
