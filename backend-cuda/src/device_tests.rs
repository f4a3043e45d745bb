//! Which error a user gets for each failure of the driver, with a driver that fails at a chosen call.

use super::*;
use crate::driver::{Address, Driver, Failure, Launch};
use crate::grid::grid_stride;
use minitorch_core::backend::CopyOps;
use minitorch_core::{HostSlice, Tensor};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Returns addresses of memory that does not exist, and accesses none.
#[derive(Debug)]
struct Broken {
    info: Info,
    next: AtomicU64,
    /// The call that fails, and its failure.
    at: &'static str,
    failure: Failure,
    synchronized: AtomicUsize,
    launched: Arc<AtomicUsize>,
}

impl Broken {
    fn result(&self, at: &str) -> std::result::Result<(), Failure> {
        if at == self.at { Err(self.failure.clone()) } else { Ok(()) }
    }
}

impl Driver for Broken {
    fn info(&self) -> &Info {
        &self.info
    }

    fn round_up(&self, bytes: usize) -> usize {
        bytes
    }

    fn allocate(&self, bytes: usize) -> std::result::Result<Address, Failure> {
        // Only this size fails, so the allocations of the device itself succeed.
        if bytes == 4 * 1000 {
            self.result("allocate")?;
            self.result("memory")?;
        }
        Ok(self.next.fetch_add(1 << 20, Ordering::Relaxed))
    }

    // SAFETY: no memory is accessed.
    unsafe fn free(&self, _: Address, _: usize) {}

    // SAFETY: no memory is accessed.
    unsafe fn upload(&self, _: Address, _: &[u8]) -> std::result::Result<(), Failure> {
        self.result("upload")
    }

    // SAFETY: no memory but the slice is accessed.
    unsafe fn download(&self, _: Address, data: &mut [u8]) -> std::result::Result<(), Failure> {
        data.fill(0);
        self.result("download")
    }

    // SAFETY: no memory is accessed.
    unsafe fn set(&self, _: Address, _: u8, _: usize) -> std::result::Result<(), Failure> {
        Ok(())
    }

    // SAFETY: no memory is accessed.
    unsafe fn launch(&self, _: &Launch<'_>) -> std::result::Result<(), Failure> {
        self.launched.fetch_add(1, Ordering::Relaxed);
        self.result("launch")
    }

    fn synchronize(&self) -> std::result::Result<(), Failure> {
        self.synchronized.fetch_add(1, Ordering::Relaxed);
        if self.at == "allocate" { Err(Failure::Other("a kernel failed before".into())) } else { Ok(()) }
    }
}

fn broken(at: &'static str, failure: Failure) -> Cuda {
    counting(at, failure, &Arc::default())
}

/// The same, with a counter of launches.
fn counting(at: &'static str, failure: Failure, launched: &Arc<AtomicUsize>) -> Cuda {
    let info = Info {
        name: "broken".into(),
        capability: (9, 0),
        memory: 1 << 30,
        multiprocessors: 0,
        shared_memory: 48 << 10,
        driver: None,
    };
    let (next, synchronized, launched) = (AtomicU64::new(1 << 20), AtomicUsize::new(0), launched.clone());
    let driver = Broken { info, next, at, failure, synchronized, launched };
    Cuda(Arc::new(DeviceState::new("Cuda(broken)".into(), Box::new(driver)).expect("a device")))
}

fn lost() -> Failure {
    Failure::Other("the device is lost (CUDA_ERROR_DEVICE_LOST)".into())
}

#[test]
fn transfers_return_the_drivers_message() {
    let error = broken("upload", lost()).upload(HostSlice::F32(&[1.0])).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("Cuda(broken): upload: the device is lost (CUDA_ERROR_DEVICE_LOST)"));
    let tensor = Tensor::try_from_slice(&[1.0f32; 25], [25], &broken("upload", Failure::OutOfMemory));
    assert!(matches!(tensor, Err(Error::OutOfMemory { bytes: 100, .. })), "{tensor:?}");
    let device = broken("download", Failure::OutOfMemory);
    let read = Tensor::<Cuda>::zeros([25], &device).to_vec::<f32>();
    assert!(matches!(read, Err(Error::OutOfMemory { bytes: 100, .. })), "{read:?}");
}

#[test]
fn of_several_failures_the_first_is_returned() {
    let device = broken("launch", lost());
    let x = Tensor::<Cuda>::ones([4], &device);
    device.0.queue_error(Error::Invalid("a later one".into()));
    for _ in 0..2 {
        let error = device.synchronize().unwrap_err().to_string();
        assert!(error.starts_with("Cuda(broken): copy_fill_f32: the device is lost"), "{error}");
    }
    drop(x);

    let device = broken("upload", lost());
    device.0.queue_error(Error::Invalid("the first".into()));
    let error = device.upload(HostSlice::F32(&[1.0])).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("the first"));
    assert!(device.take_error().is_some(), "a call that returns the queued error does not take it");

    // Out of memory after a failed kernel: the kernel's error is returned.
    let error = broken("allocate", Failure::OutOfMemory).upload(HostSlice::F32(&[1.0; 1000])).err();
    assert_eq!(error.map(|e| e.to_string()).as_deref(), Some("Cuda(broken): allocation: a kernel failed before"));
}

#[test]
fn a_launch_that_lacks_memory_is_out_of_memory() {
    let device = broken("launch", Failure::OutOfMemory);
    let _x = Tensor::<Cuda>::ones([4], &device);
    let error = device.synchronize().unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { bytes: 0, .. }), "{error}");
    assert!(error.to_string().contains("more bytes were asked for"), "{error}");
}

#[test]
fn out_of_memory_in_an_operation_is_returned_by_each_read() {
    let launched = Arc::default();
    let device = counting("memory", Failure::OutOfMemory, &launched);
    let x = Tensor::<Cuda>::ones([10], &device);
    let missing = x.expand([100, 10]).contiguous();
    let before = launched.load(Ordering::Relaxed);
    // While the missing result exists, nothing is computed: neither from it nor from x.
    let (more, other) = (missing.sum(0), &x + 1.0);
    let filled = Tensor::<Cuda>::zeros([3], &device);
    assert_eq!(launched.load(Ordering::Relaxed), before, "a kernel was launched while a result is missing");
    for tensor in [&more, &x] {
        let error = tensor.to_vec::<f32>().unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { bytes: 4000, .. }), "{error}");
    }
    assert!(matches!(device.take_error(), Some(Error::OutOfMemory { bytes: 4000, .. })));
    for tensor in [&missing, &more, &other, &filled] {
        let error = tensor.to_vec::<f32>().unwrap_err().to_string();
        assert!(error.contains("there was no memory for"), "{error}");
    }
    // A copy that is not launched queues that.
    let error = missing.t().reshape([1000]).to_vec::<f32>().unwrap_err().to_string();
    assert!(error.contains("was not launched") && device.take_error().is_some(), "{error}");
    assert!(x.to_vec::<f32>().is_ok(), "x was computed before");
    assert!(x.expand([2, 10]).to_vec::<f32>().is_err(), "a read that needs a kernel");
    drop((missing, more, other, filled));
    drop(device.take_error());
    assert!((&x + 1.0).to_vec::<f32>().is_ok() && x.expand([2, 10]).to_vec::<f32>().is_ok());
    assert!(launched.load(Ordering::Relaxed) > before);
    assert!(matches!(Tensor::<Cuda>::try_full([1000], 1.0, &device), Err(Error::OutOfMemory { bytes: 4000, .. })));
    // synchronize returns the error too.
    let _missing = x.expand([100, 10]).contiguous();
    for _ in 0..2 {
        assert!(matches!(device.synchronize(), Err(Error::OutOfMemory { bytes: 4000, .. })));
    }
    assert!(device.take_error().is_some() && device.synchronize().is_ok());
}

#[test]
fn a_lost_device_fails_every_read() {
    let launched = Arc::default();
    let device = counting("launch", Failure::Lost("the words of 719".into()), &launched);
    let uploaded = Tensor::try_from_slice(&[1.0f32; 3], [3], &device).expect("an upload");
    let x = &uploaded + 1.0;
    // The fake driver does not repeat its failure, so the device has to.
    for _ in 0..2 {
        assert!(device.take_error().is_some_and(|error| error.to_string().contains("the words of 719")));
        let reads = [device.synchronize(), x.to_vec::<f32>().map(drop), uploaded.to_vec::<f32>().map(drop)];
        // While the error is queued, an upload succeeds and the tensor cannot be read, so that a training step goes on to its next read.
        let pending = Tensor::try_from_slice(&[1.0f32; 9], [9], &device);
        assert!(pending.is_ok_and(|x| x.to_vec::<f32>().is_err()));
        drop(device.take_error());
        let uploads =
            [Tensor::try_from_slice(&[1.0f32; 9], [9], &device).map(drop), (&x + &x).sum(..).item().map(drop)];
        for result in reads.into_iter().chain(uploads) {
            let error = result.expect_err("the device is lost").to_string();
            assert!(error.contains(": the words of 719") && error.starts_with("Cuda(broken): "), "{error}");
        }
    }
    // A training step continues up to its next read.
    let loss = uploaded.requires_grad().square().sum(..);
    let _ = (loss.backward(), Tensor::<Cuda>::zeros([77], &device), Tensor::from_slice(&[1.0f32; 77], [77], &device));
    assert!(loss.item().is_err());
    assert_eq!(launched.load(Ordering::Relaxed), 1, "nothing is launched on a lost device");
}

#[test]
fn a_read_returns_the_failure_of_its_copy() {
    let device = broken("launch", Failure::Other("refused".into()));
    let x = Tensor::try_from_slice(&[1.0f32; 6], [2, 3], &device).expect("an upload");
    assert!(x.to_vec::<f32>().is_ok());
    let error = x.t().to_vec::<f32>().unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
}

/// Grids depend on the number of multiprocessors through clamps and divisions.
#[test]
fn a_driver_that_reports_no_multiprocessors_causes_no_panic() {
    let device = broken("nothing", lost());
    let x = Tensor::<Cuda>::rand([300, 300], &device);
    let images = Tensor::<Cuda>::rand([2, 4, 16, 16], &device);
    let _ = (&x + 1.0, x.sum(..), x.sum(0), x.max(1), x.matmul(&x), x.cumsum(0), x.sort(1, false), x.softmax(1));
    let _ = (images.max_pool2d(2), images.conv2d(&Tensor::rand([4, 4, 3, 3], &device), None, Default::default()));
    let _ = x.index_select(0, &Tensor::new([1, 2], &device));
    assert_eq!(grid_stride(&device, 1 << 20).0, [8, 1, 1]);
    assert!(device.synchronize().is_ok());
}
