//! scatter_add of floats is bit-identical to adding the entries one by one, for any order of threads.

use super::*;
use crate::Tensor;
#[cfg(feature = "emulator")]
use crate::emulator::Order;
use minitorch_core::{Device, Element, Shape};

/// The emulator in every order, and GPU 0 if there is one.
fn devices() -> Vec<Cuda> {
    let mut devices = Vec::new();
    #[cfg(feature = "emulator")]
    devices.extend([Order::Forward, Order::Reversed, Order::Shuffled(3)].map(Cuda::emulated));
    devices.extend(Cuda::new(0));
    devices
}

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    /// Numbers of very different magnitudes, so that another order gives another sum.
    fn floats(&mut self, len: usize) -> Vec<f64> {
        let number = |bits: u64| ((bits % 4001) as f64 - 2000.0) / 7.0 * f64::from(1u32 << (bits / 4001 % 20));
        (0..len).map(|_| number(self.next()) as f32 as f64).collect()
    }

    fn indices(&mut self, bound: usize, len: usize) -> Vec<i32> {
        (0..len).map(|_| (self.next() % bound as u64) as i32).collect()
    }
}

/// An element type with addition on the host.
trait Adds: Element + std::ops::Add<Output = Self> + PartialEq {}
impl Adds for f32 {}
impl Adds for f64 {}

/// `to.scatter_add(dim, index, x)`, entry by entry. Out-of-range indices are skipped.
fn expected<T: Adds>(to: &Tensor, dim: usize, index: &Tensor, x: &Tensor) -> Vec<T> {
    let shape = *to.shape();
    let mut sums = to.to_vec::<T>().expect("the destination");
    let (index_of, x_of) = (index.to_vec::<i32>().expect("the index"), x.to_vec::<T>().expect("what is added"));
    let inner: usize = shape[dim + 1..].iter().product();
    let n = index.shape()[dim];
    for (i, (&k, &x)) in index_of.iter().zip(&x_of).enumerate() {
        let Some(k) = usize::try_from(k).ok().filter(|&k| k < shape[dim]) else { continue };
        let at = (i / inner / n * shape[dim] + k) * inner + i % inner;
        sums[at] = sums[at] + x;
    }
    sums
}

#[track_caller]
fn compare<T: Adds>(about: &str, to: &Tensor, dim: usize, index: &Tensor, x: &Tensor) {
    let want = expected::<T>(to, dim, index, x);
    let got = to.scatter_add(dim as isize, index, x).to_vec::<T>().expect("the sums");
    assert!(got.len() == want.len(), "{about}");
    if let Some(at) = (0..want.len()).find(|&at| got[at] != want[at]) {
        panic!("{about} on {:?}: element {at} is {:?}, not {:?}", to.device(), got[at], want[at]);
    }
}

/// Compares in both float types; `lay` chooses the layout of x.
fn compare_both(
    about: &str,
    device: &Cuda,
    (shape, dim): (&[usize], usize),
    index: &Tensor,
    lay: &dyn Fn(&Tensor) -> Tensor,
) {
    let mut numbers = Numbers(7);
    let to_shape = Shape::new(shape);
    let (to, values) = (numbers.floats(to_shape.numel()), numbers.floats(index.numel()));
    let both = |dtype: DType| {
        let on = (device, dtype);
        (
            Tensor::from_f64(to.iter().copied(), to_shape, on),
            lay(&Tensor::from_f64(values.iter().copied(), *index.shape(), on)),
        )
    };
    let (to, x) = both(DType::F32);
    compare::<f32>(about, &to, dim, index, &x);
    let (to, x) = both(DType::F64);
    compare::<f64>(about, &to, dim, index, &x);
}

fn contiguous(x: &Tensor) -> Tensor {
    x.clone()
}

/// The same elements with the first and the last dimension transposed in memory, at an offset.
fn transposed(x: &Tensor) -> Tensor {
    let last = x.rank() as isize - 1;
    let wide = x.transpose(0, last).contiguous();
    Tensor::cat(&[wide.narrow(0, 0, 1), wide], 0).narrow(0, 1, x.shape()[last as usize]).transpose(0, last)
}

#[test]
fn one_row() {
    for device in devices() {
        let mut numbers = Numbers(1);
        for n in [1, 2, 31, 32, 33, 64, 95, 2048, 2049, 4100] {
            for bound in [1, 2, 7, 600, 10_000] {
                let index = Tensor::from_vec(numbers.indices(bound, n), [n], &device);
                compare_both(&format!("{n} into {bound}"), &device, (&[bound], 0), &index, &contiguous);
            }
        }
    }
}

#[test]
fn rows_that_share_an_index() {
    for device in devices() {
        let mut numbers = Numbers(2);
        for n in [3, 32, 33, 70, 300] {
            for width in [2, 3, 5, 8, 17, 31, 32, 33, 100] {
                let index = Tensor::from_vec(numbers.indices(9, n), [n, 1], &device).expand([n, width]);
                let about = format!("{n} rows of {width}");
                compare_both(&about, &device, (&[9, width], 0), &index, &contiguous);
                compare_both(&about, &device, (&[9, width], 0), &index, &transposed);
            }
        }
        // Most entries have one index, as the padding of a batch of sentences does.
        let padded: Vec<i32> = numbers.indices(50, 400).into_iter().map(|i| if i < 30 { 0 } else { i }).collect();
        let index = Tensor::from_vec(padded, [400, 1], &device).expand([400, 40]);
        compare_both("padding", &device, (&[50, 40], 0), &index, &contiguous);
    }
}

#[test]
fn any_dimension_and_layout() {
    for device in devices() {
        let mut numbers = Numbers(3);
        for dim in 0..3 {
            for n in [20, 40, 130] {
                let shape = Shape::from([4, 6, 5]).with(dim, n);
                let to = Shape::from([4, 6, 5]).with(dim, 11);
                let make = |shape: Shape, numbers: &mut Numbers| {
                    Tensor::from_vec(numbers.indices(11, shape.numel()), shape, &device)
                };
                let whole = make(shape, &mut numbers);
                let mut indices = vec![whole.clone(), transposed(&whole)];
                // Indices shared along each other dimension, and along both.
                let others: Vec<usize> = (0..3).filter(|&d| d != dim).collect();
                for shared in [&others[..1], &others[1..], &others[..]] {
                    let narrow = shared.iter().fold(shape, |shape, &d| shape.with(d, 1));
                    indices.push(make(narrow, &mut numbers).expand(shape));
                }
                for (n, index) in indices.iter().enumerate() {
                    let about = format!("{shape:?} along {dim}, index {n}");
                    compare_both(&about, &device, (&to, dim), index, &contiguous);
                    compare_both(&about, &device, (&to, dim), index, &transposed);
                }
                // One element, at one index.
                let one = Tensor::from_vec(vec![3], [1, 1, 1], &device).expand(shape);
                compare_both("a constant", &device, (&to, dim), &one, &|x| x.narrow(dim as isize, 0, 1).expand(shape));
            }
        }
    }
}

#[test]
fn bad_indices_are_skipped_and_reported() {
    for device in devices() {
        let mut numbers = Numbers(4);
        for (n, width) in [(20, 3), (100, 1), (100, 3), (100, 40), (2100, 1)] {
            let mut indices = numbers.indices(6, n);
            for (at, bad) in [(0, -1), (1, i32::MIN), (n / 2, 6), (n - 1, i32::MAX), (n - 2, -1)] {
                indices[at] = bad;
            }
            let index = Tensor::from_vec(indices, [n, 1], &device).expand([n, width]);
            let to = Tensor::from_f64(numbers.floats(6 * width), [6, width], (&device, DType::F32));
            let x = Tensor::from_f64(numbers.floats(n * width), [n, width], (&device, DType::F32));
            let want = expected::<f32>(&to, 0, &index, &x);
            let sums = to.scatter_add(0, &index, &x);
            let error = sums.to_vec::<f32>().expect_err("bad indices");
            assert!(error.to_string().starts_with(&format!("scatter_add at {}:", file!())), "{error}");
            assert!(device.take_error().is_some());
            assert_eq!(sums.to_vec::<f32>().expect("the error was taken"), want, "{n} rows of {width}");
        }
        let nothing = Tensor::from_vec(Vec::<f32>::new(), [0, 3], &device);
        let index = Tensor::from_vec(vec![0; 120], [40, 3], &device);
        let sums = nothing.scatter_add(0, &index, &index.cast(DType::F32));
        assert!(sums.to_vec::<f32>().is_err() && device.take_error().is_some());
        assert!(sums.to_vec::<f32>().is_ok_and(|v| v.is_empty()));
    }
}

/// Indices with more than MAX_SORTED entries are split.
#[test]
fn long_indices_are_split() {
    let mut numbers = Numbers(5);
    let sizes = [(2 * MAX_SORTED + 5, false), (MAX_SORTED + 1, true), (MAX_SORTED / 3, false)];
    for (device, (n, shared)) in devices().into_iter().zip(sizes.into_iter().cycle()) {
        let shape = [n, if shared { 2 } else { 7 }];
        let stored = if shared { [n, 1] } else { shape };
        let indices = numbers.indices(50, stored[0] * stored[1]);
        let index = Tensor::from_vec(indices, stored, &device).expand(shape);
        compare_both(&format!("{shape:?}"), &device, (&[50, shape[1]], 0), &index, &contiguous);
        compare_both(&format!("{shape:?}"), &device, (&[50, shape[1]], 0), &index, &transposed);
    }
}

/// On the emulator only: other tests launch kernels on the GPU concurrently.
#[cfg(feature = "emulator")]
#[test]
fn launches() {
    let device = Cuda::emulated(Order::Forward);
    let mut numbers = Numbers(6);
    // A sort of more than 2,048 entries takes one more launch per doubling.
    for (n, width, launches) in [(32, 100, 1), (33, 100, 2), (2000, 100, 2), (2049, 1, 3), (4096, 1, 3)] {
        let index = Tensor::from_vec(numbers.indices(40, n), [n, 1], &device).expand([n, width]);
        let x = Tensor::from_f64(numbers.floats(n * width), [n, width], (&device, DType::F32));
        let to = Tensor::full([40, width], 0.0, (&device, DType::F32));
        let before = device.launches();
        drop(to.scatter_add(0, &index, &x));
        // The first launch copies the destination.
        assert_eq!(device.launches() - before - 1, launches, "{n} rows of {width}");
    }
}
