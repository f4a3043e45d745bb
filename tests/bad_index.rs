//! A bad index reaches the one who made it. On the CPU the call panics at the user's line, and nobody else notices. On a GPU each read
//! of the device fails, on every thread, until the error is taken: no wrong number is printed or saved.

use minitorch::prelude::*;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::thread;

#[derive(Module)]
struct Net<B: Backend> {
    words: Embedding<B>,
    head: Linear<B>,
}

impl<B: Backend> Net<B> {
    fn new(device: &B) -> Self {
        Net { words: Embedding::new(5, 4, device), head: Linear::new(4, 3, device) }
    }

    fn forward(&self, ids: &Tensor<B>) -> Tensor<B> {
        self.head.forward(&self.words.forward(ids))
    }

    /// The line of `forward` that looks words up.
    const LOOKUP: u32 = line!() - 4;
}

thread_local! {
    /// The message and the location of this thread's last panic.
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// The message and the location, `file:line`, of the panic of `f`.
fn panic_of<T>(f: impl FnOnce() -> T) -> (String, String) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let message = info.payload_as_str().unwrap_or_default().to_owned();
            let location = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
            PANIC.set(Some((message, location)));
        }));
    });
    assert!(catch_unwind(AssertUnwindSafe(|| drop(f()))).is_err(), "a panic was expected");
    PANIC.take().expect("the hook has run")
}

#[test]
fn on_the_cpu_the_call_panics_and_nothing_else_changes() -> Result<()> {
    let device = Cpu::new();
    let model = Net::new(&device);
    let (ids, classes) = (Tensor::new([1, 7, -1], &device), Tensor::new([0, 3, 1], &device));
    let before = (model.words.weight.to_vec::<f32>()?, model.head.weight.to_vec::<f32>()?);
    let lookup = format!("{}:{}", file!(), Net::<Cpu>::LOOKUP);
    for _ in 0..2 {
        let panic = panic_of(|| model.forward(&ids));
        assert_eq!(panic, ("embedding: index 7 is outside a dimension of size 5; in Embedding".into(), lookup.clone()));
        let scores = model.forward(&Tensor::new([1, 4, 0], &device));
        let (panic, line) = (panic_of(|| scores.cross_entropy(&classes)), line!());
        let message = "cross_entropy: index 3 is outside a dimension of size 3";
        assert_eq!(panic, (message.into(), format!("{}:{line}", file!())));
        // Reads on this thread and on others are those of a healthy device.
        let read = || (model.words.weight.to_vec::<f32>(), model.head.weight.to_vec::<f32>());
        let (words, head) = thread::scope(|scope| scope.spawn(read).join()).expect("the thread reads");
        assert_eq!((words?, head?), before);
        assert!(device.synchronize().is_ok() && device.take_error().is_none());
    }
    Ok(())
}

/// Long indices, which several threads check: the first bad entry is named, whichever thread finds one first, and the thread pool
/// goes on.
#[test]
fn of_many_bad_indices_the_first_is_named() {
    const N: usize = 100_000;
    let device = Cpu::new();
    let index: Vec<i32> =
        (0..N).map(|i| if i >= 20_000 && i % 1000 == 777 { -(i as i32) } else { (i % 50) as i32 }).collect();
    let index = Tensor::from_vec(index, [N], &device);
    let (table, rows) = (Tensor::<Cpu>::ones([50, 2], &device), Tensor::<Cpu>::ones([N], &device));
    let planes = index.reshape([100, 1000]);
    for _ in 0..10 {
        for (op, panic) in [
            ("index_select", panic_of(|| table.index_select(0, &index))),
            ("embedding", panic_of(|| table.embedding(&index))),
            ("gather", panic_of(|| table.narrow(1, 0, 1).squeeze(1).gather(0, &index))),
            ("scatter_add", panic_of(|| table.narrow(1, 0, 1).squeeze(1).scatter_add(0, &index, &rows))),
            ("scatter", panic_of(|| table.narrow(1, 0, 1).squeeze(1).scatter(0, &index, &rows))),
            (
                "scatter_add",
                panic_of(|| Tensor::zeros([100, 50], &device).scatter_add(1, &planes, &rows.reshape([100, 1000]))),
            ),
            ("one_hot", panic_of(|| index.one_hot(50, DType::F32))),
            ("cross_entropy", panic_of(|| Tensor::<Cpu>::ones([N, 50], &device).cross_entropy(&index))),
        ] {
            assert_eq!(panic.0, format!("{op}: index -20777 is outside a dimension of size 50"));
        }
    }
    assert_eq!(table.sum(..).item().ok(), Some(100.0));
}

/// A program on a GPU that looks up a word that does not exist, prints, and tries to save.
#[cfg(any(feature = "cuda-emu", feature = "wgpu"))]
fn stays<B: Backend>(device: &B) -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let mut model = Net::new(device);
    let healthy = Tensor::new([1.0, 2.0], device);
    let scores = model.forward(&Tensor::new([1, 7, -1], device));
    let loss = scores.cross_entropy(&Tensor::new([0, 1, 2], device));
    Sgd::new(0.1).step(&mut model, &loss.backward());
    let says = |error: Option<Error>| {
        let (text, wanted) =
            (error.map(|error| error.to_string()), format!("embedding at {}:{}:", file!(), Net::<B>::LOOKUP));
        let text = text.expect("an error");
        assert!(text.starts_with(&wanted) && text.contains(": index "), "{text}");
        assert!(text.contains("index 7 is outside a dimension of size 5") || text.contains("index -1"), "{text}");
    };
    for _ in 0..2 {
        says(scores.to_vec::<f32>().err());
        says(healthy.to_vec::<f32>().err());
        says(model.save(&path).err());
        says(thread::scope(|scope| scope.spawn(|| healthy.to_vec::<f32>().err()).join()).expect("the thread reads"));
        says(device.synchronize().err());
        assert!(!path.exists(), "nothing was saved");
        assert!(healthy.to_string().contains("unreadable: embedding at "), "{healthy}");
    }
    says(device.take_error());
    assert_eq!(healthy.to_vec::<f32>()?, [1.0, 2.0]);
    model.save(&path)
}

#[cfg(feature = "cuda-emu")]
#[test]
fn on_cuda_every_read_fails_until_the_error_is_taken() -> Result<()> {
    stays(&Cuda::emulated(minitorch_cuda::Order::Forward))
}

#[cfg(feature = "wgpu")]
#[test]
fn on_wgpu_every_read_fails_until_the_error_is_taken() -> Result<()> {
    // Other tests of this process share no device.
    let device = minitorch_wgpu::Wgpu::open(&minitorch_wgpu::Options::default());
    device.map_or(Ok(()), |device| stays(&device)) // tests/main.rs requires an adapter where there should be one
}
