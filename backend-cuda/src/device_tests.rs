//! A driver that fails where it is told to: which failure the user gets, and as what.

use super::*;
use minitorch_core::{Backend, HostSlice, Tensor};
use std::sync::atomic::AtomicUsize;

/// Gives out addresses of memory that does not exist, and touches none.
#[derive(Debug)]
struct Broken {
    info: Info,
    next: AtomicU64,
    /// The call that fails, and how.
    at: &'static str,
    failure: Failure,
    synchronized: AtomicUsize,
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
        // The device's own memory is there.
        self.result(if bytes == 4 * 1000 { "allocate" } else { "" })?;
        Ok(self.next.fetch_add(1 << 20, Ordering::Relaxed))
    }

    // SAFETY: nothing is touched.
    unsafe fn free(&self, _: Address, _: usize) {}

    // SAFETY: nothing is touched.
    unsafe fn upload(&self, _: Address, _: &[u8]) -> std::result::Result<(), Failure> {
        self.result("upload")
    }

    // SAFETY: nothing is touched but the slice.
    unsafe fn download(&self, _: Address, data: &mut [u8]) -> std::result::Result<(), Failure> {
        data.fill(0);
        self.result("download")
    }

    // SAFETY: nothing is touched.
    unsafe fn set(&self, _: Address, _: u8, _: usize) -> std::result::Result<(), Failure> {
        Ok(())
    }

    // SAFETY: nothing is touched.
    unsafe fn launch(&self, _: &Launch<'_>) -> std::result::Result<(), Failure> {
        self.result("launch")
    }

    fn synchronize(&self) -> std::result::Result<(), Failure> {
        self.synchronized.fetch_add(1, Ordering::Relaxed);
        if self.at == "allocate" { Err(Failure::Other("a kernel failed before".into())) } else { Ok(()) }
    }
}

fn broken(at: &'static str, failure: Failure) -> Cuda {
    let info = Info {
        name: "broken".into(),
        capability: (9, 0),
        memory: 1 << 30,
        multiprocessors: 0,
        shared_memory: 48 << 10,
        driver: None,
    };
    let driver = Broken { info, next: AtomicU64::new(1 << 20), at, failure, synchronized: AtomicUsize::new(0) };
    Cuda(Arc::new(Device::new("Cuda(broken)".into(), Box::new(driver)).expect("a device")))
}

fn lost() -> Failure {
    Failure::Other("the device is lost (CUDA_ERROR_DEVICE_LOST)".into())
}

#[test]
fn an_upload_fails_with_the_drivers_words() {
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
    device.keep(Error::Invalid("a later one".into()));
    let error = device.synchronize().unwrap_err().to_string();
    assert!(error.starts_with("Cuda(broken): copy_fill_f32: the device is lost"), "{error}");
    drop(x);

    let device = broken("upload", lost());
    device.keep(Error::Invalid("the first".into()));
    let error = device.upload(HostSlice::F32(&[1.0])).err().map(|e| e.to_string());
    assert_eq!(error.as_deref(), Some("the first"));

    // Out of memory after a kernel has failed: the failure is what counts.
    let error = broken("allocate", Failure::OutOfMemory).upload(HostSlice::F32(&[1.0; 1000])).err();
    assert_eq!(error.map(|e| e.to_string()).as_deref(), Some("Cuda(broken): allocation: a kernel failed before"));
}

#[test]
fn a_launch_without_memory_is_out_of_memory() {
    let device = broken("launch", Failure::OutOfMemory);
    let _x = Tensor::<Cuda>::ones([4], &device);
    let error = device.synchronize().unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { bytes: 0, .. }), "{error}");
    assert!(error.to_string().contains("more bytes were asked for"), "{error}");
}

/// Grids are made from the number of multiprocessors, in clamps and divisions.
#[test]
fn a_driver_that_reports_no_multiprocessors_is_no_reason_to_panic() {
    let device = broken("nothing", lost());
    let x = Tensor::<Cuda>::rand([300, 300], &device);
    let images = Tensor::<Cuda>::rand([2, 4, 16, 16], &device);
    let _ = (&x + 1.0, x.sum(..), x.sum(0), x.max(1), x.matmul(&x), x.cumsum(0), x.sort(1, false), x.softmax(1));
    let _ = (images.max_pool2d(2), images.conv2d(&Tensor::rand([4, 4, 3, 3], &device), None, Default::default()));
    let _ = x.index_select(0, &Tensor::new([1, 2], &device));
    assert_eq!(device.walk_over(1 << 20).0, [8, 1, 1]);
    assert!(device.synchronize().is_ok());
}
