//! Reading tensors back and comparing them: `|x - y| <= epsilon (atol + rtol |y|)`.

use minitorch_core::backend::View;
use minitorch_core::{Backend, DType, HostData, Layout, Shape, Tensor, f16};

/// The bound of an error: `|x - y| <= epsilon (atol + rtol |y|)` with the dtype's machine epsilon (2^-10 for F16, 2^-23 for F32,
/// 2^-52 for F64), so that one bound serves all dtypes. NaN equals NaN, and an infinity equals itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The absolute part.
    pub atol: f64,
    /// The relative part.
    pub rtol: f64,
}

/// Equality, of zeros of either sign too.
pub(crate) const EXACT: Tolerance = Tolerance { atol: 0.0, rtol: 0.0 };

/// `n` epsilons, absolute and relative.
pub(crate) const fn eps(n: f64) -> Tolerance {
    Tolerance { atol: n, rtol: n }
}

impl Tolerance {
    /// For a sum of `k` terms of order 1, whose rounding errors grow like a random walk: `sqrt(k)` times the bound.
    pub(crate) fn terms(self, k: usize) -> Self {
        let scale = (k.max(1) as f64).sqrt();
        Tolerance { atol: self.atol * scale, rtol: self.rtol * scale }
    }
}

/// A tensor on the host.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    pub(crate) data: Vec<f64>,
}

impl Values {
    pub(crate) fn new(shape: impl Into<Shape>, dtype: DType, data: Vec<f64>) -> Self {
        Values { shape: shape.into(), dtype, data }
    }
}

/// Reads a tensor of any dtype.
#[track_caller]
pub(crate) fn read<B: Backend>(x: &Tensor<B>) -> Values {
    match x.device().download(x.view()) {
        Ok(data) => Values { shape: *x.shape(), dtype: x.dtype(), data: numbers(data) },
        Err(error) => panic!("reading back {:?}: {error}", x.shape()),
    }
}

pub(crate) fn numbers(data: HostData) -> Vec<f64> {
    match data {
        HostData::F16(v) => v.into_iter().map(f64::from).collect(),
        HostData::F32(v) => v.into_iter().map(f64::from).collect(),
        HostData::F64(v) => v,
        HostData::I32(v) => v.into_iter().map(f64::from).collect(),
        HostData::Bool(v) => v.into_iter().map(|b| b as u8 as f64).collect(),
    }
}

/// The elements of a whole storage.
#[track_caller]
pub(crate) fn read_storage<B: Backend>(device: &B, storage: &B::Storage, dtype: DType, len: usize) -> Vec<f64> {
    let layout = Layout::contiguous([len]);
    match device.download(View { storage, layout: &layout, dtype }) {
        Ok(data) => numbers(data),
        Err(error) => panic!("reading back {len} elements: {error}"),
    }
}

/// What a body returns: one tensor or several.
pub(crate) trait Results {
    fn read(self) -> Vec<Values>;
}
impl<B: Backend> Results for Tensor<B> {
    #[track_caller]
    fn read(self) -> Vec<Values> {
        vec![read(&self)]
    }
}
impl<B: Backend> Results for Vec<Tensor<B>> {
    #[track_caller]
    fn read(self) -> Vec<Values> {
        self.iter().map(read).collect()
    }
}
impl<B: Backend, const N: usize> Results for [Tensor<B>; N] {
    #[track_caller]
    fn read(self) -> Vec<Values> {
        self.iter().map(read).collect()
    }
}
impl<B: Backend> Results for (Tensor<B>, Tensor<B>) {
    #[track_caller]
    fn read(self) -> Vec<Values> {
        vec![read(&self.0), read(&self.1)]
    }
}

/// A tensor on a device or on the host.
pub(crate) trait Read {
    fn values(&self) -> Values;
}
impl Read for Values {
    fn values(&self) -> Values {
        self.clone()
    }
}
impl<B: Backend> Read for Tensor<B> {
    #[track_caller]
    fn values(&self) -> Values {
        read(self)
    }
}

/// Panics with the worst element unless `got` is close to `want`, which is rounded to the dtype of `got` first.
#[track_caller]
pub(crate) fn assert_close(about: &str, got: &impl Read, want: &impl Read, tolerance: Tolerance) {
    compare(about, &got.values(), &want.values(), tolerance);
}

#[track_caller]
fn compare(about: &str, got: &Values, want: &Values, tolerance: Tolerance) {
    assert!(got.shape == want.shape, "{about}: the shape is {:?}, not {:?}", got.shape, want.shape);
    let kind = got.dtype == want.dtype || got.dtype.is_float() && want.dtype.is_float();
    assert!(kind, "{about}: the dtype is {}, not {}", got.dtype, want.dtype);
    assert!(got.data.len() == want.data.len(), "{about}: {} elements, not {}", got.data.len(), want.data.len());
    let epsilon = match got.dtype {
        DType::F16 => f16::EPSILON.to_f64(),
        DType::F64 => f64::EPSILON,
        _ => f32::EPSILON as f64,
    };
    let (mut worst, mut worst_error, mut bad) = (0, 0.0, 0);
    for (i, (&x, &y)) in got.data.iter().zip(&want.data).enumerate() {
        let y = match got.dtype {
            DType::F16 => f16::from_f64(y).to_f64(),
            DType::F32 => y as f32 as f64,
            _ => y,
        };
        if x == y || x.is_nan() && y.is_nan() {
            continue;
        }
        let error = (x - y).abs() / (epsilon * (tolerance.atol + tolerance.rtol * y.abs()));
        let error = if error.is_nan() || y.is_infinite() { f64::INFINITY } else { error };
        bad += (error > 1.0) as usize;
        if error > worst_error {
            (worst, worst_error) = (i, error);
        }
    }
    assert!(
        worst_error <= 1.0,
        "{about}: element {:?} of {:?} is {:e}, not {:e}: {worst_error:.3} of the tolerance; {bad} of {} elements are off",
        multi_index(worst, &got.shape),
        got.shape,
        got.data[worst],
        want.data[worst],
        got.data.len(),
    );
}

/// Several results at once.
#[track_caller]
pub(crate) fn assert_all_close(about: &str, got: &[Values], want: &[Values], tolerance: Tolerance) {
    assert!(got.len() == want.len(), "{about}: {} results, not {}", got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        compare(&format!("{about}, result {i}"), got, want, tolerance);
    }
}

pub(crate) fn multi_index(mut flat: usize, shape: &Shape) -> Vec<usize> {
    let mut index: Vec<usize> = shape.iter().rev().map(|&n| (flat % n, flat /= n).0).collect();
    index.reverse();
    index
}

/// Runs a body on the device under test and on the oracle, and compares the results. The macro expands the body twice, once per
/// backend type. `agree!(on, eps(4.0), |d| d.mixed([3, 4]).relu())`; a message may come before the body, a format that captures its
/// arguments.
macro_rules! agree {
    ($on:expr, $tolerance:expr, |$d:ident| $body:expr) => {
        agree!($on, $tolerance, "the device and the oracle differ", |$d| $body)
    };
    ($on:expr, $tolerance:expr, $about:literal, |$d:ident| $body:expr) => {{
        let on: &$crate::On<_> = $on;
        let about = format!("{} ({}, {:?}, seed {:#x})", format_args!($about), on.dtype, on.device, on.seed);
        let got = {
            let place = on.again();
            let $d = &place;
            $crate::close::Results::read($body)
        };
        let want = {
            let place = on.oracle();
            let $d = &place;
            $crate::close::Results::read($body)
        };
        on.advance();
        $crate::close::assert_all_close(&about, &got, &want, $tolerance);
    }};
}
